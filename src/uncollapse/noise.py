"""Randomness that follows from (seed, stage, step, row), however many processes share the batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Size, Tensor


@dataclass(frozen=True)
class Rows:
    """Which rows of the global batch this process holds: start, start + 1, ..., stop - 1 of total."""

    start: int
    stop: int
    total: int


_rows: Rows | None = None  # None: all of them, the case of a single process
_kept: list[Tensor] | None = None  # where draws are written down
_given: Iterator[Tensor] | None = None  # where draws come from in place of the generator


STAGE = 0xD1342543DE82EF95  # an odd constant that sets the stages of a training apart


def seed_step(seed: int, step: int, stage: int = 0) -> None:
    """Make every draw until the next call a function of (seed, stage, step) alone.

    The three are mixed by the finaliser of SplitMix64 (Steele, Lea and Flood, 2014), so neighbouring steps are unrelated.

    Example:
        >>> seed_step(0, 7); a = torch.rand(2)
        >>> seed_step(0, 7); bool((torch.rand(2) == a).all())
        True
    """
    x = (seed * 0x9E3779B97F4A7C15 + step + 1 + stage * STAGE) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    x = (x ^ (x >> 31)) >> 1
    torch.default_generator.manual_seed(x)  # torch.manual_seed asks every kind of device, 0.3 ms of a step
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(x)


def epoch_seed(seed: int, epoch: int, stage: int = 0) -> int:
    """The seed of an epoch's order within a stage.

    Example:
        >>> epoch_seed(2, 3), epoch_seed(2, 3, stage=1) != epoch_seed(2, 3)
        (2000009, True)
    """
    return (seed * 1_000_003 + epoch + stage * STAGE) & 0x7FFFFFFFFFFFFFFF


@contextmanager
def sharing(rows: Rows | None) -> Iterator[None]:
    """Within it, `normal` and `uniform` draw for the global batch and keep this process's rows."""
    global _rows
    before, _rows = _rows, rows
    try:
        yield
    finally:
        _rows = before


def shared(n: int) -> bool:
    """Whether a batch of n rows is this process's share of a larger one.

    Example:
        >>> with sharing(Rows(0, 4, 8)):
        ...     shared(4), shared(8)
        (True, False)
    """
    return _rows is not None and n == _rows.stop - _rows.start


@contextmanager
def recorded(tape: list[Tensor]) -> Iterator[None]:
    """Within it, every draw is kept on the tape."""
    global _kept
    before, _kept = _kept, tape
    try:
        yield
    finally:
        _kept = before


@contextmanager
def replayed(tape: list[Tensor]) -> Iterator[None]:
    """Within it, draws come from the tape, in the order in which they were kept.

    Example:
        >>> tape = []
        >>> with recorded(tape):
        ...     a = normal(Size((2, 3)), torch.zeros(()))
        >>> with replayed(tape):
        ...     bool((normal(Size((2, 3)), torch.zeros(())) == a).all())
        True
    """
    global _given
    before, _given = _given, iter(tape)
    try:
        yield
    finally:
        _given = before


def normal(shape: Size, like: Tensor, batch: int = -2) -> Tensor:
    """Standard normal noise of this shape; dimension `batch` runs over the rows of the batch."""
    return _draw(torch.randn, shape, like, batch)


def uniform(shape: Size, like: Tensor, batch: int = 0) -> Tensor:
    """Uniform noise on [0, 1) of this shape; dimension `batch` runs over the rows of the batch."""
    return _draw(torch.rand, shape, like, batch)


def _draw(draw, shape: Size, like: Tensor, batch: int) -> Tensor:  # type: ignore[no-untyped-def]
    if _given is not None:
        return next(_given)
    values = _fresh(draw, shape, like, batch)
    if _kept is not None:
        _kept.append(values)
    return values


def _fresh(draw, shape: Size, like: Tensor, batch: int) -> Tensor:  # type: ignore[no-untyped-def]
    if _rows is None or shape[batch] != _rows.stop - _rows.start:
        return draw(shape, dtype=like.dtype, device=like.device)
    whole = list(shape)
    whole[batch] = _rows.total
    return draw(whole, dtype=like.dtype, device=like.device).narrow(batch, _rows.start, shape[batch])
