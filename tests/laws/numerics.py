"""The numerics of the laws: standard errors, quadrature, and draws that make an expectation exact."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any
from unittest.mock import patch

import torch
from torch import Size, Tensor, nn

from uncollapse import noise
from uncollapse.learning import MakeUpdate

Update = Callable[[Tensor], None]


def assert_mean(draws: Tensor, expected: Tensor | float, k: float = 6.0, slack: float = 1e-10) -> None:
    """The mean over the first dimension is the expected one within k standard errors (2e-9 a number at k = 6)."""
    error = draws.std(0) / len(draws) ** 0.5
    distance = (draws.mean(0) - expected).abs()
    assert (distance <= k * error + slack).all(), f"{float((distance / (error + slack)).max()):.1f} standard errors away"


def assert_equal(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> None:
    """The same numbers, to 1e-10 of the larger of 1 and their size."""
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@contextmanager
def cubature() -> Iterator[None]:
    """Within it 2L draws of an L-dimensional Gaussian are its cubature points ±√L e_i: they average every quadratic function
    exactly, so that in a linear-Gaussian model the house's own Monte Carlo estimates with k = 2L are exact expectations."""

    def points(shape: Size, like: Tensor, batch: int = -2) -> Tensor:
        n = shape[-1]
        assert shape[0] == 2 * n, f"cubature needs k = {2 * n} draws, came {shape[0]}"
        eye = torch.eye(n, dtype=like.dtype) * n**0.5
        return torch.cat((eye, -eye)).reshape(2 * n, *[1] * (len(shape) - 2), n).expand(shape)

    with patch.object(noise, "normal", points):
        yield


@contextmanager
def replaying(pool: Tensor) -> Iterator[None]:
    """Within it noise comes from the front of a pool [K, ...], so that two estimates can share their draws."""
    with patch.object(noise, "normal", lambda shape, like, batch=-2: pool[: shape[0]].expand(shape)):
        yield


def midpoints(low: float, high: float, n: int, features: int, closed: bool = False) -> tuple[Tensor, Tensor]:
    """The midpoint rule on a box: points [n^L, L] and their weights [n^L].

    With `closed` the points crowd at both ends, z = v - sin(2 π v) / 2 π, where a density squeezed into an interval is steep.
    """
    v = (torch.arange(n) + 0.5) / n
    line, weight = v, torch.ones(n) / n
    if closed:
        line, weight = v - torch.sin(2 * math.pi * v) / (2 * math.pi), (1 - torch.cos(2 * math.pi * v)) / n
    points = torch.cartesian_prod(*[low + (high - low) * line] * features).reshape(-1, features)
    weights = torch.cartesian_prod(*[(high - low) * weight] * features).reshape(-1, features)
    return points, weights.prod(-1)


def support_grid(part: Any, features: int) -> tuple[Tensor, Tensor]:
    """Quadrature points and weights on the support of a prior or posterior, wide enough for scales of about one."""
    low, high = getattr(part.support, "lower_bound", None), getattr(part.support, "upper_bound", None)
    n = {1: 20000, 2: 600}[features]
    return midpoints(-14.0, 14.0, n, features) if low is None else midpoints(low, high, n, features, closed=True)


def every_event(levels: int, shape: Size, tokens: bool = False) -> Tensor:
    """All events of data on the grid k / (levels - 1), or of int64 tokens: [levels^D, *shape]."""
    grid = torch.arange(levels) if tokens else torch.arange(levels) / (levels - 1)
    return torch.stack([torch.stack(event) for event in product(grid, repeat=shape.numel())]).reshape(-1, *shape)


def sgd(rate: float) -> MakeUpdate:
    """Plain gradient descent, in the place of the training's update."""

    def make(parameters: Iterable[nn.Parameter], factor: float = 1.0) -> Update:
        moved = list(parameters)

        def update(loss: Tensor) -> None:
            for p, gradient in zip(moved, torch.autograd.grad(loss, moved), strict=True):
                p.data.sub_(factor * rate * gradient)

        return update

    return make


def adam(rate: float) -> MakeUpdate:
    """Adam, in the place of the training's update."""

    def make(parameters: Iterable[nn.Parameter], factor: float = 1.0) -> Update:
        optimiser = torch.optim.Adam(list(parameters), lr=factor * rate)

        def update(loss: Tensor) -> None:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        return update

    return make
