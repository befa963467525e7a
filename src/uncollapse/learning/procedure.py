"""Procedures: algorithms, each a batch turned into updates."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from uncollapse.data import Batch
from uncollapse.learning.objective import Logged, Objective
from uncollapse.own_modules import Named
from uncollapse.parts import Part
from uncollapse.schedules import Schedule

Update = Callable[[Tensor], None]
"""What takes a loss to a step of the weights; the training makes it."""


class MakeUpdate(Protocol):
    """What makes an update of some parameters, with the learning rate times a factor."""

    def __call__(self, parameters: Iterable[nn.Parameter], rate: float = 1.0, /) -> Update: ...


class Procedure(Part, ABC):
    """An algorithm that learns from batches. It states what it updates, and never calls an optimiser.

    Args:
        objective: What is maximised; its forward is what gets wrapped for devices, processes and compilation.

    Attributes:
        parts: What holds the classes outside the library that its recipe names; none of one that was built in Python.
    """

    given: ClassVar[tuple[str, ...]] = ("objective",)
    plays: ClassVar[bool] = False  # whether it trains an objective's critic too
    chains: ClassVar[bool] = False  # whether it learns from draws of the model's own posterior p(z|x), by Markov chains

    def __init__(self, objective: Objective):
        if not self.plays and getattr(objective, "critic", None) is not None:
            raise ValueError(
                f"{type(self).__name__} would train the critic of {type(objective).__name__} to flatter; write "
                "--procedure Alternating"
            )
        self.objective = objective
        self.parts: tuple[Named, ...] = ()
        self.forward: nn.Module = objective
        self.update: Update | None = None
        self.draw: Callable[[], Batch] | None = None
        self.autocast: Callable[[], AbstractContextManager[None]] = nullcontext  # for what is computed beside `forward`

    def further(self) -> Batch:
        """A further batch of the training data, drawn at random within a step; the training sets where from.

        Raises:
            RuntimeError: Outside a training.
        """
        if self.draw is None:
            raise RuntimeError("a procedure draws further batches within fit(procedure, data); call that")
        return self.draw()

    @property
    def looks(self) -> int | None:
        """Steps between two validations that it needs now, beside those of the training; None: none."""
        return None

    def state(self) -> dict[str, Tensor]:
        """What a resumed training needs of the procedure beside the weights, by name."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        return

    def complaint(self, values: dict[str, float]) -> str | None:
        """What is wrong with a line of the log, in words, so that the training stops; None: nothing."""
        return None

    def connect(self, wrap: Callable[[nn.Module], nn.Module], update: MakeUpdate) -> None:
        """Called once by the training: wrap what is differentiated, and make an update of the parameters it moves.

        A procedure with several players asks for an update for each, that of the model first.
        """
        self.forward = wrap(self.objective)
        self.update = update(self.parameters())

    def parameters(self) -> list[nn.Parameter]:
        """What the update moves."""
        return [p for p in self.objective.parameters() if p.requires_grad]

    def schedules(self) -> Iterator[Schedule]:
        """Its schedules, whose open lengths the training fills in."""
        return self.objective.schedules()

    @torch.no_grad()
    def validate(self, batches: Iterable[Batch], t: Tensor) -> dict[str, float]:
        """The mean of the objective's values over held-out data; nothing where these say nothing.

        Args:
            batches: Of observations [B, *shape] each.
            t: Step, a 0-d tensor.
        """
        if not self.objective.scores:
            return {}
        sums: dict[str, Tensor] = {}
        n = 0
        for batch in batches:
            for name, value in self.objective(batch, t)[1].items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.mean() * batch.n
            n += batch.n
        return {name: float(total) / n for name, total in sums.items()}

    def measure(self, batch: Batch, t: Tensor) -> None:
        """A training batch through all that estimates a likelihood's noise, by draws as in a step."""
        self.objective.passes(batch, t)

    def after_validation(self, values: dict[str, Any]) -> dict[str, Any]:
        """Called after each validation with its values and those of the diagnosis; returns what else to log."""
        return {}

    @abstractmethod
    def step(self, batch: Batch, t: Tensor) -> Logged:
        """Learn from one batch at step t; returns detached per-example values [B] for the log."""

    def ascend(self, bound: Tensor) -> None:
        """One step of the weights up the batch's mean bound."""
        if self.update is None:
            raise RuntimeError("a procedure learns within fit(procedure, data); call that")
        self.update(-bound.mean())
