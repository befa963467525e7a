"""The verdict on a VAE, by what was measured of both halves: its names, its thresholds, and whether a collapse lasts."""

import math
from dataclasses import dataclass
from typing import Any

from uncollapse.diagnosis.posterior_evidence import Evidence

MEANINGS = {
    "healthy": "the code is used: it tells observations apart and the decoder listens to it, so encodings and reconstructions "
    "mean something",
    "partly collapsed": "the code is used, but barely: there was more to tell of the data, and the decoder does without it",
    "collapsed": "the code is ignored: it is the same for every observation, or the decoder does not listen to it; encodings "
    "or reconstructions tell nothing about the data, though samples may look right",
    "worse than no code": "the decoder with the code is further from the data than the data's own averages, which need none: "
    "its reconstructions are wrong, or the variance around them is",
    "broken": "numbers of the model are not finite: nothing that it gives can be used",
    "unknown": "these observations, or what is known of this posterior, cannot tell whether the code is used",
}
"""The verdicts of `judge`, and what each means."""

RISING = 0.1  # nats, of information or of gain over the marginal, from one look to the next that make a collapse a beginning
LASTING = ("collapsed", "worse than no code", "broken")
"""Verdicts that are warned of where they last."""

SURE = 2.0  # standard errors within which a number is taken to lie
FAR = 1.0  # nats between codes and prior above which samples from the prior miss the codes


@dataclass(frozen=True)
class Thresholds:
    """Where the verdicts lie, in nats.

    What counts is the smaller of two numbers: the information I(x; z), and what the decoder gains by it. Below `collapsed` a
    code is ignored: half a nat tells fewer than two observations apart. Below `partly` it is barely used: two nats tell fewer
    than eight apart. Where less was there to tell, the thresholds are shares of that: a quarter and two thirds of what simple
    codes tell (`Reference`), a quarter and four fifths of the entropy of the observations; of one unit a nat is enough. They
    are never below `least`, which no sample of reasonable size tells from nothing. The decoder is held to what the code tells
    as well (`of_decoder`). Unused units beside used ones are no collapse: a healthy model uses as many as its data need.
    """

    collapsed: float = 0.5
    partly: float = 2.0
    least: float = 0.01
    active: float = 0.01  # variance of the posterior mean above which a unit is active (Burda et al., 2016), in the prior's

    def within(self, to_tell: float, entropy: float, units: int = 2) -> tuple[float, float]:
        """Both thresholds where a code of so many units could tell `to_tell` nats of observations with this entropy.

        Example:
            >>> [round(v, 2) for v in Thresholds().within(10.0, 7.6)], [round(v, 2) for v in Thresholds().within(0.0, 7.6)]
            ([0.5, 2.0], [0.01, 0.01])
        """
        low = min(self.collapsed, to_tell / 4, entropy / 4)
        some = min(self.partly, units, to_tell * 2 / 3, 0.8 * entropy)
        return max(min(self.least, self.collapsed), low), max(min(self.least, self.partly), some)

    def of_decoder(self, low: float, some: float, told: float) -> tuple[float, float]:
        """Both for what the decoder gains, where the code tells `told` nats: at least a quarter and half of that.

        By the exact posterior of a model it gains all of it, and more.
        """
        return max(low, min(self.collapsed, told / 4)), max(some, min(self.partly, told / 2))


def judge(seen: Evidence, thresholds: Thresholds = Thresholds()) -> tuple[str, str]:
    """The verdict and its reason.

    Example:
        >>> from dataclasses import replace
        >>> codes = (6.0, 0.1, [6.0], False, 5.6, 0.02, 7.6, False, "")
        >>> good = Evidence(*codes, 15.8, 0.3, 6.4, 0.2, 3.0, 7.6, 0.4, 0.1, 0.1, 5, 8, 2000)
        >>> judge(good)
        ('healthy', 'z tells 5.60 ± 0.02 nats about x, and the decoder gains 15.8 ± 0.3 by it; 5 of 8 units are used')
        >>> judge(replace(good, decoder_gain=0.0, decoder_gain_standard_error=0.0))[0]
        'collapsed'
        >>> judge(replace(good, gain_over_marginal=-800.0))[0]
        'worse than no code'
    """
    if seen.not_finite:
        return "broken", f"not finite: {seen.not_finite}"
    low, some = thresholds.within(seen.to_tell, seen.entropy, seen.latent_units)
    told = _told(seen, low, some)
    if told == "nothing":
        return "collapsed", _why_nothing(seen, low)
    low, some = thresholds.of_decoder(low, some, seen.mutual_information)
    taken = _place(seen.decoder_gain, seen.decoder_gain_standard_error, low, some)
    if seen.decoder_gain + SURE * seen.decoder_gain_standard_error < -low:
        return "worse than no code", f"the code of another observation serves x better: {_worse(seen)}"
    if taken == "nothing":
        return (
            "collapsed",
            f"the decoder ignores z: it gains {_gain(seen)} nats by the code of x over another's, {_information_clause(seen)}",
        )
    if seen.gain_over_marginal + SURE * seen.gain_over_marginal_standard_error < 0:
        return "worse than no code", _worse(seen)
    if "unclear" in (told, taken):
        return "unknown", _unclear(seen, told)
    if told == "little":
        return "partly collapsed", f"{_both(seen)}, of {min(seen.to_tell, seen.entropy):.2f} or more that a code could tell"
    if taken == "little":
        return "partly collapsed", f"the decoder hardly listens: it gains {_gain(seen)} nats by z, {_information_clause(seen)}"
    return "healthy", _healthy(seen, thresholds)


