"""A draw together with its log density, so that no flow inverts what it has just drawn, and no rounding of it is scored."""

from typing import NamedTuple

from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse.distributions.densities import Squeezed


class Scored(NamedTuple):
    """Draws with their log densities under two distributions, in nats."""

    z: Tensor  # [*shape, B, L]
    log_q: Tensor  # [*shape, B]
    log_p: Tensor  # [*shape, B]


def draw(q: Distribution, shape: Size = Size()) -> tuple[Tensor, Tensor]:
    r"""Draws :math:`z \sim q` and :math:`\log q(z)`, or the bound in its place, in nats.

    A distribution that states the two together (`rsample_and_log_prob`: flows, logit-normals, hierarchical and semi-implicit
    posteriors) is asked for both at once. The draws have a gradient where q is reparameterised.

    Args:
        q: Batch shape [B] or [], event shape [L].
        shape: Shape in front, [K] or [].

    Returns:
        z [*shape, B, L] and log q(z) [*shape, B].

    Example:
        >>> import torch
        >>> from uncollapse.distributions.densities import StandardNormal
        >>> _ = torch.manual_seed(0)
        >>> z, log_q = draw(StandardNormal(2, torch.zeros(())), Size((3,)))
        >>> z.shape, log_q.shape
        (torch.Size([3, 2]), torch.Size([3]))
    """
    together = getattr(q, "rsample_and_log_prob", None)
    if together is not None:
        z, log_q = together(shape)
        return z, log_q
    z = q.rsample(shape) if q.has_rsample else q.sample(shape)
    return z, q.log_prob(z)


def draw_scored(q: Distribution, p: Distribution, shape: Size = Size()) -> Scored:
    r"""Draws :math:`z \sim q` with :math:`\log q(z)` and :math:`\log p(z)`.

    Of two squeezed distributions (`Squeezed`) both are of the u that made z, which z itself no longer tells where it is rounded
    to an end of its interval.

    Example:
        >>> import torch
        >>> from uncollapse.distributions.densities import SqueezedNormal
        >>> _ = torch.manual_seed(0)
        >>> q, p = (SqueezedNormal(torch.full((1,), mu), torch.zeros(1), -1.0, 1.0) for mu in (50.0, 49.0))
        >>> found = draw_scored(q, p, Size((10000,)))
        >>> bool(found.z.max() < 1), round(float((found.log_q - found.log_p).mean()), 1)
        (True, 0.5)
    """
    if isinstance(q, Squeezed) and isinstance(p, Squeezed):
        return score(q, p, start(q, shape))
    z, log_q = draw(q, shape)
    return Scored(z, log_q, p.log_prob(z))


def start(q: Distribution, shape: Size = Size()) -> Tensor:
    """What a draw of q is made of where its density is of that, the u of a squeezed distribution; else the draw itself."""
    return (q.base if isinstance(q, Squeezed) else q).rsample(shape)


def score(q: Distribution, p: Distribution, at: Tensor) -> Scored:
    """The draw of q that was started `at` (`start`), with its log density under q, maybe another of its family, and under p."""
    if not isinstance(q, Squeezed):
        return Scored(at, q.log_prob(at), p.log_prob(at))
    z = q.image(at)
    return Scored(z, q.log_prob_of(at), p.log_prob_of(at) if isinstance(p, Squeezed) else p.log_prob(z))
