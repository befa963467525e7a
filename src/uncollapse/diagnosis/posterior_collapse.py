"""Posterior collapse, told with a number, a reason and a cure."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from uncollapse.data import Batch, as_batch
from uncollapse.diagnosis.condition_use import IGNORED
from uncollapse.diagnosis.posterior_evidence import Evidence, measure
from uncollapse.diagnosis.posterior_remedies import posterior_remedies
from uncollapse.diagnosis.posterior_verdict import Thresholds, judge, misses_codes
from uncollapse.diagnosis.reference_codes import Reference
from uncollapse.diagnosis.remedy import Remedy
from uncollapse.distributions import LatentVariableModel
from uncollapse.distributions.still import evaluating
from uncollapse.vae import VAE

INTERNAL = ("kl_is_bound", "mutual_information_is_bound", "entropy", "not_finite", "hint")
"""What the verdict needs and no table shows."""

OF_CONDITION = ("condition_gain", "condition_gain_standard_error")
"""What is shown of conditional models alone."""


@dataclass(frozen=True)
class Diagnosis(Evidence):
    """What was seen of a VAE on n observations, the verdict, and what to try."""

    verdict: str = "unknown"  # a name in MEANINGS
    reason: str = ""
    remedies: list[Remedy] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; a remedy as a line of text."""
        hidden = INTERNAL if self.condition_gain is not None else (*INTERNAL, *OF_CONDITION)
        values = {name: value for name, value in asdict(self).items() if name not in hidden}
        values["remedies"] = [str(remedy) for remedy in self.remedies]
        return {"verdict": values.pop("verdict"), "reason": values.pop("reason"), **values}

    def __str__(self) -> str:
        """A few lines to read."""
        why = "this posterior has no density" if self.kl_is_bound else "I(x; z) is at its ceiling"
        upper = f"no upper bound: {why}" if self.aggregate_kl is None else f"at most {max(0.0, self.aggregate_kl):.3f}"
        lines = [
            f"verdict              {self.verdict}: {self.reason}",
            f"KL(q(z|x) || p(z))   {self.kl:.3f} nats",
            f"mutual information   {self._with_error('mutual_information')} nats (of at most "
            f"{self.mutual_information_ceiling:.2f} for this estimator)",
            f"the decoder gains    {self._with_error('decoder_gain')} nats by the code of x over another's",
            f"                     {self._with_error('gain_over_marginal')} nats over the data's averages, which need no code",
            f"there was to tell    {self.to_tell:.3f} nats or more",
            f"active units         {self.active_units} of {self.latent_units}",
            f"KL(q(z) || p(z))     at least {self._with_error('prior_gap')} nats, {upper}",
            *(f"{f'KL of {name}':<20} {kl:.3f} nats" for name, kl in self.kl_blocks.items()),
        ]
        if self.condition_gain is not None:
            ignored = self.condition_gain <= IGNORED
            end = ": the condition is ignored, what is generated does not depend on it" if ignored else ""
            lines.append(
                f"the decoder gains    {self._with_error('condition_gain')} nats by the own condition over another's{end}"
            )
        if misses_codes(self.prior_gap, self.prior_gap_standard_error):
            lines.append(
                "samples              from the prior miss the codes: it is far from q(z), where the decoder has learned"
            )
        return "\n".join(lines + [f"try                  {remedy}" for remedy in self.remedies])

    def _with_error(self, name: str) -> str:
        return f"{getattr(self, name):.3f} ± {getattr(self, f'{name}_standard_error'):.3f}"


