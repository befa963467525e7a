"""One split of a data set: numbered observations, of which a batch is an index draw."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Size, Tensor

from uncollapse.data.batch import Batch
from uncollapse.data.counter import permutation
from uncollapse.data.lazy import Readable, read, tensorable

Draw = Callable[[Tensor], Tensor]
"""What makes a split stochastic: from x [B, *shape] to a random x of that shape, anew at each call."""

_FINGERPRINT = 256  # observations by which data are told from others
_SLICE = 2**22  # numbers that are looked at together where a whole split is passed through


class Source:
    """One split: values in memory, on any device, or in a memory map, of which only what a batch needs is read.

    An observation is x = values * scale, then `draw` if given, and 0 where it is missing. Tokens are int64 as they are.

    Args:
        values: [N, *shape], of any type: a tensor, a memory map, or anything with a shape that is read by index.
        labels: [N] integers, or None.
        scale: What the stored values are multiplied by.
        draw: Dynamic binarisation or dequantisation, at each reading anew.
        condition: What a model of them is conditioned on, [N] labels or [N, *shape]; None: nothing.
        mask: True where a value was observed, [N, *shape]; None: all were.
        tokens: Whether the values are numbers of tokens, of a whole type: then they are never scaled or made floating.

    Raises:
        ValueError: If there is not one label, condition or mask for each observation, or tokens have a scale or a draw.

    Example:
        >>> source = Source(torch.arange(12, dtype=torch.uint8).reshape(6, 2), scale=0.5)
        >>> source.batch(torch.tensor([5, 0])).x
        tensor([[5.0000, 5.5000],
                [0.0000, 0.5000]])
    """

    def __init__(
        self,
        values: Tensor | Readable,
        labels: Tensor | None = None,
        scale: float = 1.0,
        draw: Draw | None = None,
        condition: Tensor | None = None,
        mask: Tensor | None = None,
        tokens: bool = False,
    ):
        for name, beside in (("label", labels), ("condition", condition), ("mask", mask)):
            if beside is not None and len(beside) != values.shape[0]:
                raise ValueError(f"expected one {name} for each of {values.shape[0]} observations, came {len(beside)} {name}s")
        if tokens and not (scale == 1.0 and draw is None):
            raise ValueError(f"expected tokens as they are, got a scale of {scale} or a draw beside them; leave both out")
        self.values, self.labels, self.scale, self.draw, self.tokens = values, labels, scale, draw, tokens
        self.condition, self.mask = condition, mask
        self.shape = Size(values.shape[1:])
        self.device = values.device if isinstance(values, Tensor) else torch.device("cpu")
        self.dtype: torch.dtype | None = None

    def __len__(self) -> int:
        return self.values.shape[0]

    def __repr__(self) -> str:
        where = f"in memory on {self.device}" if self.in_memory else "read as needed"
        return f"Source({len(self)} of {tuple(self.shape)}, {where})"

    @property
    def in_memory(self) -> bool:
        """Whether the values lie in memory as a tensor."""
        return isinstance(self.values, Tensor)

    def batch(self, index: Tensor) -> Batch:
        """The observations of these numbers [B], int64, and what is known beside them: x [B, *shape] is floating, or int64 of
        tokens, on the split's device."""
        x = self._scaled(self._read(index))
        x = x if self.draw is None else self.draw(x)
        if self.condition is None and self.mask is None:
            return Batch(x)
        condition, mask = (None if t is None else t.index_select(0, index.to(t.device)) for t in (self.condition, self.mask))
        return Batch(x if mask is None else x.masked_fill(~mask, 0), condition, mask)

    def batches(self, size: int, index: Tensor | None = None) -> Iterator[Batch]:
        """The observations of these numbers (None: all in order), `size` at a time; the last batch may be shorter."""
        for part in (torch.arange(len(self)) if index is None else index).split(size):
            yield self.batch(part)

    def some(self, n: int | None = None) -> Tensor:
        """The numbers of n observations (None: of all) in a random order that is always the same: `some(2)` begins `some(3)`.

        Published files are often ordered by class: their first observations are no sample of the split.

        Example:
            >>> Source(torch.zeros(5, 2)).some(3), Source(torch.zeros(5, 2)).some()
            (tensor([2, 0, 3]), tensor([2, 0, 3, 1, 4]))
        """
        return torch.from_numpy(permutation(len(self), seed=0))[:n]

    def all(self) -> Tensor | Batch:
        """All observations as one tensor [N, *shape], which takes the memory that it takes; a `Batch` where something is
        known beside them."""
        parts = list(self.batches(self._slice))
        x = torch.cat([part.x for part in parts])
        return x if self.condition is None and self.mask is None else Batch(x, self.condition, self.mask)

    def with_values(self, values: Tensor | Readable, scale: float = 1.0, draw: Draw | None = None) -> "Source":
        """Other values in the place of these, row by row: what is known beside them stays."""
        return Source(values, self.labels, scale, draw, self.condition, self.mask, self.tokens)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Source":
        """The split on a device: values in memory are moved and scaled once, those of a memory map batch by batch."""
        if isinstance(self.values, Tensor) and self.tokens:
            source = self.with_values(self.values.to(device))
        elif isinstance(self.values, Tensor):
            moved = self.values.to(device=device, dtype=dtype)
            source = self.with_values(moved if self.scale == 1.0 else moved * self.scale, draw=self.draw)
        else:
            source = self.with_values(self.values, self.scale, self.draw)
        source.condition, source.mask = (None if t is None else t.to(device) for t in (self.condition, self.mask))
        source.device, source.dtype = torch.device(device), dtype
        return source

    def limits(self) -> tuple[float, float]:
        """The least and the greatest value (before `draw`), of all observations.

        Example:
            >>> Source(torch.tensor([[0.0, 3.0], [-2.0, 1.0]])).limits()
            (-2.0, 3.0)
        """
        ends = [torch.stack(self._scaled(self._read(i)).aminmax()) for i in torch.arange(len(self)).split(self._slice)]
        return float(torch.stack(ends).min()), float(torch.stack(ends).max())

    def fingerprint(self) -> list[float]:
        """How many observations there are, and mean and mean square of some of them (before `draw`): other data have others.

        Example:
            >>> Source(torch.tensor([[0.0, 3.0], [-2.0, 1.0]])).fingerprint()
            [2.0, 0.5, 3.5]
        """
        if not len(self):
            return [0.0]
        x = self._scaled(self._read(self.some(_FINGERPRINT))).double()
        return [float(len(self)), float(x.mean()), float(x.square().mean())]

    @property
    def _slice(self) -> int:
        return max(1, _SLICE // max(1, self.shape.numel()))

    def _read(self, index: Tensor) -> Tensor:
        if isinstance(self.values, Tensor):
            return self.values.index_select(0, index.to(self.values.device))
        rows = index.cpu().numpy().astype(np.int64)
        return torch.from_numpy(tensorable(read(self.values, rows))).to(self.device)

    def _scaled(self, values: Tensor) -> Tensor:
        if self.tokens:
            return values.long()
        x = values.to(self.dtype or torch.get_default_dtype())
        return x if self.scale == 1.0 else x * self.scale
