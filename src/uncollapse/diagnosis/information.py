"""The information I(x; z) that codes carry under q, by q's own density or by a lower bound; and what decoders score them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from uncollapse.data import Batch, as_batch
from uncollapse.distributions import Chain, draw
from uncollapse.distributions.densities import DiagonalNormal, Squeezed
from uncollapse.distributions.draws import start
from uncollapse.vae import VAE

ESTIMATOR = "aggregated posterior of N observations, one draw each (ceiling log N)"
CONTRAST = "lower bound: N observations told apart by Gaussians of the posteriors' moments, one draw each (ceiling log N)"
BY_DECODER = "lower bound: {k} codes told apart by the decoder (ceiling log {k})"
PASSES = 2**19  # passes of a latent through a flow whose density is slow
OTHERS = 15  # codes of other observations that the decoder is to tell from the own one
CONTRASTED = 256  # observations for which it is to do so
NUMBERS = 2**23  # that a decoder gives at a time


class Estimate(NamedTuple):
    """A mean and its standard error."""

    mean: float
    standard_error: float

    @classmethod
    def of(cls, values: Tensor) -> "Estimate":
        """Of independent values [N]."""
        return cls(float(values.mean()), float(values.std()) / math.sqrt(len(values)))


class Information(NamedTuple):
    """I(x; z) under q in nats."""

    nats: float
    standard_error: float
    ceiling: float  # the largest value that the estimate can take
    is_bound: bool  # a lower bound, which proves nothing where it is small
    estimator: str
    terms: Tensor | None = None  # of each draw, where they are of the draws that the divergence is of


def aggregated(q: Distribution, z: Tensor, budget: int = 2**24) -> tuple[Tensor, Tensor]:
    r"""log q(z_i) for all z [N, L] in nats, at most `budget` numbers at a time, and how many draws each posterior accounts for.

    .. math:: \log q(z_i) = \log \tfrac1N \sum_j q(z_i \mid x_j), \quad
              c_j = \sum_i \frac{q(z_i \mid x_j)}{\sum_k q(z_i \mid x_k)}

    Returns:
        log q(z) [N], and c [N], whose mean is 1: by it the estimate of the information depends on x_j beside its own draw.
    """
    n = q.batch_shape[0]
    rows = max(1, budget // (n * z.shape[-1]))
    log_q, account = [], z.new_zeros(n)
    for part in z.split(rows):
        each = q.log_prob(part.unsqueeze(1))
        log_q.append(each.logsumexp(-1))
        account += each.softmax(-1).sum(0)
    return torch.cat(log_q) - math.log(n), account


def aggregated_log_prob(q: Distribution, z: Tensor, budget: int = 2**24) -> Tensor:
    """log q(z_i) = log 1/N Σ_j q(z_i | x_j) in nats for all z [N, L], at most `budget` numbers at a time: [N]."""
    return aggregated(q, z, budget)[0]


def exact_information(q: Distribution, z: Tensor, log_q: Tensor) -> Information:
    r"""The information by q's own density, :math:`\tfrac1N \sum_i \log q(z_i \mid x_i) - \log q(z_i)`.

    Its standard error is that of the terms less c, since each observation enters by its own draw and by its part of q(z).
    """
    if isinstance(q, Squeezed):  # of the u that a draw is made of: z may be rounded to an end of its interval
        u = start(q)
        return exact_information(q.base, u, q.base.log_prob(u))._replace(terms=None)
    n = len(z)
    log_aggregate, account = aggregated(q, z)
    terms = log_q - log_aggregate
    error = float((terms - account).std()) / math.sqrt(n)
    return Information(float(terms.mean()), error, math.log(n), False, ESTIMATOR, terms)


def information_of_some(model: VAE, batch: Batch, features: int) -> Information:
    """The same on a subset, by a density that takes a pass for each latent (`IAF`, autoregressive splines)."""
    x = batch.x
    n = min(len(x), max(64, min(512, math.isqrt(PASSES // (features + 1)))))
    q = model.infer(batch.rows(torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:n].to(x.device)))
    z, log_q = draw(q)
    found = exact_information(q, z, log_q)
    return found._replace(estimator=ESTIMATOR.replace("N observations", f"{n} observations"), terms=None)


def contrasted_information(matched: DiagonalNormal, z: Tensor) -> Information:
    """A lower bound (InfoNCE) by Gaussians of the posteriors' moments, for a posterior without a density of other draws."""
    found = exact_information(matched, z, matched.log_prob(z))
    return found._replace(is_bound=True, estimator=CONTRAST, terms=None)


def information_by_decoder(model: VAE, z: Tensor, batch: Tensor | Batch) -> Information:
    r"""A lower bound (InfoNCE) by the decoder: how well it tells the code of x among those of other observations.

    .. math:: I(x; z) \ge \mathbb E \log \frac{p(x \mid z)}{\tfrac1K \sum_k p(x \mid z_k)}, \quad z_1 = z
    """
    batch = as_batch(batch)
    x = batch.x
    n, k = min(len(x), CONTRASTED), min(OTHERS, len(x) - 1) + 1
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1)).to(x.device)
    rows = [order[torch.arange(n, device=x.device).add(shift) % len(x)] for shift in range(k)]
    log_p = torch.stack([log_likelihood(model, z[others], batch.rows(rows[0])) for others in rows])
    terms = log_p[0] - log_p.logsumexp(0) + math.log(k)
    return Information(*Estimate.of(terms), math.log(k), True, BY_DECODER.format(k=k))


def log_likelihood(model: VAE, z: Tensor, batch: Tensor | Batch) -> Tensor:
    """log p(x_i|z_i) of pairs, some at a time: z [N, L] and observations [N, *shape] to [N]."""
    parts = list(model.likelihood.modules())
    held = [int(part.width) for part in parts if hasattr(part, "width")]
    rows = max(1, min(500, NUMBERS // max([model.likelihood.shape.numel() * (model.likelihood.levels or 1), *held])))
    batch = as_batch(batch)
    starts = range(0, batch.n, rows)
    return torch.cat([model.log_likelihood(z[i : i + rows], batch.rows(slice(i, i + rows))) for i in starts])


def pairwise(q: Distribution) -> bool:
    """Whether the density of draws of other observations is cheap."""
    return pairwise(q.first) if isinstance(q, Chain) else bool(getattr(q, "pairwise", True))
