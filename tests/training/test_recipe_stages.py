"""Stages of a recipe: read from YAML and options, trained, resumed and reported by the command line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tests.training.test_resume import same_run

from uncollapse.cli import main
from uncollapse.data import load
from uncollapse.report.curves import bound
from uncollapse.report.page import read_metrics, write_report
from uncollapse.training import Recipe
from uncollapse.training.run import check_resumable
from uncollapse.training.stage import listed

NETWORK = {"network": {"class_path": "MLP", "init_args": {"hidden": [8]}}}

RECIPE: dict[str, Any] = {
    "features": 2,
    "prior": "Normal",
    "likelihood": {"class_path": "Bernoulli", "init_args": NETWORK},
    "posterior": {"class_path": "Gaussian", "init_args": NETWORK},
    "optimizer": {"class_path": "Adam", "init_args": {"lr": 0.01}},
    "data": {"name": "digits", "binarize": "dynamic"},
    "training": {"batch_size": 50, "log_every": 3, "validate_every": 6, "steps": 6},
    "stages": [
        {"name": "pretrain", "objective": {"class_path": "ELBO", "init_args": {"beta": "Linear"}}, "procedure": "Amortized"},
        {
            "name": "adversarial",
            "objective": {"class_path": "AdversarialAutoencoder", "init_args": NETWORK},
            "procedure": "Alternating",
            "training": {"steps": 9},
            "trains": ["posterior"],
            "start": "best",
        },
    ],
}

CRITIC = {"critic": {"class_path": "Critic", "init_args": NETWORK}}


def written(folder: Path, **changes: Any) -> str:
    """The path of the recipe's file, with these changes."""
    file = folder / "staged.yaml"
    file.write_text(yaml.safe_dump(RECIPE | changes))
    return str(file)


def changed(i: int, **changes: Any) -> list[dict[str, Any]]:
    """The stages, one of them with these changes."""
    return [stage | (changes if i == j else {}) for j, stage in enumerate(RECIPE["stages"])]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both stages, with its report."""
    folder = tmp_path_factory.mktemp("staged")
    np.save(folder / "digits.npy", (load("digits", binarize="none").train.batch(torch.arange(220)).x > 0.5).numpy())
    data = {"name": str(folder / "digits.npy")}
    assert main(["train", written(folder, data=data), "--seed", "3", "--no-report", "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_what_a_stage_does_not_state_is_the_recipes(tmp_path: Path) -> None:
    recipe = Recipe.read(written(tmp_path), ["--seed", "3", "--stages.adversarial.optimizer.lr", "0.5"])
    first, second = (stage.recipe for stage in recipe.by_stage)
    assert [r.training.steps for r in (first, second)] == [6, 9] and recipe.steps == 15
    assert [r.training.seed for r in (first, second)] == [3, 3] and second.training.batch_size == 50
    assert [r.values["optimizer"]["init_args"]["lr"] for r in (first, second)] == [0.01, 0.5]
    assert [stage.keys() & {"optimizer", "training"} for stage in recipe.values["stages"]] == [set(), {"optimizer", "training"}]
    model = recipe.model((1, 8, 8))  # type: ignore[arg-type]
    one, other = recipe.stages(model)
    assert [type(s.procedure).__name__ for s in (one, other)] == ["Amortized", "Alternating"]
    assert (other.trains, other.start, one.trains, one.start) == (("posterior",), "best", None, "last")
    assert type(recipe.procedure(model)) is type(other.procedure)
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(recipe.values))
    assert Recipe.read(str(again)).values == recipe.values


def test_a_part_that_does_not_learn_need_not_suit_the_objective(tmp_path: Path) -> None:
    """A learned prior is refused by an adversarial autoencoder, unless it stays as it is."""
    shape: Any = (1, 8, 8)
    prior = {"class_path": "Mixture", "init_args": {"components": 3}}
    recipe = Recipe.read(written(tmp_path, prior=prior))
    model = recipe.model(shape)
    assert len(recipe.stages(model)) == 2
    with pytest.raises(ValueError, match=r"stage adversarial: .*never sees"):
        replace(recipe.by_stage[1], trains=None).stage(model)


def test_the_report_shows_where_stages_begin(whole: Path) -> None:
    rows = read_metrics(whole / "metrics.jsonl")
    assert [(row["step"], row["stage"]) for row in rows if row["kind"] == "valid"] == [
        (6, "pretrain"),
        (12, "adversarial"),
        (15, "adversarial"),
    ]
    train, valid = ([row for row in rows if row["kind"] == kind] for kind in ("train", "valid"))
    axes = bound(train, valid).axes[0]
    assert {"pretrain", "adversarial"} <= {text.get_text() for text in axes.texts}
    assert [line.get_xdata()[0] for line in axes.lines[-2:]] == [3, 9]  # type: ignore[index]
    best = next(line for line in axes.lines if str(line.get_label()).startswith("best"))
    assert best.get_xdata()[0] in (12, 15)  # type: ignore[index]
    summary = json.loads((whole / "summary.json").read_text())
    assert (summary["stages"], summary["steps"]) == ("pretrain, adversarial", 15)
    assert all("--stages.adversarial.objective" in line for line in summary.get("remedies", []) if "--objective" in line)
    page = write_report(whole, None, None, None).read_text()
    card = (whole / "README.md").read_text()
    assert "adversarial" in page and "--steps 15" not in card


def test_a_run_stopped_within_a_stage_is_resumed_by_its_own_recipe(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the folder is given; the seed of the command line and the start from the best weights are kept."""
    options = ["--seed", "3", "--no-report", "--out", str(tmp_path / "run")]
    with monkeypatch.context() as patched:
        patched.setattr("uncollapse.cli.progress.Progress._enter", entered)
        assert main(["train", written(tmp_path, data={"name": str(whole.parent / "digits.npy")}), *options]) != 0
    assert main(["train", "--resume", "--no-report", "--out", str(tmp_path / "run")]) == 0
    same_run(whole, tmp_path / "run")


