"""Samples from several files in the same columns, of the same shape and on the same scale."""

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np

from uncollapse.data.rows import Rows

NEAR_UNIT = (-0.25, 1.25)  # where numbers that are meant to lie from 0 to 1 may lie
_SCALES = {"-1 to 1": (-1.0, -0.1, 0.0, 1.0), "0 to 1": (0.0, 0.9, 0.1, 1.0), "0 to 255": (0.0, 200.0, 32.0, 255.0)}
"""Scales of pictures, and the least and the largest that the smallest and the largest number may be."""


def in_common_units(samples: Mapping[str, Rows]) -> tuple[dict[str, Rows], list[str]]:
    """Samples made comparable, and what was done to them, in sentences.

    - Named columns are brought into the order of the sample `reals`; others are refused.
    - All rows must have one shape: pictures of another size or colour are refused.
    - Bytes of pictures, and bytes beside numbers from 0 to 1, are divided by 255; bytes that are 0 or 1 throughout are not.
      Bytes of pictures beside numbers on any other scale are refused.

    Args:
        samples: Samples by name, `reals` among them.

    Raises:
        ValueError: If they cannot be compared; what to write instead.

    Example:
        >>> import torch
        >>> byte, real = Rows(np.full((2, 1, 1, 1), 255, np.uint8), "a"), Rows(np.ones((2, 1, 1, 1)), "b")
        >>> found, notes = in_common_units({"fakes": byte, "reals": real})
        >>> float(found["fakes"].take(torch.tensor([0]))), notes
        (1.0, ['fakes hold bytes, and are divided by 255 since reals hold numbers from 0 to 1'])
    """
    ordered = {name: _ordered(name, rows, samples["reals"]) for name, rows in samples.items()}
    _check_shapes(ordered)
    return _on_one_scale(ordered)


def _ordered(name: str, rows: Rows, reals: Rows) -> Rows:
    """The columns in the order of the reals'."""
    if rows.columns is None or reals.columns is None or rows.columns == reals.columns:
        return rows
    if set(rows.columns) != set(reals.columns):
        missing, other = (sorted(set(a) - set(b)) for a, b in ((reals.columns, rows.columns), (rows.columns, reals.columns)))
        got = " and ".join(filter(None, [_listed("no", missing), _listed("also", other)]))
        raise ValueError(
            f"expected the same columns in {name} ({rows.where}) as in reals ({reals.where}), got {got}; rename or drop them"
        )
    order = [rows.columns.index(column) for column in reals.columns]
    return replace(rows, values=np.asarray(rows.values)[:, order], columns=reals.columns)


def _listed(word: str, names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{word} {', '.join(names[:5])}{more}" if names else ""


def _check_shapes(samples: dict[str, Rows]) -> None:
    reals = samples["reals"]
    for name, rows in samples.items():
        if rows.shape != reals.shape:
            got = f"{_size(rows.shape)} in {name} ({rows.where}) and {_size(reals.shape)} in reals ({reals.where})"
            raise ValueError(f"expected rows of one shape, got {got}; {_mended(rows.shape, reals.shape)}")


def _size(shape: tuple[int, ...]) -> str:
    """A shape in words.

    Example:
        >>> _size((3, 32, 48)), _size((1, 28, 28)), _size((12,))
        ('pictures of 48 x 32 pixels in colour', 'pictures of 28 x 28 pixels in grey', '12 numbers a row')
    """
    if len(shape) == 3 and shape[0] in (1, 3):
        return f"pictures of {shape[2]} x {shape[1]} pixels in {'grey' if shape[0] == 1 else 'colour'}"
    return f"{shape[0]} numbers a row" if len(shape) == 1 else f"arrays of {' x '.join(map(str, shape))}"


def _mended(shape: tuple[int, ...], other: tuple[int, ...]) -> str:
    if len(shape) == len(other) == 3 and shape[1:] == other[1:]:
        return "convert all to grey, or all to colour (Pillow: image.convert('L') or image.convert('RGB'))"
    if len(shape) == len(other) == 3:
        return "resize one of them first (Pillow: image.resize((width, height)))"
    return "reshape one of them" if prod(shape) == prod(other) else "give both the same columns, or size"


def _on_one_scale(samples: dict[str, Rows]) -> tuple[dict[str, Rows], list[str]]:
    pictures = len(samples["reals"].shape) > 1
    bounds = {name: rows.bounds() for name, rows in samples.items()}
    eight = [name for name, rows in samples.items() if rows.values.dtype == np.uint8]
    if eight:  # other whole numbers beside bytes are bytes too
        eight = [name for name, rows in samples.items() if rows.values.dtype.kind in "iu" and _within(bounds[name], 0, 255)]
    others = [name for name in samples if name not in eight]
    if not eight or max(bounds[name][1] for name in eight) <= 1:
        return samples, _other_scales(bounds) if pictures else []
    if not others:
        return (_divided(samples, eight), _black(bounds)) if pictures else (samples, [])
    if all(_within(bounds[name], *NEAR_UNIT) for name in others):
        names = [" and ".join(some) for some in (eight, others)]
        return _divided(samples, eight), [
            f"{names[0]} hold bytes, and are divided by 255 since {names[1]} hold numbers from 0 to 1"
        ]
    if not pictures:
        return samples, []
    name = next(name for name in others if not _within(bounds[name], *NEAR_UNIT))
    low, high = bounds[name]
    raise ValueError(
        f"expected pictures on one scale, got bytes in {eight[0]} ({samples[eight[0]].where}) and numbers from {low:.3g} to "
        f"{high:.3g} in {name} ({samples[name].where}); bring them to 0 to 1: (x + 1) / 2 of -1 to 1, x / 255 of 0 to 255"
    )


def _within(bounds: tuple[float, float], low: float, high: float) -> bool:
    """Whether no number lies outside; where there is none, it is."""
    return not (bounds[0] < low or bounds[1] > high)


def _divided(samples: dict[str, Rows], eight: list[str]) -> dict[str, Rows]:
    return {name: replace(rows, scale=1 / 255) if name in eight else rows for name, rows in samples.items()}


def _black(bounds: dict[str, tuple[float, float]]) -> list[str]:
    """Bytes that are nearly black beside others that are not."""
    dark = [name for name, (_, high) in bounds.items() if high <= 1]
    return [
        f"{name} hold bytes of 0 and 1 alone, nearly black: multiply them by 255 if they are black and white" for name in dark
    ]


def _other_scales(bounds: dict[str, tuple[float, float]]) -> list[str]:
    """Numbers that seem to be of pictures on another scale than the reals."""
    scales = {name: _scale(*bound) for name, bound in bounds.items()}
    of_reals = scales["reals"]
    return [
        f"{name} lie from {scale}, reals from {of_reals}: if they are pictures on two scales, bring them to one first"
        for name, scale in scales.items()
        if scale != of_reals and scale and of_reals
    ]


def _scale(low: float, high: float) -> str:
    """The scale that pictures with these bounds are on, or nothing.

    Example:
        >>> _scale(-0.98, 1.0), _scale(0.0, 0.9), _scale(0.0, 254.0), _scale(-3.0, 3.0)
        ('-1 to 1', '0 to 1', '0 to 255', '')
    """
    fits = [name for name, (a, b, c, d) in _SCALES.items() if a <= low <= b and c <= high <= d]
    return fits[0] if fits else ""
