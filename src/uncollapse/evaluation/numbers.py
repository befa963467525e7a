"""The numbers of a run as lines to read: value, error, unit and meaning. Console, report and model card share them."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from uncollapse.diagnosis import mode_verdict, posterior_verdict
from uncollapse.evaluation.metric_catalog import FACTS, MEASURES, QUANTITIES

Summary = dict[str, Any]


class Number(NamedTuple):
    """One line of a table."""

    label: str
    value: str
    unit: str
    meaning: str


FAR_FROM_PRIOR = "samples from the prior miss the codes"
"""Said where `far_from_prior`; it is no part of the verdict."""

TEXTS = ("density_of", "observation_noise_from")
"""Words without which a number beside them says little: the console tells them too."""

ELSEWHERE = {
    "verdict",
    "reason",
    "remedies",
    "notes",
    "kl_units",
    "estimator",
    "step",
    "kind",
    "n",
    "log_likelihood",
    "bound",
    "closeness",
    "critic_divergence_of",
}
"""Names in summary.json that no line of their own is due to."""


MOST = 1000
"""Names that a summary may have."""


def checked_summary(found: dict[str, Any], file: Path) -> Summary:
    """What a file says of a model, where it can be read as that.

    Raises:
        ValueError: If a value is of another kind than its name says.

    Example:
        >>> checked_summary({"nll": "low"}, Path("summary.json"))
        Traceback (most recent call last):
        ValueError: summary.json is damaged: expected a number as nll, got 'low'
    """
    if len(found) > MOST:
        raise ValueError(f"{file} is damaged: expected at most {MOST:,} names, got {len(found):,}")
    for name, value in found.items():
        if name in ("verdict", "reason", *TEXTS) and not isinstance(value, str | None):
            kind = "text"
        elif name in ("remedies", "notes") and not (isinstance(value, list) and all(isinstance(line, str) for line in value)):
            kind = "a list of texts"
        elif name in QUANTITIES and not (value is None or (isinstance(value, int | float) and abs(value) < 1e300)):
            kind = "a number"
        elif name in FACTS and not isinstance(value, str | int | float | None):
            kind = "a name or a number"
        elif isinstance(value, int | float) and abs(value) >= 1e300:
            kind = "a number below 1e300"
        else:
            continue
        raise ValueError(f"{file} is damaged: expected {kind} as {name}, got {value!r:.80}")
    return found


def number(value: Any) -> str:
    """A value to read.

    Example:
        >>> number(98.12345), number(1234567), number(0.012345), number(float("nan")), number("mnist"), number(-3.5)
        ('98.12', '1,234,567', '0.0123', 'not finite', 'mnist', '−3.500')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not math.isfinite(value):
        return "not finite"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    digits = 2 if abs(value) >= 10 else 3 if abs(value) >= 1 else 4
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def measures(summary: Summary) -> list[Number]:
    """What was measured of the model, one line each, in a fixed order; what is missing is left out.

    Example:
        >>> measures({"nll": 98.123, "nll_standard_error": 0.5})[0][:3]
        ('Negative log-likelihood', '98.12 ± 0.50', 'nats')
    """
    told = _told_in_another(summary)
    shown = [name for name in MEASURES if summary.get(name) is not None and name not in told]
    return [_measure(name, summary) for name in shown] + [
        Number(name.replace("_", " "), number(summary[name]), "", "") for name in _others(summary)
    ]


def _told_in_another(summary: Summary) -> set[str]:
    """Names that the line of another measure tells already."""
    shown = {name: metric for name, metric in MEASURES.items() if summary.get(name) is not None}
    errors = {f"{name}_standard_error" for name in shown}
    return errors | {other for metric in shown.values() for other in (metric.out_of, *(name for name, _ in metric.beside))}


def _measure(name: str, summary: Summary) -> Number:
    metric, value = MEASURES[name], number(summary[name])
    if (error := _error(name, summary)) is not None:
        value = _with_error(float(summary[name]), error)
    meaning = metric.meaning
    beside = [words.format(number(summary[other])) for other, words in metric.beside if summary.get(other) is not None]
    meaning += f" ({', '.join(beside)})" if beside else ""
    meaning += f"; {FAR_FROM_PRIOR}" if name == "prior_gap" and far_from_prior(summary) else ""
    return Number(metric.label, value, unit(name, summary), meaning)


def unit(name: str, summary: Summary) -> str:
    """The unit of a number in a summary, or the count that it is out of.

    Example:
        >>> unit("nll", {}), unit("active_units", {"latent_units": 8}), unit("density", {"density_of": "the model"})
        ('nats', 'of 8', '')
    """
    metric = QUANTITIES[name]
    if summary.get(metric.out_of) is not None:
        return f"of {number(summary[metric.out_of])}"
    return str(summary.get(metric.unit_from) or metric.unit)


def _error(name: str, summary: Summary) -> float | None:
    """The standard error of a measure, where it is known."""
    error = summary.get(f"{name}_standard_error")
    return None if error is None else float(error)


def _with_error(value: float, error: float) -> str:
    """A value and its standard error, to two digits of the error."""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return f"{number(value)} ± {number(error)}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}".replace("-", "−")


def facts(summary: Summary) -> list[Number]:
    """What is known of the run, one line each, in a fixed order; what is missing is left out.

    Example:
        >>> facts({"seconds": 83.0, "seed": 1})
        [Number(label='Training time', value='83.00', unit='s', meaning='1 min 23 s'), Number(label='Seed', value='1', ...)]
    """
    shown = [name for name in FACTS if summary.get(name) is not None]
    values = {name: str(summary[name]) if name == "seed" else number(summary[name]) for name in shown}
    return [Number(FACTS[name].label, values[name], FACTS[name].unit or "", _aside(name, summary[name])) for name in shown]


def _aside(name: str, value: Any) -> str:
    if name != "seconds" or not isinstance(value, int | float) or not 60 <= value < math.inf:
        return ""
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def meaning(summary: Summary) -> str | None:
    """What the verdict of a summary means, in words; None where there is none.

    Example:
        >>> meaning({"verdict": "dropping modes", "coverage": 0.5})[:40]
        'the samples lie where the data lie, but '
    """
    meanings = mode_verdict.MEANINGS if "kl" not in summary else posterior_verdict.MEANINGS
    return meanings.get(str(summary.get("verdict")))


def far_from_prior(summary: Summary) -> bool:
    """Whether samples from the prior miss the codes, by the numbers of a summary.

    Example:
        >>> far_from_prior({"prior_gap": 3.2, "prior_gap_standard_error": 0.1}), far_from_prior({})
        (True, False)
    """
    gap, error = summary.get("prior_gap"), summary.get("prior_gap_standard_error")
    return gap is not None and error is not None and posterior_verdict.misses_codes(gap, error)


def _others(summary: Summary) -> list[str]:
    """Names of numbers that there are no words for, such as another family's diagnosis."""
    told = MEASURES.keys() | FACTS.keys() | ELSEWHERE
    own = lambda name: name.removesuffix("_standard_error").removesuffix("_data") in told  # noqa: E731
    return [name for name, value in summary.items() if not own(name) and isinstance(value, int | float)]
