"""Run folders with a place of one file changed: told, or of no consequence.

In some cases the hashes are computed anew after the change, as anyone can who shares a folder: of these it is asked alone that
they end well, told or carried out.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from fuzz.contained import Ending, contained
from fuzz.world import command, copied, damaged, wrong

SHORT = ["--samples", "5", "--examples", "10", "--json"]
VERBS: dict[str, dict[str, list[str]]] = {
    "vae": {
        "evaluate": ["evaluate", "vae", *SHORT],
        "diagnose": ["diagnose", "vae", "--json"],
        "sample": ["sample", "vae", "--n", "3", "--out", "x.npy"],
        "encode": ["encode", "vae", "--out", "x.npy"],
        "compare": ["compare", "vae", "--json"],
        "report": ["report", "vae"],
        "resume": ["train", "--resume", "--out", "vae", "--steps", "6", "--no-report"],
    },
    "gan": {
        "diagnose": ["diagnose", "gan", "--json"],
        "sample": ["sample", "gan", "--n", "3", "--out", "x.npy"],
        "compare": ["compare", "gan", "--json"],
        "resume": ["train", "--resume", "--out", "gan", "--steps", "6", "--no-report"],
    },
}
TIMES = ("seconds", "ms_per_step", "time")
UNREAD = ("report.html", "README.md")
"""Files that are written for people alone."""

FORGED = 0.4
"""The share of cases whose hashes are computed anew."""

VALUES: list[Any] = [
    None, True, -1, 0, 2, 10**9, 10**18, 10**400, 0.5, -2.5, 1e-300, 1e300, math.nan, math.inf, "", "x", "os.system",
    "../../x", "/etc/hosts", "\x1b[31m", "$x_{$", "\ud800", [], [1], [[]], ["x"], [1.5] * 1000, {}, {"a": 1},
    {"class_path": "os.system"},
]  # fmt: skip
"""What a value of a JSON file becomes."""

TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "cut": lambda v: v[:1] if v.dim() else v,
    "empty": lambda v: v[:0] if v.dim() else v,
    "flat": torch.Tensor.flatten,
    "longer": lambda v: torch.cat([v, v]) if v.dim() else v.expand(2),
    "of integers": torch.Tensor.long,
    "of halves": torch.Tensor.half,
    "of doubles": torch.Tensor.double,
    "of booleans": torch.Tensor.bool,
    "of float8": lambda v: v.to(torch.float8_e4m3fn),
    "of complex numbers": lambda v: v.to(torch.complex64),
    "NaN": lambda v: v * math.nan,
    "infinite": lambda v: v + math.inf,
    "negative": lambda v: -v.float() - 1,
    "huge": lambda v: v * 1e30,
    "renamed": lambda v: v,
}
"""What becomes of tensors."""


def cases(world: Path, folder: Path, n: int, seed: int) -> Iterator[tuple[str, dict[str, Any] | None, bool]]:
    """Each case in words, what is wrong with its end, and whether it was carried out."""
    whole = {}
    for i in range(n):
        chance = Random(f"run {seed} {i}")
        run = chance.choice(["vae", "vae", "gan"])
        verb = chance.choice(list(VERBS[run]))
        if (run, verb) not in whole:
            case = copied(world, folder / "case", [run])
            whole[run, verb] = _left(contained(command(VERBS[run][verb]), case), case, run, verb)
        case = copied(world, folder / "case", [run])
        files = sorted(file for file in (case / run).rglob("*") if file.is_file() and file.name not in UNREAD)
        file = chance.choice(files)
        forged = chance.random() < FORGED
        how = _forged(case / run, file, chance) if forged else _harmed(file, chance)
        ending = contained(command(VERBS[run][verb]), case)
        also = None
        if not forged and ending.status == 0 and _left(ending, case, run, verb) != whole[run, verb]:
            also = "silently different"
        yield f"{verb}, {file.relative_to(case)}: {how}", wrong(ending, also), ending.status == 0


def _harmed(file: Path, chance: Random) -> str:
    """Change a file in one place: a byte, or a digit of its text; or take it away."""
    kind = chance.choice(["bytes", "bytes", "digit", "digit", "gone"])
    content = file.read_bytes()
    digits = [i for i, byte in enumerate(content) if 48 <= byte < 58]
    if kind == "gone":
        file.unlink()
        return "taken away"
    if kind == "digit" and digits:
        at = chance.choice(digits)
        file.write_bytes(content[:at] + bytes([48 + (content[at] - 47) % 10]) + content[at + 1 :])
        return f"digit {at} changed"
    content, how = damaged(content, chance)
    file.write_bytes(content)
    return how


def _forged(run: Path, file: Path, chance: Random) -> str:
    """Change a file in one place, or a value of it, and compute all hashes anew."""
    if file.suffix == ".json" and chance.random() < 0.8:
        how = _another_value(file, chance)
    elif file.suffix == ".safetensors" and chance.random() < 0.7:
        how = _other_tensors(file, chance)
    else:
        how = _harmed(file, chance)
    rehash(run)
    return f"forged, {how}"


def _another_value(file: Path, chance: Random) -> str:
    """Put another value in the place of one that a JSON file holds, however deep."""
    document = json.loads(file.read_text(encoding="utf-8"))
    places = list(_places(document))
    inner, key = chance.choice(places)
    value = inner[key] = chance.choice(VALUES)
    file.write_text(json.dumps(document), encoding="utf-8")
    return f"{key} is {value!r:.30}"


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every mapping or list within, and each of its keys."""
    if isinstance(document, dict | list):
        for key in list(document) if isinstance(document, dict) else range(len(document)):
            yield document, key
            yield from _places(document[key])


