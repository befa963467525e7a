"""The maximum mean discrepancy: how far two samples are, by a kernel, with no density of either."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from uncollapse.divergences.samples import double
from uncollapse.parts import Part


class Kernel(Part, ABC):
    r"""A characteristic kernel, a mean over bandwidths of a function of :math:`\lVert x - y \rVert^2`, with k(x, x) = 1.

    A scale c is in units of :math:`2 L`, the expected squared distance of two draws of N(0, I) in L dimensions. So one scale of
    1 suits a standard normal prior of any size, and a mixture of scales sees what is near and what is far.

    Args:
        scales: The scales c of the mixture; the bandwidths are :math:`2 c L`.

    Raises:
        ValueError: If there is no scale, or one is not above 0.
    """

    def __init__(self, scales: Sequence[float]):
        if not scales or min(scales) <= 0:
            raise ValueError(f"expected at least one scale, all above 0, came {list(scales)}; write [1.0]")
        self.scales = list(scales)

    def __call__(self, squares: Tensor, features: int) -> Tensor:
        """k of squared distances, in a space of this many dimensions."""
        return sum(self.at(squares / (2 * c * features)) for c in self.scales) / len(self.scales)  # type: ignore[return-value]

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """k of all pairs: [..., n, L] and [..., m, L] to [..., n, m]."""
        return self(_squares(x, y), x.shape[-1])

    def within(self, x: Tensor) -> Tensor:
        """k(x, x) of each draw, 1: [..., n, L] to [..., n]."""
        return x.new_ones(x.shape[:-1])

    @abstractmethod
    def at(self, u: Tensor) -> Tensor:
        """k at a squared distance in units of the bandwidth."""


class RBF(Kernel):
    r"""The Gaussian kernel.

    .. math:: k(x, y) = \frac1{|S|} \sum_{c \in S} \exp\left(-\frac{\lVert x - y \rVert^2}{2 c L}\right)

    References:
        Gretton et al. (2012), A Kernel Two-Sample Test, section 8.

    Example:
        >>> round(float(RBF()(torch.tensor(4.0), features=2)), 4)
        0.3679
    """

    def __init__(self, scales: Sequence[float] = (1.0,)):
        super().__init__(scales)

    def at(self, u: Tensor) -> Tensor:
        return torch.exp(-u)


class InverseMultiquadric(Kernel):
    r"""The inverse multiquadric, whose tails are heavy: draws far out still feel where the others are.

    .. math:: k(x, y) = \frac1{|S|} \sum_{c \in S} \frac{2 c L}{2 c L + \lVert x - y \rVert^2}

    References:
        Tolstikhin et al. (2018), Wasserstein Auto-Encoders, section 4, where the sum over the scales takes the mean's place, so
        that a weight λ of theirs is 7 λ here.

    Example:
        >>> round(float(InverseMultiquadric([1.0])(torch.tensor(4.0), features=2)), 4)
        0.5
    """

    def __init__(self, scales: Sequence[float] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)):
        super().__init__(scales)

    def at(self, u: Tensor) -> Tensor:
        return 1 / (1 + u)


class Polynomial(Part):
    r"""A polynomial of the inner product: no characteristic kernel, it compares moments up to its degree.

    .. math:: k(x, y) = \left(\tfrac1L\, x \cdot y + 1\right)^d

    Args:
        degree: d.

    Raises:
        ValueError: If the degree is below 1.

    References:
        Bińkowski, Sutherland, Arbel and Gretton (2018), Demystifying MMD GANs, section 4, where d = 3.

    Example:
        >>> x = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
        >>> Polynomial().between(x, x).tolist()
        [[27.0, 1.0], [1.0, 27.0]]
    """

    def __init__(self, degree: int = 3):
        if degree < 1:
            raise ValueError(f"expected a degree of at least 1, came {degree}")
        self.degree = degree

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """k of all pairs: [..., n, L] and [..., m, L] to [..., n, m]."""
        return self._of(x @ y.mT, x)

    def within(self, x: Tensor) -> Tensor:
        """k(x, x) of each draw: [..., n, L] to [..., n]."""
        return self._of(x.square().sum(-1), x)

    def _of(self, products: Tensor, x: Tensor) -> Tensor:
        return (products / x.shape[-1] + 1) ** self.degree


def mmd(x: Tensor, y: Tensor, kernel: Kernel | Polynomial, unbiased: bool = True) -> Tensor:
    r"""The squared maximum mean discrepancy of two samples.

    .. math:: \mathrm{MMD}^2(p, q) = \mathbb E\, k(x, x') + \mathbb E\, k(y, y') - 2\, \mathbb E\, k(x, y)

    The U-statistic leaves out the pairs of a draw with itself: its expectation is :math:`\mathrm{MMD}^2`, and it may be
    negative. The V-statistic counts them: it is never negative, and too large by
    :math:`\tfrac1n \mathbb E[k(x, x) - k(x, x')] + \tfrac1m \mathbb E[k(y, y) - k(y, y')]`.

    Args:
        x: n draws, [..., n, L]. Integers and half precision, which do not hold k and its sums, are taken in float64.
        y: m draws, [..., m, L].
        kernel: k.
        unbiased: The U-statistic; else the V-statistic.

    Returns:
        [...], a number without unit, no nats; in [-1, 2] for a `Kernel`.

    Raises:
        ValueError: If a U-statistic is asked of a single draw.

    References:
        Gretton et al. (2012), A Kernel Two-Sample Test, equations 3 (U) and 5 (V).

    Example:
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> round(float(mmd(x, x, RBF(), unbiased=False)), 6), round(float(mmd(x, x, RBF())), 4)
        (0.0, -0.8647)
    """
    x, y = _at_least_float32(x), _at_least_float32(y)
    cross = kernel.between(x, y).mean((-2, -1))
    return _within(x, kernel, unbiased) + _within(y, kernel, unbiased) - 2 * cross


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.float32, torch.float64) else double(x)


def _squares(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances of all pairs, [..., n, m]: by differences, since near points drown in |x|² + |y|² - 2 x·y."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()


def _within(x: Tensor, kernel: Kernel | Polynomial, unbiased: bool) -> Tensor:
    """The mean of k over the pairs of one sample; the pairs of a draw with itself are taken out of the U-statistic."""
    n = x.shape[-2]
    if unbiased and n < 2:
        raise ValueError("a U-statistic needs 2 draws of each, came 1; write unbiased=False, or a larger batch")
    mean = kernel.between(x, x).mean((-2, -1))
    return (mean * n - kernel.within(x).mean(-1)) / (n - 1) if unbiased else mean
