"""The catalogue of metrics and verdicts: names, units, meanings and colours, for console, report and model card alike."""

from typing import NamedTuple

from uncollapse.diagnosis import Thresholds


class Metric(NamedTuple):
    """What a name in summary.json or metrics.jsonl stands for, and how it is shown."""

    label: str
    unit: str | None = ""  # "" of a plain count; None of what is no quantity, such as a name or a seed
    meaning: str = ""
    short: str = ""  # at the head of a narrow column and beside a curve
    better: str = ""  # lower, higher, or "" where neither is
    error: str | None = None  # what its standard error is over; None: it has none of a line of its own
    beside: tuple[tuple[str, str], ...] = ()  # other metrics that are told in its line, and the words for their value
    out_of: str = ""  # the metric that it is a count out of
    unit_from: str = ""  # the name in the summary that holds its unit
    color: str = "ink"  # of its curve, a name in `report.style.COLORS`


class Tone(NamedTuple):
    """How good a verdict is, by the colours that say so."""

    name: str  # class in the page's style sheet
    color: str  # in figures, a name in `report.style.COLORS`
    console: str  # on a terminal


class Verdict(NamedTuple):
    """How a verdict is shown."""

    tone: Tone
    sign: str


OTHERS = "what other observations would change"
PAIRED = "of as many observations: {}"
REAL = "other real rows: {}"

