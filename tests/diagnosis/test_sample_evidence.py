"""The measures of samples: against closed forms, other implementations, and what other real rows score."""

import math

import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from laws.numerics import assert_mean
from uncollapse.diagnosis import sample_evidence
from uncollapse.diagnosis.sample_evidence import Measure
from uncollapse.divergences import energy_distance, prdc
from uncollapse.divergences.group_shares import group_shares, label_shares, shifted_mass
from uncollapse.divergences.sample_distances import SampleDistances, pull_in


def normals(n: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    x, y = torch.randn(2, n, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, y


@pytest.mark.parametrize("size", [2, 40])
def test_shares_are_those_of_prdc(size: int) -> None:
    """Precision, recall and coverage of samples of another scale equal the blockwise implementation."""
    x, y = normals(200, size, 0)
    found, known = sample_evidence(x, 0.8 * y), prdc(x, 0.8 * y)
    assert [found[name].value for name in ("precision", "recall", "coverage")] == [
        known.precision,
        known.recall,
        known.coverage,
    ]


@pytest.mark.parametrize("size", [2, 30])
def test_of_data_is_what_other_real_rows_score(size: int) -> None:
    """Mean over 60 pairs of samples of the shares less their reference, at 6 standard errors (failure rate 2e-9)."""
    found = [sample_evidence(*normals(100, size, seed)) for seed in range(60)]
    for name in ("precision", "recall", "coverage", "repeats", "near_pairs", "spread"):
        excess = torch.tensor([seen[name].excess[0] for seen in found], dtype=torch.float64)
        bias = 0.01 if name in ("precision", "recall", "repeats") else 0.0  # n - 1 rows for n
        assert_mean(excess - excess.mean().clamp(-bias, bias), 0.0)


def test_a_row_in_no_other_row_s_neighbourhood() -> None:
    """The reference by scikit-learn's graph of five neighbours: the share of rows that some other row points at."""
    x, y = normals(150, 20, 1)
    graph = NearestNeighbors(n_neighbors=5).fit(x).kneighbors_graph().toarray()
    assert sample_evidence(x, y)["precision"].of_data == pytest.approx((graph.sum(0) > 0).mean())


def test_energy_distance_is_a_share_of_its_largest_value() -> None:
    """The U-statistic of the divergences, as a share of 2 E|x - y|; its standard error is that of 60 repetitions within a
    third."""
    x, y = normals(300, 3, 0)
    found = sample_evidence(x, y + 0.5)["energy_coefficient"]
    across = 2 * float(torch.cdist(x, y + 0.5).mean())
    assert found.value == pytest.approx(energy_distance(x, y + 0.5) / across, rel=1e-4)
    some = [sample_evidence(x, y + 0.5)["energy_coefficient"] for x, y in (normals(100, 3, seed) for seed in range(60))]
    spread = torch.tensor([seen.value for seen in some]).std()
    assert 0.66 < torch.tensor([seen.standard_error for seen in some]).mean() / spread < 1.5


def test_few_far_samples_do_not_decide_energy_and_spread() -> None:
    """Two in a hundred samples at a million: both stay where they are."""
    x, y = normals(500, 5, 0)
    y[:10] += 1e6
    found = sample_evidence(x, y)
    assert found["energy_coefficient"].value < 0.005 and found["spread"].value < 1.1 and found["precision"].ratio[0] < 1.02


def test_pull_in_leaves_what_lies_among_the_data() -> None:
    x, y = normals(400, 3, 0)
    real, fake = pull_in(x, torch.cat((y, 50 + y)))
    assert torch.equal(real, x) and torch.equal(fake[:400], y)
    reach = 1.5 * torch.linalg.vector_norm(x - x.mean(0), dim=1).quantile(0.99)
    assert torch.allclose(torch.linalg.vector_norm(fake[400:] - x.mean(0), dim=1), reach)


@pytest.mark.parametrize("size", [1, 3, 30])
def test_distances_among_and_across(size: int) -> None:
    x, y = normals(50, size, 0)
    found = SampleDistances.of(x, y)
    assert torch.allclose(found.across.double(), torch.cdist(y, x), atol=1e-5)
    assert found.real.diagonal().isinf().all() and torch.equal(found.real, found.real.T)
    with pytest.raises(ValueError, match="as many samples as data rows, got 40 and 50"):
        SampleDistances.of(x, y[:40])


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_near_pairs_tell_the_size_of_the_support(share: float) -> None:
    """Samples uniform over a share of an interval have 1 / share times the data's near pairs, 100 samples of 300 at 6 standard
    errors (failure rate 2e-9)."""
    generator = torch.Generator().manual_seed(0)
    rows = lambda: torch.rand(300, 1, generator=generator, dtype=torch.float64)  # noqa: E731
    found = [sample_evidence(rows(), share * rows())["near_pairs"] for _ in range(100)]
    assert_mean(torch.tensor([seen.value for seen in found], dtype=torch.float64), 1 / share)
    assert all(0 < seen.standard_error < 0.5 / share for seen in found)


def test_repeats_of_some_samples() -> None:
    """A fifth of the samples have a twin, whatever the dimension; data that repeat themselves are no fault of the samples."""
    x, y = normals(500, 10, 0)
    y[:50] = y[50:100]
    assert sample_evidence(x, y)["repeats"].value == pytest.approx(0.2, abs=0.02)
    found = sample_evidence(x.round(), y.round())["repeats"]
    assert found.excess[0] == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("size", [1, 2, 50])
def test_the_error_of_the_nearest_ratio_is_that_of_repetitions(size: int) -> None:
    """Nearest distances vary as an exponential distribution on a line and hardly in 50 dimensions. To a factor of two: those of
    neighbours depend on each other, and 40 repetitions tell their deviation to 11 %."""
    found = [sample_evidence(*normals(300, size, seed))["nearest_ratio"] for seed in range(40)]
    values, errors = torch.tensor([measure[:2] for measure in found]).T
    assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.45)
    assert float((values - 1).abs().mean()) < 3 * float(values.std())


@pytest.mark.parametrize(("size", "shift"), [(2, 0.0), (2, 0.3), (50, 0.3)])
def test_the_error_of_coverage_is_that_of_repetitions(size: int, shift: float) -> None:
    """Not smaller, but for what 40 repetitions cannot tell, and at most twice as large: a jackknife errs on that side."""
    pairs = [normals(300, size, seed) for seed in range(40)]
    values, errors = torch.tensor([sample_evidence(x, y + shift)["coverage"][:2] for x, y in pairs]).T
    assert 0.8 < float(errors.mean() / values.std()) < 2.2


def test_a_ratio_has_the_error_of_both() -> None:
    """By the delta method, against a simulation of the quotient of two means."""
    measure = Measure(0.8, 0.02, 0.9, 0.03)
    value, error = measure.ratio
    draws = torch.randn(2, 200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    quotient = (0.8 + 0.02 * draws[0]) / (0.9 + 0.03 * draws[1])
    assert value == pytest.approx(0.8 / 0.9) and error == pytest.approx(float(quotient.std()), rel=0.03)
    assert measure.excess == pytest.approx((-0.1, math.hypot(0.02, 0.03)))


def test_misplaced_mass_of_labels_in_closed_form() -> None:
    """Half of the mass moved from two labels to the other two: the total variation is 1/2. Between equals the mean is at most
    0, 60 samples at 6 standard errors (failure rate 1e-9 one-sided)."""
    generator = torch.Generator().manual_seed(0)
    labels = lambda p: torch.multinomial(torch.tensor(p), 400, replacement=True, generator=generator)  # noqa: E731
    even = [0.25] * 4
    moved = [label_shares(labels(even), labels([0.5, 0.5, 0.0, 0.0]), 4).misplaced_mass for _ in range(60)]
    assert abs(sum(moved) / 60 - 0.5) < 6 * math.sqrt(0.5 / 400 / 60)
    equal = torch.tensor([label_shares(labels(even), labels(even), 4).misplaced_mass for _ in range(60)])
    assert equal.mean() < 6 * equal.std() / math.sqrt(60)
    assert equal.std() < 1.5 * label_shares(labels(even), labels(even), 4).standard_error


@pytest.mark.parametrize("size", [2, 100])
def test_groups_that_samples_miss_are_found(size: int) -> None:
    """Six clumps far apart, of which samples meet four: a third of the mass is misplaced, a third of the rows is missed."""
    generator = torch.Generator().manual_seed(0)
    centres = 10 * torch.randn(6, size, generator=generator)
    rows = lambda k, n: centres[torch.randint(k, (n,), generator=generator)] + torch.randn(n, size, generator=generator)  # noqa: E731
    found = group_shares(rows(6, 600), rows(4, 600), groups=6)
    assert found.misplaced_mass == pytest.approx(1 / 3, abs=0.1)
    assert int(found.real.sum()) == int(found.fake.sum()) == 600
    assert float(found.real[found.fake == 0].sum()) == pytest.approx(200, abs=60)


def test_shifted_mass_of_two_normals_in_closed_form() -> None:
    """N(0, 1) against N(1, 1): the total variation is 2 Φ(1/2) - 1 = 0.383, on one side of the middle. 40 samples of 500 at 6
    standard errors (failure rate 2e-9), less the cut's loss of at most 0.01. Between equals the mean is at most 0."""
    moved, equal = [], []
    for seed in range(40):
        x, y = normals(500, 1, seed)
        moved.append(shifted_mass(x, y + 1)[0])
        equal.append(shifted_mass(x, y)[0])
    exact, tolerance = math.erf(0.5 / math.sqrt(2)), 6 * torch.tensor(moved).std() / math.sqrt(40)
    assert -0.01 - tolerance < torch.tensor(moved).mean() - exact < tolerance
    assert torch.tensor(equal).mean() < 6 * torch.tensor(equal).std() / math.sqrt(40)
