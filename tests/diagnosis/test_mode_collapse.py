"""The diagnosis of a generator, proved on samplers made to drop modes, to blur, to diverge and to copy."""

import json
import math

import pytest
import torch
from torch import Tensor

from uncollapse.data.modes import Modes
from uncollapse.diagnosis import Measure, ModeCollapseThresholds, diagnose_samples, mode_coverage
from uncollapse.diagnosis.mode_verdict import MEANINGS, lasting, verdict_on

ANGLES = torch.arange(8) * math.pi / 4
RING = Modes(torch.stack((ANGLES.cos(), ANGLES.sin()), 1), sigma=0.05)


def ring(n: int, modes: int = 8, seed: int = 0, off: float = 0.0, sigma: float = RING.sigma) -> Tensor:
    """Samples of so many of the ring's modes, of some width, moved off by some standard deviations."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(modes, (n,), generator=generator)
    return RING.means[chosen] + sigma * (torch.randn(n, 2, generator=generator) + off)


@pytest.mark.parametrize(
    ("modes", "off", "verdict"),
    [(8, 0.0, "healthy"), (7, 0.0, "dropping modes"), (6, 0.0, "dropping modes"), (1, 0.0, "collapsed"), (8, 9.0, "diverged")],
)
@pytest.mark.parametrize("known", [True, False])
def test_generators_made_to_drop_modes(modes: int, off: float, verdict: str, known: bool) -> None:
    """The verdict with known modes and by neighbours alone; by neighbours one of eight modes is within the margin."""
    found = diagnose_samples(ring(1000, modes, off=off), ring(1000, seed=1), modes=RING if known else None)
    expected = {verdict, "too few"} if (modes, known) == (7, False) else {verdict}  # near its margin
    assert found.verdict in expected
    assert known == (found.modes is not None)
    assert found.measures["coverage"].value == pytest.approx(0.97 * modes / 8 if not off else 0.0, abs=0.06)


def test_two_of_eight_modes_are_a_collapse_where_modes_are_known() -> None:
    found = diagnose_samples(ring(1000, 2), ring(1000, seed=1), modes=RING)
    assert found.verdict == "collapsed" and found.reason.startswith("2 of 8 modes") and found.modes is not None
    assert found.modes.missing == 6 and [round(group.samples, 3) for group in found.missing] == [0.0] * 6


@pytest.mark.parametrize("sigma", [0.2, 0.3])
def test_generators_made_to_blur(sigma: float) -> None:
    """All modes at four and six times their width: blurred. The same with half of the modes is no longer spread as the data."""
    real = ring(1000, seed=1)
    found = diagnose_samples(ring(1000, sigma=sigma), real, modes=RING)
    assert found.verdict == "blurred" and "energy coefficient 0.0" in found.reason
    assert diagnose_samples(ring(1000, 4, sigma=sigma), real, modes=RING).verdict == "diverged"


def test_points_within_modes_are_a_collapse() -> None:
    """Eight exact points, one in each known mode: every mode is met, in the right proportions, and nothing else."""
    found = diagnose_samples(RING.means.repeat(125, 1), ring(1000, seed=1), modes=RING)
    assert found.modes is not None and found.modes.modes == 8 and found.modes.missing == 0
    assert found.verdict == "collapsed" and "repeat" in found.reason


@pytest.mark.parametrize("share", [0.2, 0.31, 0.5, 0.69])
@pytest.mark.parametrize("known", [True, False])
def test_samples_far_off_beside_perfect_ones(share: float, known: bool) -> None:
    """A share of samples at +100, the others perfect: diverged, whichever the share."""
    x = ring(1000)
    x[: int(1000 * share)] += 100
    found = diagnose_samples(x, ring(1000, seed=1), modes=RING if known else None)
    assert found.verdict == "diverged" and abs(int(found.reason.split(" %")[0]) - 100 * share) <= 3


@pytest.mark.parametrize("size", [50, 100, 784])
def test_a_constant_in_many_dimensions(size: int) -> None:
    """At the data's mean it lies within every ball: precision and coverage are perfect, and it is a collapse."""
    real = torch.randn(500, size)
    found = diagnose_samples(torch.zeros(500, size), real)
    assert found.measures["precision"].value == found.measures["coverage"].value == 1.0
    assert found.measures["recall"].value == 0.0 and found.verdict == "collapsed"
    assert found.closeness is not None and found.closeness < 0


