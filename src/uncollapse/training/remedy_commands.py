"""Commands that try remedies on a recipe."""

import sys
from collections.abc import Iterable
from shlex import quote
from types import ModuleType
from typing import Any

import yaml

from uncollapse.diagnosis import Remedy
from uncollapse.own_modules import Named


def remedy_commands(remedies: Iterable[Remedy], recipe: str, parts: Iterable[Named] = ()) -> list[str]:
    """The command that trains a recipe with each remedy's options, and why, a line each.

    Args:
        remedies: What to try.
        recipe: The name of a recipe, or the path of a run's config.yaml.
        parts: What holds the classes outside the library that the recipe names; the commands import them again.

    Example:
        >>> remedy = Remedy((("likelihood.skip", True),), "let z reach every layer of the decoder")
        >>> remedy_commands([remedy], "vae", ["my_parts.py"])[0].split("  ")[0]
        'uncollapse train vae --import my_parts.py --likelihood.skip true'
    """
    start = " ".join(["uncollapse train", quote(recipe), *(f"--import {quote(name)}" for name in imports(parts))])
    return [f"{f'{start} {options(remedy)}':90}  {remedy.why}" for remedy in remedies]


def options(remedy: Remedy) -> str:
    """The options of a remedy as the command line reads them.

    Example:
        >>> options(Remedy((("objective.penalties", [{"class_path": "R1"}]),), "a smooth critic"))
        "--objective.penalties '[{class_path: R1}]'"
    """
    return " ".join(f"--{name} {quote(_written(value))}" for name, value in remedy.options)


def imports(parts: Iterable[Named]) -> list[str]:
    """The values of `--import` that name the same parts: paths of files and of modules; none of a program that runs them."""
    found = [_importable(named) for named in ([parts] if isinstance(parts, Named) else parts)]
    return list(dict.fromkeys(name for name in found if name is not None))


def _importable(named: Named) -> str | None:
    module: Any = sys.modules.get(named.__module__) if isinstance(named, type) else named
    if not isinstance(module, ModuleType):
        return None if module is None else str(module)
    if module.__name__ == "__main__":
        return None
    file = getattr(module, "__file__", None)
    return module.__name__ if file is None or "." in module.__name__ else file


def _written(value: Any) -> str:
    """A value as YAML in a line."""
    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, width=float("inf")).removesuffix("...\n").strip()
