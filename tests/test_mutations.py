"""The script that changes one place: what it changes, and that it tells what tests notice from what they do not."""

from pathlib import Path

import pytest

from mutations import changes, drawn, main

CODE = '''
"""A sum: 1 + 1."""
import torch
from torch import no_grad

@no_grad()
def total(x: "list[int]", least: int = 2, text: str = "a" + "b") -> float:
    """1 < 2."""
    if x.size < least:
        raise ValueError(f"expected {least + 1}")
    with no_grad():
        x.start(seed=3)
    return -x.detach().mean(0) if not x.empty and True else max(x) * 0.5
'''

EXPECTED = """
no_grad()  →  (lambda function: function)
2  →  3
if x.size < least: raise ValueError(f"expected {least + 1}")  →  pass
x.size < least  →  (x.size <= least)
x.size < least  →  (x.size >= least)
raise ValueError(f"expected {least + 1}")  →  pass
no_grad()  →  __import__('contextlib').nullcontext()
x.start(seed=3)  →  x.start()
x.start(seed=3)  →  pass
3  →  4
-x.detach().mean(0)  →  x.detach().mean(0)
x.detach()  →  x
x.detach().mean(0)  →  x.detach().sum(0)
0  →  1
not x.empty and True  →  (not x.empty or True)
not x.empty  →  x.empty
True  →  False
max(x) * 0.5  →  (max(x) / 0.5)
max(x)  →  min(x)
0.5  →  1.0
"""


def test_every_kind_of_change_and_nothing_in_texts_and_annotations() -> None:
    found = [str(change).split("  ", 1)[1] for change in changes(CODE)]
    assert sorted(found) == sorted(EXPECTED.strip().splitlines())


def test_the_draw_follows_from_the_seed_and_has_every_kind() -> None:
    found = changes(CODE)
    kinds = {change.kind for change in found}
    assert drawn(found, len(kinds), 1) == drawn(found, len(kinds), 1) != drawn(found, len(kinds), 2)
    assert {change.kind for change in drawn(found, len(kinds), 1)} == kinds
    assert sorted(map(str, drawn(found, 1000, 0))) == sorted(map(str, found))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One function that has a test, and one that has none; pytest without plugins, which take longer to load than to test."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for folder in ("src/toy", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "src/toy/__init__.py").write_text("def seen(a, b):\n    return a + b\n\ndef unseen(a, b):\n    return a * b\n")
    (tmp_path / "tests/test_toy.py").write_text("from toy import seen\n\ndef test_seen():\n    assert seen(2, 3) == 5\n")
    return tmp_path


def test_what_is_noticed_is_told_from_what_is_not(project: Path, capsys: pytest.CaptureFixture) -> None:
    source = project / "src/toy/__init__.py"
    before = source.read_bytes()
    counts = main([str(source), "--tests", "tests"], project, "toy")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert sorted(line[0] for line in lines[:2]) == ["killed", "survived"] and counts == {"killed": 1, "survived": 1}
    assert {line[0]: line[1] for line in lines[:2]} == {
        "killed": "src/toy/__init__.py:2:12",
        "survived": "src/toy/__init__.py:5:12",
    }
    assert "tests/test_toy.py::test_seen" in next(line for line in lines if line[0] == "killed")
    assert source.read_bytes() == before


def test_tests_that_fail_by_themselves_or_import_another_package_are_refused(project: Path) -> None:
    source = str(project / "src/toy/__init__.py")
    with pytest.raises(RuntimeError, match="expected json to be imported from the copy"):
        main([source, "--tests", "tests"], project, "json")
    (project / "tests/test_toy.py").write_text("def test_none():\n    assert False\n")
    with pytest.raises(RuntimeError, match="pass without a change"):
        main([source, "--tests", "tests"], project, "toy")
