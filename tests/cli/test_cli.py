"""The command line as a user drives it: every verb, and errors of one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from uncollapse.cli import _complain, main
from uncollapse.training.run import load_model

SHORT = ["--steps", "30", "--training.validate_every", "15", "--features", "2", "--likelihood.network.hidden", "[8]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "small"
    assert main(["train", "vae", *SHORT, "--out", str(out)]) == 0
    return out


def test_a_run_folder_holds_what_it_should(run: Path) -> None:
    names = {f.name for f in run.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "summary.json", "checkpoints", "report.html", "README.md"} <= names
    summary = json.loads((run / "summary.json").read_text())
    assert {
        "verdict",
        "nll",
        "elbo",
        "kl",
        "mutual_information",
        "active_units",
        "latent_units",
        "steps",
        "ms_per_step",
    } <= set(summary)
    assert summary["steps"] == 30 and summary["latent_units"] == 2


def test_evaluate_prints_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--samples", "20", "--examples", "50", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_importance_samples"], found["n_examples"], found["split"]) == (20, 50, "test")
    assert found["nll"] <= -found["elbo"] + 1e-6
    assert found["bits_per_dim"] > 0


@pytest.mark.parametrize("proposal", ["widened", "prior", "matched"])
def test_evaluate_takes_another_proposal(proposal: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--samples", "20", "--examples", "20", "--proposal", proposal, "--json"]) == 0
    assert np.isfinite(json.loads(capsys.readouterr().out)["nll"])


def test_a_run_is_not_told_to_do_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A training of two steps, collapsed, whose warm-up neither its summary nor `diagnose` proposes."""
    out = tmp_path / "annealed"
    argv = [
        "--steps",
        "2",
        "--objective.beta",
        "Linear",
        "--likelihood.network.hidden",
        "[8]",
        "--no-report",
        "--out",
        str(out),
    ]
    assert main(["train", "vae", *argv]) == 0
    capsys.readouterr()
    assert main(["diagnose", str(out), "--json"]) == 0
    for found in (json.loads((out / "summary.json").read_text()), json.loads(capsys.readouterr().out)):
        assert found["verdict"] == "collapsed" and found["remedies"]
        assert not any(".beta Linear" in remedy for remedy in found["remedies"])
    (line,) = (json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines() if '"train"' in line)
    assert line["step"] == 2 and line["gradient_norm"] > 0  # the last line has its own, whatever log_every is


