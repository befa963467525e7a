"""Penalties on a critic's gradient: what keeps it smooth, so that its word has a direction."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from uncollapse import noise
from uncollapse.divergences.critics import Things
from uncollapse.parts import Part
from uncollapse.schedules import Schedule, nonnegative

Judge = Callable[[Things], Tensor]
"""The critic's logits of things [B, *shape]: [B / m] with packs of m."""


class Judged(NamedTuple):
    """Things and what the critic said of them."""

    things: Things  # [B, *shape] each; with a graph of their own they keep it
    logits: Tensor  # [B / m] with packs of m

    @classmethod
    def by(cls, judge: Judge, things: Things) -> "Judged":
        """Judge things, so that the logits' gradient for them can be asked for."""
        with torch.enable_grad():
            leaves = tuple(x if x.requires_grad else x.detach().requires_grad_() for x in things)
            return cls(leaves, judge(leaves))

    def squared_gradient(self) -> Tensor:
        """The squared norm of each logit's gradient for all that it saw, differentiable: [B / m]."""
        gradients = torch.autograd.grad(self.logits.sum(), self.things, create_graph=True)
        rows = torch.stack([g.square().flatten(1).sum(1) for g in gradients]).sum(0)
        return rows.reshape(len(self.logits), -1).sum(1)


class Penalty(Part, ABC):
    """A number for each logit that a critic's loss is raised by."""

    @abstractmethod
    def __call__(self, judge: Judge, real: Judged, fake: Judged, t: Tensor | float = 0.0) -> Tensor:
        """The penalty at step t for each pack: [B / m]."""


class R1(Penalty):
    r"""The squared gradient at real observations, :math:`\tfrac\gamma2 \lVert \nabla_x a(x_{\mathrm{real}}) \rVert^2`.

    With an augmentation T the logit is :math:`a(T(x))`, and the gradient is with respect to the image x itself, through T: as
    in StyleGAN2-ADA, in the authors' own StyleGAN2 with DiffAugment, and in R3GAN. `R2` and `GradientPenalty` likewise.

    Args:
        gamma: Weight γ, a number or a schedule.

    References:
        Mescheder, Geiger and Nowozin (2018), Which Training Methods for GANs do actually Converge?, equation 9; with an
        augmentation: Karras et al. (2020), Training Generative Adversarial Networks with Limited Data, and its code.

    Example:
        >>> judge = lambda things: things[0].sum(-1)
        >>> float(R1(gamma=2.0)(judge, *2 * [Judged.by(judge, (torch.zeros(1, 4),))]))
        4.0
    """

    def __init__(self, gamma: float | Schedule = 1.0):
        self.gamma = _weight("gamma", gamma)

    def __call__(self, judge: Judge, real: Judged, fake: Judged, t: Tensor | float = 0.0) -> Tensor:
        return 0.5 * self.gamma(t) * real.squared_gradient()


class R2(Penalty):
    r"""The squared gradient at fakes, :math:`\tfrac\gamma2 \lVert \nabla_x a(x_{\mathrm{fake}}) \rVert^2`.

    Args:
        gamma: Weight γ, a number or a schedule.

    References:
        Mescheder, Geiger and Nowozin (2018), equation 10; Huang et al. (2024), section 3.2 (both R1 and R2), whose γ falls.

    Example:
        >>> judge = lambda things: things[0].sum(-1)
        >>> float(R2(gamma=2.0)(judge, *2 * [Judged.by(judge, (torch.zeros(1, 4),))]))
        4.0
    """

    def __init__(self, gamma: float | Schedule = 1.0):
        self.gamma = _weight("gamma", gamma)

    def __call__(self, judge: Judge, real: Judged, fake: Judged, t: Tensor | float = 0.0) -> Tensor:
        return 0.5 * self.gamma(t) * fake.squared_gradient()


class GradientPenalty(Penalty):
    r"""The gradient's distance from norm 1 between real and fake, of a Wasserstein critic.

    .. math:: \lambda \left(\lVert \nabla_{\hat x} a(\hat x) \rVert - 1\right)^2, \quad
              \hat x = u x_{\mathrm{real}} + (1 - u) x_{\mathrm{fake}}, \quad u \sim \mathcal U(0, 1)

    Args:
        lam: Weight λ.

    References:
        Gulrajani et al. (2017), Improved Training of Wasserstein GANs, equation 3.

    Example:
        >>> judge = lambda things: things[0].sum(-1)
        >>> float(GradientPenalty(lam=10.0)(judge, *2 * [Judged.by(judge, (torch.zeros(1, 4),))]))
        10.0
    """

    def __init__(self, lam: float = 10.0):
        self.lam = _positive("lam", lam)

    def __call__(self, judge: Judge, real: Judged, fake: Judged, t: Tensor | float = 0.0) -> Tensor:
        u = noise.uniform(real.things[0].shape[:1], real.things[0])
        between = tuple(
            torch.lerp(b, a, u.reshape(-1, *[1] * (a.dim() - 1))) for a, b in zip(real.things, fake.things, strict=True)
        )
        norm = (Judged.by(judge, between).squared_gradient() + 1e-12).sqrt()  # the root has no gradient at 0
        return self.lam * (norm - 1).square()


def _weight(name: str, value: float | Schedule) -> Schedule:
    return nonnegative(name, value if isinstance(value, Schedule) else _positive(name, value), "leave the penalty out for none")


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"expected {name} above 0, came {value}; leave the penalty out for none")
    return value
