r"""The f-divergences as games, by their convex conjugates.

.. math:: D_f(p \,\|\, q) = \mathbb E_q\left[f\left(\tfrac pq\right)\right]
          = \sup_T \; \mathbb E_p[T] - \mathbb E_q[f^*(T)], \qquad f^*(s) = \sup_u \; u s - f(u)

p are the real ones and q the fakes; :math:`T = g(a)` is the critic's logit under an activation into the domain of f*, so that
every critic gives a lower bound.
"""

from abc import abstractmethod
from math import log
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from uncollapse.divergences.games import Game


class FDivergence(Game):
    r"""A game whose value is an f-divergence: the critic raises the bound, the maker of the fakes lowers it.

    Args:
        saturating: Whether the maker of the fakes minimises its own share of the bound, :math:`-f^*(T)`, as in the zero-sum
            game; else :math:`-T`, whose gradient stays where fakes are told apart easily.

    References:
        Nowozin, Cseke and Tomioka (2016), f-GAN, equations 4 and 6, tables 1 and 2, section 3.2.
    """

    def __init__(self, saturating: bool = True):
        self.saturating = saturating

    @abstractmethod
    def f(self, u: Tensor) -> Tensor:
        """f of a density ratio u = p / q; f(1) = 0."""

    @abstractmethod
    def activation(self, a: Tensor) -> Tensor:
        """T of the critic's logit, which is positive where p is larger."""

    @abstractmethod
    def conjugate(self, a: Tensor) -> Tensor:
        """f*(T) at T = activation(a), in one expression, so that nothing overflows on the way."""

    @abstractmethod
    def optimum(self, u: Tensor) -> Tensor:
        """The logit of the optimal critic where the density ratio is u: there T = f'(u)."""

    def bound(self, real: Tensor, fake: Tensor) -> Tensor:
        """The lower bound of the divergence for each pair of logits, in nats."""
        return self.activation(real) - self.conjugate(fake)

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return -self.bound(real, fake)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -self.conjugate(fake) if self.saturating else -self.activation(fake)

    def inference(self, real: Tensor) -> Tensor:
        return self.activation(real) if self.saturating else self.conjugate(real)


class KL(FDivergence):
    r"""KL(real ‖ fake), :math:`f(u) = u \log u`, with :math:`T = 1 + a` and :math:`f^*(T) = e^a`.

    Example:
        >>> u = torch.tensor(2.0)
        >>> a = KL().optimum(u)
        >>> round(float(u * KL().activation(a) - KL().conjugate(a) - KL().f(u)), 5) + 0.0
        0.0
    """

    divergence: ClassVar[str] = "KL(p ‖ q)"

    def f(self, u: Tensor) -> Tensor:
        return torch.xlogy(u, u)

    def activation(self, a: Tensor) -> Tensor:
        return 1 + a

    def conjugate(self, a: Tensor) -> Tensor:
        return a.exp()

    def optimum(self, u: Tensor) -> Tensor:
        return u.log()


class ReverseKL(FDivergence):
    r"""KL(fake ‖ real), :math:`f(u) = -\log u`, with :math:`T = -e^{-a}` and :math:`f^*(T) = a - 1`.

    Example:
        >>> float(ReverseKL().conjugate(torch.tensor(0.5)))
        -0.5
    """

    divergence: ClassVar[str] = "KL(q ‖ p)"

    def f(self, u: Tensor) -> Tensor:
        return -u.log()

    def activation(self, a: Tensor) -> Tensor:
        return -(-a).exp()

    def conjugate(self, a: Tensor) -> Tensor:
        return a - 1

    def optimum(self, u: Tensor) -> Tensor:
        return u.log()


class Pearson(FDivergence):
    r"""The Pearson χ² divergence, :math:`f(u) = (u - 1)^2`, with :math:`T = a` and :math:`f^*(T) = a + a^2 / 4`.

    Example:
        >>> float(Pearson().conjugate(torch.tensor(2.0)))
        3.0
    """

    logistic: ClassVar[bool] = False
    divergence: ClassVar[str] = "χ²(p ‖ q)"

    def f(self, u: Tensor) -> Tensor:
        return (u - 1).square()

    def activation(self, a: Tensor) -> Tensor:
        return a

    def conjugate(self, a: Tensor) -> Tensor:
        return a + 0.25 * a.square()

    def optimum(self, u: Tensor) -> Tensor:
        return 2 * (u - 1)


class Hellinger(FDivergence):
    r"""The squared Hellinger distance, :math:`f(u) = (\sqrt u - 1)^2`; :math:`T = 1 - e^{-a}` and :math:`f^*(T) = e^a - 1`.

    Example:
        >>> float(Hellinger().f(torch.tensor(4.0)))
        1.0
    """

    logistic: ClassVar[bool] = False
    divergence: ClassVar[str] = "H²(p, q)"

    def f(self, u: Tensor) -> Tensor:
        return (u.sqrt() - 1).square()

    def activation(self, a: Tensor) -> Tensor:
        return -torch.expm1(-a)

    def conjugate(self, a: Tensor) -> Tensor:
        return torch.expm1(a)

    def optimum(self, u: Tensor) -> Tensor:
        return 0.5 * u.log()


class JensenShannon(FDivergence):
    r"""Twice the Jensen-Shannon divergence, :math:`f(u) = u \log u - (u + 1) \log \tfrac{u + 1}2`, with
    :math:`T = \log 2 + \log \sigma(a)` and :math:`f^*(T) = -\log 2 - \log \sigma(-a)`: the minimax game plus log 4.

    Example:
        >>> a = torch.tensor(0.0)
        >>> round(float(JensenShannon().bound(a, a)), 4) + 0.0
        0.0
    """

    divergence: ClassVar[str] = "2 JSD(p, q)"

    def f(self, u: Tensor) -> Tensor:
        return torch.xlogy(u, u) - (u + 1) * ((u + 1) / 2).log()

    def activation(self, a: Tensor) -> Tensor:
        return log(2) - F.softplus(-a)

    def conjugate(self, a: Tensor) -> Tensor:
        return F.softplus(a) - log(2)

    def optimum(self, u: Tensor) -> Tensor:
        return u.log()
