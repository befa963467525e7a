"""Every place in the code that docs/lecture.md names is there, and so is every law."""

import importlib
import re
import sys
from functools import reduce
from pathlib import Path

import pytest

from uncollapse.cli import main

ROOT = Path(__file__).parents[1]
LECTURE = (ROOT / "docs" / "lecture.md").read_text()


def test_every_named_place_exists() -> None:
    places = re.findall(r"`([\w/]+)\.py::([\w.]+)`", LECTURE)
    assert len(places) > 20
    for path, name in places:
        assert reduce(getattr, name.split("."), importlib.import_module("uncollapse." + path.replace("/", ".")))


def test_every_named_law_exists() -> None:
    laws = set(re.findall(r"`((?:laws|evaluation|training|data|vae)/test_\w+\.py)`", LECTURE))
    assert laws and all((ROOT / "tests" / law).exists() for law in laws)


def test_a_part_of_an_imported_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/extending.md: a part in a file of one's own, trained and evaluated by the page's commands; refused without it."""
    page = (ROOT / "docs" / "extending.md").read_text()
    commands = [line.split()[1:] for line in page.splitlines() if line.startswith("uncollapse ")]
    wide = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    lines = [line[4:] for line in wide.group(1).splitlines()] if wide else []
    (tmp_path / "my_parts.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    more = {"train": ["--steps", "2", "--latent", "2", "--no-report"], "evaluate": ["--samples", "5", "--examples", "20"]}
    assert [command[0] for command in commands] == list(more)
    for command in commands:
        assert main([*command, *more[command[0]]]) == 0
        without = [word for word in command if word not in ("--import", "my_parts.py")]
        assert main([*without, *more[command[0]]]) == 2
    sys.modules.pop("my_parts")
