"""How much a code could tell of data: what simple codes, clusters and principal components, tell and gain."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from uncollapse.data import Data
from uncollapse.diagnosis.mixture_fits import Clusters, count_clusters, gaussian_clusters
from uncollapse.diagnosis.no_code import LogProb, levels_of, location_and_scale, no_code, shortfall, word_counts
from uncollapse.distributions import Likelihood, Recurrent
from uncollapse.distributions.densities import LOG_2PI

FEWEST = 50  # training rows that are of use
ROWS = 1000  # that codes are fitted to
WIDE = 512  # dimensions, or words, that they look at, drawn at random (of words the commonest): what they gain is a part then
CLUSTERS = (2, 4, 8, 16, 32)
FINE = 16  # levels above which discrete data are taken for real numbers
SURE = 2.0  # standard errors that are taken off a gain


class Told(NamedTuple):
    """What the best of the reference codes tells of n observations that it was not fitted to."""

    log_marginal: Tensor  # log p of each observation by the best decoder that ignores z, nats [n]
    nats: float  # what a code could tell: the least of its information and of its gain, at the lower end of the error
    gain: float  # in log p(x), over the same family without a code
    gain_standard_error: float
    code: str  # which
    shortfall: float = 0.0  # of log_marginal, by the few rows that it was fitted to


class Code(NamedTuple):
    """A reference code: log p(x) with it, and the information I(x; code) in nats, of rows [N, M]."""

    name: str
    log_prob: Callable[[Tensor], Tensor]
    information: Callable[[Tensor], float]


class Reference:
    r"""Simple codes fitted to rows of data, and the best decoder that ignores z, beside which a model is judged.

    .. math:: T = \max\Big(0, \min\big\{I(x; c),\;
              \mathbb E[\log p_c(x) - \log p_0(x)] - 2\,\mathrm{se}\big\}\Big)

    for the code c with the largest held-out :math:`\log p_c(x)`: clusters (2 to 32), and of real numbers principal components
    as well (at most as many as the latent has). Both terms count: a code that gains no likelihood is not missed where it is
    not there, and one bit that explains a whole picture is still one bit. Where no code gains, T = 0: these codes found nothing
    to tell.

    Args:
        likelihood: Whose data they are.
        rows: Observations [M, *shape], some hundreds or more; the first thousand are looked at.

    References:
        Tipping and Bishop (1999), Probabilistic Principal Component Analysis; the gain of a code over independent dimensions is
        what it takes off their total correlation (Watanabe, 1960).

    Example:
        >>> from uncollapse.distributions import Bernoulli
        >>> from uncollapse.networks import Bias
        >>> bit = torch.arange(400).remainder(2).unsqueeze(-1)
        >>> found = Reference(Bernoulli(2, torch.Size((5,)), Bias), bit.expand(-1, 5).float()).of(bit.expand(-1, 5).float())
        >>> round(found.nats, 2), round(found.gain, 1)
        (0.69, 2.7)
    """

    def __init__(self, likelihood: Likelihood, rows: Tensor):
        self.marginal: LogProb = no_code(likelihood, rows)
        self.shortfall = shortfall(likelihood, len(rows))
        self.view, self.codes = _codes(likelihood, rows[:ROWS])

    @classmethod
    def crossed(cls, likelihood: Likelihood, x: Tensor) -> Told:
        """The same of observations alone: each half is judged by what was fitted to the other."""
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).to(x.device)
        halves = order.chunk(2)
        found = [cls(likelihood, x[fit])._seen(x[held]) for held, fit in (halves, halves[::-1])]
        back = torch.cat(halves).argsort()
        names = [name for name in found[0][1] if name in found[1][1]]
        log_p = {name: torch.cat([codes[name][0] for _, codes in found])[back] for name in names}
        information = {name: sum(codes[name][1] for _, codes in found) / 2 for name in names}
        best = _best(torch.cat([own for own, _ in found])[back], {name: (log_p[name], information[name]) for name in names})
        return best._replace(shortfall=shortfall(likelihood, len(x) // 2))

    def of(self, x: Tensor) -> Told:
        """What these codes tell of observations x [N, *shape]."""
        return _best(*self._seen(x))._replace(shortfall=self.shortfall)

    def _seen(self, x: Tensor) -> tuple[Tensor, dict[str, tuple[Tensor, float]]]:
        """log p without a code [N], and of each code its log p [N] and information; the first is no code."""
        rows = self.view(x)
        return self.marginal(x), {code.name: (code.log_prob(rows).double(), code.information(rows)) for code in self.codes}


def _best(log_marginal: Tensor, codes: dict[str, tuple[Tensor, float]]) -> Told:
    """The code with the largest log p, against none, which is the first."""
    none, *names = codes
    if not names:
        return Told(log_marginal, 0.0, 0.0, 0.0, none)
    name = max(names, key=lambda name: float(codes[name][0].mean()))
    gains = codes[name][0] - codes[none][0]
    gain, error = float(gains.mean()), float(gains.std()) / math.sqrt(len(gains))
    nats = max(0.0, min(codes[name][1], gain - SURE * error))
    return Told(log_marginal, nats if math.isfinite(nats) else 0.0, gain, error, name)


def _codes(likelihood: Likelihood, rows: Tensor) -> tuple[Callable[[Tensor], Tensor], list[Code]]:
    """How observations become rows of numbers, and codes of these; the first tells nothing."""
    if isinstance(likelihood, Recurrent):
        view = _commonest(likelihood, rows)
        return view, _of_counts(view(rows), groups=1)
    dimensions = torch.arange(likelihood.shape.numel())
    if len(dimensions) > WIDE:
        dimensions = torch.randperm(len(dimensions), generator=torch.Generator().manual_seed(0))[:WIDE]
    dimensions = dimensions.to(rows.device)
    levels = likelihood.levels
    if levels is not None and levels <= FINE:

        def one_hot(x: Tensor) -> Tensor:
            return torch.nn.functional.one_hot(levels_of(x, likelihood)[:, dimensions], levels).flatten(1).float()

        return one_hot, _of_counts(one_hot(rows), groups=len(dimensions))
    mean, scale = location_and_scale(likelihood, rows)
    mean, scale = mean[dimensions], scale[dimensions] if scale.dim() else scale
    rounding = 0.0 if levels is None else float((1 / (levels - 1) / scale).square().max()) / 12

    def standardised(x: Tensor) -> Tensor:
        return (x.flatten(1)[:, dimensions].double() - mean) / scale

    return standardised, _of_reals(standardised(rows), likelihood.features, max(1e-4, rounding))


def _commonest(likelihood: Recurrent, rows: Tensor) -> Callable[[Tensor], Tensor]:
    """Counts of the commonest words, and of all others together."""
    kept = word_counts(rows, likelihood).sum(0).argsort(descending=True)[:WIDE]

    def view(x: Tensor) -> Tensor:
        counts = word_counts(x, likelihood)
        return torch.cat((counts[:, kept], counts.sum(-1, keepdim=True) - counts[:, kept].sum(-1, keepdim=True)), -1).float()

    return view


def _sizes(n: int) -> list[int]:
    """How many clusters so many rows bear."""
    return [k for k in CLUSTERS if 10 * k <= n]


def _clustered(name: str, found: Clusters) -> Code:
    return Code(name, found.log_prob, found.information)


def _of_counts(counts: Tensor, groups: int) -> list[Code]:
    fits = {k: count_clusters(counts, k, groups) for k in (1, *_sizes(len(counts)))}
    return [_clustered("none" if k == 1 else f"{k} clusters", found) for k, found in fits.items()]


def _of_reals(x: Tensor, latent: int, least: float) -> list[Code]:
    """Of rows [N, M] in units of their own standard deviation."""
    clusters = {k: gaussian_clusters(x, k, tied=True, least=least) for k in _sizes(len(x))}
    components = [1, *(k for k in (2, 4, 8, 16, 32) if k < latent), latent]
    most = min(x.shape[1] - 1, len(x) // 3)
    axes, variances = _principal(x)
    pca = [_pca(axes, variances, k, x.shape[1], least) for k in sorted(set(components)) if k <= most]
    none = Code("none", lambda y: -0.5 * (y.square() + LOG_2PI).sum(-1), lambda y: 0.0)
    return [none, *(_clustered(f"{k} clusters", found) for k, found in clusters.items()), *pca]


def _principal(x: Tensor) -> tuple[Tensor, Tensor]:
    """Principal axes [M, R] and the variances along all of them [R], the largest first."""
    centred = x - x.mean(0)
    _, scales, axes = torch.linalg.svd(centred, full_matrices=False)
    return axes.T, scales.square() / len(x)


def _pca(axes: Tensor, variances: Tensor, k: int, m: int, least: float) -> Code:
    """Probabilistic PCA with k components, of rows of mean zero."""
    noise = (variances.sum() - variances[:k].sum()).div(m - k).clamp_min(least)
    top, axes = torch.maximum(variances[:k], noise), axes[:, :k]
    constant = top.log().sum() + (m - k) * noise.log() + m * LOG_2PI

    def log_prob(x: Tensor) -> Tensor:
        along = (x @ axes).square()
        return -0.5 * ((along / top).sum(-1) + (x.square().sum(-1) - along.sum(-1)) / noise + constant)

    def information(x: Tensor) -> float:
        """By the variances of these very rows: those of the fit are too large along axes that it chose for that."""
        return float(0.5 * ((x @ axes).square().mean(0) / noise).clamp_min(1).log().sum())

    return Code(f"{k} principal component{'s' if k > 1 else ''}", log_prob, information)


def training_rows(data: Data, like: Tensor) -> Tensor | None:
    """Training observations [M, *shape] that the diagnosis compares with, on the device and in the type of `like`.

    None where there are too few: then it compares with the observations that it looks at.
    """
    source = data.train.to(like.device, like.dtype)
    return source.batch(source.some(ROWS)).x if len(source) >= FEWEST else None
