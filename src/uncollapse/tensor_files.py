"""Tensors from anyone's safetensors files: what a file states is checked before it is read, kinds and shapes before use."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor

from uncollapse.plain_files import Damaged, check_plain

LARGEST_HEADER = 2**24
"""Bytes that the names, types and shapes in a file may have."""

LARGEST_FILE = 2**44
"""Bytes that a file may have, if its header says so."""

WEIGHTS = (torch.float32, torch.float64, torch.bfloat16)
"""The types of weights that every part can compute with."""


def check_header(file: Path) -> None:
    """Refuse a file whose size is not what its header states; no more than the header is read.

    Raises:
        OSError: If it cannot be read.
        Damaged: If it is no such file.
    """
    check_plain(file, LARGEST_FILE)
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if length <= min(LARGEST_HEADER, size) else b""
    try:
        ends = [value["data_offsets"][1] for name, value in json.loads(header).items() if name != "__metadata__"]
        stated = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise Damaged(f"{file} is damaged: expected tensors, got a file without their names and shapes") from None
    if stated != size:
        raise Damaged(f"{file} is damaged: expected {str(stated)[:20]} bytes by its header, got {size}")


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by name.

    Raises:
        OSError: If it cannot be read.
        Damaged: If it is damaged.
    """
    check_header(file)
    try:
        return load_file(file)
    except (SafetensorError, RuntimeError) as error:
        raise Damaged(f"{file} is damaged: {' '.join(str(error).split())}") from error


def tensors_of(content: bytes, file: Path) -> dict[str, Tensor]:
    """The tensors of a file that was read, by name.

    Raises:
        Damaged: If it is damaged.
    """
    try:
        return load(content)
    except (SafetensorError, RuntimeError, KeyError) as error:
        raise Damaged(f"{file} is damaged: {' '.join(str(error).split())}") from error


def check_weights(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights of another model, or of a type that nothing is computed in.

    Args:
        weights: By name.
        expected: The model's own.
        where: Where they come from, for the error.

    Raises:
        ValueError: If names or shapes are others, or a type is none of `WEIGHTS`; of what counts, if it is not the model's.

    Example:
        >>> check_weights({"scale": torch.ones(2, dtype=torch.int64)}, {"scale": torch.ones(2)}, "run/checkpoints/best")
        Traceback (most recent call last):
        ValueError: run/checkpoints/best is damaged: expected scale as float32, float64 or bfloat16, got int64; train again
    """
    mine, theirs = ({name: tuple(v.shape) for name, v in named.items()} for named in (expected, weights))
    wrong = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    if wrong:
        n = wrong[0]
        raise ValueError(
            f"{where} holds another model: {n} is {theirs.get(n, 'missing')} there and {mine.get(n, 'missing')} here "
            f"({len(wrong)} differences); use the recipe that it was trained with"
        )
    for name, own in expected.items():
        if weights[name].dtype not in (WEIGHTS if own.is_floating_point() else (own.dtype,)):
            kinds = "float32, float64 or bfloat16" if own.is_floating_point() else _named(own)
            raise ValueError(f"{where} is damaged: expected {name} as {kinds}, got {_named(weights[name])}; train again")


def check_state(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse a state whose names, shapes or types are not those of the state that it takes the place of.

    Args:
        found: What was read.
        expected: What is there, whose values do not matter.

    Raises:
        ValueError: If one differs.

    Example:
        >>> check_state({"step": torch.ones(())}, {"step": torch.ones(2)})
        Traceback (most recent call last):
        ValueError: expected step as float32 [2], got float32 []
    """
    for name in [*expected, *found]:
        one, other = (
            f"{_named(held[name])} {list(held[name].shape)}" if name in held else "none" for held in (expected, found)
        )
        if one != other:
            raise ValueError(f"expected {name} as {one}, got {other}")


def _named(tensor: Tensor) -> str:
    """The name of its type, without the module."""
    return str(tensor.dtype).removeprefix("torch.")