STATED = {
    "nll": Metric(
        "Negative log-likelihood",
        "nats",
        "−log p(x) of one held-out observation; lower is better",
        short="nll",
        better="lower",
        error=OTHERS,
    ),
    "nll_sampling_error": Metric(
        "Its error from finitely many samples", "nats", "what more importance samples would take away"
    ),
    "effective_sample_size": Metric("Effective sample size", "samples", "how many of the importance samples count"),
    "ais": Metric(
        "Log-likelihood, annealed",
        "nats",
        "lower bound by AIS on log p(x) of one observation; higher is better",
        better="higher",
        error=OTHERS,
    ),
    "bracket_lower": Metric(
        "Bracket of simulated data, lower", "nats", "lower bound on log p(x) of what the model made", error=""
    ),
    "bracket_upper": Metric("Bracket of simulated data, upper", "nats", "upper bound on log p(x) of the same", error=""),
    "bracket_gap": Metric("Width of the bracket", "nats", "what both bounds together may be off on simulated data", error=""),
    "acceptance": Metric("Acceptance", "", "share of the chains' proposals that were taken; 0.65 is aimed at"),
    "effective_chains": Metric("Effective chains", "chains", "how many of an observation's chains count"),
    "bits_per_dim": Metric(
        "Bits per dimension",
        "bits/dim",
        "the negative log-likelihood by dimension of the data; lower is better",
        better="lower",
    ),
    "bits_per_token": Metric(
        "Bits per token",
        "bits/token",
        "the negative log-likelihood by token, the end counted and padding not; lower is better",
        better="lower",
    ),
    "perplexity": Metric(
        "Perplexity",
        "",
        "how many tokens the next one is as hard to guess as; 2 to the bits per token, lower is better",
        better="lower",
    ),
    "elbo": Metric(
        "ELBO", "nats", "lower bound on log p(x) of one observation; higher is better", short="ELBO", better="higher"
    ),
    "kl": Metric(
        "KL(q(z|x) ‖ p(z))",
        "nats",
        "how far the posterior is from the prior: 0 is a code that is never used",
        short="KL",
        color="blue",
    ),
    "mutual_information": Metric(
        "Mutual information I(x;\N{NO-BREAK SPACE}z)",
        "nats",
        "what a code tells about its observation",
        short="I(x;z)",
        error=OTHERS,
        beside=(("mutual_information_ceiling", "this estimate is at most {}"),),
        color="orange",
    ),
    "mutual_information_ceiling": Metric("Its ceiling", "nats", "the most that this estimate can be"),
    "decoder_gain": Metric(
        "Gain of the decoder by z",
        "nats",
        "log p(x|z) less log p(x|z′) with another's code: 0 is a decoder that ignores z",
        short="gain by z",
        error=OTHERS,
    ),
    "gain_over_marginal": Metric(
        "Gain over no code",
        "nats",
        "log p(x|z) less that of the data's averages: below 0 reconstructions are wrong",
        error=OTHERS,
    ),
    "condition_gain": Metric(
        "Gain by the condition",
        "nats",
        "log p(x|z, c) less log p(x|z, c′) with another's condition: 0 is a condition that is ignored",
        error=OTHERS,
    ),
    "condition_effect": Metric(
        "Effect of the condition",
        "",
        "how far another condition moves a draw, beside how far another latent does: 0 is ignored",
    ),
    "to_tell": Metric("There was to tell", "nats", "what simple codes tell of these data, or what is modelled without z"),
    "aggregate_kl": Metric(
        "KL(q(z) ‖ p(z)) at most",
        "nats",
        "upper bound on how far all codes together are from the prior: 0 is a prior that fits",
    ),
    "prior_gap": Metric(
        "KL(q(z) ‖ p(z)) at least",
        "nats",
        "lower bound on the same: what a prior that is fitted to the codes gains",
        error=OTHERS,
    ),
    "active_units": Metric(
        "Active units",
        "units",
        f"latent units whose posterior mean varies by more than {Thresholds().active:g} of the prior's variance",
        short="active units",
        out_of="latent_units",
    ),
    "latent_units": Metric("Latent units", "units"),
    "reconstruction_error": Metric(
        "Reconstruction error",
        "",
        "mean square of a number of x less that of its reconstruction",
        error=OTHERS,
        beside=(("reconstruction_error_of_mean", "the training mean: {}"),),
    ),
    "reconstruction_error_of_mean": Metric("Error of the training mean", "", "the same, of the best constant"),
    "token_error_rate": Metric(
        "Token error rate",
        "",
        "share of tokens that the reconstruction gets wrong",
        error=OTHERS,
        beside=(("token_error_rate_of_mode", "the commonest tokens: {}"),),
    ),
    "token_error_rate_of_mode": Metric("Error rate of the commonest tokens", "", "the same, of the best constant"),
    "latent_error": Metric(
        "Error of inferred latents",
        "",
        "of E[z|x] for draws x of known z, by the prior's variance: 1 is no better than its mean",
        error="what other draws would change",
    ),
    "probe_accuracy": Metric(
        "Accuracy of a linear probe",
        "",
        "share of labels predicted from codes",
        error="binomial",
        beside=(("probe_accuracy_chance", "chance: {}"), ("probe_accuracy_pca", "principal components: {}")),
    ),
    "probe_accuracy_chance": Metric("Chance of the probe", "", "share of the commonest label"),
    "probe_accuracy_pca": Metric("The probe on principal components", "", "as many as there are latents"),
    "modes": Metric(
        "Modes captured",
        "modes",
        "modes of the data that a draw of high quality lies in",
        short="modes",
        better="higher",
        out_of="known_modes",
        color="orange",
    ),
    "known_modes": Metric("Known modes", "modes"),
    "high_quality": Metric(
        "Samples of high quality",
        "",
        "share of samples within 3 standard deviations of a known mode",
        short="in modes",
        better="higher",
        beside=(("high_quality_data", REAL),),
    ),
    "not_finite": Metric("Not finite", "", "share of samples with NaN or infinity"),
    "reverse_kl": Metric(
        "Reverse KL over modes",
        "nats",
        "how unevenly draws fall on the modes: 0 is evenly",
        short="reverse KL",
        better="lower",
        beside=(("reverse_kl_floor", "a perfect sampler: {}"),),
    ),
    "reverse_kl_floor": Metric("Its floor", "nats", "what a perfect sampler's draws would score"),
    "modes_of_all": Metric("Modes of all samples", "modes", "modes that any sample is nearest to, as published"),
    "reverse_kl_of_all": Metric("Reverse KL of all samples", "nats", "the same of the modes that samples are nearest to"),
    "plain_coverage": Metric("Coverage by numbers", "", "over the numbers, where modes are told by features"),
    "coverage": Metric(
        "Coverage",
        "",
        "share of data rows with a sample near",
        short="coverage",
        beside=(("coverage_data", REAL),),
        color="blue",
    ),
    "recall": Metric(
        "Recall",
        "",
        "share of data rows within reach of the samples",
        short="recall",
        beside=(("recall_data", REAL),),
        color="muted",
    ),
    "precision": Metric(
        "Precision",
        "",
        "share of samples within reach of the data",
        short="precision",
        beside=(("precision_data", REAL),),
        color="muted",
    ),
    "density": Metric("Density", "", "how many observations a draw lies near, by what is to be expected; about 1"),
    "energy_coefficient": Metric(
        "Energy coefficient", "", "0 between equal distributions, at most 1", short="energy coefficient", better="lower"
    ),
    "misplaced_mass": Metric("Misplaced mass", "", "share of samples that lie in the wrong groups, at least"),
    "missing_mass": Metric("Missing mass", "", "share of the data in groups with hardly any samples, less theirs"),
    "shifted_mass": Metric("Shifted mass", "", "share of samples on the wrong side of the data, at least"),
    "spread": Metric("Spread", "", "how far apart samples lie, as a multiple of data rows"),
    "repeats": Metric("Repeats", "", "share of samples with a twin among them"),
    "near_pairs": Metric("Near pairs", "", "as a multiple of the data's; twice as many tell of half the kinds"),
    "nearest_ratio": Metric("Nearest neighbours", "", "how far apart the nearest samples lie, as a multiple of data rows"),
    "fid": Metric("Fréchet distance", "", "between Gaussians fitted to features; lower is better", short="FID", better="lower"),
    "kid": Metric(
        "Kernel distance",
        "",
        "MMD² of features with a cubic kernel; 0 between equals, or a little below",
        error="over ten blocks of draws and observations",
    ),
    "inception_score": Metric(
        "Inception score",
        "",
        "how surely and how evenly draws fall on a classifier's classes",
        beside=(("inception_score_data", PAIRED),),
    ),
    "inception_score_data": Metric("Inception score of the data", "", "the same of as many observations"),
    "ms_ssim": Metric(
        "MS-SSIM of pairs of draws",
        "",
        "likeness of two draws; above the data's is a lack of variety",
        error="over other pairs of these draws",
        beside=(("ms_ssim_data", PAIRED),),
    ),
    "ms_ssim_data": Metric("MS-SSIM of pairs of the data", "", "the same of observations"),
    "mmd": Metric("MMD²", "", "0 between equal distributions, or a little below", beside=(("mmd_p", "p-value: {}"),)),
    "mmd_p": Metric("Its p-value", "", "how often equal distributions give as much"),
    "classifier_accuracy": Metric(
        "Classifier's accuracy",
        "",
        "how often neighbours tell draws from data; 0.5 is chance",
        beside=(("classifier_p", "p-value: {}"),),
    ),
    "classifier_p": Metric("Its p-value", "", "how often equal distributions give as much"),
    "vendi": Metric("Vendi score", "", "how many different draws there are among vendi_n", beside=(("vendi_data", PAIRED),)),
    "vendi_data": Metric("Vendi score of the data", "", "the same of as many observations"),
    "copies": Metric("Copies", "", "share of samples that are training rows, with or without a little noise"),
    "closeness_rise": Metric("Closeness, last change", "", "from the look before the last to the last"),
    "closeness_swing": Metric("Closeness, swing", "", "change from look to look beyond its trend; a game that oscillates"),
    "critic_accuracy": Metric("Critic's accuracy", "", "how often it ranks data above draws; 0.5: it cannot tell"),
    "critic_overfit": Metric("Critic's overfitting", "", "how often it ranks training data above held-out data, less a half"),
    "critic_probability_real": Metric("D(x)", "", "mean probability of being real that the critic gives observations"),
    "critic_probability_fake": Metric("D(G(z))", "", "the same of draws"),
    "critic_real": Metric(
        "Critic's number at data",
        "",
        "its mean; no logit of a probability in this game",
        short="observations",
        color="muted",
    ),
    "critic_fake": Metric("Critic's number at draws", "", "its mean", short="draws", color="blue"),
    "critic_gradient_real": Metric(
        "Critic's gradient at data", "", "mean norm; 0 teaches nothing", short="at observations", color="muted"
    ),
    "critic_gradient_fake": Metric(
        "Critic's gradient at draws", "", "mean norm; 0 teaches nothing", short="at draws", color="blue"
    ),
    "critic_divergence": Metric("Divergence by the critic", "", "lower bound, in the mean", unit_from="critic_divergence_of"),
}
"""Measures of the model as they are stated, but for the standard errors that go with them."""


