"""How data rows and samples fall on groups of rows that are alike: where mass is missing, and where there is too much."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from uncollapse.divergences.sample_distances import pull_in
from uncollapse.divergences.samples import flat

FITTED = 2000  # rows, of both samples, that groups are found among
WIDE = 64  # dimensions beyond which groups are found along principal axes
FAR = 1000.0  # times the data's extent beyond which a sample may as well lie there
CUTS = 10  # ways in which the samples are halved


class GroupShares(NamedTuple):
    """The groups of two samples, and the mass that lies in the wrong ones."""

    misplaced_mass: float  # a lower bound, in expectation, on the total variation distance
    standard_error: float
    real: Tensor  # rows of data in each group [K]
    fake: Tensor  # samples in each group [K]
    real_group: Tensor  # the group of each data row [n]
    fake_group: Tensor  # the group of each sample [m]


@torch.no_grad()
def group_shares(real: Tensor, fake: Tensor, groups: int | None = None, seed: int = 0) -> GroupShares:
    r"""Two samples by groups of rows that are alike, and how much mass lies in the wrong groups.

    .. math:: \mathrm{TV}(p, q) = \max_S \; q(S) - p(S) \ge \mathbb E\left[\hat q_2(\hat S_1) - \hat p_2(\hat S_1)\right]

    Groups are the nearest of K centres, found by k-means among the rows of both samples, whichever they are of. On one half of
    each sample :math:`\hat S_1` is the set of groups that hold a larger share of samples than of data; the other half is
    measured there, and the other way round, over several ways to halve. So no group is measured on the rows that it was chosen
    by: between equal distributions the mean is at most 0.

    Args:
        real: Data [n, *shape].
        fake: Samples [m, *shape].
        groups: K; None: about the root of the smaller sample, 5 to 50.
        seed: Of the centres and halves.

    Raises:
        ValueError: If a sample has fewer than four rows, or the two differ in size.

    References:
        Richardson and Weiss (2018), On GANs and GMMs, section 3 (groups of the data and the shares of samples in them); the
        bound: Lopez-Paz and Oquab (2017), Revisiting Classifier Two-Sample Tests, of a classifier by groups.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x = torch.tensor([-5.0, 5.0]).repeat(200).unsqueeze(1) + 0.1 * torch.randn(400, 1)
        >>> group_shares(x, x).misplaced_mass < 0.05, 0.4 < group_shares(x, x[x > 0].unsqueeze(1)).misplaced_mass < 0.55
        (True, True)
    """
    real, fake = flat(real, fake, least=4)
    k = groups or min(50, max(5, round(math.sqrt(min(len(real), len(fake))))))
    of_real, of_fake = (torch.from_numpy(group).long() for group in _grouped(real, fake, k, seed))
    return _by_groups(of_real, of_fake, k, seed)


def label_shares(real: Tensor, fake: Tensor, k: int, seed: int = 0) -> GroupShares:
    """The same, by labels [n] and [m] from 0 to k − 1 that are known.

    Example:
        >>> found = label_shares(torch.arange(400) % 4, torch.arange(400) % 2, 4)
        >>> round(found.misplaced_mass, 2), found.fake.tolist()
        (0.5, [200, 200, 0, 0])
    """
    return _by_groups(real.cpu().long(), fake.cpu().long(), k, seed)


@torch.no_grad()
def shifted_mass(real: Tensor, fake: Tensor, seed: int = 0) -> tuple[float, float]:
    r"""How much mass lies on the wrong side along the line between the means of two samples, and its standard error.

    .. math:: \max_c \; q(w^\top y > c) - p(w^\top x > c), \quad w = \bar y - \bar x

    w and c are those of one half of each sample and measured on the other half, and the other way round, over several ways to
    halve: a lower bound, in expectation, on the total variation distance. It sees what is missing on one side of many
    dimensions, where groups of rows see nothing; and it leaves alone differences in directions in which data hardly vary.

    Args:
        real: Data [n, *shape].
        fake: Samples [m, *shape].
        seed: Of the halves.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x, y = torch.randn(2, 2000, 50)
        >>> 0.3 < shifted_mass(x, y[y[:, 0] > 0])[0] < 0.5, shifted_mass(x, y)[0] < 0.05
        (True, True)
    """
    real, fake = flat(real, fake, least=4)
    generator, found = torch.Generator().manual_seed(seed), []
    for _ in range(CUTS):
        halves = [_cut(x[torch.randperm(len(x), generator=generator).to(x.device)]) for x in (real, fake)]
        for i in (0, 1):
            (a, b), (p, q) = ([half[j] for half in halves] for j in (i, 1 - i))
            w = b.mean(0) - a.mean(0)
            c = _best_cut(a @ w, b @ w)
            found.append(float((q @ w > c).double().mean() - (p @ w > c).double().mean()))
    return float(np.mean(found)), math.sqrt(0.25 / len(real) + 0.25 / len(fake))


def _cut(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[: len(x) // 2], x[len(x) // 2 :]


def _best_cut(a: Tensor, b: Tensor) -> Tensor:
    """The value above which lies most of b and least of a."""
    values, order = torch.cat((a, b)).sort()
    steps = torch.cat((torch.full_like(a, 1 / len(a)), torch.full_like(b, -1 / len(b))))[order]
    return values[steps.cumsum(0).argmax()]


def _by_groups(real: Tensor, fake: Tensor, k: int, seed: int) -> GroupShares:
    generator, found = torch.Generator().manual_seed(seed), []
    for _ in range(CUTS):
        a, b = (_halves(group[torch.randperm(len(group), generator=generator)], k) for group in (real, fake))
        found += [float((b[1 - i] - a[1 - i])[b[i] > a[i]].sum()) for i in (0, 1)]
    error = math.sqrt(0.25 / len(real) + 0.25 / len(fake))
    of_real, of_fake = (torch.bincount(group, minlength=k) for group in (real, fake))
    return GroupShares(float(np.mean(found)), error, of_real, of_fake, real, fake)


def _halves(group: Tensor, k: int) -> list[Tensor]:
    """The shares of the groups in either half."""
    half = len(group) // 2
    return [torch.bincount(part, minlength=k).double() / len(part) for part in (group[:half], group[half:])]


def _grouped(real: Tensor, fake: Tensor, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The group of each row of either sample."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    generator = torch.Generator().manual_seed(seed)
    half = FITTED // 2
    real, fake = pull_in(real, fake, FAR)  # float32, which k-means is in, squares up to 1e38
    mean, scale = real.mean(0), real.std().clamp_min(1e-300)
    real, fake = (real - mean) / scale, (fake - mean) / scale
    some = [x[torch.randperm(len(x), generator=generator)[:half].to(x.device)] for x in (real, fake)]
    fitted = torch.cat(some)
    fitted = fitted[torch.randperm(len(fitted), generator=generator).to(fitted.device)]
    rows = [x.float().cpu().numpy() for x in (fitted, real, fake)]
    if rows[0].shape[1] > WIDE:
        axes = PCA(WIDE, svd_solver="randomized", random_state=seed).fit(rows[0])
        rows = [axes.transform(x) for x in rows]
    k = min(k, len(np.unique(rows[0], axis=0)))
    means = KMeans(k, n_init=1, max_iter=20, random_state=seed).fit(rows[0])
    return means.predict(rows[1]), means.predict(rows[2])
