"""Two-sample tests: exact values, calibration where there is no difference, power where there is one."""

import math
from itertools import permutations

import pytest
import torch
from scipy import stats
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from laws.numerics import assert_equal, assert_mean
from uncollapse.divergences import RBF, InverseMultiquadric, Kernel, mmd
from uncollapse.evaluation import (
    classifier_test,
    energy_coefficient,
    energy_distance,
    mmd_test,
    nearest_neighbours,
)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.double)


@pytest.fixture(params=[60, 2**24])
def blocked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances a few rows at a time, and all at once."""
    monkeypatch.setattr("uncollapse.divergences.samples.BUDGET", request.param)


@pytest.mark.parametrize("kernel", [RBF([0.3, 2.0]), InverseMultiquadric()])
@pytest.mark.parametrize("width", [3, 40])
def test_the_statistic_is_the_projects(kernel: Kernel, width: int, blocked: None) -> None:
    x, y = normal(20, width), normal(31, width) + 0.5
    assert mmd_test(x, y, kernel, permutations=3).mmd == pytest.approx(float(mmd(x, y, kernel)), abs=1e-10)


def test_every_permutation_has_its_statistic(blocked: None) -> None:
    """Of 3 + 3 draws there are 20 ways to deal: 4000 permutations give the share of these that reach the statistic, at 5
    standard errors (6e-7)."""
    pool, kernel = normal(6, 2), RBF()
    order = torch.tensor(list(permutations(range(6))))
    every = torch.stack([mmd(pool[i[:3]], pool[i[3:]], kernel) for i in order])
    share = float((every >= every[0] - 1e-12).double().mean())
    found = mmd_test(pool[:3], pool[3:], kernel, permutations=4000)
    assert abs(found.p_value - share) < 5 * math.sqrt(share * (1 - share) / 4000) + 1 / 4000


def test_the_default_kernel_has_the_median_distance_as_its_scale(blocked: None) -> None:
    x, y = normal(21, 3), normal(20, 3)
    distances = torch.pdist(torch.cat((x, y)))
    kernel = mmd_test(x, y, permutations=1).kernel
    expected = torch.exp(-distances.square() / (2 * distances.median().square()))
    assert_equal(kernel(distances.square(), 3), expected)


def test_p_values_are_uniform_without_a_difference() -> None:
    """400 tests of 12 and 15 draws with 39 permutations: Kolmogorov's distance from the uniform distribution on k / 40 is below
    1.95 / √400, which a continuous one exceeds once in 1000, a discrete one more rarely; the seed is fixed."""
    p = torch.tensor([mmd_test(normal(12, 2), normal(15, 2), permutations=39, seed=i).p_value for i in range(400)])
    grid = torch.arange(1, 41) / 40
    distance = ((p.unsqueeze(1) <= grid + 1e-6).double().mean(0) - grid).abs().max()
    assert distance < 1.95 / 400**0.5


def test_a_difference_is_found() -> None:
    """A shift, and a scale that no mean shows; draws may have any shape and float32."""
    x, y = torch.randn(200, 1, 2, 2), torch.randn(150, 1, 2, 2)
    assert mmd_test(x, y + 1, permutations=199).p_value == 1 / 200
    assert mmd_test(x, 2 * y, permutations=199).p_value == 1 / 200
    assert mmd_test(x, y, permutations=199, seed=5)[:2] == mmd_test(x, y, permutations=199, seed=5)[:2]


def test_equal_draws_are_no_difference() -> None:
    """All statistics are equal up to rounding: p = 1."""
    x = torch.ones(5, 3)
    assert mmd_test(x, x, permutations=50)[:2] == pytest.approx((0.0, 1.0), abs=1e-9)


def test_energy_distance_is_scipys(blocked: None) -> None:
    """In one dimension scipy's is the root of the V-statistic; the U-statistic has it less its excess."""
    x, y = normal(23), 0.5 + 2 * normal(17)
    v = stats.energy_distance(x.numpy(), y.numpy()) ** 2
    assert energy_distance(x, y, unbiased=False) == pytest.approx(v, abs=1e-10)
    within = [float((a[:, None] - a).abs().sum()) for a in (x, y)]
    excess = within[0] / (23**2 * 22) + within[1] / (17**2 * 16)
    assert energy_distance(x, y) == pytest.approx(v - excess, abs=1e-10)


@pytest.mark.parametrize("width", [2, 40])
def test_energy_distance_by_hand(width: int, blocked: None) -> None:
    x, y = normal(6, width), normal(9, width) + 1
    cross = (x[:, None] - y).norm(dim=-1).mean()
    within = [2 * torch.pdist(a).sum() / (len(a) * (len(a) - 1)) for a in (x, y)]
    assert energy_distance(x, y) == pytest.approx(float(2 * cross - within[0] - within[1]), abs=1e-7)
    assert energy_distance(x, x, unbiased=False) == pytest.approx(0, abs=1e-7)
    assert energy_distance(x[:1], y, unbiased=False) > 0


