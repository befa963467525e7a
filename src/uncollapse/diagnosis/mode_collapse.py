"""Mode collapse of a generator, by its samples beside data: a verdict, its reason and the evidence."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from uncollapse.diagnosis.critic_evidence import CriticEvidence
from uncollapse.diagnosis.mode_coverage import KnownModes, ModeCoverage, mode_coverage
from uncollapse.diagnosis.mode_verdict import LEAST, LOOKED, ModeCollapseThresholds, verdict_on
from uncollapse.diagnosis.sample_evidence import Measure, sample_evidence
from uncollapse.divergences.copying import copying
from uncollapse.divergences.group_shares import GroupShares, group_shares, label_shares, shifted_mass
from uncollapse.divergences.sample_distances import extent, in_extents

GROUPS = 50  # known modes up to which they are the groups
RARE = 1 / 3  # of its share, below which a group is missing; a shift by 0.4 of a mode's width halves that of its edges
DRAWN_ANEW = 100  # times that the counts of groups are drawn for the standard error of missing mass
SURE = 3.3  # standard errors beyond which a group's share is off: one in a thousand


class Group(NamedTuple):
    """A group of rows that are alike, with too few or too many samples."""

    data: float  # share of the data rows
    samples: float  # share of the samples
    example: int  # the data row, or where there is none the sample, that stands for it
    real_rows: tuple[int, ...] = ()  # its data rows, by their numbers as they were given
    fake_rows: tuple[int, ...] = ()  # its samples


@dataclass(frozen=True)
class SampleDiagnosis:
    """What was seen of n samples beside as many data rows."""

    verdict: str  # a name in MEANINGS
    reason: str
    measures: dict[str, Measure]
    n: int
    modes: ModeCoverage | None = None
    missing: list[Group] = field(default_factory=list)  # groups with less than half their share, the largest first
    overdone: list[Group] = field(default_factory=list)  # with more than twice their share
    critic: CriticEvidence | None = None  # of the game, where it is at hand

    @property
    def closeness(self) -> float | None:
        """By which the best weights are chosen; at most 1, and 0 or less of a constant, of few rows, and of what lies far off.

        The smallest of precision, recall and coverage as shares of what other real rows score, less ten times the energy
        coefficient, less the share of samples that repeat another one. None of too few samples.
        """
        seen = self.measures
        if "recall" not in seen:
            return None
        least = min(1.0, *(seen[name].ratio[0] for name in ("precision", "recall", "coverage")))
        return least - 10 * seen["energy_coefficient"].value - max(0.0, seen["repeats"].excess[0])

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON, by the names of summary.json; what was not looked at is left out."""
        found: dict[str, Any] = {"verdict": self.verdict, "reason": self.reason, "n": self.n}
        for name, measure in self.measures.items():
            found |= {name: measure.value, f"{name}_standard_error": measure.standard_error}
            found |= {f"{name}_data": measure.of_data} if name in ("precision", "recall", "coverage", "high_quality") else {}
        if self.modes is not None:
            found |= {"modes": self.modes.modes, "known_modes": self.modes.known, "reverse_kl": self.modes.reverse_kl}
            found |= {"high_quality": self.modes.high_quality, "reverse_kl_floor": self.modes.floor}
            found |= {"modes_of_all": self.modes.of_all.captured, "reverse_kl_of_all": self.modes.of_all.reverse_kl}
        found |= {} if self.closeness is None else {"closeness": self.closeness}
        return found | (self.critic.as_dict() if self.critic else {})

    def __str__(self) -> str:
        """A few lines to read."""
        lines = [f"{'verdict':<20} {self.verdict}: {self.reason}"]
        if self.modes is not None:
            lines += [f"{'modes':<20} {self.modes.modes} of {self.modes.known}"]
            lines += [f"{'reverse KL':<20} {self.modes.reverse_kl:.3f} nats (a perfect sampler: {self.modes.floor:.3f})"]
        for name, measure in self.measures.items():
            other = "" if measure.of_data is None else f" (other real rows: {measure.of_data:.3f})"
            lines.append(f"{name.replace('_', ' '):<20} {measure.value:.3f} ± {measure.standard_error:.3f}{other}")
        lines += [str(self.critic)] if self.critic else []
        return "\n".join(lines)


