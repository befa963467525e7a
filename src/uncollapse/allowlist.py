"""Which classes a configuration may name: every name in it is looked up here before anything is imported or called."""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import torch
import yaml
from torch import nn
from torch.optim import Optimizer

from uncollapse.own_modules import Named, own_classes
from uncollapse.plain_files import LOADER, check_yaml

PACKAGE = __name__.partition(".")[0]
HIDDEN = f"{PACKAGE}.evaluation"  # its parts are put around trained models
NOT_ELEMENTWISE = (nn.GLU, nn.LogSoftmax, nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.Softmin, nn.Threshold)
DEEPEST = 100  # levels of a configuration
NO_CLASSES = (Any, inspect.Parameter.empty, torch.Size, torch.Tensor)
KEYWORDS = ("class_path", "init_args", "dict_kwargs")


class NotAllowedError(ValueError):
    """A configuration names a class that it may not name."""


class Allowlist:
    """The classes that a configuration may name, and the check that it names no others.

    Allowed are the library's own parts, the optimisers of `torch.optim`, the element-wise activations of `torch.nn`, and
    classes of modules that the user or the calling program named. That a module is imported or importable allows nothing.

    Args:
        base: The base class of the library's parts.
        parts: What the user named: classes, modules, import paths of modules, or paths of .py files.
        functions: Functions that take parts: their annotations, and those of all parts, say which parameters are classes.

    Attributes:
        own: The classes of the user's own.
        kinds: The classes of which a parameter takes instances or factories, by its name.
        types: The classes that a parameter takes as classes.
        texts: Whether a parameter is a text wherever it is one.
    """

    def __init__(self, base: type, parts: Iterable[Named] = (), functions: Iterable[Callable[..., Any]] = ()):
        self.base, self.own = base, own_classes(parts, base)
        self.kinds: dict[str, set[type]] = {}
        self.types: dict[str, set[type]] = {}
        self.texts: dict[str, bool] = {}
        signatures = {*functions, *(cls.__init__ for cls in (*_below(base), *self.own))}  # type: ignore[misc]
        for name, instances, types, is_text in (taken for function in signatures for taken in _taken(function)):
            self.kinds.setdefault(name, set()).update(instances)
            self.types.setdefault(name, set()).update(types)
            self.texts[name] = self.texts.get(name, True) and is_text

    def find(self, path: str) -> type | None:
        """The class of this import path; None where it is not allowed."""
        for cls in self.own:
            if path in (path_of(cls), f"{cls.__module__}.{cls.__qualname__}", f"__main__.{cls.__name__}"):
                return cls
        return _of_torch().get(path) or self._of_library(path)

    def _of_library(self, path: str) -> type | None:
        """The library's own part of this path; only the library's modules are imported."""
        room, _, name = path.rpartition(".")
        is_public = path.isascii() and all(one.isidentifier() and one[0] != "_" for one in path.split("."))
        if not is_public or not room.startswith(f"{PACKAGE}."):
            return None
        try:
            found = vars(import_module(room)).get(name)
        except ImportError:
            return None
        return found if isinstance(found, type) and self._is_part(found) else None

    def _is_part(self, cls: type) -> bool:
        return issubclass(cls, self.base) and cls.__module__.startswith(f"{PACKAGE}.") and not cls.__module__.startswith(HIDDEN)

    def named(self, key: str) -> dict[str, list[type]]:
        """The allowed classes that a parameter of this name takes, by their bare names."""
        kinds = tuple(self.kinds.get(key, ()))
        parts = [cls for cls in _below(self.base) if self._is_part(cls)]
        ours = [cls for cls in parts if not inspect.isabstract(cls) and not cls.__name__.startswith("_")]
        found: dict[str, list[type]] = {}
        for cls in dict.fromkeys([*ours, *self.own, *_of_torch().values()]):
            if cls in self.own or issubclass(cls, kinds) or cls in self._types(key):
                found.setdefault(cls.__name__, []).append(cls)
        return found

    def _types(self, key: str) -> set[type]:
        """The torch modules that a parameter takes as classes: activations where any module would do by its annotation."""
        types = self.types.get(key, set())
        return (types - {nn.Module}) | (set(activations()) if nn.Module in types else set())

    def check(self, value: Any, key: str = "", depth: int = 0) -> Any:
        """Check every name in a configuration; gives it back with bare names of classes written out in full.

        Args:
            value: Plain values, as YAML and JSON hold them.
            key: The parameter that it is the value of.
            depth: How far within the configuration it is.

        Raises:
            NotAllowedError: If a class is named that is not allowed; says which one, and what to write instead.
            ValueError: If no class has a name, or several have.
        """
        if depth > DEEPEST:
            raise ValueError(f"the configuration is nested too deeply: expected at most {DEEPEST} levels")
        if isinstance(value, dict):
            return {name: self._check_entry(name, one, key, depth + 1) for name, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.check(one, key, depth + 1) for one in value]
        return self._check_text(value, key, depth) if isinstance(value, str) else value

    def _check_entry(self, name: Any, value: Any, key: str, depth: int) -> Any:
        parts = [part for part in str(name).split(".") if part not in KEYWORDS]
        key = parts[-1].rstrip("+") if parts else key
        if str(name).rpartition(".")[2] != "class_path" or value is None:
            return self.check(value, key, depth)
        if not isinstance(value, str):
            raise ValueError(f"expected the name of a class as class_path of {key or 'a part'}, got {value!r}")
        return self._path(_unquoted(value), key)

    def _check_text(self, text: str, key: str, depth: int) -> Any:
        held = _unquoted(text)
        if isinstance(held, (dict, list)):
            return self.check(held, key, depth + 1)
        if not isinstance(held, str):
            return text
        is_path = "." in held and all(part.isidentifier() for part in held.split("."))
        takes_classes = bool(self.kinds.get(key) or self.types.get(key)) and not _is_number(held)
        is_name = takes_classes or (is_path and not self.texts.get(key, False))
        return self._path(held, key) if is_name else text

    def _path(self, name: Any, key: str) -> str:
        """The import path of an allowed class."""
        if str(name).isidentifier():
            return path_of(self._by_name(str(name), key))
        cls = self.find(name) if isinstance(name, str) else None
        if cls is None or (cls in _of_torch().values() and key in self.kinds and cls.__name__ not in self.named(key)):
            raise NotAllowedError(self._refusal(str(name), key))
        return path_of(cls) if cls in self.own else str(name)

    def _by_name(self, name: str, key: str) -> type:
        known = self.named(key)
        if len(known.get(name, ())) == 1:
            return known[name][0]
        if name in known:
            raise ValueError(f"{key} {name!r} is ambiguous; write {' or '.join(map(path_of, known[name]))}")
        raise ValueError(
            f"unknown {key or 'part'} {name!r}{_near(name, known)}; there are {', '.join(sorted(known))}; {IMPORT}"
        )

    def _refusal(self, name: str, key: str) -> str:
        if self._types(key):
            expected = ", ".join(sorted(cls.__name__ for cls in self._types(key)))
            return f"expected one of torch.nn's {expected} as {key}, got {name!r}; {IMPORT}"
        what = "an optimizer of torch.optim" if Optimizer in self.kinds.get(key, ()) else "a part of uncollapse"
        known = {path_of(cls): cls for found in self.named(key).values() for cls in found}
        return f"expected {what} as {key or 'class_path'}, got {name!r}{_near(name, known)}; {IMPORT}"

    def check_options(self, options: Iterable[str], plain: Iterable[str] = ()) -> list[str]:
        """Check every name in options of the command line, ``--prior Normal`` or ``--prior=Normal``.

        Args:
            options: As on the command line.
            plain: First names of options that hold texts and numbers only.

        Raises:
            ValueError: If a class is named that is not allowed.
        """
        checked, name = [], ""
        for option in options:
            before, equals, value = option.partition("=") if option.startswith("--") else ("", "", option)
            name = before or name
            if option.startswith("--") and not equals:
                checked.append(option)
            else:
                is_plain = name.lstrip("-").partition(".")[0] in plain
                told = value if is_plain else self._check_entry(name.lstrip("-"), value, "", 0)
                checked.append(before + equals + (told if isinstance(told, str) else _written(told)))
        return checked


