"""The VampPrior and the mixtures: one matrix product is the sum over components; the components are the model's posteriors."""

import copy
import math
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import Size, Tensor

from laws.numerics import assert_equal, assert_mean
from laws.parts import POSTERIORS, affine, small
from uncollapse.data import from_arrays
from uncollapse.diagnosis import diagnose
from uncollapse.distributions import (
    BatchNormalized,
    Bernoulli,
    ChainPosterior,
    ChainPrior,
    Density,
    Free,
    FullGaussian,
    LogitNormal,
    Mixture,
    Normal,
    Posterior,
    VampPrior,
    likelihoods,
    posteriors,
)
from uncollapse.distributions.densities import DiagonalNormal
from uncollapse.distributions.mixtures import DiagonalMixture, FamilyMixture, SqueezedMixture
from uncollapse.evaluation import log_likelihood
from uncollapse.networks import BatchNormMLP, RecurrentEncoder
from uncollapse.training import Training, fit
from uncollapse.vae import ELBO, IWAE, VAE, Amortized, EntropyELBO, JointELBO

SHAPE = Size((3,))
FORMS = [ELBO, EntropyELBO, JointELBO, partial(IWAE, k=3), partial(IWAE, k=3, doubly_reparameterized=True)]
t = torch.tensor(0)
x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def vamp(posterior: str = "Gaussian", components: int = 4, features: int = 2) -> VAE:
    """A model with a VampPrior whose pseudo-inputs differ."""
    prior = VampPrior(features, components, mean=0.5, std=0.3)
    return VAE(prior, Bernoulli(features, SHAPE, affine), POSTERIORS[posterior](features, SHAPE))


def broadcast(logits: Tensor, loc: Tensor, log_scale: Tensor, z: Tensor) -> Tensor:
    """log Σ_c π_c N(z; μ_c, σ_c²), component by component."""
    log_p = DiagonalNormal(loc, log_scale).log_prob(z.unsqueeze(-2))
    return (log_p + logits.log_softmax(-1)).logsumexp(-1)


@pytest.mark.parametrize("leading", [(), (5,), (3, 5)])
def test_matrix_form_is_the_broadcast_form(leading: tuple[int, ...]) -> None:
    """Values and all gradients, to 1e-10, at any leading dimensions."""
    parameters = [torch.randn(7, requires_grad=True), *(torch.randn(7, 4, requires_grad=True) for _ in range(2))]
    z = 3 * torch.randn(*leading, 4)
    z.requires_grad_()
    ours, theirs = DiagonalMixture(*parameters).log_prob(z), broadcast(*parameters, z)
    assert_equal(ours, theirs)
    for a, b in zip(*(torch.autograd.grad(v.sum(), [*parameters, z]) for v in (ours, theirs)), strict=True):
        assert_equal(a, b)


def test_matrix_form_in_single_precision() -> None:
    """float32 at |z| about 5 and σ = e⁻³, where the squares are 10⁵ times the result: to 1e-4 of the float64 value, with
    gradients to 1e-3; at components, between them, and far from all."""
    loc = 5 * torch.randn(50, 40)
    log_scale = torch.full((50, 40), -3.0) + 0.3 * torch.randn(50, 40)
    near = loc + log_scale.exp() * torch.randn(50, 40)
    for z in (near, 5 * torch.randn(50, 40), loc + 0.5):
        exact = [v.clone().requires_grad_() for v in (loc, log_scale, z)]
        single = [v.detach().float().requires_grad_() for v in exact]
        weights = torch.zeros(50)
        for v, s in zip(exact, single, strict=True):
            v.data.copy_(s.data)  # the numbers that float32 holds
        expected = broadcast(weights, *exact[:2], exact[2])
        found = DiagonalMixture(weights.float(), *single[:2]).log_prob(single[2])
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
        gradients = zip(torch.autograd.grad(found.sum(), single), torch.autograd.grad(expected.sum(), exact), strict=True)
        for a, b in gradients:
            torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


def test_matrix_form_under_autocast() -> None:
    """No autocast lowers the sums: the value is that without it."""
    mixture = DiagonalMixture(torch.zeros(3), 5 * torch.randn(3, 4), torch.full((3, 4), -3.0))
    z = mixture.sample(Size((6,)))
    with torch.autocast("cpu", torch.bfloat16):
        lowered = mixture.log_prob(z)
    assert_equal(lowered, mixture.log_prob(z))


