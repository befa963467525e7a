"""Modes that are known: who belongs to whom, and what a perfect sampler scores."""

import math

import numpy as np
import pytest
import torch

from uncollapse.data import Modes, from_arrays, load
from uncollapse.data.toys import GRID, PACGAN_RING

SETS = {
    "ring": (8, 2.0, 0.02),
    "grid": (25, None, 0.05),
    "pacgan-ring": (8, 1.0, 0.01),
    "pacgan-grid": (25, None, 0.05),
}
"""Modes, radius and sigma."""


@pytest.mark.parametrize("name", SETS)
def test_sets_state_their_modes(name):
    """Labels are the modes that points are assigned to, and centres lie where they were published."""
    count, radius, sigma = SETS[name]
    data = load(name)
    assert (len(data.modes), data.modes.sigma) == (count, sigma)
    nearest, _ = data.modes.assign(data.test.all())
    assert torch.equal(nearest, data.test.labels)
    if radius is None:
        assert sorted(map(tuple, data.modes.means.tolist())) == [(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)]
    else:
        torch.testing.assert_close(data.modes.means.norm(dim=1), torch.full((8,), radius))


@pytest.mark.parametrize("name", ["pacgan-ring", "pacgan-grid"])
def test_a_perfect_sampler_scores_what_it_must(name):
    """Distances in sigmas are Rayleigh: 98.9 % below 3, 100,000 points at 6 standard errors (failure rate 2e-9); the counts of
    modes are even, chi-squared within 6 of its own standard deviations."""
    data = load(name)
    nearest, away = data.modes.assign(data.train.all())
    share, expected = float((away < 3).double().mean()), 1 - math.exp(-4.5)
    assert abs(share - expected) < 6 * math.sqrt(expected * (1 - expected) / 100_000)
    counts, even = nearest.bincount(minlength=len(data.modes)).double(), 100_000 / len(data.modes)
    freedom = len(data.modes) - 1
    assert float(((counts - even) ** 2 / even).sum()) < freedom + 6 * math.sqrt(2 * freedom)
    assert [len(data.split(split)) for split in ("train", "valid", "test")] == [100_000, 2_500, 2_500]


@pytest.mark.parametrize("name", ["pacgan-ring", "pacgan-grid"])
def test_training_points_are_fixed_by_the_seed(name):
    again, other = load(name, seed=3), load(name, seed=4)
    assert torch.equal(load(name, seed=3).train.all(), again.train.all())
    assert not torch.equal(other.train.all(), again.train.all())
    assert not torch.equal(again.valid.all(), again.test.all())


def test_centres_are_those_of_the_other_sets():
    np.testing.assert_allclose(np.linalg.norm(PACGAN_RING, axis=1), 1)
    assert torch.equal(load("pacgan-grid").modes.means, torch.from_numpy(GRID).float())


def test_nearest_mode_and_distance_by_hand():
    """Against a loop over the points, in float64."""
    rng = np.random.default_rng(0)
    means, x = torch.from_numpy(rng.normal(size=(5, 3))), torch.from_numpy(rng.normal(size=(40, 3)))
    nearest, away = Modes(means, 0.5).assign(x)
    for i, point in enumerate(x):
        distances = [math.dist(point, mean) for mean in means]
        assert int(nearest[i]) == int(np.argmin(distances))
        assert float(away[i]) == pytest.approx(min(distances) / 0.5, rel=1e-12)
    assert away.dtype == torch.float64 and nearest.dtype == torch.int64


def test_near_points_of_far_modes_do_not_drown():
    """A tenth of a sigma of 1e-3 at a centre of 4 is told apart, in float32."""
    modes = Modes(torch.tensor([[4.0, 4.0]]), 1e-3)
    assert float(modes.assign(torch.tensor([[4.0001, 4.0]]))[1]) == pytest.approx(0.1, rel=0.01)


def test_modes_follow_the_data():
    """To another type, and through changes of the splits; other data have none."""
    moved = load("pacgan-ring").to("cpu", torch.float64)
    assert moved.modes.means.dtype == torch.float64 and moved.modes.sigma == 0.01
    assert moved.mapped(lambda split, source: source).modes is moved.modes
    assert load("two-moons").modes is None and from_arrays(np.arange(9.0)).to("cpu", torch.float64).modes is None


@pytest.mark.parametrize(("means", "sigma"), [(torch.zeros(3), 1.0), (torch.zeros(0, 2), 1.0), (torch.zeros(3, 2), 0.0)])
def test_what_is_no_mixture_is_refused(means, sigma):
    with pytest.raises(ValueError, match=r"expected centres \[K, D\] of at least 1 mode and a sigma above 0, came"):
        Modes(means, sigma)


def test_points_of_another_dimension_are_refused():
    with pytest.raises(ValueError, match=r"expected points of 2 dimensions, came \(4, 3\)"):
        load("ring").modes.assign(torch.zeros(4, 3))
