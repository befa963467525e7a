"""Where the standard deviation of a Gaussian likelihood comes from."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Size, Tensor, nn

from uncollapse.parts import Part
from uncollapse.processes import gathered

SMALLEST = 1e-12  # variance of a likelihood whose means are the data themselves


class Sigma(Part, nn.Module, ABC):
    """The log standard deviation of a Gaussian likelihood.

    Args:
        shape: Shape of one observation.
    """

    given: ClassVar[tuple[str, ...]] = ("shape",)

    def __init__(self, shape: Size):
        super().__init__()
        self.shape = Size(shape)

    @property
    def looks(self) -> bool:
        """Whether it is estimated from the observations that are scored."""
        return False

    @abstractmethod
    def forward(self, mean: Tensor, x: Tensor | None = None) -> Tensor:
        """log σ, broadcastable to mean [..., *shape]; x [B, *shape] are the observations being scored, if any."""


class FixedSigma(Sigma):
    r"""A constant, :math:`\sigma = ` value.

    Example:
        >>> round(float(FixedSigma(Size((2,)), 0.5)(torch.zeros(2)).exp()), 3)
        0.5
    """

    def __init__(self, shape: Size, value: float = 1.0):
        super().__init__(shape)
        if not value > 0:
            raise ValueError(f"expected a sigma above 0, came {value}")
        self.value = value

    def forward(self, mean: Tensor, x: Tensor | None = None) -> Tensor:
        return torch.full((), math.log(self.value), dtype=mean.dtype, device=mean.device)


class LearnedSigma(Sigma):
    """A parameter, learned by gradient with the rest: one for all dimensions, or one for each.

    Args:
        shape: Shape of one observation.
        start: Its value at the start.
        per_pixel: Whether each dimension of the data has its own.
        limits: Smallest and largest value; None: no limits.

    Example:
        >>> LearnedSigma(Size((1, 8, 8)), per_pixel=True)(torch.zeros(1, 8, 8)).shape
        torch.Size([1, 8, 8])
    """

    def __init__(self, shape: Size, start: float = 1.0, per_pixel: bool = False, limits: tuple[float, float] | None = None):
        super().__init__(shape)
        if not start > 0:
            raise ValueError(f"expected a sigma above 0, came start={start}")
        if limits is not None and not 0 < limits[0] < limits[1]:
            raise ValueError(f"expected limits 0 < low < high, came {tuple(limits)}")
        self.limits = limits
        self.log_sigma = nn.Parameter(torch.full(self.shape if per_pixel else Size(), math.log(start)))

    def forward(self, mean: Tensor, x: Tensor | None = None) -> Tensor:
        if self.limits is None:
            return self.log_sigma
        return self.log_sigma.clamp(math.log(self.limits[0]), math.log(self.limits[1]))


class OptimalSigma(Sigma):
    r"""The maximum-likelihood value given the means: in training the batch's root mean squared error.

    .. math:: \hat\sigma^2 = \frac{1}{B D} \sum_{b,d} (x_{bd} - \mu_{bd})^2

    With it the mean log-likelihood of a batch is :math:`-\tfrac D2 \log (2 \pi e \hat\sigma^2)`. In `eval()` a frozen value is
    used, saved with the weights, and no data that are scored set it. A training measures it: before each validation it becomes
    the mean squared error of the weights that are validated and kept, over training data (`measured`). Outside of `fit` it is a
    running average over the training's batches, which lags behind weights that still improve.

    Args:
        shape: Shape of one observation.
        momentum: Weight of the newest batch in the running average of the variance.

    Raises:
        ValueError: If momentum is not in (0, 1].

    References:
        Rybkin, Daniilidis and Levine (2021), Simple and Effective VAE Training with Calibrated Decoders, equation 6.

    Example:
        >>> sigma = OptimalSigma(Size((4,)))
        >>> round(float(sigma(torch.zeros(3, 4), torch.full((3, 4), 2.0)).exp()), 4)
        2.0
    """

    variance: Tensor
    seen: Tensor

    def __init__(self, shape: Size, momentum: float = 0.01):
        super().__init__(shape)
        if not 0 < momentum <= 1:
            raise ValueError(f"expected a momentum in (0, 1], came {momentum}; write 0.01")
        self.momentum = momentum
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("seen", torch.zeros(()))
        self.errors: list[tuple[Tensor, int]] | None = None  # sums of squares of what is measured, and of how many numbers

    @property
    def looks(self) -> bool:
        return self.training

    def forward(self, mean: Tensor, x: Tensor | None = None) -> Tensor:
        if not self.training or x is None:
            return 0.5 * self.variance.log()
        rows = (x - mean).square().flatten(-len(self.shape)).mean(-1) if self.shape else (x - mean).square()
        rows = gathered(rows, -1)
        if self.errors is not None:
            self.errors.append((rows.detach().double().sum(), rows.numel()))
            return 0.5 * self.variance.log()
        mse = rows.mean().clamp_min(SMALLEST)
        self._follow(mse.detach())
        return 0.5 * mse.log()

    @contextmanager
    def measured(self) -> Iterator[None]:
        r"""Within it the squared errors of all that is scored are collected; after it their mean is :math:`\hat\sigma^2`.

        What is not finite, or nothing at all, leaves the value as it was.

        Example:
            >>> sigma = OptimalSigma(Size((4,))).eval()
            >>> with sigma.measured():
            ...     before = sigma(torch.zeros(3, 4), torch.full((3, 4), 2.0))
            >>> float(before.exp()), float(sigma(torch.zeros(4)).exp())
            (1.0, 2.0)
        """
        self.errors, training = [], self.training
        self.train()  # and out of it where something holds the model still, such as an ascent or a chain
        try:
            yield
            if self.errors:
                mse = torch.stack([total for total, _ in self.errors]).sum() / sum(n for _, n in self.errors)
                self.variance.copy_(torch.where(mse.isfinite(), mse.clamp_min(SMALLEST), self.variance))
        finally:
            self.errors = None
            self.train(training)

    @torch.no_grad()
    def _follow(self, mse: Tensor) -> None:
        """Move the running average; a plain mean at first, a batch that is not finite left out."""
        mse = torch.where(mse.isfinite(), mse, self.variance).to(self.variance)
        self.seen += 1
        self.variance.lerp_(mse, (1 / self.seen).clamp_min(self.momentum))
