"""A bench: rows that train alike but for their options, that are done once, and whose failures stay."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uncollapse.report.rows import markdown
from uncollapse.training import CheckpointError
from uncollapse.training.bench import Bench, Table, _difference, _done, carry_out, results
from uncollapse.training.documents import EACH, RECORD, ROW
from uncollapse.training.recipe import Recipe

QUICK = ["--steps", "30", "--training.validate_every", "30", "--posterior.network.hidden", "[8]"]
ROWS = {"baseline": [], "wrong": ["--objective.beta", "word"], "free": ["--objective.free_bits", "1.0"]}
SMALL = Bench("small", {"a": Table("vae", ROWS, samples=5), "b": Table("vae", {"baseline": ["--features", "2"]}, samples=6)})


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables, one with a row that failed."""
    folder = tmp_path_factory.mktemp("bench")
    said = [(title, row) for title, row, _ in carry_out(SMALL, folder, QUICK, examples=20)]
    assert said == [("a", "baseline"), ("a", "wrong"), ("a", "free"), ("b", "baseline")]
    return folder


def test_rows_are_trained_once_and_failures_stay(out: Path) -> None:
    found = results(SMALL, out)
    assert list(found) == ["a", "b"] and list(found["a"]) == list(ROWS)
    assert found["a"]["free"]["kl"] != found["a"]["baseline"]["kl"] and found["a"]["baseline"]["n_examples"] == 20
    assert found["a"]["baseline"]["n_importance_samples"] == 5 and found["b"]["baseline"]["n_importance_samples"] == 6
    assert "beta" in found["a"]["wrong"]["error"] and "| wrong | failed: " in markdown(SMALL, found)
    files = [out / "a/baseline/metrics.jsonl", out / "a/wrong/row.json"]
    before = [file.stat().st_mtime_ns for file in files]
    again = {(title, row): numbers for title, row, numbers in carry_out(SMALL, out, QUICK, examples=20)}
    assert all(again[title, row].items() <= numbers.items() for title, rows in found.items() for row, numbers in rows.items())
    assert [file.stat().st_mtime_ns for file in files] == before


def test_the_difference_to_the_first_row_is_paired(out: Path) -> None:
    found = results(SMALL, out)["a"]
    less = np.load(out / "a/baseline" / EACH) - np.load(out / "a/free" / EACH)
    assert found["free"]["difference"] == pytest.approx(found["free"]["nll"] - found["baseline"]["nll"])
    assert found["free"]["difference_standard_error"] == pytest.approx(less.std(ddof=1) / 20**0.5)
    assert not {"difference", "difference_standard_error"} & (found["baseline"].keys() | found["wrong"].keys())


@pytest.mark.parametrize("values", [
    np.zeros(3), np.zeros((20, 2)), np.array(["a"] * 20), np.zeros(0), np.zeros(20, complex), np.float64(3.0),
    np.zeros(20, "M8[s]"), np.zeros(20, np.float32), b"", b"x" * 100,
], ids=["short", "2d", "text", "empty", "complex", "scalar", "dates", "float32", "nothing", "garbage"])  # fmt: skip
def test_log_likelihoods_of_other_kinds_are_refused(values: Any, out: Path, tmp_path: Path) -> None:
    for row in ("baseline", "free"):
        (tmp_path / row).mkdir()
        for name in ("config.yaml", EACH):
            shutil.copy(out / "a" / row / name, tmp_path / row)
    file = tmp_path / "free" / EACH
    file.write_bytes(values) if isinstance(values, bytes) else np.save(file, values)
    with pytest.raises(ValueError, match=rf"free/{EACH}.*(take .*free away|np.save)"):
        _difference(tmp_path / "free", tmp_path / "baseline")
    np.save(file, np.full(20, np.nan))
    assert _difference(tmp_path / "free", tmp_path / "baseline") == {}


@pytest.mark.parametrize("name", ["difference", "steps", "seed", "n_examples", "known_modes", "kl_standard_error"])
@pytest.mark.parametrize("value", ["x", [1], True, 10**400])
def test_a_row_of_other_kinds_of_numbers_is_refused(name: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / ROW).write_text(json.dumps({"nll": 3.0, name: value}))
    with pytest.raises(ValueError, match=rf"row.json is damaged: expected a .*number.* as {name}, got"):
        _done(tmp_path)