def test_closeness_prefers_what_is_right() -> None:
    """Of a constant, few rows, the centres of groups, a scale of 0.5 or 1.5, noise and other real rows: these are the closest.

    Over 100 dimensions, where coverage less energy distance preferred scale 0.5 to 1.05."""
    generator = torch.Generator().manual_seed(0)
    real, x = torch.randn(2, 600, 100, generator=generator)
    closeness = lambda fake: diagnose_samples(fake, real).closeness or 0.0  # noqa: E731
    noise = x + torch.randn(600, 100, generator=generator)
    wrong = [torch.zeros(600, 100), x[:20].repeat(30, 1), 0.5 * x, 1.5 * x, noise, torch.cat((x[:300], x[:300]))]
    assert closeness(x) > 0.9 > 0.6 > max(closeness(fake) for fake in wrong)
    assert closeness(1.02 * x) > closeness(0.5 * x) and closeness(0.98 * x) > closeness(0.5 * x)


def test_the_larger_sample_is_cut() -> None:
    """Fifty perfect samples beside two thousand rows: their shares are those of fifty rows; and they are too few."""
    found = diagnose_samples(ring(50), ring(2000, seed=1))
    assert found.n == 50 and found.verdict == "too few" and found.measures["coverage"].ratio[0] > 0.9
    assert diagnose_samples(ring(2000), ring(50, seed=1)).verdict == "too few"


@pytest.mark.parametrize(("n", "k"), [(10, 1000), (30, 1000), (100, 25)])
def test_few_perfect_samples_of_many_modes_are_no_collapse(n: int, k: int) -> None:
    """Thirty samples reach at most thirty of a thousand modes."""
    known = Modes(torch.arange(k).unsqueeze(1).float() * torch.ones(2), sigma=0.01)
    generator = torch.Generator().manual_seed(0)
    a, b = (known.means[torch.randint(k, (m,), generator=generator)] for m in (n, 2000))
    a, b = (x + 0.01 * torch.randn(x.shape, generator=generator) for x in (a, b))
    assert diagnose_samples(a, b, modes=known).verdict == "too few"


def test_copies_of_training_rows() -> None:
    """Told only where the training rows are handed over; fresh rows are none."""
    generator = torch.Generator().manual_seed(0)
    train, real, fresh = (torch.randn(n, 8, generator=generator) for n in (3000, 500, 500))
    assert diagnose_samples(train[:500], real).verdict == "healthy"
    found = diagnose_samples(train[:500] + 1e-3, real, train)
    assert found.verdict == "copies the data" and found.measures["copies"].value > 0.95
    assert diagnose_samples(fresh, real, train).verdict == "healthy"
    some = torch.cat((train[:150], fresh[:350]))
    assert diagnose_samples(some, real, train).verdict == "copies the data"


def test_samples_that_are_not_finite() -> None:
    """Diverged, in one line, and nothing raised."""
    fake = ring(100)
    fake[:3] = math.nan
    found = diagnose_samples(fake, ring(100), modes=RING)
    assert (found.verdict, found.reason) == ("diverged", "3 % of the samples are not finite")
    assert found.closeness is None and "nan" not in json.dumps(found.as_dict())


@pytest.mark.parametrize("n", [1, 5, 19])
def test_a_handful_is_too_few_and_no_error(n: int) -> None:
    found = diagnose_samples(ring(n), ring(100))
    assert found.verdict == "too few" and f"{n} samples" in found.reason and found.as_dict()["n"] == n
    assert diagnose_samples(ring(100), ring(n)).verdict == "too few"


