"""What the wheel holds beside the code: the mark that the library is typed, its recipes and its page."""

from importlib.resources import files
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]


def test_the_library_is_marked_as_typed() -> None:
    assert files("uncollapse").joinpath("py.typed").is_file()


def test_the_wheel_holds_what_the_code_reads() -> None:
    held = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    read = {"py.typed", "recipes/vae.yaml", "benches/collapse.yaml", "report/run.html", "report/style.css", "report/bench.html"}
    assert {f"uncollapse/{name}" for name in read} <= held
