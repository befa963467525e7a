"""The values of a recipe before anything is built of them: numbers of a possible size, and texts that name no pipe."""

import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from uncollapse.plain_files import LARGEST

LARGEST_INTEGER = 2**31
"""What a size, a count or a step is below."""

LARGEST_SEED = 2**63
"""What a seed is below."""

LARGEST_NUMBER = 1e30
"""The largest real number: its square is still finite in twice the precision of the weights."""


def check_values(values: dict[str, Any]) -> None:
    """Refuse values that no part has a use for, by the name of their option.

    Raises:
        ValueError: If a whole number is 2³¹ or more (2⁶³ for a seed), a seed is negative, a real number is not finite or above
            10³⁰, or a text names a device, a pipe or a large file, which would be read for a part.

    Example:
        >>> check_values({"prior": {"class_path": "VampPrior", "init_args": {"components": 2**40}}})
        Traceback (most recent call last):
        ValueError: expected --prior.components below 2,147,483,648, got 1099511627776
    """
    for name, value in _leaves(values, ""):
        option = f"--{name}"
        if isinstance(value, str) and name != "data.name":
            _check_text(option, value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if isinstance(value, float) and not (math.isfinite(value) and abs(value) <= LARGEST_NUMBER):
            raise ValueError(f"expected a finite number of at most {LARGEST_NUMBER:g} as {option}, got {value}")
        seed = name.rpartition(".")[2] == "seed"
        if seed and value < 0:
            raise ValueError(f"expected {option} of at least 0, got {value!s:.40}")
        most = LARGEST_SEED if seed else LARGEST_INTEGER
        if isinstance(value, int) and abs(value) >= most:
            raise ValueError(f"expected {option} below {most:,}, got {value!s:.40}")


def largest(values: dict[str, Any]) -> str:
    """The option with the largest whole number, but for steps and seeds, as on the command line; nothing where there is none.

    Example:
        >>> largest({"features": 2, "prior": {"init_args": {"components": 500}}, "training": {"steps": 9000}})
        '--prior.components 500'
    """
    found = {
        name: value
        for name, value in _leaves(values, "")
        if type(value) is int and not name.startswith(("training", "data", "stages"))
    }
    name = max(found, key=lambda name: found[name], default="")
    return f"--{name} {found[name]}" if name else ""


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every single value within, by the name of its option."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, name if key == "init_args" else f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, name)
    else:
        yield name.removesuffix(".class_path"), value


def _check_text(option: str, text: str) -> None:
    """Refuse a text that names what cannot be read at once: a part may be named by a file that describes it."""
    if "\0" in text:
        raise ValueError(f"expected text without the character 0 as {option}, got {text[:60]!r}")
    try:
        found = Path(text).stat()
    except (OSError, ValueError):
        return
    kind = stat.S_IFMT(found.st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFREG and found.st_size > LARGEST):
        raise ValueError(f"expected a name as {option}, got {text[:60]!r}, which is a device, a pipe or a large file")
