"""Documents of a run folder, such as config.yaml, held against a record of what was written there.

The record, checkpoints/documents.json, holds the hash of each document, the text of config.yaml and its own hash. While
documents are written it accepts both what they were and what they become, so that a kill at any moment leaves a run that can be
read and resumed. A run folder of a version without records has none, and is taken as it is: its checkpoints do not say that
there is a record.
"""

import hashlib
import json
import reprlib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from uncollapse.plain_files import LARGEST_JSON, LOADER, Damaged, check_plain, check_yaml
from uncollapse.training.checkpoint import TRIES, CheckpointError, hash_of, values_of, write

CONFIG, WORDS, SUMMARY = "config.yaml", "words.txt", "summary.json"
NAMES = (CONFIG, WORDS, SUMMARY)
"""Documents of every run: its recipe, the vocabulary of sentences in the order of tokens, its summary."""

ROW, EACH = "row.json", "log_likelihoods.npy"
"""Documents of a bench's row: its numbers and what it was asked for; log p(x) of each test observation, [N] in nats."""

RECORD = "checkpoints/documents.json"
RECORDED = "documents"
"""The value of a checkpoint that says whether the run's documents are recorded."""

LARGEST = {WORDS: 2**24, EACH: 2**28}
"""Bytes that documents may have which are no plain values."""

SHOWN, LEAVES = 5, 10_000  # differences that a message names, and values of a configuration that are compared at most


@dataclass(frozen=True)
class Record:
    """What the documents of a run may be.

    Args:
        accepted: By name, the hashes that are accepted; None among them: that the file is not there.
        config: The text of config.yaml.
    """

    accepted: dict[str, list[str | None]]
    config: str | None

    def accepts(self, name: str, content: bytes | None) -> bool:
        """Whether a document with this content, None for none, was written by the run."""
        return _hash(content) in self.accepted.get(name, [None])


def put(run: Path, contents: Mapping[str, str | bytes]) -> None:
    """Write documents of a run, each whole or not at all, and record them.

    Raises:
        CheckpointError: If one cannot be written, or the record is damaged.
    """
    new = {name: content.encode() if isinstance(content, str) else content for name, content in contents.items()}
    before = read_record(run)
    if before is None:
        before = Record({name: [_hash(_content(run / name))] for name in (*NAMES, *new)}, _text(_content(run / CONFIG)))
    elif all(before.accepted.get(name) == [_hash(content)] == [_hash(_content(run / name))] for name, content in new.items()):
        return
    accepted = before.accepted
    both = {name: [*dict.fromkeys([*accepted.get(name, [None]), _hash(content)])] for name, content in new.items()}
    _write_record(run, Record(accepted | both, before.config))
    for name, content in new.items():
        write(run / name, content, run)
    config = _text(new[CONFIG]) if CONFIG in new else before.config
    _write_record(run, Record(accepted | {name: [_hash(content)] for name, content in new.items()}, config))


def check(run: Path, *names: str, resuming: bool = False) -> None:
    """Refuse documents of a run that are not what was written.

    Args:
        run: The run folder.
        names: Theirs; none: config.yaml, words.txt and summary.json.
        resuming: Whether a config.yaml may do that has another layout, all its values unchanged: it is written anew.

    Raises:
        CheckpointError: If one was altered or is gone.
    """
    for name in names or NAMES:
        _check(run, name, resuming)


def _check(run: Path, name: str, resuming: bool) -> None:
    for _ in range(TRIES):  # a training that writes meanwhile changes the record as well
        record, content = read_record(run), _content(run / name)
        if record is None:
            _check_never_recorded(run)
            return
        if record.accepts(name, content):
            return
        if read_record(run) == record:
            break
    if resuming and name == CONFIG and content is not None and _changes(record, content) == []:
        return
    raise CheckpointError(_altered(run, name, record, content))


def _check_never_recorded(run: Path) -> None:
    """Refuse a run whose checkpoints say that there was a record."""
    said = any(values_of(run / "checkpoints" / name).get(RECORDED) for name in ("last", "best"))
    if said and not (run / RECORD).is_file():
        raise CheckpointError(
            f"{run / RECORD} is gone, and nothing tells whether {', '.join(NAMES)} were altered; take a copy of it, "
            "or train again"
        )


def clear(run: Path) -> None:
    """Remove the documents of a run that was killed before its log began, as long as they are what it wrote."""
    record = read_record(run)
    if record is None:
        return
    for name in record.accepted:
        content = _content(run / name)
        if content is not None and record.accepts(name, content):
            (run / name).unlink()
    (run / RECORD).unlink()


