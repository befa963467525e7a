"""Damaged run folders and benches, senseless numbers, and names that lead out of a folder: one line each, before any work."""

import json
import os
import shutil
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator

from uncollapse.cli import main
from uncollapse.data import from_arrays
from uncollapse.distributions import Location
from uncollapse.folder_names import check_folder_name
from uncollapse.sizes import building
from uncollapse.training.checkpoint import FORMAT, CheckpointError, verify
from uncollapse.training.fit import fit
from uncollapse.training.kept import keep
from uncollapse.training.log import read_lines
from uncollapse.training.recipe import Recipe
from uncollapse.training.recipe_values import check_values
from uncollapse.training.run import from_folder, read_config, read_summary
from uncollapse.training.settings import Training
from uncollapse.training.update import Update
from uncollapse.vae import LogLikelihood, MaximumLikelihood

SMALL = ["--steps", "2", "--features", "2", "--likelihood.network.hidden", "[8]", "--posterior.network.hidden", "[8]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as a training leaves it, of a model that was not trained."""
    out = tmp_path_factory.mktemp("runs") / "small"
    recipe = Recipe.read("vae", SMALL)
    keep(recipe.model(torch.Size((1, 8, 8))), out / "checkpoints" / "best", {}, {"step": 2, "bound": -1.0})
    (out / "config.yaml").write_text(yaml.safe_dump({"recipe": "vae", **recipe.values}))
    (out / "summary.json").write_text('{"nll": 3.0, "verdict": "healthy", "reason": "z tells something"}')
    (out / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "elbo": -3.0}\n')
    return out


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The line that refuses a command."""
    try:
        status = main(argv)
    except SystemExit as ended:
        status = ended.code
    said = capsys.readouterr().err.strip()
    assert status == 2 and said.startswith("error: ") and len(said.splitlines()) == 1, said
    return said


@pytest.mark.parametrize(
    "verb",
    [
        ["evaluate", "RUN", "--samples", "5"],
        ["diagnose", "RUN"],
        ["report", "RUN"],
        ["encode", "RUN", "--out", "z.npy"],
        ["reconstruct", "RUN", "--out", "x.npy"],
        ["interpolate", "RUN", "--out", "x.npy"],
        ["train", "--resume", "--out", "RUN"],
        ["train", "RUN/config.yaml", "--out", "new"],
    ],
    ids=lambda argv: argv[0],
)
def test_every_verb_refuses_a_damaged_config(
    verb: list[str], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    os.symlink(run / "checkpoints", tmp_path / "checkpoints")
    (tmp_path / "config.yaml").write_text("data: {name")
    said = refused([word.replace("RUN", str(tmp_path)) for word in verb], capsys)
    assert "config.yaml is damaged" in said
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoints", "config.yaml"}


@pytest.mark.parametrize("data", ["[1]", "digits", "{nam: digits}", "null"])
def test_data_that_are_none_are_refused(data: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"data: {data}")
    with pytest.raises(ValueError, match="is damaged: expected a recipe with its data"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        '{"nll": "low"}',
        '{"verdict": [1]}',
        '{"remedies": "x"}',
        '{"seed": []}',
        "[]",
        '{"kl": 1e999}',
        *[f'{{"{name}": 1{"0" * 400}}}' for name in ("nll", "seconds", "zzz", "zzz_data")],
        json.dumps({str(i): i for i in range(1001)}),
    ],
    ids=lambda text: text[:20],
)
def test_a_summary_of_other_kinds_of_values_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(ValueError, match=r"summary\.json is damaged"):
        read_summary(tmp_path)
    assert "damaged" in refused(["compare", str(tmp_path)], capsys)


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        '{"step": 1}',
        '{"kind": "train", "step": "1"}',
        '{"kind": "train", "step": 1, "elbo": "x"}',
        "[" * 10**5,
        "{",
        '{"kind": "valid", "step": 1, "kl_units": 5}',
        '{"kind": "valid", "step": 1, "kl_units": [[1]]}',
    ],
)
def test_a_damaged_line_of_the_log_is_named_and_a_cut_one_left_out(line: str, tmp_path: Path) -> None:
    file, whole = tmp_path / "metrics.jsonl", '{"kind": "train", "step": 1, "elbo": -3.5, "kl_units": [1.0, null]}\n'
    file.write_text(whole + line)
    assert [one["step"] for one in read_lines(file)] == [1]
    file.write_text(whole + line + "\n" + whole)
    with pytest.raises(ValueError, match="damaged in line 2"):
        read_lines(file)


@pytest.mark.parametrize("n", [3, 200, 300, 1000, 12345])
def test_of_a_long_log_some_lines_are_read_and_the_last_ones(n: int, tmp_path: Path) -> None:
    """About as many as are asked for of the training and of all else, in their order, whatever the number of lines."""
    file, most = tmp_path / "metrics.jsonl", 50
    kinds = ["valid" if step % 3 == 0 else "train" for step in range(n)]
    file.write_text("".join(json.dumps({"kind": kind, "step": step}) + "\n" for step, kind in enumerate(kinds)))
    lines = read_lines(file, most)
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    for kind in ("train", "valid"):
        there = [step for step in range(n) if kinds[step] == kind]
        found = [line["step"] for line in lines if line["kind"] == kind]
        assert (found[0], found[-1]) == (there[0], there[-1])
        assert found == there if len(there) <= 2 * most else most <= len(found) <= 2 * most + 1


@pytest.mark.parametrize(
    "change",
    [
        {"model": ["VAE"]},
        {"features": -1},
        {"features": 10**18},
        {"shape": [-1]},
        {"shape": [10**13]},
        {"prior": None},
        {"prior": {"class_path": 3}},
        {"extra": 1},
        {"shape": [1] * 10**5},
    ],
    ids=str,
)
def test_a_model_that_cannot_be_built_is_refused(change: dict, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "checkpoints" / "best", tmp_path, dirs_exist_ok=True)
    document = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(document | change))
    with pytest.raises(ValueError):
        from_folder(tmp_path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/dev/zero", "pipe", "a\0b"])
def test_a_checkpoint_names_only_plain_files_of_its_own(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "state.json").write_text(json.dumps({"format": FORMAT, "sha256": {name: "0"}}))
    with pytest.raises(CheckpointError, match="damaged"):
        verify(tmp_path)


TABLE = "tables: {a: {recipe: vae, rows: {b: '--steps 2'}, %s}}"


@pytest.mark.parametrize(
    "text",
    [
        "rows: {b: 3}",
        "[1]",
        "tables: {a",
        "tables: {a: {recipe: [vae], rows: {b: }}}",
        "tables: {a: {recipe: vae, rows: {b: 3}}}",
        "tables: {a: {recipe: vae, rows: [b]}}",
        'tables: {a: {recipe: vae, rows: {b: "\'"}}}',
        "tables: {a: {recipe: vae, rows: {b: , b: }}}",
        *(TABLE % entry for entry in ("samples: x", "samples: -1", "samples: 0", "samples: 99999999999", "samples: true")),
        *(TABLE % entry for entry in ("draws: -3", "draws: 0.5", "features: zz", "features: [pixels]")),
        *(f"tables: {{'{name}': {{recipe: vae, rows: {{b: }}}}}}" for name in ("../../esc", "/abs", "..", "", "table.md")),
        *(f"tables: {{a: {{recipe: vae, rows: {{'{name}': }}}}}}" for name in ("..", "C:x", "a\\b", "x" * 300, ".hidden")),
    ],
)
def test_a_damaged_bench_is_refused_before_anything_is_trained(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    refused(["bench", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out")], capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["../x", "/x", "..", ".", "", "a/b", "a\\b", "C:", "a\nb", "a\0b", "é" * 76, " a", "a.", "\u202ea"]
)
def test_names_of_folders_stay_within_theirs(name: str) -> None:
    with pytest.raises(ValueError, match="plain name"):
        check_folder_name(name, "row")


@pytest.mark.parametrize("name", ["free bits", "flow prior + annealing", "beta 0.4", "VAE-MNIST_2", "ä" * 75])
def test_plain_names_of_folders_are_taken(name: str) -> None:
    check_folder_name(name, "row")


def test_a_recipe_cannot_choose_a_folder_above(tmp_path: Path, run: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    text = (run / "config.yaml").read_text().replace("recipe: vae", "recipe: ../../x")
    (tmp_path / "mine.yaml").write_text(text)
    assert "'../../x'" in refused(["train", "mine.yaml"], capsys)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize("verb", ["train", "bench", "sample", "encode", "reconstruct", "interpolate", "judge"])
def test_out_makes_no_folder_above_what_it_names(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = {"train": ["vae"], "bench": ["collapse"], "judge": ["a.npy", "--against", "b.npy"]}.get(verb, [str(tmp_path)])
    assert "no/such" in refused([verb, *first, "--out", str(tmp_path / "no/such/x.html")], capsys)
    assert not list(tmp_path.iterdir())
    assert "expected a path" in refused([verb, *first, "--out", ""], capsys)


@pytest.mark.parametrize(
    "argv",
    [
        *(["evaluate", "RUN", "--widen", value] for value in ("nan", "inf", "1e300", "1e-300", "0", "-1", "x")),
        *(["evaluate", "RUN", "--observation-noise", value] for value in ("1e300", "nan", "0")),
        *(["evaluate", "RUN", name, "100000000"] for name in ("--samples", "--chains", "--temperatures", "--draws")),
        *(
            [*verb, "--seed", value]
            for verb in (["evaluate", "RUN"], ["sample", "RUN", "--out", "x.npy"])
            for value in ("-1", "9" * 20)
        ),
        ["sample", "RUN", "--out", "x.npy", "--n", "9" * 5000],
        ["train", "vae", "--seeds", "9223372036854775807"],
        ["bench", "collapse", "--draws", "-3"],
    ],
    ids=lambda argv: " ".join(argv)[:40],
)
def test_senseless_numbers_of_verbs_are_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    option = next(word for word in argv[2:] if word.startswith("--") and word != "--out")
    assert option in refused(argv, capsys)


@pytest.mark.parametrize("argv", [["sample", "--n"], ["interpolate", "--steps"]], ids=" ".join)
def test_more_samples_than_fit_are_refused_with_what_they_take(
    argv: list[str], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb, option = argv
    said = refused([verb, str(run), option, "1000000000000", "--out", str(tmp_path / "x.npy")], capsys)
    assert f"{option} 1000000000000 takes 238,418.6 GiB" in said  # 64 numbers of 4 bytes each


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--prior", "Mixture", "--prior.components", "9223372036854775807"], "--prior.components"),
        (["--objective", "IWAE", "--objective.k", "4294967296"], "--objective.k"),
        (["--objective", "IWAE", "--objective.k", "9" * 20], "--objective.k"),
        (["--batch", "1" + "0" * 11], "--training.batch_size"),
        (["--seed", "1" + "0" * 20], "--training.seed"),
        (["--optimizer.lr", "1e300"], "--optimizer.lr"),
        (["--prior", "/dev/zero"], "as prior, got '/dev/zero'"),
        (["--objective", "InfoVAE", "--objective.alpha", "-0.5"], "alpha"),
        (["--likelihood.network.activation", "torch.nn.LSTM"], "as activation, got 'torch.nn.LSTM'"),
        (["--prior", "CouplingPrior", "--prior.transforms", "2000000000"], "--prior.transforms 2000000000"),
        (["--features", "1000000000"], "--features 1000000000"),
        (["--prior", "[" * 3000], "prior"),
        (["--training.schedule", "0"], "unknown schedule '0'; there are Constant"),
        (["--tracker", ""], "tensorboard or mlflow or wandb or trackio or null as --machine.tracker, got ''"),
        (["--training.schedule", "Linear", "--training.schedule.end", "0"], "expected training.schedule above 0 somewhere"),
        (["--training.schedule", "Linear", "--training.schedule.start", "-1"], "training.schedule of at least 0"),
        (["--training.clip", "1e-30"], "training.clip"),
        (["--data.seed", "-1"], "--data.seed of at least 0, got -1"),
        (["--seed", "-1"], "--training.seed of at least 0, got -1"),
        (["--print_config"], "unknown option --print_config"),
        (["--print_config=skip_null"], "unknown option --print_config"),
        (["--steps", "1.5"], "expected a whole number as --training.steps, got '1.5'"),
        (["--optimizer.betas", "3"], "expected a list such as .* as --optimizer.betas, got '3'"),
    ],
)
def test_senseless_numbers_of_recipes_are_refused_by_name(
    options: list[str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uncollapse.sizes.TENSORS", 200)
    with pytest.raises(ValueError, match=named):
        recipe = Recipe.read("vae", options)
        recipe.procedure(recipe.model(torch.Size((1, 8, 8))))


@pytest.mark.parametrize(
    ("rate", "decay", "named"), [(0.0, 0.0, "lr"), (1e-3, 1e20, "weight_decay"), (0.5, 2.1, "weight_decay"), (0.5, 2.0, "")]
)
def test_an_optimiser_that_cannot_learn_is_refused(rate: float, decay: float, named: str) -> None:
    """A decay of one by the learning rate takes the weights to 0 in a step, a larger one beyond."""
    procedure = MaximumLikelihood(LogLikelihood(Location(2)))
    sizes = Training(steps=1, batch_size=4, validate_every=1)
    with pytest.raises(ValueError, match=rf"--optimizer\.{named}") if named else nullcontext():
        fit(procedure, from_arrays(torch.randn(40, 2)), sizes, lambda p: torch.optim.SGD(p, lr=rate, weight_decay=decay))


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        ("Adam", {"lr": 1e-300}, "lr of at least 1e-12, got 1e-300"),
        ("Adam", {"lr": -1.0}, "lr, got -1.0"),
        ("Adam", {"maximize": True}, "maximize false, got true"),
        ("Adam", {"betas": (2.0, 3.0)}, "betas, got 2.0"),
        ("Adam", {"eps": -1.0}, "eps, got -1.0"),
        ("SGD", {"momentum": -1.0}, "momentum, got -1.0"),
        ("SGD", {"weight_decay": -1.0}, "weight_decay, got -1.0"),
    ],
)
def test_options_of_optimisers_are_named(kind: str, options: dict[str, float], named: str) -> None:
    weights = [torch.nn.Parameter(torch.zeros(2))]
    with pytest.raises(ValueError, match=f"^expected (another number as )?--optimizer.{named}"):
        Update(weights, lambda p: getattr(torch.optim, kind)(p, **options), Training(), Accelerator(cpu=True))


def test_the_largest_seed_trains() -> None:
    sizes = Training(steps=2, batch_size=4, validate_every=1, seed=2**63 - 1)
    assert fit(MaximumLikelihood(LogLikelihood(Location(2))), from_arrays(torch.randn(40, 2)), sizes).step == 2


@pytest.mark.parametrize(
    "text", ["[" * 3000, "[" + "8," * 30_000 + "8]", "{a: &a [*a]}", "{class_path: Normal, class_path: Mixture}"]
)
def test_options_that_are_long_deep_or_twofold_are_refused_at_once(text: str) -> None:
    """None of them is built: what checks a list takes a time that grows with the square of it."""
    since = time.process_time()
    with pytest.raises(ValueError):
        Recipe.read("vae", ["--prior", text])
    assert time.process_time() - since < 5


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e31, 2**31, -(2**31)])
def test_values_that_no_part_has_a_use_for(value: float) -> None:
    with pytest.raises(ValueError, match=r"--prior\.components"):
        check_values({"prior": {"init_args": {"components": [3, value]}}})
    check_values({"prior": {"init_args": {"seed": 2**63 - 1, "scale": 1e30}}})


def test_a_tensor_that_does_not_fit_is_never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 numbers of 4 bytes, four times each: 16,000 bytes."""
    monkeypatch.setattr("uncollapse.sizes.free_memory", lambda: 16_000)
    for make in (torch.zeros, torch.randn, torch.empty):
        with building("the recipe", 4):
            assert make(10, 100).numel() == 1000 == make((1000,)).numel()
        with pytest.raises(ValueError, match="the model of the recipe takes"), building("the recipe", 4):
            make(1001)
