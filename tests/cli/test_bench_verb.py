"""The verb `bench`: what it says while rows are trained, and what it leaves."""

import json
from pathlib import Path

import pytest

from uncollapse.cli import main
from uncollapse.cli.bench import Watch
from uncollapse.training.bench import Bench, Table

BENCH = """# Two tables
tables:
  weight:
    recipe: vae
    samples: 4
    rows: {baseline: --objective.beta 50, wrong: --objective.beta word, beta: --objective.beta 1e-3}
  size:
    recipe: vae
    rows: {baseline: --features 2}
"""
SHORT = ["--steps", "20", "--training.validate_every", "10", "--likelihood.network.hidden", "[8]", "--examples", "9"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bench") / "mine.yaml"
    file.write_text(BENCH)
    return file


def test_a_bench_says_how_each_row_ended_and_leaves_tables_and_a_page(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = file.parent / "out"
    assert main(["bench", str(file), *SHORT, "--out", str(out), "--table", "weight"]) == 0
    shown = capsys.readouterr()
    assert "weight/baseline: 20 steps" in shown.err and "weight/baseline: collapsed: the posterior is the prior" in shown.err
    assert "weight/wrong: failed: " in shown.err and "step      20  valid" in shown.err
    command = f"  uncollapse train {out}/weight/baseline/config.yaml --objective ELBO --objective.beta Linear"
    assert shown.err.splitlines().count(command) == 1
    assert f"report: {out / 'report.html'}" in shown.out and "to the first row" in shown.out
    assert {file.name for file in out.iterdir()} == {"weight", "table.md", "report.html"}
    assert (
        main(["bench", str(file), *SHORT, "--out", str(out), "--only", "size/baseline", "--samples", "3", "--no-report"]) == 2
    )
    assert "came samples 3" in capsys.readouterr().err
    assert main(["bench", str(file), *SHORT, "--out", str(out), "--json"]) == 0
    shown = capsys.readouterr()
    assert {title: list(rows) for title, rows in json.loads(shown.out).items()} == {
        "weight": ["baseline", "wrong", "beta"],
        "size": ["baseline"],
    }
    assert shown.err == "" and "## size" in (out / "table.md").read_text() and 'id="t1-kl"' in (out / "report.html").read_text()


def test_the_remedies_of_the_first_row_are_told_once_where_the_collapse_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch(Bench("small", {"a": Table("vae", {"baseline": [], "other": []})}))
    remedies = {"reason": "KL 0.01", "verdict": "collapsed", "remedies": ["uncollapse train vae --procedure Lagging    why"]}
    watch._look("a", "baseline", {"kind": "train", "step": 10})
    watch._look("a", "baseline", {"kind": "warning", "since": 50, "step": 100, **remedies})
    watch.ended("a", "baseline", remedies)
    watch.ended("a", "other", remedies)
    shown = capsys.readouterr().err.splitlines()
    assert shown == [
        "collapsed at step 50 and still at step 100: KL 0.01; if it stays so",
        "to try: why",
        "  uncollapse train vae --procedure Lagging",
        "a/baseline: collapsed: KL 0.01",
        "a/other: collapsed: KL 0.01",
    ]


def test_benches_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    assert {"collapse", "demo"} <= {line.split()[0] for line in capsys.readouterr().out.splitlines()}
