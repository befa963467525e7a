"""Chains of latents: the product rule, and a linear-Gaussian model of two levels where everything is known."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Size, Tensor
from torch.distributions import MultivariateNormal

from laws.numerics import assert_equal, assert_mean
from laws.parts import POSTERIORS, affine, prior, small
from uncollapse.diagnosis import diagnose
from uncollapse.distributions import (
    BatchNormalized,
    Bernoulli,
    Chain,
    ChainPosterior,
    ChainPrior,
    Density,
    FixedSigma,
    Free,
    FullGaussian,
    LogitNormal,
    Mixture,
    Normal,
    Refined,
    Uniform,
    VampPrior,
    block_terms,
    likelihoods,
    posteriors,
)
from uncollapse.distributions.densities import DiagonalNormal, StandardNormal
from uncollapse.distributions.flow_posteriors import Flow
from uncollapse.distributions.flows import IAF
from uncollapse.evaluation import Widened, log_likelihood
from uncollapse.networks import Bias
from uncollapse.vae import ELBO, IWAE, VAE

SHAPE = Size((3,))
t = torch.tensor(0)
gaussian = partial(posteriors.Gaussian, network=small)
full = partial(FullGaussian, network=affine)


def hierarchical(first: type = Normal, features: int = 5, top: int = 2) -> VAE:
    """A model of two levels of bits of shape (3,), z2 of size 2 and z1 of size 3."""
    posterior = ChainPosterior(features, SHAPE, gaussian, gaussian, affine, context=4, top=top)
    return VAE(ChainPrior(features, first, gaussian, top=top), Bernoulli(features, SHAPE, affine), posterior)


class Linear:
    """z2 ~ N(0, I), z1|z2 ~ N(A z2, s² I), x|z ~ N(W (z2, z1), σ² I): two levels, whose p(x) and p(z|x) are Gaussian.

    A and the scale s are those of the prior's affine network, W that of the likelihood's, which sees both levels (a skip
    connection). The posterior is a chain of full Gaussians with affine encoders: the exact one is a member.
    """

    def __init__(self, data: int = 4, top: int = 2, bottom: int = 2, sigma: float = 0.6):
        self.top, self.bottom, self.sigma, features, shape = top, bottom, sigma, top + bottom, Size((data,))
        prior = ChainPrior(features, Normal, partial(posteriors.Gaussian, network=affine), top=top)
        likelihood = likelihoods.Gaussian(features, shape, affine, partial(FixedSigma, value=sigma))
        posterior = ChainPosterior(features, shape, full, full, affine, context=data, top=top)
        self.vae = VAE(prior, likelihood, posterior)
        self.between, self.decoder = prior.then.network.layers[0], likelihood.network.layers[0]
        with torch.no_grad():
            self.between.weight[bottom:] = 0.0  # the scale does not depend on z2
            self.between.bias[bottom:] = -0.4
            self.decoder.weight.normal_()

    def joint(self) -> MultivariateNormal:
        """p(z2, z1, x), exactly."""
        a, b, w = self.between.weight[: self.bottom], self.between.bias, self.decoder.weight
        mean = torch.cat((torch.zeros(self.top), b[: self.bottom]))
        lower = torch.cat((torch.eye(self.top), a)), torch.cat((torch.zeros(self.top, self.bottom), self.scale()))
        root = torch.cat(lower, 1)
        both = torch.cat((root, w @ root))
        noise = torch.zeros(both.shape[0], len(w))
        noise[-len(w) :] = self.sigma * torch.eye(len(w))
        whole = torch.cat((both, noise), 1)
        return MultivariateNormal(torch.cat((mean, w @ mean + self.decoder.bias)), whole @ whole.T)

    def scale(self) -> Tensor:
        """s I."""
        return torch.diag(self.between.bias[self.bottom :].exp())

    def sample(self, n: int) -> Tensor:
        """n observations of p(x)."""
        return self.joint().sample(Size((n,)))[:, self.top + self.bottom :].detach()

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), exactly."""
        p, n = self.joint(), self.top + self.bottom
        return MultivariateNormal(p.mean[n:], p.covariance_matrix[n:, n:]).log_prob(x).detach()

    @torch.no_grad()
    def solve(self) -> None:
        """Make q(z2|x) q(z1|x, z2) the exact posterior: conditionals of the joint Gaussian, h(x) = x."""
        p, top, n, q = self.joint(), self.top, self.top + self.bottom, self.vae.posterior
        q.network.layers[0].weight.copy_(torch.eye(q.context))
        q.network.layers[0].bias.zero_()
        x, above, below = range(n, len(p.mean)), range(top), range(top, n)
        regress(p, list(above), list(x), q.first)
        regress(p, list(below), [*x, *above], q.then)


