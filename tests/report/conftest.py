"""What the tests of the report share: a run folder as a training leaves it."""

import json

import pytest

from report.runs import SUMMARY, metrics


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "digits <b>&amp; friends"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, metrics())) + '\n{"kind": "train", "st')
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    (folder / "config.yaml").write_text("note: '<script>alert(1)</script>'\n")
    return folder
