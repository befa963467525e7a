"""Every place in the code that docs/lecture.md names is there, and so is every law."""

import importlib
import os
import re
import subprocess
import sys
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
    laws = set(re.findall(r"`((?:laws|evaluation|training|data|vae)/test_\w+\.py)`", LECTURE))
    assert laws and all((ROOT / "tests" / law).exists() for law in laws)


def test_a_part_of_a_module_in_the_current_folder_needs_the_path(tmp_path: Path) -> None:
    """docs/extending.md: `PYTHONPATH=. uncollapse train vae --prior mymodule.Wide`, as the console script starts it."""
    page = (ROOT / "docs" / "extending.md").read_text()
    command = next(line for line in page.splitlines() if line.startswith("PYTHONPATH=. uncollapse train"))
    wide = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    lines = [line[4:] for line in wide.group(1).splitlines()] if wide else []
    (tmp_path / "mymodule.py").write_text("\n".join(lines))
    short = ["--steps", "2", "--features", "2", "--no-report", "--out", "run"]
    script = "import sys; from uncollapse.cli import main; sys.path.remove(''); sys.exit(main())"
    paths = os.environ.get("PYTHONPATH", "")
    for path, status in ((os.pathsep.join([".", paths]), 0), (paths, 2)):
        argv = [sys.executable, "-c", script, *command.split()[2:], *short]
        done = subprocess.run(
            argv, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
