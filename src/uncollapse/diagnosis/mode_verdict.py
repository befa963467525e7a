"""The verdict on a generator's samples: its names, its thresholds, and how evidence leads to it."""

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from uncollapse.diagnosis.mode_coverage import ModeCoverage
from uncollapse.diagnosis.sample_evidence import Measure

MEANINGS = {
    "healthy": "the samples lie where the data lie, as widely spread and in the right proportions",
    "blurred": "the samples are spread over the data, but lack their detail: few of them are as sharp, or they are averages",
    "dropping modes": "the samples lie where the data lie, but some kinds of observations are missing, or too rare",
    "collapsed": "the samples are a few kinds of observations, over and over",
    "diverged": "many samples lie where there are no data, or are no finite numbers",
    "copies the data": "the samples are training rows, with or without a little noise",
    "too early": "the samples are not right yet, and still getting better",
    "too few": "so few samples cannot tell whether they are right",
}
"""The verdicts on a generator, and what each means."""

LOOKED = 2500  # samples, and data rows, that are compared: PacGAN's protocol
LEAST = 20  # samples, and data rows, below which nothing is measured
ENOUGH = 250  # below which none are called healthy: three tenths of the kinds may be missing without a trace


@dataclass(frozen=True)
class ModeCollapseThresholds:
    """How far samples may be from the data, each by the name of its measure.

    Precision, recall, coverage and high quality are shares of what other real rows score at the same n and dimension, spread
    and near pairs multiples of it. A measure is within or beyond its threshold when it is so by `standard_errors` of its own.
    """

    precision: float = 0.9
    high_quality: float = 0.9
    recall: float = 0.85
    coverage: float = 0.85
    misplaced_mass: float = 0.25  # of the total variation distance that groups of rows show
    missing_mass: float = 0.05  # of the data, in groups that get less than a third of their share of samples
    shifted_mass: float = 0.25  # of the same, along the line between the means
    spread: float = 0.8  # at least; at most its inverse
    near_pairs: float = 4.0
    repeats: float = 0.1  # share of samples with a twin, above the data's
    energy_coefficient: float = 0.015
    reverse_kl: float = 0.1  # nats above a perfect sampler's
    copies: float = 0.1  # share of samples that are training rows
    collapsed_repeats: float = 0.5  # as many are few kinds over and over
    collapsed_spread: float = 0.6
    collapsed_coverage: float = 0.2
    collapsed_reverse_kl: float = 0.5  # as a share of log K
    blurred_energy: float = 0.04  # times the squared share that is nowhere near the data: what is far costs more energy
    blurred_coverage: float = 0.9  # of data by samples themselves, where modes are told by features
    standard_errors: float = 2.0


class Finding(NamedTuple):
    """One measure beside its threshold."""

    name: str
    state: str  # within, beyond or open: as yet undecided
    words: str
    enough: float = 0.0  # times as many samples would decide it, if it is open


def verdict_on(
    evidence: dict[str, Measure],
    n: int,
    thresholds: ModeCollapseThresholds = ModeCollapseThresholds(),
    modes: ModeCoverage | None = None,
) -> tuple[str, str]:
    """The verdict and its reason.

    Args:
        evidence: What `sample_evidence` and its neighbours found, by name.
        n: Samples, and as many data rows.
        thresholds: How far samples may be from the data.
        modes: A `ModeCoverage`, where modes are known.

    Example:
        >>> found = {"spread": Measure(0.3, 0.01, 1.0), "energy_coefficient": Measure(0.1, 0.01, 0.0)}
        >>> verdict_on(found, 500)
        ('collapsed', 'samples are spread 0.30 ± 0.01 times as widely as the data')
        >>> verdict_on({"recall": Measure(0.72, 0.06, 0.8)}, 100)
        ('too few', 'recall 0.90 ± 0.07 of what other real rows score, threshold 0.85: about 910 samples would tell')
    """
    found = {name: _compared(name, measure, thresholds) for name, measure in evidence.items() if name in _WORDS}
    beyond = {name: finding for name, finding in found.items() if finding.state == "beyond"}
    for rule in (_collapsed, _copied, _off, _dropping, _otherwise):
        verdict = rule(_Case(evidence, beyond, thresholds, modes))
        if verdict is not None:
            return verdict
    open_ = [finding for finding in found.values() if finding.state == "open"]
    if open_:
        worst = max(open_, key=lambda finding: finding.enough)
        return "too few", f"{worst.words}: {_would_tell(n * worst.enough)}"
    if n < ENOUGH:
        return "too few", f"{n} samples show no fault, at least {ENOUGH} are needed to say that they have none"
    return "healthy", _well(evidence, modes)