IMPORT = "use --import FILE.py, or parts=[...] in Python, for a class of your own that you trust"


def path_of(cls: type) -> str:
    """The import path by which users name a class: the shortest of its module's parents that exports it.

    Example:
        >>> path_of(torch.optim.Adam)
        'torch.optim.Adam'
    """
    names = cls.__module__.split(".")
    for n in range(1, len(names)):
        if getattr(sys.modules.get(".".join(names[:n])), cls.__name__, None) is cls:
            return ".".join([*names[:n], cls.__qualname__])
    return f"{cls.__module__}.{cls.__qualname__}"


@cache
def activations() -> tuple[type[nn.Module], ...]:
    """The element-wise activations of `torch.nn` that need no argument.

    Example:
        >>> nn.SiLU in activations(), nn.LSTM in activations()
        (True, False)
    """
    module = torch.nn.modules.activation
    found = [cls for cls in vars(module).values() if isinstance(cls, type) and cls.__module__ == module.__name__]
    return (*(cls for cls in found if issubclass(cls, nn.Module) and not issubclass(cls, NOT_ELEMENTWISE)), nn.Identity)


@cache
def _of_torch() -> dict[str, type]:
    """The classes of torch that a configuration may name, by their import paths."""
    optimizers = [cls for cls in vars(torch.optim).values() if isinstance(cls, type) and issubclass(cls, Optimizer)]
    classes = [*(cls for cls in optimizers if cls is not Optimizer), *activations(), nn.LSTM, nn.GRU]
    return {path: cls for cls in classes for path in (path_of(cls), f"{cls.__module__}.{cls.__qualname__}")}


