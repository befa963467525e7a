"""The user's own sequences of tokens: whole numbers that stand for words, in place of numbers that are measured."""

from dataclasses import replace

import numpy as np
from torch import Tensor

from uncollapse.data.dataset import Data
from uncollapse.data.source import Source


def as_tokens(data: Data, n: int) -> Data:
    """Whole numbers 0 ... n - 1 as int64 tokens, in place of the grid or the real numbers that they were read as.

    Args:
        data: Sequences [N, T], as `from_arrays` reads them.
        n: How many tokens there are; token 0 is the end where sequences end.

    Raises:
        ValueError: If they are tokens already, or no whole numbers from 0 to n - 1, or noise was added to them.

    Example:
        >>> from uncollapse.data import from_arrays
        >>> data = as_tokens(from_arrays(np.array([[1, 2, 0], [3, 0, 0], [1, 1, 1]])), 4)
        >>> data.space.kind, data.levels, data.split("all").all().tolist()
        ('tokens', 4, [[1, 2, 0], [3, 0, 0], [1, 1, 1]])
    """
    if data.space.kind not in ("real", "grid") or data.train.draw is not None:
        raise ValueError(f"expected an array of whole numbers to take for tokens, got the {data.space.kind} of {data.name}")
    if n < 2:
        raise ValueError(f"expected at least 2 tokens, got {n}; use how many different ones there are")
    return replace(data.mapped(lambda split, source: _tokens(source, n, f"{data.name} ({split})")), levels=n)


def _tokens(source: Source, n: int, where: str) -> Source:
    if not _whole(source):
        raise ValueError(f"expected whole numbers for tokens in {where}, got {_type(source)}; use array.astype(np.int64)")
    found = Source(source.values, source.labels, condition=source.condition, mask=source.mask, tokens=True)
    low, high = found.limits() if len(found) else (0, 0)
    if low < 0 or high >= n:
        raise ValueError(
            f"expected tokens from 0 to {n - 1} in {where}, got {low:.0f} to {high:.0f}; use --data.tokens with their number"
        )
    return found


def _type(source: Source) -> str:
    row = source.values[np.zeros(1, np.int64)]
    return str(row.dtype).removeprefix("torch.")


def _whole(source: Source) -> bool:
    row = source.values[np.zeros(1 if len(source) else 0, np.int64)]
    return not row.is_floating_point() if isinstance(row, Tensor) else row.dtype.kind in "bui"
