"""The numbers of a run in words: what each is called, its unit, and how to read it. The page and the model card share them."""

import math
from typing import Any, NamedTuple

Summary = dict[str, Any]


class Number(NamedTuple):
    """One line of a table."""

    label: str
    value: str
    unit: str
    meaning: str


MEASURES = {
    "nll": ("Negative log-likelihood", "nats", "−log p(x) of one held-out observation; lower is better"),
    "nll_sampling_error": ("Its error from finitely many samples", "nats", "what more importance samples would take away"),
    "effective_sample_size": ("Effective sample size", "samples", "how many of the importance samples count"),
    "bits_per_dim": ("Bits per dimension", "bits/dim", "the negative log-likelihood by dimension of the data; lower is better"),
    "elbo": ("ELBO", "nats", "lower bound on log p(x) of one observation; higher is better"),
    "kl": ("KL(q(z|x) ‖ p(z))", "nats", "how far the posterior is from the prior: 0 is a code that is never used"),
    "mutual_information": ("Mutual information I(x;\N{NO-BREAK SPACE}z)", "nats", "what a code tells about its observation"),
    "aggregate_kl": ("KL(q(z) ‖ p(z))", "nats", "how far all codes together are from the prior: 0 is a prior that fits"),
    "active_units": ("Active units", "", "latent units whose posterior mean varies by more than 0.01"),
}
"""Measures of the model: name in summary.json, name in words, unit, and how to read it."""

FACTS = {
    "recipe": ("Recipe", ""),
    "data": ("Data", ""),
    "split": ("Measured on", "split"),
    "n_examples": ("Observations measured", ""),
    "n_importance_samples": ("Importance samples", ""),
    "parameters": ("Parameters", ""),
    "steps": ("Training steps", ""),
    "seconds": ("Training time", "s"),
    "ms_per_step": ("Time of a step", "ms"),
    "seed": ("Seed", ""),
    "device": ("Device", ""),
    "version": ("uncollapse", ""),
}
"""Facts of the run: name in summary.json, name in words, and unit."""

ELSEWHERE = {"verdict", "reason", "remedies", "kl_units", "estimator", "nll_standard_error", "latent_units", "step", "kind"}
ELSEWHERE |= {"mutual_information_ceiling", "n", "log_likelihood", "bound"}
"""Names in summary.json that no line of their own is due to."""


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
    known = [_measure(name, *MEASURES[name], summary) for name in MEASURES if summary.get(name) is not None]
    return known + [Number(name.replace("_", " "), number(summary[name]), "", "") for name in _others(summary)]


def _measure(name: str, label: str, unit: str, meaning: str, summary: Summary) -> Number:
    value = number(summary[name])
    match name:
        case "nll" if summary.get("nll_standard_error") is not None:
            value = _with_error(float(summary[name]), float(summary["nll_standard_error"]))
        case "active_units" if summary.get("latent_units") is not None:
            unit = f"of {number(summary['latent_units'])}"
        case "mutual_information" if summary.get("mutual_information_ceiling") is not None:
            meaning += f" (this estimate is at most {number(summary['mutual_information_ceiling'])})"
    return Number(label, value, unit, meaning)


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
    return [Number(FACTS[name][0], values[name], FACTS[name][1], _aside(name, summary[name])) for name in shown]


def _aside(name: str, value: Any) -> str:
    if name != "seconds" or not isinstance(value, int | float) or not 60 <= value < math.inf:
        return ""
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _others(summary: Summary) -> list[str]:
    """Names of numbers that this page has no words for, such as another family's diagnosis."""
    told = MEASURES.keys() | FACTS.keys() | ELSEWHERE
    return [name for name, value in summary.items() if name not in told and isinstance(value, int | float)]
