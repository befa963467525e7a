"""Two samples, and no density of either: are they of one distribution? Distances are float64."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uncollapse.divergences import RBF, Kernel
from uncollapse.divergences.samples import blocks, flat

PROBED = 2000  # pooled draws that a median of distances is taken over


class MMDTest(NamedTuple):
    """A permutation test by the maximum mean discrepancy."""

    mmd: float  # MMD², the U-statistic, without unit
    p_value: float
    kernel: Kernel


class ClassifierTest(NamedTuple):
    """How well a classifier tells two samples apart."""

    accuracy: float  # on what it has not seen; 1/2 is chance
    z: float  # standard errors above 1/2
    p_value: float
    n_test: int


class Neighbours(NamedTuple):
    """The nearest rows, the nearest first."""

    distances: Tensor  # [N, k], float64
    indices: Tensor  # [N, k]


@torch.no_grad()
def mmd_test(x: Tensor, y: Tensor, kernel: Kernel | None = None, permutations: int = 1000, seed: int = 0) -> MMDTest:
    r"""Are x and y of one distribution? The squared maximum mean discrepancy, and how often chance gives as much.

    .. math:: p = \frac{1 + \#\{b : \mathrm{MMD}^2_b \ge \mathrm{MMD}^2\}}{1 + B}

    with :math:`\mathrm{MMD}^2_b` of the pooled draws dealt anew into two samples of the same sizes. The test is exact: without
    a difference, p is at most α with probability at most α. All permutations share one pass over the pooled kernel matrix K:
    of it they need :math:`s_b^\top K s_b` and :math:`1^\top K s_b` for the membership s alone, and a block of K at a time.

    Args:
        x: n draws [n, *shape].
        y: m draws [m, *shape].
        kernel: k. None: the Gaussian kernel :math:`\exp(-\lVert x - y \rVert^2 / 2 \sigma^2)` with σ the median distance of
            different pooled draws, of at most 2000 of them.
        permutations: B; p is at least 1 / (B + 1).
        seed: Of the permutations, and of those 2000.

    Raises:
        ValueError: If a sample has fewer than two draws or the two differ in size, or there is no permutation.

    References:
        Gretton et al. (2012), A Kernel Two-Sample Test, equation 3 (the statistic), section 8 (the median); Phipson and Smyth
        (2010), Permutation P-values Should Never Be Zero (the one that is added).

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x, y = torch.randn(200, 2), torch.randn(200, 2)
        >>> mmd_test(x, y).p_value > 0.05, round(mmd_test(x, y + 1).p_value, 4)
        (True, 0.001)
    """
    if permutations < 1:
        raise ValueError(f"expected at least 1 permutation, came {permutations}; 1000 tell p-values down to 0.001")
    x, y = flat(x, y)
    pool, generator = torch.cat((x, y)), torch.Generator().manual_seed(seed)
    kernel = _median_kernel(pool, generator) if kernel is None else kernel
    dealt = torch.rand(permutations, len(pool), generator=generator, dtype=torch.double).argsort(1)
    members = len(x) > torch.cat((torch.arange(len(pool))[None], dealt)).to(pool.device).T
    found = _statistics(pool, members.to(pool), kernel)
    as_much = int((found[1:] >= found[0] - 1e-12).sum())  # permutations that swap equal draws differ by rounding alone
    return MMDTest(float(found[0]), (1 + as_much) / (1 + permutations), kernel)


def _statistics(pool: Tensor, members: Tensor, kernel: Kernel) -> Tensor:
    """MMD² of the members against the others, for each column of members [N, P], zeros and ones: [P]."""
    within, towards, whole = torch.zeros_like(members[0]), torch.zeros_like(members[0]), pool.new_zeros(())
    for start, distances in blocks(pool, pool):
        k = kernel(distances.square(), pool.shape[1])
        sums = k @ members
        within += (members[start : start + len(k)] * sums).sum(0)
        towards += sums.sum(0)
        whole += k.sum()
    n = members.sum(0)
    m = len(pool) - n
    cross, others = towards - within, whole - 2 * towards + within
    return (within - n) / (n * (n - 1)) + (others - m) / (m * (m - 1)) - 2 * cross / (n * m)


def _median_kernel(pool: Tensor, generator: torch.Generator) -> RBF:
    some = pool[torch.randperm(len(pool), generator=generator)[:PROBED].to(pool.device)]
    least = 1e-6 * torch.linalg.vector_norm(some - some.mean(0), dim=1).max()  # equal draws, up to rounding
    distances = torch.cat([d[d > least] for _, d in blocks(some, some)])  # both orders of each pair: the median is the same
    return RBF([float(distances.median().square()) / pool.shape[1] if len(distances) else 1.0])


def classifier_test(x: Tensor, y: Tensor, classifier: Any = None, seed: int = 0) -> ClassifierTest:
    r"""Are x and y of one distribution? How well a classifier, trained on half of each, tells the other halves apart.

    .. math:: \hat t \sim \mathcal N\left(\tfrac12, \tfrac1{4 n_{\mathrm{te}}}\right) \text{ if they are}, \quad
              z = 2 \sqrt{n_{\mathrm{te}}}\, (\hat t - \tfrac12), \quad p = 1 - \Phi(z)

    Both halves hold as many of x as of y. So without a difference every classifier is right half the time in expectation, even
    one that always says the same, with at most the stated variance. A larger sample is cut to the smaller's size.

    Args:
        x: n draws [n, *shape].
        y: m draws [m, *shape].
        classifier: Any estimator of scikit-learn that has `fit` and `predict`; it is cloned. None: the nearest neighbours,
            about the root of the training draws of them, of standardised features. It has nothing to tune and no training that
            fails, and with enough draws it sees every difference, where a linear one sees no more than a shift. For images
            hand it features, or a classifier for images.
        seed: Of the halves, and of a classifier whose `random_state` is None.

    Raises:
        ValueError: If a sample has fewer than two draws or the two differ in size.
        TypeError: If the classifier has no `fit` and `predict`.

    References:
        Lopez-Paz and Oquab (2017), Revisiting Classifier Two-Sample Tests, section 3.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x, y = torch.randn(500, 2), torch.randn(500, 2)
        >>> classifier_test(x, y).p_value > 0.05, classifier_test(x, y + 9).accuracy
        (True, 1.0)
    """
    x, y = flat(x, y)
    generator, n = torch.Generator().manual_seed(seed), min(len(x), len(y))
    a, b = (rows[torch.randperm(len(rows), generator=generator)[:n].to(rows.device)] for rows in (x, y))
    half = n // 2
    seen, unseen = (torch.cat(parts).cpu().numpy() for parts in ((a[:half], b[:half]), (a[half:], b[half:])))
    fitted = _fresh(_neighbours(len(seen)) if classifier is None else classifier, seed)
    fitted.fit(seen, torch.arange(2).repeat_interleave(half).numpy())
    labels = torch.arange(2).repeat_interleave(n - half).numpy()
    accuracy = float((fitted.predict(unseen) == labels).mean())
    z = 2 * math.sqrt(len(unseen)) * (accuracy - 0.5)
    return ClassifierTest(accuracy, z, _above(z), len(unseen))


def _neighbours(n: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), KNeighborsClassifier(math.isqrt(n - 1) | 1))  # odd: no ties


def _fresh(classifier: Any, seed: int) -> Any:
    """An untrained copy, seeded wherever it was left to chance."""
    from sklearn.base import clone

    if not (hasattr(classifier, "fit") and hasattr(classifier, "predict") and hasattr(classifier, "get_params")):
        raise TypeError(f"expected an estimator of scikit-learn, came {classifier!r}; write LogisticRegression(), for instance")
    open_ = [name for name, value in classifier.get_params().items() if name.endswith("random_state") and value is None]
    return clone(classifier).set_params(**dict.fromkeys(open_, seed))


@torch.no_grad()
def nearest_neighbours(samples: Tensor, train: Tensor, k: int = 1) -> Neighbours:
    """The k training points nearest to each sample, by Euclidean distance.

    Args:
        samples: N draws [N, *shape].
        train: M points [M, *shape].
        k: How many, at most M.

    Raises:
        ValueError: If there are no draws, the two differ in size, or k is out of range.

    Example:
        >>> found = nearest_neighbours(torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0], [3.0], [9.0]]), k=2)
        >>> found.distances.tolist(), found.indices.tolist()
        ([[1.0, 3.0], [1.0, 3.0]], [[0, 1], [1, 0]])
    """
    samples, train = flat(samples, train, least=1)
    if not 1 <= k <= len(train):
        raise ValueError(f"expected k from 1 to the {len(train)} training points, came k={k}")
    found = [
        _exact(samples[start : start + len(distances)], train, distances.topk(k, largest=False).indices)
        for start, distances in blocks(samples, train, k * train.shape[1])
    ]
    return Neighbours(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _exact(x: Tensor, y: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Distances by differences from x [n, D] to rows of y by their indices [n, k], the nearest first; and those indices."""
    distances, order = torch.linalg.vector_norm(x.unsqueeze(1) - y[indices], dim=-1).sort(-1)
    return distances, indices.gather(1, order)


def _above(z: float) -> float:
    """The probability that a standard normal exceeds z."""
    return 0.5 * math.erfc(z / math.sqrt(2))
