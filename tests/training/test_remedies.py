"""The commands that a diagnosis proposes are commands."""

import shlex

import pytest
from torch import Size

from uncollapse.training import Recipe
from uncollapse.vae.collapse import remedies

SHAPES = {
    "vae": (1, 8, 8),
    "vae-mnist-static": (1, 28, 28),
    "pixelcnn-vae": (1, 28, 28),
    "vae-em-digits": (1, 8, 8),
    "lstm-vae": (36,),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_remedy_of_a_recipe_can_be_built(name: str) -> None:
    shape = Size(SHAPES[name])
    found = remedies(Recipe.read(name).model(shape), name)
    assert len(found) >= 2
    for remedy in found:
        words = shlex.split(remedy.partition("  ")[0])
        assert words[:3] == ["uncollapse", "train", name]
        recipe = Recipe.read(name, words[3:])
        recipe.procedure(recipe.model(shape))


def test_another_posterior_keeps_the_encoder() -> None:
    """A command that changes the posterior of a language model gives it the network that reads tokens, with its sizes."""
    found = remedies(Recipe.read("lstm-vae").model(Size((36,))), "lstm-vae")
    (floor,) = (remedy for remedy in found if "BatchNormalized" in remedy)
    assert "--posterior.network RecurrentEncoder --posterior.network.levels 2002" in floor
    assert not any("VampPrior" in remedy for remedy in found)
