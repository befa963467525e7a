"""All rows of a data set as one split, in the order of their file."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch

from uncollapse.data.source import Source


class Joined:
    """Several splits, read by index as one; each row is read as its own split reads it, noise included.

    Args:
        sources: The splits, all of one shape.
        order: For each row, its number among the splits' rows, one split after another: [N] integers.
    """

    def __init__(self, sources: Sequence[Source], order: np.ndarray):
        self.sources, self.order = sources, order
        self.shape = (len(order), *sources[0].shape)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        places = self.order[rows]
        kind = np.int64 if self.sources[0].tokens else np.float64
        found = np.empty((len(rows), *self.shape[1:]), kind)
        for source, end in zip(self.sources, accumulate(map(len, self.sources)), strict=True):
            mine = (places < end) & (places >= end - len(source))
            if mine.any():
                x = source.batch(torch.from_numpy(places[mine] - end + len(source))).x
                found[mine] = (x if source.tokens else x.double()).cpu().numpy()
        return found


def joined(sources: Sequence[Source], order: np.ndarray | None = None) -> Source:
    """Several splits as one, of which only what a batch needs is read; on the device and in the type of the first.

    Args:
        sources: The splits.
        order: For each row, its number among the splits' rows; None: one split after another.

    Example:
        >>> a, b = Source(torch.tensor([[1.0], [3.0]])), Source(torch.tensor([[2.0]]))
        >>> joined([a, b]).all().flatten().tolist(), joined([a, b], np.array([0, 2, 1])).all().flatten().tolist()
        ([1.0, 3.0, 2.0], [1.0, 2.0, 3.0])
    """
    order = np.arange(sum(map(len, sources))) if order is None else order
    labels, condition, mask = (_in_order(sources, order, name) for name in ("labels", "condition", "mask"))
    source = Source(Joined(sources, order), labels, condition=condition, mask=mask, tokens=sources[0].tokens)
    source.device, source.dtype = sources[0].device, sources[0].dtype
    return source


def _in_order(sources: Sequence[Source], order: np.ndarray, name: str) -> torch.Tensor | None:
    """What is known beside the rows of all splits; None where that is not so of each."""
    found = [beside for source in sources if (beside := getattr(source, name)) is not None]
    if len(found) < len(sources):
        return None
    rows = torch.cat(found)
    return rows[torch.from_numpy(order).to(rows.device)]