@torch.no_grad()
def diagnose_samples(
    fake: Tensor,
    real: Tensor,
    train: Tensor | None = None,
    modes: KnownModes | None = None,
    critic: CriticEvidence | None = None,
    thresholds: ModeCollapseThresholds = ModeCollapseThresholds(),
    further: Mapping[str, Measure] | None = None,
    seed: int = 0,
) -> SampleDiagnosis:
    r"""Do samples lie where the data lie, as widely spread and in the right proportions?

    Every measure stands beside what other real rows would score at the same n and dimension, with its standard error, and is
    within its threshold, beyond it, or as yet undecided. Healthy is what is within all of them; if none is beyond and one is
    undecided, the samples are too few. Nothing asks whether a classifier can tell samples from data: it tells those of every
    trained generator.

    Args:
        fake: Samples [n, *shape], or their features.
        real: Data [m, *shape] that the generator was not trained on. The larger of both is cut to the other's size, at random.
        train: All the rows that it was trained on, to tell copies of them; None: nothing is told of copies.
        modes: Modes of the data, where they are known: which modes samples lie in then counts in place of precision, and
            neighbours are found among their features.
        critic: What the game's critic says, where there is one; it decides nothing.
        thresholds: How far samples may be from the data.
        further: Measures that were taken elsewhere, such as `copies`.
        seed: Of the rows, groups and halves.

    References:
        See `sample_evidence`, `group_shares` and `mode_coverage`.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x, y = torch.randn(500, 2), torch.randn(500, 2)
        >>> [diagnose_samples(z, y).verdict for z in (x, 0.05 * x, x + 9, x[:100].repeat(5, 1), x[:15])]
        ['healthy', 'collapsed', 'diverged', 'collapsed', 'too few']
    """
    n = min(len(fake), len(real), LOOKED)
    if n < LEAST:
        return SampleDiagnosis("too few", f"{n} samples and data rows; at least {LEAST} of each are measured", {}, n)
    finite = fake.flatten(1).isfinite().all(1)
    if not finite.all():
        share = Measure(1 - float(finite.double().mean()), 0.0)
        words = f"{100 * share.value:.3g} % of the samples are not finite"
        return SampleDiagnosis("diverged", words, {"not_finite": share}, n, critic=critic)
    generator = Generator().manual_seed(seed)
    of_fake, of_real = (torch.randperm(len(x), generator=generator)[:n] for x in (fake, real))
    fake, real = fake[of_fake.to(fake.device)], real[of_real.to(real.device)]
    features = _in_extents(*((x if modes is None else modes.features(x)).flatten(1) for x in (real, fake)))
    measures, known = sample_evidence(*features), None
    if modes is not None:
        known = mode_coverage(fake, modes)
        measures = {"high_quality": _high_quality(known, real, modes), **measures}
        if features[0].shape != real.flatten(1).shape:
            measures["plain_coverage"] = sample_evidence(*_in_extents(real.flatten(1), fake.flatten(1)))["coverage"]
    groups = _groups(real, fake, features, modes, seed)
    measures["misplaced_mass"] = Measure(groups.misplaced_mass, groups.standard_error, 0.0)
    few, many = _off_groups(groups, of_real, of_fake)
    measures["missing_mass"] = _missing_mass(groups, seed)
    measures |= {"shifted_mass": Measure(*shifted_mass(features[0], features[1], seed), 0.0), **(further or {})}
    if train is not None:
        data, samples, trained = _in_extents(*(x.flatten(1) for x in (real, fake, train)))
        copied = copying(samples, trained, data)
        measures["copies"] = Measure(copied.share, copied.standard_error, 0.0)
    deciding = {name: measure for name, measure in measures.items() if known is None or name != "precision"}
    verdict, reason = verdict_on(deciding, n, thresholds, known)
    return SampleDiagnosis(verdict, reason, measures, n, known, few, many, critic)


