"""Objectives: what is maximised. Each holds its model, and its forward is what gets differentiated, wrapped and compiled."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from torch import Tensor, nn

from uncollapse.data import Batch, Data
from uncollapse.parts import Part
from uncollapse.schedules import Schedule

Logged = dict[str, Tensor]
"""Named per-example values [B] in nats, for the log."""


class Objective(Part, nn.Module, ABC):
    """Something to be maximised, unreduced [B], of a model.

    Args:
        model: The model whose objective it is.

    Attributes:
        learns: The class of model that a recipe builds for it, with a constructor `of` from factories of its parts.
        selects: The value, logged or of the diagnosis, by which validation chooses the best weights.
        usual: The recipe that remedies are told for where a run has no folder.
        scores: Whether its values on held-out observations say anything: a game's losses do not.
    """

    given: ClassVar[tuple[str, ...]] = ("model",)
    learns: ClassVar[type]
    selects: ClassVar[str] = "elbo"
    scores: ClassVar[bool] = True
    usual: ClassVar[str] = "vae"

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    @abstractmethod
    def forward(self, batch: Tensor | Batch, t: Tensor, parameters: Tensor | None = None) -> tuple[Tensor, Logged]:
        """The objective [B] of a batch at step t, and what to log of it.

        Args:
            batch: Observations [B, *shape], and what is known beside them.
            t: Step, a 0-d tensor.
            parameters: Variational parameters [B, P] to take in place of the encoder's.
        """

    def schedules(self) -> Iterator[Schedule]:
        """Its schedules, whose open lengths the training fills in."""
        return (value for value in vars(self).values() if isinstance(value, Schedule))

    def charges(self) -> Iterator[Schedule]:
        """Those of its schedules that have to have ended before a collapse is one: weights of a divergence."""
        return self.schedules()

    def meet(self, data: Data, batch: int) -> None:
        """Called once by the training, before anything is drawn: what it learns from, and how many at a time.

        Raises:
            ValueError: If it cannot learn from such batches.
        """

    def passes(self, batch: Batch, t: Tensor) -> None:
        """A batch through all that keeps running statistics, as in a step of the training."""
        self(batch, t)