def _told(seen: Evidence, low: float, some: float) -> str:
    """How much z tells of x: nothing, little, enough or unclear."""
    if not seen.kl_is_bound and seen.kl + SURE * seen.kl_standard_error < low:
        return "nothing"
    if not seen.mutual_information_is_bound:
        return _place(seen.mutual_information, seen.mutual_information_standard_error, low, some)
    return "enough" if seen.mutual_information - SURE * seen.mutual_information_standard_error >= some else "unclear"


def _place(value: float, error: float, low: float, some: float) -> str:
    """Where a number lies: below `some` where it is surely so, unclear where it may as well be below `low`.

    Example:
        >>> [_place(value, 0.1, 0.5, 2.0) for value in (0.45, 1.0, 1.9, 3.0)], _place(0.02, 0.01, 0.01, 0.01)
        (['nothing', 'little', 'enough', 'enough'], 'unclear')
    """
    if value - SURE * error <= low and value + SURE * error >= some:
        return "unclear"
    return "nothing" if value < low else "little" if value + SURE * error < some else "enough"


def _why_nothing(seen: Evidence, low: float) -> str:
    kl = f"KL {_nats(seen.kl, seen.kl_standard_error)}"
    if seen.kl < low:
        return f"the posterior is the prior: {kl} < {low:.2g} nats"
    return f"z tells nothing about x: mutual information {_information(seen)} < {low:.2g} nats, though {kl}"


def _gain(seen: Evidence) -> str:
    return _nats(seen.decoder_gain, seen.decoder_gain_standard_error)


def _information_clause(seen: Evidence) -> str:
    return f"though z tells {_information(seen)} nats about x"


def _information(seen: Evidence) -> str:
    if not seen.mutual_information_is_bound:
        return _nats(seen.mutual_information, seen.mutual_information_standard_error)
    return f"at least {_nats(max(0.0, seen.mutual_information), seen.mutual_information_standard_error)}"


def _worse(seen: Evidence) -> str:
    short = _nats(-seen.gain_over_marginal, seen.gain_over_marginal_standard_error)
    words = f"log p(x|z) is {short} nats below that of the data's averages, which need no code"
    return f"{words}{f'; {seen.hint}' if seen.hint else ''}"


def _unclear(seen: Evidence, told: str) -> str:
    if told == "unclear" and seen.mutual_information_is_bound:
        return f"{_both(seen)}: this posterior has no density by which to say how much more"
    return f"{_both(seen)}: {seen.n} observations cannot tell that from nothing; take more"


def _both(seen: Evidence) -> str:
    return f"z tells {_information(seen)} nats about x, and the decoder gains {_gain(seen)} by it"


def _healthy(seen: Evidence, thresholds: Thresholds) -> str:
    used, units = seen.active_units, seen.latent_units
    count = f"; {used} of {units} units {'is' if used == 1 else 'are'} used" if 0 < used < units else ""
    little = (
        ": little, but no simple code tells much more of these data" if seen.mutual_information < thresholds.collapsed else ""
    )
    return f"{_both(seen)}{count}{little}"


def _nats(value: float, error: float) -> str:
    """A number and its standard error, to two digits of the error within one and three decimals.

    Example:
        >>> _nats(15.8123, 0.31), _nats(0.0213, 0.0042), _nats(0.0, 0.0)
        ('15.8 ± 0.3', '0.021 ± 0.004', '0.00 ± 0.00')
    """
    digits = 2 if not (math.isfinite(error) and error > 0) else min(3, max(1, -math.floor(math.log10(error))))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def misses_codes(gap: float, error: float) -> bool:
    """Whether samples from the prior miss the codes: they are more than a nat apart, two standard errors taken off.

    Example:
        >>> misses_codes(3.2, 0.1), misses_codes(1.1, 0.1)
        (True, False)
    """
    return gap - SURE * error > FAR


def lasting(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two looks, one after the other, show the same failure, and it is not on its way out.

    Every model begins near its prior and with a decoder that knows nothing, and a healthy one may stay there for hundreds of
    steps; but then what its code tells rises, or what its decoder gains.

    Args:
        before: `verdict`, `mutual_information` and `gain_over_marginal` of the earlier look.
        now: Those of the later one.

    Example:
        >>> early, later = ({"verdict": "collapsed", "mutual_information": told} for told in (0.01, 0.25))
        >>> lasting(early, early), lasting(early, later)
        (True, False)
    """
    verdict = now.get("verdict")
    if verdict not in LASTING or before.get("verdict") != verdict:
        return False
    watched = ["mutual_information"] + ["gain_over_marginal"] * (verdict == "worse than no code")
    return not any((now.get(name) or 0.0) - (before.get(name) or 0.0) >= RISING for name in watched)