def test_a_row_of_other_data_is_not_held_against_the_first(out: Path, tmp_path: Path) -> None:
    bench = Bench("small", {"a": Table("vae", {"baseline": [], "static": ["--data.binarize", "static"]}, samples=2)})
    assert len(list(carry_out(bench, tmp_path, QUICK, examples=5))) == 2
    assert "difference" not in results(bench, tmp_path)["a"]["static"]


def test_the_draws_of_a_row_are_measured_where_that_is_asked_for(out: Path, tmp_path: Path) -> None:
    asked = {"examples": 20, "rows": ["b/baseline"], "draws": 30}
    ((_, _, found),) = carry_out(SMALL, tmp_path / "pixels", QUICK, **asked)
    assert found["fid"] > 0 and found["n_samples"] == 30
    text = markdown(SMALL, results(SMALL, tmp_path / "pixels"))
    assert "| FID |" in text and "30 draws each, FID over pixels, 64 numbers" in text and "--draws 30`" in text
    assert "FID |" not in markdown(SMALL, results(SMALL, out))
    ((_, _, found),) = carry_out(SMALL, tmp_path / "nothing", QUICK, **asked, features="nothing")
    assert found["error"] == "expected features pixels, digits, inception, came 'nothing'"
    assert not (tmp_path / "nothing/b/baseline/metrics.jsonl").exists()


def test_several_processes_fill_one_folder(tmp_path: Path) -> None:
    """Each does some rows; what is told is what any of them did, and a row of a table that is not done is left out."""
    assert [row for _, row, _ in carry_out(SMALL, tmp_path, QUICK, examples=20, rows=["a/wrong"])] == ["wrong"]
    assert results(SMALL, tmp_path).keys() == {"a"}
    assert [title for title, _, _ in carry_out(SMALL, tmp_path, QUICK, examples=20, tables=["b"])] == ["b"]
    assert list(results(SMALL, tmp_path)["a"]) == ["wrong"] and "baseline" in results(SMALL, tmp_path)["b"]


def test_a_row_of_an_earlier_version_stands(out: Path, tmp_path: Path) -> None:
    """What it was not asked for then is what is not asked for now."""
    shutil.copytree(out / "b", tmp_path / "b")
    row = tmp_path / "b/baseline/row.json"
    (row.parent / RECORD).unlink()
    for state in row.parent.glob("checkpoints/*/state.json"):
        values = {name: value for name, value in json.loads(state.read_text()).items() if name not in ("documents", "log")}
        values["sha256"].pop("state.json")
        state.write_text(json.dumps(values))
    told = json.loads(row.read_text())
    told["asked"] = {name: value for name, value in told["asked"].items() if name not in ("draws", "features")}
    row.write_text(json.dumps(told))
    assert [row for _, row, _ in carry_out(SMALL, tmp_path, QUICK, examples=20, tables=["b"])] == ["baseline"]


@pytest.mark.parametrize("name", ["row.json", EACH])
def test_an_altered_row_is_refused(name: str, out: Path, tmp_path: Path) -> None:
    shutil.copytree(out / "a", tmp_path / "a")
    file = tmp_path / "a/free" / name
    content = file.read_bytes()
    file.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    with pytest.raises(CheckpointError, match=f"{name} was altered since it was written; .* or take .* away to do it again"):
        results(SMALL, tmp_path)


def test_rows_that_were_asked_for_otherwise_are_refused(out: Path) -> None:
    for options, examples, said in ((QUICK, 21, "examples 20, came examples 21"), ([*QUICK, "--seed", "1"], 20, "--seed 1")):
        with pytest.raises(ValueError, match=said):
            list(carry_out(SMALL, out, options, examples=examples, rows=["wrong"]))
    begun = out / "a/begun"
    begun.mkdir()
    for name in ("metrics.jsonl", "config.yaml"):
        (begun / name).write_bytes((out / "a/baseline" / name).read_bytes())
    bench = Bench("small", {"a": Table("vae", {"begun": ["--batch", "7"]}, samples=5)})
    with pytest.raises(ValueError, match=r"begun with --training.batch_size 100, came 7"):
        list(carry_out(bench, out, QUICK, examples=20))
    assert not (begun / "row.json").exists()


