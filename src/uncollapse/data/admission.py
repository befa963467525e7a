"""The door of the house: what arrays may come in, and what their numbers mean.

Behind it only one thing is checked again: that a likelihood gives a density to the observations that it meets.
"""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data import store
from uncollapse.data.file_checks import shown
from uncollapse.data.lazy import release, tensorable

_CHUNK = 2**22  # numbers that are checked at a time
_LARGEST = 2.0**63


def admitted(values: Any, where: str, eight: bool | None = None, finite: bool = True, double: bool = False) -> np.ndarray:
    """An array or a tensor as an array [N, *shape] of finite numbers, channels first; a memory map that fits comes into memory.

    Images in 8 bits get a channel: [N, H, W] becomes [N, 1, H, W], and [N, H, W, 3] becomes [N, 3, H, W]. A table of one
    column, [N], becomes [N, 1].

    Args:
        values: What the user gave.
        where: What to call it in errors.
        eight: Whether to take images for 8-bit ones; None: as their type says.
        finite: Whether to refuse NaN, infinity, and what the precision does not hold.
        double: Whether the numbers are kept in double precision; else in the default one.

    Raises:
        ValueError: If it is empty, does not hold real numbers, holds NaN, infinity or what no number of the precision in use
            holds, or seems to be images with a channel of transparency.
    """
    array = _array(values, where)
    if array.dtype.kind not in "buif":
        raise ValueError(f"expected numbers in {where}, came {shown(array.dtype)}: save a plain array of integers or floats")
    if array.ndim == 0 or prod(array.shape) == 0:
        raise ValueError(f"expected at least one observation in {where}, came an array of shape {array.shape}")
    if isinstance(array, np.memmap) and store.fits(array.shape):
        array = np.array(array)
    if finite:
        _check_numbers(array, where, double)
    return _with_channels(array, array.dtype == np.uint8 if eight is None else eight, where)


def levels(splits: dict[str, np.ndarray], name: str) -> int | None:
    """What the numbers of all splits together are: 2 if each is 0 or 1, 256 for 8-bit integers, None for real numbers.

    Raises:
        ValueError: If some splits are 8-bit integers and others are not.

    Example:
        >>> levels({"train": np.array([[0, 255]], np.uint8)}, "two grey pixels")
        256
    """
    if all(binary(values) for values in splits.values()):
        return 2
    eight = {split: values.dtype == np.uint8 for split, values in splits.items()}
    if len(set(eight.values())) == 2:
        types = ", ".join(f"{split} {values.dtype}" for split, values in splits.items())
        raise ValueError(f"expected one type in all splits of {name}, came {types}: convert them to one")
    return 256 if all(eight.values()) else None


def scale(levels: int | None) -> float:
    """What stored numbers of so many levels are multiplied by, so that 8-bit integers lie in [0, 1]."""
    return 1 / 255 if levels == 256 else 1.0


def binary(values: np.ndarray) -> bool:
    """Whether each number is 0 or 1."""
    return values.dtype == np.bool_ or all(bool(((chunk == 0) | (chunk == 1)).all()) for _, chunk in _chunks(values))


def labelled(labels: Any, n: int, where: str) -> Tensor | None:
    """Labels as int64 [N] on the CPU; other values (names, say) become the numbers of their sorted kinds.

    Raises:
        ValueError: If there is not one for each of n observations, or one is NaN, infinity or None.

    Example:
        >>> labelled(["cat", "dog", "cat"], 3, "pets")
        tensor([0, 1, 0])
    """
    if labels is None:
        return None
    array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.shape != (n,):
        raise ValueError(f"expected one label for each of the {n} observations of {where}, came labels of shape {array.shape}")
    _check_labels(array, where)
    return torch.from_numpy(encoded(array).astype(np.int64))


def encoded(labels: np.ndarray) -> np.ndarray:
    """Integers, as they are or as the numbers of the sorted kinds."""
    if labels.dtype.kind in "bui" and np.can_cast(labels.dtype, np.int64):
        return labels
    if labels.dtype.kind in "uf" and (labels == np.round(labels)).all() and np.abs(labels).max(initial=0) < _LARGEST:
        return labels.astype(np.int64)
    return np.unique(labels.astype(str), return_inverse=True)[1]


def _check_labels(labels: np.ndarray, where: str) -> None:
    """Refuse a label that is missing: it is no kind of its own."""
    if labels.dtype.kind in "fc":
        missing = ~np.isfinite(labels)
    elif labels.dtype.kind in "Mm":
        missing = np.isnat(labels)
    elif labels.dtype.kind == "O":
        missing = np.array([_is_missing(label) for label in labels], bool)
    else:
        return
    if missing.any():
        row = int(np.argmax(missing))
        raise ValueError(
            f"expected a label for each observation of {where}, came {shown(labels[row])} in row {row}: fill it, remove "
            "that row, or leave the labels out"
        )


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)
    except (TypeError, ValueError):  # pandas does not say whether NA is NA
        return True


def _array(values: Any, where: str) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"expected an array in {where}, came rows of several lengths: make them one size") from error


def _with_channels(values: np.ndarray, eight: bool, where: str) -> np.ndarray:
    if values.ndim == 1:
        return values[:, None]
    if eight and values.ndim == 3:
        return values[:, None]
    if eight and values.ndim == 4 and values.shape[1] not in (1, 3):
        if values.shape[3] in (1, 3):
            return values.transpose(0, 3, 1, 2)
        if values.shape[3] in (2, 4) and values.shape[1] not in (2, 4):
            raise ValueError(
                f"expected images of one or three channels in {where}, got {values.shape}, which seem to have transparency: "
                "write array[..., :-1] without it, or array.transpose(0, 3, 1, 2) if these are channels"
            )
    return values


def _chunks(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    step = max(1, _CHUNK // prod(values.shape[1:]))
    for start in range(0, len(values), step):
        yield start, tensorable(np.asarray(values[start : start + step]))
        release(values)


def _check_numbers(values: np.ndarray, where: str, double: bool) -> None:
    """Refuse the first row that holds what is no number of the precision in use."""
    real = values.dtype.kind == "f"
    if not real and np.can_cast(values.dtype, np.int64):
        return
    most = torch.finfo(torch.float64 if double else torch.get_default_dtype()).max if real else np.iinfo(np.int64).max
    wide = not real or float(np.finfo(values.dtype).max) > most
    step = max(1, _CHUNK // prod(values.shape[1:]))
    for start in range(0, len(values), step):
        chunk = np.asarray(values[start : start + step]).reshape(min(step, len(values) - start), -1)
        good = np.isfinite(chunk).all(1) & (not wide or (np.abs(chunk) <= most).all(1))
        if not good.all():
            row = int(np.argmin(good))
            raise ValueError(_not_in_range(chunk[row], most, where, start + row))
        release(values)


def _not_in_range(row: np.ndarray, most: float, where: str, number: int) -> str:
    if not np.isfinite(row).all():
        return f"expected finite numbers in {where}, came NaN or infinity in row {number}: remove or fill that row"
    worst = row[np.argmax(np.abs(row))]
    if row.dtype.kind == "f":
        how = "rescale the data, they are kept in single precision"
        return f"expected numbers up to 3.4e38 in {where}, came {worst:.4g} in row {number}: {how}"
    return f"expected whole numbers up to {most:,} in {where}, came {int(worst):,} in row {number}: rescale the data"