def read_record(run: Path) -> Record | None:
    """The record of a run; None where it has none.

    Raises:
        CheckpointError: If it is damaged.
    """
    file = run / RECORD
    content = _content(file)
    if content is None:
        return None
    try:
        values = json.loads(content)
        own = values.pop("sha256")
        found = Record(values["accepted"], values["config"])
        _check_record(found)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        own, values, found = None, {}, Record({}, None)
    if own != hash_of(values):
        raise CheckpointError(
            f"{file} is damaged: its hash is not the one it was saved with, and nothing tells whether {', '.join(NAMES)} were "
            "altered; take a copy of it, or train again"
        )
    return found


def _check_record(record: Record) -> None:
    """Refuse what no training records: the files that it names are hashed, and may be removed.

    Raises:
        ValueError: If it names another file than a document, or holds other than hashes and a text.
    """
    hashes = [accepted for _, accepted in record.accepted.items()]
    if not record.accepted.keys() <= {*NAMES, ROW, EACH} or not all(isinstance(some, list) for some in hashes):
        raise ValueError("expected the hashes of documents")
    if not all(isinstance(each, str | None) for some in hashes for each in some) or not isinstance(record.config, str | None):
        raise ValueError("expected hashes, and the text of a configuration")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Values that two configurations do not share: dotted name, and the value in each, None where there is none.

    Example:
        >>> list(differences({"features": 2, "prior": {"class_path": "Normal"}}, {"features": 3}))
        [('features', 2, 3), ('prior.class_path', 'Normal', None)]
    """
    one, other = (dict(islice(_leaves(values), LEAVES)) for values in (before, now))
    for name in sorted(one.keys() | other.keys()):
        if one.get(name) != other.get(name):
            yield name, one.get(name), other.get(name)


def option(name: str) -> str:
    """The option on the command line that sets a value of config.yaml.

    Example:
        >>> option("optimizer.init_args.lr"), option("prior.class_path")
        ('--optimizer.lr', '--prior')
    """
    return "--" + name.replace(".init_args", "").removesuffix(".class_path")


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _changes(record: Record | None, content: bytes) -> list[tuple[str, Any, Any]] | None:
    """In what config.yaml differs from the recorded one; None where that cannot be told."""
    config = (record and record.config) or ""
    if len(content) > 2 * len(config) + 1000:
        return None
    try:
        texts = [config, content.decode()]
        for text in texts:
            check_yaml(text)
        before, now = (yaml.load(text, Loader=LOADER) for text in texts)  # a safe loader
        return list(differences(before, now))
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _altered(run: Path, name: str, record: Record | None, content: bytes | None) -> str:
    """What is wrong with a document, and what to do."""
    file = run / name
    anew = f"uncollapse train --resume --out {shlex.quote(str(run))}"
    altered = f"{file} is gone" if content is None else f"{file} was altered since it was written"
    if name not in NAMES:
        return f"{altered}; take a copy of it, or take {run} away to do it again"
    if content is None:
        return f"{altered}; take a copy of it, or write it anew: {anew}"
    if name == CONFIG:
        changes = _changes(record, content)
        if changes is None:
            return f"{altered} and cannot be compared with what it was; take a copy of it, or train again"
        if changes:
            named = [f"{option(where)} was {reprlib.repr(was)}, is {reprlib.repr(now)}" for where, was, now in changes[:SHOWN]]
            more = f", and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
            new = f"uncollapse train {shlex.quote(str(file))} --out NEW"
            return f"{altered}: {', '.join(named)}{more}; put that back, or train anew from it: {new}"
    return f"{altered}; take a copy of it, or write it anew: {anew}"


def _write_record(run: Path, record: Record) -> None:
    values = {"accepted": record.accepted, "config": record.config}
    write(run / RECORD, json.dumps({**values, "sha256": hash_of(values)}, indent=2), run)


def _content(file: Path) -> bytes | None:
    """The bytes of a file; None where there is none, or a pipe or device in its place.

    Raises:
        CheckpointError: If they are more than any training writes.
    """
    if not file.is_file():
        return None
    try:
        check_plain(file, LARGEST.get(file.name, LARGEST_JSON))
    except Damaged as error:
        raise CheckpointError(f"{error}; take a copy of it, or train again") from error
    return file.read_bytes()


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode(errors="replace")


def _hash(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()
