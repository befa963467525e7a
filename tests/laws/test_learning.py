"""Learning: maximum likelihood finds the sample mean, variational EM climbs log p(x)."""

from functools import partial

import pytest
import torch
from torch import Size, Tensor

from laws.numerics import adam, assert_equal, sgd
from laws.parts import affine, vae
from laws.ppca import PPCA
from uncollapse.distributions import Free, FullGaussian, Location, Mixture, posteriors
from uncollapse.networks import Bias
from uncollapse.vae import ELBO, VAE, Amortized, LogLikelihood, MaximumLikelihood, VariationalEM

t = torch.tensor(0)


def free(ppca: PPCA, diagonal: bool = False, **options: float) -> VAE:
    """The same model with free variational parameters, which start at the prior or thereabouts."""
    kind = posteriors.Gaussian if diagonal else FullGaussian
    shape = ppca.vae.likelihood.shape
    return VAE(ppca.vae.prior, ppca.vae.likelihood, Free(ppca.latent, shape, partial(kind, network=Bias), **options))


def test_estimate_of_a_location_is_the_sample_mean() -> None:
    """Gradient ascent on N(θ, 1) converges to the mean of the data, the closed form: to 1e-12 after 60 halvings."""
    model, x = Location(3), 2.0 + torch.randn(40, 3)
    procedure = MaximumLikelihood(LogLikelihood(model))
    procedure.connect(lambda module: module, sgd(0.5))
    for step in range(60):
        procedure.step(x, torch.tensor(step))
    assert_equal(model.theta.detach(), Location.closed_form(x), 1e-12)
    assert_equal(Location.closed_form(x), x.mean(0))


def test_maximum_likelihood_of_a_mixture_rises() -> None:
    """A mixture fitted by gradient reaches the likelihood of the one that drew the data, to 0.1 nats."""
    true, model = Mixture(1, 2), Mixture(1, 2)
    with torch.no_grad():
        true.loc.copy_(torch.tensor([[-3.0], [3.0]]))
        model.loc.copy_(torch.tensor([[-1.0], [1.0]]))
    x = true().sample(Size((400,)))
    procedure = MaximumLikelihood(LogLikelihood(model))
    procedure.connect(lambda module: module, adam(0.1))
    for step in range(150):
        logged = procedure.step(x, torch.tensor(step))
    assert logged["log_likelihood"].mean() > true().log_prob(x).mean() - 0.1


def test_a_procedure_needs_a_training() -> None:
    """Without an update it says where learning happens."""
    with pytest.raises(RuntimeError, match="fit"):
        Amortized(ELBO(vae())).step(torch.ones(2, 3), t)


@pytest.mark.parametrize("diagonal", [False, True])
def test_expectation_step_reaches_the_best_of_its_family(diagonal: bool) -> None:
    """The ELBO at λ* is above that at the start, and log p(x) less the gap of the family's best member: 0 for the full
    Gaussian, ½ (Σ log Λ_jj - log det Λ) for the diagonal one; to 0.1 nats in the mean of 40 observations."""
    ppca = PPCA(diagonal=diagonal)
    model, x = free(ppca, diagonal, rate=0.03, limit=500, window=500), ppca.sample(40)
    lam = model.posterior.encode(x)
    with torch.no_grad():
        precision = ppca.gain() / ppca.sigma**2
        best = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision)) if diagonal else 0.0
        gap, start = ppca.gap(x, lam).mean(), ppca.gap(x, model.posterior.family.encode(x)).mean()
    assert best - 1e-10 <= gap < best + 0.1
    assert gap < start


def test_expectation_step_with_its_defaults() -> None:
    """As it comes, it stops by its own criterion within 0.5 nats of log p(x), where it began more than five away."""
    ppca = PPCA()
    model, x = free(ppca), ppca.sample(40)
    with torch.no_grad():
        gap, start = ppca.gap(x, model.posterior.encode(x)).mean(), ppca.gap(x, model.posterior.family.encode(x)).mean()
    assert start > 5 > 0.5 > gap


def test_expectation_step_leaves_the_model_alone() -> None:
    """No parameter moves or collects a gradient, and the result carries none."""
    model = free(PPCA(), limit=20)
    before = [p.clone() for p in model.parameters()]
    assert not model.posterior.encode(torch.randn(5, 4)).requires_grad
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, model.parameters(), strict=True))