def regress(p: MultivariateNormal, of: list[int], on: list[int], family: FullGaussian) -> None:
    """Make an affine encoder of a full Gaussian the conditional of some coordinates of a Gaussian on others."""
    covariance, encoder = p.covariance_matrix, family.network.layers[0]
    gain = torch.linalg.solve(covariance[on][:, on], covariance[on][:, of]).T
    tril = torch.linalg.cholesky(covariance[of][:, of] - gain @ covariance[on][:, of])
    encoder.weight.zero_()
    encoder.weight[: len(of)] = gain
    mean = p.mean[of] - gain @ p.mean[on]
    encoder.bias.copy_(torch.cat((mean, tril.diagonal().sub(1e-6).expm1().log(), tril[tuple(family.below)])))


@pytest.mark.parametrize("first", [Normal, partial(Mixture, components=3)])
def test_density_is_the_sum_of_the_conditionals(first: type) -> None:
    """log p(z) = log p(z2) + log p(z1|z2), and the same for the posterior at each x; block by block."""
    model, z = hierarchical(first), torch.randn(4, 6, 5)
    p, (z2, z1) = model.prior(), z.split([2, 3], -1)
    above, below = model.prior.first().log_prob(z2), model.prior.then(z2).log_prob(z1)
    assert_equal(p.log_prob(z), above + below)
    assert_equal(p.blocks(z), torch.stack((above, below), -1))
    posterior, x = model.posterior, torch.randn(6, 3)
    h = posterior.network(x).expand(4, 6, -1)
    expected = posterior.first(x).log_prob(z2) + posterior.then(torch.cat((h, z2), -1)).log_prob(z1)
    assert_equal(posterior(x).log_prob(z), expected)


def test_independent_blocks_are_the_product() -> None:
    """p(z1|z2) that ignores z2: the standard normal over both, and draws of the same moments."""
    model = ChainPrior(5, Normal, partial(posteriors.Gaussian, network=Bias), top=2)
    z = torch.randn(7, 5)
    assert_equal(model().log_prob(z), StandardNormal(5, z).log_prob(z))
    draws = model().sample(Size((20000,)))
    assert_mean(torch.cat((draws, draws.square() - 1), -1), 0.0)  # 10 numbers at 6 standard errors, failure rate 2e-8


def test_three_levels() -> None:
    """A chain whose first block is a chain: three blocks with names, the density their sum, the draws of the right sizes."""
    inner = partial(ChainPrior, first=Normal, then=gaussian, top=1)
    p = ChainPrior(6, inner, gaussian, top=3)()
    z = p.sample(Size((4,)))
    assert (p.names, p.sizes, z.shape, p.blocks(z).shape) == (["z3", "z2", "z1"], (1, 2, 3), (4, 6), (4, 3))
    assert_equal(p.blocks(z).sum(-1), p.log_prob(z))
    assert_equal(p.blocks(z)[:, 0], StandardNormal(1, z).log_prob(z[:, :1]))


