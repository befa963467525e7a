"""Semi-amortised inference: the steps climb the ELBO, and the gradient through them is that of the whole computation."""

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Size, Tensor, nn

from laws.numerics import assert_equal, cubature, sgd
from laws.parts import POSTERIORS, affine, small, vae
from laws.ppca import PPCA
from uncollapse.distributions import (
    Bernoulli,
    Free,
    Normal,
    OptimalSigma,
    Refined,
    Uniform,
    likelihoods,
    posteriors,
)
from uncollapse.distributions.flows import IAF, Planar
from uncollapse.vae import ELBO, IWAE, VAE, Amortized, EntropyELBO

t = torch.tensor(0)


def refined(ppca: PPCA, **options: Any) -> VAE:
    """The same model, its posterior refined; four draws a step, so that cubature makes each step exact."""
    family = posteriors.Gaussian if ppca.diagonal else posteriors.FullGaussian
    posterior = Refined(2, ppca.vae.likelihood.shape, partial(family, network=affine), k=4, **options)
    posterior.family.load_state_dict(ppca.vae.posterior.state_dict())
    return VAE(ppca.vae.prior, ppca.vae.likelihood, posterior)


def loss(model: VAE, x: Tensor) -> Tensor:
    """The exact ELBO at the refined parameters, summed over the batch."""
    with cubature():
        return EntropyELBO(model, k=4)(x, t)[0].sum()


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_every_step_climbs_the_elbo(diagonal: bool, momentum: float) -> None:
    """With exact gradients and a small rate each further step raises every observation's exact ELBO, and 200 close nine tenths
    of the gap that the family can close: log p(x) for the full Gaussian, the best diagonal one below it else."""
    ppca = PPCA(diagonal=diagonal)
    x = ppca.sample(20)
    with torch.no_grad(), cubature():
        gaps = [
            ppca.gap(x, refined(ppca, steps=n, rate=0.01, momentum=momentum, clip=None).posterior.encode(x))
            for n in (0, 1, 2, 5, 200)
        ]
        precision = ppca.gain() / ppca.sigma**2
        best = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision)) if diagonal else 0.0
    for before, after in pairwise(gaps):
        assert (after < before).all()
    assert ((gaps[-1] - best).mean() < 0.1 * (gaps[0] - best).mean()) and (gaps[-1] >= best - 1e-10).all()


@pytest.mark.parametrize("clip", [None, 0.5])
def test_gradient_is_that_of_the_whole_computation(clip: float | None) -> None:
    """Autograd through five steps, for encoder and decoder, is the central difference of the whole computation: to 1e-6."""
    ppca = PPCA()
    model, x = refined(ppca, steps=5, rate=0.05, clip=clip), ppca.sample(3)
    weights = [*model.likelihood.parameters(), *model.posterior.parameters()]
    gradients = torch.autograd.grad(loss(model, x), weights)
    for p, gradient in zip(weights, gradients, strict=True):
        along, h = torch.randn_like(p), 1e-5
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                p.add_(sign * h * along)
                values.append(loss(model, x))
                p.sub_(sign * h * along)
        assert_equal((values[0] - values[1]) / (2 * h), (gradient * along).sum(), 1e-6)


@pytest.mark.parametrize("transform", [IAF, Planar])
def test_a_flow_is_refined_without_inverting_it(transform: type) -> None:
    """The bound and its gradients exist, and the density of a draw is that of the inverse map, to its tolerance of 1e-5."""
    family = partial(posteriors.Flow, transform=transform, transforms=1, network=affine)
    model = VAE(Normal(2), Bernoulli(2, Size((3,)), affine), Refined(2, Size((3,)), family, steps=2))
    x = torch.ones(4, 3)
    ELBO(model)(x, t)[0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.posterior.parameters())
    parameters = model.posterior.family.encode(x)
    torch.manual_seed(0)
    found = model.posterior.elbo(x, parameters)
    torch.manual_seed(0)
    q = model.posterior.family.at(parameters)
    z = q.rsample(Size((1,)))
    assert_equal(found, (model.log_joint(x, z) - q.log_prob(z)).mean(0), 1e-5)


def test_two_steps_by_hand() -> None:
    """v ← m v + clip g, λ ← λ + α v, with a gradient that is known: 6 along the first axis, whose norm the clip cuts to 4."""
    posterior = Refined(1, Size((1,)), partial(posteriors.Gaussian, network=affine), steps=2, rate=0.1, momentum=0.5, clip=4.0)
    start = torch.zeros(2, 2)
    known = torch.tensor([[6.0, 0.0], [0.0, 3.0]])
    posterior._gradient = lambda x, parameters, learning: known  # type: ignore[method-assign]
    found = posterior._refine(torch.zeros(2, 1), start, learning=False)
    assert_equal(found, torch.tensor([[0.1 * 4 + 0.1 * (0.5 * 4 + 4), 0.0], [0.0, 0.1 * 3 + 0.1 * (0.5 * 3 + 3)]]))


def test_it_differs_from_the_gradient_that_stops_at_the_refined_parameters() -> None:
    """The path through the steps counts: without it the encoder has no gradient, and the decoder another one."""
    ppca = PPCA()
    model, x = refined(ppca, steps=5, rate=0.05), ppca.sample(3)
    through = torch.autograd.grad(loss(model, x), [ppca.decoder.weight])[0]
    with cubature():
        stopped = EntropyELBO(model, k=4)(x, t, model.posterior.encode(x).detach())[0].sum()
    assert (through - torch.autograd.grad(stopped, [ppca.decoder.weight])[0]).abs().max() > 1e-2


