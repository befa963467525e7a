"""YAML and JSON from anyone, read in bounded time and memory: plain values, or one line that says what is wrong."""

import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

LARGEST = 2**20
"""Bytes that a YAML file may have: a recipe has some thousands."""

LARGEST_JSON = 2**23
"""Bytes that a JSON file may have."""

DEEPEST = 50
"""How many mappings and lists may stand within one another."""

MOST = 100_000
"""Values of a YAML file, each as often as aliases repeat it."""

ENTRIES = 500
"""Values of one list: what checks a recipe takes a time that grows with the square of it."""

TAGS = {"!", *(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map"))}
"""The kinds of values that a YAML file may state: no objects, bytes or sets."""

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Damaged(ValueError):
    """Text that is not what it should be; says where it stands and what is wrong with it."""


def read_text(file: Path, most: int = LARGEST) -> str:
    """The text of a file.

    Args:
        file: The file.
        most: How many bytes it may have.

    Raises:
        OSError: If it cannot be read.
        Damaged: If it is no regular file (a pipe or a device would be waited for), too large, or not UTF-8.

    Example:
        >>> read_text(Path("/dev/null"))
        Traceback (most recent call last):
        uncollapse.plain_files.Damaged: expected a plain file, got /dev/null, which is a device, pipe or folder
    """
    check_plain(file, most)
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Damaged(f"{file} is damaged: expected text in UTF-8, got the byte {error.object[error.start]:#04x}") from error


def check_plain(file: Path, most: int) -> None:
    """Refuse what cannot be read to its end in bounded time and memory.

    Args:
        file: The file.
        most: How many bytes it may have.

    Raises:
        OSError: If there is none.
        Damaged: If it is a pipe, a device or a folder, or has more bytes.
    """
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise Damaged(f"expected a plain file, got {file}, which is a device, pipe or folder")
    if found.st_size > most:
        raise Damaged(f"expected at most {most:,} bytes in {file}, got {found.st_size:,}")


def read_json(file: Path) -> dict[str, Any]:
    """The names and values of a JSON file.

    Raises:
        OSError: If it cannot be read.
        Damaged: If it is not JSON, holds no names, one name twice, or is nested too deeply.
    """
    text = read_text(file, LARGEST_JSON)
    try:
        found = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise Damaged(f"{file} is damaged: expected at most {DEEPEST} levels, got more") from None
    except ValueError as error:
        raise Damaged(f"{file} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise Damaged(f"{file} is damaged: expected names and values, got a {type(found).__name__}")
    if _depth(found) > DEEPEST:
        raise Damaged(f"{file} is damaged: expected at most {DEEPEST} levels, got more")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it states {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def _depth(value: Any) -> int:
    """How many mappings and lists stand within one another, no further than one above the limit."""
    layer, depth = [value], 0
    while layer and depth <= DEEPEST:
        inner = [v for v in layer if isinstance(v, dict | list)]
        layer = [w for v in inner for w in (v.values() if isinstance(v, dict) else v)]
        depth += bool(inner)
        if not inner:
            break
    return depth


def read_yaml(file: Path) -> dict[str, Any]:
    """The names and values of a YAML file; what stands in it is checked before anything is built.

    Raises:
        OSError: If it cannot be read.
        Damaged: If it is not YAML, holds no names, one name twice, more levels, values or bytes than the limits of this module,
            or a tag that is no plain value's.
    """
    text = read_text(file)
    try:
        check_yaml(text)
        found = yaml.load(text, Loader=LOADER)  # a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Damaged(f"{file} is damaged: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise Damaged(f"{file} is damaged: expected names and values, got {type(found).__name__}")
    for name in _names(found):
        if not isinstance(name, str | int | float) or isinstance(name, bool):
            raise Damaged(f"{file} is damaged: expected names, got {name!r}; write it between quotes")
    return found


def check_lists(value: Any, where: str) -> None:
    """Refuse lists of more than `ENTRIES` values, however deep they stand.

    Raises:
        Damaged: If there is one.
    """
    if isinstance(value, list) and len(value) > ENTRIES:
        raise Damaged(f"expected at most {ENTRIES} values in a list of {where}, got {len(value):,}")
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            check_lists(inner, where)


def _names(value: Any) -> Iterator[Any]:
    """All names of all mappings within a value."""
    if isinstance(value, dict):
        yield from value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _names(inner)


@dataclass
class _Open:
    """A mapping or list whose end has not come yet."""

    anchor: str | None
    mapping: bool
    size: int = 1
    entries: int = 0
    names: set[str] = field(default_factory=set)


def check_yaml(text: str) -> None:
    """Refuse YAML that would take long, much memory or the stack to build, or that means something else to another reader.

    Raises:
        ValueError: If it nests more than `DEEPEST` levels or, aliases written out, holds more than `MOST` values; if a
            mapping states a name twice, or a value is tagged as anything but a plain one.
        yaml.YAMLError: If it is not YAML.

    Example:
        >>> check_yaml("prior: Normal")
        >>> check_yaml("{lr: 0.1, lr: 0.2}")
        Traceback (most recent call last):
        ValueError: line 1 states 'lr' twice
    """
    if len(text) > LARGEST:
        raise ValueError(f"expected at most {LARGEST:,} characters, got {len(text):,}")
    waiting, sizes = [_Open(None, False)], dict[str, int]()
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.NodeEvent):
            _check_node(event, waiting[-1], sizes)
            if isinstance(event, yaml.CollectionStartEvent):
                waiting.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.CollectionEndEvent):
            done = waiting.pop()
            waiting[-1].size += done.size
            if done.anchor is not None:
                sizes[done.anchor] = done.size
        if len(waiting) > DEEPEST + 1:
            raise ValueError(f"expected at most {DEEPEST} levels, got more")
        if sum(level.size for level in waiting) > MOST:
            raise ValueError(f"expected at most {MOST:,} values, aliases written out, got more")


def _check_node(event: yaml.NodeEvent, parent: _Open, sizes: dict[str, int]) -> None:
    """Count a value, and refuse an alias of what holds it, a second value of one name, and what is no plain value."""
    line = event.start_mark.line + 1
    parent.entries += 1
    if not parent.mapping and parent.entries > ENTRIES:
        raise ValueError(f"expected at most {ENTRIES} values in a list, got more in line {line}")
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in sizes:
            raise ValueError(f"line {line} repeats *{event.anchor}, which is not complete there")
        parent.size += sizes[event.anchor]
    elif event.tag is not None and event.tag not in TAGS:
        raise ValueError(f"expected plain values, got {event.tag} in line {line}")
    elif isinstance(event, yaml.ScalarEvent):
        parent.size += 1
        if event.anchor is not None:
            sizes[event.anchor] = 1
    if parent.mapping and parent.entries % 2:
        if not isinstance(event, yaml.ScalarEvent):
            raise ValueError(f"expected a name in line {line}, got a list, a mapping or an alias")
        if event.value in parent.names:
            raise ValueError(f"line {line} states {event.value!r} twice")
        parent.names.add(event.value)


PARSER_MODE = "plain_yaml"
"""jsonargparse's mode in which it reads files and options as `read_yaml` does."""


def register() -> str:
    """Tell jsonargparse of `PARSER_MODE`; returns it.

    Example:
        >>> register()
        'plain_yaml'
    """
    from jsonargparse import get_loader, set_loader

    yaml_value = get_loader("yaml")

    def load(text: str) -> Any:
        check_yaml(text)
        return yaml_value(text)

    set_loader(PARSER_MODE, load, (yaml.YAMLError, ValueError, RecursionError))
    return PARSER_MODE