def test_draws_of_the_prior_have_its_moments() -> None:
    """Mean and covariance of (z2, z1) in the linear model, 6 numbers of first and 10 of second order at 6 standard errors over
    20000 draws (failure rate 3e-8)."""
    linear = Linear()
    p, z = linear.joint(), linear.vae.prior().sample(Size((20000,)))
    centred = z - p.mean[:4].detach()
    assert_mean(centred, 0.0)
    second = (centred.unsqueeze(-1) * centred.unsqueeze(-2)).flatten(1)
    assert_mean(second, p.covariance_matrix[:4, :4].detach().flatten())


def test_exact_posterior_reaches_the_evidence() -> None:
    """At q(z2|x) q(z1|x, z2) = p(z|x) every weight is log p(x), so ELBO and IWAE are, draw by draw, to 1e-9."""
    linear = Linear()
    linear.solve()
    x = linear.sample(20)
    assert_equal(linear.vae.terms(x, k=5).log_w.detach(), linear.log_prob(x).expand(5, -1), 1e-9)
    assert_equal(ELBO(linear.vae)(x, t)[0].detach(), linear.log_prob(x), 1e-9)
    assert_equal(IWAE(linear.vae, k=3)(x, t)[0].detach(), linear.log_prob(x), 1e-9)


def test_the_bound_stays_below_the_evidence() -> None:
    """Any other posterior leaves ELBO < log p(x): one-sided at 6 standard errors over 4000 draws for each of 8 observations;
    the importance weights average to p(x) for one near the exact one (16 numbers, failure rate 3e-8)."""
    linear = Linear()
    x = linear.sample(8)
    log_w = linear.vae.terms(x, k=4000).log_w.detach()
    error = log_w.std(0) / 4000**0.5
    assert (log_w.mean(0) + 6 * error < linear.log_prob(x)).all()
    linear.solve()
    with torch.no_grad():
        for part in (linear.vae.posterior.first, linear.vae.posterior.then):
            part.network.layers[0].bias[2:4] += 0.3  # wider than the exact one, so that the weights have a variance
    weights = (linear.vae.terms(x, k=20000).log_w.detach() - linear.log_prob(x)).exp()
    assert_mean(weights, 1.0)
    assert (linear.vae.terms(x, k=4000).log_w.mean(0) < linear.log_prob(x)).all()


def test_held_out_likelihood_of_two_levels() -> None:
    """Importance sampling gives the exact log p(x) at the exact posterior."""
    linear = Linear()
    linear.solve()
    x = linear.sample(10)
    assert_equal(log_likelihood(linear.vae, x, k=20).log_likelihoods, linear.log_prob(x), 1e-9)


def test_mean_of_a_chain() -> None:
    """Exact where p(z1|z2) is affine in z2 (the linear model's posterior mean), for full and diagonal first blocks."""
    linear = Linear()
    linear.solve()
    x, p = linear.sample(6), linear.joint()
    gain = torch.linalg.solve(p.covariance_matrix[4:, 4:], p.covariance_matrix[4:, :4]).T
    assert_equal(linear.vae.posterior(x).mean, p.mean[:4] + (x - p.mean[4:]) @ gain.T)
    q = DiagonalNormal(torch.randn(3, 2), torch.randn(3, 2))
    square = Chain(q, lambda z2: DiagonalNormal(z2.square(), torch.zeros_like(z2)), 2)
    assert_equal(square.mean[:, 2:], q.loc.square() + q.variance)


def test_the_diagnosis_reports_by_block() -> None:
    """KL of each block, z2 first; their sum is the KL. In the linear model at the exact posterior the top block's is
    KL(p(z2|x) ‖ p(z2)), in closed form, within 6 standard errors over 1000 observations (failure rate 2e-9)."""
    linear = Linear()
    linear.solve()
    x = linear.sample(1000)
    seen = diagnose(linear.vae, x)
    assert list(seen.kl_blocks) == ["z2", "z1"]
    assert sum(seen.kl_blocks.values()) == pytest.approx(seen.kl)
    q = linear.vae.posterior.first(x)
    exact = torch.distributions.kl_divergence(MultivariateNormal(q.mean, q.covariance_matrix), normal(2)).detach()
    z = q.sample()
    spread = float((q.log_prob(z) - normal(2).log_prob(z)).detach().std())
    assert abs(seen.kl_blocks["z2"] - float(exact.mean())) < 6 * spread / 1000**0.5
    assert "KL of z2" in str(seen)


