"""What is measured of a VAE on some observations, of both its halves."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse.data import Batch
from uncollapse.diagnosis.condition_use import condition_gain
from uncollapse.diagnosis.information import (
    ESTIMATOR,
    Estimate,
    Information,
    contrasted_information,
    exact_information,
    information_by_decoder,
    information_of_some,
    log_likelihood,
    pairwise,
)
from uncollapse.diagnosis.prior_gap import prior_gap
from uncollapse.diagnosis.reference_codes import Reference
from uncollapse.distributions import Chain, Density, block_terms
from uncollapse.distributions.densities import LOG_2PI, DiagonalNormal
from uncollapse.distributions.draws import draw_scored
from uncollapse.distributions.fields import NormalField
from uncollapse.divergences import kl_units
from uncollapse.vae import VAE

MATCHED = "KL: lower bound, Gaussians of the posteriors' moments in place of q"
SMALLEST = 1e-12  # variance of a unit whose draws do not differ
MOMENTS = 64  # draws for the moments of a posterior that does not state them
PRIOR_DRAWS = 2000  # for the variance of a prior that does not state it
PROBED = 64  # draws of the prior that are decoded, to see whether the decoder is finite there too
NEAR_CEILING = 1.0  # nats below its ceiling within which an estimate of the information says nothing of what lies above


@dataclass(frozen=True)
class Evidence:
    """What a verdict on a VAE rests on: means over n observations in nats, with their standard errors."""

    kl: float  # of KL(q(z|x) || p(z))
    kl_standard_error: float
    kl_units: list[float]  # of each unit; one number where prior or posterior does not factorise
    kl_is_bound: bool  # a lower bound on the divergence: then it is none on the information from above
    mutual_information: float  # I(x; z) under q
    mutual_information_standard_error: float
    mutual_information_ceiling: float  # the largest value that the estimate can take
    mutual_information_is_bound: bool  # a lower bound, which proves nothing where it is small
    estimator: str
    decoder_gain: float  # E log p(x|z) - E log p(x|z'), z' the code of another observation
    decoder_gain_standard_error: float
    gain_over_marginal: float  # E log p(x|z) - E log p0(x) by the best decoder that ignores z
    gain_over_marginal_standard_error: float
    to_tell: float  # what a code could tell of these data
    entropy: float  # of the observations as they are: what a code can tell at most
    aggregate_kl: float | None  # upper bound on KL(q(z) || p(z)); None near the information's ceiling, or without a density
    prior_gap: float  # lower bound on the same: what a prior that is fitted to the codes gains
    prior_gap_standard_error: float
    active_units: int  # whose posterior mean varies
    latent_units: int
    n: int
    kl_blocks: dict[str, float] = field(default_factory=dict)  # of each block of a chain, given those above it; their sum is kl
    not_finite: str = ""  # which numbers are not
    condition_gain: float | None = None  # E log p(x|z, c) - E log p(x|z, c'), c' another's; None without a condition
    condition_gain_standard_error: float | None = None
    hint: str = ""  # why the decoder is worse than none, where that is known


NOTHING = Estimate(math.nan, math.nan)
"""In the place of numbers of a model that gives none."""


class Moments(NamedTuple):
    """The mean of each posterior [N, L]; where it is an average of draws, also their variance, else None."""

    mean: Tensor
    within: Tensor | None


class Scored(NamedTuple):
    """A code of each observation and what is known of it, in nats [N]."""

    z: Tensor  # [N, L]
    log_posterior: Tensor
    log_prior: Tensor
    log_likelihood: Tensor
    kl_units: Tensor | None  # [N, L] or [N, 1], in closed form


def measure(model: VAE, batch: Batch, train: Tensor | Reference | None, active: float) -> Evidence:
    """Measure both halves of a model, which is in eval().

    Args:
        model: The model.
        batch: Observations [N, *shape], of its type.
        train: What needs no model is fitted to these rows [M, *shape], or was; None: to halves of x.
        active: Variance of a unit's posterior mean above which it is active, in the prior's.
    """
    x, q, p = batch.x, model.infer(batch), model.prior_for(batch)
    found = moments(q)
    matched = None if model.posterior.density is Density.EXACT else _matched(found)
    own = _scored(model, q, p, batch, matched)
    kl = Estimate.of(own.log_posterior - own.log_prior if own.kl_units is None else own.kl_units.sum(-1))
    broken = _not_finite(model, p, batch, own)
    return Evidence(
        **named("kl", kl),
        kl_units=[kl.mean] if own.kl_units is None else own.kl_units.mean(0).tolist(),
        kl_is_bound=not model.posterior.density.weighs,
        **_of_codes(model, q, batch, own, matched, broken),
        **_of_decoder(model, batch, own, train, broken),
        **named("prior_gap", NOTHING if broken else _gap(own, model.prior.support)),
        active_units=count_active(found, prior_variance(p), active),
        latent_units=found.mean.shape[-1],
        entropy=_entropy(x),
        n=len(x),
        kl_blocks=_blocks(q, p, own.z),
        not_finite=broken,
        **({} if broken or batch.condition is None else _of_condition(model, own.z, batch)),
    )


def _of_prior(p: Distribution, n: int) -> Tensor:
    """n draws of the prior [n, L], one for each observation where it depends on their condition."""
    return p.sample() if p.batch_shape else p.sample(Size((n,)))


def named(name: str, found: Estimate) -> dict[str, Any]:
    """A mean and its standard error by their names in a summary."""
    return {name: found.mean, f"{name}_standard_error": found.standard_error}


def _gap(own: Scored, support: Any) -> Estimate:
    """The lower bound on KL(q(z) || p(z)); nothing where no fitted prior gains."""
    found = prior_gap(own.z, own.log_prior, support)
    return found._replace(mean=max(0.0, found.mean))


def moments(q: Distribution) -> Moments:
    """By what the posterior states, or by draws."""
    try:
        return Moments(q.mean, None)
    except NotImplementedError:
        z = q.sample(Size((MOMENTS,)))
        return Moments(z.mean(0), z.var(0))


def count_active(found: Moments, prior: Tensor, share: float) -> int:
    """How many units' posterior means vary by more than this share of the prior's variance [L]; what draws add is taken off.

    Example:
        >>> means = 0.05 * torch.tensor([-1.0, 1.0]).repeat(50).unsqueeze(-1)
        >>> [count_active(Moments(means, None), torch.tensor([scale**2]), 0.01) for scale in (1.0, 0.1)]
        [0, 1]
    """
    moved = found.mean.var(0) - (0.0 if found.within is None else found.within.mean(0) / MOMENTS)
    return int((moved > share * prior).sum())


def prior_variance(p: Distribution) -> Tensor:
    """The variance of each unit under the prior [L]: stated, or of draws."""
    try:
        stated: Tensor = p.variance
        return stated.mean(0) + p.mean.var(0) if p.batch_shape else stated
    except NotImplementedError:
        return p.sample(Size((PRIOR_DRAWS,))).var(0)


def _matched(found: Moments) -> DiagonalNormal:
    """Gaussians with the moments of posteriors that have no density of other draws."""
    within = found.mean.new_zeros(()).expand_as(found.mean) if found.within is None else found.within
    return DiagonalNormal(found.mean, 0.5 * within.clamp_min(SMALLEST).log())


def _scored(model: VAE, q: Distribution, p: Distribution, batch: Batch, matched: DiagonalNormal | None) -> Scored:
    """A draw of each posterior, scored; by the matched Gaussians where it has no density at all."""
    if model.posterior.density.weighs or matched is None:
        z, log_q, log_p = draw_scored(q, p)
    else:
        z = q.sample()
        log_q, log_p = matched.log_prob(z), p.log_prob(z)
    return Scored(z, log_q, log_p, log_likelihood(model, z, batch), kl_units(q, p))


def _not_finite(model: VAE, p: Distribution, batch: Batch, own: Scored) -> str:
    """Which numbers are not finite, and of how many observations; the decoder is probed at draws of the prior as well."""
    probe = log_likelihood(model, _of_prior(p, batch.n)[:PROBED], batch.rows(slice(PROBED)))
    numbers = {
        "the codes": own.z.sum(-1),
        "log q(z|x)": own.log_posterior,
        "log p(z)": own.log_prior,
        "log p(x|z)": own.log_likelihood,
        "KL(q(z|x) || p(z))": own.log_posterior if own.kl_units is None else own.kl_units.sum(-1),
        "log p(x|z) at codes of the prior": probe,
    }
    wrong = {name: int((~values.isfinite()).sum()) for name, values in numbers.items()}
    return ", ".join(f"{name} of {count} in {len(numbers[name])}" for name, count in wrong.items() if count)


def _of_codes(
    model: VAE, q: Distribution, batch: Batch, own: Scored, matched: DiagonalNormal | None, broken: str
) -> dict[str, Any]:
    """The information, and the upper bound on KL(q(z) || p(z)) that it leaves."""
    if broken:
        found, upper = Information(*NOTHING, math.log(batch.n), False, ESTIMATOR), math.nan
    else:
        found = _information(model, q, batch, own, matched)
        kl = own.log_posterior - own.log_prior
        upper = float(kl.mean()) - found.nats if found.terms is None else float((kl - found.terms).mean())
    said = {
        **named("mutual_information", Estimate(found.nats, found.standard_error)),
        "mutual_information_ceiling": found.ceiling,
        "mutual_information_is_bound": found.is_bound,
        "estimator": found.estimator + ("" if model.posterior.density.weighs else f"; {MATCHED}"),
    }
    is_bound = model.posterior.density.weighs and found.nats <= found.ceiling - NEAR_CEILING
    return said | {"aggregate_kl": upper if is_bound else None}


def _information(model: VAE, q: Distribution, batch: Batch, own: Scored, matched: DiagonalNormal | None) -> Information:
    if matched is None:
        return (
            exact_information(q, own.z, own.log_posterior)
            if pairwise(q)
            else information_of_some(model, batch, own.z.shape[-1])
        )
    bounds = [contrasted_information(matched, own.z), information_by_decoder(model, own.z, batch)]
    return max(bounds, key=lambda found: found.nats - 2 * found.standard_error)


def _of_decoder(model: VAE, batch: Batch, own: Scored, train: Tensor | Reference | None, broken: str) -> dict[str, Any]:
    """What the decoder gains by the code of x over another's, and over no code; how much there was to tell."""
    if broken:
        return {**named("decoder_gain", NOTHING), **named("gain_over_marginal", NOTHING), "to_tell": math.nan}
    if train is not None and not isinstance(train, Reference):
        train = Reference(model.likelihood, model.cast(torch.as_tensor(train)))
    x = batch.x
    told = Reference.crossed(model.likelihood, x) if train is None else train.of(x)
    swapped = log_likelihood(model, own.z[others(len(x)).to(x.device)], batch)
    over = Estimate.of(own.log_likelihood - told.log_marginal)
    without = Estimate.of(swapped - told.log_marginal)
    return {
        **named("decoder_gain", Estimate.of(own.log_likelihood - swapped)),
        **named("gain_over_marginal", over),
        "to_tell": max(told.nats, without.mean - 2 * without.standard_error - told.shortfall),
        "hint": _hint(model, batch, own, told.log_marginal) if over.mean < 0 else "",
    }


