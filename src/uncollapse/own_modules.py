"""Modules of the user's own that hold parts: only those that the user or the calling program names are imported."""

import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from keyword import iskeyword
from pathlib import Path
from types import ModuleType

from torch import nn
from torch.distributions import Distribution
from torch.optim import Optimizer

Named = type | str | Path | ModuleType
"""What holds parts of the user's own: a class, a module, the import path of one, or the path of a .py file."""


def own_classes(parts: Iterable[Named], base: type) -> list[type]:
    """The classes that a configuration may name beside those of the library.

    Args:
        parts: Classes, modules, import paths of modules, or paths of .py files; files and modules are imported.
        base: The base class of the library's parts.

    Raises:
        ValueError: If a file or module cannot be imported or holds no parts, or a class is none.
    """
    kinds = (base, nn.Module, Distribution, Optimizer)
    return [cls for named in ([parts] if isinstance(parts, Named) else parts) for cls in _classes(named, kinds)]


def _classes(named: Named, kinds: tuple[type, ...]) -> Iterator[type]:
    if isinstance(named, type):
        if not issubclass(named, kinds) or "<locals>" in named.__qualname__:
            raise ValueError(
                f"expected parts=[...] of part, torch.nn.Module or torch Distribution classes, each at the top of its module, "
                f"got {named.__module__}.{named.__qualname__}"
            )
        yield named
        return
    module = named if isinstance(named, ModuleType) else _imported(named)
    listed = getattr(module, "__all__", ())
    found = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, kinds) and (value.__module__ == module.__name__ or name in listed)
    ]
    if not found:
        raise ValueError(f"{named} defines no part: expected a class of a prior, network or other part, or a torch.nn.Module")
    yield from found


def _imported(named: str | Path) -> ModuleType:
    if isinstance(named, Path) or named.endswith(".py"):
        return _from_file(Path(named))
    try:
        return import_module(named)
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"cannot import {named}: {_said(error)}; write the path of a .py file, or an installed module"
        ) from error


def _from_file(file: Path) -> ModuleType:
    """Import a file under its own name, which must not be that of another module."""
    if not file.is_file():
        raise ValueError(f"there is no file {file} to import; write the path of the .py file that defines your parts")
    name = file.stem
    if not name.isidentifier() or iskeyword(name):
        raise ValueError(f"expected a .py file whose name is a Python name, got {file}; rename it, as in my_parts.py")
    known = sys.modules.get(name)
    origin = getattr(known, "__file__", None) if known else getattr(find_spec(name), "origin", None)
    if (known or origin) and not (origin and Path(origin).exists() and file.samefile(origin)):
        raise ValueError(f"cannot import {file}: there is another module {name} ({origin}); rename the file")
    return known or _executed(name, file)


def _executed(name: str, file: Path) -> ModuleType:
    spec = spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError(f"cannot import {file}: {_said(error)}; mend it, then try again") from error
    return module


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
