"""The evidence: log p(x) = ELBO + KL(q ‖ p(z|x)), and the gradients that follow from it."""

import pytest
import torch

from laws.numerics import assert_equal, assert_mean, cubature
from laws.ppca import PPCA
from uncollapse.vae import ELBO, IWAE, EntropyELBO, JointELBO

t = torch.tensor(0)
FORMS = [ELBO, EntropyELBO, JointELBO]


def exact(form: type, ppca: PPCA, x: torch.Tensor, parameters: torch.Tensor | None = None) -> torch.Tensor:
    """The bound [B] in exact expectation over the draws."""
    with cubature():
        return form(ppca.vae, k=2 * ppca.latent)(x, t, parameters)[0]


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_log_evidence_is_elbo_plus_divergence_exactly(form: type, diagonal: bool) -> None:
    """log p(x) = E_q[log p(x, z) - log q(z)] + KL(q ‖ p(z|x)) for any q: 50 random q, to 1e-10, for every form of the ELBO."""
    ppca = PPCA(diagonal=diagonal)
    x = ppca.sample(50)
    q = torch.randn(50, ppca.encoder.out_features)
    assert_equal(exact(form, ppca, x, q) + ppca.gap(x, q), ppca.log_prob(x))


def test_log_evidence_is_elbo_plus_divergence_in_the_mean(ppca: PPCA) -> None:
    """The same with the encoder's own draws: 64 observations at 6 standard errors, failure rate 1e-7."""
    x = ppca.sample(64)
    log_w = ppca.vae.terms(x, k=4096).log_w
    assert_mean(log_w, ppca.log_prob(x) - ppca.gap(x, ppca.vae.posterior.encode(x)))


def test_importance_weights_of_the_exact_posterior_are_constant(ppca: PPCA) -> None:
    """log p(x, z) - log p(z|x) = log p(x) at every draw, so ELBO and IWAE are log p(x) whatever K."""
    ppca.solve_encoder()
    x = ppca.sample(20)
    assert_equal(ppca.vae.terms(x, k=7).log_w, ppca.log_prob(x).expand(7, -1))
    assert_equal(IWAE(ppca.vae, k=3)(x, t)[0], ppca.log_prob(x))


def test_importance_weights_average_to_the_evidence(ppca: PPCA) -> None:
    """E_q[w] = p(x) for a wider q, and for draws of the prior: 16 numbers at 6 standard errors, failure rate 3e-8."""
    x = 0.5 * ppca.sample(8)
    wide = ppca.vae.posterior.at(ppca.vae.posterior.widen(ppca.vae.posterior.encode(x), 2.0))
    for q in (wide, ppca.vae.prior()):
        log_w = ppca.vae.terms(x, k=20000, q=q).log_w
        assert_mean((log_w - ppca.log_prob(x)).exp(), 1.0)


@pytest.mark.parametrize("form", FORMS)
def test_model_gradient_at_the_exact_posterior_is_that_of_the_evidence(form: type, ppca: PPCA) -> None:
    """∇θ ELBO = ∇θ log p(x) where q = p(z|x): exact, for all of θ."""
    ppca.solve_encoder()
    x, theta = ppca.sample(10), [ppca.decoder.weight, ppca.decoder.bias]
    bound = torch.autograd.grad(exact(form, ppca, x).sum(), theta)
    evidence = torch.autograd.grad(ppca.log_prob(x).sum(), theta)
    for a, b in zip(bound, evidence, strict=True):
        assert_equal(a, b)


@pytest.mark.parametrize("form", FORMS)
def test_encoder_gradient_is_that_of_minus_the_divergence(form: type, ppca: PPCA) -> None:
    """∇φ ELBO = -∇φ KL(q ‖ p(z|x)) at any φ: exact, for the weights of the encoder."""
    x, phi = ppca.sample(10), list(ppca.encoder.parameters())
    bound = torch.autograd.grad(exact(form, ppca, x).sum(), phi)
    gap = torch.autograd.grad(ppca.gap(x, ppca.vae.posterior.encode(x)).sum(), phi)
    for a, b in zip(bound, gap, strict=True):
        assert_equal(a, -b)


def test_encoder_gradient_is_zero_at_the_exact_posterior(ppca: PPCA) -> None:
    """∇φ ELBO = 0 where q = p(z|x), to 1e-9: nothing is left to learn."""
    ppca.solve_encoder()
    gradients = torch.autograd.grad(exact(ELBO, ppca, ppca.sample(10)).sum(), list(ppca.encoder.parameters()))
    assert max(float(g.abs().max()) for g in gradients) < 1e-9
