"""The importance-weighted bound: it rises with K, never above log p(x), and its doubly reparameterised gradient."""

import math

import pytest
import torch
from torch import Tensor

from laws.numerics import assert_equal, assert_mean, replaying
from laws.parts import vae
from laws.ppca import PPCA
from uncollapse.vae import IWAE, JointELBO, VariationalEM

t = torch.tensor(0)


def bound_and_gradients(ppca: PPCA, x: Tensor, lam: Tensor, k: int, doubly: bool) -> tuple[Tensor, list[Tensor]]:
    """The bound [B], and its gradients for the parameters of q, row by row, and for the decoder; the same draws each time."""
    torch.manual_seed(3)
    lam = lam.clone().requires_grad_()
    bound, _ = IWAE(ppca.vae, k, doubly_reparameterized=doubly)(x, t, lam)
    return bound.detach(), list(torch.autograd.grad(bound.sum(), [lam, ppca.decoder.weight, ppca.decoder.bias]))


def test_one_sample_is_the_elbo(ppca: PPCA) -> None:
    """K = 1 gives the ELBO of the same draw, exactly."""
    x, noise = ppca.sample(20), torch.randn(1, 20, 2)
    with replaying(noise):
        iwae, elbo = IWAE(ppca.vae, k=1)(x, t)[0], JointELBO(ppca.vae, k=1)(x, t)[0]
    assert_equal(iwae, elbo)


def test_it_rises_with_every_doubling(ppca: PPCA) -> None:
    """log mean exp over 2K draws is at least the average of those over its halves (Jensen): draw by draw, so in expectation."""
    x, pool = ppca.sample(50), torch.randn(64, 50, 2)
    bounds = {}
    for k in (1, 2, 4, 8, 16, 32, 64):
        parts = []
        for part in pool.split(k):
            with replaying(part):
                parts.append(IWAE(ppca.vae, k)(x, t)[0])
        bounds[k] = torch.stack(parts).mean(0)
    for k in (1, 2, 4, 8, 16, 32):
        assert (bounds[2 * k] >= bounds[k] - 1e-10).all()
        assert (bounds[2 * k] > bounds[k]).any()


def test_it_never_exceeds_the_evidence(ppca: PPCA) -> None:
    """E[IWAE_K] <= log p(x) for K = 1, 4, 16, one-sided at 6 standard errors over 4000 draws each, and the gap closes with K:
    3 numbers, failure rate 3e-9."""
    x = ppca.sample(1)
    gaps = []
    for k in (1, 4, 16):
        draws = IWAE(ppca.vae, k)(x.expand(4000, -1), t)[0].detach()
        gaps.append(float(ppca.log_prob(x).detach() - draws.mean()))
        assert gaps[-1] >= -6 * float(draws.std()) / math.sqrt(4000)
    assert gaps[0] > gaps[1] > gaps[2]


def test_log_mean_exp_by_hand(ppca: PPCA) -> None:
    """The bound is log 1/K Σ w_k of the model's own terms, with the same draws."""
    x, noise = ppca.sample(6), torch.randn(5, 6, 2)
    with replaying(noise):
        bound, terms = IWAE(ppca.vae, k=5)(x, t)[0], ppca.vae.terms(x, k=5)
    assert_equal(bound, terms.log_w.exp().mean(0).log())


def test_doubly_reparameterised_bound_and_decoder_gradient_are_the_same(ppca: PPCA) -> None:
    """The same value and the same gradient for θ as the plain IWAE, exactly, on common draws."""
    x = ppca.sample(10)
    lam = ppca.vae.posterior.encode(x).detach()
    plain, gradients = bound_and_gradients(ppca, x, lam, 8, doubly=False)
    other, better = bound_and_gradients(ppca, x, lam, 8, doubly=True)
    assert_equal(other, plain)
    for a, b in zip(better[1:], gradients[1:], strict=True):
        assert_equal(a, b)
    assert not torch.allclose(better[0], gradients[0])


@pytest.mark.parametrize("k", [1, 16])
def test_doubly_reparameterised_encoder_gradient(ppca: PPCA, k: int) -> None:
    """The same mean as the plain IWAE's gradient for φ (7 numbers over 20000 common draws at 6 standard errors, failure rate
    3e-8 for both K), with less variance near the exact posterior."""
    ppca.solve_encoder()
    x = ppca.sample(1).expand(20000, -1)
    lam = ppca.vae.posterior.encode(x).detach() + 0.2
    plain = bound_and_gradients(ppca, x, lam, k, doubly=False)[1][0]
    better = bound_and_gradients(ppca, x, lam, k, doubly=True)[1][0]
    assert_mean(better - plain, 0.0)
    assert better.var(0).sum() < 0.5 * plain.var(0).sum()


def test_doubly_reparameterised_gradient_vanishes_at_the_exact_posterior(ppca: PPCA) -> None:
    """All weights are equal there, and d log w / dz = 0: the encoder's gradient is zero draw by draw, the plain one is not."""
    ppca.solve_encoder()
    x = ppca.sample(5)
    lam = ppca.vae.posterior.encode(x).detach()
    assert bound_and_gradients(ppca, x, lam, 4, doubly=True)[1][0].abs().max() < 1e-9
    assert bound_and_gradients(ppca, x, lam, 4, doubly=False)[1][0].abs().max() > 1e-2


def test_free_parameters_have_a_gradient_too() -> None:
    """The IWAE of variational EM moves the decoder and nothing else."""
    model = vae(posterior="Free")
    procedure = VariationalEM(IWAE(model, k=3))
    assert {id(p) for p in procedure.parameters()} == {id(p) for p in model.likelihood.parameters()}
