"""Any torch data set as data: read once, then held in memory or in a memory map."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from uncollapse.data import store
from uncollapse.data.arrays import from_arrays
from uncollapse.data.dataset import Data

_CHUNK = 2**22  # numbers that are read at a time


def from_dataset(
    train: Dataset[Any],
    valid: Dataset[Any] | None = None,
    test: Dataset[Any] | None = None,
    name: str = "dataset",
    seed: int = 0,
) -> Data:
    """Data from torch data sets whose items are x or (x, label), x a tensor, an array or a Pillow image.

    Every item is read once, so random augmentation is frozen. Items that do not fit in memory are written to a temporary memory
    map, which is gone when the data are. Labels that are not integers are left out.

    Args:
        train: Observations to learn from.
        valid: Observations to choose by; None for a tenth of the train split, drawn by the seed.
        test: Observations to report on; None likewise.
        name: What to call the data set.
        seed: Of the splits that are not given.

    Raises:
        ValueError: If items differ in shape or type, or are not numbers.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> data = from_dataset(TensorDataset(torch.rand(50, 1, 4, 4), torch.arange(50) % 10))
        >>> data.shape, len(data.train), len(data.test.labels)
        (torch.Size([1, 4, 4]), 40, 5)
    """
    came = {"": train, "valid_": valid, "test_": test}
    read = {split: store.gathered(partial(_chunks, items, name)) for split, items in came.items() if items is not None}
    values = {split.rstrip("_") or "train": chunk[0] for split, chunk in read.items()}
    labels = {f"{split}labels": chunk[1] for split, chunk in read.items()}
    return from_arrays(**values, **labels, name=name, seed=seed)


def _chunks(dataset: Dataset[Any], name: str) -> Iterator[store.Chunk]:
    """Items in stacks, each item of the first one's shape and type."""
    held: list[tuple[np.ndarray, int | None]] = []
    first: np.ndarray | None = None
    for number, item in enumerate(_items(dataset)):
        x, label = _observation(item, name)
        first = x if first is None else first
        if (x.shape, x.dtype) != (first.shape, first.dtype):
            raise ValueError(
                f"expected items of one shape and type in {name}, came {first.dtype} {first.shape} first "
                f"and {x.dtype} {x.shape} in item {number}: transform them to one"
            )
        held.append((x, label))
        if len(held) * first.size >= _CHUNK:
            yield _stacked(held)
            held = []
    if held:
        yield _stacked(held)


def _items(dataset: Dataset[Any]) -> Iterator[Any]:
    if isinstance(dataset, IterableDataset):
        yield from dataset
    else:
        yield from (dataset[i] for i in range(len(dataset)))  # type: ignore[arg-type]


def _observation(item: Any, name: str) -> tuple[np.ndarray, int | None]:
    x, label = (item[0], item[1] if len(item) > 1 else None) if isinstance(item, tuple | list) else (item, None)
    array = np.asarray(x.detach().cpu().float() if isinstance(x, Tensor) and x.dtype == torch.bfloat16 else x)
    if array.dtype.kind not in "buif":
        raise ValueError(f"expected items x or (x, label) in {name}, came x of {type(x).__name__}: transform it to a tensor")
    kept = np.asarray(label) if label is not None else None
    return array, int(kept.item()) if kept is not None and kept.dtype.kind in "bui" and kept.size == 1 else None


def _stacked(held: list[tuple[np.ndarray, int | None]]) -> store.Chunk:
    labels = [label for _, label in held]
    return np.stack([x for x, _ in held]), None if None in labels else np.array(labels)
