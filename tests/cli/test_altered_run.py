"""A run whose recipe, vocabulary or summary was altered is refused by every verb, in one line; a resume mends what it can."""

import json
import shutil
from pathlib import Path

import pytest
from tests.test_atomic_write import full_disk

from uncollapse.cli import main
from uncollapse.training.lock import sole_writer

SIZES = ["--likelihood.levels", "9", "--posterior.network.levels", "9", "--likelihood.hidden", "8", "--latent", "2"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    (folder / "own.txt").write_text("a red cat sits\na blue dog runs\n" * 30)
    given = ["--data", str(folder / "own.txt"), "--data.words", "7", "--batch", "8", "--steps", "4", *SIZES, "--no-report"]
    assert main(["train", "lstm-vae", *given, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The line that a command is refused with."""
    capsys.readouterr()
    assert main(argv) in (1, 2)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def verbs(run: Path) -> list[list[str]]:
    out = ["--out", str(run.parent / "x.npy")]
    looking = [[verb, str(run)] for verb in ("evaluate", "diagnose", "report", "compare")]
    return [*looking, *([verb, str(run), *out] for verb in ("sample", "encode", "reconstruct", "interpolate"))]


@pytest.mark.parametrize("name", ["config.yaml", "words.txt", "summary.json"])
def test_every_verb_refuses_an_altered_document(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (run / name).read_text()
    (run / name).write_text({"config.yaml": text.replace("lr: 0.002", "lr: 0.009"), "words.txt": text.upper()}.get(name, "{}"))
    for argv in verbs(run):
        assert f"{run / name} was altered" in refused(argv, capsys), argv
    assert not (run.parent / "x.npy").exists() and not (run / "report.html").exists()


def test_an_altered_recipe_is_not_resumed_and_can_begin_another_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("lr: 0.002", "lr: 0.009").replace("seed: 0", "seed: 8"))
    before = (run / "metrics.jsonl").read_bytes()
    error = refused(["train", "--resume", "--steps", "8", "--out", str(run)], capsys)
    assert "--optimizer.lr was 0.002, is 0.009" in error and "--training.seed was 0, is 8" in error
    assert f"uncollapse train {config} --out NEW" in error
    assert (run / "metrics.jsonl").read_bytes() == before
    assert main(["train", str(config), "--no-report", "--out", str(run.parent / "new")]) == 0
    assert main(["compare", str(run.parent / "new")]) == 0


def test_a_resumed_run_is_whole_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Altered words and summary are written anew, the parameters are as many, and nothing that a kill left stays."""
    before = {name: (run / name).read_bytes() for name in ("config.yaml", "words.txt", "summary.json")}
    (run / "words.txt").unlink()
    (run / "summary.json").write_text("{}")
    with (run / "config.yaml").open("a") as stream:
        stream.write("# mine\n")
    for left in ("checkpoints/.last.old", "checkpoints/.best.new"):
        shutil.copytree(run / "checkpoints/last", run / left)
    (run / ".metrics.jsonl.12.34.new").touch()
    (run / ".lock").write_text("process 12 on another")
    assert main(["train", "--resume", "--no-report", "--out", str(run)]) == 0
    for name in ("config.yaml", "words.txt"):
        assert (run / name).read_bytes() == before[name]
    now, was = json.loads((run / "summary.json").read_text()), json.loads(before["summary.json"])
    assert now["parameters"] == was["parameters"] and now.keys() == was.keys()
    assert not list(run.rglob(".*"))
    assert main(["compare", str(run)]) == 0


def test_readers_are_not_kept_from_a_run_that_is_written_to(run: Path, tmp_path: Path) -> None:
    with sole_writer(run):
        assert main(["sample", str(run), "--n", "2", "--out", str(tmp_path / "x.txt")]) == 0


def test_samples_on_a_full_disk_are_none(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s.npy"
    with full_disk():
        error = refused(["sample", str(run), "--n", "100", "--out", str(out)], capsys)
    assert f"cannot write {out}: File too large; make room or write elsewhere" in error
    assert not out.exists() and [file.name for file in tmp_path.iterdir()] == ["run"]
