"""Decoders that ignore z: the distribution of data, dimension by dimension, in the family of a likelihood."""

import math
from collections.abc import Callable

import torch
from torch import Size, Tensor

from uncollapse.distributions import DiscretizedLogistic, Likelihood, Recurrent
from uncollapse.distributions.densities import LOG_2PI
from uncollapse.distributions.fields import LogisticField
from uncollapse.networks.recurrent import END

LogProb = Callable[[Tensor], Tensor]
"""log p(x) in nats: x [N, *shape] to [N], float64."""

CANDIDATES = 500  # rows by which a logistic is chosen for each dimension
SCALES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.4)  # of these candidates, in units of the one that has the data's variance
LEAST = 1e-4  # variance of a dimension, as a share of the mean one: no dimension that is all but constant decides alone


def no_code(likelihood: Likelihood, rows: Tensor) -> LogProb:
    r"""The best decoder that ignores z, fitted to rows of data: :math:`\prod_d p(x_d)` in the family of the likelihood.

    Gaussian (and every other density of real numbers): the mean of each dimension, and one variance for all, or one for each
    where the likelihood has that; never what the likelihood's own sigma is. Discretised logistics: the likeliest location and
    scale of each dimension among a few. Other discrete data: the frequency of each level in each dimension, with one
    observation's weight spread evenly. Sequences of tokens: the frequencies of words, the end among them.

    Args:
        likelihood: Whose family it is.
        rows: Observations [M, *shape] that it is fitted to, at least one.

    Example:
        >>> from uncollapse.distributions import Bernoulli
        >>> from uncollapse.networks import Bias
        >>> p = no_code(Bernoulli(2, Size((3,)), Bias), torch.eye(3))
        >>> [round(v, 3) for v in p(torch.zeros(2, 3)).tolist()]
        [-1.41, -1.41]
    """
    if isinstance(likelihood, Recurrent):
        return _words(likelihood, rows)
    if likelihood.levels is None:
        return _normal(likelihood, rows)
    return _logistic(likelihood, rows) if isinstance(likelihood, DiscretizedLogistic) else _frequencies(likelihood, rows)


def shortfall(likelihood: Likelihood, rows: int) -> float:
    """What the fit to so few rows costs on average: nats by which log p(x) of other observations falls short of the best.

    Half a nat for each fitted number over the number of rows, which is right for many rows.

    Example:
        >>> from uncollapse.distributions import Bernoulli
        >>> from uncollapse.networks import Bias
        >>> shortfall(Bernoulli(2, Size((100,)), Bias), rows=50)
        1.0
    """
    d, levels = likelihood.shape.numel(), likelihood.levels
    if isinstance(likelihood, Recurrent):
        return (likelihood.levels - 1) / (2 * rows)
    if levels is None:
        return (d + (d if _scale_of_each(likelihood) else 1)) / (2 * rows)
    if isinstance(likelihood, DiscretizedLogistic):
        return 2 * d / (2 * rows)
    return d * (levels - 1) / (2 * rows)


def location_and_scale(likelihood: Likelihood, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and standard deviation of real data, the latter [D] where the likelihood has one for each dimension, else []."""
    x = rows.flatten(1).double()
    mean, variance = x.mean(0), x.var(0, correction=0)
    pooled = variance.mean().clamp_min(1e-12)
    return mean, (variance.clamp_min(LEAST * pooled) if _scale_of_each(likelihood) else pooled).sqrt()


def _scale_of_each(likelihood: Likelihood) -> bool:
    """Whether each dimension of real data has a standard deviation of its own."""
    sigma, like = getattr(likelihood, "sigma", None), next(likelihood.parameters(), torch.zeros(()))
    return sigma is not None and sigma(like.new_zeros(likelihood.shape)).dim() > 0


def _normal(likelihood: Likelihood, rows: Tensor) -> LogProb:
    mean, scale = location_and_scale(likelihood, rows)

    def log_prob(x: Tensor) -> Tensor:
        e = (x.flatten(1).double() - mean) / scale
        return (-0.5 * e.square() - scale.log() - 0.5 * LOG_2PI).sum(-1)

    return log_prob


def levels_of(x: Tensor, likelihood: Likelihood) -> Tensor:
    """The number of each level or token, 0 to levels - 1: x [N, *shape] to [N, D]."""
    return likelihood.numbers(x if x.dtype == torch.int64 else x.double()).flatten(1)


def _frequencies(likelihood: Likelihood, rows: Tensor) -> LogProb:
    levels = int(likelihood.levels or 2)
    k = levels_of(rows, likelihood)
    counts = torch.zeros(k.shape[1], levels, dtype=torch.double, device=k.device)
    counts.scatter_add_(1, k.T, counts.new_ones(k.T.shape))
    log_p = ((counts + 1 / levels) / (len(k) + 1)).log()
    return lambda x: log_p.gather(1, levels_of(x, likelihood).T).sum(0)


def _logistic(likelihood: Likelihood, rows: Tensor) -> LogProb:
    """Of each dimension the likeliest of some locations (mean, median) and scales."""
    levels, x = int(likelihood.levels or 2), rows.flatten(1).double()
    usual = x.std(0, correction=0).clamp_min(0.1 / levels) * math.sqrt(3) / math.pi
    found = []
    for loc in (x.mean(0), x.median(0).values):
        for factor in SCALES:
            log_scale = (factor * usual).log().clamp(-7.0, 7.0)
            found.append((_by_dimension(loc, log_scale, levels)(x[:CANDIDATES]).mean(0), loc, log_scale))
    scores, locs, log_scales = (torch.stack(column) for column in zip(*found, strict=True))
    best = scores.argmax(0, keepdim=True)
    log_prob = _by_dimension(locs.gather(0, best)[0], log_scales.gather(0, best)[0], levels)
    return lambda x: log_prob(x.flatten(1).double()).sum(-1)


def _by_dimension(loc: Tensor, log_scale: Tensor, levels: int) -> LogProb:
    """log P of each dimension: x [N, D] to [N, D]."""
    field = LogisticField(loc.unsqueeze(-1), log_scale.unsqueeze(-1), levels, Size((1,)))
    return lambda x: field.log_prob(x.unsqueeze(-1))


def word_counts(x: Tensor, likelihood: Recurrent) -> Tensor:
    """How often each word stands in each sequence, the first end counted and nothing after it: [N, *shape] to [N, levels]."""
    k = levels_of(x, likelihood)
    ended = torch.zeros_like(k, dtype=torch.bool)
    if likelihood.ends:
        ended[:, 1:] = (k == END)[:, :-1].cummax(1).values
    counts = torch.zeros(len(k), likelihood.levels, dtype=torch.double, device=k.device)
    return counts.scatter_add_(1, k, (~ended).double())


def _words(likelihood: Recurrent, rows: Tensor) -> LogProb:
    counts = word_counts(rows, likelihood).sum(0)
    log_p = ((counts + 1 / len(counts)) / (counts.sum() + 1)).log()
    return lambda x: word_counts(x, likelihood) @ log_p