def _in_extents(real: Tensor, *others: Tensor) -> list[Tensor]:
    size = extent(real)
    return [in_extents(x, size) for x in (real, *others)]


def _missing_mass(groups: GroupShares, seed: int) -> Measure:
    """How much more data than samples lie in groups that surely get too few, less than a third of their share.

    Its standard error is that over counts drawn anew from the shares that were seen, groups chosen anew by each.
    """
    real, fake = groups.real.double(), groups.fake.double()
    generator = Generator().manual_seed(seed)
    drawn = [_counts_anew(counts, generator) for counts in (real, fake)]
    return Measure(float(_missed(real, fake)), float(_missed(*drawn).std()), 0.0)


def _missed(real: Tensor, fake: Tensor) -> Tensor:
    """The mass of data less that of samples over the groups that are missing: counts [..., K] of each to [...]."""
    p, q, sure = _shares(real, fake)
    return ((p - q) * (sure & (q < RARE * p))).sum(-1)


def _counts_anew(counts: Tensor, generator: Generator) -> Tensor:
    """Counts of as many rows, drawn by the shares of these [K]: [DRAWN_ANEW, K]."""
    n, k = int(counts.sum()), len(counts)
    chosen = torch.multinomial(counts, DRAWN_ANEW * n, replacement=True, generator=generator).view(DRAWN_ANEW, n)
    rows = torch.arange(DRAWN_ANEW).unsqueeze(1) * k
    return torch.bincount((rows + chosen).flatten(), minlength=DRAWN_ANEW * k).view(DRAWN_ANEW, k).double()


def _shares(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The shares of groups of both samples, and whether they differ beyond chance: counts [..., K] to [..., K] each."""
    n, m = real.sum(-1, keepdim=True), fake.sum(-1, keepdim=True)
    p, q = real / n, fake / m
    error = (p * (1 - p) / n + q * (1 - q) / m).sqrt().clamp_min(1e-12)
    return p, q, (q - p).abs() > SURE * error


def _high_quality(known: ModeCoverage, real: Tensor, modes: KnownModes) -> Measure:
    shares = (known.high_quality, mode_coverage(real, modes).high_quality)
    errors = (math.sqrt(max(share * (1 - share), 1 / known.n) / known.n) for share in shares)
    error, of_data_error = errors
    return Measure(shares[0], error, shares[1], of_data_error)


def _groups(real: Tensor, fake: Tensor, features: list[Tensor], modes: KnownModes | None, seed: int) -> GroupShares:
    if modes is not None and len(modes) <= GROUPS:
        return label_shares(modes.assign(real)[0], modes.assign(fake)[0], len(modes), seed)
    return group_shares(features[0], features[1], seed=seed)


def _off_groups(groups: GroupShares, of_real: Tensor, of_fake: Tensor) -> tuple[list[Group], list[Group]]:
    """Groups with less than half their share of samples and groups with more than twice as much, beyond chance."""
    p, q, sure = _shares(groups.real.double(), groups.fake.double())
    few, many = sure & (q < 0.5 * p), sure & (q > 2 * p)
    order = (q - p).abs().argsort(descending=True).tolist()
    members = [
        (tuple(of_real[groups.real_group == k].tolist()), tuple(of_fake[groups.fake_group == k].tolist()))
        for k in range(len(groups.real))
    ]
    found = [Group(float(p[k]), float(q[k]), (rows[0] or rows[1] or (0,))[0], *rows) for k, rows in enumerate(members)]
    return tuple([found[k] for k in order if chosen[k]] for chosen in (few, many))  # type: ignore[return-value]
