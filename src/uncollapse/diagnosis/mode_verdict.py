"""The verdict on a generator's draws, by what was seen of them: its names, its limits, and whether a collapse lasts."""

import math
from dataclasses import dataclass
from typing import Any

MEANINGS = {
    "healthy": "the draws lie where the data lie, and spread as widely",
    "blurred": "the draws are spread as the data are, but few of them are as sharp",
    "dropping modes": "the draws lie where the data lie, but some kinds of observations are missing, or too rare",
    "collapsed": "the draws are a few kinds of observations, over and over",
    "diverged": "the draws lie where there are no data",
}
"""The verdicts of `judge`, and what each means."""

RISING = 0.05  # coverage, or share of modes, from one look to the next that makes a collapse a beginning


@dataclass(frozen=True)
class Limits:
    """Where the verdicts lie.

    Precision and coverage are by balls to the fifth neighbour; the coverage of a perfect sampler is about 0.97. Draws that are
    uniform over the grid's square have 0.02 within 3 standard deviations of a mode, and a coverage of 0.05.
    """

    off: float = 0.3  # precision, or share of draws of high quality, below which draws lie where no data are
    faint: float = 0.03  # share of draws of high quality below which the modes cannot be made out at all
    hazy: float = 0.1  # coverage below which the data cannot be made out, where modes are not known
    sharp: float = 0.5  # share of draws of high quality below which they are blurred
    spread: float = 0.02  # energy distance below which draws are spread as the data are
    collapsed: float = 0.5  # reverse KL over known modes, as a share of log K, above which few are left
    dropping: float = 0.1  # nats of reverse KL above a perfect sampler's that call for a remedy
    few: float = 0.2  # coverage below which few kinds are left, where modes are not known
    some: float = 0.7  # coverage below which some are missing
    near: float = 3.0  # standard deviations within which a draw is of high quality


def judge(seen: dict[str, Any], limits: Limits = Limits()) -> tuple[str, str]:
    """The verdict and its reason, from what was seen.

    Example:
        >>> judge({"modes": None, "precision": 0.9, "coverage": 0.5, "energy_distance": 0.1})
        ('dropping modes', 'draws come near 50 % of the observations (equal distributions: 97 %)')
    """
    return _by_neighbours(seen, limits) if seen["modes"] is None else _by_modes(seen, limits)


def _by_neighbours(seen: dict[str, Any], limits: Limits) -> tuple[str, str]:
    coverage = seen["coverage"]
    if seen["precision"] < limits.off:
        reason = f"{100 * seen['precision']:.0f} % of the draws lie near an observation"
        if coverage >= limits.some or (coverage >= limits.hazy and seen["energy_distance"] < limits.spread):
            return "blurred", _though(reason, seen)
        return "diverged", reason
    share = f"draws come near {100 * coverage:.0f} % of the observations (equal distributions: 97 %)"
    if coverage < limits.few:
        return "collapsed", share
    return ("dropping modes" if coverage < limits.some else "healthy"), share


def _by_modes(seen: dict[str, Any], limits: Limits) -> tuple[str, str]:
    quality, k, floor = seen["high_quality"], seen["known_modes"], seen["reverse_kl_floor"]
    words = f"{seen['modes']} of {k} modes, reverse KL {seen['reverse_kl']:.2f} nats"
    if floor >= limits.dropping:  # few draws for so many modes
        words = f"{words} (of a perfect sampler's as few draws: {floor:.2f})"
    share = f"{100 * quality:.0f} % of the draws lie in a mode"
    even = seen["reverse_kl"] - floor <= limits.dropping + _chance(seen)
    blurred = quality < limits.sharp and even and seen["energy_distance"] < limits.spread
    if quality < limits.faint or (quality < limits.off and seen["precision"] < limits.off and not blurred):
        return "diverged", share
    if k > 1 and seen["reverse_kl"] > limits.collapsed * math.log(k):
        return "collapsed", words
    if not even:
        return "dropping modes", words
    return ("blurred", f"{_though(share, seen)}: {words}") if blurred else ("healthy", words)


def _chance(seen: dict[str, Any]) -> float:
    """Three standard deviations of a perfect sampler's reverse KL, by its mean (K - 1) / 2n."""
    k = seen["known_modes"]
    return 3 * seen["reverse_kl_floor"] * math.sqrt(2 / (k - 1)) if k > 1 else 0.0


def _though(reason: str, seen: dict[str, Any]) -> str:
    return f"{reason}, though they are spread as the data are (energy distance {seen['energy_distance']:.3f})"


def lasting(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether modes were missing at two looks, one after the other, and are not on their way back; or draws stay far off.

    Blurred draws are no collapse: they sharpen, or the game rests.

    Example:
        >>> few, more = ({"verdict": "dropping modes", "coverage": c} for c in (0.3, 0.6))
        >>> lasting(few, few), lasting(few, more)
        (True, False)
    """
    missing = ("dropping modes", "collapsed")
    if before.get("verdict") == now.get("verdict") == "diverged":
        return now["energy_distance"] >= before["energy_distance"]
    if before.get("verdict") not in missing or now.get("verdict") not in missing:
        return False
    rise = _share(now) - _share(before)
    return rise < RISING


def _share(look: dict[str, Any]) -> float:
    """Of known modes, or else of observations, that draws come near."""
    return look["coverage"] if look.get("modes") is None else look["modes"] / look["known_modes"]