def test_it_reads_as_text_and_as_json() -> None:
    found = diagnose_samples(ring(500), ring(500, seed=1), modes=RING)
    values = json.loads(json.dumps(found.as_dict()))
    assert values["precision_data"] > 0.9 and values["reverse_kl_floor"] > 0 and values["high_quality"] > 0.95
    assert "reverse KL" in str(found) and "near pairs" in str(found) and found.verdict in MEANINGS
    assert found.critic is None and not any("critic" in name for name in values)


@pytest.mark.parametrize("value", [0.96, 0.9, 0.84])
def test_a_measure_near_its_threshold_is_undecided(value: float) -> None:
    """Within, open or beyond by two standard errors: healthy, too few, or at fault."""
    seen = {
        "precision": Measure(value, 0.02, 1.0),
        "recall": Measure(1.0, 0.01, 1.0),
        "coverage": Measure(1.0, 0.01, 1.0),
        "energy_coefficient": Measure(0.001, 0.0, 0.0),
    }
    verdict, reason = verdict_on(seen, 1000)
    assert verdict == {0.96: "healthy", 0.9: "too few", 0.84: "blurred"}[value]
    assert ("samples would tell" in reason) == (verdict == "too few")
    assert verdict_on(seen, 1000, ModeCollapseThresholds(precision=0.7))[0] == "healthy"


def test_a_perfect_sampler_by_pacgan_s_protocol() -> None:
    """All modes, 98.9 % within 3 sigmas (2,500 samples at 6 standard errors, failure rate 2e-9); reverse KL near its floor."""
    found = mode_coverage(ring(2500), RING)
    inside = 1 - math.exp(-4.5)
    assert found.modes == found.known == 8
    assert abs(found.high_quality - inside) < 6 * math.sqrt(inside * (1 - inside) / 2500)
    assert found.reverse_kl < 6 * found.floor and found.missing == 0


def test_half_the_modes_are_log_two() -> None:
    """The reverse KL of even samples of four of eight modes is log 2; samples that lie in no mode do not count."""
    found = mode_coverage(torch.cat((RING.means[:4].repeat(100, 1), RING.means[4:5].repeat(300, 1) + 5)), RING)
    assert found.modes == 4 and abs(found.reverse_kl - math.log(2)) < 1e-12 and found.missing == 4


def test_no_sample_in_a_mode() -> None:
    """None captured, nothing of high quality, and a reverse KL that is as large as it can be."""
    found = mode_coverage(RING.means + 9, RING)
    assert (found.modes, found.high_quality, found.reverse_kl) == (0, 0.0, math.log(8))


def test_a_collapse_that_lasts() -> None:
    """Twice in a row, unless modes come back or samples come nearer."""
    few, more, fine, dim, near = (
        {"verdict": v, "modes": m, "known_modes": 8, "closeness": c}
        for v, m, c in (
            ("collapsed", 1, 0.0),
            ("dropping modes", 5, 0.0),
            ("healthy", 8, 0.9),
            ("blurred", 8, 0.1),
            ("diverged", 1, 0.2),
        )
    )
    assert not lasting(dim, dim) and not lasting(few, dim) and not lasting(dim, few)
    assert lasting(few, few) and not lasting(few, more) and not lasting(fine, few) and not lasting(few, fine)
    assert lasting(near, few) and not lasting(few, near) and lasting(near, near)


def test_one_of_eight_modes_left_out_is_missing_mass() -> None:
    """An eighth of the data lie in groups without samples, and the verdict says so, where modes are not known; of perfect
    samples no group is surely missing."""
    found = diagnose_samples(ring(1500, 7), ring(1500, seed=1))
    assert found.measures["missing_mass"].value == pytest.approx(1 / 8, abs=0.03)
    assert found.verdict == "dropping modes" and found.measures["coverage"].ratio[0] > 0.8
    assert diagnose_samples(ring(1500), ring(1500, seed=1)).measures["missing_mass"].value == 0.0