def gradients(model: VAE, x: Tensor, difference: float | None) -> list[Tensor]:
    """∇ of the ELBO for all weights, the noise of each step the same for every `difference`."""
    model.posterior.finite_difference = difference
    torch.manual_seed(3)
    bound = ELBO(model, k=2)(x, t)[0].sum()
    return list(torch.autograd.grad(bound, [*model.likelihood.parameters(), *model.posterior.parameters()]))


def test_finite_differences_are_of_second_order() -> None:
    """A Bernoulli model, where no derivative ends: the error falls by 100 when ε falls by 10, and is below 1e-6 at 1e-4."""
    posterior = Refined(2, torch.Size((3,)), partial(posteriors.Gaussian, network=small), steps=4, rate=0.2)
    model, x = VAE(Normal(2), Bernoulli(2, (3,), small), posterior), (torch.rand(5, 3) < 0.5).double()
    exact = gradients(model, x, None)
    errors = [
        sum(float((a - b).norm()) for a, b in zip(gradients(model, x, difference), exact, strict=True))
        for difference in (1e-1, 1e-2, 1e-4)
    ]
    assert errors[0] > 1e-5 and 50 < errors[0] / errors[1] < 200
    assert errors[2] < 1e-6


def test_no_steps_are_amortised_inference() -> None:
    """With zero steps the bound, its gradients and a step of learning are those of the family, bit for bit."""
    ppca = PPCA(diagonal=True)
    plain, none, x = ppca.vae, refined(ppca, steps=0), ppca.sample(6)
    bounds = []
    for model in (plain, none):
        torch.manual_seed(3)
        bounds.append(ELBO(model)(x, t)[0])
    assert torch.equal(*bounds)
    weights = ([*plain.likelihood.parameters(), *m.posterior.parameters()] for m in (plain, none))
    for a, b in zip(*map(torch.autograd.grad, (bound.sum() for bound in bounds), weights), strict=True):
        assert torch.equal(a, b)


def test_an_observation_does_not_depend_on_its_batch() -> None:
    """The parameters of one row are the same alone and among others, also where a sigma is estimated from the batch."""
    likelihood = likelihoods.Gaussian(2, (3,), small, OptimalSigma)
    model = VAE(Normal(2), likelihood, Refined(2, torch.Size((3,)), POSTERIORS["Gaussian"], k=4, clip=1.0))
    x = torch.randn(6, 3)
    with cubature():
        together, alone = model.posterior.encode(x), torch.cat([model.posterior.encode(row) for row in x.split(1)])
    assert_equal(together, alone)
    assert float(likelihood.sigma.seen) == 0 and model.training


def test_every_verb_sees_the_refined_parameters() -> None:
    """Under no_grad the parameters are refined too, carry no gradient, and a step of learning moves encoder and decoder."""
    ppca = PPCA()
    model, x = refined(ppca, steps=3), ppca.sample(5)
    with cubature():
        learnt = model.posterior.encode(x)
        with torch.no_grad():
            seen = model.posterior.encode(x)
    assert learnt.requires_grad and not seen.requires_grad
    assert_equal(seen, learnt.detach())
    assert not torch.allclose(seen, ppca.vae.posterior.encode(x))
    before = [p.detach().clone() for p in model.parameters()]
    procedure = Amortized(IWAE(model, k=3))
    procedure.connect(lambda module: module, sgd(0.01))
    procedure.step(x, t)
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_recurrent_decoders_have_second_derivatives() -> None:
    """A decoder with an LSTM, in eval() during the steps and back in train() after them."""

    class Recurrent(Bernoulli):
        def __init__(self) -> None:
            super().__init__(2, (3,), small)
            self.lstm = nn.LSTM(2, 2, batch_first=True)

        def forward(self, c: Any = None) -> Any:
            return super().forward(self.lstm(c.reshape(-1, 1, 2))[0].reshape(c.shape))

    model = VAE(Normal(2), Recurrent(), Refined(2, torch.Size((3,)), partial(posteriors.Gaussian, network=affine), steps=2))
    gradient = torch.autograd.grad(ELBO(model)(torch.ones(4, 3), t)[0].sum(), list(model.parameters()))
    assert all(g.isfinite().all() for g in gradient) and model.likelihood.lstm.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "steps=-1"),
        ({"rate": 0.0}, "rate=0.0"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"clip": 0.0}, "expected clip above 0"),
        ({"finite_difference": -1.0}, "expected finite_difference above 0"),
        ({"family": partial(Free, family=POSTERIORS["Gaussian"])}, "came Free, which ascends already"),
        ({"family": partial(Refined, family=POSTERIORS["Gaussian"])}, "came Refined, which ascends already"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Refined(2, torch.Size((3,)), **{"family": POSTERIORS["Gaussian"], **options})


def test_a_model_is_needed_and_supports_must_match() -> None:
    """Without a model there is nothing to ascend; a Gaussian family beside a uniform prior is refused as without Refined."""
    alone = Refined(2, torch.Size((3,)), POSTERIORS["Gaussian"])
    with pytest.raises(ValueError, match="hand it to VAE"):
        alone.encode(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="lives on"):
        VAE(Uniform(2), vae().likelihood, alone)
