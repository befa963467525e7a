"""The Fréchet distance of two samples of features: moments that add up batch by batch, and the distance of their Gaussians."""

import math
from typing import Self

import torch
from torch import Tensor

from uncollapse.divergences.samples import admit, double

NUMBERS = 2**23  # of a batch, in float64 at a time
WIDTH = 256  # columns of a block of the covariance, of which the upper ones are computed


class Moments:
    r"""Mean and covariance of features that come in batches, in float64; no feature is kept.

    A batch is centred by its own mean, and the two means' distance makes good for it, so that nothing large cancels:

    .. math:: S \leftarrow S + \sum_i (x_i - \bar x)(x_i - \bar x)^\top + \tfrac{n m}{n + m}\, \delta \delta^\top, \quad
              \delta = \bar x - \mu, \quad \mu \leftarrow \mu + \tfrac{m}{n + m}\, \delta

    Args:
        size: D, numbers a feature.
        device: Where they are kept.

    Attributes:
        n: How many features there were.
        mean: μ [D].

    References:
        Chan, Golub and LeVeque (1979), Updating formulae and a pairwise algorithm for computing sample variances.

    Example:
        >>> moments = Moments(1)
        >>> for batch in torch.tensor([[1.0], [2.0], [6.0]]).split(2):
        ...     moments.update(batch)
        >>> moments.n, moments.mean.tolist(), moments.covariance.tolist()
        (3, [3.0], [[7.0]])
    """

    def __init__(self, size: int, device: torch.device | str = "cpu"):
        self.n = 0
        self.mean = torch.zeros(size, dtype=torch.double, device=device)
        self._scatter = torch.zeros(size, size, dtype=torch.double, device=device)

    @classmethod
    def of(cls, features: Tensor) -> Self:
        """The moments of features [N, D]."""
        found = cls(features.shape[-1], double(features[:0]).device)
        found.update(features)
        return found

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance [D, D].

        Raises:
            ValueError: If there were fewer than two features, or one was not finite.
        """
        if self.n < 2:
            raise ValueError(f"a covariance needs at least 2 features, came {self.n}; draw more samples")
        if not self.mean.isfinite().all():
            raise ValueError("expected finite features, came NaN or infinity: look at the samples that they are of")
        upper = self._scatter.triu() / (self.n - 1)
        return upper + upper.triu(1).T

    @torch.no_grad()
    def update(self, features: Tensor) -> None:
        """Count a batch of features [B, D].

        Raises:
            ValueError: If their size is another.
        """
        if features.dim() != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f"expected features [B, {len(self.mean)}], came {tuple(features.shape)}")
        for rows in features.split(max(1, NUMBERS // len(self.mean))):
            if len(rows):
                self._add(double(rows).to(self.mean.device))

    def _add(self, x: Tensor) -> None:
        n, m = self.n, len(x)
        mean = x.mean(0)
        delta = mean - self.mean
        factor = torch.cat([x - mean, math.sqrt(n * m / (n + m)) * delta[None]])
        for start in range(0, len(mean), WIDTH):
            columns = factor[:, start : start + WIDTH]
            self._scatter[start : start + WIDTH, start:].addmm_(columns.T, factor[:, start:])
        self.mean += delta * (m / (n + m))
        self.n += m


@torch.no_grad()
def fid(real: Tensor | Moments, fake: Tensor | Moments) -> float:
    r"""The Fréchet distance of the Gaussians with the moments of two samples; FID where Inception's are the features.

    .. math:: \lVert \mu_r - \mu_f \rVert^2 + \operatorname{tr} \Sigma_r + \operatorname{tr} \Sigma_f
              - 2 \operatorname{tr}\left(\Sigma_r^{1/2} \Sigma_f\, \Sigma_r^{1/2}\right)^{1/2}

    The last trace is the sum of the singular values of :math:`A^\top B` for any :math:`\Sigma_r = A A^\top` and
    :math:`\Sigma_f = B B^\top`. With fewer samples than dimensions these are the centred samples themselves; else A is of
    Cholesky, or of a symmetric eigendecomposition where the covariance is singular. All in float64.

    The estimate is too large by about C / N, with a C that depends on the model: compare figures of one N alone.

    Args:
        real: Features of data [N, D], or their moments.
        fake: Features of samples [M, D], or their moments.

    Returns:
        The squared distance, in squared units of the features.

    Raises:
        ValueError: If there are fewer than two features of each, or they are of another size, or not finite.

    References:
        Heusel et al. (2017), GANs Trained by a Two Time-Scale Update Rule, equation 6; Dowson and Landau (1982), The Fréchet
        distance between multivariate normal distributions; the bias: Chong and Forsyth (2020), Effectively Unbiased FID and
        Inception Score and Where to Find Them.

    Example:
        >>> fid(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [5.0]]))
        9.0
    """
    if isinstance(real, Tensor) and isinstance(fake, Tensor):
        admit(real, fake)
        if min(len(real), len(fake)) > 1 and max(len(real), len(fake)) < real.shape[1]:
            return _of_factors(double(real), double(fake))
    r, f = (x if isinstance(x, Moments) else Moments.of(x) for x in (real, fake))
    if r.mean.shape != f.mean.shape:
        raise ValueError(f"expected features of one size, came {len(r.mean)} and {len(f.mean)}")
    a, b = r.covariance, f.covariance.to(r.mean)
    return _distance(r.mean - f.mean.to(r.mean), a.trace() + b.trace(), _trace_of_root(a, b))


def _of_factors(real: Tensor, fake: Tensor) -> float:
    """The distance of few samples, without any covariance."""
    a, b = ((x - x.mean(0)) / math.sqrt(len(x) - 1) for x in (real, fake))
    return _distance(real.mean(0) - fake.mean(0), a.square().sum() + b.square().sum(), torch.linalg.svdvals(a @ b.T).sum())


def _trace_of_root(a: Tensor, b: Tensor) -> Tensor:
    """tr (a b)^½ of two covariances."""
    root = _root(a)
    return torch.linalg.eigvalsh(root.T @ b @ root).clamp_min(0).sqrt().sum()


def _root(a: Tensor) -> Tensor:
    """A with a = A Aᵀ: of Cholesky, or of the eigenvalues where a is singular."""
    factor, failed = torch.linalg.cholesky_ex(a)
    if not failed:
        return factor
    values, vectors = torch.linalg.eigh(a)
    return vectors * values.clamp_min(0).sqrt()


def _distance(means: Tensor, traces: Tensor, cross: Tensor) -> float:
    """At least 0, which rounding may miss."""
    return max(0.0, float(means.square().sum() + traces - 2 * cross))
