"""What a model of the data is conditioned on: their labels."""

from dataclasses import replace

import torch

from uncollapse.data.dataset import SPLITS, Data
from uncollapse.data.source import Source
from uncollapse.data.space import Space

CLASSES = 100_000
"""Classes that a condition may have at most: of more, each would be seen a few times."""


def conditioned_on_labels(data: Data) -> Data:
    """The data with their labels as the condition.

    Raises:
        ValueError: If they have none in a split, or the labels are not the numbers 0, 1, ... of few classes.

    Example:
        >>> from uncollapse.data import load
        >>> data = conditioned_on_labels(load("digits"))
        >>> data.condition_space.size, data.train.batch(torch.tensor([0, 1])).condition.shape
        (10, torch.Size([2]))
    """
    found: dict[str, torch.Tensor | None] = {
        split: getattr(data, split).labels for split in SPLITS if len(getattr(data, split))
    }
    missing = [split for split, labels in found.items() if labels is None]
    if missing:
        raise ValueError(
            f"expected labels in all splits of {data.name} to condition on, got none in {', '.join(missing)}; give them, or "
            "leave --data.condition out"
        )
    labels = torch.cat([each for each in found.values() if each is not None])
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= CLASSES:
        raise ValueError(f"expected labels from 0 to {CLASSES - 1} to condition on in {data.name}, got {low} to {high}")
    return replace(data.mapped(_with_labels), condition_space=Space(labels.shape[1:], "label", high + 1))


def _with_labels(split: str, source: Source) -> Source:
    changed = source.with_values(source.values, source.scale, source.draw)
    changed.condition, changed.device, changed.dtype = source.labels, source.device, source.dtype
    return changed
