"""Noise that turns one kind of data into another: grey values into bits, discrete values into real ones."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from uncollapse import noise
from uncollapse.data.dataset import SPLITS, Data
from uncollapse.data.lazy import Frozen
from uncollapse.data.source import Source

Combine = Callable[[Tensor, Tensor], Tensor]

HELD_OUT_SEED = 0
"""Seed of the noise of the valid and test splits of dynamically binarised and of dequantised data, in every run."""

_BELOW_ONE = 1 - 2.0**-24  # the largest float32 below 1


def bernoulli(x: Tensor, u: Tensor) -> Tensor:
    """1 with probability x, else 0: from x in [0, 1] and uniform noise u of its shape.

    Example:
        >>> import torch
        >>> bernoulli(torch.tensor([0.0, 0.3, 0.8, 1.0]), torch.full((4,), 0.5))
        tensor([0., 0., 1., 1.])
    """
    return (u < x).to(x.dtype)


def spread(x: Tensor, u: Tensor, levels: int) -> Tensor:
    """Uniform on the cell of x, (k + u) / levels in [0, 1): from x = k / (levels - 1) and uniform noise u of its shape.

    References:
        Theis, van den Oord and Bethge (2016), A note on the evaluation of generative models, section 3.1.

    Example:
        >>> import torch
        >>> spread(torch.tensor([0.0, 0.5, 1.0]), torch.full((3,), 0.5), levels=3)
        tensor([0.1667, 0.5000, 0.8333])
    """
    return (((x * (levels - 1)).round() + u) / levels).clamp(max=_BELOW_ONE)


def binarized(data: Data, how: Literal["static", "dynamic"], seed: int = 0) -> Data:
    """Data in [0, 1] as bits that are 1 with that probability.

    Args:
        data: Grey values.
        how: "static": drawn once, from the seed. "dynamic": the train split is drawn anew at each reading, through
            `uncollapse.noise`; the valid and test splits once, from `HELD_OUT_SEED`, so that evaluations can be repeated.
        seed: Of static binarisation.

    Raises:
        ValueError: If a value is outside [0, 1], or the data are tokens.

    References:
        Salakhutdinov and Murray (2008), On the quantitative analysis of deep belief networks.
    """
    _check_numbers(data, "binarize")
    _check_grey(data)
    if how == "static":
        return replace(data.mapped(lambda split, source: once(source, bernoulli, _salted(seed, split))), levels=2)
    return replace(_noisy(data, bernoulli), levels=2)


def dequantized(data: Data) -> Data:
    """Discrete data as real numbers, (k + u) / levels: the train split anew at each reading, valid and test once.

    Raises:
        ValueError: If the data are not discrete, or are tokens.
    """
    _check_numbers(data, "dequantize")
    if data.levels is None:
        raise ValueError(f"expected discrete data to dequantize, came the real numbers of {data.name}: leave dequantize off")
    return replace(_noisy(data, partial(spread, levels=data.levels)), levels=None, dequantized=data.levels)


def every_time(source: Source, combine: Combine) -> Source:
    """The split with fresh noise at each reading."""
    return source.with_values(source.values, source.scale, partial(_drawn, combine))


def once(source: Source, combine: Combine, seed: int) -> Source:
    """The split with noise that is a function of (seed, row)."""
    if not isinstance(source.values, Tensor):
        return source.with_values(Frozen(source.values, source.scale, combine, seed))
    frozen = Source(Frozen(source.values.cpu().numpy(), source.scale, combine, seed))
    return source.with_values(frozen.batch(torch.arange(len(source))).x)


def _noisy(data: Data, combine: Combine) -> Data:
    def change(split: str, source: Source) -> Source:
        return every_time(source, combine) if split == "train" else once(source, combine, _salted(HELD_OUT_SEED, split))

    return data.mapped(change)


def _drawn(combine: Combine, x: Tensor) -> Tensor:
    return combine(x, noise.uniform(x.shape, x, batch=0))


def _salted(seed: int, split: str) -> int:
    return len(SPLITS) * seed + SPLITS.index(split)


def _check_numbers(data: Data, what: str) -> None:
    if data.space.kind in ("tokens", "counts"):
        raise ValueError(f"expected numbers to {what}, got the {data.space.kind} of {data.name}; leave --data.{what} out")


def _check_grey(data: Data) -> None:
    if data.levels is not None:
        return
    for split in SPLITS:
        source: Source = getattr(data, split)
        low, high = source.limits() if len(source) else (0.0, 0.0)
        if low < 0 or high > 1:
            raise ValueError(
                f"expected values in [0, 1] to binarize, came {low:.4g} to {high:.4g} in the {split} split of {data.name}: "
                "rescale them, or write --data.binarize none"
            )
