"""The diagnosis against exact answers: mutual information, its ceiling, and the split of the divergence."""

import math

import pytest
import torch
from torch import Tensor

from laws.numerics import assert_equal, assert_mean
from laws.parts import RICH, pairs, vae
from laws.ppca import PPCA
from uncollapse.diagnosis import diagnose
from uncollapse.diagnosis.information import aggregated_log_prob


def channel(sigma: float, data: int = 4, latent: int = 2, scale: float = 1.0) -> PPCA:
    """A linear-Gaussian channel with its exact posterior, so that q(z) = p(z) and I(x; z) = ½ log det(I + Wᵀ W / σ²)."""
    ppca = PPCA(data, latent, sigma)
    ppca.set_decoder(scale * torch.randn(data, latent))
    ppca.solve_encoder()
    return ppca


def information(ppca: PPCA) -> Tensor:
    """I(x; z) exactly, in nats."""
    return 0.5 * torch.logdet(ppca.gain() / ppca.sigma**2).detach()


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_information_of_a_linear_channel(sigma: float) -> None:
    """The estimate is the exact one where log N does not bind: 6 standard errors over N = 1200 draws and 0.05 nats for the
    estimator's own bias (its q(z) counts z's own x), 3 numbers each, failure rate 2e-8."""
    ppca = channel(sigma)
    x = ppca.sample(1200)
    seen = diagnose(ppca.vae, x)
    with torch.no_grad():
        q = ppca.vae.posterior(x)
        z = q.sample()
        spread = float((q.log_prob(z) - ppca.vae.prior().log_prob(z)).std())  # of each draw of log q(z|x) / q(z), q(z) = p(z)
    tolerance = 6 * spread / 1200**0.5 + 0.05
    assert abs(seen.mutual_information - float(information(ppca))) < tolerance
    assert abs(seen.kl - float(information(ppca))) < tolerance
    assert abs(seen.aggregate_kl) < tolerance  # the aggregated posterior is the prior here


def test_information_respects_its_ceiling() -> None:
    """I <= log N always, since q(z) >= q(z|x_i) / N: reached where the channel carries far more, and reported."""
    for n in (50, 200):
        ppca = channel(sigma=1e-4)
        seen = diagnose(ppca.vae, ppca.sample(n))
        assert information(ppca) > 15
        assert seen.mutual_information_ceiling == pytest.approx(math.log(n))
        assert math.log(n) - 1e-3 < seen.mutual_information <= math.log(n) + 1e-10


@pytest.mark.parametrize(("prior", "posterior"), [pair for pair in pairs() if pair[1] not in ("Free", *RICH)])
def test_divergence_is_information_plus_aggregate(prior: str, posterior: str) -> None:
    """KL = I(x; z) + KL(q(z) ‖ p(z)), term by term where the KL is the same Monte Carlo estimate, and at 6 standard errors over
    800 draws where it is in closed form (12 numbers at most, failure rate 2e-8)."""
    model = vae(prior, "Bernoulli", posterior).eval()
    x = torch.randn(800, 3)
    torch.manual_seed(4)
    seen = diagnose(model, x)
    torch.manual_seed(4)
    with torch.no_grad():
        q = model.posterior(x)
        z = q.sample()
        draws = q.log_prob(z) - model.prior().log_prob(z)
    assert_equal(torch.tensor(seen.mutual_information + seen.aggregate_kl), draws.mean())
    assert_mean(draws, seen.kl)
    assert sum(seen.kl_units) == pytest.approx(seen.kl)


def test_aggregate_by_hand() -> None:
    """log q(z_i) = log 1/N Σ_j q(z_i|x_j), the same in one piece and in many."""
    q = channel(0.7).vae.posterior(torch.randn(30, 4))
    z = q.sample()
    by_hand = torch.stack([q.log_prob(row).exp().mean().log() for row in z])
    assert_equal(aggregated_log_prob(q, z), by_hand)
    assert_equal(aggregated_log_prob(q, z, budget=1), by_hand)


def test_split_reads_off_a_shifted_posterior() -> None:
    """Where all posteriors are one Gaussian N(m, 1), I = 0 exactly and KL(q(z) ‖ p(z)) is the whole divergence ½ m²."""
    ppca = PPCA()
    with torch.no_grad():
        ppca.encoder.weight.zero_()
        ppca.encoder.bias.copy_(torch.tensor([4.0, 0.0, math.log(math.e - 1), math.log(math.e - 1), 0.0]))
    seen = diagnose(ppca.vae, ppca.sample(400))
    assert seen.mutual_information == pytest.approx(0.0, abs=1e-9)
    assert seen.kl == pytest.approx(8.0, abs=1e-4)
    assert seen.verdict == "collapsed"
