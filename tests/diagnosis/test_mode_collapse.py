"""The diagnosis of mode collapse, proved on generators made to drop modes."""

import math

import pytest
import torch
from torch import Tensor

from laws.numerics import assert_mean
from uncollapse.data.modes import Modes
from uncollapse.diagnosis import diagnose_samples, mode_coverage
from uncollapse.diagnosis.mode_collapse import near_pairs
from uncollapse.diagnosis.mode_verdict import lasting

ANGLES = torch.arange(8) * math.pi / 4
RING = Modes(torch.stack((ANGLES.cos(), ANGLES.sin()), 1), sigma=0.05)


def ring(n: int, modes: int = 8, seed: int = 0, off: float = 0.0, sigma: float = RING.sigma) -> Tensor:
    """Draws of so many of the ring's modes, of some width, moved off by some standard deviations."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(modes, (n,), generator=generator)
    return RING.means[chosen] + sigma * (torch.randn(n, 2, generator=generator) + off)


@pytest.mark.parametrize(
    ("modes", "off", "verdict"),
    [(8, 0.0, "healthy"), (6, 0.0, "dropping modes"), (2, 0.0, "collapsed"), (1, 0.0, "collapsed"), (8, 9.0, "diverged")],
)
@pytest.mark.parametrize("known", [True, False])
def test_generators_made_to_drop_modes(modes: int, off: float, verdict: str, known: bool) -> None:
    """The verdict with known modes and by neighbours alone; two of eight modes are a collapse, six are dropped ones.

    By neighbours a quarter of the data uncovered is within the tolerance that images need, so six of eight pass there."""
    found = diagnose_samples(ring(1000, modes, off=off), ring(1000, seed=1), RING if known else None)
    expected = {(6, False): {"healthy", "dropping modes"}, (2, False): {"collapsed", "dropping modes"}}.get(
        (modes, known), {verdict}
    )
    assert found.verdict in expected
    assert known == (found.modes is not None)
    assert abs(found.coverage - (0.97 * modes / 8 if not off else 0.0)) < 0.06


@pytest.mark.parametrize("sigma", [0.3, 0.4])
@pytest.mark.parametrize("known", [True, False])
def test_generators_made_to_blur(sigma: float, known: bool) -> None:
    """All modes at six and eight times their width: blurred, and neither diverged nor healthy, with nothing to try against
    dropped modes; the same with half of the modes is no longer spread as the data are."""
    real, remedies = ring(1000, seed=1), ["uncollapse train"]
    found = diagnose_samples(ring(1000, sigma=sigma), real, RING if known else None, remedies=remedies)
    assert found.verdict == "blurred" and "energy distance 0.0" in found.reason and found.remedies == []
    half = diagnose_samples(ring(1000, 4, sigma=sigma), real, RING if known else None, remedies=remedies)
    assert half.verdict == "diverged" and half.remedies == remedies


def test_few_draws_for_the_modes_are_told_so() -> None:
    """Twenty draws of eight modes: healthy, and beside their reverse KL stands that of a perfect sampler, 7 / 40."""
    found = diagnose_samples(ring(20), ring(1000, seed=1), RING)
    assert found.verdict == "healthy" and found.reason.endswith("(of a perfect sampler's as few draws: 0.17)")


def test_how_sharp_draws_are_to_be() -> None:
    """With known modes: half of a perfect sampler's draws replaced by wide ones is healthy, three quarters are blurred, and
    draws that are spread as the data are but never in a mode have diverged."""
    sharp, wide = ring(2000), ring(2000, sigma=0.4, seed=2)
    verdicts = [diagnose_samples(torch.cat((sharp[:n], wide[n:])), ring(2000, seed=1), RING).verdict for n in (1000, 500)]
    assert verdicts == ["healthy", "blurred"]
    beside = RING.means * 1.16  # 3.2 standard deviations off, all of them
    found = diagnose_samples(beside.repeat(125, 1), ring(1000, seed=1), RING)
    assert found.energy_distance < 0.02 and found.verdict == "diverged"


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_near_pairs_tell_the_size_of_the_support(share: float) -> None:
    """Uniform draws over a share of an interval have 100 over the share of them on average; 60 samples of 300 at 6 standard
    errors (failure rate 2e-9)."""
    generator = torch.Generator().manual_seed(0)
    draws = lambda: torch.rand(300, 1, generator=generator, dtype=torch.float64)  # noqa: E731
    found = [near_pairs(share * draws(), draws()) for _ in range(60)]
    assert all(pairs[1] == 100 for pairs in found)
    assert_mean(torch.tensor([pairs[0] for pairs in found], dtype=torch.float64), 100 / share)
    assert near_pairs(torch.zeros(20, 1), draws())[0] == 190


def test_a_perfect_sampler_by_pacgan_s_protocol() -> None:
    """All modes, 98.9 % within three sigmas (2,500 draws at 6 standard errors, failure rate 2e-9), reverse KL at its floor."""
    found = mode_coverage(ring(2500), RING)
    inside = 1 - math.exp(-4.5)
    assert found.modes == found.known == 8
    assert abs(found.high_quality - inside) < 6 * math.sqrt(inside * (1 - inside) / 2500)
    assert found.reverse_kl < 6 * found.floor


def test_half_the_modes_are_log_two() -> None:
    """The reverse KL of even draws of four of eight modes is log 2."""
    found = mode_coverage(RING.means[:4].repeat(100, 1), RING)
    assert found.modes == 4 and abs(found.reverse_kl - math.log(2)) < 1e-12


def test_no_draw_in_a_mode() -> None:
    """None captured, nothing of high quality, and a reverse KL that is as large as it can be."""
    found = mode_coverage(RING.means + 9, RING)
    assert (found.modes, found.high_quality, found.reverse_kl) == (0, 0.0, math.log(8))


def test_evidence_of_copies() -> None:
    """Draws over and over lie at no distance of each other, in many pairs."""
    found = diagnose_samples(ring(4).repeat(100, 1), ring(400, seed=1), RING)
    assert found.nearest_ratio == 0.0 and found.near_pairs > 100 * found.near_pairs_data
    assert "reverse KL" in str(found) and f"near pairs           {found.near_pairs} among draws" in str(found)
    assert found.critic is None and not any("critic" in name for name in found.as_dict())


def test_draws_that_are_not_finite() -> None:
    """Diverged, in one line, and nothing raised."""
    fake = ring(100)
    fake[3] = math.nan
    assert diagnose_samples(fake, ring(100), RING).reason == "the draws are not finite"
    with pytest.raises(ValueError, match="at least 10 draws"):
        diagnose_samples(fake[:5], ring(100))


def test_a_collapse_that_lasts() -> None:
    """Twice in a row, unless modes come back."""
    few, more, fine, dim = (
        {"verdict": v, "modes": m, "known_modes": 8, "coverage": 0.5}
        for v, m in (("collapsed", 1), ("dropping modes", 5), ("healthy", 8), ("blurred", 8))
    )
    assert not lasting(dim, dim) and not lasting(few, dim) and not lasting(dim, few)
    assert lasting(few, few) and not lasting(few, more) and not lasting(fine, few) and not lasting(few, fine)
