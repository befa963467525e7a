"""What a training sees of collapse as it goes on: the diagnosis of held-out observations, whether it lasts, what to try."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from uncollapse.data import Data
from uncollapse.diagnosis import (
    Remedy,
    commands,
    diagnose,
    diagnose_samples,
    game_evidence,
    mode_remedies,
    mode_verdict,
    posterior_collapse,
    posterior_remedies,
)
from uncollapse.diagnosis.game_course import with_course
from uncollapse.distributions.still import evaluating
from uncollapse.gan import GAN
from uncollapse.learning import Objective, Procedure
from uncollapse.schedules import Constant
from uncollapse.training.settings import Training
from uncollapse.vae import VAE

OF_POSTERIOR = ["kl", "kl_units", "active_units", "mutual_information", "aggregate_kl", "verdict", "reason"]
"""What of a posterior's diagnosis the log holds."""


class CollapseMonitor:
    """Nothing to watch: a density, for instance."""

    n_observations = 0  # how many held-out observations a look is at

    def look(self, x: Tensor, earlier: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """The diagnosis on held-out observations x [N, *shape], without its remedies, as plain values.

        Args:
            x: The observations.
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
    """

    n_observations = 512

    def __init__(self, model: VAE):
        self.model = model

    def look(self, x: Tensor, earlier: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        if len(x) < 2:
            return {}
        seen = diagnose(self.model, x).as_dict()
        return {name: seen[name] for name in [*OF_POSTERIOR, *(["kl_blocks"] if seen["kl_blocks"] else [])]}

    def lasts(self, before: dict[str, Any], now: dict[str, Any]) -> bool:
        return posterior_collapse.lasting(before, now)


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

    def look(self, x: Tensor, earlier: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        n = len(x) // self.objective.critic.pack * self.objective.critic.pack
        if n < 2:
            return {}
        with evaluating(self.objective), torch.no_grad():
            drawn = self.objective.model.draws(n, x[:n])
            critic = game_evidence(self.objective, x[:n], drawn, self.train)
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
    return PosteriorMonitor(objective.model) if isinstance(objective.model, VAE) else CollapseMonitor()


def remedies(procedure: Procedure, recipe: str, seen: dict[str, Any], training: Training) -> list[str]:
    """What to try after a diagnosis, as commands that train this recipe: nothing that the procedure does already.

    Args:
        procedure: What the recipe trains by.
        recipe: The name of a recipe, or the path of a run's config.yaml.
        seen: The diagnosis as plain values.
        training: How the recipe trains.
    """
    objective = procedure.objective
    if isinstance(objective, GAN):
        found = mode_remedies(objective, seen, training.steps, training.ema > 0)
    elif isinstance(objective.model, VAE):
        found = posterior_remedies(objective.model, getattr(objective, "critic", None) is not None)
    else:
        return []
    return commands((remedy for remedy in found if not _has(procedure, remedy)), recipe)


def _has(procedure: Procedure, remedy: Remedy) -> bool:
    """Whether a procedure does already what a remedy proposes."""
    objective: Any = procedure.objective
    own = [f"--procedure {type(procedure).__name__}"]
    own += ["--objective.beta Linear"] if not isinstance(getattr(objective, "beta", Constant(1.0)), Constant) else []
    own += ["--objective.free_bits "] if getattr(objective, "free_bits", 0.0) > 0 else []
    return any(option in f"{remedy.options} " for option in own)
