"""A stage of a training: an objective, the procedure that climbs it, how long, and which parts of the model learn."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from typing import Any, Literal

from torch import nn

from uncollapse.distributions.still import frozen
from uncollapse.learning import Objective, Procedure
from uncollapse.training.settings import Training
from uncollapse.training.update import OptimizerFactory, default_optimizer, made

STARTS = ("last", "best")
NAME = re.compile("[A-Za-z0-9_-]{0,60}")  # none: of the one stage that has no name


class Stage:
    """One part of a training that has several, one after the other, on the same model.

    Steps, schedules, patience, learning rate, averages and best weights are a stage's own.

    Args:
        name: What the log and checkpoints call it.
        objective: What is maximised.
        procedure: Makes the algorithm of the objective: a class of procedures, or a function of the objective.
        optimizer: Factory of the optimiser.
        training: How long and how.
        trains: Which parts of the model learn, such as ["posterior"]; None: all that the procedure moves. The others keep
            their weights and running statistics, and are in eval(). A critic of the objective always learns.
        start: Which weights of the stage before it starts from: its last, or its best by validation. The first stage has none.

    Raises:
        ValueError: If the name is none, the model has no such part, or nothing is left that learns.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> from uncollapse.vae import ELBO, VAE, Amortized
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), MLP), posteriors.Gaussian(2, (4,), MLP))
        >>> stage = Stage("refine", ELBO(vae), Amortized, training=Training(steps=100), trains=["posterior"])
        >>> with stage.freezing():
        ...     sorted({name.partition(".")[0] for name, p in vae.named_parameters() if p.requires_grad})
        ['posterior']
    """

    def __init__(
        self,
        name: str,
        objective: Objective,
        procedure: Callable[[Objective], Procedure],
        optimizer: OptimizerFactory = default_optimizer,
        training: Training = Training(),
        trains: Sequence[str] | None = None,
        start: Literal["last", "best"] = "last",
    ):
        if not NAME.fullmatch(name):
            raise ValueError(f"expected a stage's name of letters, digits, - and _, got {name!r:.80}")
        if start not in STARTS:
            raise ValueError(f"expected start of {' or '.join(STARTS)}, got {start!r}")
        self.name, self.optimizer, self.training, self.start = name, optimizer, deepcopy(training), start
        self.procedure = procedure(objective)
        self.trains = None if trains is None else check_trains(objective.model, trains)

    @classmethod
    def of(
        cls, procedure: Procedure, training: Training = Training(), optimizer: OptimizerFactory = default_optimizer
    ) -> "Stage":
        """The one stage, without a name, of a training by this procedure."""
        return cls("", procedure.objective, lambda objective: procedure, optimizer, training)

    @property
    def objective(self) -> Objective:
        """What is maximised."""
        return self.procedure.objective

    @property
    def model(self) -> Any:
        """What learns."""
        return self.objective.model

    def still(self) -> list[nn.Module]:
        """The modules of the model that do not learn."""
        return [module for name, module in self.model.named_modules() if name and not _learns(name, self.trains)]

    def freezing(self) -> AbstractContextManager[None]:
        """Within it the parts of the model that do not learn collect no gradient."""
        return freezing(self.model, self.trains)

    def train(self) -> None:
        """Put the objective into train(), but for what does not learn."""
        self.objective.train()
        hold(self.still())

    def check(self) -> None:
        """Refuse a stage that cannot begin, before any other trains.

        Raises:
            ValueError: If nothing learns, or the optimiser is none that moves it.
        """
        with self.freezing():
            parameters = self.procedure.parameters()
            if not parameters:
                raise ValueError(
                    f"nothing learns in stage {self.name}: the procedure moves none of {self.trains}; give other parts"
                )
            made(self.optimizer, parameters)


def freezing(model: nn.Module, trains: Sequence[str] | None) -> AbstractContextManager[None]:
    """Within it the parameters of a model that are in none of these parts collect no gradient; None: all do as ever."""
    return frozen(p for name, p in model.named_parameters() if not _learns(name, trains))


def _learns(name: str, trains: Sequence[str] | None) -> bool:
    """Whether a module or parameter of this name is within a part that learns, or holds one."""
    return trains is None or any(f"{name}.".startswith(f"{part}.") or f"{part}.".startswith(f"{name}.") for part in trains)


def hold(modules: Sequence[nn.Module]) -> None:
    """Put modules into eval(), but for recurrent networks, whose gradient cuDNN gives in train() alone."""
    for module in modules:
        module.training = isinstance(module, nn.RNNBase)


def check_trains(model: nn.Module, trains: Sequence[str]) -> tuple[str, ...]:
    """The parts of a model that learn, each of which it has.

    Raises:
        ValueError: If it does not have one, or none is given.
    """
    names = [name for name, _ in model.named_parameters()]
    has = [name for name, part in model.named_children() if any(True for _ in part.parameters())] or names
    given = () if isinstance(trains, str) else tuple(trains)
    for part in given:
        if not any(f"{name}.".startswith(f"{part}.") for name in names):
            raise ValueError(f"expected trains of parts with weights ({', '.join(has)}), got {part!r}")
    if not given:
        raise ValueError(
            f"expected trains as a list of parts with weights ({', '.join(has)}), got {trains!r}; leave it out for all"
        )
    return given


def listed(stages: Sequence[Stage]) -> list[Stage]:
    """The stages of one training, checked against each other.

    Raises:
        ValueError: If there is none, two share a name or a schedule, they have different models, or the first has a start.
    """
    found = list(stages)
    names = [stage.name for stage in found]
    if not found or not all(isinstance(stage, Stage) for stage in found):
        raise ValueError(f"expected a procedure or a list of stages, got {stages!r:.80}")
    if len(found) > 1 and (len(set(names)) < len(names) or "" in names):
        raise ValueError(f"expected stages with names of their own, got {', '.join(map(repr, names))}")
    if any(stage.model is not found[0].model for stage in found):
        raise ValueError("expected stages that train one model, got several; build their objectives of the same model")
    if found[0].start != "last":
        raise ValueError(f"expected the first stage without a start, got {found[0].start}; there is no stage before it")
    for stage in found if len(found) > 1 or found[0].trains else ():
        stage.check()
    _fill_schedules(found)
    return found


def _fill_schedules(stages: Sequence[Stage]) -> None:
    """Fill in the lengths of schedules where they are left to a stage."""
    filled: dict[int, Stage] = {}
    for stage in stages:
        for schedule in (stage.training.schedule, *stage.procedure.schedules()):
            before = filled.get(id(schedule))
            if before is not None and before.training.steps != stage.training.steps:
                raise ValueError(
                    f"stages {before.name} and {stage.name} share a {type(schedule).__name__} whose length is a stage's, and "
                    "have different steps; give each one of its own"
                )
            if schedule.steps is None:
                filled[id(schedule)] = stage
                schedule.over(stage.training.steps)
