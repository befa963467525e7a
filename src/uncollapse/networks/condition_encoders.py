"""Encoders of conditions: what a model is conditioned on, as the features that its networks see."""

from abc import ABC, abstractmethod
from math import prod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn

from uncollapse.data import Space
from uncollapse.networks.base import Factory
from uncollapse.parts import Part


class ConditionEncoder(Part, nn.Module, ABC):
    """From conditions [B, *shape] to features [B, C].

    Args:
        space: The space of the conditions.

    Attributes:
        features: Their number C.
    """

    given: ClassVar[tuple[str, ...]] = ("space",)
    features: int

    def __init__(self, space: Space):
        super().__init__()
        self.space = space

    @abstractmethod
    def forward(self, condition: Tensor) -> Tensor:
        """Conditions [B, *shape] to [B, C]."""

    def _labels_alone(self) -> int:
        """The number of classes.

        Raises:
            ValueError: If the conditions are no labels.
        """
        if self.space.kind != "label" or self.space.size is None:
            raise ValueError(
                f"{type(self).__name__} encodes labels, got conditions of kind {self.space.kind} and shape "
                f"{tuple(self.space.shape)}; use --condition Features"
            )
        return self.space.size


class OneHot(ConditionEncoder):
    """A label as a vector of zeros with a one in its place.

    Raises:
        ValueError: If the conditions are no labels.

    Example:
        >>> import torch
        >>> OneHot(Space(Size(()), "label", 3))(torch.tensor([2, 0])).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    def __init__(self, space: Space):
        super().__init__(space)
        self.features = self._labels_alone()
        self.register_buffer("like", torch.zeros(()), persistent=False)

    like: Tensor

    def forward(self, condition: Tensor) -> Tensor:
        return F.one_hot(condition.long(), self.features).to(self.like)


class LabelEmbedding(ConditionEncoder):
    """A label as a vector that is learned.

    Args:
        space: The space of the conditions.
        size: Length C of the vector.

    Raises:
        ValueError: If the conditions are no labels.

    Example:
        >>> import torch
        >>> LabelEmbedding(Space(Size(()), "label", 3), size=4)(torch.tensor([2, 0])).shape
        torch.Size([2, 4])
    """

    def __init__(self, space: Space, size: int = 16):
        super().__init__(space)
        self.features = size
        self.embedding = nn.Embedding(self._labels_alone(), size)

    def forward(self, condition: Tensor) -> Tensor:
        encoded: Tensor = self.embedding(condition.long())
        return encoded


class Features(ConditionEncoder):
    """Vectors or images of real numbers, as they are or through a network.

    Args:
        space: The space of the conditions.
        network: Factory of the network, called with the shape of a condition and (size,); None: the numbers as they are.
        size: Length C of what the network gives.

    Raises:
        ValueError: If the conditions are labels.

    Example:
        >>> import torch
        >>> Features(Space(Size((2, 2))))(torch.zeros(5, 2, 2)).shape
        torch.Size([5, 4])
    """

    def __init__(self, space: Space, network: Factory | None = None, size: int = 16):
        super().__init__(space)
        if space.kind in ("label", "tokens"):
            raise ValueError(f"Features encodes numbers, got conditions of kind {space.kind}; use --condition OneHot")
        self.features = prod(space.shape) if network is None else size
        self.network = None if network is None else network(space.shape, Size((size,)))

    def forward(self, condition: Tensor) -> Tensor:
        if self.network is None:
            return condition.flatten(1)
        encoded: Tensor = self.network(condition)
        return encoded
