"""How chains are annealed: the rungs between two densities, and the transitions at each."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from uncollapse import noise
from uncollapse.parts import Part

SHORTER = 5  # a preliminary run has a fifth of the temperatures,
FEWEST = 50  # and at least this many: a step size doubles in 35 transitions


class Ladder(Part, ABC):
    """Where the inverse temperatures 0 = β₀ < β₁ < ... < β_T = 1 lie."""

    @abstractmethod
    def at(self, u: Tensor) -> Tensor:
        """β at a fraction u of the way, increasing from 0 at 0 to 1 at 1."""

    def betas(self, temperatures: int) -> list[float]:
        """β₀ to β_T.

        Example:
            >>> [round(beta, 3) for beta in LinearLadder().betas(4)], [round(beta, 3) for beta in SigmoidLadder().betas(4)]
            ([0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 0.105, 0.5, 0.895, 1.0])
        """
        inner = self.at(torch.arange(1, temperatures, dtype=torch.double) / temperatures)
        return [0.0, *inner.tolist(), 1.0]


@dataclass(frozen=True)
class LinearLadder(Ladder):
    r"""Evenly spaced, :math:`\beta_t = t / T`."""

    def at(self, u: Tensor) -> Tensor:
        return u


@dataclass(frozen=True)
class SigmoidLadder(Ladder):
    r"""Denser at both ends, where the density changes fastest in β.

    .. math:: \beta_t = \frac{s_t - s_0}{s_T - s_0}, \quad s_t = \operatorname{sigmoid}\left(\delta (2 t / T - 1)\right)

    Args:
        delta: How much denser, δ; towards 0 it becomes linear.

    Raises:
        ValueError: If delta is not above 0.

    References:
        Grosse, Ghahramani and Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte Carlo; with δ = 4:
        Wu et al. (2017), On the Quantitative Analysis of Decoder-Based Generative Models.
    """

    delta: float = 4.0

    def __post_init__(self) -> None:
        if self.delta <= 0:
            raise ValueError(f"expected a delta above 0, came {self.delta}; write LinearLadder() for even spacing")

    def at(self, u: Tensor) -> Tensor:
        low, high = torch.sigmoid(u.new_tensor(-self.delta)), torch.sigmoid(u.new_tensor(self.delta))
        return (torch.sigmoid(self.delta * (2 * u - 1)) - low) / (high - low)


@dataclass(frozen=True)
class Annealing(Part):
    r"""How chains are annealed: the temperatures, and one transition of Hamiltonian Monte Carlo at each.

    The chains of an image share a step size ε, which follows their mean acceptance: times `growth` where that is above the
    target, times `shrinkage` elsewhere, within `bounds`. `adapt` says when:

    - ``"first"``: in a preliminary run, of a fifth of the temperatures (at least 50) and factors to the fifth power, which
      leaves a table of ε by temperature and image. The run that counts has it fixed, its transitions leave each density as it
      is, and bounds hold exactly, for a fifth more time.
    - ``"along"``: in the run itself, as is published practice. A transition then depends on the chains' past, so that the
      weights are slightly biased and no bound is certain.
    - ``"never"``: ε stays at `step_size`.

    Each proposal of each chain takes ε times a uniform number in [1 − jitter, 1 + jitter], since trajectories of one length can
    come back to where they began: on a linear-Gaussian model this halves the variance of log w.

    Args:
        temperatures: How many, T; 1 is importance sampling without any transition.
        ladder: Where they lie; by default `SigmoidLadder()`.
        leapfrogs: Leapfrog steps of a transition.
        step_size: ε at the start.
        target: Acceptance that it is adapted to.
        growth: Factor on ε where more is accepted.
        shrinkage: Factor on ε where less is accepted.
        bounds: Smallest and largest ε that adaptation gives.
        adapt: When ε is adapted.
        jitter: How far the step of a proposal may be from ε, relative to it; 0: every step is ε.

    Raises:
        ValueError: If a number is out of range.

    References:
        Wu et al. (2017), On the Quantitative Analysis of Decoder-Based Generative Models: target, factors and bounds are those
        of its code, where ε belongs to a chain and follows a running mean. Jitter: Neal (2011), MCMC Using Hamiltonian
        Dynamics, section 3.2.

    Example:
        >>> Annealing(temperatures=100).leapfrogs
        10
    """

    temperatures: int = 1000
    ladder: Ladder = field(default_factory=SigmoidLadder)
    leapfrogs: int = 10
    step_size: float = 0.1
    target: float = 0.65
    growth: float = 1.02
    shrinkage: float = 0.98
    bounds: tuple[float, float] = (1e-4, 0.5)
    adapt: Literal["first", "along", "never"] = "first"
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if self.temperatures < 1 or self.leapfrogs < 1 or self.step_size <= 0 or not 0 < self.target < 1:
            raise ValueError(
                "expected temperatures and leapfrogs of at least 1, step_size > 0 and target in (0, 1), came temperatures="
                f"{self.temperatures}, leapfrogs={self.leapfrogs}, step_size={self.step_size}, target={self.target}"
            )
        if not 0 < self.shrinkage <= 1 <= self.growth or not 0 < self.bounds[0] <= self.bounds[1]:
            raise ValueError(
                "expected 0 < shrinkage <= 1 <= growth and 0 < bounds[0] <= bounds[1], came "
                f"shrinkage={self.shrinkage}, growth={self.growth}, bounds={self.bounds}"
            )
        if not 0 <= self.jitter < 1:
            raise ValueError(f"expected jitter in [0, 1), came {self.jitter}")
        if self.adapt not in ("first", "along", "never"):
            raise ValueError(f"adapt is 'first', 'along' or 'never', came {self.adapt!r}")

    @property
    def evaluations(self) -> int:
        """How often a chain's run evaluates the decoder, nearly always with its gradient, adaptation included.

        Example:
            >>> Annealing().evaluations, Annealing(adapt="never").evaluations
            (13180, 10990)
        """
        first = self.preliminary().evaluations if self.adapt == "first" and self.temperatures > 1 else 0
        return (self.temperatures - 1) * (self.leapfrogs + 1) + 1 + first

    def jittered(self, step_size: Tensor, z: Tensor) -> Tensor:
        """The step of each proposal from ε [B], for chains at z [K, B, L]: [K, B, 1]."""
        u = noise.uniform(z.shape[:-1], z, batch=-1)
        return (step_size * (1 + self.jitter * (2 * u - 1))).unsqueeze(-1)

    def adapted(self, step_size: Tensor, acceptance: Tensor) -> Tensor:
        """ε [B] after a transition that was accepted with these probabilities [K, B]."""
        more = acceptance.mean(0) > self.target
        return torch.where(more, step_size * self.growth, step_size * self.shrinkage).clamp(*self.bounds)

    def preliminary(self) -> "Annealing":
        """The shorter run in which step sizes are adapted."""
        temperatures = max(FEWEST, math.ceil(self.temperatures / SHORTER))
        power = max(1.0, self.temperatures / temperatures)
        growth, shrinkage = self.growth**power, self.shrinkage**power
        return replace(self, temperatures=temperatures, growth=growth, shrinkage=shrinkage, adapt="along")


SHORT = Annealing(100, leapfrogs=5)
"""For chains that only look for a mode, or that only rank observation noises."""
