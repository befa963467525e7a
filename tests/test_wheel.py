"""What the wheel holds beside the code: the mark that the library is typed, its recipes and its page."""

from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_library_is_marked_as_typed() -> None:
    assert files("uncollapse").joinpath("py.typed").is_file()


def test_the_wheel_holds_what_the_code_reads() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="needs hatchling, which builds the wheel")
    held = {file.distribution_path for file in wheel.WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {"uncollapse/py.typed", "uncollapse/recipes/vae.yaml", "uncollapse/report/template.html"} <= held
