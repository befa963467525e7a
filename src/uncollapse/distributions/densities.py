"""torch Distributions over latents: unvalidated, few kernels, their noise drawn by global row (see `uncollapse.noise`)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.distributions import Distribution, MultivariateNormal, constraints

from uncollapse import noise

LOG_2PI = math.log(2 * math.pi)


def wide(x: Tensor) -> Tensor:
    """Half precision as float32, anything else as it is: no density is computed of, or summed in, 8 or 11 bits.

    Example:
        >>> wide(torch.zeros(2, dtype=torch.bfloat16)).dtype, wide(torch.zeros(2, dtype=torch.float64)).dtype
        (torch.float32, torch.float64)
    """
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def without_autocast(x: Tensor) -> torch.autocast:
    """Within it autocast lowers nothing on the device of x: for matrix products, and for other libraries' networks, in a
    density."""
    return torch.autocast(x.device.type, enabled=False)


class Unvalidated(Distribution):
    """A distribution whose values are checked once, at the data's door, and never in a step."""

    arg_constraints: dict[str, Any] = {}

    def __init__(self, batch: Size, event: Size):
        super().__init__(batch, event, validate_args=False)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)


class StandardNormal(Unvalidated):
    """N(0, I) with event shape [L]; `like` says on which device and in which precision."""

    support = constraints.independent(constraints.real, 1)
    has_rsample = True

    def __init__(self, features: int, like: Tensor):
        self.like = like
        super().__init__(Size(), Size((features,)))

    @property
    def mean(self) -> Tensor:
        return self.like.new_zeros(self.event_shape)

    @property
    def variance(self) -> Tensor:
        return self.like.new_ones(self.event_shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return noise.normal(shape, self.like, batch=-2 if len(shape) > 1 else -1)

    def log_prob(self, value: Tensor) -> Tensor:
        return -0.5 * (value.square().sum(-1) + self.event_shape[0] * LOG_2PI)

    def entropy(self) -> Tensor:
        return self.like.new_tensor(0.5 * self.event_shape[0] * (1 + LOG_2PI))


class DiagonalNormal(Unvalidated):
    """N(loc, diag exp(2 log_scale)) with event shape [L]; loc and log_scale [..., L]."""

    support = constraints.independent(constraints.real, 1)
    has_rsample = True

    def __init__(self, loc: Tensor, log_scale: Tensor):
        self.loc, self.log_scale = wide(loc), wide(log_scale)
        self.scale = self.log_scale.exp()
        super().__init__(loc.shape[:-1], loc.shape[-1:])

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        return self.scale.square()

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        eps = noise.normal(shape, self.loc, batch=-2 if len(shape) > 1 else -1)
        return torch.addcmul(self.loc, eps, self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        eps = (value - self.loc) * torch.exp(-self.log_scale)
        return -0.5 * eps.square().sum(-1) - self.log_scale.sum(-1) - 0.5 * self.event_shape[0] * LOG_2PI

    def entropy(self) -> Tensor:
        return self.log_scale.sum(-1) + 0.5 * self.event_shape[0] * (1 + LOG_2PI)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "DiagonalNormal":
        shape = Size(batch_shape) + self.event_shape
        return DiagonalNormal(self.loc.expand(shape), self.log_scale.expand(shape))


class CholeskyNormal(MultivariateNormal):
    """N(loc, S Sᵀ) with a lower triangular S, Σ^(1/2) in z = μ + Σ^(1/2) ε: loc [..., L], scale_tril [..., L, L]."""

    def __init__(self, loc: Tensor, scale_tril: Tensor):
        super().__init__(wide(loc), scale_tril=wide(scale_tril), validate_args=False)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        eps = noise.normal(shape, self.loc, batch=-2 if len(shape) > 1 else -1)
        with without_autocast(eps):
            return self.loc + torch.einsum("...ij,...j->...i", self._unbroadcasted_scale_tril, eps)

    def log_prob(self, value: Tensor) -> Tensor:
        with without_autocast(value):
            return super().log_prob(wide(value))


class Squeezed(Unvalidated):
    r"""A distribution over R^L squeezed into an interval, unit by unit.

    .. math:: z = a + (b - a) \operatorname{sigmoid}(u), \quad u \sim q_0, \qquad
              \log q(z) = \log q_0(u) - \sum_l \log\left[(b - a) \operatorname{sigmoid}(u_l) \operatorname{sigmoid}(-u_l)\right]

    Near the ends many u round to one z, so a draw's density is that of the u which made it: `rsample_and_log_prob`, or
    `log_prob_of`. `log_prob` is the density at z itself, of a z that was drawn elsewhere.

    Args:
        base: q₀ of u, batch shape [B] or [], event shape [L].
        low: Lower end a of the interval.
        high: Upper end b of the interval.
    """

    has_rsample = True

    def __init__(self, base: Distribution, low: float, high: float):
        super().__init__(base.batch_shape, base.event_shape)
        self.base, self.low, self.high = base, low, high

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.interval(self.low, self.high), 1)

    def image(self, u: Tensor) -> Tensor:
        """z of u, in the open interval: u [..., L] to [..., L]. Each half of it is measured from its own end."""
        width = self.high - self.low
        z = torch.where(u < 0, self.low + width * torch.sigmoid(u), self.high - width * torch.sigmoid(-u))
        return z.clamp(*inside(self.low, self.high, u))

    def log_prob_of(self, u: Tensor) -> Tensor:
        """log q(z) of the z that u makes, in nats: u [..., L] to [...]."""
        ladj = math.log(self.high - self.low) + F.logsigmoid(u) + F.logsigmoid(-u)
        return self.base.log_prob(u) - ladj.sum(-1)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self.image(self.base.rsample(sample_shape))

    def rsample_and_log_prob(self, sample_shape: Any = torch.Size()) -> tuple[Tensor, Tensor]:
        """Draws and their log density, by the u that they are made of."""
        u = self.base.rsample(sample_shape)
        return self.image(u), self.log_prob_of(u)

    def rounded(self, z: Tensor) -> float:
        """The share of latents z that are an end's outermost number, which stands for many u."""
        low, high = (z.new_tensor(end) for end in inside(self.low, self.high, z))
        return float(((z <= low) | (z >= high)).double().mean())

    def log_prob(self, value: Tensor) -> Tensor:
        below, above = (value - self.low).log(), (self.high - value).log()
        ladj = below + above - math.log(self.high - self.low)
        return self.base.log_prob(below - above) - ladj.sum(-1)


class SqueezedNormal(Squeezed):
    """The logit-normal, low + (high - low) sigmoid(u) with u ~ N(loc, diag exp(2 log_scale)); loc and log_scale [..., L]."""

    def __init__(self, loc: Tensor, log_scale: Tensor, low: float, high: float):
        base = DiagonalNormal(loc, log_scale)
        super().__init__(base, low, high)
        self.loc, self.log_scale = base.loc, base.log_scale

    @property
    def mean(self) -> Tensor:
        return squeezed_mean(self.loc, self.log_scale, self.low, self.high)


def squeezed_mean(loc: Tensor, log_scale: Tensor, low: float, high: float) -> Tensor:
    """The mean of low + (high - low) sigmoid(u), u ~ N(loc, exp(2 log_scale)), unit by unit.

    By the trapezoid rule over ± 8 standard deviations in steps of an eighth: to 1e-8 of the interval for scales up to e².
    """
    steps = torch.linspace(-8.0, 8.0, 129, dtype=loc.dtype, device=loc.device)
    weights = torch.exp(-0.5 * steps.square())
    u = loc.unsqueeze(-1) + log_scale.exp().unsqueeze(-1) * steps
    return low + (high - low) * (torch.sigmoid(u) * (weights / weights.sum())).sum(-1)


def inside(low: float, high: float, like: Tensor) -> tuple[float, float]:
    """The outermost numbers of an open interval that a tensor's type holds.

    Example:
        >>> inside(0.0, 1.0, torch.zeros(()))
        (1.1754943508222875e-38, 0.9999999403953552)
    """
    ends = torch.tensor((low, high), dtype=like.dtype)
    first, last = torch.nextafter(ends, ends.flip(0)).tolist()
    tiny = torch.finfo(like.dtype).tiny  # an end at 0 has no smaller number beside it that every processor keeps
    return max(first, low + tiny), min(last, high - tiny)