def test_the_error_of_missing_mass_is_that_of_repetitions() -> None:
    """One of eight modes left out, and samples shifted so that groups at the edge are missing now and then: within a factor of
    two, or above, of what 12 repetitions vary by."""
    for modes, off in ((7, 0.0), (8, 0.5)):
        seen = [diagnose_samples(ring(400, modes, i, off), ring(400, seed=100 + i)).measures["missing_mass"] for i in range(12)]
        values, errors = torch.tensor([measure[:2] for measure in seen]).T
        assert 0.5 * values.std() < errors.mean() < 4 * values.std()


def test_what_more_samples_cannot_tell_is_said() -> None:
    """More than are compared would be needed."""
    verdict, reason = verdict_on({"recall": Measure(0.682, 0.02, 0.8)}, 2500)
    assert verdict == "too few" and reason.endswith("samples would tell, more than the 2,500 that are compared")


def test_modes_shifted_by_less_than_half_their_width_are_not_missing() -> None:
    """Groups at the edge of a mode get half their share, which is no group left out."""
    shifted = diagnose_samples(ring(2500) + 0.02, ring(2500, seed=1))
    assert shifted.measures["missing_mass"].value < 0.04 and shifted.verdict == "healthy"
    assert sum(group.data for group in shifted.missing) > 0.04


def test_closeness_sees_wrong_proportions() -> None:
    """Half of all samples in one of eight modes: near all observations and among them, and far by energy."""
    right, wrong = ring(1000, seed=3), torch.cat((ring(550, seed=3), ring(450, 1, seed=4)))
    closeness = [diagnose_samples(x, ring(1000, seed=1)).closeness or 0.0 for x in (right, wrong)]
    assert closeness[1] < closeness[0] - 0.2


@pytest.mark.parametrize(("chances", "verdict"), [(2.5, "healthy"), (3.5, "dropping modes")])
def test_shares_of_modes_are_uneven_beyond_chance_alone(chances: float, verdict: str) -> None:
    """Three standard deviations of a perfect sampler's reverse KL above the margin."""
    known = mode_coverage(ring(1000), RING)
    told = known.floor + 0.1 + chances * known.deviation
    assert verdict_on({"energy_coefficient": Measure(0.0, 0.0, 0.0)}, 1000, modes=known._replace(reverse_kl=told))[0] == verdict


@pytest.mark.parametrize("unit", [1e-300, 1e-200, 1e-20, 1e-13, 1e20, 1e150, 1e300])
@pytest.mark.parametrize("dimensions", [3, 20])
def test_a_verdict_does_not_know_the_unit(unit: float, dimensions: int) -> None:
    """Amperes or picoamperes: no square of a number overflows or vanishes, and nothing is compared with a number of its own."""
    real, fake = torch.randn(2, 400, dimensions, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    for samples in (fake, 0.05 * fake, fake + 9):
        found, other = diagnose_samples(samples, real), diagnose_samples(unit * samples, unit * real)
        assert other.verdict == found.verdict and other.reason == found.reason


@pytest.mark.parametrize("far", [1e4, 1e6, 1e12, 1e200])
@pytest.mark.parametrize("dimensions", [1, 5, 20])
def test_one_far_row_decides_nothing(far: float, dimensions: int) -> None:
    """A row of the data, or a sample, however far out: good samples stay good, and their spread is that of the others."""
    x = torch.randn(2, 500, dimensions, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    for which in (0, 1):
        real, fake = x.index_put((torch.tensor(which), torch.tensor(0), torch.tensor(0)), torch.tensor(far).double())
        found = diagnose_samples(fake, real)
        assert found.verdict in ("healthy", "too few"), found.reason
        assert found.measures["spread"].value == pytest.approx(1.0, abs=0.1)
