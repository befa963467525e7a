"""Held-out log p(x) by importance sampling, in memory that depends on neither the samples nor the data's size."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse.data import Batch
from uncollapse.distributions import LatentVariableModel, Likelihood, bits_per_dim, bits_per_token, draw_scored, perplexity
from uncollapse.distributions.still import evaluating
from uncollapse.evaluation.proposals import FromPosterior, Matched, Proposal, Widened, natural
from uncollapse.memory import keep_pages
from uncollapse.networks import Network
from uncollapse.networks.base import hand_over_float32
from uncollapse.vae import VAE


@dataclass(frozen=True)
class HeldOut:
    """What was estimated on n_examples observations with K samples each; means over the observations, in nats."""

    nll: float  # -log p(x)
    nll_standard_error: float | None  # over observations: std / sqrt(N); None for a single one
    nll_sampling_error: float  # of the mean, from K samples being finitely many: the delta method, below
    elbo: float
    kl: float  # KL(q(z|x) || p(z)), from the samples of the ELBO
    effective_sample_size: float  # (Σ w)² / Σ w², of at most K
    n_importance_samples: int
    n_examples: int
    bits_per_dim: float | None  # of discrete or dequantised data that are no sequences
    bits_per_token: float | None  # of sequences of tokens: over all of them, ends counted and padding not
    perplexity: float | None  # of the same, 2 to the bits per token
    proposal: str
    log_likelihoods: Tensor = field(repr=False, compare=False)  # log p(x) of each, [N] float64

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; without the values of single observations."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "log_likelihoods"}


class _Sums(NamedTuple):
    """All that is kept of the samples of B observations: [B] each, float64."""

    weights: Tensor  # log Σ w
    squares: Tensor  # log Σ w²
    log_weights: Tensor  # Σ log w
    log_likelihoods: Tensor  # Σ log p(x|z)

    @classmethod
    def of(cls, log_w: Tensor, log_likelihood: Tensor) -> "_Sums":
        return cls(log_w.logsumexp(0), (2 * log_w).logsumexp(0), log_w.sum(0), log_likelihood.sum(0))

    def plus(self, other: "_Sums") -> "_Sums":
        weights, squares = (torch.logaddexp(a, b) for a, b in zip(self[:2], other[:2], strict=True))
        return _Sums(weights, squares, *(a + b for a, b in zip(self[2:], other[2:], strict=True)))


@torch.no_grad()
def log_likelihood(
    model: VAE,
    x: Tensor | Batch | Iterable[Tensor | Batch],
    k: int = 5000,
    proposal: Proposal | None = None,
    budget: int | None = None,
    autocast: torch.dtype | None = None,
    dequantized: int | None = None,
) -> HeldOut:
    r"""Held-out log-likelihood by importance sampling, a lower bound of it in expectation that rises to it with K.

    .. math:: \log p(x) \approx \log \frac1K \sum_{k=1}^K w_k, \quad w_k = \frac{p(x \mid z_k)\, p(z_k)}{r(z_k)}, \quad
              z_k \sim r, \quad \mathrm{ESS} = \frac{(\sum_k w_k)^2}{\sum_k w_k^2}

    The estimate for one x has variance about 1 / ESS − 1 / K, which `nll_sampling_error` adds up. An observation is encoded
    once. The model is in `eval()` meanwhile, so a sigma that was estimated from data stays as training left it.

    Memory: the decoder gives at most `budget` numbers at a time, and what is kept of them is four float64 numbers an
    observation. The peak is about 3 times the budget plus the decoder's hidden layers for as many latents, whatever K and N.
    A mixture prior of C Gaussians adds about 3 C numbers for each latent.

    Args:
        model: The model.
        x: Observations, a tensor, an array [N, *shape] or a batch, or an iterable of batches of them, such as
            `source.batches(1000)`.
        k: Samples K for each observation.
        proposal: Where they come from: `FromPosterior()`, `Widened(factor)`, `FromPrior()` or `Matched()`. None: the posterior,
            or the Gaussian matched to it where it has no density; ELBO and KL are then that Gaussian's.
        budget: Numbers that the decoder may give at a time: by default 2²¹ on a CPU, which its caches hold, and 2²⁶ elsewhere.
        autocast: Type that the decoder computes in, such as torch.bfloat16; densities stay in the model's. None: the model's.
        dequantized: Levels that the data had before noise was added to them, to state bits per dimension.

    Raises:
        ValueError: If k or budget is not positive, there are no observations, `FromPosterior` or `Widened` is asked for
            where the posterior has no density, or the likelihood gives none to the data.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, equation 8 and section 5 (K = 5,000);
        the effective sample size: Kong (1992).

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import Bias
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), Bias), posteriors.Gaussian(2, (4,), Bias))
        >>> found = log_likelihood(vae, torch.ones(3, 4), k=10)
        >>> round(found.nll, 4), round(found.effective_sample_size, 4), round(found.bits_per_dim, 4)
        (2.7726, 10.0, 1.0)
    """
    proposal = natural(model) if proposal is None else proposal
    _admit(model, k, budget, proposal)
    batches = [x] if isinstance(x, (Tensor, np.ndarray, Batch)) else x
    with evaluating(model), _handing_over(model, autocast):
        sampler = _Sampler(model, k, proposal, budget, autocast)
        blocks = [sampler.estimates(batch) for batch in batches]
    if not blocks:
        raise ValueError("expected at least 1 observation, came none")
    return _summary(torch.cat(blocks, 1), model, k, proposal, dequantized)


class _Sampler:
    """The loop over blocks of observations and, within each, over chunks of samples."""

    def __init__(self, model: VAE, k: int, proposal: Proposal, budget: int | None, autocast: torch.dtype | None):
        self.model, self.k, self.proposal, self.autocast = model, k, proposal, autocast
        self.like = model.like
        self.prior, self.natural = None if model.prior.conditional else model.prior(), natural(model)
        budget = budget or (2**21 if self.like.device.type == "cpu" else 2**26)
        self.rows = max(1, budget // width(model))
        keep_pages()

    def estimates(self, batch: Any) -> Tensor:
        """log p(x), ESS, ELBO, KL and tokens of a batch, or of bare observations [B, *shape], a block of it at a time: [5, B].

        They are written in place: small tensors that outlive the large ones around them would scatter over the heap, which then
        grows without end.
        """
        batch = batch if isinstance(batch, Batch) else Batch(torch.as_tensor(batch))
        found = torch.full((5, batch.n), torch.nan, dtype=torch.double, device=self.like.device)
        each = max(self.k, self.proposal.draws if isinstance(self.proposal, Matched) else 1)
        size = max(1, self.rows // each)
        for part, columns in zip(batch.split(self.rows), found.split(self.rows, 1), strict=True):
            part = part.on(self.like.device)._replace(x=self.model.admit(part.x))
            if (tokens := self.model.likelihood.tokens(part.x)) is not None:
                columns[4] = tokens
            parameters = self.model.encode_parameters(part)
            for block in zip(part.split(size), parameters.split(size), columns.split(size, 1), strict=True):
                self.estimate(*block)
        return found

    def estimate(self, batch: Batch, parameters: Tensor, found: Tensor) -> None:
        """Write log p(x), ESS, ELBO and KL of b observations, with b K ≤ rows or b = 1, to found [5, b]."""
        sums = self.sums(batch, self.proposal.at(self.model, parameters), self.k)
        own, k = sums, self.k
        if self.proposal != self.natural:
            k = min(k, 100)
            own = self.sums(batch, self.natural.at(self.model, parameters), k)
        elbo, fit = own.log_weights / k, own.log_likelihoods / k
        found[0], found[1] = sums.weights - math.log(self.k), (2 * sums.weights - sums.squares).exp()
        found[2], found[3] = elbo, fit - elbo

    def sums(self, batch: Batch, r: Distribution, k: int) -> _Sums:
        """k samples from r for each observation, as many at a time as the budget allows."""
        chunks = -(-k * batch.n // self.rows)
        sizes = (k // chunks + (i < k % chunks) for i in range(chunks))
        return reduce(_Sums.plus, (self.draw(batch, r, size) for size in sizes))

    def draw(self, batch: Batch, r: Distribution, n: int) -> _Sums:
        prior = self.prior or self.model.prior_for(batch)
        z, log_r, log_p = draw_scored(r, prior, Size((n,) if r.batch_shape else (n, batch.n)))
        with torch.autocast(z.device.type, self.autocast, enabled=self.autocast is not None):
            p = self.model.observe(z, batch)
        fit = self.model.log_observed(p, batch)
        return _Sums.of((fit + log_p - log_r).double(), fit.double())


def _summary(found: Tensor, model: VAE, k: int, proposal: Proposal, dequantized: int | None) -> HeldOut:
    log_p, ess, elbo, kl, tokens = found
    n, nll = len(log_p), -float(log_p.mean())
    return HeldOut(
        nll=nll,
        nll_standard_error=float(log_p.std()) / math.sqrt(n) if n > 1 else None,
        nll_sampling_error=float((1 / ess - 1 / k).clamp_min(0).sum().sqrt()) / n,
        elbo=float(elbo.mean()),
        kl=float(kl.mean()),
        effective_sample_size=float(ess.mean()),
        n_importance_samples=k,
        n_examples=n,
        **code_lengths(nll, model.likelihood, dequantized, None if tokens.isnan().any() else float(tokens.mean())),
        proposal=repr(proposal),
        log_likelihoods=log_p,
    )


def code_lengths(nll: float, likelihood: Likelihood, dequantized: int | None, tokens: float | None) -> dict[str, float | None]:
    """A negative log-likelihood in the units of its kind of data: `bits_per_dim`, or `bits_per_token` and `perplexity`.

    Args:
        nll: Its mean over the observations, in nats.
        likelihood: Whose.
        dequantized: Levels that the data had before noise was added to them.
        tokens: Mean number of tokens of a sequence, its end counted and padding not; None where the data are none.
    """
    if tokens is not None:
        return {"bits_per_dim": None, "bits_per_token": bits_per_token(nll, tokens), "perplexity": perplexity(nll, tokens)}
    discrete = likelihood.levels is not None or dequantized is not None
    bits = bits_per_dim(nll, likelihood.shape.numel(), dequantized) if discrete else None
    return {"bits_per_dim": bits, "bits_per_token": None, "perplexity": None}


def _admit(model: VAE, k: int, budget: int | None, proposal: Proposal) -> None:
    """Refuse what has no importance weights."""
    if k < 1 or (budget is not None and budget < 1):
        raise ValueError(f"expected k and budget of at least 1, came k={k}, budget={budget}")
    if isinstance(proposal, (FromPosterior, Widened)) and not model.posterior.density.weighs:
        raise ValueError(
            f"importance weights need log q(z|x), {type(model.posterior).__name__} gives {model.posterior.density.value}; "
            "write Matched() (--proposal matched)"
        )


def width(model: LatentVariableModel) -> int:
    """How many numbers the decoder gives for one latent, or holds at once where a part of it states that as its `width`."""
    parts = list(model.likelihood.modules())
    given = [part.output.numel() for part in parts if isinstance(part, Network)]
    held = [int(part.width) for part in parts if hasattr(part, "width")]
    return max([*given, *held], default=model.likelihood.shape.numel())


@contextmanager
def _handing_over(model: VAE, autocast: torch.dtype | None) -> Iterator[None]:
    """The decoder's networks hand over float32 where they compute in another type."""
    hooks = [] if autocast is None else hand_over_float32(model.likelihood)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
