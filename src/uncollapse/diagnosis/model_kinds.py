"""Kinds of models: how each is diagnosed, watched in a training, mended, and by what it is measured. Registered here, once."""

from typing import Any, Literal, overload

from torch import Tensor

from uncollapse.data import Batch, Data, as_batch
from uncollapse.diagnosis.mode_collapse import SampleDiagnosis, diagnose_samples
from uncollapse.diagnosis.mode_remedies import mode_remedies
from uncollapse.diagnosis.mode_verdict import ModeCollapseThresholds
from uncollapse.diagnosis.monitors import CollapseMonitor, ModeMonitor, PosteriorMonitor
from uncollapse.diagnosis.posterior_collapse import Diagnosis, admitted, diagnose_posterior
from uncollapse.diagnosis.posterior_remedies import posterior_remedies
from uncollapse.diagnosis.posterior_verdict import Thresholds, misses_codes
from uncollapse.diagnosis.reference_codes import Reference
from uncollapse.diagnosis.remedy import Remedy
from uncollapse.distributions import LatentVariableModel
from uncollapse.gan import GAN, ImplicitModel
from uncollapse.learning import Objective
from uncollapse.vae import VAE


class ModelKind:
    """A kind of which nothing is known: a density, for instance. Others override what they can answer.

    Attributes:
        measured_by: likelihood: log p(x) by importance samples from a posterior. draws: samples beside data. None: neither.
    """

    measured_by: Literal["likelihood", "draws"] | None = None

    def diagnose(self, model: Any, batch: Batch, train: Any = None, thresholds: Any = None) -> Any:
        """The diagnosis on observations.

        Args:
            model: The model.
            batch: Observations [N, *shape].
            train: Training observations [M, *shape]; None: none are at hand.
            thresholds: Where the verdicts lie; None: the usual ones.

        Raises:
            TypeError: If models of this kind cannot be diagnosed.
        """
        raise TypeError(
            f"expected a model of a registered kind to diagnose, got {type(model).__name__}; use uncollapse.diagnosis.register"
        )

    def monitor(self, objective: Objective, data: Data) -> CollapseMonitor:
        """What watches a training of this objective on these data."""
        return CollapseMonitor()

    def remedies(self, objective: Objective, seen: dict[str, Any], steps: int, averaged: bool) -> list[Remedy]:
        """What to try after a diagnosis.

        Args:
            objective: What was maximised.
            seen: The diagnosis by the names of summary.json; one that holds no verdict is a collapse.
            steps: For which the model was trained.
            averaged: Whether its weights are averaged.
        """
        return []


class PrescribedKind(ModelKind):
    """Models with a density and a posterior: VAEs."""

    measured_by = "likelihood"

    def diagnose(self, model: VAE, batch: Batch, train: Any = None, thresholds: Any = None) -> Diagnosis:
        return diagnose_posterior(model, batch, train, thresholds or Thresholds())

    def monitor(self, objective: Objective, data: Data) -> CollapseMonitor:
        return PosteriorMonitor(objective.model, data)

    def remedies(self, objective: Objective, seen: dict[str, Any], steps: int, averaged: bool) -> list[Remedy]:
        gap = [seen.get(name) or 0.0 for name in ("prior_gap", "prior_gap_standard_error")]
        with_critic = getattr(objective, "critic", None) is not None
        return posterior_remedies(objective.model, seen.get("verdict", "collapsed"), misses_codes(*gap), with_critic, steps)


class SampledKind(ModelKind):
    """Models that are known by their draws: GANs."""

    measured_by = "draws"

    def diagnose(self, model: LatentVariableModel, batch: Batch, train: Any = None, thresholds: Any = None) -> SampleDiagnosis:
        batch = batch._replace(x=admitted(model, batch.x, "observations"))
        rows = None if train is None else admitted(model, train, "training rows")
        fake = model.sample(batch.n, condition=batch.condition)
        return diagnose_samples(fake, batch.x, rows, thresholds=thresholds or ModeCollapseThresholds())

    def monitor(self, objective: Objective, data: Data) -> CollapseMonitor:
        return ModeMonitor(objective, data)

    def remedies(self, objective: Objective, seen: dict[str, Any], steps: int, averaged: bool) -> list[Remedy]:
        return mode_remedies(objective, seen, steps, averaged) if isinstance(objective, GAN) else []


KINDS: dict[type, ModelKind] = {VAE: PrescribedKind(), ImplicitModel: SampledKind()}
"""The kind of models of a class, and of those that inherit from it."""


def register(model: type, kind: ModelKind) -> None:
    """State the kind of models of a class; everything that looks at models chooses by it.

    Example:
        >>> class Flow(LatentVariableModel): ...
        >>> register(Flow, SampledKind())
        >>> KINDS.pop(Flow).measured_by
        'draws'
    """
    KINDS[model] = kind


def kind_of(model: Any) -> ModelKind:
    """The kind of a model: that of its class, or of the nearest class that it inherits from; draws tell of any other model
    with latents.

    Example:
        >>> from torch import nn
        >>> kind_of(nn.Linear(2, 2)).measured_by is None
        True
    """
    for base in type(model).__mro__:
        if base in KINDS:
            return KINDS[base]
    return SampledKind() if isinstance(model, LatentVariableModel) else ModelKind()


@overload
def diagnose(
    model: VAE, x: Tensor | Batch, train: Tensor | Reference | None = None, thresholds: Thresholds | None = None
) -> Diagnosis: ...
@overload
def diagnose(
    model: ImplicitModel, x: Tensor | Batch, train: Tensor | None = None, thresholds: ModeCollapseThresholds | None = None
) -> SampleDiagnosis: ...
@overload
def diagnose(model: Any, x: Tensor | Batch, train: Any = None, thresholds: Any = None) -> Any: ...
def diagnose(model: Any, x: Any, train: Any = None, thresholds: Any = None) -> Any:
    """Did the model collapse? A verdict with its evidence, by `diagnose_posterior` or `diagnose_samples`, as the model is.

    Args:
        model: A `VAE`, an `ImplicitModel`, or a model of a class that was registered.
        x: Held-out observations, a tensor, an array [N, *shape] or a batch, a few hundred or more. A model by its draws is
            compared with them by as many draws, under the same conditions.
        train: Observations of the training [M, *shape]: what needs no model is fitted to them, copies among draws are told.
        thresholds: Where the verdicts lie: `Thresholds` of a posterior, `ModeCollapseThresholds` of draws; None: the default.

    Raises:
        ValueError: If there are too few observations, their shape is not the model's, or a number is not finite.
        TypeError: If the model is of no registered kind.

    Example:
        >>> import torch
        >>> from uncollapse.distributions import Generator, Normal
        >>> from uncollapse.networks import Bias
        >>> _ = torch.manual_seed(0)
        >>> diagnose(ImplicitModel(Normal(2), Generator(2, (2,), Bias)), torch.randn(300, 2)).verdict
        'collapsed'
    """
    return kind_of(model).diagnose(model, as_batch(x), train, thresholds)