def test_maximisation_step_moves_theta_alone() -> None:
    """The M-step moves the decoder and nothing of the posterior, and its update is handed θ only."""
    model = free(PPCA(), limit=20)
    procedure = VariationalEM(ELBO(model))
    assert {id(p) for p in procedure.parameters()} == {id(p) for p in model.likelihood.parameters()}
    procedure.connect(lambda module: module, sgd(0.01))
    theta = [p.clone() for p in model.likelihood.parameters()]
    family = [p.clone() for p in model.posterior.parameters()]
    logged = procedure.step(torch.randn(5, 4), t)
    assert not any(torch.equal(a, b) for a, b in zip(theta, model.likelihood.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(family, model.posterior.parameters(), strict=True))
    assert all(value.shape == (5,) and not value.requires_grad for value in logged.values())


def test_variational_em_raises_the_evidence() -> None:
    """15 steps of EM on data of a known model take the mean exact log p(x) more than half of the way to that model's own."""
    truth, ppca = PPCA(), PPCA()
    x = truth.sample(200)
    model = free(ppca, limit=40)
    procedure = VariationalEM(ELBO(model, k=4))
    procedure.connect(lambda module: module, adam(0.1))
    with torch.no_grad():
        start, goal = ppca.log_prob(x).mean(), truth.log_prob(x).mean()
    for step in range(15):
        procedure.step(x, torch.tensor(step))
    with torch.no_grad():
        assert ppca.log_prob(x).mean() - start > 0.5 * (goal - start) > 0


@pytest.mark.parametrize("posterior", ["Gaussian", "FullGaussian"])
def test_variational_em_refuses_an_encoder(posterior: str) -> None:
    """It names the posterior that came and the one to write."""
    with pytest.raises(ValueError, match=f"came {posterior}; write --posterior Free"):
        VariationalEM(ELBO(vae(posterior=posterior)))


def test_free_parameters_need_a_model() -> None:
    """Free without a model has nothing to ascend, and says so."""
    with pytest.raises(ValueError, match="hand it to VAE"):
        Free(2, Size((3,)), partial(posteriors.Gaussian, network=affine)).encode(torch.zeros(2, 3))


def test_amortised_inference_reaches_the_evidence() -> None:
    """Algorithm 2 on data of a known model ends within 0.1 nats of that model's own mean log p(x), both by the exact log p(x)
    of what it learned and by the ELBO: the encoder follows the decoder's posterior. It began more than a nat below."""
    truth, ppca = PPCA(), PPCA()
    x = truth.sample(400)
    procedure = Amortized(ELBO(ppca.vae, k=4))
    procedure.connect(lambda module: module, adam(0.02))
    with torch.no_grad():
        start, goal = ppca.log_prob(x).mean(), truth.log_prob(x).mean()
    for step in range(600):
        procedure.step(x, torch.tensor(step))
    with torch.no_grad():
        evidence, gap = ppca.log_prob(x).mean(), ppca.gap(x, ppca.vae.posterior.encode(x)).mean()
    assert start < goal - 1
    assert evidence > goal - 0.1 and evidence - gap > goal - 0.1 and gap >= -1e-10


def test_amortised_inference_moves_both() -> None:
    """One step moves every weight of encoder and decoder by minus the rate times the gradient of the loss."""
    ppca = PPCA()
    x, moved = ppca.sample(6), list(ppca.vae.parameters())
    torch.manual_seed(5)
    loss: Tensor = -ELBO(ppca.vae)(x, t)[0].mean()
    expected = [p.detach() - 0.1 * g for p, g in zip(moved, torch.autograd.grad(loss, moved), strict=True)]
    procedure = Amortized(ELBO(ppca.vae))
    procedure.connect(lambda module: module, sgd(0.1))
    torch.manual_seed(5)
    procedure.step(x, t)
    for p, e in zip(moved, expected, strict=True):
        assert_equal(p.detach(), e)


@pytest.mark.parametrize(("tolerance", "steps"), [(1e9, 10), (-1e9, 40)])
def test_free_parameters_stop_where_no_progress_is_made(tolerance: float, steps: int) -> None:
    """After the second window of 5 steps if it is not `tolerance` nats above the first, at the limit of 40 if every one is."""
    q = Free(2, Size((3,)), partial(posteriors.Gaussian, network=affine), tolerance=tolerance, window=5, limit=40)
    asked: list[int] = []

    def log_joint(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        asked.append(len(x))
        return -z.square().sum(-1)

    q.attach(log_joint)
    q.encode(torch.zeros(7, 3))
    assert asked == [7] * steps