def test_component_by_component_where_there_is_no_float64() -> None:
    """The form for devices without float64 gives the same."""
    mixture, z = DiagonalMixture(torch.randn(5), torch.randn(5, 3), torch.randn(5, 3)), torch.randn(4, 6, 3)
    expected = mixture.log_prob(z)
    mixture.wide = False
    assert_equal(mixture.log_prob(z), expected)


def test_moments_of_a_mixture() -> None:
    """Mean and variance in closed form against 40000 draws: 6 numbers at 6 standard errors, failure rate 1e-8."""
    mixture = DiagonalMixture(torch.randn(4), torch.randn(4, 3), 0.3 * torch.randn(4, 3))
    z = mixture.sample(Size((40000,)))
    assert_mean(z, mixture.mean)
    assert_mean((z - mixture.mean).square(), mixture.variance)


def test_draws_of_equal_components_have_a_gradient() -> None:
    """∇ of Σ E z², by 40000 draws, is 2 μ / C and 2 σ² / C for μ and log σ: 24 numbers at 6 standard errors, rate 1e-7."""
    mixture = Mixture(3, 4, scale=0.3, weighted=False)
    draws, (n, c) = mixture().rsample(Size((40000,))), (40000, 4)
    loc, log_scale = torch.autograd.grad(draws.square().sum(-1).mean(), [mixture.loc, mixture.log_scale])
    sigma = 0.3
    expected = 2 * mixture.loc.detach() / c, torch.full((4, 3), 2 * sigma**2 / c)
    squared = mixture.loc.detach().square()
    squares = 4 * (squared + sigma**2) / c, 4 * sigma**2 * (squared + 3 * sigma**2) / c  # of what one draw adds, on average
    for found, mean, square in zip((loc, log_scale), expected, squares, strict=True):
        variance = square - mean.square()
        assert ((found - mean).abs() < 6 * (variance / n).sqrt()).all()
    with pytest.raises(NotImplementedError, match="no gradient for its weights"):
        Mixture(3, 4)().rsample(Size((2,)))
    with pytest.raises(ValueError, match="a scale above 0, came components=4, scale=0"):
        Mixture(3, 4, scale=0.0)


@pytest.mark.parametrize("posterior", ["Gaussian", "FullGaussian", "LogitNormal", "ChainPosterior"])
def test_one_pseudo_input_is_its_posterior(posterior: str) -> None:
    """K = 1: p(z) = q(z|u), whatever the family."""
    model = vamp(posterior, components=1)
    q = model.posterior(model.prior.pseudo_inputs)
    z = q.sample(Size((9,)))[:, 0]
    assert_equal(model.prior().log_prob(z), q.log_prob(z.unsqueeze(1)).squeeze(1))


@pytest.mark.parametrize("posterior", ["Gaussian", "FullGaussian", "LogitNormal", "ChainPosterior"])
def test_it_is_the_mean_of_its_posteriors(posterior: str) -> None:
    """p(z) = 1/K Σ_k q(z|u_k), term by term, for families with and without the matrix form."""
    model = vamp(posterior)
    p, q = model.prior(), model.posterior(model.prior.pseudo_inputs.clamp(0, 1))
    kinds = {"Gaussian": DiagonalMixture, "LogitNormal": SqueezedMixture}
    assert type(p) is kinds.get(posterior, FamilyMixture)
    z = p.sample(Size((6,)))
    by_hand = torch.stack([q.log_prob(row).exp().mean().log() for row in z])
    assert_equal(p.log_prob(z), by_hand)
    assert_equal(p.log_prob(z.reshape(2, 3, 2)), by_hand.reshape(2, 3))


def test_it_is_the_mixture_of_the_same_components() -> None:
    """The prior `Mixture` with these means and scales is the same density, and gives the same draws."""
    model, mixture = vamp(), Mixture(2, 4)
    q = model.posterior(model.prior.pseudo_inputs.clamp(0, 1))
    with torch.no_grad():
        mixture.loc.copy_(q.loc)
        mixture.log_scale.copy_(q.log_scale)
    z = torch.randn(20, 2)
    assert_equal(model.prior().log_prob(z), mixture().log_prob(z))
    torch.manual_seed(2)
    ours = model.prior().sample(Size((7,)))
    torch.manual_seed(2)
    assert_equal(ours, mixture().sample(Size((7,))).detach())


