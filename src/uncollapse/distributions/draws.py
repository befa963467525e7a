"""A draw together with its log density, so that no flow inverts what it has just drawn."""

from torch import Size, Tensor
from torch.distributions import Distribution


def draw(q: Distribution, shape: Size = Size()) -> tuple[Tensor, Tensor]:
    r"""Draws :math:`z \sim q` and :math:`\log q(z)`, or the bound in its place, in nats.

    A distribution that states the two together (`rsample_and_log_prob`: flows, hierarchical and semi-implicit posteriors) is
    asked for both at once. The draws have a gradient where q is reparameterised.

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
