"""A game that still moves, one that oscillates, a critic that overfits: told, with what to try."""

from typing import Any

import pytest
from torch import Size

from uncollapse.diagnosis.game_course import game_course, with_course
from uncollapse.training import Recipe
from uncollapse.training.collapse_monitor import remedies


def looks(*closeness: float | None) -> list[dict[str, Any]]:
    return [{"kind": "valid", "closeness": value} for value in closeness]


@pytest.mark.parametrize(
    "verdict", ["blurred", "dropping modes", "collapsed", "diverged", "healthy", "too few", "copies the data"]
)
def test_what_still_gets_better_is_too_early(verdict: str) -> None:
    seen = {"verdict": verdict, "reason": "so it is"}
    moving, resting = with_course(seen, looks(0.1, 0.2, 0.5)), with_course(seen, looks(0.1, 0.5, 0.52))
    assert resting["verdict"] == verdict and resting["reason"] == "so it is" and "notes" not in resting
    kept = verdict in ("healthy", "too few", "copies the data")
    assert moving["verdict"] == (verdict if kept else "too early")
    assert kept or f"{verdict}: so it is" in moving["reason"]


def test_one_look_tells_nothing() -> None:
    assert game_course(looks(0.5)) is None and game_course(looks(None, 0.5)) is None and game_course([]) is None


def test_a_game_that_comes_and_goes_oscillates() -> None:
    """Not one that rises, nor noise of a few hundredths, nor three looks."""
    found = with_course({"verdict": "healthy", "reason": ""}, looks(0.9, 0.4, 0.8, 0.3, 0.85))
    assert found["closeness_swing"] == pytest.approx((0.5 + 0.4 + 0.5 + 0.55 - 0.05) / 4) and "oscillates" in found["notes"][0]
    for calm in ((0.1, 0.3, 0.6, 0.9), (0.9, 0.93, 0.9, 0.92, 0.91), (0.9, 0.4, 0.8)):
        assert "notes" not in with_course({"verdict": "healthy", "reason": ""}, looks(*calm))


@pytest.mark.parametrize(
    ("seen", "options"),
    [
        ({"verdict": "too early"}, ["--training.steps 20000"]),
        ({"verdict": "blurred"}, ["--training.steps 20000", "--training.ema 0.999"]),
        ({"verdict": "healthy", "closeness_swing": 0.3}, ["--training.ema 0.999"]),
        ({"verdict": "healthy", "critic_overfit": 0.2}, ["--objective.penalties '[{class_path: R1}]'"]),
        ({"verdict": "copies the data"}, ["--objective.penalties '[{class_path: R1}]'"]),
        ({"verdict": "healthy"}, []),
        ({"verdict": "too few"}, []),
    ],
)
def test_remedies_follow_the_evidence(seen: dict[str, Any], options: list[str]) -> None:
    """Those of the plain game of 10,000 steps without an average of its weights."""
    recipe = Recipe.read("gan-ring", ["--training.ema", "0", "--steps", "10000"])
    found = remedies(recipe.procedure(recipe.model(Size((2,)))), "gan-ring", seen, recipe.training)
    assert [text.partition("  ")[0].removeprefix("uncollapse train gan-ring ") for text in found] == options


def test_images_are_augmented_where_the_critic_overfits() -> None:
    recipe = Recipe.read("dcgan-fashion")
    seen = {"verdict": "copies the data", "critic_overfit": 0.3}
    found = remedies(recipe.procedure(recipe.model(Size((1, 28, 28)))), "dcgan-fashion", seen, recipe.training)
    assert any("DiffAugment" in text for text in found)
