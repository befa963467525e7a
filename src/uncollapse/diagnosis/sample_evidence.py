"""What tells good samples from bad ones: each measure with its standard error, beside what other real rows score."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from uncollapse.divergences.sample_distances import SampleDistances, pull_in

NEIGHBOURS = 5  # which neighbour the balls reach to
NEAR = (0.001, 0.01)  # the share of the data's pairs that count as near, at least and at most
PAIRS = 50  # near pairs of the data that are wanted
INSIDE = 1000  # rows of each that spread and energy distance are of
TWINS = 0.01  # share of data rows that are nearer to their nearest neighbour than a twin is


class Measure(NamedTuple):
    """A measured value; `of_data` is what other real rows score, at the same n and dimension."""

    value: float
    standard_error: float
    of_data: float | None = None
    of_data_standard_error: float = 0.0

    @property
    def ratio(self) -> tuple[float, float]:
        """The value as a share of what other real rows score, and its standard error."""
        reference = max(self.of_data or 0.0, 1e-12)
        error = math.hypot(self.standard_error, self.value * self.of_data_standard_error / reference)
        return self.value / reference, error / reference

    @property
    def excess(self) -> tuple[float, float]:
        """The value above what other real rows score, and its standard error."""
        return self.value - (self.of_data or 0.0), math.hypot(self.standard_error, self.of_data_standard_error)


@torch.no_grad()
def sample_evidence(real: Tensor, fake: Tensor) -> dict[str, Measure]:
    r"""Precision, recall and coverage by balls to the fifth neighbour; repeats, near pairs, spread and the energy coefficient.

    Each is of n samples and n data rows, and stands beside what n other real rows would score:

    - precision, the share of samples in a ball of the data, and recall, the share of data in a ball of the samples: other real
      rows score the share of data rows that are one of the five nearest neighbours of some other row, since such a row lies in
      a ball that was drawn without it. In high dimensions that is far below 1 (hubs);
    - coverage, the share of the balls of the data with a sample in it: :math:`1 - \prod_{i < 5} \frac{n - 1 - i}{2 n - 1 - i}`;
    - repeats, the share of samples with a twin, nearer than all but a hundredth of data rows are to any other;
    - near pairs, how many pairs of samples are as near as the nearest thousandth of the data's pairs (a hundredth of few rows),
      as a multiple of those: the birthday paradox. Twice as many tell of half the kinds of samples;
    - spread, the mean distance of two samples, and nearest ratio, the median distance to the nearest other one, as multiples
      of the data's;
    - energy coefficient, :math:`1 - (\mathbb E|x - x'| + \mathbb E|y - y'|) / (2 \mathbb E|x - y|)`. Like the spread it is of
      the first thousand rows, pulled in where they lie far out, so that a few of them do not decide it: how many there are is
      what precision tells.

    Standard errors of shares are binomial, those of means over pairs of their projection on one row (Hoeffding), those of
    medians by order statistics; that of coverage adds a jackknife over samples.

    Args:
        real: Data [n, *shape], n of at least 10.
        fake: As many samples.

    References:
        Kynkäänniemi et al. (2019), Improved Precision and Recall; Naeem et al. (2020), Reliable Fidelity and Diversity Metrics
        (coverage); Arora and Zhang (2017), Do GANs Actually Learn the Distribution? (near pairs); Székely and Rizzo (2013),
        Energy Statistics, equation 5.2; Hoeffding (1948), A Class of Statistics with Asymptotically Normal Distribution.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> found = sample_evidence(torch.randn(500, 50), torch.zeros(500, 50))
        >>> found["coverage"].value, found["recall"].value, found["repeats"].value
        (1.0, 0.0, 1.0)
    """
    real, fake = (x.flatten(1).double() for x in (real, fake))
    plain = SampleDistances.of(real, fake)
    inside = SampleDistances.of(*pull_in(real[:INSIDE], fake[:INSIDE]))
    return {
        **_neighbour_shares(plain),
        "repeats": _repeats(plain),
        "near_pairs": _near_pairs(plain),
        "nearest_ratio": _nearest_ratio(plain),
        "spread": _spread(inside),
        "energy_coefficient": _energy_coefficient(inside),
    }


def _neighbour_shares(d: SampleDistances) -> dict[str, Measure]:
    around_real, around_fake = (x.kthvalue(NEIGHBOURS, 1).values for x in (d.real, d.fake))
    within = d.across <= around_real
    shares = {
        "precision": within.any(1),
        "recall": (d.across <= around_fake.unsqueeze(1)).any(0),
        "coverage": within.any(0),
    }
    other = _share((d.real <= around_real.unsqueeze(1)).any(0))
    missed = math.prod((d.n - 1 - i) / (2 * d.n - 1 - i) for i in range(NEIGHBOURS))
    of_data = {"precision": other, "recall": other, "coverage": Measure(1 - missed, 0.0)}
    found = {name: _share(rows) for name, rows in shares.items()}
    found["coverage"] = found["coverage"]._replace(standard_error=_coverage_error(within))
    return {name: _beside(share, of_data[name]) for name, share in found.items()}


def _coverage_error(within: Tensor) -> float:
    """Binomial over data rows, and jackknife over samples, of which one may cover many balls that no other does."""
    n = len(within)
    alone = within[:, within.sum(0) == 1].sum(1).double() / n
    by_rows = _share(within.any(0)).standard_error ** 2
    return math.sqrt(by_rows + (n - 1) / n * float((alone - alone.mean()).square().sum()))


def _repeats(d: SampleDistances) -> Measure:
    of_real, of_fake = d.real.min(1).values, d.fake.min(1).values
    twin = of_real.kthvalue(max(1, int(TWINS * d.n))).values
    return _beside(*(_share(nearest <= twin) for nearest in (of_fake, of_real)))


def _near_pairs(d: SampleDistances) -> Measure:
    pairs = d.n * (d.n - 1) // 2
    share = min(max(PAIRS / pairs, NEAR[0]), NEAR[1])
    upper = d.real[torch.ones_like(d.real, dtype=torch.bool).triu(1)]
    reach = upper.kthvalue(max(1, round(share * pairs))).values
    return _multiple(*(_over_pairs((x <= reach).double()) for x in (d.fake, d.real)))


def _nearest_ratio(d: SampleDistances) -> Measure:
    of_fake, of_real = (_median(x.min(1).values) for x in (d.fake, d.real))
    if not of_real.value:
        return Measure(math.inf if of_fake.value else 1.0, math.inf, 1.0)
    return _multiple(of_fake, of_real)


def _median(values: Tensor) -> Measure:
    """The median, and half of the interval between the order statistics that lie a standard error beyond it."""
    n = len(values)
    values, beyond = values.sort().values, math.sqrt(n) / 2
    low, high = max(0, math.floor(n / 2 - beyond)), min(n - 1, math.ceil(n / 2 + beyond))
    return Measure(float(values[(n - 1) // 2]), float(values[high] - values[low]) / 2)


def _spread(d: SampleDistances) -> Measure:
    return _multiple(*(_over_pairs(x.double()) for x in (d.fake, d.real)))


def _energy_coefficient(d: SampleDistances) -> Measure:
    """As a share of its largest value; negative where two samples of one distribution happen to be near."""
    of_real, of_fake = (_without_self(x.double()).sum(1) / (d.n - 1) for x in (d.real, d.fake))
    across = d.across.double()
    most = 2 * float(across.mean())
    if not most:
        return Measure(0.0, 0.0, 0.0)
    of_samples, of_rows = across.mean(1) - of_fake, across.mean(0) - of_real
    error = 2 * math.sqrt((float(of_samples.var()) + float(of_rows.var())) / d.n)
    return Measure((float(of_samples.mean()) + float(of_rows.mean())) / most, error / most, 0.0)


def _over_pairs(values: Tensor) -> Measure:
    """The mean over pairs of different rows [n, n], whatever stands on the diagonal."""
    rows = _without_self(values).sum(1) / (len(values) - 1)
    return Measure(float(rows.mean()), 2 * float(rows.std()) / math.sqrt(len(rows)))


def _without_self(values: Tensor) -> Tensor:
    return values.clone().fill_diagonal_(0.0)


def _share(rows: Tensor) -> Measure:
    share, n = float(rows.double().mean()), len(rows)
    return Measure(share, math.sqrt(max(share * (1 - share), 1 / n) / n))


def _multiple(measure: Measure, of_data: Measure) -> Measure:
    """A mean over pairs of samples, as a multiple of that over pairs of data."""
    return Measure(*_beside(measure, of_data).ratio, 1.0)


def _beside(measure: Measure, of_data: Measure) -> Measure:
    return Measure(measure.value, measure.standard_error, of_data.value, of_data.standard_error)
