"""The log of a run: values gathered on the device, read once a line, kept in metrics.jsonl."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uncollapse.atomic_write import FULL
from uncollapse.plain_files import check_plain
from uncollapse.training.checkpoint import CheckpointError, values_of, write

Line = dict[str, Any]
Observer = Callable[[Line], None]
"""Something that looks on: it gets every line of the log as it is written."""


class Meter:
    """The values of the steps since the last line, on the device; nothing is read until `read`."""

    def __init__(self) -> None:
        self.means: dict[str, list[Tensor]] = {}

    def add(self, logged: dict[str, Tensor]) -> None:
        """One step's per-example values, each name [B] or [1]."""
        for name, value in logged.items():
            self.means.setdefault(name, []).append(value)

    def read(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Each name's mean over the steps, after `reduce` over the processes; empties the meter."""
        if not self.means:
            return {}
        means = torch.stack([_by_step(values).mean() for values in self.means.values()])
        names, self.means = list(self.means), {}
        return dict(zip(names, reduce(means).tolist(), strict=True))

    def state(self) -> dict[str, Tensor]:
        """The values so far, by name."""
        return {f"meter.{name}": _by_step(values) for name, values in self.means.items()}

    def restore(self, state: dict[str, Tensor], order: Iterable[str] = ()) -> None:
        """Take over what `state` gave, in this order of names."""
        kept = {name: value for name, value in state.items() if name.startswith("meter.")}
        for name, value in kept.items():
            if value.dim() != 1 or not value.is_floating_point():
                raise ValueError(f"expected a real number a step as {name}, got {value.dtype} {list(value.shape)}")
        means = {name.removeprefix("meter."): list(value.unbind()) for name, value in kept.items()}
        self.means = {name: means[name] for name in (*order, *means) if name in means}


def _by_step(values: list[Tensor]) -> Tensor:
    """The mean of each step: [steps]."""
    return torch.stack([value.mean() for value in values])


class Log:
    """metrics.jsonl and whoever looks on.

    Args:
        file: Where the lines go; None: to the observers alone.
        observers: Called with every line.
    """

    def __init__(self, file: Path | None, observers: list[Observer]):
        self.file, self.observers = file, observers
        self.lines: list[Line] = []
        self._sha256, self._bytes = hashlib.sha256(), 0

    def begin(self) -> None:
        """Make the file if there is none: it says that a run has begun.

        Raises:
            CheckpointError: If it cannot be written.
        """
        self._append("")

    def write(self, line: Line) -> None:
        """Append a line, a NaN or infinity as null.

        Raises:
            CheckpointError: If it cannot be written.
        """
        self.lines.append(line)
        self._append(json.dumps(plain(line)) + "\n")
        for observer in self.observers:
            observer(line)

    def _append(self, text: str) -> None:
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("ab") as stream:
                stream.write(text.encode())
        except OSError as error:
            instead = "make room" if error.errno in FULL else "let it be written"
            raise CheckpointError(f"cannot write {self.file}: {error.strerror}; {instead}, then go on with --resume") from error
        self._count(text)

    def _count(self, text: str) -> None:
        self._sha256.update(text.encode())
        self._bytes += len(text.encode())

    def written(self) -> dict[str, Any]:
        """The bytes of the file so far and their hash, for a checkpoint."""
        return {"bytes": self._bytes, "sha256": self._sha256.hexdigest()}

    def cut(self, step: int) -> None:
        """Forget the lines after this step: those that a resumed run writes again.

        Raises:
            CheckpointError: If earlier ones are not what was written.
        """
        if self.file is None:
            return
        check_log(self.file)
        if not self.file.exists():
            return
        self.lines = [line for line in read_lines(self.file) if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        write(self.file, text)
        self._sha256, self._bytes = hashlib.sha256(), 0
        self._count(text)


TEXTS = ("kind", "stage", "verdict", "reason", "estimator")
"""Names in a line whose values are text."""

LARGEST = 2**29
"""Bytes that metrics.jsonl may have."""

TRAINED = b'{"kind": "train",'
"""How a line of the training begins."""

LONGEST = 2**20
"""Bytes that a line of it may have."""


def check_log(file: Path) -> None:
    """Refuse a metrics.jsonl whose lines up to the run's last checkpoint are not those that the training wrote.

    Raises:
        CheckpointError: If they were altered or are gone.
    """
    record = values_of(file.parent / "checkpoints" / "last").get("log")
    if not isinstance(record, dict):
        return
    if not file.is_file():
        raise CheckpointError(f"{file} is gone; take a copy of it, or train again")
    n, digest = record.get("bytes", 0), hashlib.sha256()
    if type(n) is not int:
        raise CheckpointError(f"expected the bytes of {file} in the last checkpoint, got {n!r:.80}; train again")
    with file.open("rb") as stream:
        while n > 0 and (part := stream.read(min(n, LONGEST))):
            digest.update(part)
            n -= len(part)
    if n > 0 or digest.hexdigest() != record.get("sha256"):
        raise CheckpointError(f"{file} was altered since it was written; take a copy of it, or train again")


def read_lines(file: Path, most: int | None = None) -> list[Line]:
    """The lines of metrics.jsonl; a last one that a kill cut short is left out.

    Args:
        file: The file.
        most: About how many lines of the training, and how many others, are taken of very many: evenly, the last one always.
            None: all.

    Raises:
        OSError: If it cannot be read.
        ValueError: If another line is damaged: it is not JSON, states no kind or step, or no numbers where they are due.
    """
    check_plain(file, LARGEST)
    found: list[Line] = []
    with file.open("rb") as stream:
        texts: Iterable[tuple[int, bytes]] = enumerate(iter(lambda: stream.readline(LONGEST), b""))
        for i, text in texts if most is None else _thinned(texts, most):
            line = _parsed(text)
            if line is None and text.endswith(b"\n") and text.strip():
                raise ValueError(f"{file} is damaged in line {i + 1}: expected a kind, a step and numbers, got {text[:60]!r}")
            found += [] if line is None else [line]
    return found


def _thinned(texts: Iterable[tuple[int, bytes]], most: int) -> list[tuple[int, bytes]]:
    """Lines and their numbers, of many every second, fourth, ... of the training, and as many others; the last of both."""
    kept: list[list[tuple[int, bytes]]] = [[], []]
    every, seen, last = [1, 1], [0, 0], list[tuple[int, bytes] | None]([None, None])
    for numbered in texts:
        kind = int(numbered[1].startswith(TRAINED))
        if seen[kind] % every[kind]:
            last[kind] = numbered
        else:
            kept[kind].append(numbered)
            last[kind] = None
            if len(kept[kind]) > 2 * most:
                kept[kind], every[kind] = kept[kind][::2], 2 * every[kind]
        seen[kind] += 1
    return sorted([*kept[0], *kept[1], *(numbered for numbered in last if numbered is not None)])


def _parsed(text: bytes) -> Line | None:
    """A line, or None for what is none."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not isinstance(line.get("kind"), str) or type(line.get("step")) is not int:
        return None
    return line if all(_fits(name, value) for name, value in line.items()) else None


def _fits(name: str, value: Any) -> bool:
    """Whether a value of a line is of the kind that its name says: text, texts, or numbers and nulls."""
    if name in TEXTS or name.endswith("_of"):
        return value is None or isinstance(value, str)
    if name == "kl_units" and not isinstance(value, list | None):
        return False
    if name in ("remedies", "notes"):
        return isinstance(value, list) and all(isinstance(line, str) for line in value)
    return all(
        v is None or (isinstance(v, int | float) and abs(v) < 1e300) for v in (value if isinstance(value, list) else [value])
    )


def plain(value: Any) -> Any:
    """A value as JSON takes it: NaN and infinities become null.

    Example:
        >>> plain({"elbo": float("nan"), "units": [1.0, float("inf")]})
        {'elbo': None, 'units': [1.0, None]}
    """
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