_WORDS = {
    "precision": "precision {} of what other real rows score",
    "high_quality": "{} as many samples as data lie in a known mode",
    "recall": "recall {} of what other real rows score",
    "coverage": "coverage {} of what other real rows score",
    "misplaced_mass": "{} of all mass lies in the wrong groups",
    "missing_mass": "{} of the data lie in groups with hardly any samples",
    "shifted_mass": "{} of all mass lies on the wrong side of the data",
    "spread": "samples are spread {} times as widely as the data",
    "near_pairs": "near pairs are {} times as many as the data's",
    "repeats": "{} of the samples repeat another one",
    "energy_coefficient": "energy coefficient {}",
    "copies": "{} of the samples are training rows",
}
"""Each measure in words, its value and standard error left open."""

_AS_EXCESS = ("misplaced_mass", "missing_mass", "shifted_mass", "repeats", "energy_coefficient", "copies")
_AT_LEAST = ("precision", "high_quality", "recall", "coverage")


def _compared(name: str, measure: Measure, thresholds: ModeCollapseThresholds) -> Finding:
    """A measure beside its threshold: how many standard errors it is within it."""
    value, error = measure.excess if name in _AS_EXCESS else measure.ratio
    threshold = getattr(thresholds, name)
    if name in _AT_LEAST:
        room = value - threshold
    elif name == "spread":
        room = min(value - threshold, 1 / threshold - value)
    else:
        room = threshold - value
    needed = thresholds.standard_errors * error
    state = "within" if room > needed else "beyond" if room < -needed else "open"
    words = _WORDS[name].format(f"{value:.2f} ± {error:.2f}" if name != "energy_coefficient" else f"{value:.3f} ± {error:.3f}")
    enough = min((needed / room) ** 2 if room else math.inf, 1000.0)
    return Finding(name, state, f"{words}, threshold {threshold:g}" if state == "open" else words, enough)


class _Case(NamedTuple):
    """What a rule is handed."""

    seen: dict[str, Measure]
    beyond: dict[str, Finding]
    limits: ModeCollapseThresholds
    modes: ModeCoverage | None

    @property
    def uneven(self) -> bool:
        """Whether known modes are missing or get uneven shares, beyond chance; of all samples where few lie in one."""
        modes, most = self.modes, self.limits.reverse_kl
        if modes is None:
            return False
        if modes.high_quality < 0.5:
            return modes.of_all.reverse_kl > modes.of_all.floor + most + 3 * modes.of_all.deviation
        return modes.missing > 0 or modes.reverse_kl > modes.floor + most + 3 * modes.deviation

    @property
    def few_modes(self) -> bool:
        """Whether few of several known modes are left, of samples that lie in them."""
        modes, limits = self.modes, self.limits
        if modes is None or modes.known < 2 or modes.high_quality < 0.5:
            return False
        most = limits.collapsed_reverse_kl * math.log(modes.known)
        return modes.reverse_kl > max(most, modes.floor + 3 * modes.deviation)


def _collapsed(case: _Case) -> tuple[str, str] | None:
    """Few kinds of observations, over and over."""
    if case.modes is not None and case.few_modes:
        return "collapsed", _in_modes(case.modes)
    limits = case.limits
    few = replace(limits, repeats=limits.collapsed_repeats, spread=limits.collapsed_spread, coverage=limits.collapsed_coverage)
    for name in ("repeats", "spread", "coverage"):
        if name in case.beyond and _compared(name, case.seen[name], few).state == "beyond" and _counts(name, case):
            return "collapsed", case.beyond[name].words
    return None


def _counts(name: str, case: _Case) -> bool:
    """Repeats are a collapse wherever they lie; little spread or coverage only of samples that lie near the data.

    Among features, such as those of a classifier, bad images are all alike: there repeats too count only near the data.
    """
    near = not {"precision", "high_quality"} & case.beyond.keys()
    if name == "repeats":
        return near or "plain_coverage" not in case.seen
    return near and (name == "coverage" or case.seen[name].ratio[0] < 1)