@pytest.mark.parametrize("posterior", ["Gaussian", "FullGaussian"])
def test_draws_come_from_all_components(posterior: str) -> None:
    """A few draws are not of the first components: each of 8 far apart has an eighth of 8000, within 6 standard errors (failure
    rate 3e-8 for both families)."""
    model = vamp(posterior, components=8)
    with torch.no_grad():
        model.prior.pseudo_inputs.copy_((torch.arange(8.0) / 7).unsqueeze(-1).expand(8, 3))
        encoder = model.posterior.network.layers[0]
        encoder.weight.zero_()
        encoder.weight[0, 0] = 1000.0  # the first latent is 1000 u
        encoder.bias.zero_()
    nearest = (model.prior().sample(Size((8000,)))[:, 0] * 7 / 1000).round()
    assert_mean(torch.nn.functional.one_hot(nearest.long(), 8).double(), 1 / 8)


@pytest.mark.parametrize("form", FORMS)
def test_gradient_reaches_pseudo_inputs_and_encoder(form: type) -> None:
    """Every objective moves them: the pseudo-inputs through the prior alone, the encoder through prior and posterior."""
    model = vamp()
    form(model)(x, t)[0].sum().backward()
    assert model.prior.pseudo_inputs.grad.abs().min() > 0
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())
    model.zero_grad()
    model.prior().log_prob(torch.randn(5, 2)).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.posterior.parameters())


def test_gradient_is_that_of_finite_differences() -> None:
    """∇ log p(z) for pseudo-inputs and encoder, by central differences."""
    model, z = vamp(components=2), torch.randn(3, 2)
    model.prior.pseudo_inputs.data.clamp_(0.1, 0.9)
    names = [name for name, _ in model.named_parameters() if not name.startswith("likelihood")]

    def log_p(*values: Tensor) -> Tensor:
        return torch.func.functional_call(Only(model), dict(zip([f"model.{n}" for n in names], values, strict=True)), (z,))

    assert torch.autograd.gradcheck(log_p, [model.get_parameter(n).detach().clone().requires_grad_() for n in names])


class Only(torch.nn.Module):
    """log p(z) of a model."""

    def __init__(self, model: VAE):
        super().__init__()
        self.model = model

    def forward(self, z: Tensor) -> Tensor:
        return self.model.prior().log_prob(z)


@pytest.mark.parametrize("form", FORMS)
def test_pseudo_inputs_are_encoded_once_a_step(form: type) -> None:
    """One call of the encoder for the data and one for the pseudo-inputs, whatever the objective."""
    model = vamp()
    objective = form(model)
    with patch.object(model.posterior, "encode", wraps=model.posterior.encode) as encode:
        objective(x, t)
    assert sorted(len(call.args[0]) for call in encode.call_args_list) == [len(x), 4]


def test_pseudo_inputs_are_encoded_once_an_evaluation() -> None:
    """However many samples and blocks the importance sampling takes; the diagnosis encodes them once too."""
    model = vamp()
    with patch.object(model.posterior, "encode", wraps=model.posterior.encode) as encode:
        log_likelihood(model, x, k=50, budget=30)
        diagnose(model, x)
    assert sorted(len(call.args[0]) for call in encode.call_args_list) == [2, 2, 4, 4]


def test_no_weight_has_two_names() -> None:
    """The encoder is the posterior's alone, in parameters and in saved weights; a copy's prior mixes the copy's posterior."""
    model = vamp()
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    assert [name for name in names if name.startswith("prior")] == ["prior.pseudo_inputs"] and len(names) == len(set(names))
    other = copy.deepcopy(model)
    assert other.prior.posterior is other.posterior is not model.posterior


def test_saved_and_loaded(tmp_path: Path) -> None:
    """Pseudo-inputs travel with the model."""
    model = vamp().eval()
    model.save_pretrained(tmp_path)
    again, z = VAE.from_pretrained(tmp_path), torch.randn(5, 2)
    assert torch.equal(again.prior().log_prob(z), model.prior().log_prob(z))