@torch.no_grad()
def diagnose_posterior(
    model: VAE,
    x: Tensor | Batch,
    train: Tensor | Reference | None = None,
    thresholds: Thresholds = Thresholds(),
) -> Diagnosis:
    r"""Did the posterior collapse? What the code tells, what the decoder takes from it, and how much there was to tell.

    .. math:: I_q(x; z) = \tfrac1N \sum_i \log \frac{q(z_i \mid x_i)}{q(z_i)}, \quad q(z) = \tfrac1N \sum_j q(z \mid x_j), \quad
              G = \tfrac1N \sum_i \log \frac{p(x_i \mid z_i)}{p(x_i \mid z_{\pi(i)})}, \quad
              D = \tfrac1N \sum_i \log \frac{p(x_i \mid z_i)}{p_0(x_i)}

    with :math:`z_i \sim q(z \mid x_i)`, a permutation π that leaves no observation its own code, and the best decoder
    :math:`p_0` that ignores z (`no_code`). The verdict is by :math:`\min(I, G)` beside what a code could tell of the data
    (`Reference`, or what the decoder models of them without z), and by the sign of D (`judge`).

    .. math:: \mathbb E_{q(z)}[\log h(z) - \log p(z)] \le \mathrm{KL}(q(z) \,\|\, p(z)) \le
              \tfrac1N \sum_i \mathrm{KL}(q(z \mid x_i) \,\|\, p(z)) - I_q(x; z)

    On the left a density that is fitted to other codes (`prior_gap`), on the right `aggregate_kl`, an equation where N is the
    whole population and a bound else. The estimate of the information is at most log N, so the right is withheld within a nat
    of that, and for an implicit posterior, whose KL is a lower bound.

    Where log q(z|x) of other observations' draws takes a pass for each latent (an inverse autoregressive flow), the
    information is that of a subset. Where it is unknown (a hierarchical, semi-implicit or implicit posterior), it is the larger
    of two lower bounds, which hold for any function in the place of q (InfoNCE): Gaussians with the moments of each q(z|x), and
    the decoder; `estimator` says which. A lower bound proves information, and never that there is none: the verdict is then
    `unknown` unless something else decides. An implicit posterior has no density at all: with those Gaussians g, its `kl` is
    :math:`\mathbb E_q[\log g(z) - \log p(z)]`, which falls short of KL(q ‖ p) by KL(q ‖ g).

    Args:
        model: The model to look at.
        x: Observations, a tensor, an array [N, *shape] or a batch, a few hundred or more; memory grows with N, time with N².
        train: Observations of the training [M, *shape], a thousand serve, to which what needs no model is fitted, or a
            `Reference` that was; None: halves of x, each judged by the other.
        thresholds: Where the verdicts lie.

    Raises:
        ValueError: If there are fewer than two observations or training rows, or their shape is not that of the model's, or a
            number is not finite.

    References:
        Hoffman and Johnson (2016), ELBO surgery (the split of the divergence); active units: Burda et al. (2016), section 5.1;
        the estimator of the information: He et al. (2019), section 4.2; the bound: Poole et al. (2019), On Variational
        Bounds of Mutual Information, equation 12.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import Bias
        >>> vae = VAE(Normal(3), Bernoulli(3, (4,), Bias), posteriors.Gaussian(3, (4,), Bias))
        >>> diagnose_posterior(vae, torch.ones(50, 4)).verdict
        'collapsed'
    """
    given = as_batch(x)
    batch = given._replace(x=admitted(model, given.x, "observations")).on(model.like.device)
    if train is not None and not isinstance(train, Reference):
        train = admitted(model, train, "training rows")
    with evaluating(model):
        seen = measure(model, batch, train, thresholds.active)
    verdict, reason = judge(seen, thresholds)
    cures = posterior_remedies(model, verdict, misses_codes(seen.prior_gap, seen.prior_gap_standard_error))
    return Diagnosis(**vars(seen), verdict=verdict, reason=reason, remedies=cures)


def admitted(model: LatentVariableModel, x: Any, name: str) -> Tensor:
    """Rows as the model takes them; what is wrong with them is no fault of the model."""
    x, shape = model.cast(torch.as_tensor(x)), model.likelihood.shape
    if len(x) < 2:
        raise ValueError(f"expected at least 2 {name} to diagnose, came {len(x)}; a few hundred give a steady verdict")
    if x.shape[1:] != shape:
        raise ValueError(f"expected {name} of shape {tuple(shape)}, came {tuple(x.shape[1:])}; write [N, *shape]")
    finite = x.flatten(1).isfinite().all(1)
    if not finite.all():
        raise ValueError(f"expected finite {name}, came NaN or infinity in {int((~finite).sum())} of {len(x)}; drop these")
    return x
