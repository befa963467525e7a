"""The commands that a diagnosis proposes are commands."""

import shlex
import sys
from pathlib import Path

import pytest
from torch import Size

from uncollapse.data import Space
from uncollapse.diagnosis import Remedy, posterior_remedies
from uncollapse.training import Recipe
from uncollapse.training.bench import Bench
from uncollapse.training.collapse_monitor import proposed, remedies
from uncollapse.training.remedy_commands import imports, remedy_commands

SHAPES = {
    "vae": (1, 8, 8),
    "vae-mnist-static": (1, 28, 28),
    "pixelcnn-vae": (1, 28, 28),
    "pixelcnn-vae-digits": (1, 8, 8),
    "vae-em-digits": (1, 8, 8),
    "lstm-vae": (36,),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_remedy_of_a_recipe_can_be_built(name: str) -> None:
    shape = Size(SHAPES[name])
    found = remedy_commands(posterior_remedies(Recipe.read(name).model(shape)), name)
    assert len(found) >= 2
    for remedy in found:
        words = shlex.split(remedy.partition("  ")[0])
        assert words[:3] == ["uncollapse", "train", name]
        recipe = Recipe.read(name, words[3:])
        recipe.procedure(recipe.model(shape))


def test_another_posterior_keeps_the_encoder() -> None:
    """A command that changes the posterior of a language model gives it the network that reads tokens, with its sizes."""
    found = remedy_commands(posterior_remedies(Recipe.read("lstm-vae").model(Size((36,)))), "lstm-vae")
    (floor,) = (remedy for remedy in found if "BatchNormalized" in remedy)
    assert "--posterior.network RecurrentEncoder --posterior.network.levels 2002" in floor
    assert not any("VampPrior" in remedy for remedy in found)


@pytest.mark.parametrize(("role", "hidden"), [("posterior", "Laplace"), ("likelihood", "Observed")])
def test_what_is_put_around_a_trained_model_is_not_offered(role: str, hidden: str) -> None:
    with pytest.raises(ValueError, match=f"unknown {role} 'Nope'; there are") as error:
        Recipe.read("vae", [f"--{role}", "Nope"])
    assert hidden not in str(error.value) and "Gaussian" in str(error.value)


TABLES = {"pixelcnn": (1, 28, 28), "sequences": (10,), "captions": (36,)}


@pytest.mark.parametrize("table", TABLES)
def test_every_row_of_the_bench_can_be_built(table: str) -> None:
    chosen = Bench.read("collapse").tables[table]
    assert len(chosen.rows) > 20
    for options in chosen.rows.values():
        recipe = Recipe.read(chosen.recipe, options)
        recipe.procedure(recipe.model(Size(TABLES[table])))


def test_captions_have_the_rows_of_sequences() -> None:
    tables = Bench.read("collapse").tables
    assert list(tables["captions"].rows) == list(tables["sequences"].rows)


def test_the_demo_switches_on_what_the_diagnosis_proposes() -> None:
    """The second row of `uncollapse bench demo` is among the remedies that the first one is told."""
    table = Bench.read("demo").tables["digits"]
    baseline, own = Recipe.read(table.recipe), list(table.rows.values())[1]
    proposed = [
        shlex.split(text.partition("  ")[0])[3:]
        for text in remedy_commands(posterior_remedies(baseline.model(Size((1, 8, 8)))), "vae")
    ]
    after = [Recipe.read(table.recipe, options).values for options in proposed]
    assert baseline.values not in after and Recipe.read(table.recipe, own).values in after


@pytest.mark.parametrize(
    ("posterior", "mixes"),
    [
        ("SemiImplicit --posterior.network MLP", False),
        ("Hierarchical --posterior.network MLP", False),
        ("BatchNormalized --posterior.network MLP", False),
        ("Gaussian --posterior.network BatchNormMLP", False),
        ("Refined --posterior.family Gaussian --posterior.family.network GatedMLP", False),
        ("Committed --posterior.network MLP", True),
        ("Flow --posterior.transform Planar --posterior.network MLP", True),
        ("FullGaussian --posterior.network MLP", True),
    ],
)
def test_remedies_fit_other_posteriors(posterior: str, mixes: bool) -> None:
    """No VampPrior where the posterior cannot be mixed, no posterior that is there already, and the network within a family."""
    name, given = posterior.partition(" ")[0], ["--posterior", *posterior.split()]
    found = remedy_commands(posterior_remedies(Recipe.read("vae", given).model(Size((1, 8, 8)))), "vae")
    assert any("VampPrior" in remedy for remedy in found) == mixes
    assert any("--posterior BatchNormalized" in remedy for remedy in found) == (name != "BatchNormalized")
    assert any("GatedMLP" in remedy for remedy in found) == (name == "Refined")
    for remedy in found:
        words = shlex.split(remedy.partition("  ")[0])[3:]
        recipe = Recipe.read("vae", [*given, *words])
        recipe.procedure(recipe.model(Size((1, 8, 8))))


@pytest.mark.parametrize("objective", ["AdversarialAutoencoder", "AdversarialVariationalBayes"])
def test_remedies_of_an_adversarial_run_come_with_another_objective(objective: str) -> None:
    given = ["--objective", objective, "--objective.network", "MLP", "--procedure", "Alternating"]
    recipe, shape = Recipe.read("vae", given), Size((1, 8, 8))
    found = remedies(recipe.procedure(recipe.model(shape)), "vae", {}, recipe.training)
    assert len(found) > 3
    for remedy in found:
        after = Recipe.read("vae", [*given, *shlex.split(remedy.partition("  ")[0])[3:]])
        after.procedure(after.model(shape))


def test_an_implicit_posterior_is_told_of_no_bound() -> None:
    given = ["--posterior", "Implicit", "--posterior.network", "MLP"]
    found = remedy_commands(posterior_remedies(Recipe.read("vae", given).model(Size((1, 8, 8)))), "vae")
    assert found and not any(word in remedy for remedy in found for word in ("ELBO", "Lagging", "VampPrior"))


def test_a_run_is_not_told_what_it_has() -> None:
    """A warm-up of β and free bits are proposed to a plain ELBO alone."""
    for own, option in ((["--objective.beta", "Linear"], ".beta Linear"), (["--objective.free_bits", "0.25"], ".free_bits")):
        recipe = Recipe.read("vae", own)
        told = remedies(recipe.procedure(recipe.model(Size((1, 8, 8)))), "vae", {}, recipe.training)
        assert len(told) > 3 and not any(option in remedy for remedy in told)


def test_a_longer_training_is_longer_than_the_run_s_own() -> None:
    recipe = Recipe.read("vae", ["--steps", "30000"])
    found = remedies(recipe.procedure(recipe.model(Size((1, 8, 8)))), "vae", {"verdict": "worse than no code"}, recipe.training)
    assert any("--training.steps 60000 " in text for text in found)


@pytest.mark.parametrize("name", ["cvae-digits", "cgan-digits"])
def test_a_conditional_model_is_told_what_it_accepts(name: str) -> None:
    """No VampPrior, which takes no condition; every remedy of a conditional model can be built."""
    recipe, shape, condition = Recipe.read(name), Size((1, 8, 8)), Space(Size(()), "label", 10)
    procedure = recipe.procedure(recipe.model(shape, condition))
    found = remedies(procedure, name, {"verdict": "collapsed", "prior_gap": 9.0}, recipe.training)
    assert not any("VampPrior" in text for text in found) and any("--prior Mixture" in text for text in found)
    for text in found:
        mended = Recipe.read(name, shlex.split(text.partition("  ")[0])[3:])
        mended.procedure(mended.model(shape, condition))


def test_a_command_imports_what_its_recipe_was_given(tmp_path: Path) -> None:
    """A remedy of a recipe with classes of one's own names their file, given by its path or as the class; it can be read."""
    file = tmp_path / "own_decoder_of_remedies.py"
    file.write_text("from uncollapse.networks import MLP\n\n\nclass Wide(MLP):\n    pass\n")
    given = ["--likelihood.network", "own_decoder_of_remedies.Wide"]
    recipe = Recipe.read("vae", given, [str(file)])
    found = remedies(recipe.procedure(recipe.model(Size((4,)))), "vae", {}, recipe.training)
    assert found and all(text.startswith(f"uncollapse train vae --import {file} --") for text in found)
    words = shlex.split(found[0].partition("  ")[0])
    Recipe.read("vae", [*given, *words[5:]], [words[4]])
    module = sys.modules["own_decoder_of_remedies"]
    assert imports([module.Wide, module, "numpy.linalg"]) == [str(file), "numpy.linalg"]
    del sys.modules[module.__name__]


def test_a_remedy_is_a_value_and_is_compared_by_value() -> None:
    """No remedy names an option as the command line does; a clip or a distance that a run has is not proposed to it."""
    recipe = Recipe.read("vae", ["--training.clip", "5", "--objective", "InfoVAE", "--objective.alpha", "0.5"])
    procedure = recipe.procedure(recipe.model(Size((1, 8, 8))))
    for seen in ({"prior_gap": 9.0}, {"verdict": "worse than no code"}):
        found = proposed(procedure, seen, recipe.training)
        names = [name for remedy in found for name, _ in remedy.options]
        assert found and not {"training.clip", "objective.alpha"} & set(names)
        assert all(isinstance(remedy, Remedy) and "--" not in str(remedy) for remedy in found)
