"""What is watched of a training: the diagnosis of held-out observations, and whether a collapse lasts."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from uncollapse import noise
from uncollapse.data import Batch, Data, as_batch
from uncollapse.diagnosis import mode_verdict, posterior_verdict
from uncollapse.diagnosis.critic_evidence import CriticEvidence, game_evidence
from uncollapse.diagnosis.game_course import with_course
from uncollapse.diagnosis.mode_collapse import diagnose_samples
from uncollapse.diagnosis.posterior_collapse import diagnose_posterior
from uncollapse.diagnosis.reference_codes import Reference, training_rows
from uncollapse.distributions.still import evaluating
from uncollapse.gan import GAN
from uncollapse.learning import Objective
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
        seen = diagnose_posterior(self.model, batch, self.reference).as_dict()
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
    """Watches the draws of a generator, and its critic where it has one.

    Args:
        objective: The game, or another objective of a model by its draws.
        data: What it is trained on.
    """

    n_observations = 2000

    def __init__(self, objective: Objective, data: Data):
        self.objective, self.modes = objective, data.modes
        self.train = data.train.batch(data.train.some(min(self.n_observations, len(data.train))))

    def look(self, batch: Tensor | Batch, earlier: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        batch = as_batch(batch)
        pack = self.objective.critic.pack if isinstance(self.objective, GAN) else 1
        n = len(batch.x) // pack * pack
        if n < 2:
            return {}
        batch = batch.rows(slice(n))
        with evaluating(self.objective), torch.no_grad():
            fake, critic = self._drawn(batch)
            seen = diagnose_samples(fake, batch.x, modes=self.modes, critic=critic)
        found = seen.as_dict()
        found = with_course(found, [*earlier, found])
        return {name: value for name, value in found.items() if name != "n"}

    def _drawn(self, batch: Batch) -> tuple[Tensor, CriticEvidence | None]:
        """As many draws as there are observations, and what the critic says of both."""
        if not isinstance(self.objective, GAN):
            return self.objective.model.sample(batch.n, condition=batch.condition), None
        drawn = self.objective.model.draws(batch)
        return drawn.x, game_evidence(self.objective, batch, drawn, self.train)

    def lasts(self, before: dict[str, Any], now: dict[str, Any]) -> bool:
        return mode_verdict.lasting(before, now)
