"""The critic of a run, found again: what the verbs tell of it is what the last checkpoint keeps."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from uncollapse.cli import main
from uncollapse.training.documents import RECORD
from uncollapse.training.game import load_game
from uncollapse.training.run import load_model

SMALL = ["--steps", "6", "--batch", "20", "--training.validate_every", "3", "--objective.critic.pack", "2"]
CRITIC = {"critic_accuracy", "critic_overfit", "critic_gradient_real", "critic_divergence", "critic_probability_fake"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "game"
    assert main(["train", "gan-ring", *SMALL, "--no-report", "--out", str(out)]) == 0
    return out


def test_the_critic_is_that_of_the_last_checkpoint(run: Path) -> None:
    game = load_game(run, load_model(run))
    kept = load_file(run / "checkpoints" / "last" / "state.safetensors")
    assert game is not None and game.critic.pack == 2 and not game.training
    for name, value in game.judgement.state_dict().items():
        assert torch.equal(value, kept[f"procedure.game.judgement.{name}"])


def test_the_verbs_and_the_summary_tell_its_evidence(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same numbers twice, and in metrics.jsonl at each validation; without its checkpoint there are none."""
    capsys.readouterr()
    found = []
    for _ in range(2):
        assert main(["diagnose", str(run), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1] and found[0].keys() >= CRITIC and abs(found[0]["critic_overfit"]) < 0.2
    assert json.loads((run / "summary.json").read_text()).keys() >= CRITIC
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(line.keys() >= CRITIC for line in lines if line["kind"] == "valid")
    shutil.move(run / "checkpoints" / "last", run / "aside")
    assert main(["diagnose", str(run), "--json"]) == 0
    assert not CRITIC & json.loads(capsys.readouterr().out).keys()
    shutil.move(run / "aside", run / "checkpoints" / "last")


def test_a_damaged_critic_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The model's own file is whole, but the evidence of its critic would be missing without a word."""
    file = run / "checkpoints" / "last" / "model.json"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"0", b"1", 1))
    assert main(["diagnose", str(run), "--json"]) == 1
    assert "last/model.json is damaged" in capsys.readouterr().err
    file.write_bytes(whole)


def test_a_record_that_is_taken_away_is_missed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint says that there was a record of the documents."""
    record = run / RECORD
    whole = record.read_bytes()
    record.unlink()
    for command in (["diagnose", str(run)], ["train", "--resume", "--out", str(run)]):
        assert main(command) == 1
        assert "documents.json is gone" in capsys.readouterr().err
    record.write_bytes(whole)


@pytest.mark.parametrize("harm", ["altered", "gone"])
def test_an_altered_log_is_refused(harm: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A resumed run would go on with another past; an oscillation is told by earlier lines."""
    file = run / "metrics.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"0.", b"1.", 1)) if harm == "altered" else file.unlink()
    commands = [["train", "--resume", "--out", str(run)], *([["report", str(run)]] if harm == "altered" else [])]
    for command in commands:
        assert main(command) == 1
        assert f"metrics.jsonl {'was altered' if harm == 'altered' else 'is gone'}" in capsys.readouterr().err
    file.write_bytes(whole)


def test_evaluate_tells_the_two_sample_tests_too(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(run), "--draws", "200", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert CRITIC | {"kid", "kid_standard_error", "mmd_p", "classifier_p"} <= found.keys()
    assert (found["n_samples"], found["kid_n"], found["mmd_n"]) == (200, 200, 200)