def _other_tensors(file: Path, chance: Random) -> str:
    """Change the shapes, types or values of one tensor of a file, or of all."""
    how = chance.choice(list(TENSORS))
    tensors = load_file(file)
    chosen = sorted(tensors)
    if chosen and chance.random() < 0.5:
        chosen = [chance.choice(chosen)]
    for name in chosen:
        tensors[name] = TENSORS[how](tensors[name]).contiguous().clone()
    if how == "renamed":
        tensors = {f"{name}x": value for name, value in tensors.items()}
    save_file(tensors, file)
    return f"{len(chosen)} of {len(tensors)} tensors {how}"


def rehash(run: Path) -> None:
    """Compute all hashes of a run folder anew, as far as its files can be read."""
    record = run / "checkpoints" / "documents.json"
    values = _read(record)
    for name in values.get("accepted") if isinstance(values.get("accepted"), dict) else []:
        if (run / name).is_file() and isinstance(values["accepted"][name], list):
            values["accepted"][name] = [_sha256(run / name)]
    if (run / "config.yaml").is_file():
        values["config"] = (run / "config.yaml").read_text(encoding="utf-8", errors="replace")
    _hash_itself(record, values, _hash_of({name: value for name, value in values.items() if name != "sha256"}))
    for folder in (run / "checkpoints").iterdir():
        if not folder.is_dir():
            continue
        weights = folder / "model.safetensors"
        if weights.exists():
            _hash_itself(folder / "model.json", _read(folder / "model.json"), _sha256(weights))
        state = {name: value for name, value in _read(folder / "state.json").items() if name != "sha256"}
        if isinstance(state.get("log"), dict) and (run / "metrics.jsonl").exists():
            log = (run / "metrics.jsonl").read_bytes()
            state["log"] = {"bytes": len(log), "sha256": hashlib.sha256(log).hexdigest()}
        hashes = {file.name: _sha256(file) for file in folder.iterdir() if file.name != "state.json"}
        _hash_itself(folder / "state.json", state, {**hashes, "state.json": _hash_of(state)})


def _hash_itself(file: Path, values: dict[str, Any], sha256: Any) -> None:
    """Write a JSON file with its hash, where there was one that could be read."""
    if values:
        file.write_text(json.dumps({**values, "sha256": sha256}), encoding="utf-8")


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _hash_of(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _left(ending: Ending, case: Path, run: str, verb: str) -> Any:
    """What a verb printed or wrote, without times: equal where nothing is different."""
    if ending.status:
        return None
    if verb in ("sample", "encode"):
        return (case / "x.npy").read_bytes()
    if verb == "resume":
        last = case / run / "checkpoints" / "last"
        lines = (case / run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return (last / "model.safetensors").read_bytes(), [_timeless(json.loads(line)) for line in lines]
    if verb == "report":
        return None
    return _timeless(json.loads(ending.out))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if not any(word in key for word in TIMES)}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value
