"""What a training sees of collapse as it goes on: the diagnosis of held-out observations, whether it lasts, what to try."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from uncollapse import noise
from uncollapse.data import Batch, Data, as_batch
from uncollapse.diagnosis import (
    Reference,
    Remedy,
    diagnose,
    diagnose_samples,
    game_evidence,
    mode_remedies,
    mode_verdict,
    posterior_remedies,
    posterior_verdict,
)
from uncollapse.diagnosis.game_course import with_course
from uncollapse.diagnosis.posterior_verdict import misses_codes
from uncollapse.distributions.still import evaluating
from uncollapse.evaluation.evaluate import training_rows
from uncollapse.gan import GAN
from uncollapse.learning import Objective, Procedure
from uncollapse.schedules import Constant
from uncollapse.training.recipe_stages import option_of_stage
from uncollapse.training.remedy_commands import remedy_commands
from uncollapse.training.settings import Training
from uncollapse.vae import VAE

OF_POSTERIOR = [
    "kl",
    "kl_units",
    "active_units",
    "mutual_information",
    "mutual_information_standard_error",
    "decoder_gain",
    "decoder_gain_standard_error",
    "gain_over_marginal",
    "gain_over_marginal_standard_error",
    "to_tell",
    "aggregate_kl",
    "prior_gap",
    "prior_gap_standard_error",
    "verdict",
    "reason",
]
"""What of a posterior's diagnosis the log holds."""

FITTING = 2**40 + 3  # the step whose noise is that of the training rows which the diagnosis compares with


class CollapseMonitor:
    """Nothing to watch: a density, for instance."""

    n_observations = 0  # how many held-out observations a look is at

    def look(self, batch: Tensor | Batch, earlier: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """The diagnosis on held-out observations [N, *shape], without its remedies, as plain values.

        Args:
            batch: The observations.
            earlier: Lines of the log of the looks before this one.
        """
        return {}

    def lasts(self, before: dict[str, Any], now: dict[str, Any]) -> bool:
        """Whether two looks, one after the other, show a collapse that is not on its way out."""
        return False


class PosteriorMonitor(CollapseMonitor):
    """Watches the posterior of a VAE.

    Args:
        model: The model.
        data: What it is trained on; None: each look compares with its own observations.
    """

    n_observations = 512

    def __init__(self, model: VAE, data: Data | None = None):
        self.model = model
        self.reference = None if data is None else _reference(model, data)

    def look(self, batch: Tensor | Batch, earlier: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        batch = as_batch(batch)
        if batch.n < 2:
            return {}
        seen = diagnose(self.model, batch, self.reference).as_dict()
        return {name: seen[name] for name in [*OF_POSTERIOR, *(["kl_blocks"] if seen["kl_blocks"] else [])]}

    def lasts(self, before: dict[str, Any], now: dict[str, Any]) -> bool:
        return posterior_verdict.lasting(before, now)


def _reference(model: VAE, data: Data) -> Reference | None:
    """What needs no model, fitted to training rows that are always the same; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), evaluating(model), torch.no_grad():
        noise.seed_step(0, FITTING)
        rows = training_rows(data, model.like)
        return None if rows is None else Reference(model.likelihood, rows)


class ModeMonitor(CollapseMonitor):
    """Watches the draws of a generator and its critic.

    Args:
        objective: The game.
        data: What it is trained on.
    """

    n_observations = 2000

    def __init__(self, objective: GAN, data: Data):
        self.objective, self.modes = objective, data.modes
        self.train = data.train.batch(data.train.some(min(self.n_observations, len(data.train))))

    def look(self, batch: Tensor | Batch, earlier: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        batch = as_batch(batch)
        x = batch.x
        n = len(x) // self.objective.critic.pack * self.objective.critic.pack
        if n < 2:
            return {}
        with evaluating(self.objective), torch.no_grad():
            drawn = self.objective.model.draws(batch.rows(slice(n)))
            critic = game_evidence(self.objective, batch.rows(slice(n)), drawn, self.train)
            seen = diagnose_samples(drawn.x, x[:n], modes=self.modes, critic=critic)
        found = seen.as_dict()
        found = with_course(found, [*earlier, found])
        return {name: value for name, value in found.items() if name != "n"}

    def lasts(self, before: dict[str, Any], now: dict[str, Any]) -> bool:
        return mode_verdict.lasting(before, now)


def collapse_monitor(objective: Objective, data: Data) -> CollapseMonitor:
    """What watches a training of this objective on these data."""
    if isinstance(objective, GAN):
        return ModeMonitor(objective, data)
    return PosteriorMonitor(objective.model, data) if isinstance(objective.model, VAE) else CollapseMonitor()


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
    if isinstance(objective, GAN):
        found = mode_remedies(objective, seen, training.steps, training.ema > 0)
    elif isinstance(objective.model, VAE):
        gap = [seen.get(name) or 0.0 for name in ("prior_gap", "prior_gap_standard_error")]
        with_critic = getattr(objective, "critic", None) is not None
        verdict = seen.get("verdict", "collapsed")
        found = posterior_remedies(objective.model, verdict, misses_codes(*gap), with_critic, training.steps)
    else:
        return []
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
