"""Hamiltonian Monte Carlo on any log density, many chains at once."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Size, Tensor, nn

from uncollapse import noise
from uncollapse.parts import Part
from uncollapse.processes import mean_over_processes

LogDensity = Callable[[Tensor], Tensor]
"""log p(z) in nats up to a constant, of each chain: z [..., L] to [...], differentiable."""


class Point(NamedTuple):
    """Where chains are, and what is known there."""

    z: Tensor  # [..., L]
    log_density: Tensor  # [...]
    gradient: Tensor  # of it for z, [..., L]

    @classmethod
    def of(cls, log_density: LogDensity, z: Tensor) -> "Point":
        """Look up density and gradient at z; nothing is differentiated through."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            value = log_density(z)
            (gradient,) = torch.autograd.grad(value.sum(), z)
        return cls(z.detach(), value.detach(), gradient)


def leapfrog(log_density: LogDensity, start: Point, r: Tensor, step_size: Tensor | float, steps: int) -> tuple[Point, Tensor]:
    r"""Follow Hamilton's equations of :math:`H(z, r) = -\log p(z) + \tfrac12 \lVert r \rVert^2` for `steps` steps of size ε.

    .. math:: r \leftarrow r + \tfrac\varepsilon2 \nabla \log p(z), \quad z \leftarrow z + \varepsilon r, \quad
              r \leftarrow r + \tfrac\varepsilon2 \nabla \log p(z)

    It keeps volume, it is its own inverse once r is turned round, and its error in H is O(ε²).

    Args:
        log_density: log p.
        start: Where it begins.
        r: Momenta [..., L].
        step_size: ε.
        steps: How many.

    References:
        Neal (2011), MCMC Using Hamiltonian Dynamics, equations 5.18 to 5.20.

    Example:
        >>> normal = lambda z: -0.5 * z.square().sum(-1)
        >>> end, r = leapfrog(normal, Point.of(normal, torch.ones(1)), torch.zeros(1), 0.1, 10)
        >>> [round(float(v), 2) for v in (end.z, torch.cos(torch.tensor(1.0)), r, -torch.sin(torch.tensor(1.0)))]
        [0.54, 0.54, -0.84, -0.84]
    """
    at = start
    for _ in range(steps):
        r = r + 0.5 * step_size * at.gradient
        at = Point.of(log_density, at.z + step_size * r)
        r = r + 0.5 * step_size * at.gradient
    return at, r


def transition(log_density: LogDensity, at: Point, step_size: Tensor | float, leapfrogs: int) -> tuple[Point, Tensor]:
    r"""One transition of Hamiltonian Monte Carlo: a proposal for every chain, taken or not; log p stays as it is.

    A proposal whose energy is not finite is rejected. Nothing is read on the host.

    Args:
        log_density: log p in nats up to a constant, of each chain: [..., L] to [...].
        at: Where the chains are.
        step_size: ε, one for all chains or [..., 1], one for each.
        leapfrogs: Leapfrog steps of the proposal.

    Returns:
        Where they are then, and the probability [...] that each proposal was to be taken.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> normal = lambda z: -0.5 * z.square().sum(-1)
        >>> sizes = torch.tensor([[0.1], [100.0]])
        >>> at, acceptance = transition(normal, Point.of(normal, torch.ones(2, 3)), sizes, leapfrogs=5)
        >>> [round(v, 2) for v in acceptance.tolist()], at.z[1].tolist()
        ([1.0, 0.0], [1.0, 1.0, 1.0])
    """
    r = noise.normal(at.z.shape, at.z, batch=-2 if at.z.dim() > 1 else -1)
    proposal, end = leapfrog(log_density, at, r, step_size, leapfrogs)
    fall = proposal.log_density - at.log_density + 0.5 * (r.square().sum(-1) - end.square().sum(-1))
    acceptance = fall.clamp(max=0).exp().nan_to_num(0.0)
    taken = _uniform(acceptance) < acceptance
    return Point(*(_where(taken, new, old) for new, old in zip(proposal, at, strict=True))), acceptance