def _of_condition(model: VAE, z: Tensor, batch: Batch) -> dict[str, Any]:
    """What the own condition gains over another's."""
    found = condition_gain(model, z, batch)
    return {} if found is None else named("condition_gain", found)


def others(n: int) -> Tensor:
    """For each of n observations the number of another one, each once.

    Example:
        >>> bool((others(7) == torch.arange(7)).any()), others(7).sort().values.tolist() == list(range(7))
        (False, True)
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(2))
    return order.roll(1)[order.argsort()]


def _hint(model: VAE, batch: Batch, own: Scored, log_marginal: Tensor) -> str:
    """Where another sigma would make a Gaussian decoder better than none, which."""
    x = batch.x
    p = model.observe(own.z, batch) if hasattr(model.likelihood, "sigma") else None
    if not isinstance(p, NormalField) or p.sigma(p.loc).dim():
        return ""
    mse = float((x - p.loc).square().mean())
    fitted = -0.5 * model.likelihood.shape.numel() * (LOG_2PI + math.log(max(mse, SMALLEST)) + 1) - float(log_marginal.mean())
    if fitted <= 0:
        return ""
    return f"its sigma is {float(p.sigma(p.loc).exp()):.3g} where {math.sqrt(mse):.3g} would fit, and gain {fitted:.1f} nats"


def _entropy(x: Tensor) -> float:
    """The entropy of the observations as they are, in nats: log N where no two are the same."""
    counts = torch.unique(x.flatten(1), dim=0, return_counts=True)[1].double()
    return float(torch.special.entr(counts / counts.sum()).sum())


def _blocks(q: Distribution, p: Distribution, z: Tensor) -> dict[str, float]:
    """The mean of log q(z_b|x, above) - log p(z_b|above) of each block, where both are chains of the same blocks; else none."""
    terms = block_terms(q, p, z)
    return dict(zip(q.names, terms.mean(0).tolist(), strict=True)) if terms is not None and isinstance(q, Chain) else {}
