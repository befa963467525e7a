"""Schedules: numbers that are functions of the training step, for β, σ, temperatures and learning rates."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from uncollapse.parts import Part


class Schedule(Part, ABC):
    """A value of the step. `schedule(t)` takes a number or a 0-d tensor and returns a 0-d tensor.

    Args:
        steps: How long the schedule runs; None means the whole training, and `over` fills it in.

    Raises:
        ValueError: If it is called while its length is still None.
    """

    def __init__(self, steps: int | None = None):
        if steps is not None and steps < 1:
            raise ValueError(f"expected steps of at least 1, came {steps}")
        self.steps = steps

    def over(self, total: int) -> None:
        """Fill in the length where it was left to the training."""
        if self.steps is None:
            self.steps = total

    def __call__(self, t: Tensor | float) -> Tensor:
        if self.steps is None:
            raise ValueError(f"{type(self).__name__} has no length yet: write steps=..., or call over(total)")
        return self.at(torch.as_tensor(t, dtype=torch.get_default_dtype()), self.steps)

    @abstractmethod
    def at(self, t: Tensor, steps: int) -> Tensor:
        """The value at step t of a schedule of this length."""


class Constant(Schedule):
    """The same value at every step.

    Example:
        >>> float(Constant(0.5)(1000))
        0.5
    """

    def __init__(self, value: float = 1.0):
        super().__init__(1)
        self.value = value

    def at(self, t: Tensor, steps: int) -> Tensor:
        return torch.full_like(t, self.value)


class Linear(Schedule):
    r"""From start to end in a straight line, then constant (KL annealing: Bowman et al., 2016).

    .. math:: v(t) = v_0 + (v_1 - v_0) \min(t / T, 1)

    Example:
        >>> [float(Linear(0.0, 1.0, steps=4)(t)) for t in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """

    def __init__(self, start: float = 0.0, end: float = 1.0, steps: int | None = None):
        super().__init__(steps)
        self.start, self.end = start, end

    def at(self, t: Tensor, steps: int) -> Tensor:
        return self.start + (self.end - self.start) * (t / steps).clamp(0, 1)


class Cosine(Schedule):
    r"""A linear warm-up to start, then half a cosine down to end; the usual learning-rate schedule.

    .. math:: v(t) = v_1 + \tfrac12 (v_0 - v_1) \left(1 + \cos \pi \tfrac{t - w}{T - w}\right), \quad t \ge w

    Example:
        >>> [round(float(Cosine(1.0, 0.0, warmup=2, steps=12)(t)), 3) for t in (0, 2, 7, 12)]
        [0.333, 1.0, 0.5, 0.0]
    """

    def __init__(self, start: float = 1.0, end: float = 0.0, warmup: int = 0, steps: int | None = None):
        super().__init__(steps)
        self.start, self.end, self.warmup = start, end, warmup

    def at(self, t: Tensor, steps: int) -> Tensor:
        rise = ((t + 1) / (self.warmup + 1)).clamp(max=1)
        fall = ((t - self.warmup) / max(steps - self.warmup, 1)).clamp(0, 1)
        return rise * (self.end + 0.5 * (self.start - self.end) * (1 + torch.cos(math.pi * fall)))


class Geometric(Schedule):
    r"""From start to end by the same factor at every step, then constant: as much time at each scale.

    .. math:: v(t) = v_0 \left(v_1 / v_0\right)^{\min(t / T, 1)}

    Raises:
        ValueError: If start or end is not above 0.

    Example:
        >>> [round(float(Geometric(1.0, 0.01, steps=4)(t)), 4) for t in (0, 2, 4, 9)]
        [1.0, 0.1, 0.01, 0.01]
    """

    def __init__(self, start: float = 1.0, end: float = 0.01, steps: int | None = None):
        super().__init__(steps)
        if start <= 0 or end <= 0:
            raise ValueError(f"expected start and end above 0, came start={start}, end={end}; write Linear to reach 0")
        self.start, self.end = start, end

    def at(self, t: Tensor, steps: int) -> Tensor:
        return self.start * (self.end / self.start) ** (t / steps).clamp(0, 1)


class Sigmoid(Schedule):
    r"""From start to end along a logistic curve whose middle is at half its length, then constant (Bowman et al., 2016).

    .. math:: v(t) = v_0 + (v_1 - v_0)\, \operatorname{sigmoid}\left(s \, (\min(t / T, 1) - \tfrac12)\right)

    Example:
        >>> [round(float(Sigmoid(0.0, 1.0, slope=10.0, steps=10)(t)), 3) for t in (0, 5, 10)]
        [0.007, 0.5, 0.993]
    """

    def __init__(self, start: float = 0.0, end: float = 1.0, slope: float = 12.0, steps: int | None = None):
        super().__init__(steps)
        self.start, self.end, self.slope = start, end, slope

    def at(self, t: Tensor, steps: int) -> Tensor:
        return self.start + (self.end - self.start) * torch.sigmoid(self.slope * ((t / steps).clamp(0, 1) - 0.5))


class Cyclical(Schedule):
    r"""Rise linearly from start to end for a part of each cycle, then stay there (Fu et al., 2019, equation 6).

    .. math:: v(t) = v_0 + (v_1 - v_0) \min(\tau / R, 1), \quad \tau = \frac{t \bmod (T / M)}{T / M}

    Args:
        start: Value at the beginning of a cycle.
        end: Value at the end of the rise.
        cycles: M, how often it starts again; after `steps` it stays at end.
        rise: R, the fraction of a cycle that is spent rising.
        steps: T, the length of all cycles together.

    Example:
        >>> [float(Cyclical(cycles=2, rise=0.5, steps=16)(t)) for t in (0, 2, 4, 8, 10, 16)]
        [0.0, 0.5, 1.0, 0.0, 0.5, 1.0]
    """

    def __init__(self, start: float = 0.0, end: float = 1.0, cycles: int = 4, rise: float = 0.5, steps: int | None = None):
        super().__init__(steps)
        if cycles < 1 or not 0 < rise <= 1:
            raise ValueError(f"expected cycles of at least 1 and 0 < rise <= 1, came cycles={cycles}, rise={rise}")
        self.start, self.end, self.cycles, self.rise = start, end, cycles, rise

    def at(self, t: Tensor, steps: int) -> Tensor:
        tau = torch.where(t < steps, (t * self.cycles / steps) % 1.0, 1.0)
        return self.start + (self.end - self.start) * (tau / self.rise).clamp(0, 1)


def schedule(value: "Schedule | float") -> Schedule:
    """A number is a schedule that never changes.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> float(schedule(2.0)(5))
        2.0
    """
    if isinstance(value, Schedule):
        return value
    if isinstance(value, str):
        raise ValueError(f"expected a number or a schedule, came the word {value!r}; write a schedule such as Linear()")
    return Constant(value)


ENDS = ("value", "start", "end")
"""Attributes of schedules that state their values."""


def nonnegative(name: str, value: "Schedule | float", instead: str) -> Schedule:
    """A weight as a schedule, whose values all lie between those that it states as its value, start and end, or nearer 0.

    Args:
        name: What to call it in the error.
        value: A number or a schedule.
        instead: What to write, for the error.

    Raises:
        ValueError: If one of these is negative, infinite or no number.

    Example:
        >>> nonnegative("beta", Linear(-5.0, 1.0), "write 1 for the ELBO")
        Traceback (most recent call last):
        ValueError: expected a finite beta of at least 0, came Linear -5.0 to 1.0; write 1 for the ELBO
    """
    found = schedule(value)
    stated = [vars(found)[end] for end in ENDS if end in vars(found)]
    if not all(0 <= number < math.inf for number in stated):
        kind = f"{type(value).__name__} " if isinstance(value, Schedule) else ""
        raise ValueError(f"expected a finite {name} of at least 0, came {kind}{' to '.join(map(str, stated))}; {instead}")
    return found