def _copied(case: _Case) -> tuple[str, str] | None:
    return ("copies the data", case.beyond["copies"].words) if "copies" in case.beyond else None


def _off(case: _Case) -> tuple[str, str] | None:
    """Samples that lie where there are no data: all a little beside them, or some far away."""
    name = next((name for name in ("high_quality", "precision") if name in case.beyond), None)
    if name is None:
        return None
    words, off, energy = case.beyond[name].words, 1 - case.seen[name].ratio[0], case.seen["energy_coefficient"].excess[0]
    if _spread_as_the_data(case, energy, off) and not case.uneven:
        return "blurred", f"{words}, though they are spread as the data are (energy coefficient {energy:.3f})"
    return "diverged", f"{100 * off:.0f} % of the samples lie where there are no data: {words}"


def _spread_as_the_data(case: _Case, energy: float, off: float) -> bool:
    """By their energy for the share that is off; where modes are told by features, by how much of the data they come near."""
    plain = case.seen.get("plain_coverage")
    if plain is not None:
        return plain.ratio[0] >= case.limits.blurred_coverage
    return energy < case.limits.blurred_energy * off**2 and case.seen["coverage"].ratio[0] >= 0.1


def _dropping(case: _Case) -> tuple[str, str] | None:
    """Kinds of observations that are missing, too rare, or come too often."""
    if case.modes is not None and case.uneven:
        return "dropping modes", _in_modes(case.modes)
    also = () if "spread" in case.beyond else ("recall", "near_pairs")  # which follow from too small a spread
    for name in ("coverage", "missing_mass", "misplaced_mass", "shifted_mass", "repeats", *also):
        if name in case.beyond:
            return "dropping modes", case.beyond[name].words
    return None


def _otherwise(case: _Case) -> tuple[str, str] | None:
    """Spread too little or too widely; or of another distribution in a way that no other measure names."""
    if "spread" in case.beyond:
        return ("blurred" if case.seen["spread"].ratio[0] < 1 else "diverged"), case.beyond["spread"].words
    name = next(iter(case.beyond), None)
    return None if name is None else ("dropping modes", case.beyond[name].words)


def _well(seen: dict[str, Measure], modes: ModeCoverage | None) -> str:
    if modes is not None:
        return _in_modes(modes)
    shares = [f"{name} {seen[name].ratio[0]:.2f}" for name in ("precision", "recall", "coverage") if name in seen]
    return f"{', '.join(shares)} of what other real rows score, energy coefficient {seen['energy_coefficient'].value:.3f}"


def _in_modes(modes: ModeCoverage) -> str:
    words = f"{modes.modes} of {modes.known} modes, {100 * modes.high_quality:.0f} % of the samples in one, reverse KL "
    return f"{words}{modes.reverse_kl:.2f} nats (a perfect sampler: {modes.floor:.2f})"


def _would_tell(n: float) -> str:
    """How many samples would decide what is open."""
    about = f"about {_rounded(n):,} samples would tell"
    return about if n <= LOOKED else f"{about}, more than the {LOOKED:,} that are compared"


def _rounded(n: float) -> int:
    """Two digits of a number of samples, above it."""
    power = 10 ** max(0, math.floor(math.log10(max(n, 1))) - 1)
    return math.ceil(n / power) * power


RISING = 0.05  # closeness, or share of modes, from one look to the next that makes a collapse a beginning


def lasting(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a collapse was there at two looks, one after the other, and is not on its way back.

    Blurred samples are no collapse.

    Example:
        >>> few, more = ({"verdict": "dropping modes", "closeness": c} for c in (0.3, 0.6))
        >>> lasting(few, few), lasting(few, more)
        (True, False)
    """
    bad = ("dropping modes", "collapsed", "diverged")
    return before.get("verdict") in bad and now.get("verdict") in bad and not _rises(before, now)


def _rises(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether samples come nearer to the data, or reach more of the modes."""
    units = {"closeness": 1, "modes": now.get("known_modes", 1)}
    names = [name for name in units if before.get(name) is not None and now.get(name) is not None]
    return any(now[name] - before[name] >= RISING * units[name] for name in names)