def normal(features: int) -> MultivariateNormal:
    """N(0, I)."""
    return MultivariateNormal(torch.zeros(features), torch.eye(features))


def test_free_bits_are_by_block() -> None:
    """Each level's mean divergence counts as λ where it is below: of a lower level that equals its prior λ is left, the upper
    one counts in full. The two terms sum to the divergence with no free bits."""
    model, x = hierarchical(), torch.bernoulli(torch.full((40, 3), 0.5))
    with torch.no_grad():
        model.posterior.first.network.layers[-1].bias[:2] += 3.0
    found = {}
    for bits in (0.0, 0.5, 2.0):
        torch.manual_seed(0)
        bound, logged = ELBO(model, free_bits=bits)(x, t)
        found[bits] = (logged["log_likelihood"] - bound).mean()
    torch.manual_seed(0)
    q, p = model.posterior(x), model.prior()
    levels = block_terms(q, p, q.rsample()).mean(0)
    assert levels[0] > 2.0
    for bits, value in found.items():
        assert_equal(value, levels.clamp_min(bits).sum() if bits else levels.sum())


def test_a_collapsed_lower_level_is_seen() -> None:
    """q(z1|x, z2) = p(z1|z2) and a q(z2|x) that moves: the divergence is all in z2, and no unit of z1 is active."""
    posterior = ChainPosterior(4, SHAPE, partial(posteriors.Gaussian, network=affine), full_bias, affine, context=2)
    model = VAE(ChainPrior(4, Normal, full_bias), Bernoulli(4, SHAPE, affine), posterior)
    seen = diagnose(model, torch.bernoulli(torch.full((300, 3), 0.5)))
    assert abs(seen.kl_blocks["z1"]) < 1e-10 < seen.kl_blocks["z2"] and seen.active_units <= 2


full_bias = partial(posteriors.Gaussian, network=Bias)


def test_a_plain_model_has_no_blocks() -> None:
    """Nor has a chain beside a posterior without blocks, or with others."""
    gauss = posteriors.Gaussian(5, SHAPE, affine)
    plain = VAE(ChainPrior(5, Normal, gaussian), Bernoulli(5, SHAPE, affine), gauss)
    assert diagnose(plain, torch.ones(5, 3)).kl_blocks == {}
    other = ChainPosterior(5, SHAPE, gaussian, gaussian, affine, context=2, top=3)
    mixed = VAE(ChainPrior(5, Normal, gaussian), Bernoulli(5, SHAPE, affine), other)
    assert diagnose(mixed, torch.ones(5, 3)).kl_blocks == {}


def test_two_levels_with_a_vamp_prior(tmp_path: Path) -> None:
    """The hierarchical VampPrior: p(z2) mixes q(z2|u), every part gets a gradient, and it is the same after it was saved."""
    model = hierarchical(partial(VampPrior, components=4, std=0.2))
    assert model.prior.first.posterior is model.posterior.first
    x = torch.bernoulli(torch.full((6, 3), 0.5))
    bound, _ = ELBO(model)(x, t)
    bound.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    assert len(names) == len(set(names)) == len(list(model.parameters()))
    z = model.prior().sample(Size((5,)))
    u = model.prior.first.pseudo_inputs.clamp(0, 1)
    q = model.posterior.first(u)
    above = torch.stack([q.log_prob(row).exp().mean().log() for row in z[:, :2]])
    assert_equal(model.prior().blocks(z)[:, 0], above)
    model.eval().save_pretrained(tmp_path)
    assert torch.equal(VAE.from_pretrained(tmp_path).prior().log_prob(z), model.prior().log_prob(z))


class Bound(posteriors.Gaussian):
    """A posterior that gives a bound on its density."""

    density = Density.BOUND


