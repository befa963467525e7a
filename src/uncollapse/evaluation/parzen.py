"""Parzen windows: a density by Gaussian bumps on samples, the baseline that is known to mislead."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

BANDWIDTHS = tuple(10 ** (-k / 9) for k in range(9, -1, -1))  # ten from 0.1 to 1


class Parzen(NamedTuple):
    """A Parzen window density in nats."""

    log_likelihood: Tensor  # of each x, [B] float64
    bandwidth: float  # h
    validation: Tensor | None  # mean log density of the validation data by bandwidth, float64; None without a choice


@torch.no_grad()
def kde(
    samples: Tensor,
    x: Tensor,
    bandwidths: Sequence[float] = BANDWIDTHS,
    validation: Tensor | None = None,
    budget: int = 2**22,
) -> Parzen:
    r"""The Parzen window log density of x by a model's samples.

    .. math:: \log p_h(x) = \log \frac1N \sum_{i=1}^N \mathcal N(x; s_i, h^2 I), \quad
              h = \arg\max_h \sum_{v} \log p_h(v)

    Known to mislead, and kept as the baseline that it was: in the dimensions of images no affordable N comes near the
    model's log p(x), and the ranking of models is not kept either. Samples of the data's own distribution score below the
    centroids of a k-means, so that a model is rewarded for prototypes. `ais` is what to take.

    Args:
        samples: The model's samples [N, *shape].
        x: Observations [B, *shape].
        bandwidths: Those to choose from, h > 0, in units of x.
        validation: Observations [V, *shape] other than x, on which one is chosen; may be left out where there is only one.
        budget: Distances that are held at a time.

    Raises:
        ValueError: If a bandwidth is not above 0, several come without validation data, shapes differ, or a number is not
            finite.

    References:
        Parzen (1962), On Estimation of a Probability Density Function and Mode; what is wrong with it: Theis, van den Oord and
        Bethge (2016), A Note on the Evaluation of Generative Models, table 1.

    Example:
        >>> found = kde(torch.zeros(3, 2), torch.zeros(1, 2), bandwidths=[1.0])
        >>> round(found.log_likelihood.item(), 4)
        -1.8379
    """
    _admit(samples, x, bandwidths, validation)
    scores, bandwidth = None, float(bandwidths[0])
    if validation is not None:
        scores = _log_densities(samples, validation, bandwidths, budget).mean(1)
        bandwidth = float(bandwidths[int(scores.argmax())])
    return Parzen(_log_densities(samples, x, [bandwidth], budget)[0], bandwidth, scores)


def _log_densities(samples: Tensor, x: Tensor, bandwidths: Sequence[float], budget: int) -> Tensor:
    """log p_h(x) for each bandwidth, [H, B]: distances by matrix products, in float64 and about the samples' mean."""
    centres = samples.flatten(1).double()
    mean = centres.mean(0)
    centres = centres - mean
    rows = (x.to(samples.device).flatten(1).double() - mean).split(max(1, budget // len(centres)))
    return torch.cat([_block(centres, part, bandwidths) for part in rows], 1)


def _block(centres: Tensor, x: Tensor, bandwidths: Sequence[float]) -> Tensor:
    squares = torch.cdist(x, centres, compute_mode="use_mm_for_euclid_dist").square()
    n, d = centres.shape
    sums = [torch.logsumexp(squares / (-2 * h**2), 1) - 0.5 * d * math.log(2 * math.pi * h**2) for h in bandwidths]
    return torch.stack(sums) - math.log(n)


def _admit(samples: Tensor, x: Tensor, bandwidths: Sequence[float], validation: Tensor | None) -> None:
    if not len(bandwidths) or not all(0 < h < math.inf for h in bandwidths):
        raise ValueError(f"expected at least one bandwidth, all finite and above 0, came {list(bandwidths)}; write [0.2]")
    if validation is None and len(bandwidths) > 1:
        raise ValueError(f"expected validation data to choose among {len(bandwidths)} bandwidths; write validation=..., or one")
    given = {"samples": samples, "x": x} | ({} if validation is None else {"validation": validation})
    shapes = [tuple(t.shape[1:]) for t in given.values()]
    if len(set(shapes)) > 1 or not len(samples):
        raise ValueError(f"expected samples and observations of one shape, came {len(samples)} samples of {shapes}")
    broken = {name: int((~t.isfinite().flatten(1).all(1)).sum()) for name, t in given.items() if t.numel()}
    if any(broken.values()):
        words = ", ".join(f"{n} rows of {name}" for name, n in broken.items() if n)
        raise ValueError(f"expected finite numbers, came NaN or infinity in {words}; leave such rows out and count them apart")
