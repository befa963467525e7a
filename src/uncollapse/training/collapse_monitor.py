"""What a training sees of collapse as it goes on, and what to try: chosen by the kind of its model."""

import math
from typing import Any

from uncollapse.data import Data
from uncollapse.diagnosis import Remedy, kind_of
from uncollapse.diagnosis.monitors import CollapseMonitor
from uncollapse.learning import Objective, Procedure
from uncollapse.schedules import Constant
from uncollapse.training.recipe_stages import option_of_stage
from uncollapse.training.remedy_commands import remedy_commands
from uncollapse.training.settings import Training


def collapse_monitor(objective: Objective, data: Data) -> CollapseMonitor:
    """What watches a training of this objective on these data."""
    return kind_of(objective.model).monitor(objective, data)


def remedies(
    procedure: Procedure, recipe: str, seen: dict[str, Any], training: Training, stage: str | None = None
) -> list[str]:
    """What to try by what was seen, as commands that train this recipe: `proposed`.

    Args:
        procedure: What the recipe trains by.
        recipe: The name of a recipe, or the path of a run's config.yaml.
        seen: The diagnosis by the names of summary.json.
        training: How the recipe trains.
        stage: Which of the recipe's stages that is; None: it has one.
    """
    found = proposed(procedure, seen, training)
    if stage is not None:
        found = [r._replace(options=tuple((option_of_stage(name, stage), value) for name, value in r.options)) for r in found]
    return remedy_commands(found, recipe, procedure.parts)


def proposed(procedure: Procedure, seen: dict[str, Any], training: Training) -> list[Remedy]:
    """What to try by what was seen: nothing that the procedure does already.

    Args:
        procedure: What trains the model.
        seen: The diagnosis by the names of summary.json; that of a posterior that holds no verdict is a collapse.
        training: How it trains.
    """
    objective = procedure.objective
    found = kind_of(objective.model).remedies(objective, seen, training.steps, training.ema > 0)
    return [remedy for remedy in found if not _has(procedure, training, remedy)]


def _has(procedure: Procedure, training: Training, remedy: Remedy) -> bool:
    """Whether a training does already what a remedy proposes: another schedule or number of the same kind counts too."""
    objective: Any = procedure.objective
    options = dict(remedy.options)
    kinds = {"procedure": type(procedure).__name__, "objective": type(objective).__name__}
    had = [
        options.get("procedure") == kinds["procedure"],
        options.get("objective") == kinds["objective"] == "InfoVAE",
        "objective.beta" in options and not isinstance(getattr(objective, "beta", Constant(1.0)), Constant),
        "objective.free_bits" in options and getattr(objective, "free_bits", 0.0) > 0,
        "training.clip" in options and (training.clip or math.inf) <= options["training.clip"],
    ]
    return any(had)
