"""Data from arrays: the splits that were not given are drawn from the train split."""

from typing import Any

import numpy as np
import torch

from uncollapse.data import admission
from uncollapse.data.counter import permutation
from uncollapse.data.dataset import SPLITS, Data
from uncollapse.data.lazy import Picked, Readable, tensorable
from uncollapse.data.source import Source

_Piece = tuple[Readable, torch.Tensor | None]


def from_arrays(
    train: Any,
    valid: Any = None,
    test: Any = None,
    labels: Any = None,
    valid_labels: Any = None,
    test_labels: Any = None,
    name: str = "arrays",
    seed: int = 0,
) -> Data:
    """Data from numpy arrays, memory maps or tensors [N, ...].

    Booleans, and numbers that are 0 or 1 throughout, are binary data; other 8-bit integers are images of 256 levels, scaled to
    [0, 1]; all else are real numbers as they come. A split that is not given is a tenth of the train split, drawn by the seed.
    Of too few rows to leave one to each split, all stay in the train split: they can be encoded, but not trained on.
    `split("all")` of the data puts them together again, in the order that they came in.
    A memory map stays on the disk if it is larger than memory allows (see `uncollapse.data.store.budget`).

    Args:
        train: Observations to learn from.
        valid: Observations to choose by.
        test: Observations to report on.
        labels: Of the train observations: [N] integers, or names.
        valid_labels: Of the valid observations.
        test_labels: Of the test observations.
        name: What to call the data set.
        seed: Of the splits that are not given.

    Raises:
        ValueError: If an array is empty, holds other than finite real numbers, or does not have the shape of the others.

    Example:
        >>> data = from_arrays(np.arange(20.0).reshape(10, 2), labels=np.arange(10) % 3)
        >>> len(data.train), len(data.valid), len(data.test), data.shape, data.levels
        (8, 1, 1, torch.Size([2]), None)
    """
    came = dict(zip(SPLITS, (train, valid, test), strict=True))
    splits = {split: admission.admitted(values, f"{name} ({split})") for split, values in came.items() if values is not None}
    _check_shapes(splits, name)
    kinds = dict(zip(SPLITS, (labels, valid_labels, test_labels), strict=True))
    pieces: dict[str, _Piece] = {
        split: (values, admission.labelled(kinds[split], len(values), f"{name} ({split})")) for split, values in splits.items()
    }
    found = admission.levels(splits, name)
    scale = admission.scale(found)
    drawn = _drawn(pieces, seed)
    sources: dict[str, Any] = {split: _source(piece, scale) for split, piece in _completed(pieces, drawn).items()}
    return Data(name, **sources, levels=found, own=tuple(pieces), order=_order(pieces, drawn))


def _source(piece: _Piece, scale: float) -> Source:
    values, labels = piece
    if isinstance(values, np.ndarray) and not isinstance(values, np.memmap):
        return Source(torch.from_numpy(tensorable(values)), labels, scale)
    return Source(values, labels, scale)


def _drawn(pieces: dict[str, _Piece], seed: int) -> dict[str, np.ndarray]:
    """Which rows of the train split each missing one takes, and which are left to it."""
    missing = [split for split in SPLITS if split not in pieces]
    return (
        dict(zip([*missing, "train"], shared_out(pieces["train"][0].shape[0], len(missing), seed), strict=True))
        if missing
        else {}
    )


def shared_out(n: int, missing: int, seed: int) -> list[np.ndarray]:
    """Which of n rows each missing split takes, a tenth but at least one row, and then those that are left for the train split.

    Where too few are there to leave one to each, all are left.

    Example:
        >>> [rows.tolist() for rows in shared_out(4, 2, seed=0)], [rows.tolist() for rows in shared_out(2, 2, seed=0)]
        ([[2], [0], [3, 1]], [[], [], [0, 1]])
    """
    if n <= missing:
        return [*[np.arange(0)] * missing, np.arange(n)]
    tenth = max(1, n // 10)
    return np.split(permutation(n, seed), [tenth * (i + 1) for i in range(missing)])


def _completed(pieces: dict[str, _Piece], drawn: dict[str, np.ndarray]) -> dict[str, _Piece]:
    """All three splits."""
    return pieces | {split: _picked(pieces["train"], rows) for split, rows in drawn.items()}


def _order(pieces: dict[str, _Piece], drawn: dict[str, np.ndarray]) -> np.ndarray | None:
    """What puts the rows of all splits back into the order of the pieces, which come one after another."""
    if not drawn:
        return None
    sizes = [values.shape[0] for values, _ in pieces.values()]
    starts = dict(zip(pieces, np.cumsum([0, *sizes[:-1]]), strict=True))
    came = [drawn[split] if split in drawn else starts[split] + np.arange(pieces[split][0].shape[0]) for split in SPLITS]
    return np.argsort(np.concatenate(came))


def _picked(piece: _Piece, rows: np.ndarray) -> _Piece:
    values, labels = piece
    mapped = isinstance(values, np.memmap)
    return Picked(values, rows) if mapped else values[rows], None if labels is None else labels[torch.from_numpy(rows)]


def _check_shapes(splits: dict[str, np.ndarray], name: str) -> None:
    if len({values.shape[1:] for values in splits.values()}) > 1:
        shapes = ", ".join(f"{split} {values.shape[1:]}" for split, values in splits.items())
        raise ValueError(f"expected observations of one shape in all splits of {name}, came {shapes}: make them one shape")
