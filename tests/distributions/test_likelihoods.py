"""The likelihoods against scipy, at extreme values, and what they say of data that they cannot score."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Size, Tensor

from laws.numerics import assert_equal, every_event
from laws.parts import LIKELIHOODS, small
from uncollapse.distributions import (
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    FixedSigma,
    LearnedSigma,
    Likelihood,
    Normal,
    OptimalSigma,
    Recurrent,
    bits_per_dim,
    likelihoods,
    posteriors,
)
from uncollapse.distributions.fields import LogisticField
from uncollapse.networks import Bias
from uncollapse.vae import VAE

DISCRETE = [Bernoulli, partial(Categorical, levels=4), partial(DiscretizedLogistic, levels=4)]
z = torch.zeros(1, 2)


def test_bernoulli_is_scipys() -> None:
    """Σ_d log Bernoulli(x_d; sigmoid(l_d)), its mean, variance and entropy."""
    p = Bernoulli(2, Size((3,)), small)(torch.randn(5, 2, dtype=torch.get_default_dtype()))
    x, probabilities = every_event(2, Size((3,))), p.mean.detach().numpy()
    expected = stats.bernoulli.logpmf(x.unsqueeze(1).numpy(), probabilities).sum(-1)
    assert_equal(p.log_prob(x.unsqueeze(1)).detach(), torch.as_tensor(expected))
    assert_equal(p.entropy().detach(), torch.as_tensor(stats.bernoulli.entropy(probabilities).sum(-1)))
    assert_equal(p.variance.detach(), torch.as_tensor(stats.bernoulli.var(probabilities)))


def test_categorical_is_scipys() -> None:
    """Each value k / (n - 1) has its softmax probability, however the data's dimensions lie."""
    family = Categorical(2, Size((2, 2)), small, levels=5)
    p = family(torch.randn(2))
    logits, k = family.network, torch.randint(0, 5, (2, 2))
    assert logits.output == (5, 2, 2)
    expected = sum(
        stats.rv_discrete(values=(np.arange(5), p.log_p.exp()[:, i, j].detach().numpy())).logpmf(int(k[i, j]))
        for i in range(2)
        for j in range(2)
    )
    assert_equal(p.log_prob(k / 4).detach(), torch.tensor(expected))


def test_discretized_logistic_is_a_difference_of_scipys() -> None:
    """F(x + h) - F(x - h), with both tails in the outermost levels."""
    family = DiscretizedLogistic(2, Size((1,)), Bias, levels=6)
    with torch.no_grad():
        family.network.value.copy_(torch.tensor([[0.1], [0.3]]))
    x, h = torch.arange(6.0) / 5, 0.1
    cdf = stats.logistic(0.6, np.exp(0.3 - 2.0)).cdf
    above, below = cdf(x.numpy() + h), cdf(x.numpy() - h)
    above[-1], below[0] = 1.0, 0.0
    assert_equal(family(z[0]).log_prob(x.unsqueeze(-1)).detach().exp(), torch.as_tensor(above - below))


@pytest.mark.parametrize("sigma", [partial(FixedSigma, value=0.4), partial(LearnedSigma, start=2.0, per_pixel=True)])
def test_gaussian_is_scipys(sigma: type) -> None:
    """Σ_d log N(x_d; μ_d, σ_d²) with all constants, over an image."""
    family = likelihoods.Gaussian(2, Size((1, 2, 3)), small, sigma)
    p, x = family(torch.randn(4, 2)), torch.randn(4, 1, 2, 3)
    scale = np.sqrt(p.variance.detach().numpy())
    expected = stats.norm.logpdf(x.numpy(), p.mean.detach().numpy(), scale).reshape(4, -1).sum(-1)
    assert_equal(p.log_prob(x).detach(), torch.as_tensor(expected))


def test_optimal_sigma_is_the_maximum_likelihood_one() -> None:
    """No fixed σ gives the batch a higher likelihood; the value is -D/2 log 2πe σ̂²; in eval() the running average counts."""
    family = likelihoods.Gaussian(2, Size((3,)), Bias, OptimalSigma)
    x = 0.3 * torch.randn(50, 3)
    best = family(z).log_prob(x).mean().detach()
    assert_equal(best, -1.5 * (2 * torch.pi * torch.e * x.square().mean()).log())
    for value in (0.1, 0.25, 0.29, 0.31, 0.35, 1.0):
        assert likelihoods.Gaussian(2, Size((3,)), Bias, partial(FixedSigma, value=value))(z).log_prob(x).mean() <= best
    assert_equal(family.sigma.variance, x.square().mean())
    frozen = family.eval()(z).log_prob(100 * x)
    assert_equal(family.sigma.variance, x.square().mean())
    by_hand = partial(FixedSigma, value=float(x.square().mean().sqrt()))
    assert_equal(frozen, likelihoods.Gaussian(2, Size((3,)), Bias, by_hand)(z).log_prob(100 * x))


def test_optimal_sigma_leaves_out_what_is_not_finite() -> None:
    """A batch that overflowed does not spoil the running average; the first batches weigh alike."""
    sigma = OptimalSigma(Size((2,)), momentum=0.01)
    for value in (1.0, 3.0, float("nan")):
        sigma(torch.zeros(4, 2), torch.full((4, 2), value))
    assert_equal(sigma.variance, torch.tensor(5.0))


