"""Sample quality over features of any network: the kernel distance, the inception score, and which features are admitted."""

from typing import NamedTuple

import torch
from torch import Tensor

from uncollapse.divergences.mmd import Polynomial, mmd
from uncollapse.divergences.samples import admit, double
from uncollapse.evaluation.diversity import Estimate


class KID(NamedTuple):
    """The kernel distance, over subsets."""

    mean: float
    std: float  # of one subset, not of the mean


class InceptionScore(NamedTuple):
    """The inception score, over splits."""

    mean: float
    std: float  # of one split, not of the mean


@torch.no_grad()
def kid(real: Tensor, fake: Tensor, subsets: int = 100, size: int = 1000, seed: int = 0) -> KID:
    r"""The kernel inception distance: the unbiased MMD² with a cubic kernel, on random subsets of both samples.

    .. math:: \mathrm{MMD}^2(p, q), \quad k(x, y) = \left(\tfrac1D\, x \cdot y + 1\right)^3

    Its expectation does not depend on how many samples there are; between equal distributions it is 0, so estimates may be
    negative. All in float64, size² numbers at a time: the cubes of integers, and of large features in float32, drown it.

    Args:
        real: Features of data [N, D].
        fake: Features of samples [M, D].
        subsets: How many subsets of each.
        size: How many features each subset has, drawn without replacement.
        seed: Of the subsets.

    Returns:
        Mean and standard deviation over the subsets; no unit.

    Raises:
        ValueError: If there are fewer features than a subset has, subsets is below 1 or size below 2.

    References:
        Bińkowski, Sutherland, Arbel and Gretton (2018), Demystifying MMD GANs, section 4.

    Example:
        >>> kid(torch.tensor([[0.0], [2.0]]), torch.tensor([[-1.0], [-3.0]]), subsets=1, size=2)
        KID(mean=127.0, std=0.0)
    """
    admit(real, fake)
    n, m = len(real), len(fake)
    if subsets < 1 or size < 2:
        raise ValueError(f"expected subsets of at least 1 and size of at least 2, came subsets={subsets}, size={size}")
    if min(n, m) < size:
        raise ValueError(f"expected at least size={size} features of each, came {n} real and {m} fake; write size={min(n, m)}")
    generator, kernel = torch.Generator().manual_seed(seed), Polynomial()
    values = [mmd(double(_some(real, size, generator)), double(_some(fake, size, generator)), kernel) for _ in range(subsets)]
    return KID(*_over(torch.stack(values)))


@torch.no_grad()
def kid_interval(real: Tensor, fake: Tensor, size: int = 250, blocks: int = 10, seed: int = 0) -> Estimate:
    r"""The kernel inception distance with a standard error, by B blocks of both samples that share no feature.

    .. math:: \hat d = \frac1B \sum_b d_b, \quad \mathrm{SE}^2 = \frac1{B (B - 1)} \sum_b (d_b - \hat d)^2

    Blocks without a common feature are independent, so the error is right whether or not there is a difference, with B - 1
    degrees of freedom; the subsets of `kid` overlap, and their spread says little of other samples. The price is a wider one.

    Args:
        real: Features of data [N, D].
        fake: Features of samples [M, D].
        size: Features of each that a block has.
        blocks: B.
        seed: Of what falls in which block.

    Raises:
        ValueError: If there are fewer features than the blocks take, blocks is below 2 or size below 2.

    References:
        Bińkowski, Sutherland, Arbel and Gretton (2018), Demystifying MMD GANs, section 4, for the distance.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x, y = torch.randn(2, 400, 3)
        >>> near, far = (kid_interval(x, other, size=40) for other in (y, y + 1))
        >>> abs(near.mean) < 4 * near.standard_error, far.mean > 4 * far.standard_error
        (True, True)
    """
    admit(real, fake)
    n = min(len(real), len(fake))
    if blocks < 2 or size < 2 or n < blocks * size:
        raise ValueError(
            f"expected at least 2 blocks of 2 features, and so many of each sample, came blocks={blocks}, size={size} and {n} "
            f"features; write size={max(2, n // max(blocks, 2))}"
        )
    generator, kernel = torch.Generator().manual_seed(seed), Polynomial()
    x, y = (_some(rows, blocks * size, generator).split(size) for rows in (real, fake))
    values = torch.stack([mmd(double(a), double(b), kernel) for a, b in zip(x, y, strict=True)])
    return Estimate(float(values.mean()), float(values.std()) / blocks**0.5)


@torch.no_grad()
def inception_score(probabilities: Tensor, splits: int = 10) -> InceptionScore:
    r"""The inception score: how sure a classifier is of each sample, and how many classes it sees, in one number.

    .. math:: \exp \mathbb E_x\, \mathrm{KL}(p(y \mid x) \,\|\, p(y)) = \exp\left(H(y) - H(y \mid x)\right)

    It is between 1 and the number of classes, and never looks at data: a model that memorised one image a class gets them all.

    Args:
        probabilities: p(y|x) of each sample [N, classes], in random order, since splits are blocks of rows.
        splits: Blocks with a p(y) of their own.

    Returns:
        Mean and standard deviation over the splits; no unit.

    Raises:
        ValueError: If there are fewer samples than splits, or a row is no distribution.

    References:
        Salimans et al. (2016), Improved Techniques for Training GANs, section 4.

    Example:
        >>> inception_score(torch.eye(4), splits=1)
        InceptionScore(mean=4.0, std=0.0)
    """
    if probabilities.dim() != 2 or splits < 1 or len(probabilities) < splits:
        raise ValueError(
            f"expected probabilities [N, classes] with N of at least splits={splits}, and that of at least 1, came "
            f"{tuple(probabilities.shape)}"
        )
    p = double(probabilities)
    if not ((p >= 0).all() and ((p.sum(-1) - 1).abs() < 0.01).all()):
        raise ValueError("expected rows that are at least 0 and sum to 1, came others; write logits.softmax(-1)")
    return InceptionScore(*_over(torch.stack([_information(rows) for rows in p.tensor_split(splits)]).exp()))


def _some(x: Tensor, size: int, generator: torch.Generator) -> Tensor:
    return x[torch.randperm(len(x), generator=generator)[:size].to(x.device)]


def _information(p: Tensor) -> Tensor:
    """I(x; y) of rows p(y|x), in nats."""
    return torch.special.entr(p.mean(0)).sum() - torch.special.entr(p).sum(-1).mean()


def _over(values: Tensor) -> tuple[float, float]:
    return float(values.mean()), float(values.std(correction=0))
