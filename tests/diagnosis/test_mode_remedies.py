"""The commands that a game proposes are commands, and none of them is what it does already."""

import shlex
from typing import Any

import pytest
from torch import Size

from uncollapse.learning import Alternating, OptimalCritic, Procedure, Unrolled
from uncollapse.training import Recipe, Training
from uncollapse.training.collapse_monitor import remedies


def told(kind: Procedure, name: str) -> list[str]:
    """What is proposed after a collapse."""
    return remedies(kind, name, {"verdict": "collapsed"}, Training(steps=100))


def procedure(name: str, *options: str) -> Procedure:
    """That of a recipe, on points in the plane."""
    recipe = Recipe.read(name, list(options))
    return recipe.procedure(recipe.model(Size((2,))))


def proposed(name: str, *options: str) -> list[list[str]]:
    """The arguments of each command that is proposed, behind the recipe's name."""
    words = [shlex.split(remedy.partition("  ")[0]) for remedy in told(procedure(name, *options), name)]
    assert all(command[:3] == ["uncollapse", "train", name] for command in words)
    return [command[3:] for command in words]


@pytest.mark.parametrize("kind", [Alternating, OptimalCritic, Unrolled])
def test_another_procedure_is_proposed_unless_it_is_the_run_s_own(kind: type[Alternating]) -> None:
    found = proposed("gan-ring", "--procedure", kind.__name__)
    assert len(found) == 5 + (kind is not Unrolled)
    assert (["--procedure", "Unrolled"] in found) == (kind is not Unrolled)


def test_every_cure_can_be_built_and_is_then_proposed_no_more() -> None:
    for options in proposed("gan-ring"):
        cured: Any = procedure("gan-ring", *options)
        assert options not in [shlex.split(remedy.partition("  ")[0])[3:] for remedy in told(cured, "gan-ring")]


def test_a_vae_is_not_told_its_own_procedure_either() -> None:
    assert ["--procedure", "Lagging"] in proposed("vae") and ["--procedure", "Lagging"] not in proposed(
        "vae", "--procedure", "Lagging"
    )