def test_sigmas_that_are_none_are_refused() -> None:
    """A running average whose newest batch has no share or more than all of it, and standard deviations not above 0."""
    for momentum in (0.0, -0.1, 7.0, float("nan")):
        with pytest.raises(ValueError, match=rf"momentum in \(0, 1\], came {momentum}; write 0.01"):
            OptimalSigma(Size((2,)), momentum)
    for value in (0.0, float("nan")):
        with pytest.raises(ValueError, match=f"sigma above 0, came {value}"):
            FixedSigma(Size((2,)), value)
        with pytest.raises(ValueError, match=f"sigma above 0, came start={value}"):
            LearnedSigma(Size((2,)), value)


@pytest.mark.parametrize("factory", DISCRETE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 9.0, 100.0, 1e4])
def test_values_and_gradients_stay_finite(factory: type, dtype: torch.dtype, value: float) -> None:
    """However far out the network's output lies, every level has a finite log mass and gradient, in both precisions."""
    family = factory(2, Size((2,)), Bias).to(dtype)
    x = every_event(family.levels, Size((2,))).to(dtype)
    torch.manual_seed(2)
    for signs in torch.randint(-1, 2, (30, *family.network.output)):
        with torch.no_grad():
            family.network.value.copy_(value * signs)
        log_p = family(z.to(dtype)).log_prob(x)
        (gradient,) = torch.autograd.grad(log_p.sum(), family.network.value)
        assert log_p.isfinite().all() and gradient.isfinite().all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_own_data_are_accepted_and_others_refused(name: str) -> None:
    """`check` lets the likelihood's own draws pass; another shape, NaN and, for discrete data, numbers off the grid
    do not, and the message names what to write instead."""
    family: Likelihood = LIKELIHOODS[name](2, Size((3,))).eval()
    x: Tensor = family(torch.randn(6, 2)).sample()
    family.check(x)
    with pytest.raises(ValueError, match=r"shape \(3,\), came \(2,\); (take data of|write --data.length 2 for)"):
        family.check(x[:, :2])
    if family.space.kind == "tokens":
        for wrong in (x + family.levels, x - family.levels):
            with pytest.raises(ValueError, match=r"Recurrent expects tokens from 0 to 2, got (?s:.*)use --likelihood.levels"):
                family.check(wrong)
        return
    with pytest.raises(ValueError, match="1 that are NaN or infinite"):
        family.check(torch.where(torch.arange(18).reshape(6, 3) == 4, torch.nan, x))
    if family.levels is None:
        family.check(100 * x)
    else:
        for wrong in (x * 0 + 0.4, x + 1, x - 1):
            with pytest.raises(ValueError, match=rf"{type(family).__name__} expects {family.levels} levels(?s:.)*write "):
                family.check(wrong)


def test_bernoulli_names_binarisation() -> None:
    """Grey images beside Bernoulli: how many values came, and the option to write."""
    with pytest.raises(ValueError, match=r"values from 0 to 1, 256 different ones .* --data.binarize dynamic"):
        Bernoulli(2, Size((256,)), Bias).check((torch.arange(256) / 255).expand(3, -1))


def test_bits_per_dim() -> None:
    """A uniform mass on 256 levels costs 8 bits, as a mass and as a density of dequantised data."""
    assert bits_per_dim(3 * np.log(256), 3) == pytest.approx(8.0)
    assert bits_per_dim(0.0, 3, dequantized=256) == pytest.approx(8.0)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_the_mean_of_a_discretised_logistic_is_that_of_its_masses(levels: int) -> None:
    """Σ_k k / (n - 1) P(k), to 1e-10, for locations within and far beyond [0, 1], scales far below and above a bin's width."""
    loc, log_scale = torch.cartesian_prod(torch.linspace(-3, 4, 8), torch.linspace(-9, 3, 7)).unsqueeze(-1).unbind(1)
    p = LogisticField(loc, log_scale, levels, Size((1,)))
    grid = (torch.arange(levels) / (levels - 1)).reshape(-1, 1, 1)
    assert_equal(p.mean, (grid * p.log_prob(grid).exp().unsqueeze(-1)).sum(0))


def test_a_reconstruction_is_the_mean_of_the_masses() -> None:
    """0.4032 at a location of 0.1 and a scale of 1 with 256 levels, most of whose mass lies on both ends."""
    model = VAE(Normal(2), DiscretizedLogistic(2, Size((1,)), Bias), posteriors.Gaussian(2, Size((1,)), Bias))
    with torch.no_grad():
        next(model.likelihood.parameters()).copy_(torch.tensor([[-0.4], [2.0]]))
    assert float(model.reconstruct(torch.zeros(1, 1))) == pytest.approx(0.40324276, abs=1e-8)


def test_tokens_that_count() -> None:
    """Up to the end, which counts, or the whole length where there is none; all of them where token 0 ends nothing."""
    x = torch.tensor([[1, 2, 0, 0], [0, 0, 0, 0], [2, 2, 2, 1]])
    sizes = {"levels": 3, "hidden": 2, "embedding": 2}
    assert Recurrent(1, Size((4,)), **sizes).tokens(x).tolist() == [3, 1, 4]
    assert Recurrent(1, Size((4,)), ends=False, **sizes).tokens(x).tolist() == [4, 4, 4]
    assert Bernoulli(1, Size((4,)), Bias).tokens(x) is None
