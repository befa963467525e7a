"""Bench files with a value that does not belong, or a place changed."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import yaml

from fuzz.contained import contained
from fuzz.world import BENCH, command, copied, damaged, wrong

ODD: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        3,
        1.5,
        float("nan"),
        10**18,
        "",
        "x",
        "../../esc",
        "/abs",
        "..",
        ".",
        "a/b",
        "a|b`c",
        "<img onerror=x>",
    ),
    *(
        [],
        [1],
        ["vae"],
        {},
        {"b": 3},
        {"class_path": "os.system"},
        "a\nb",
        "\x1b[31m",
        "n" * 400,
        "--steps",
        "--objective.beta",
    ),
]
KEYS = ["samples", "draws", "examples", "features", "options", "x", "recipe", "rows", "title", "tables"]


def cases(world: Path, folder: Path, n: int, seed: int) -> Iterator[tuple[str, dict[str, Any] | None, bool]]:
    """Each case in words, what is wrong with its end, and whether it was carried out."""
    for i in range(n):
        chance = Random(f"bench {seed} {i}")
        case = copied(world, folder / "case", ["bench.yaml"])
        content, how = _changed(chance)
        (case / "bench.yaml").write_bytes(content)
        before = set(folder.iterdir())
        only = ["--examples", "10", "--steps", "2", "--no-report", "--out", "out"]
        ending = contained(command(["bench", "bench.yaml", *only]), case)
        strays = [str(path) for path in set(folder.iterdir()) - before] + [
            p.name for p in case.iterdir() if p.name not in ("bench.yaml", "out")
        ]
        yield how, wrong(ending, f"written outside its folder: {strays}" if strays else None), ending.status == 0


def _changed(chance: Random) -> tuple[bytes, str]:
    if chance.random() < 0.3:
        return damaged(BENCH.encode(), chance)
    held = yaml.safe_load(BENCH)
    spots: list[tuple[Any, Any]] = [(held, "tables"), (held["tables"], "small")]
    table = held["tables"]["small"]
    spots += [(table, key) for key in (*table, *KEYS)] + [(table["rows"], key) for key in table["rows"]]
    owner, key = chance.choice(spots)
    value = chance.choice(ODD)
    if chance.random() < 0.4 and key in owner:
        name = chance.choice([odd for odd in ODD if isinstance(odd, str | int | float)])
        owner[name] = owner.pop(key)
        return yaml.safe_dump(held).encode(), f"{key!r} is named {name!r}"
    owner[key] = value
    return yaml.safe_dump(held).encode(), f"{key} is {value!r}"
