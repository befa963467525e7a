"""Planar and radial maps of a latent: invertible by construction, with their log-determinants and inverses."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Transform, constraints
from zuko.utils import bisection

START = math.log(math.e - 1)  # softplus is 1 here


def above_minus_one(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """m(a) = softplus(a + log(e - 1)) - 1, which rises from -1, is 0 at 0 and grows as a does: m, 1 + m and m - a.

    Each is exact to its own precision: 1 + m where m is near -1, m and m - a where a is near 0.
    """
    up, down = a.clamp_min(0), a.clamp_max(0)
    rest = torch.log1p(torch.expm1(-up) / math.e)
    low = torch.log1p(torch.expm1(down) * (1 - 1 / math.e))
    return torch.where(a > 0, a + rest, low), F.softplus(a + START), torch.where(a > 0, rest, low - down)


class VectorTransform(Transform):
    """A differentiable bijection of R^L."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The image of z [..., L] and log |det| of the Jacobian there, [...]."""
        raise NotImplementedError

    def _call(self, z: Tensor) -> Tensor:
        return self.call_and_ladj(z)[0]

    def log_abs_det_jacobian(self, z: Tensor, y: Tensor) -> Tensor:
        return self.call_and_ladj(z)[1]


class PlanarMap(VectorTransform):
    r"""A planar map, a stretch along one direction.

    .. math:: f(z) = z + \hat u \tanh(w^\top z + b), \quad
              \log |\det J| = \log |1 + \hat u^\top w \,(1 - \tanh^2(w^\top z + b))|

    It is invertible where :math:`w^\top \hat u \ge -1`, so of u the part along w is moved:
    :math:`\hat u = u + (m(w^\top u) - w^\top u)\, w / \lVert w \rVert^2` with an m that stays above -1. The paper's m is
    :math:`-1 + \log(1 + e^a)`; here its argument is shifted by :math:`\log(e - 1)`, so that u = 0 is the identity.

    The inverse has no closed form: :math:`\alpha = w^\top z` is the root of the increasing function
    :math:`\alpha + w^\top \hat u \tanh(\alpha + b) = w^\top f(z)`, bisected to the precision of the numbers, and
    :math:`z = f(z) - \hat u \tanh(\alpha + b)`.

    Args:
        u: [..., L].
        w: [..., L].
        b: [...].

    References:
        Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, equations 10 to 12 and appendix A.1.
    """

    def __init__(self, u: Tensor, w: Tensor, b: Tensor):
        super().__init__()
        self.w, self.b = w, b
        along, self.excess, rest = above_minus_one((w * u).sum(-1))
        square = w.square().sum(-1)
        self.u = u + (rest / square.clamp_min(torch.finfo(w.dtype).tiny)).unsqueeze(-1) * w
        self.along = along  # wᵀ û, which is 0 where w is

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        bend = torch.tanh((self.w * z).sum(-1) + self.b)
        square = bend.square()
        return z + self.u * bend.unsqueeze(-1), torch.log(square + (1 - square) * self.excess)

    def _inverse(self, y: Tensor) -> Tensor:
        along, b = self.along, self.b
        target = (self.w * y).sum(-1)
        reach = along.detach().abs()
        steps = 8 - round(math.log2(torch.finfo(y.dtype).eps))
        moved = [v for v in (along, b) if v.requires_grad]
        root = bisection(lambda a: a + along * torch.tanh(a + b), target, target - reach, target + reach, steps, moved)
        return y - self.u * torch.tanh(root + b).unsqueeze(-1)


class RadialMap(VectorTransform):
    r"""A radial map, a stretch or a squeeze around a point.

    .. math:: f(z) = z + \frac{\hat\beta}{\alpha + r} (z - z_0), \quad r = \lVert z - z_0 \rVert, \quad
              \log |\det J| = (L - 1) \log\Big(1 + \frac{\hat\beta}{\alpha + r}\Big)
              + \log\Big(1 + \frac{\hat\beta \alpha}{(\alpha + r)^2}\Big)

    It is invertible where :math:`\hat\beta \ge -\alpha`; here :math:`\hat\beta = \alpha\, m(\beta)` with the m of `PlanarMap`,
    so that β = 0 is the identity. The inverse is in closed form: r is the positive root of
    :math:`r^2 + (\alpha + \hat\beta - r')\, r - \alpha r' = 0` with :math:`r' = \lVert f(z) - z_0 \rVert`.

    Args:
        center: :math:`z_0` [..., L].
        alpha: α [...], above 0.
        beta: β [...], any number.

    References:
        Rezende and Mohamed (2015), equation 14 and appendix A.2.
    """

    def __init__(self, center: Tensor, alpha: Tensor, beta: Tensor):
        super().__init__()
        self.center, self.alpha = center, alpha
        self.m, self.excess, _ = above_minus_one(beta)

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        offset = z - self.center
        near = self.alpha / (self.alpha + torch.linalg.vector_norm(offset, dim=-1))
        across = torch.log1p(-near * (1 - self.excess))
        outward = torch.log1p(-near.square() * (1 - self.excess))
        return z + (self.m * near).unsqueeze(-1) * offset, (z.shape[-1] - 1) * across + outward

    def _inverse(self, y: Tensor) -> Tensor:
        offset = y - self.center
        far = torch.linalg.vector_norm(offset, dim=-1)
        half = 0.5 * (self.alpha * self.excess - far)
        root = torch.sqrt(half.square() + self.alpha * far)
        safe = (half.clamp_min(0) + root).clamp_min(torch.finfo(y.dtype).tiny)
        r = torch.where(half > 0, self.alpha * far / safe, root - half)
        return self.center + offset * ((self.alpha + r) / (self.alpha * self.excess + r)).unsqueeze(-1)
