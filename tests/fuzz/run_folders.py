"""Run folders with a place of one file changed: told, or of no consequence."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

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
        how = _harmed(file, chance)
        ending = contained(command(VERBS[run][verb]), case)
        also = None
        if ending.status == 0 and _left(ending, case, run, verb) != whole[run, verb]:
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