def with_errors(stated: dict[str, Metric]) -> dict[str, Metric]:
    """Metrics, each with its standard error behind it where it has one.

    Example:
        >>> list(with_errors({"nll": Metric("Negative log-likelihood", "nats", error="over observations"), "kl": Metric("KL")}))
        ['nll', 'nll_standard_error', 'kl']
    """
    found = {}
    for name, metric in stated.items():
        found[name] = metric
        if metric.error is not None:
            found[f"{name}_standard_error"] = Metric("Its standard error", metric.unit, metric.error, short="±")
    return found


MEASURES = with_errors(STATED)
"""Measures of the model: name in summary.json, and what it stands for."""

FACTS = {
    "recipe": Metric("Recipe", None),
    "stages": Metric("Stages", None),
    "data": Metric("Data", None),
    "split": Metric("Split measured", None),
    "n_examples": Metric("Observations measured"),
    "n_samples": Metric("Draws measured"),
    "vendi_n": Metric("Draws of a Vendi score"),
    "kid_n": Metric("Draws of the kernel distance"),
    "mmd_n": Metric("Draws of the MMD"),
    "classifier_n": Metric("Draws and observations the classifier is judged by"),
    "ms_ssim_pairs": Metric("Pairs of MS-SSIM"),
    "latents_n": Metric("Observations, and draws, of latents"),
    "probe_n": Metric("Codes a probe is judged by"),
    "probe_train_n": Metric("Codes a probe learns from"),
    "features": Metric("Features", None),
    "n_importance_samples": Metric("Importance samples"),
    "n_simulated": Metric("Simulated observations"),
    "chains": Metric("Annealed chains"),
    "temperatures": Metric("Temperatures"),
    "observation_noise": Metric("Observation noise"),
    "observation_noise_from": Metric("Its origin", None),
    "density_of": Metric("Density of", None),
    "parameters": Metric("Parameters"),
    "steps": Metric("Training steps"),
    "seconds": Metric("Training time", "s", short="seconds"),
    "ms_per_step": Metric("Time of a step", "ms"),
    "seed": Metric("Seed", None),
    "device": Metric("Device", None),
    "version": Metric("uncollapse", None),
}
"""Facts of the run: name in summary.json, and what it stands for."""