def test_refusals() -> None:
    """Empty blocks, blocks on an interval, without an exact density or an encoder; a VampPrior of another size than q(z2|x)."""
    for top in (0, 5):
        with pytest.raises(ValueError, match="needs 0 < top < 5"):
            ChainPrior(5, Normal, gaussian, top=top)
    with pytest.raises(ValueError, match="0 < top < 1"):
        ChainPosterior(1, SHAPE, gaussian, gaussian, affine)
    with pytest.raises(ValueError, match="Uniform on an interval"):
        ChainPrior(4, Uniform, gaussian)
    with pytest.raises(ValueError, match="LogitNormal on an interval"):
        ChainPosterior(4, SHAPE, gaussian, partial(LogitNormal, network=affine), affine)
    with pytest.raises(ValueError, match="Bound gives a bound in place of it"):
        ChainPosterior(4, SHAPE, partial(Bound, network=affine), gaussian, affine)
    with pytest.raises(ValueError, match="Free finds its parameters through the model"):
        ChainPosterior(4, SHAPE, partial(Free, family=gaussian), gaussian, affine)
    with pytest.raises(ValueError, match="at least 1 feature of x"):
        ChainPosterior(4, SHAPE, gaussian, gaussian, affine, context=0)
    vamp, bernoulli = ChainPrior(4, VampPrior, gaussian), Bernoulli(4, SHAPE, affine)
    with pytest.raises(ValueError, match="Gaussian has 4; within ChainPrior write --posterior ChainPosterior"):
        VAE(vamp, bernoulli, POSTERIORS["Gaussian"](4, SHAPE))


def test_a_chain_prior_beside_free_parameters() -> None:
    """Free variational parameters ascend the ELBO under a chain; a chain's own would leave a block random."""
    family = partial(ChainPosterior, first=gaussian, then=gaussian, network=affine, context=2)
    with pytest.raises(ValueError, match="ChainPosterior has weights beside them, which nothing would learn"):
        Free(4, SHAPE, family)
    free = Free(4, SHAPE, gaussian, limit=20)
    model = VAE(prior("ChainPrior", 4), Bernoulli(4, SHAPE, affine), free)
    assert free.encode(torch.ones(2, 3)).isfinite().all() and model.posterior is free


def test_a_lower_block_does_not_normalise_over_draws() -> None:
    """BatchNormalized is fine as the first block, and refused as a lower one, of prior and posterior."""
    normalised = partial(BatchNormalized, network=affine)
    assert ChainPosterior(4, SHAPE, normalised, gaussian, affine, context=2)(torch.ones(5, 3)).sample().shape == (5, 4)
    for chain in (
        lambda: ChainPosterior(4, SHAPE, gaussian, normalised, affine, context=2),
        lambda: ChainPrior(4, Normal, normalised),
    ):
        with pytest.raises(ValueError, match="a lower block sees draws, over which BatchNormalized would normalise"):
            chain()


@pytest.mark.parametrize("inside", ["chain", "refined flow"])
def test_no_gradient_that_leaves_out_weights_beside_the_parameters(inside: str) -> None:
    """The doubly reparameterised gradient holds q's parameters alone: it is refused where q has weights beside them."""
    chain = partial(ChainPosterior, first=gaussian, then=gaussian, network=affine, context=2)
    flow = partial(Refined, family=partial(Flow, network=affine, transform=IAF), steps=1)
    posterior = (chain if inside == "chain" else flow)(4, SHAPE)
    with pytest.raises(ValueError, match="weights of its own"):
        IWAE(VAE(Normal(4), Bernoulli(4, SHAPE, affine), posterior), doubly_reparameterized=True)


def test_a_chain_has_no_scale_to_widen() -> None:
    model = hierarchical()
    with pytest.raises(ValueError, match="ChainPosterior has no scale to widen; write --proposal posterior"):
        log_likelihood(model, torch.ones(2, 3), k=4, proposal=Widened(1.5))
