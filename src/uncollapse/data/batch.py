"""What a step, an objective and an evaluation are handed: observations, and what is known beside them."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Observations x, what the model is conditioned on, and which values were observed.

    Its length is that of the tuple: the number of observations is `n`.

    Attributes:
        x: Observations [B, *shape]; 0 where a value is missing.
        condition: What the model is conditioned on, [B] labels or [B, *shape of the condition]; None: nothing.
        mask: True where a value was observed, like x; None: all of them. Padding is never masked.
        index: Row numbers [B] in the split; None where they are unknown.
        features: The condition's features [B, C], once a model has encoded it.

    Example:
        >>> batch = Batch(torch.zeros(3, 2), condition=torch.tensor([0, 1, 1]))
        >>> batch.n, batch.rows(slice(1, None)).condition.tolist()
        (3, [1, 1])
    """

    x: Tensor
    condition: Tensor | None = None
    mask: Tensor | None = None
    index: Tensor | None = None  # type: ignore[assignment]
    features: Tensor | None = None

    @property
    def n(self) -> int:
        """The number of observations."""
        return self.x.shape[0]

    def rows(self, chosen: Tensor | slice) -> "Batch":
        """Some of the observations, by their numbers in the batch or a slice."""
        return Batch(*(None if value is None else value[chosen] for value in self))  # type: ignore[arg-type]

    def split(self, size: int) -> Iterator["Batch"]:
        """Its observations, `size` at a time; the last part may be shorter."""
        return (self.rows(slice(i, i + size)) for i in range(0, self.n, size))

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with each of its tensors changed."""
        return Batch(*(None if value is None else change(value) for value in self))  # type: ignore[arg-type]

    def on(self, device: torch.device | str) -> "Batch":
        """The batch on a device."""
        return self.map(lambda value: value.to(device))


def joined(batches: Sequence[Batch]) -> Batch:
    """Several batches as one.

    Example:
        >>> joined([Batch(torch.zeros(2)), Batch(torch.ones(1))]).x
        tensor([0., 0., 1.])
    """
    columns = zip(*batches, strict=True)
    return Batch(*(None if parts[0] is None else torch.cat(parts) for parts in columns))  # type: ignore[arg-type]


def as_batch(x: Tensor | Batch) -> Batch:
    """A batch as it is, a bare tensor of observations as a batch of nothing else.

    Example:
        >>> as_batch(torch.zeros(3, 2)).n
        3
    """
    return x if isinstance(x, Batch) else Batch(x)