@pytest.mark.parametrize("unbiased", [True, False])
def test_the_energy_coefficient_is_the_share(unbiased: bool, blocked: None) -> None:
    """Of 2 E|x - y|, by hand; it has no unit, and lies between 0, of the same sample, and 1, of two constants apart."""
    x, y = normal(23, 3), 0.5 + 2 * normal(17, 3)
    share = energy_distance(x, y, unbiased) / (2 * (x[:, None] - y).norm(dim=-1).mean())
    assert energy_coefficient(x, y, unbiased) == pytest.approx(float(share), abs=1e-10)
    assert energy_coefficient(100 * x, 100 * y, unbiased) == pytest.approx(float(share), abs=1e-10)
    assert energy_coefficient(torch.ones(3, 2), torch.zeros(4, 2), unbiased) == pytest.approx(1.0)
    assert energy_coefficient(torch.ones(3, 2), torch.ones(4, 2), unbiased) == 0.0
    assert energy_coefficient(x, x, unbiased=False) == pytest.approx(0.0, abs=1e-7)


def test_energy_distance_has_the_closed_form_as_its_mean() -> None:
    """N(0, 1) and N(1, 1): D² = 2 E|N(1, 2)| - 2 E|N(0, 2)|. 2000 pairs of samples at 6 standard errors (2e-9)."""
    folded = 2 / math.sqrt(math.pi) * math.exp(-1 / 4) + math.erf(1 / 2)
    found = torch.tensor([energy_distance(normal(10, 1), normal(8, 1) + 1) for _ in range(2000)], dtype=torch.double)
    assert_mean(found, 2 * folded - 4 / math.sqrt(math.pi))


@pytest.mark.parametrize("classifier", [None, LogisticRegression(), DecisionTreeClassifier(), DummyClassifier()], ids=str)
def test_classifiers_are_at_chance_without_a_difference(classifier: object) -> None:
    """60 tests: the mean of z within 5 standard errors of 0 (6e-7), its variance at most 1 + 5 √(2 / 60)."""
    found = [classifier_test(normal(100, 2), normal(130, 2), classifier, seed=i) for i in range(60)]
    z = torch.tensor([one.z for one in found], dtype=torch.double)
    assert abs(float(z.mean())) <= 5 / 60**0.5
    assert float(z.var()) < 1 + 5 * math.sqrt(2 / 60)
    assert found[0].n_test == 100
    assert found[0].z == pytest.approx((found[0].accuracy - 0.5) / math.sqrt(1 / (4 * 100)))
    assert found[0].p_value == pytest.approx(stats.norm.sf(found[0].z))


def test_classifiers_find_a_difference() -> None:
    """A wide shift is told apart always; a scale by the neighbours, not by a line."""
    x, y = torch.randn(500, 1, 2, 2), torch.randn(400, 4)
    assert classifier_test(x, y + 8).accuracy > 0.99
    assert classifier_test(x, 3 * y).p_value < 1e-6
    assert classifier_test(x, 3 * y, LogisticRegression()).p_value > 1e-4


def test_classifiers_are_cloned_and_seeded() -> None:
    x, y, tree = normal(60, 5), normal(60, 5), DecisionTreeClassifier(max_features=1)
    assert classifier_test(x, y, tree, seed=2) == classifier_test(x, y, tree, seed=2)
    assert tree.random_state is None and not hasattr(tree, "tree_")
    assert classifier_test(x[:2], y[:3]).n_test == 2


@pytest.mark.parametrize("width", [3, 50])
def test_nearest_neighbours_by_hand(width: int, blocked: None) -> None:
    x, train = normal(13, width), normal(17, width)
    train[5] = x[3]
    found = nearest_neighbours(x, train, 4)
    expected, indices = (x[:, None] - train).norm(dim=-1).sort(-1)
    assert_equal(found.distances, expected[:, :4])
    assert torch.equal(found.indices, indices[:, :4])
    assert (found.distances[3, 0], found.indices[3, 0]) == (0, 5)


def test_far_from_the_origin_neighbours_are_the_same() -> None:
    """A mean of 1e6 would drown distances of 1 in a product of float32, and of 1e-3 in one of float64."""
    x, train = normal(20, 50), normal(30, 50)
    assert torch.equal(nearest_neighbours(x + 1e6, train + 1e6).indices, nearest_neighbours(x, train).indices)


def test_refusals() -> None:
    x, y = torch.zeros(4, 3), torch.zeros(5, 2)
    for test in (mmd_test, energy_distance, energy_coefficient, classifier_test):
        with pytest.raises(ValueError, match=r"draws of one size, came \(4, 3\), \(5, 2\)"):
            test(x, y)
        with pytest.raises(ValueError, match="at least 2 draws"):
            test(x, x[:1])
        with pytest.raises(ValueError, match="finite numbers"):
            test(x, x / 0)
    with pytest.raises(ValueError, match="one size"):
        nearest_neighbours(x, y)
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k from 1 to the 4 training points, came k={k}"):
            nearest_neighbours(x, x, k)
    with pytest.raises(ValueError, match="at least 1 draws"):
        nearest_neighbours(x[:0], x)
    with pytest.raises(ValueError, match="at least 1 permutation"):
        mmd_test(x, x, permutations=0)
    with pytest.raises(TypeError, match="estimator of scikit-learn"):
        classifier_test(x, x, "knn")