def _below(base: type) -> Iterator[type]:
    cls: type
    for cls in base.__subclasses__():
        yield cls
        yield from _below(cls)


@cache
def _taken(function: Callable[..., Any]) -> tuple[tuple[str, set[type], set[type], bool], ...]:
    """Of each parameter: its name, the classes of which it takes instances, those that it takes, and whether it is a text."""
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
    except (TypeError, ValueError, NameError):
        return ()
    return tuple((name, *_kinds(p.annotation), _is_text(p.annotation)) for name, p in parameters.items())


def _kinds(annotation: Any) -> tuple[set[type], set[type]]:
    """The classes of which an annotation takes instances, or factories of them, and those that it takes as classes."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is type:
        return set(), {one for one in _each(arguments) if isinstance(one, type)}
    if origin in (Union, UnionType):
        found = [_kinds(one) for one in arguments]
    elif isinstance(origin, type):  # a Callable's last argument is what it returns, a list's only one what it holds
        found = [_kinds(one) for one in arguments[-1:]]
    else:
        plain = not isinstance(annotation, type) or annotation.__module__ == "builtins" or annotation in NO_CLASSES
        return (set() if plain else {annotation}), set()
    return set().union(*(one for one, _ in found)), set().union(*(one for _, one in found))


def _each(arguments: Iterable[Any]) -> Iterator[Any]:
    for one in arguments:
        yield from get_args(one) or (one,)


def _is_text(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return all(_is_text(one) for one in get_args(annotation) if one is not type(None))
    return annotation is str or get_origin(annotation) is Literal


def _is_number(text: str) -> bool:
    try:
        return float(text) is not None
    except ValueError:
        return False


def _unquoted(text: str) -> Any:
    """What a text stands for as YAML, read again while that is a text.

    Raises:
        ValueError: If it has aliases, of which a few would stand for more than can be walked through.
    """
    try:
        if "*" in text and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, LOADER)):
            raise NotAllowedError(f"expected a value without YAML aliases (*name), got {text[:80]!r}; write it out")
        check_yaml(text)
        held = yaml.load(text, LOADER)  # a safe loader
    except NotAllowedError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    return _unquoted(held) if isinstance(held, str) and len(held) < len(text) else held


def _written(value: Any) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True, width=sys.maxsize)).strip()


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), 1)
    return f" (did you mean {near[0]}?)" if near else ""