LOGGED = {
    "iwae": Metric("IWAE bound", "nats"),
    "log_likelihood": Metric("log-likelihood", "nats"),
    "bound": Metric("bound", "nats"),
    "critic_loss": Metric("Loss of the critic", short="critic", color="blue"),
    "generator_loss": Metric("Loss of the generator", short="generator", color="orange"),
}
"""What metrics.jsonl alone holds, and figures show."""

CATALOG = MEASURES | FACTS | LOGGED
"""Every metric by its name."""

QUANTITIES = {name: metric for name, metric in (MEASURES | FACTS).items() if metric.unit is not None}
"""What has a value and a unit in summary.json."""

GOOD, DOUBTFUL, BAD = Tone("good", "blue", "green"), Tone("doubtful", "amber", "yellow"), Tone("bad", "red", "red")
OPEN = Tone("open", "ink", "yellow")

VERDICTS = {
    "healthy": Verdict(GOOD, "✓"),
    "partly collapsed": Verdict(DOUBTFUL, "!"),
    "unknown": Verdict(OPEN, "?"),
    "worse than no code": Verdict(BAD, "✕"),
    "broken": Verdict(BAD, "✕"),
    "dropping modes": Verdict(DOUBTFUL, "!"),
    "blurred": Verdict(DOUBTFUL, "!"),
    "collapsed": Verdict(BAD, "✕"),
    "diverged": Verdict(BAD, "✕"),
    "copies the data": Verdict(BAD, "✕"),
    "too early": Verdict(DOUBTFUL, "!"),
    "too few": Verdict(OPEN, "–"),
}
"""The verdicts of both diagnoses, and how each is shown."""

NO_VERDICT = Verdict(Tone("open", "ink", "white"), "–")
"""How it is shown that there is none."""


def verdict_style(name: object) -> Verdict:
    """How a verdict is shown, whatever stands in its place.

    Example:
        >>> verdict_style("healthy").sign, verdict_style(None).tone.name
        ('✓', 'open')
    """
    return VERDICTS.get(str(name), NO_VERDICT)
