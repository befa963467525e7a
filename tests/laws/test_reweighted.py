"""Reweighted EM: the gradient of θ is that of the evidence, the gradient of φ closes KL(p(z|x) ‖ q)."""

from functools import partial

import pytest
import torch
from torch import Size, Tensor
from torch.distributions import kl_divergence

from laws.numerics import adam, assert_equal, assert_mean, cubature, replaying
from laws.parts import affine, vae
from laws.ppca import PPCA
from uncollapse.distributions import Bernoulli, ChainPosterior, ChainPrior, Normal, Refined, VampPrior, posteriors
from uncollapse.networks import Bias
from uncollapse.vae import IWAE, VAE, Amortized, ReweightedEM

t = torch.tensor(0)


def per_row(ppca: PPCA, row: Tensor, k: int, n: int) -> tuple[Tensor, Tensor]:
    """n independent estimates for one observation: the gradient for b, [n, D], and for the parameters of q, [n, P]."""
    start = ppca.vae.posterior.encode(row).detach()
    found: list[tuple[Tensor, ...]] = []
    for _ in range(n):
        lam = start.clone().requires_grad_()
        bound = ReweightedEM(ppca.vae, k)(row, t, lam)[0]
        found.append(torch.autograd.grad(bound.sum(), [ppca.decoder.bias, lam]))
    return torch.stack([theta for theta, _ in found]), torch.stack([phi[0] for _, phi in found])


def test_exact_posterior_gives_the_gradient_of_the_evidence(ppca: PPCA) -> None:
    """With q = p(z|x) all weights are equal: the value is log p(x), ∇θ is ∇θ log p(x), exactly (by cubature)."""
    ppca.solve_encoder()
    x, theta = ppca.sample(10), [ppca.decoder.weight, ppca.decoder.bias]
    with cubature():
        bound = ReweightedEM(ppca.vae, k=4)(x, t)[0]
    assert_equal(bound, ppca.log_prob(x))
    for a, b in zip(torch.autograd.grad(bound.sum(), theta), torch.autograd.grad(ppca.log_prob(x).sum(), theta), strict=True):
        assert_equal(a, b)


def test_gradients_in_the_limit(ppca: PPCA) -> None:
    """For another q, K = 2000: ∇θ has the mean ∇θ log p(x) and ∇φ the mean -∇φ KL(p(z|x) ‖ q), at 6 standard errors over 50
    estimates and 2e-2 for the bias of self-normalised weights, O(1/K); 9 numbers, failure rate 2e-8."""
    ppca.solve_encoder()
    with torch.no_grad():
        ppca.encoder.bias.add_(torch.tensor([0.1, -0.1, 0.3, 0.2, 0.1]))
    row = ppca.sample(1)
    theta, phi = per_row(ppca, row, k=2000, n=50)
    (evidence,) = torch.autograd.grad(ppca.log_prob(row).sum(), ppca.decoder.bias)
    lam = ppca.vae.posterior.encode(row).detach().requires_grad_()
    (closing,) = torch.autograd.grad(-kl_divergence(ppca.posterior(row), ppca.gaussian(lam)).sum(), lam)
    assert_mean(theta, evidence, slack=2e-2)
    assert_mean(phi, closing[0], slack=2e-2)
    assert closing.abs().max() > 0.2


def test_value_and_model_gradient_are_those_of_iwae(ppca: PPCA) -> None:
    """With the same draws: the value and ∇θ of the importance-weighted bound, and another ∇φ."""
    x, noise = ppca.sample(6), torch.randn(8, 6, 2)
    with replaying(noise):
        ours, theirs = ReweightedEM(ppca.vae, k=8)(x, t)[0], IWAE(ppca.vae, k=8)(x, t)[0]
    assert_equal(ours, theirs)
    weights = [ppca.decoder.weight, ppca.encoder.weight]
    (a, c), (b, d) = (torch.autograd.grad(bound.sum(), weights) for bound in (ours, theirs))
    assert_equal(a, b)
    assert not torch.allclose(c, d)


def test_it_raises_the_evidence() -> None:
    """60 steps on data of a known model take the mean exact log p(x) more than half of the way to that model's own."""
    truth, ppca = PPCA(), PPCA()
    x = truth.sample(100)
    procedure = Amortized(ReweightedEM(ppca.vae, k=20))
    procedure.connect(lambda module: module, adam(0.05))
    with torch.no_grad():
        start, goal = ppca.log_prob(x).mean(), truth.log_prob(x).mean()
    for step in range(60):
        procedure.step(x, torch.tensor(step))
    with torch.no_grad():
        assert ppca.log_prob(x).mean() - start > 0.5 * (goal - start) > 0


def test_one_sample_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 2 samples .* came k=1"):
        ReweightedEM(vae(), k=1)


def test_a_posterior_that_learns_through_the_model_is_refused() -> None:
    """Its log q(z|x) would hand the model a gradient that is not that of the evidence."""
    family = partial(posteriors.Gaussian, network=Bias)
    vae = VAE(Normal(2), Bernoulli(2, Size((3,)), Bias), Refined(2, Size((3,)), family, steps=1))
    with pytest.raises(ValueError, match="holds its samples of q fixed, Refined learns through the model; write IWAE"):
        ReweightedEM(vae, k=4)


@pytest.mark.parametrize("nested", [False, True])
def test_a_prior_of_posteriors_learns_by_its_pseudo_inputs_alone(nested: bool) -> None:
    """Beside a VampPrior φ is in log p(z) too: its gradient is Σ w̃ ∇ log q(z|x) all the same, and the pseudo-inputs' is
    Σ w̃ ∇ log p(z); to 1e-12, within a chain too."""
    shape, gaussian = Size((3,)), partial(posteriors.Gaussian, network=affine)
    vamp = partial(VampPrior, components=3, mean=0.5, std=0.3)
    q = ChainPosterior(4, shape, gaussian, gaussian, affine) if nested else gaussian(4, shape)
    prior = ChainPrior(4, vamp, gaussian) if nested else vamp(4)
    model = VAE(prior, Bernoulli(4, shape, affine), q)
    x, phi, theta = torch.bernoulli(torch.full((4, 3), 0.5)), list(q.parameters()), list(prior.parameters())
    torch.manual_seed(1)
    found = torch.autograd.grad(ReweightedEM(model, k=5)(x, t)[0].sum(), phi + theta)
    torch.manual_seed(1)
    z = model.posterior(x).sample(Size((5,)))
    log_q, log_joint = model.posterior(x).log_prob(z), model.log_joint(x, z)
    weights = (log_joint - log_q).softmax(0).detach()
    expected = [
        *torch.autograd.grad((weights * log_q).sum(), phi),
        *torch.autograd.grad((weights * log_joint).sum(), theta, retain_graph=True),
    ]
    for a, b in zip(found, expected, strict=True):
        assert_equal(a, b, 1e-12)
    leak = torch.autograd.grad((weights * log_joint).sum(), phi, allow_unused=True)
    assert max(float(v.abs().max()) for v in leak if v is not None) > 1e-3