def entered(progress: Any, stage: str) -> None:
    """Breaks off at the first line of the second stage."""
    progress.stage = stage
    if stage == "adversarial":
        raise KeyboardInterrupt


def test_only_a_stage_that_has_not_ended_is_made_longer(whole: Path) -> None:
    def resume(*options: str) -> None:
        check_resumable(Recipe.read(str(whole / "config.yaml"), options), whole)

    with pytest.raises(ValueError, match=r"stage pretrain of .* has ended"):
        resume("--steps", "9")  # which are the first stage's, the only one that states none
    with pytest.raises(ValueError, match=r"--stages\.adversarial\.trains"):  # and nothing of its steps
        resume("--stages.adversarial.steps", "12", "--stages.adversarial.trains", "[likelihood]")


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        (
            {"stages": changed(1, training={})},
            ["--steps", "9"],
            r"--stages\.pretrain\.training\.steps or --stages\.adversarial",
        ),
        ({}, ["--objective.k", "2"], r"write --stages\.pretrain\.objective\.k or --stages\.adversarial\.objective\.k"),
        ({}, ["--stages.tune.steps", "2"], "NAME of pretrain, adversarial"),
        ({}, ["--stages.pretrain.prior", "Normal"], "an option of objective, procedure"),
        ({"stages": changed(0, prior="Normal")}, [], "expected no prior in stage pretrain"),
        ({"stages": changed(0, training={"seed": 1})}, [], "got a seed"),
        ({"stages": changed(0, name="adversarial")}, [], "names of their own"),
        ({"stages": changed(0, name=None)}, [], "each of the stages"),
        ({"stages": {}}, [], "list of partial recipes"),
        ({"stages": changed(0, start="best")}, [], "first stage without a start"),
        ({"stages": changed(1, trains=["encoder"])}, [], "got 'encoder'"),
        (
            {"stages": changed(1, objective="GAN")},
            [],
            r"stage adversarial: --stages\.adversarial\.objective\.critic is missing",
        ),
        ({"stages": changed(1, objective={"class_path": "GAN", "init_args": CRITIC})}, [], "learn one model"),
        (
            {"stages": changed(1, procedure="Amortized")},
            [],
            r"stage adversarial: .*write --stages\.adversarial\.procedure Alter",
        ),
        ({"stages": changed(1, procedure="os.system")}, [], "os.system"),
        ({}, ["--stages.pretrain.procedure", "os.system"], "os.system"),
    ],
)
def test_what_is_wrong_with_a_stage_is_said(changes: Any, options: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        recipe = Recipe.read(written(tmp_path, **changes), options)
        listed(recipe.stages(recipe.model((1, 8, 8))))  # type: ignore[arg-type]


def test_a_recipe_without_stages_has_no_options_of_one() -> None:
    with pytest.raises(ValueError, match="the recipe has no stages"):
        Recipe.read("vae", ["--stages.a.steps", "3"])
