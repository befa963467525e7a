"""The numbers of a run: of each its unit, what it is called, and how to read it. Console, report and model card share them."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from uncollapse.diagnosis import Thresholds, mode_verdict, posterior_verdict

Summary = dict[str, Any]


class Quantity(NamedTuple):
    """What a name in summary.json stands for."""

    label: str
    unit: str | None = ""  # "" of a plain count; None of what is no quantity, such as a name or a seed
    meaning: str = ""
    short: str = ""  # the head of a narrow column, where it is not the name


class Number(NamedTuple):
    """One line of a table."""

    label: str
    value: str
    unit: str
    meaning: str


MEASURES = {
    "nll": Quantity("Negative log-likelihood", "nats", "−log p(x) of one held-out observation; lower is better"),
    "nll_standard_error": Quantity("Its standard error", "nats", "what other observations would change", "±"),
    "nll_sampling_error": Quantity(
        "Its error from finitely many samples", "nats", "what more importance samples would take away"
    ),
    "effective_sample_size": Quantity("Effective sample size", "samples", "how many of the importance samples count"),
    "ais": Quantity(
        "Log-likelihood, annealed",
        "nats",
        "lower bound by AIS on log p(x) of one observation; higher is better",
        "AIS",
    ),
    "ais_standard_error": Quantity("Its standard error", "nats", "what other observations would change", "±"),
    "bracket_lower": Quantity("Bracket of simulated data, lower", "nats", "lower bound on log p(x) of what the model made"),
    "bracket_lower_standard_error": Quantity("Its standard error", "nats"),
    "bracket_upper": Quantity("Bracket of simulated data, upper", "nats", "upper bound on log p(x) of the same"),
    "bracket_upper_standard_error": Quantity("Its standard error", "nats"),
    "bracket_gap": Quantity("Width of the bracket", "nats", "what both bounds together may be off on simulated data", "gap"),
    "bracket_gap_standard_error": Quantity("Its standard error", "nats"),
    "acceptance": Quantity("Acceptance", "", "share of the chains' proposals that were taken; 0.65 is aimed at"),
    "effective_chains": Quantity("Effective chains", "chains", "how many of an observation's chains count"),
    "bits_per_dim": Quantity(
        "Bits per dimension", "bits/dim", "the negative log-likelihood by dimension of the data; lower is better"
    ),
    "bits_per_token": Quantity(
        "Bits per token", "bits/token", "the negative log-likelihood by token, the end counted and padding not; lower is better"
    ),
    "perplexity": Quantity(
        "Perplexity", "", "how many tokens the next one is as hard to guess as; 2 to the bits per token, lower is better"
    ),
    "elbo": Quantity("ELBO", "nats", "lower bound on log p(x) of one observation; higher is better", "ELBO"),
    "kl": Quantity(
        "KL(q(z|x) ‖ p(z))", "nats", "how far the posterior is from the prior: 0 is a code that is never used", "KL"
    ),
    "mutual_information": Quantity(
        "Mutual information I(x;\N{NO-BREAK SPACE}z)", "nats", "what a code tells about its observation", "I(x;z)"
    ),
    "mutual_information_standard_error": Quantity("Its standard error", "nats", "what other observations would change", "±"),
    "mutual_information_ceiling": Quantity("Its ceiling", "nats", "the most that this estimate can be"),
    "decoder_gain": Quantity(
        "Gain of the decoder by z",
        "nats",
        "log p(x|z) less log p(x|z′) with another's code: 0 is a decoder that ignores z",
        "gain",
    ),
    "decoder_gain_standard_error": Quantity("Its standard error", "nats", "what other observations would change", "±"),
    "gain_over_marginal": Quantity(
        "Gain over no code", "nats", "log p(x|z) less that of the data's averages: below 0 reconstructions are wrong"
    ),
    "gain_over_marginal_standard_error": Quantity("Its standard error", "nats", "what other observations would change", "±"),
    "condition_gain": Quantity(
        "Gain by the condition",
        "nats",
        "log p(x|z, c) less log p(x|z, c′) with another's condition: 0 is a condition that is ignored",
    ),
    "condition_gain_standard_error": Quantity("Its standard error", "nats", "what other observations would change", "±"),
    "condition_effect": Quantity(
        "Effect of the condition",
        "",
        "how far another condition moves a draw, beside how far another latent does: 0 is ignored",
    ),
    "to_tell": Quantity("There was to tell", "nats", "what simple codes tell of these data, or what is modelled without z"),
    "aggregate_kl": Quantity(
        "KL(q(z) ‖ p(z)) at most",
        "nats",
        "upper bound on how far all codes together are from the prior: 0 is a prior that fits",
    ),
    "prior_gap": Quantity(
        "KL(q(z) ‖ p(z)) at least", "nats", "lower bound on the same: what a prior that is fitted to the codes gains"
    ),
    "prior_gap_standard_error": Quantity("Its standard error", "nats", "what other observations would change", "±"),
    "active_units": Quantity(
        "Active units",
        "units",
        f"latent units whose posterior mean varies by more than {Thresholds().active:g} of the prior's variance",
        "active",
    ),
    "latent_units": Quantity("Latent units", "units"),
    "reconstruction_error": Quantity(
        "Reconstruction error", "", "mean square of a number of x less that of its reconstruction", "recon. error"
    ),
    "reconstruction_error_standard_error": Quantity("Its standard error", "", "what other observations would change", "±"),
    "reconstruction_error_of_mean": Quantity("Error of the training mean", "", "the same, of the best constant"),
    "token_error_rate": Quantity("Token error rate", "", "share of tokens that the reconstruction gets wrong", "wrong tokens"),
    "token_error_rate_standard_error": Quantity("Its standard error", "", "what other observations would change", "±"),
    "token_error_rate_of_mode": Quantity("Error rate of the commonest tokens", "", "the same, of the best constant"),
    "latent_error": Quantity(
        "Error of inferred latents",
        "",
        "of E[z|x] for draws x of known z, by the prior's variance: 1 is no better than its mean",
    ),
    "latent_error_standard_error": Quantity("Its standard error", "", "what other draws would change", "±"),
    "probe_accuracy": Quantity("Accuracy of a linear probe", "", "share of labels predicted from codes", "probe"),
    "probe_accuracy_standard_error": Quantity("Its standard error", "", "binomial", "±"),
    "probe_accuracy_chance": Quantity("Chance of the probe", "", "share of the commonest label"),
    "probe_accuracy_pca": Quantity("The probe on principal components", "", "as many as there are latents"),
    "modes": Quantity("Modes captured", "modes", "modes of the data that a draw of high quality lies in"),
    "known_modes": Quantity("Known modes", "modes"),
    "high_quality": Quantity(
        "Samples of high quality", "", "share of samples within 3 standard deviations of a known mode", "in modes"
    ),
    "not_finite": Quantity("Not finite", "", "share of samples with NaN or infinity"),
    "reverse_kl": Quantity("Reverse KL over modes", "nats", "how unevenly draws fall on the modes: 0 is evenly", "KL(modes)"),
    "reverse_kl_floor": Quantity("Its floor", "nats", "what a perfect sampler's draws would score"),
    "modes_of_all": Quantity("Modes of all samples", "modes", "modes that any sample is nearest to, as published"),
    "reverse_kl_of_all": Quantity("Reverse KL of all samples", "nats", "the same of the modes that samples are nearest to"),
    "plain_coverage": Quantity("Coverage by numbers", "", "over the numbers, where modes are told by features"),
    "coverage": Quantity("Coverage", "", "share of data rows with a sample near"),
    "recall": Quantity("Recall", "", "share of data rows within reach of the samples"),
    "precision": Quantity("Precision", "", "share of samples within reach of the data"),
    "density": Quantity("Density", "", "how many observations a draw lies near, by what is to be expected; about 1"),
    "energy_coefficient": Quantity("Energy coefficient", "", "0 between equal distributions, at most 1", "energy"),
    "misplaced_mass": Quantity("Misplaced mass", "", "share of samples that lie in the wrong groups, at least", "misplaced"),
    "missing_mass": Quantity("Missing mass", "", "share of the data in groups with hardly any samples, less theirs"),
    "shifted_mass": Quantity("Shifted mass", "", "share of samples on the wrong side of the data, at least"),
    "spread": Quantity("Spread", "", "how far apart samples lie, as a multiple of data rows"),
    "repeats": Quantity("Repeats", "", "share of samples with a twin among them"),
    "near_pairs": Quantity("Near pairs", "", "as a multiple of the data's; twice as many tell of half the kinds"),
    "nearest_ratio": Quantity("Nearest neighbours", "", "how far apart the nearest samples lie, as a multiple of data rows"),
    "fid": Quantity("Fréchet distance", "", "between Gaussians fitted to features; lower is better", "FID"),
    "kid": Quantity("Kernel distance", "", "MMD² of features with a cubic kernel; 0 between equals, or a little below", "KID"),
    "kid_standard_error": Quantity("Its standard error", "", "over ten blocks of draws and observations", "±"),
    "inception_score": Quantity("Inception score", "", "how surely and how evenly draws fall on a classifier's classes"),
    "inception_score_data": Quantity("Inception score of the data", "", "the same of as many observations"),
    "ms_ssim": Quantity("MS-SSIM of pairs of draws", "", "likeness of two draws; above the data's is a lack of variety"),
    "ms_ssim_standard_error": Quantity("Its standard error", "", "over other pairs of these draws", "±"),
    "ms_ssim_data": Quantity("MS-SSIM of pairs of the data", "", "the same of observations"),
    "mmd": Quantity("MMD²", "", "0 between equal distributions, or a little below"),
    "mmd_p": Quantity("Its p-value", "", "how often equal distributions give as much"),
    "classifier_accuracy": Quantity("Classifier's accuracy", "", "how often neighbours tell draws from data; 0.5 is chance"),
    "classifier_p": Quantity("Its p-value", "", "how often equal distributions give as much"),
    "vendi": Quantity("Vendi score", "", "how many different draws there are among vendi_n"),
    "vendi_data": Quantity("Vendi score of the data", "", "the same of as many observations"),
    "copies": Quantity("Copies", "", "share of samples that are training rows, with or without a little noise"),
    "closeness_rise": Quantity("Closeness, last change", "", "from the look before the last to the last"),
    "closeness_swing": Quantity("Closeness, swing", "", "change from look to look beyond its trend; a game that oscillates"),
    "critic_accuracy": Quantity("Critic's accuracy", "", "how often it ranks data above draws; 0.5: it cannot tell", "critic"),
    "critic_overfit": Quantity("Critic's overfitting", "", "how often it ranks training data above held-out data, less a half"),
    "critic_probability_real": Quantity("D(x)", "", "mean probability of being real that the critic gives observations"),
    "critic_probability_fake": Quantity("D(G(z))", "", "the same of draws"),
    "critic_real": Quantity("Critic's number at data", "", "its mean; no logit of a probability in this game"),
    "critic_fake": Quantity("Critic's number at draws", "", "its mean"),
    "critic_gradient_real": Quantity("Critic's gradient at data", "", "mean norm; 0 teaches nothing"),
    "critic_gradient_fake": Quantity("Critic's gradient at draws", "", "mean norm; 0 teaches nothing"),
    "critic_divergence": Quantity("Divergence by the critic", "", "lower bound, in the mean", "divergence"),
}
"""Measures of the model: name in summary.json, and what it stands for."""

FACTS = {
    "recipe": Quantity("Recipe", None),
    "stages": Quantity("Stages", None),
    "data": Quantity("Data", None),
    "split": Quantity("Split measured", None),
    "n_examples": Quantity("Observations measured"),
    "n_samples": Quantity("Draws measured"),
    "vendi_n": Quantity("Draws of a Vendi score"),
    "kid_n": Quantity("Draws of the kernel distance"),
    "mmd_n": Quantity("Draws of the MMD"),
    "classifier_n": Quantity("Draws and observations the classifier is judged by"),
    "ms_ssim_pairs": Quantity("Pairs of MS-SSIM"),
    "latents_n": Quantity("Observations, and draws, of latents"),
    "probe_n": Quantity("Codes a probe is judged by"),
    "probe_train_n": Quantity("Codes a probe learns from"),
    "features": Quantity("Features", None),
    "n_importance_samples": Quantity("Importance samples"),
    "n_simulated": Quantity("Simulated observations"),
    "chains": Quantity("Annealed chains"),
    "temperatures": Quantity("Temperatures"),
    "observation_noise": Quantity("Observation noise"),
    "observation_noise_from": Quantity("Its origin", None),
    "density_of": Quantity("Density of", None),
    "parameters": Quantity("Parameters"),
    "steps": Quantity("Training steps"),
    "seconds": Quantity("Training time", "s"),
    "ms_per_step": Quantity("Time of a step", "ms"),
    "seed": Quantity("Seed", None),
    "device": Quantity("Device", None),
    "version": Quantity("uncollapse", None),
}
"""Facts of the run: name in summary.json, and what it stands for."""

QUANTITIES = {name: quantity for name, quantity in (MEASURES | FACTS).items() if quantity.unit is not None}
"""What has a value and a unit."""

BESIDE = {
    "nll_standard_error": "nll",
    "ais_standard_error": "ais",
    "bracket_lower_standard_error": "bracket_lower",
    "bracket_upper_standard_error": "bracket_upper",
    "bracket_gap_standard_error": "bracket_gap",
    "mutual_information_standard_error": "mutual_information",
    "mutual_information_ceiling": "mutual_information",
    "decoder_gain_standard_error": "decoder_gain",
    "gain_over_marginal_standard_error": "gain_over_marginal",
    "prior_gap_standard_error": "prior_gap",
    "latent_units": "active_units",
    "reconstruction_error_standard_error": "reconstruction_error",
    "reconstruction_error_of_mean": "reconstruction_error",
    "token_error_rate_standard_error": "token_error_rate",
    "token_error_rate_of_mode": "token_error_rate",
    "latent_error_standard_error": "latent_error",
    "probe_accuracy_standard_error": "probe_accuracy",
    "probe_accuracy_chance": "probe_accuracy",
    "probe_accuracy_pca": "probe_accuracy",
    "known_modes": "modes",
    "reverse_kl_floor": "reverse_kl",
    "vendi_data": "vendi",
    "kid_standard_error": "kid",
    "inception_score_data": "inception_score",
    "ms_ssim_standard_error": "ms_ssim",
    "ms_ssim_data": "ms_ssim",
    "mmd_p": "mmd",
    "classifier_p": "classifier_accuracy",
}
"""Measures that are told in the line of another one, where there is one."""

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
    shown = [name for name in MEASURES if summary.get(name) is not None and summary.get(BESIDE.get(name, "")) is None]
    return [_measure(name, summary) for name in shown] + [
        Number(name.replace("_", " "), number(summary[name]), "", "") for name in _others(summary)
    ]


def _measure(name: str, summary: Summary) -> Number:
    label, unit, meaning, _ = MEASURES[name]
    value = number(summary[name])
    if (error := _error(name, summary)) is not None:
        value = _with_error(float(summary[name]), error)
    match name:
        case "active_units" if summary.get("latent_units") is not None:
            unit = f"of {number(summary['latent_units'])}"
        case "modes" if summary.get("known_modes") is not None:
            unit = f"of {number(summary['known_modes'])}"
        case "reverse_kl" if summary.get("reverse_kl_floor") is not None:
            meaning += f" (a perfect sampler: {number(summary['reverse_kl_floor'])})"
        case "mmd" | "classifier_accuracy" if (p := summary.get(f"{name.removesuffix('_accuracy')}_p")) is not None:
            meaning += f" (p-value: {number(p)})"
        case "vendi" | "ms_ssim" | "inception_score" if summary.get(f"{name}_data") is not None:
            meaning += f" (of as many observations: {number(summary[f'{name}_data'])})"
        case "precision" | "recall" | "coverage" | "high_quality" if summary.get(f"{name}_data") is not None:
            meaning += f" (other real rows: {number(summary[f'{name}_data'])})"
        case "reconstruction_error" if summary.get("reconstruction_error_of_mean") is not None:
            meaning += f" (the training mean: {number(summary['reconstruction_error_of_mean'])})"
        case "token_error_rate" if summary.get("token_error_rate_of_mode") is not None:
            meaning += f" (the commonest tokens: {number(summary['token_error_rate_of_mode'])})"
        case "probe_accuracy":
            meaning += _beside_probe(summary)
        case "critic_divergence" if summary.get("critic_divergence_of") is not None:
            unit = str(summary["critic_divergence_of"])
        case "prior_gap" if far_from_prior(summary):
            meaning += f"; {FAR_FROM_PRIOR}"
        case "mutual_information" if summary.get("mutual_information_ceiling") is not None:
            meaning += f" (this estimate is at most {number(summary['mutual_information_ceiling'])})"
    return Number(label, value, unit or "", meaning)


def _beside_probe(summary: Summary) -> str:
    """What a probe's accuracy is to be compared with."""
    known = {"chance": summary.get("probe_accuracy_chance"), "principal components": summary.get("probe_accuracy_pca")}
    told = ", ".join(f"{what}: {number(value)}" for what, value in known.items() if value is not None)
    return f" ({told})" if told else ""


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
