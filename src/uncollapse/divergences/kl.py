"""The Kullback-Leibler divergence KL(q ‖ p) in closed form, unit by unit where q and p factorise."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence, register_kl
from torch.distributions import kl as torch_kl

from uncollapse.distributions.densities import CholeskyNormal, DiagonalNormal, StandardNormal


def kl_units(q: Distribution, p: Distribution) -> Tensor | None:
    r"""KL(q ‖ p) of each latent unit in nats, or of all as one group, in closed form; None where there is no closed form.

    Args:
        q: Batch shape [B], event shape [L].
        p: Batch shape [], event shape [L].

    Returns:
        [B, L] where both factorise, [B, 1] otherwise. Its sum over the last dimension is KL(q ‖ p).

    Example:
        >>> q = DiagonalNormal(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2))
        >>> kl_units(q, StandardNormal(2, torch.zeros(())))
        tensor([[0.0000, 0.5000]])
    """
    by_unit = _BY_UNIT.get((type(q), type(p)))
    if by_unit is not None:
        return by_unit(q, p)
    return kl_divergence(q, p).unsqueeze(-1) if has_closed_form(q, p) else None


def has_closed_form(q: Distribution, p: Distribution) -> bool:
    """Whether KL(q ‖ p) has a closed form here.

    Example:
        >>> has_closed_form(DiagonalNormal(torch.zeros(1, 2), torch.zeros(1, 2)), StandardNormal(2, torch.zeros(())))
        True
    """
    return torch_kl._dispatch_kl(type(q), type(p)) is not NotImplemented


def _diagonal_standard(q: DiagonalNormal, p: StandardNormal) -> Tensor:
    return torch.addcmul(q.loc.square() - 1, q.scale, q.scale) * 0.5 - q.log_scale


def _diagonal_diagonal(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    scaled = (q.loc - p.loc) * torch.exp(-p.log_scale)
    return 0.5 * (scaled.square() + (2 * (q.log_scale - p.log_scale)).exp() - 1) + p.log_scale - q.log_scale


_BY_UNIT: dict[tuple[type, type], Callable[..., Tensor]] = {
    (DiagonalNormal, StandardNormal): _diagonal_standard,
    (DiagonalNormal, DiagonalNormal): _diagonal_diagonal,
}


def _factorised(q: DiagonalNormal, p: StandardNormal | DiagonalNormal) -> Tensor:
    return _BY_UNIT[type(q), type(p)](q, p).sum(-1)


def _cholesky_standard(q: CholeskyNormal, p: StandardNormal) -> Tensor:
    tril = q._unbroadcasted_scale_tril
    trace = tril.square().sum((-2, -1))
    log_det = 2 * tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return 0.5 * (trace + q.loc.square().sum(-1) - q.event_shape[0] - log_det)


register_kl(DiagonalNormal, StandardNormal)(_factorised)
register_kl(DiagonalNormal, DiagonalNormal)(_factorised)
register_kl(CholeskyNormal, StandardNormal)(_cholesky_standard)