def test_diagnose_says_what_and_why(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(run)]) == 0
    said = capsys.readouterr().out
    assert "verdict" in said and "nats" in said and "active units" in said
    assert main(["diagnose", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["latent_units"] == 2


def test_samples_reconstructions_latents_and_paths_are_written(run: Path, tmp_path: Path) -> None:
    assert main(["sample", str(run), "--n", "9", "--out", str(tmp_path / "a.npy")]) == 0
    assert np.load(tmp_path / "a.npy").shape == (9, 1, 8, 8)
    assert main(["sample", str(run), "--n", "9", "--source", "mixture", "--out", str(tmp_path / "b.png")]) == 0
    assert main(["encode", str(run), "--split", "valid", "--out", str(tmp_path / "z.npy")]) == 0
    assert np.load(tmp_path / "z.npy").shape == (179, 2)
    assert main(["reconstruct", str(run), "--n", "5", "--out", str(tmp_path / "c.npz")]) == 0
    assert np.load(tmp_path / "c.npz")["samples"].shape == (5, 2, 1, 8, 8)
    assert main(["interpolate", str(run), "--steps", "4", "--out", str(tmp_path / "d.npy")]) == 0
    assert np.load(tmp_path / "d.npy").shape == (4, 1, 8, 8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """33 binary observations: a file without splits, and one with."""
    folder = tmp_path_factory.mktemp("files")
    values = np.random.default_rng(0).random((33, 1, 8, 8)) < 0.5
    np.save(folder / "mine.npy", values)
    np.savez(folder / "split.npz", train=values[:20], valid=values[20:29], test=values[29:])
    return folder / "mine.npy", folder / "split.npz"


def test_a_file_without_splits_is_taken_whole_and_in_order(
    run: Path, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, split = map(str, files)
    values, out = np.load(mine), tmp_path / "x.npy"
    assert main(["reconstruct", str(run), "--data", mine, "--n", "40", "--out", str(out)]) == 0
    assert (np.load(out)[:, 0] == values).all()
    assert main(["encode", str(run), "--data", mine, "--out", str(out)]) == 0
    assert main(["encode", str(run), "--data", split, "--split", "all", "--out", str(tmp_path / "y.npy")]) == 0
    codes = load_model(run).encode(torch.from_numpy(values).float()).numpy()
    assert np.allclose(np.load(out), codes, atol=1e-6) and np.allclose(np.load(tmp_path / "y.npy"), codes, atol=1e-6)
    capsys.readouterr()
    assert main(["evaluate", str(run), "--data", mine, "--samples", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_examples"], found["split"]) == (33, "all")
    assert main(["diagnose", str(run), "--data", mine, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 33


@pytest.mark.parametrize("n", [1, 2])
def test_a_file_of_one_or_two_rows_is_taken_whole(
    n: int, run: Path, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few, out = tmp_path / "few.npy", tmp_path / "z.npy"
    np.save(few, np.load(files[0])[:n])
    codes = load_model(run).encode(torch.from_numpy(np.load(few)).float()).numpy()
    for split in ([], ["--split", "all"]):
        assert main(["encode", str(run), "--data", str(few), *split, "--out", str(out)]) == 0
        assert np.allclose(np.load(out), codes, atol=1e-6)
    assert main(["reconstruct", str(run), "--data", str(few), "--out", str(tmp_path / "x.png")]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), "--data", str(few), "--samples", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_examples"] == n
    assert main(["evaluate", str(run), "--data", str(few), "--samples", "5"]) == 0
    assert main(["diagnose", str(run), "--data", str(few)]) == (0 if n > 1 else 2)
    capsys.readouterr()
    for argv in (["encode", str(run), "--split", "test", "--out", str(out)], ["train", "--data.binarize", "none"]):
        assert main([*argv, "--data", str(few), "--out", str(tmp_path / "new")]) == 2
        error = capsys.readouterr().err
        assert f"came {n}: give more" in error and error.count("\n") == 1


def test_a_file_with_splits_and_a_split_that_is_asked_for_are_kept_to(
    run: Path, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for path, options, n in ((files[1], [], 4), (files[0], ["--split", "test"], 3), (files[1], ["--split", "all"], 33)):
        assert main(["evaluate", str(run), "--data", str(path), *options, "--samples", "5", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["n_examples"] == n


def test_compare_report_and_lists(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(run), str(run), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == [str(run)]
    assert main(["report", str(run)]) == 0
    assert main(["recipes"]) == 0
    assert "vae-mnist-static" in capsys.readouterr().out
    assert main(["data"]) == 0
    assert "fashion-mnist" in capsys.readouterr().out


def test_several_seeds_give_mean_and_standard_error(tmp_path: Path) -> None:
    out = tmp_path / "seeds"
    assert main(["train", "vae", *SHORT, "--seeds", "2", "--no-report", "--out", str(out)]) == 0
    found = json.loads((out / "summary.json").read_text())
    assert found["seeds"] == 2 and found["nll_standard_error_over_seeds"] > 0
    assert (out / "seed-1" / "summary.json").exists()


def test_a_finished_run_is_resumed_to_more_steps(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "more"
    assert main(["train", "vae", *SHORT, "--no-report", "--out", str(out)]) == 0
    assert main(["train", "--resume", "--no-report", "--out", str(out), "--steps", "40"]) == 0
    assert json.loads((out / "summary.json").read_text())["steps"] == 40
    assert yaml.safe_load((out / "config.yaml").read_text())["training"]["steps"] == 40


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["trian"], "did you mean train?"),
        (["train", "vea"], "did you mean vae?"),
        (["train", "--prior", "Normall"], "did you mean Normal?"),
        (["train", "--posterior.netwrok", "MLP"], "has no 'netwrok' (did you mean network?); it takes network, limits"),
        (["train", "vae", "--posterior.netwrok.hidden", "3"], "did you mean network?"),
        (["train", "vae", "--posterior", "Refined"], "write --posterior.family Gaussian --posterior.family.network MLP"),
        (["train", "vae", "--objective", "AdversarialAutoencoder"], "write --objective.network MLP"),
        (["train", "vae", "--objective.beta", "nan"], "expected a finite number, or a name, as --objective.beta, came nan"),
        (
            ["train", "vae", "--objective.beta", "Linear", "--objective.beta.steps", "-3"],
            "expected steps of at least 1, came -3",
        ),
        (["train", "vae", "--posterior", "BatchNormalized", "--batch", "1", "--steps", "2"], "write --batch 2 or more"),
        (["train", "--prior", "Location"], "unknown prior 'Location'"),
        (["train", "--prior", "uncollapse.distributions.Location"], "Location"),
        (["train", "--stepz", "3"], "did you mean --steps?"),
        (["train", "--posterior.network", "GatedMPL"], "did you mean GatedMLP?"),
        (["train", "--objective.bet", "2"], "did you mean beta?"),
        (["train", "--data", "digit"], "did you mean 'digits'?"),
        (["train", "--data", "nothing.npy"], "nothing.npy"),
        (["train", "--data.binarize", "none"], "write --data.binarize dynamic"),
        (["train", "--prior", "Uniform"], "LogitNormal"),
        (["train", "--procedure", "VariationalEM"], "--posterior Free"),
        (["train", "--optimizer", "RMSprop"], "fused"),
        (["train", "--device", "gpu"], "came 'gpu'"),
        (["train", "--training.clip", "0"], "training.clip above 0"),
        (["train", "--training.patience", "0"], "training.patience of at least 1"),
        (["train", "--likelihood.network.hidden", "[-3]"], "at least 1, came [-3]"),
        (["train", "--latent", "0"], "--latent of at least 1"),
        (["evaluate", "nowhere"], "is not a run folder"),
        (["train", "--resume", "--out", "nowhere"], "is not a run folder"),
    ],
)
def test_a_wrong_command_says_in_one_line_what_to_write(
    argv: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert said in error
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize(
    "argv",
    [
        ["sample", "run", "--n", "-5", "--out", "a.npy"],
        ["reconstruct", "run", "--n", "-1", "--out", "a.npy"],
        ["interpolate", "run", "--steps", "-1", "--out", "a.npy"],
        ["evaluate", "run", "--examples", "0"],
        ["evaluate", "run", "--examples", "-5"],
        ["evaluate", "run", "--samples", "many"],
        ["train", "--seeds", "0"],
    ],
)
def test_a_number_out_of_range_is_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "expected a whole number of at least 1" in error


def test_a_device_that_is_none_is_refused_by_every_verb(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(run), "--device", "gpu"]) == 2
    assert "came 'gpu'" in capsys.readouterr().err
    assert main(["diagnose", str(run), "--device", "cpu"]) == 0


def test_an_error_of_the_system_without_a_file_is_said_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert _complain(OSError(28, "No space left on device"), 2) == 2
    assert capsys.readouterr().err == "error: No space left on device\n"


@pytest.mark.parametrize(
    ("argv", "named"),
    [(["--training.ema", ".5"], "--training.ema 0.99"), (["--optimizer", "SGD"], "--optimizer torch.optim.Adam")],
)
def test_a_resumed_run_keeps_its_options(argv: list[str], named: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", "--out", str(run), *argv]) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1


def test_a_resumed_sweep_keeps_what_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "seeds"
    assert main(["train", "vae", *SHORT, "--seeds", "2", "--no-report", "--out", str(out)]) == 0
    done = (out / "seed-0" / "summary.json").read_bytes()
    (out / "seed-1" / "summary.json").unlink()
    shutil.rmtree(out / "seed-1" / "checkpoints")
    capsys.readouterr()
    assert main(["train", "--resume", "--seeds", "3", "--no-report", "--json", "--out", str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["seeds"] == 3
    assert (out / "seed-0" / "summary.json").read_bytes() == done


def test_sampling_to_an_unknown_ending_writes_nothing(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", str(run), "--out", str(tmp_path / "a.gif")]) == 2
    assert ".png" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_language_model_writes_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The vocabulary is kept with the run: samples, reconstructions and paths are sentences, without the data at hand."""
    text, out = tmp_path / "own.txt", tmp_path / "run"
    text.write_text("a red cat sits\na blue dog runs\n" * 30)
    sizes = ["--likelihood.levels", "9", "--posterior.network.levels", "9", "--likelihood.hidden", "8", "--latent", "2"]
    given = ["--data", str(text), "--data.words", "7", "--steps", "4", "--batch", "8", *sizes]
    assert main(["train", "lstm-vae", *given, "--out", str(out)]) == 0
    assert "Sentences that the model writes" in (out / "report.html").read_text()
    text.rename(tmp_path / "elsewhere.txt")
    known = set((out / "words.txt").read_text().splitlines())
    assert known == {"<end>", "<unknown>", "a", "red", "cat", "sits", "blue", "dog", "runs"}
    assert main(["sample", str(out), "--n", "5", "--out", str(tmp_path / "samples.txt")]) == 0
    other = tmp_path / "other.txt"
    other.write_text("dog $ blue $\nzebra cat\n")
    assert (
        main(
            ["reconstruct", str(out), "--data", str(other), "--split", "all", "--n", "2", "--out", str(tmp_path / "again.txt")]
        )
        == 0
    )
    assert (tmp_path / "again.txt").read_text().split("\n")[0] == "dog <unknown> blue <unknown>"
    lines = (tmp_path / "samples.txt").read_text().split("\n")
    assert len(lines) == 6 and {word for line in lines for word in line.split()} <= known - {"<end>"}


def test_an_encoder_of_a_part_of_the_latent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """InfoGAN's encoder infers its code: `encode` gives that, other data are measured by it, and nothing is rebuilt from it."""
    run, codes = tmp_path / "run", tmp_path / "codes.npy"
    np.save(tmp_path / "own.npy", np.random.default_rng(0).normal(size=(300, 2)))
    np.save(tmp_path / "other.npy", np.random.default_rng(1).normal(size=(200, 2)))
    info = [
        "--data",
        str(tmp_path / "own.npy"),
        "--objective",
        "InfoGAN",
        "--objective.code",
        "1",
        "--posterior",
        "Gaussian",
        "--posterior.network",
        "MLP",
    ]
    assert main(["train", "gan-ring", *info, "--steps", "2", "--out", str(run), "--no-report"]) == 0
    assert main(["encode", str(run), "--out", str(codes)]) == 0 and np.load(codes).shape == (30, 1)
    capsys.readouterr()
    other = ["--data", str(tmp_path / "other.npy"), "--draws", "100", "--json"]
    assert main(["evaluate", str(run), *other]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "latent_error" in found and "reconstruction_error" not in found
    for verb in ("reconstruct", "interpolate"):
        assert main([verb, str(run), "--out", str(tmp_path / "x.png")]) == 2
        assert "one of the first 1 alone (InfoGAN)" in capsys.readouterr().err