def test_pseudo_inputs_stay_in_range() -> None:
    """At the start, and whatever a step makes of them: the encoder sees values of the data's range."""
    model = vamp(components=50)
    assert 0 <= model.prior.pseudo_inputs.min() < 0.2 and 0.8 < model.prior.pseudo_inputs.max() <= 1
    with torch.no_grad():
        model.prior.pseudo_inputs.mul_(100).sub_(30)
    with patch.object(model.posterior, "encode", wraps=model.posterior.encode) as encode:
        model.prior()
    seen = encode.call_args.args[0].detach()
    assert (float(seen.min()), float(seen.max())) == (0.0, 1.0)


def test_they_start_at_given_observations() -> None:
    """Rows of the data, each once, where no noise is added; wrong sizes and ranges are refused."""
    prior = VampPrior(2, 5, std=0.0)
    VAE(prior, Bernoulli(2, SHAPE, affine), POSTERIORS["Gaussian"](2, SHAPE))
    rows = torch.rand(5, 3)
    prior.start_from(rows)
    assert_equal(prior.pseudo_inputs.detach().sort(0).values, rows.sort(0).values)
    with pytest.raises(ValueError, match=r"at least 5 observations of shape \(3,\), came \(4, 3\)"):
        prior.start_from(rows[:4])
    with pytest.raises(ValueError, match=r"from 0 to 1, the data from .* write the data's --prior.low"):
        prior.start_from(rows + 1)


def test_starting_points_stay_within_the_data_s_range() -> None:
    """Rows at both ends, with noise that takes half of them out of it: the pseudo-inputs are clamped, and differ inside."""
    prior = VampPrior(2, 40, mean=-0.5, std=0.5, low=-1.0, high=2.0)
    VAE(prior, likelihoods.Gaussian(2, SHAPE, affine), POSTERIORS["Gaussian"](2, SHAPE))
    prior.start_from(torch.cat((torch.full((20, 3), -1.0), torch.full((20, 3), 2.0))))
    u = prior.pseudo_inputs.detach()
    assert u.min() == -1 and u.max() == 2 and ((u > -1) & (u < 2)).double().mean() > 0.2


@pytest.mark.parametrize("nested", [False, True])
def test_a_training_begins_at_its_data(nested: bool) -> None:
    """With from_data the pseudo-inputs are rows of the training split before the first step, within a chain too."""
    vamp, gaussian = partial(VampPrior, components=5, std=0.0, from_data=True), partial(posteriors.Gaussian, network=affine)
    if nested:
        prior = ChainPrior(4, vamp, gaussian)
        model = VAE(prior, Bernoulli(4, SHAPE, affine), ChainPosterior(4, SHAPE, gaussian, gaussian, affine))
    else:
        model = VAE(vamp(2), Bernoulli(2, SHAPE, affine), gaussian(2, SHAPE))
    data = from_arrays(torch.rand(60, 3) < 0.5)
    torch.manual_seed(7)
    fit(Amortized(ELBO(model)), data, Training(steps=1), partial(torch.optim.Adam, lr=1e-12))
    after = torch.rand(1)
    assert torch.equal(after, torch.rand(1, generator=torch.Generator().manual_seed(7)))  # the caller's state is left alone
    found = (model.prior.first if nested else model.prior).pseudo_inputs.detach()
    rows = data.train.all().to(found)
    assert all(((rows - u).abs() < 1e-9).all(-1).any() for u in found) and found.std() > 0.1


class Bound(posteriors.Gaussian):
    """A posterior that gives a bound on its density."""

    density = Density.BOUND


