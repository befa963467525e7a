"""A bench: rows that train alike but for their options, that are done once, and whose failures stay."""

from pathlib import Path

import pytest

from uncollapse.training.bench import Bench, carry_out, markdown

QUICK = ["--steps", "30", "--training.validate_every", "30", "--posterior.network.hidden", "[8]"]


def test_rows_are_trained_once_and_failures_stay(tmp_path: Path) -> None:
    rows = {"baseline": [], "wrong": ["--objective.beta", "word"], "free": ["--objective.free_bits", "1.0"]}
    bench = Bench("small", "vae", rows)
    found = dict(carry_out(bench, tmp_path, QUICK, samples=5, examples=20))
    assert list(found) == list(rows)
    assert found["free"]["kl"] != found["baseline"]["kl"] and found["baseline"]["n_examples"] == 20
    assert "beta" in found["wrong"]["error"] and "| wrong | failed: " in markdown(found)
    before = (tmp_path / "baseline/metrics.jsonl").stat().st_mtime_ns
    assert dict(carry_out(bench, tmp_path, QUICK, samples=5, examples=20)) == found
    assert (tmp_path / "baseline/metrics.jsonl").stat().st_mtime_ns == before


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean collapse"):
        Bench.read("colapse")
    with pytest.raises(ValueError, match="has no row 'nothing'; there are baseline"):
        Bench.read("collapse").only(["nothing"])
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ValueError, match="is no bench"):
        Bench.read(str(tmp_path / "list.yaml"))