def test_the_page_of_tables_says_what_was_done(out: Path) -> None:
    text = markdown(SMALL, results(SMALL, out))
    assert text.startswith("# small\n") and "\n## a\n" in text and "\n## b\n" in text
    assert f"`uncollapse bench small.yaml --table a {' '.join(QUICK[:-1])} '[8]' --samples 5 --examples 20`" in text
    assert "recipe `vae`: A VAE on handwritten digits" in text
    assert "30 steps, seed 0, 20 test observations, 5 importance samples each" in text
    assert "`--objective.free_bits 1.0` |" in text and " ± " in text and " of 8 |" in text


def test_rows_and_tables_are_chosen_by_name() -> None:
    chosen = SMALL.only(["baseline"])
    assert {title: list(table.rows) for title, table in chosen.tables.items()} == {"a": ["baseline"], "b": ["baseline"]}
    assert list(SMALL.only(["a/baseline"]).tables) == ["a"] and list(SMALL.only(tables=["b"]).tables["b"].rows) == ["baseline"]


SMALLER = shlex.split(
    "--training.batch_size 10 --training.validate_on 50 --likelihood.layers 2 --likelihood.maps 4 --likelihood.first 5"
)


def numbers(bench: Bench, out: Path, steps: int, options: list[str], **asked: Any) -> dict[str, dict[str, Any]]:
    """What is found of each row after so many steps, in their order; of one that failed, why."""
    options = ["--steps", str(steps), "--training.validate_every", str(steps), *SMALLER, *options]
    found = {row: told for _, row, told in carry_out(bench, out, options, examples=20, samples=5, **asked)}
    for row, told in found.items():
        assert "error" not in told, f"{row}: {told['error']}"
        assert (told["steps"], told["n_examples"]) == (steps, 20)
        assert all(np.isfinite(told[name]) for name in ("nll", "elbo", "kl", "mutual_information"))
    return found


def test_both_rows_of_the_demo_train(tmp_path: Path) -> None:
    """Numbers in each row, better than those of fair coins, and their difference; the two differ by the charge of the KL."""
    bench = Bench.read("demo")
    found = numbers(bench, tmp_path, 30, [])
    assert list(found) == ["baseline", "KL annealing"] and found["baseline"]["nll"] != found["KL annealing"]["nll"]
    assert all(told["nll"] < 64 * np.log(2) for told in found.values())
    assert np.isfinite(results(bench, tmp_path)["digits"]["KL annealing"]["difference"])


@pytest.mark.parametrize(
    ("bench", "shape"),
    [("modes", (2,)), ("posteriors", (1, 28, 28))],
)
def test_every_row_can_be_built(bench: str, shape: tuple[int, ...]) -> None:
    """Model, objective and procedure of each row's options, as `bench` would train them."""
    (table,) = Bench.read(bench).tables.values()
    for own in table.rows.values():
        recipe = Recipe.read(table.recipe, list(own))
        assert recipe.procedure(recipe.model(torch.Size(shape))).parameters()


def test_rows_of_the_remedies_of_posterior_collapse_train(tmp_path: Path) -> None:
    """A remedy beside its baseline on digits of 8 x 8: where no draws are asked for, features of larger ones do no harm."""
    rows, data = ["baseline", "skip decoder"], ["--data", "digits", "--data.binarize", "dynamic", "--latent", "4"]
    found = numbers(Bench.read("collapse").only(tables=["pixelcnn"]), tmp_path, 20, data, rows=rows, draws=0)
    assert list(found) == rows and found["skip decoder"]["nll"] != found["baseline"]["nll"] and "fid" not in found["baseline"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "expected names and values, got list"),
        ("recipe: vae\nrows: {baseline: }", "is no bench: expected tables"),
        ("tables: {a: {recipe: vae}}", "table a of .* is none: expected recipe"),
        ("tables: {a: {recipe: vae, rows: {}}}", "has no rows"),
        ("tables: {a: {recipe: vae, rows: {x/y: }}}", "expected a plain name for the row .* got 'x/y'"),
    ],
)
def test_a_file_that_is_no_bench_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text(text)
    with pytest.raises(ValueError, match=said):
        Bench.read(str(tmp_path / "list.yaml"))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="did you mean collapse"):
        Bench.read("colapse")
    with pytest.raises(ValueError, match="has no row 'nothing'; there are pixelcnn/baseline"):
        Bench.read("collapse").only(["nothing"])
    with pytest.raises(ValueError, match="has no table 'nothing'; there are a, b"):
        SMALL.only(tables=["nothing"])
