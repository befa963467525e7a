"""How diverse a sample is: effective numbers of different draws, modes that were reached, likeness of pairs."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from uncollapse.divergences import Kernel
from uncollapse.divergences.samples import blocks, flat

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, the finest first: Wang et al. (2003), section 3
WINDOW, SIGMA = 11, 1.5  # pixels of the Gaussian window, and its standard deviation
BUDGET = 2**22  # numbers of a scale's maps at a time
C1, C2 = 0.01**2, 0.03**2  # what keeps quotients of flat patches from 0/0, for a range of 1


class Estimate(NamedTuple):
    """A mean, and its standard error."""

    mean: float
    standard_error: float


@torch.no_grad()
def vendi(features: Tensor, q: float = 1.0, kernel: Kernel | None = None, precomputed: bool = False) -> float:
    r"""The Vendi score of order q: how many wholly different draws are as diverse as these, from 1 to N.

    .. math:: \mathrm{VS}_q = \exp\left(\frac1{1 - q} \log \sum_i \lambda_i^q\right), \quad
              \mathrm{VS}_1 = \exp\left(-\sum_i \lambda_i \log \lambda_i\right), \quad
              \mathrm{VS}_\infty = \frac1{\max_i \lambda_i}

    for the eigenvalues λ of K / N, which sum to one: the exponential of their Rényi entropy. Small orders heed rare kinds of
    draws, large ones the common kinds alone, so the score falls in q; at q = 0 it is the rank of K. It grows with N: compare
    two samples by `vendi_interval`, at one n.

    Eigenvalues within rounding of 0 count as 0: under 100 units of rounding, float64's, or those of a K that is handed over.
    Time grows with N³ and memory with N², or with N D² and N D where the cosine has D < N.

    Args:
        features: Rows [N, *shape] in which draws are compared, or K [N, N] itself.
        q: Order, from 0 to `math.inf`.
        kernel: k with k(x, x) = 1, such as `divergences.RBF`; None: the cosine of the angle between two rows.
        precomputed: Whether `features` is K.

    Raises:
        ValueError: If q is negative, there are fewer than two rows, a row of zeros has no angle, or K is no such matrix.

    References:
        Friedman and Dieng (2023), The Vendi Score: A Diversity Evaluation Metric for Machine Learning, definition 3.1; Pasarkar
        and Dieng (2024), Cousins of the Vendi Score, for the order q.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
        >>> [round(vendi(x, q), 4) for q in (0, 1, math.inf)]
        [2.0, 1.7548, 1.3333]
    """
    _admit_order(q)
    return _score(_Likeness.of(features, kernel, precomputed).spectrum(), q)


@torch.no_grad()
def vendi_interval(
    features: Tensor,
    n: int,
    q: float = 1.0,
    resamples: int = 100,
    seed: int = 0,
    kernel: Kernel | None = None,
    precomputed: bool = False,
) -> Estimate:
    r"""The expected Vendi score of n draws, with its standard error, so that samples of different sizes can be compared.

    The mean is over scores :math:`v_r` of R subsamples of n of the N rows, without replacement, since a repeated row is a
    duplicate and would lower the score. Subsamples share rows; the delete-d jackknife with d = N − n takes account of it:

    .. math:: \mathrm{SE}^2 = \left(\frac{n}{N - n} + \frac1R\right) s^2, \quad s^2 = \frac1{R - 1} \sum_r (v_r - \bar v)^2

    It is of other rows as well as other subsamples. It is right to first order in the influence of a row, and too large where
    second orders count, up to twice for a sample that is about as diverse as it can be. n = N / 2 is a good choice.

    Args:
        features: Rows [N, *shape], or K [N, N].
        n: Rows of a subsample, below N.
        q: Order of the score.
        resamples: R.
        seed: Of the subsamples.
        kernel: As in `vendi`.
        precomputed: Whether `features` is K.

    Raises:
        ValueError: If n is not from 2 to N − 1, there are fewer than two resamples, or `vendi` refuses.

    References:
        Shao and Wu (1989), A General Theory for Jackknife Variance Estimation, on deleting d of N.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> few, many = torch.randn(300, 4), torch.randn(600, 4)
        >>> abs(vendi_interval(few, 100).mean - vendi_interval(many, 100).mean) < 0.1
        True
    """
    _admit_order(q)
    likeness = _Likeness.of(features, kernel, precomputed)
    total = len(likeness.values)
    if not 2 <= n < total or resamples < 2:
        raise ValueError(
            f"expected n from 2 to {total - 1}, below the rows, and resamples >= 2, came n={n}, resamples={resamples}; "
            f"n={max(2, total // 2)} suits"
        )
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randperm(total, generator=generator)[:n] for _ in range(resamples)]
    scores = torch.tensor([_score(likeness.some(index).spectrum(), q) for index in rows], dtype=torch.double)
    return Estimate(float(scores.mean()), float(scores.std()) * math.sqrt(n / (total - n) + 1 / resamples))


class _Likeness(NamedTuple):
    """How alike rows are: K itself, or unit rows u with K = u uᵀ."""

    values: Tensor  # K [N, N] or u [N, D], float64
    factored: bool
    eps: float  # rounding of the entries

    @classmethod
    def of(cls, features: Tensor, kernel: Kernel | None, precomputed: bool) -> "_Likeness":
        (rows,) = flat(features)
        eps = torch.finfo(torch.double).eps
        if precomputed:
            return cls(_admitted(rows, kernel), False, torch.finfo(features.dtype).eps if features.is_floating_point() else eps)
        if kernel is not None:
            k = torch.cat([kernel(d.square(), rows.shape[1]) for _, d in blocks(rows, rows)])
            return cls(k.fill_diagonal_(1), False, eps)
        norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        if not bool((norms > 0).all()):
            raise ValueError("expected rows other than zero, came a row of zeros, which has no cosine; write kernel=RBF()")
        return cls(rows / norms, True, eps)

    def some(self, index: Tensor) -> "_Likeness":
        """These rows alone."""
        index = index.to(self.values.device)
        values = self.values[index]
        return self._replace(values=values if self.factored else values[:, index])

    def spectrum(self) -> Tensor:
        """The eigenvalues of K / N that are above 0, ascending: their sum is one."""
        (n, d), u = self.values.shape, self.values
        gram = u if not self.factored else u.T @ u if d < n else u @ u.T
        values = torch.linalg.eigvalsh(gram / n)
        if values[0] < -100 * self.eps:
            raise ValueError(f"expected a positive semidefinite kernel, came an eigenvalue of K / N of {float(values[0]):.2g}")
        values = values[values > 100 * self.eps]
        return values / values.sum()


def _admitted(k: Tensor, kernel: Kernel | None) -> Tensor:
    """A kernel matrix that is one."""
    if kernel is not None:
        raise ValueError("expected a kernel or its matrix, came both; write precomputed=False, or leave the kernel out")
    if k.shape[0] != k.shape[1] or not torch.allclose(k, k.T, atol=1e-4) or float((k.diagonal() - 1).abs().max()) > 1e-4:
        raise ValueError(
            f"expected a symmetric kernel matrix [N, N] with ones on its diagonal, came one of {list(k.shape)}; "
            "divide by the root of the diagonal's outer product"
        )
    return k


def _score(spectrum: Tensor, q: float) -> float:
    log = spectrum.log()
    if q == math.inf:
        return float(1 / spectrum[-1])
    if abs(q - 1) < 1e-8:  # the quotient's rounding error is the larger one there
        return float(torch.exp(-(spectrum * log).sum()))
    return float(torch.exp(torch.logsumexp(q * log, 0) / (1 - q)))


def _admit_order(q: float) -> None:
    if not q >= 0:
        raise ValueError(f"expected an order q from 0 to math.inf, came {q}; 1 is the Vendi score")


@torch.no_grad()
def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    r"""Multi-scale structural similarity of images, pair by pair: 1 of equal ones, near 0 of unlike ones.

    .. math:: \prod_{j < M} c_j^{w_j} \cdot (l c)_M^{w_M}, \quad
              l = \frac{2 \mu_x \mu_y + C_1}{\mu_x^2 + \mu_y^2 + C_1}, \quad
              c = \frac{2 \sigma_{xy} + C_2}{\sigma_x^2 + \sigma_y^2 + C_2}

    with moments under a Gaussian window of 11 pixels and σ = 1.5 that lies wholly within the image, and l c and c averaged over
    places and channels; the image is halved from scale to scale by means of 2 × 2 pixels. A negative mean counts as 0.

    There are M scales, at most 5, as many as leave the coarsest image 11 pixels on its shorter side: 5 from 176 pixels on, 2 of
    28 × 28. The weights w are the first M of the published ones, divided by their sum. An image below 11 pixels is seen at one
    scale, by a window of the largest odd size that fits.
    Where the border of the coarsest scale is reflected instead, as in torchmetrics, small images score otherwise.

    Args:
        x: Images [N, C, H, W] in [0, 1].
        y: As many of the same shape.

    Returns:
        [N], in [0, 1].

    Raises:
        ValueError: If these are no images in [0, 1] of one shape.

    References:
        Wang, Simoncelli and Bovik (2003), Multi-scale Structural Similarity for Image Quality Assessment, equation 7 and
        section 3 (the weights).

    Example:
        >>> x = torch.linspace(0, 1, 784).reshape(1, 1, 28, 28)
        >>> [round(float(ms_ssim(x, y)), 4) for y in (x, x.flip(-1), 1 - x)]
        [1.0, 0.9975, 0.0]
    """
    _admit_images(x, y)
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    rows = max(1, BUDGET // (5 * x[0].numel()))
    pairs = zip(x.to(dtype).split(rows), y.to(dtype).split(rows), strict=True)
    return torch.cat([_ms_ssim(a, b) for a, b in pairs])


@torch.no_grad()
def diversity_ms_ssim(x: Tensor, pairs: int = 1000, seed: int = 0) -> Estimate:
    """The mean multi-scale structural similarity of random pairs of different images of a sample: low is diverse.

    Compare it with the data's own, class by class where there are classes: less than the data have is noise, not diversity.

    Args:
        x: Images [N, C, H, W] in [0, 1].
        pairs: How many pairs.
        seed: Of the pairs.

    Returns:
        The mean, and its standard error over other pairs of these images.

    Raises:
        ValueError: If there are fewer than two images or pairs, or these are no images in [0, 1].

    References:
        Odena, Olah and Shlens (2017), Conditional Image Synthesis with Auxiliary Classifier GANs, on diversity.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> noise, same = torch.rand(20, 1, 28, 28), torch.rand(1, 1, 28, 28).expand(20, -1, -1, -1)
        >>> diversity_ms_ssim(noise, 50).mean < 0.3, round(diversity_ms_ssim(same, 50).mean, 4)
        (True, 1.0)
    """
    if x.dim() != 4 or len(x) < 2 or pairs < 2:
        raise ValueError(f"expected at least 2 images [N, C, H, W] and 2 pairs, came {list(x.shape)} and pairs={pairs}")
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(len(x), (pairs,), generator=generator)
    second = (first + 1 + torch.randint(len(x) - 1, (pairs,), generator=generator)) % len(x)
    parts = zip(first.to(x.device).split(256), second.to(x.device).split(256), strict=True)
    values = torch.cat([ms_ssim(x[i], x[j]) for i, j in parts])
    return Estimate(float(values.mean()), float(values.std()) / math.sqrt(pairs))


def _admit_images(x: Tensor, y: Tensor) -> None:
    if x.dim() != 4 or x.shape != y.shape or not x.numel():
        raise ValueError(f"expected images [N, C, H, W] of one shape, came {list(x.shape)} and {list(y.shape)}")
    low, high = (float(bound) for bound in torch.stack((*x.aminmax(), *y.aminmax())).aminmax())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"expected images in [0, 1], came {low:.3g} to {high:.3g}; rescale them, or write x.clamp(0, 1)")


def _ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    side = min(x.shape[-2:])
    scales = max(1, sum(side >> j >= WINDOW for j in range(len(WEIGHTS))))
    window = _window(min(WINDOW, side - 1 + side % 2), x)
    found = torch.ones_like(x[:, 0, 0, 0])
    for j, weight in enumerate(WEIGHTS[:scales]):
        if j:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        likeness, contrast = _ssim(x, y, window)
        value = likeness if j == scales - 1 else contrast
        found = found * value.clamp_min(0) ** (weight / sum(WEIGHTS[:scales]))
    return found


def _window(size: int, like: Tensor) -> Tensor:
    """The Gaussian window along one side, which sums to one: [size]."""
    places = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    return torch.softmax(-0.5 * (places / SIGMA).square(), 0)


def _ssim(x: Tensor, y: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of l c and of c of each pair of images: [N] each."""
    maps = torch.stack((x, y, x * x, y * y, x * y))
    seen = F.conv2d(maps.flatten(0, 2).unsqueeze(1), window.reshape(1, 1, -1, 1))
    seen = F.conv2d(seen, window.reshape(1, 1, 1, -1))
    mu_x, mu_y, xx, yy, xy = seen.reshape(5, *x.shape[:2], *seen.shape[-2:])
    brightness = (2 * mu_x * mu_y + C1) / (mu_x.square() + mu_y.square() + C1)
    contrast = (2 * (xy - mu_x * mu_y) + C2) / (xx - mu_x.square() + yy - mu_y.square() + C2)
    return (brightness * contrast).mean((1, 2, 3)), contrast.mean((1, 2, 3))
