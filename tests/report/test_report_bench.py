"""The report of a bench: tables, curves of all rows in one figure, and what rows of images make."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from report.runs import metrics, vae
from report.test_report_page import Page
from uncollapse.report import comparisons, write_bench_report
from uncollapse.report.bench import story
from uncollapse.report.style import NotDrawn
from uncollapse.training.bench import Bench, Table, results
from uncollapse.training.documents import EACH
from uncollapse.training.kept import keep

ASKED = {"recipe": "vae", "options": "--steps 300", "own": "", "samples": 500, "examples": None}
NUMBERS = {"nll_standard_error": 0.2, "kl": 0.1, "mutual_information": 0.05, "active_units": 1, "latent_units": 4, "steps": 300}
ROWS = {"baseline": [], "free bits": ["--objective.free_bits", "0.25"], "wrong <b>": ["--data", "none"], "not done": []}
BENCH = Bench("small", {"digits": Table("vae", ROWS), "not begun": Table("vae", {"baseline": []})})


def folder(out: Path, shape: tuple[int, ...], data: str) -> Path:
    """A bench as it is left: two rows that are done, each with its model, and one that failed."""
    for i, row in enumerate(["baseline", "free bits"]):
        run = out / "digits" / row
        run.mkdir(parents=True)
        found = {"nll": 23.0 - i, "elbo": -24.0 + i, "seed": 0, "n_examples": 4, "asked": ASKED, **NUMBERS}
        verdict = {"verdict": ["collapsed", "healthy"][i], "reason": "as the <i>numbers</i> say", "difference": None}
        (run / "row.json").write_text(json.dumps(found | verdict))
        (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, metrics())))
        (run / "config.yaml").write_text(f"data: {{name: {data}, binarize: static}}")
        np.save(run / EACH, np.array([-22.5, -23.5, -23.0, -23.0]) + [0.0, 0.1, 0.2, 0.1] * np.array(i))
        keep(vae(shape), run / "checkpoints" / "best", {}, {})
    (out / "digits/free bits/report.html").write_text("its own")
    (out / "digits/wrong <b>").mkdir()
    (out / "digits/wrong <b>/row.json").write_text(json.dumps({"error": "unknown data set <b>", "asked": ASKED}))
    return out


@pytest.fixture
def page(tmp_path: Path) -> str:
    out = folder(tmp_path, (1, 8, 8), "digits")
    return write_bench_report(out, BENCH, results(BENCH, out)).read_text(encoding="utf-8")


def test_the_page_stands_alone_and_holds_every_row(page: str) -> None:
    seen = Page(page)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", re.sub(r"base64,[^\"]*", "", page))
    assert {"t0-kl", "t0-information", "t0-elbo", "t0-difference", "t0-row0", "t0-row1"} <= set(seen.ids)
    assert len(seen.ids) == len(set(seen.ids)) and seen.tags.count("svg") == 4 + 2 * 2
    said = " ".join(" ".join(seen.text).split())
    for words in ("baseline: collapsed", "22.00 ± 0.20", "−0.10 ± 0.04", "--objective.free_bits 0.25", "1 of 4", "seed 0"):
        assert words in said, words
    assert "Of 2 other rows 1 is healthy (free bits), 1 failed." in said and "not done" not in said
    assert page.count("<strong") == 2 and 'href="digits/free%20bits/report.html"' in page and "baseline/report.html" not in page
    assert "wrong &lt;b&gt;" in page and "data set &lt;b&gt;" in page and "&lt;i&gt;numbers" in page and "<i>" not in page


def test_of_data_that_are_no_images_nothing_is_pictured(tmp_path: Path) -> None:
    out = folder(tmp_path, (7,), "two-moons")
    text = write_bench_report(out, BENCH, results(BENCH, out)).read_text(encoding="utf-8")
    assert "What the rows make" not in text and text.count("<svg") == 4


def test_a_model_that_is_gone_leaves_its_row(tmp_path: Path) -> None:
    out = folder(tmp_path, (1, 8, 8), "digits")
    for model in out.glob("digits/*/checkpoints"):
        shutil.rmtree(model)
    text = write_bench_report(out, BENCH, results(BENCH, out)).read_text(encoding="utf-8")
    assert text.count("Left out: ") == 2 and text.count("<svg") == 4
    empty = write_bench_report(tmp_path, BENCH, {}).read_text(encoding="utf-8")
    assert "No row is done yet" in empty and "<svg" not in empty


def runs(n: int, points: int = 5) -> dict[str, list[dict]]:
    """Lines of n runs whose KL ends at 0, 1, 2, ..."""
    lines = [[{"kind": "valid", "step": t, "kl": float(i), "elbo": -float(i)} for t in range(points)] for i in range(n)]
    return {f"row {i}": rows for i, rows in enumerate(lines)}


def test_twenty_curves_are_named_where_they_end_without_overlap() -> None:
    figure = comparisons.information(runs(20), "kl")
    ax = figure.axes[0]
    labels = {text.get_text(): text.get_position()[1] for text in ax.texts if text.get_text().startswith("row")}
    heights = [labels[f"row {i}"] for i in range(20)]
    inches = figure.get_size_inches()[1] - 0.55
    assert len(labels) == 20 and (np.diff(heights) > 0.13 / inches).all() and heights[0] >= 0 and heights[-1] <= 1
    styles = [(line.get_color(), line.get_linestyle()) for line in ax.lines[2:]]
    assert len(set(styles)) == 20 and ax.lines[2].get_linewidth() > ax.lines[3].get_linewidth()


def test_the_curve_is_of_the_validation_where_there_are_enough_looks() -> None:
    lines = [{"kind": "train", "step": t, "kl": 1.0} for t in range(9)]
    looks = [{"kind": "look", "step": t, "kl": 2.0} for t in range(3)]
    few, enough = ({"a": lines + looks + [{"kind": "valid", "step": 3, "kl": 2.0}] * i} for i in (0, 1))
    assert comparisons.gathered(few, "kl")[1] == "training" and comparisons.gathered(few, "kl")[0]["a"][1].tolist() == [1.0] * 9
    assert comparisons.gathered(enough, "kl")[1] == "validation"
    with pytest.raises(NotDrawn, match="holds an ELBO"):
        comparisons.bound({"a": lines})


def test_differences_stand_with_two_standard_errors() -> None:
    found = {"first": {}, "a": {"difference": -0.5, "difference_standard_error": 0.1, "verdict": "healthy"}}
    ax = comparisons.differences(found).axes[0]
    (bar,) = ax.containers
    (segment,) = bar[2][0].get_segments()
    assert segment[:, 0] == pytest.approx([-0.7, -0.3]) and [label.get_text() for label in ax.get_yticklabels()] == ["a"]
    with pytest.raises(NotDrawn, match="nothing to hold"):
        comparisons.differences({"first": {}})


def test_the_story_of_a_first_row_alone_is_its_likelihood() -> None:
    assert story({"baseline": {"nll": 23.0, "verdict": "collapsed"}}, "baseline") == "Lowest nll: baseline, 23.00."
    assert story({"baseline": {"error": "x"}}, "baseline") == ""