class HMC(Part, nn.Module):
    r"""Hamiltonian Monte Carlo with unit mass, for chains that run side by side with one step size.

    .. math:: r \sim \mathcal N(0, I), \quad (z', r') = \operatorname{leapfrog}^L_\varepsilon(z, r), \quad
              z \leftarrow z' \text{ with probability } \min(1, e^{H(z, r) - H(z', r')})

    In train() the step size follows the mean acceptance α of all chains, :math:`\log \varepsilon \leftarrow \log \varepsilon +
    \gamma (\alpha - \alpha^*)`, with a constant γ, since in learning the density moves as well; in eval() it stays, and the
    density is stationary then. It is a buffer, saved with the sampler. Nothing is read on the host. A proposal whose energy is
    not finite is rejected.

    Args:
        leapfrogs: Leapfrog steps L of a transition.
        step_size: ε at the start.
        target: Acceptance α* that the step size is adapted to.
        adaptation: Gain γ; 0: the step size stays.

    Raises:
        ValueError: If a number is out of range.

    References:
        Neal (2011), MCMC Using Hamiltonian Dynamics, section 5.3; adaptation: Andrieu and Thoms (2008), equation 10;
        the target 0.67: Hoffman (2017).

    Example:
        >>> _ = torch.manual_seed(0)
        >>> hmc = HMC(step_size=0.3).eval()
        >>> z, acceptance = hmc(lambda z: -0.5 * (z - 3).square().sum(-1), torch.zeros(1000, 2), transitions=10)
        >>> [round(v) for v in z.mean(0).tolist()], bool(acceptance.mean() > 0.9)
        ([3, 3], True)
    """

    log_step_size: Tensor

    def __init__(self, leapfrogs: int = 5, step_size: float = 0.1, target: float = 0.67, adaptation: float = 0.02):
        super().__init__()
        if leapfrogs < 1 or step_size <= 0 or not 0 < target < 1 or adaptation < 0:
            raise ValueError(
                f"expected leapfrogs >= 1, step_size > 0, target in (0, 1) and adaptation >= 0, came leapfrogs={leapfrogs}, "
                f"step_size={step_size}, target={target}, adaptation={adaptation}"
            )
        self.leapfrogs, self.target, self.adaptation = leapfrogs, target, adaptation
        self.register_buffer("log_step_size", torch.tensor(math.log(step_size)))

    @property
    def step_size(self) -> Tensor:
        """ε as it stands, a 0-d tensor."""
        return self.log_step_size.exp()

    def forward(self, log_density: LogDensity, z: Tensor, transitions: int = 1) -> tuple[Tensor, Tensor]:
        """Run every chain for some transitions.

        Args:
            log_density: log p in nats up to a constant, of each chain: [..., L] to [...].
            z: Where the chains begin, [..., L].
            transitions: How many.

        Returns:
            Where they end [..., L], without a gradient, and each chain's mean acceptance probability [...].
        """
        at = Point.of(log_density, z)
        total = torch.zeros_like(at.log_density)
        for _ in range(transitions):
            at, acceptance = self.transition(log_density, at)
            total += acceptance
        return at.z, total / transitions

    def transition(self, log_density: LogDensity, at: Point) -> tuple[Point, Tensor]:
        """One proposal for every chain, taken or not; and the probability that it was to be taken."""
        at, acceptance = transition(log_density, at, self.step_size.to(at.z), self.leapfrogs)
        self._adapt(acceptance)
        return at, acceptance

    @torch.no_grad()
    def _adapt(self, acceptance: Tensor) -> None:
        if self.training and self.adaptation:
            mean = mean_over_processes(acceptance.mean()).to(self.log_step_size)
            self.log_step_size.add_(self.adaptation * (mean - self.target))


def _uniform(like: Tensor) -> Tensor:
    """A number for each chain, by its row."""
    return noise.uniform(like.shape or Size((1,)), like, batch=-1).reshape(like.shape)


def _where(taken: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """The new value of the chains that took it: [...] decides on [...] or [..., L]."""
    return torch.where(taken if new.dim() == taken.dim() else taken.unsqueeze(-1), new, old)
