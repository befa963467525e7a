"""Posterior collapse, told with a number, a reason and a cure."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse.diagnosis.posterior_remedies import posterior_remedies
from uncollapse.diagnosis.remedy import commands
from uncollapse.distributions import Chain, block_terms, draw
from uncollapse.distributions.densities import DiagonalNormal
from uncollapse.distributions.still import evaluating
from uncollapse.divergences import kl_units
from uncollapse.vae import VAE

ESTIMATOR = "aggregated posterior of N observations, one draw each (ceiling log N)"
CONTRAST = "lower bound: N observations told apart by Gaussians of the posteriors' moments, one draw each (ceiling log N)"
UNKNOWN = f"{CONTRAST}; KL: lower bound, the same Gaussians in place of q"
MEANINGS = {
    "healthy": "the code is used: it tells observations apart, so encodings and reconstructions mean something",
    "partly collapsed": "the code is used, but barely: it tells few kinds of observations apart, and the decoder does the rest",
    "collapsed": "the code is ignored: it is the same for every observation, so encodings and reconstructions tell nothing "
    "about the data, though samples may look right",
}
"""The verdicts of `judge`, and what each means."""

RISING = 0.1  # nats of mutual information from one look to the next that make a collapse a beginning
SMALLEST = 1e-12  # variance of a unit whose draws do not differ
MOMENTS = 64  # draws for the moments of a posterior that does not state them


@dataclass(frozen=True)
class Thresholds:
    """Where the verdicts lie, in nats.

    A posterior is collapsed when its divergence from the prior or the information that it carries about x is below `collapsed`:
    half a nat tells fewer than two observations apart. It is partly collapsed below `partly`: two nats tell fewer than eight
    apart. Unused units beside used ones are no collapse: a healthy model uses as many as its data need.
    """

    collapsed: float = 0.5
    partly: float = 2.0
    active: float = 0.01  # variance of the posterior mean above which a unit is active (Burda et al., 2016)


@dataclass(frozen=True)
class Diagnosis:
    """What was seen of a posterior on n observations; all divergences and information in nats."""

    verdict: str  # a name in MEANINGS
    reason: str
    kl: float  # mean of KL(q(z|x) || p(z))
    kl_units: list[float]  # of each unit; one number where prior or posterior does not factorise
    active_units: int
    latent_units: int
    mutual_information: float  # I(x; z) under q
    mutual_information_ceiling: float  # log n, the largest value that the estimator can take
    aggregate_kl: float  # KL(q(z) || p(z)) of the aggregated posterior
    n: int
    remedies: list[str] = field(default_factory=list)
    estimator: str = ESTIMATOR
    kl_blocks: dict[str, float] = field(default_factory=dict)  # of each block of a chain, given those above it; their sum is kl

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """A few lines to read."""
        lines = [
            f"verdict              {self.verdict}: {self.reason}",
            f"KL(q(z|x) || p(z))   {self.kl:.3f} nats",
            f"mutual information   {self.mutual_information:.3f} nats (of at most log {self.n} = "
            f"{self.mutual_information_ceiling:.2f} for this estimator)",
            f"KL(q(z) || p(z))     {self.aggregate_kl:.3f} nats",
            f"active units         {self.active_units} of {self.latent_units}",
            *(f"{f'KL of {name}':<20} {kl:.3f} nats" for name, kl in self.kl_blocks.items()),
        ]
        return "\n".join(lines + [f"try                  {remedy}" for remedy in self.remedies])


@torch.no_grad()
def diagnose(model: VAE, x: Tensor, thresholds: Thresholds = Thresholds(), recipe: str = "vae") -> Diagnosis:
    r"""Did the posterior collapse? KL per unit, active units, mutual information, and the aggregated posterior's divergence.

    .. math:: I_q(x; z) = \tfrac1N \sum_i \log \frac{q(z_i \mid x_i)}{q(z_i)}, \quad q(z) = \tfrac1N \sum_j q(z \mid x_j), \quad
              \mathrm{KL}(q(z) \,\|\, p(z)) = \tfrac1N \sum_i \log \frac{q(z_i)}{p(z_i)}, \quad z_i \sim q(z \mid x_i)

    so that their sum is the Monte Carlo estimate of the mean divergence from the prior, term by term.

    Where log q(z|x) of other observations' draws is unknown (a hierarchical or semi-implicit posterior) or takes a pass for
    each latent (an inverse autoregressive flow), Gaussians with the moments of each q(z|x) take its place in :math:`I_q`. It is
    then a lower bound (InfoNCE, which holds for any function in that place), `aggregate_kl` an upper one; `estimator` says so.
    An implicit posterior has no density at all: with those Gaussians g, its `kl` is :math:`\mathbb E_q[\log g(z) - \log p(z)]`,
    which falls short of KL(q ‖ p) by KL(q ‖ g); its `aggregate_kl` bounds nothing.

    Args:
        model: The model to look at.
        x: Observations, a tensor or an array [N, *shape], a few hundred or more; memory grows with N, time with N².
        thresholds: Where the verdicts lie.
        recipe: What the proposed commands train: the name of a recipe, or the path of a run's config.yaml.

    Raises:
        ValueError: If there are fewer than two observations.

    References:
        Hoffman and Johnson (2016), ELBO surgery (the split of the divergence); active units: Burda et al. (2016), section 5.1;
        the estimator of the information: He et al. (2019), section 4.2; the bound: Poole et al. (2019), On Variational
        Bounds of Mutual Information, equation 12.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import Bias
        >>> vae = VAE(Normal(3), Bernoulli(3, (4,), Bias), posteriors.Gaussian(3, (4,), Bias))
        >>> diagnose(vae, torch.ones(50, 4)).verdict
        'collapsed'
    """
    if len(x) < 2:
        raise ValueError(f"expected at least 2 observations to diagnose, came {len(x)}; a few hundred give a steady verdict")
    x = torch.as_tensor(x).to(model.like)
    with evaluating(model):
        q, p = model.posterior(x), model.prior()
        known = model.posterior.density.weighs
        mean, within = _moments(q)
        matched = (
            None
            if getattr(q, "pairwise", True) or within is None
            else DiagonalNormal(mean, 0.5 * within.clamp_min(SMALLEST).log())
        )
        z, log_q = draw(q) if known or matched is None else _scored(q, matched)
        log_p = p.log_prob(z)
        units = kl_units(q, p)
        per_unit = (log_q - log_p).mean().reshape(1) if units is None else units.mean(0)
        told = (log_q if matched is None else matched.log_prob(z)) - aggregated_log_prob(q if matched is None else matched, z)
    moved = mean.var(0) - (0.0 if within is None else within.mean(0) / MOMENTS)  # what the draws add is taken off
    seen: dict[str, Any] = {
        "kl": float(per_unit.sum()),
        "kl_units": per_unit.tolist(),
        "active_units": int((moved > thresholds.active).sum()),
        "latent_units": mean.shape[-1],
        "mutual_information": float(told.mean()),
        "aggregate_kl": float((log_q - log_p - told).mean()),
        "kl_blocks": _blocks(q, p, z),
        "estimator": ESTIMATOR if matched is None else CONTRAST if known else UNKNOWN,
    }
    ceiling = math.log(len(x))
    verdict, reason = judge(seen["kl"], seen["mutual_information"], thresholds, ceiling)
    cures = [] if verdict == "healthy" else commands(posterior_remedies(model), recipe)
    return Diagnosis(verdict, reason, n=len(x), mutual_information_ceiling=ceiling, remedies=cures, **seen)


def _blocks(q: Distribution, p: Distribution, z: Tensor) -> dict[str, float]:
    """The mean of log q(z_b|x, above) - log p(z_b|above) of each block, where both are chains of the same blocks; else none."""
    terms = block_terms(q, p, z)
    return dict(zip(q.names, terms.mean(0).tolist(), strict=True)) if terms is not None and isinstance(q, Chain) else {}


def aggregated_log_prob(q: Distribution, z: Tensor, budget: int = 2**24) -> Tensor:
    """log q(z_i) = log 1/N Σ_j q(z_i | x_j) in nats for all z [N, L], at most `budget` numbers at a time: [N]."""
    n = q.batch_shape[0]
    rows = max(1, budget // (n * z.shape[-1]))
    log_q = [q.log_prob(part.unsqueeze(1)).logsumexp(-1) for part in z.split(rows)]
    return torch.cat(log_q) - math.log(n)


def _moments(q: Distribution) -> tuple[Tensor, Tensor | None]:
    """The mean of each posterior [N, L]; where it is an average of draws, also their variance, else None."""
    try:
        return q.mean, None
    except NotImplementedError:
        z = q.sample(Size((MOMENTS,)))
        return z.mean(0), z.var(0)


def _scored(q: Distribution, by: Distribution) -> tuple[Tensor, Tensor]:
    """A draw of each posterior, and its log density under another distribution."""
    z = q.sample()
    return z, by.log_prob(z)


def judge(kl: float, information: float, thresholds: Thresholds, ceiling: float = math.inf) -> tuple[str, str]:
    """The verdict and its reason, from KL and mutual information in nats.

    Args:
        kl: Mean of KL(q(z|x) || p(z)).
        information: The estimate of I(x; z).
        thresholds: Where the verdicts lie.
        ceiling: The largest value that the estimate can take; information near it is as much as can be seen.

    Example:
        >>> judge(0.02, 0.01, Thresholds())[0], judge(25.0, 6.2, Thresholds())[0]
        ('collapsed', 'healthy')
    """
    low, some = thresholds.collapsed, min(thresholds.partly, 0.8 * ceiling)
    if not math.isfinite(kl + information):
        return "collapsed", "the divergence is not finite: the posterior is broken"
    if kl < low:
        return "collapsed", f"the posterior is the prior: KL {kl:.2f} < {low} nats"
    if information < low:
        return "collapsed", f"z tells nothing about x: mutual information {information:.2f} < {low} nats, though KL is {kl:.2f}"
    if information < some:
        return "partly collapsed", f"z tells little about x: mutual information {information:.2f} < {some:.3g} nats"
    return "healthy", f"z tells observations apart: mutual information {information:.2f} nats, KL {kl:.2f}"


def lasting(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a posterior was collapsed at two looks one after the other, and is not on its way out.

    Every model begins near its prior, and a healthy one may stay there for hundreds of steps; but then what it tells rises.

    Args:
        before: `verdict` and `mutual_information` of the earlier look.
        now: Those of the later one.

    Example:
        >>> early, later = ({"verdict": "collapsed", "mutual_information": told} for told in (0.01, 0.25))
        >>> lasting(early, early), lasting(early, later)
        (True, False)
    """
    told = [look.get("mutual_information") or 0.0 for look in (before, now)]
    return before.get("verdict") == now.get("verdict") == "collapsed" and not told[1] - told[0] >= RISING