def test_refusals() -> None:
    """No components, ranges that are none, pseudo-inputs outside of the data's range, posteriors that cannot be mixed."""
    with pytest.raises(ValueError, match="at least 1 component"):
        VampPrior(2, 0)
    with pytest.raises(ValueError, match="low < high"):
        VampPrior(2, low=1.0, high=0.0)
    with pytest.raises(ValueError, match=r"start at mean=1.5, outside of the data's range from 0.0 to 1.0"):
        VampPrior(2, mean=1.5)
    bernoulli, gaussian = Bernoulli(2, SHAPE, affine), posteriors.Gaussian(2, SHAPE, affine)
    with pytest.raises(ValueError, match=r"may go from -1.0 to 1.0, the data of Bernoulli lie in \[0, 1\]"):
        VAE(VampPrior(2, low=-1.0), bernoulli, gaussian)
    with pytest.raises(ValueError, match="Bound gives a bound in place of it"):
        VAE(VampPrior(2), bernoulli, Bound(2, SHAPE, affine))
    tokens = partial(posteriors.Gaussian, network=partial(RecurrentEncoder, levels=2, hidden=3, embedding=2))
    with pytest.raises(ValueError, match="RecurrentEncoder reads tokens and has no gradient for them; write --prior Mixture"):
        VAE(VampPrior(2, 3), Bernoulli(2, (3,), small), tokens(2, Size((3,))))
    with pytest.raises(ValueError, match="Free finds its parameters through the model"):
        VAE(VampPrior(2), bernoulli, Free(2, SHAPE, partial(posteriors.Gaussian, network=affine)))
    then, floored = partial(posteriors.Gaussian, network=affine), partial(BatchNormalized, network=affine)
    for prior, posterior in (
        (VampPrior(2), floored(2, SHAPE)),
        (ChainPrior(4, VampPrior, then), ChainPosterior(4, SHAPE, floored, then, affine)),
    ):
        with pytest.raises(
            ValueError, match="BatchNormalized would normalise by statistics of their own; write --prior Mixture"
        ):
            VAE(prior, Bernoulli(posterior.features, SHAPE, affine), posterior)
    inside = posteriors.Gaussian(2, SHAPE, BatchNormMLP)
    with pytest.raises(ValueError, match="BatchNorm would normalise by statistics of their own"):
        VAE(VampPrior(2), bernoulli, inside)
    with pytest.raises(ValueError, match="hand it to VAE"):
        VampPrior(2)()
    with pytest.raises(ValueError, match="over 3 latents is a mixture of posteriors over as many, Gaussian has 2"):
        VampPrior(3).attach(bernoulli, gaussian)
    taken = vamp().prior
    with pytest.raises(ValueError, match="posteriors of another model"):
        VAE(taken, bernoulli, gaussian)


def test_data_of_any_range_beside_a_gaussian_likelihood() -> None:
    """Real data have the range that is written."""
    real = likelihoods.Gaussian(2, SHAPE, affine)
    model = VAE(VampPrior(2, 3, mean=-2.0, low=-4.0, high=4.0), real, posteriors.Gaussian(2, SHAPE, small))
    assert model.prior.pseudo_inputs.mean() < -1.9
    assert ELBO(model)(torch.randn(5, 3), t)[0].isfinite().all()


def test_a_training_refuses_data_beyond_the_pseudo_inputs() -> None:
    real = likelihoods.Gaussian(2, SHAPE, affine)
    model = VAE(VampPrior(2, 3), real, posteriors.Gaussian(2, SHAPE, small))
    with pytest.raises(ValueError, match=r"pseudo-inputs go from 0 to 1, the data from .* to .*; write the data's --prior.low"):
        fit(Amortized(ELBO(model)), from_arrays(100 + torch.rand(60, 3)), Training(steps=1))


def test_the_aggregated_posterior_is_the_best_prior() -> None:
    """With the data themselves as pseudo-inputs p(z) is q(z) of these data, to 1e-10, and the KL is the mutual information;
    the normal prior's is larger."""
    data = torch.bernoulli(torch.full((400, 3), 0.5))
    posterior: Posterior = FullGaussian(2, SHAPE, affine)
    model = VAE(VampPrior(2, 400, std=0.0), Bernoulli(2, SHAPE, affine), posterior)
    model.prior.start_from(data)
    seen = diagnose(model, data)
    assert abs(seen.aggregate_kl) < 1e-10 and math.isclose(seen.kl, seen.mutual_information)
    assert seen.kl < diagnose(VAE(Normal(2), Bernoulli(2, SHAPE, affine), posterior), data).kl


def test_on_an_interval() -> None:
    """Beside a posterior on an interval the prior lives there too."""
    model = VAE(VampPrior(2, 3), Bernoulli(2, SHAPE, affine), LogitNormal(2, SHAPE, affine))
    assert model.prior.support.lower_bound == 0 and model.prior().sample(Size((50,))).max() < 1
