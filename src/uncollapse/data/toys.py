"""Densities in the plane whose shape is known, so that what a model misses can be seen: 10,000, 2,000 and 2,000 points each,
those of PacGAN's protocol 100,000, 2,500 and 2,500."""

from collections.abc import Callable
from dataclasses import replace
from math import pi, sqrt
from typing import Any

import numpy as np
import torch

from uncollapse.data.arrays import from_arrays
from uncollapse.data.dataset import SPLITS, Data
from uncollapse.data.modes import Modes

Sample = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray | None]]

SIZES = dict(zip(SPLITS, (10_000, 2_000, 2_000), strict=True))
PACGAN_SIZES = dict(zip(SPLITS, (100_000, 2_500, 2_500), strict=True))

RING = np.array([[2 * np.cos(pi * k / 4), 2 * np.sin(pi * k / 4)] for k in range(8)])
"""Centres of the ring's eight modes, [8, 2]."""

RING_SIGMA = 0.02
"""Standard deviation of each mode of the ring."""

GRID = np.array([[x, y] for x in range(-4, 5, 2) for y in range(-4, 5, 2)], np.float64)
"""Centres of the grid's twenty-five modes, [25, 2]."""

GRID_SIGMA = 0.05
"""Standard deviation of each mode of the grid."""

PACGAN_RING = RING / 2
"""Centres of the eight modes of PacGAN's ring, [8, 2]; its grid is the grid."""

PACGAN_RING_SIGMA = 0.01
"""Standard deviation of each mode of PacGAN's ring."""


def ring(seed: int = 0) -> Data:
    """Eight Gaussians of sigma 0.02 on a circle of radius 2; labels are the modes.

    References:
        Metz, Poole, Pfau and Sohl-Dickstein (2017), Unrolled generative adversarial networks, section 3.1.

    Example:
        >>> data = ring()
        >>> float(data.train.all().norm(dim=1).mean().round(decimals=2)), int(data.train.labels.max())
        (2.0, 7)
    """
    return _gaussians("ring", seed, RING, RING_SIGMA)


def grid(seed: int = 0) -> Data:
    """Twenty-five Gaussians of sigma 0.05 on {-4, -2, 0, 2, 4} squared; labels are the modes.

    References:
        Srivastava, Valkov, Russell, Gutmann and Sutton (2017), VEEGAN, section 4.1.
    """
    return _gaussians("grid", seed, GRID, GRID_SIGMA)


def pacgan_ring(seed: int = 0) -> Data:
    """Eight Gaussians of sigma 0.01 on a circle of radius 1; labels are the modes.

    The training points are a fixed draw. The held-out splits have as many points as samples are judged by.

    References:
        Lin, Khetan, Fanti and Oh (2018), PacGAN: the power of two samples in generative adversarial networks, section 4.1.

    Example:
        >>> data = pacgan_ring()
        >>> len(data.train), len(data.modes), round(float(data.modes.assign(data.test.all())[1].mean()), 2)
        (100000, 8, 1.25)
    """
    return _gaussians("pacgan-ring", seed, PACGAN_RING, PACGAN_RING_SIGMA, PACGAN_SIZES)


def pacgan_grid(seed: int = 0) -> Data:
    """Twenty-five Gaussians of sigma 0.05 on {-4, -2, 0, 2, 4} squared, in a larger draw than `grid`; labels are the modes.

    References:
        Lin, Khetan, Fanti and Oh (2018), PacGAN: the power of two samples in generative adversarial networks, section 4.1.
    """
    return _gaussians("pacgan-grid", seed, GRID, GRID_SIGMA, PACGAN_SIZES)


def two_moons(seed: int = 0) -> Data:
    """Two half circles that interlock, with mean 0 and variance 1 in each direction; labels are the moons.

    Example:
        >>> x = two_moons().train.all()
        >>> bool((x.mean(0).abs() < 0.05).all() and ((x.std(0) - 1).abs() < 0.05).all())
        True
    """
    return _toy("two-moons", seed, _moons)


def swiss_roll(seed: int = 0) -> Data:
    """A spiral of one and a half to four and a half half-turns, within about 2 of the origin; no labels."""
    return _toy("swiss-roll", seed, _roll)


def _gaussians(name: str, seed: int, centres: np.ndarray, sigma: float, sizes: dict[str, int] = SIZES) -> Data:
    data = _toy(name, seed, lambda rng, n: _modes(rng, n, centres, sigma), sizes)
    return replace(data, modes=Modes(torch.from_numpy(centres).float(), sigma))


def _toy(name: str, seed: int, sample: Sample, sizes: dict[str, int] = SIZES) -> Data:
    drawn = {split: sample(np.random.default_rng([seed, i]), sizes[split]) for i, split in enumerate(SPLITS)}
    values: dict[str, Any] = {split: points.astype(np.float32) for split, (points, _) in drawn.items()}
    labels: dict[str, Any] = {"labels" if split == "train" else f"{split}_labels": modes for split, (_, modes) in drawn.items()}
    return from_arrays(**values, **labels, name=name)


def _modes(rng: np.random.Generator, n: int, centres: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    modes = rng.integers(len(centres), size=n)
    return centres[modes] + sigma * rng.standard_normal((n, 2)), modes


def _moons(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    moon, angle = rng.integers(2, size=n), pi * rng.random(n)
    sign = 1 - 2 * moon
    points = np.stack([moon + sign * np.cos(angle), 0.5 * moon + sign * np.sin(angle)], axis=1)
    points += 0.05 * rng.standard_normal((n, 2))
    return (points - [0.5, 0.25]) / [sqrt(0.75), 0.4943], moon


def _roll(rng: np.random.Generator, n: int) -> tuple[np.ndarray, None]:
    angle = 1.5 * pi * (1 + 2 * rng.random(n))
    points = np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1)
    return (points + 0.3 * rng.standard_normal((n, 2))) / 7, None
