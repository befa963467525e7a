"""Parts: classes whose constructor signature is their configuration; how one is written down, and built again."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Self, TypeVar

from uncollapse.allowlist import Allowlist, path_of
from uncollapse.own_modules import Named

T = TypeVar("T")


class Part:
    """A class that remembers how it was constructed, so that it can be written down and built again.

    A parameter of a part is a number, a string, a class, another part, or a factory of parts. A factory's product is kept
    under the parameter's own name (``self.network = network(shape, out)``), and it is the product that is written down.

    Attributes:
        given: Parameters that the house hands over (sizes, the model): they are not part of the configuration.
    """

    given: ClassVar[tuple[str, ...]] = ()
    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        object.__setattr__(self, "_arguments", dict(list(bound.arguments.items())[1:]))
        return self

    def configuration(self) -> dict[str, Any]:
        """The part as ``{"class_path": ..., "init_args": {...}}``, defaults left out.

        Example:
            >>> from uncollapse.schedules import Linear
            >>> Linear(0.0, 1.0, steps=100).configuration()
            {'class_path': 'uncollapse.schedules.Linear', 'init_args': {'start': 0.0, 'end': 1.0, 'steps': 100}}
        """
        kept = {name: value for name, value in self._arguments.items() if name not in self.given}
        written = {name: _write(value, self, name) for name, value in kept.items()}
        return {"class_path": path_of(type(self)), "init_args": written}


def _write(value: Any, owner: Part, name: str) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [_write(v, owner, name) for v in value]
        case Part():
            return value.configuration()
        case type():
            return path_of(value)
    product = getattr(owner, name, None)
    if isinstance(product, Part):
        return product.configuration()
    raise TypeError(
        f"{type(owner).__name__}({name}=...) cannot be saved: expected a number, a string, a class, a part, or a factory of "
        f"parts whose product is kept as self.{name}, came {value!r}"
    )


def allowlist(parts: Iterable[Named] = (), *functions: Callable[..., Any]) -> Allowlist:
    """The classes that a configuration may name: the library's, and those that the user named.

    Args:
        parts: Classes, modules, import paths of modules, or paths of .py files.
        functions: What takes the parts, beside other parts.

    Example:
        >>> allowlist().check({"beta": {"class_path": "os.system", "init_args": {"command": "ls"}}})
        Traceback (most recent call last):
        uncollapse.allowlist.NotAllowedError: expected a part of uncollapse as beta, got 'os.system'; use --import FILE.py, ...
    """
    return Allowlist(Part, parts, functions)


def build(configuration: dict[str, Any], function: Callable[..., T], parts: Iterable[Named] = ()) -> T:
    """Call a function with arguments given as configurations of parts, checked against its signature.

    Args:
        configuration: One entry a parameter; parts as ``{"class_path": ..., "init_args": {...}}``.
        function: What to call; its annotations say which parts fit.
        parts: What holds classes of the user's own, which it may name beside those of the library.

    Raises:
        ValueError: If an entry does not fit the signature, or names a class that is not allowed.

    Example:
        >>> from uncollapse.schedules import Linear, Schedule
        >>> def at_50(schedule: Schedule) -> float:
        ...     return float(schedule(50))
        >>> build({"schedule": Linear(0.0, 1.0, steps=100).configuration()}, at_50)
        0.5
    """
    from jsonargparse import ArgumentError, ArgumentParser

    from uncollapse.plain_files import register

    allowed = allowlist(parts, function)
    try:
        checked = allowed.check(configuration)
    except ValueError as error:
        raise type(error)(f"the configuration does not fit: {error}") from error
    parser = ArgumentParser(exit_on_error=False, parser_mode=register())
    parser.add_function_arguments(function)
    try:
        arguments = parser.instantiate(parser.parse_object(checked, env=False))
    except ArgumentError as error:
        raise ValueError(f"the configuration does not fit: {error}") from error
    return function(**arguments)
