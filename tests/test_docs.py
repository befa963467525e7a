"""Every place in the code that docs/lecture.md names is there, and so is every law."""

import importlib
import re
from functools import reduce
from pathlib import Path

ROOT = Path(__file__).parents[1]
LECTURE = (ROOT / "docs" / "lecture.md").read_text()


def test_every_named_place_exists() -> None:
    places = re.findall(r"`([\w/]+)\.py::([\w.]+)`", LECTURE)
    assert len(places) > 20
    for path, name in places:
        assert reduce(getattr, name.split("."), importlib.import_module("uncollapse." + path.replace("/", ".")))


def test_every_named_law_exists() -> None:
    laws = set(re.findall(r"`((?:laws|evaluation|training)/test_\w+\.py)`", LECTURE))
    assert laws and all((ROOT / "tests" / law).exists() for law in laws)
