"""Annealed importance sampling: log p(x) from below, and from above for images that the model made itself."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uncollapse import noise
from uncollapse.data import Batch, as_batch
from uncollapse.data.batch import joined
from uncollapse.distributions import LatentVariableModel
from uncollapse.distributions.still import evaluating, frozen
from uncollapse.evaluation.annealing import Annealing
from uncollapse.evaluation.likelihood import width
from uncollapse.evaluation.paths import Path, Run, admit, check, run, table
from uncollapse.evaluation.proposals import FromPrior, Proposal

UP, DOWN, SIMULATED = range(3)  # steps of the seed


class Annealed(NamedTuple):
    """What the chains say of each image, in nats."""

    log_likelihood: Tensor  # the bound on log p(x), [B] float64
    log_weights: Tensor  # log w of each chain, [K, B] float64
    acceptance: Tensor  # mean over chains and transitions, [B]; NaN where there is no transition
    effective_sample_size: Tensor  # (Σ w)² / Σ w², of at most K, [B]; from above: of 1 / w
    z: Tensor  # where the chains ended, [K, B, L]; from below: with weights w, draws of p(z|x)

    @classmethod
    def of(cls, found: Run, sign: int) -> "Annealed":
        """The bound by the mean of w (sign 1) or of 1 / w (sign -1)."""
        log_w = sign * found.log_weights
        mean = log_w.logsumexp(0) - math.log(len(log_w))
        ess = (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()
        return cls(sign * mean, found.log_weights, found.acceptance, ess, found.z)


@dataclass(frozen=True)
class Bracket:
    """Bounds on the mean log p(x) of images that the model made, in nats; the true value lies between them in expectation."""

    lower: float
    lower_standard_error: float  # over images: std / sqrt(n)
    upper: float
    upper_standard_error: float
    gap: float  # upper - lower: what both runs together may be off
    gap_standard_error: float  # of the paired differences
    n: int
    chains: int
    temperatures: int
    x: Tensor = field(repr=False, compare=False)  # the images, [n, *shape]
    z: Tensor = field(repr=False, compare=False)  # and the latents that they were made from, [n, L]
    below: Annealed = field(repr=False, compare=False)
    above: Annealed = field(repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; without the tensors."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.repr}


def ais(
    model: LatentVariableModel,
    x: Tensor | Batch,
    chains: int = 16,
    annealing: Annealing | None = None,
    start: Proposal | None = None,
    budget: int | None = None,
    seed: int = 0,
) -> Annealed:
    r"""Annealed importance sampling: a lower bound on log p(x) in expectation, tight where the annealing is slow.

    .. math:: \log p(x) \ge \mathbb E \log \frac1K \sum_{k=1}^K w_k, \quad
              w = \prod_{t=1}^T \left[\frac{p(x, z_{t-1})}{r(z_{t-1})}\right]^{\beta_t - \beta_{t-1}}, \quad
              z_0 \sim r, \quad z_t \sim \mathcal T_t(\cdot \mid z_{t-1})

    where the transition :math:`\mathcal T_t` of Hamiltonian Monte Carlo leaves
    :math:`f_t \propto r(z)^{1 - \beta_t} p(x, z)^{\beta_t}` as it is. Then :math:`\mathbb E\, w = p(x)` however badly the
    chains mix, so that the estimate exceeds log p(x) by b nats with a probability of at most :math:`e^{-b}`. This needs step
    sizes that do not depend on the chains, see `Annealing`. The estimate's variance is about 1 / ESS − 1 / K, which is to be
    believed only where the bracket on simulated images is narrow.

    Costs :math:`K ((T - 1) (\text{leapfrogs} + 1) + 1)` evaluations of the decoder with their gradients for each image, and a
    fifth more where step sizes are adapted first: 16 chains, 1,000 temperatures and 10 leapfrog steps are 210,000. All chains
    of all images move together; nothing is read on the host within a run.

    Args:
        model: p(z) and p(x|z), in `eval()` meanwhile.
        x: Images [B, *shape].
        chains: Chains K for each image.
        annealing: Temperatures and transitions; None: `Annealing()`.
        start: r: `FromPrior()`, or for a VAE `FromPosterior()`, `Widened(factor)` or `Matched()`; None: the prior.
        budget: Numbers that the decoder may give at a time, by default 2²¹ on a CPU and 2²⁶ elsewhere: images go in blocks.
        seed: Of all draws, which also depend on the blocks; the caller's random state is left as it was.

    Raises:
        ValueError: If p(x|z) has no density, or one that is not finite or not differentiable in z; if r has none; if a number
            is out of range, or x is nothing that the likelihood gives a density to.

    References:
        Neal (2001), Annealed Importance Sampling; for decoders: Wu et al. (2017), On the Quantitative Analysis of Decoder-Based
        Generative Models; how rarely it exceeds: Grosse, Ghahramani and Adams (2015).

    Example:
        >>> from uncollapse.distributions import Normal, likelihoods
        >>> from uncollapse.networks import MLP
        >>> model = LatentVariableModel(Normal(1), likelihoods.Gaussian(1, (1,), lambda i, o: MLP(i, o, [])))
        >>> _ = torch.nn.init.ones_(model.likelihood.network.layers[0].weight)
        >>> _ = torch.nn.init.zeros_(model.likelihood.network.layers[0].bias)
        >>> found = ais(model, torch.ones(1, 1), annealing=Annealing(temperatures=100))
        >>> round(found.log_likelihood.item(), 1), -0.5 * (0.5 + math.log(4 * math.pi))
        (-1.5, -1.5155121234846454)
    """
    sampler = _Sampler(model, chains, annealing, start, budget)
    with _still(model, seed, UP):
        return sampler.found(x)


def reverse(
    model: LatentVariableModel,
    z: Tensor,
    x: Tensor | Batch,
    chains: int = 16,
    annealing: Annealing | None = None,
    start: Proposal | None = None,
    budget: int | None = None,
    seed: int = 0,
) -> Annealed:
    r"""The same chains run backwards from an exact draw of the posterior: an upper bound on log p(x) in expectation.

    .. math:: \log p(x) \le -\mathbb E \log \frac1K \sum_{k=1}^K \frac1{w_k}, \quad (z, x) \sim p(z)\, p(x \mid z)

    A z from which the model made x is one exact draw of p(z|x), and there is no second: all chains of an image start at it.
    :math:`\mathbb E[1 / w \mid x] = 1 / p(x)` over that z and what follows, for each chain and so for their mean: the bound
    holds on average over pairs (z, x), not for each of them. More chains only average what happens after the common start, so
    that the bound gets tight with T, not with K. Costs what `ais` does.

    Args:
        model: p(z) and p(x|z), in `eval()` meanwhile.
        z: Latents [B, L], drawn from the prior.
        x: The images [B, *shape] that the model made from them. Of others this bounds nothing.
        chains: Chains K for each image.
        annealing: Temperatures and transitions; None: `Annealing()`.
        start: r, where the chains are annealed to; None: the prior.
        budget: Numbers that the decoder may give at a time.
        seed: Of all draws; the caller's random state is left as it was.

    Raises:
        ValueError: As `ais`; or if z and x do not go together.

    References:
        Grosse, Ghahramani and Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte Carlo.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal
        >>> from uncollapse.networks import Bias
        >>> model = LatentVariableModel(Normal(2), Bernoulli(2, (4,), Bias))
        >>> found = reverse(model, torch.zeros(1, 2), torch.ones(1, 4), annealing=Annealing(temperatures=5))
        >>> round(found.log_likelihood.item(), 4)
        -2.7726
    """
    sampler = _Sampler(model, chains, annealing, start, budget)
    n = as_batch(x).n
    if z.shape != (n, model.prior.features):
        raise ValueError(f"expected a latent for each image, {(n, model.prior.features)}, came {tuple(z.shape)}")
    with _still(model, seed, DOWN):
        return sampler.found(x, z)


def bracket(
    model: LatentVariableModel,
    n: int = 100,
    chains: int = 16,
    annealing: Annealing | None = None,
    start: Proposal | None = None,
    budget: int | None = None,
    seed: int = 0,
) -> Bracket:
    r"""Bidirectional Monte Carlo: how far `ais` is from the truth, measured on images that the model made.

    .. math:: \mathbb E\, \text{ais}(x) \le \mathbb E \log p(x) \le \mathbb E\, \text{reverse}(z, x), \quad
              z \sim p(z), \quad x \sim p(x \mid z)

    Its gap bounds the mean error of either run on such images; on real images it is evidence, as far as their posteriors
    are as hard to reach as those of simulated ones. Costs twice what `ais` does for n images.

    Args:
        model: p(z) and p(x|z), in `eval()` meanwhile.
        n: Images, at least 2.
        chains: Chains K for each image and direction.
        annealing: Temperatures and transitions; None: `Annealing()`.
        start: r; None: the prior.
        budget: Numbers that the decoder may give at a time.
        seed: Of all draws; the caller's random state is left as it was.

    Raises:
        ValueError: As `ais`; or if n is below 2.

    References:
        Grosse, Ghahramani and Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte Carlo.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal
        >>> from uncollapse.networks import Bias
        >>> found = bracket(LatentVariableModel(Normal(2), Bernoulli(2, (4,), Bias)), 3, annealing=Annealing(temperatures=5))
        >>> round(found.lower, 4), round(found.upper, 4), abs(found.gap) < 1e-5
        (-2.7726, -2.7726, True)
    """
    if n < 2:
        raise ValueError(f"expected n of at least 2 for a standard error, came {n}")
    sampler = _Sampler(model, chains, annealing, start, budget)
    with _still(model, seed, SIMULATED), torch.no_grad():
        pairs = [model.simulate(len(part)) for part in torch.arange(n).split(sampler.rows)]
    z, simulated = torch.cat([z for z, _ in pairs]), joined([batch for _, batch in pairs])
    x = simulated.x
    below = ais(model, simulated, chains, annealing, start, budget, seed)
    above = reverse(model, z, simulated, chains, annealing, start, budget, seed)
    bounds = torch.stack((below.log_likelihood, above.log_likelihood, above.log_likelihood - below.log_likelihood))
    (lower, upper, gap), errors = bounds.mean(1).tolist(), (bounds.std(1) / math.sqrt(n)).tolist()
    return Bracket(
        lower, errors[0], upper, errors[1], gap, errors[2], n, chains, sampler.annealing.temperatures, x, z, below, above
    )


class _Sampler:
    """The loop over blocks of images; within a block all chains move together."""

    def __init__(
        self, model: LatentVariableModel, chains: int, annealing: Annealing | None, start: Proposal | None, budget: int | None
    ):
        if chains < 1 or (budget is not None and budget < 1):
            raise ValueError(f"expected chains and budget of at least 1, came chains={chains}, budget={budget}")
        self.model, self.chains = model, chains
        self.annealing, self.start = annealing or Annealing(), start or FromPrior()
        admit(model, self.start)
        budget = budget or (2**21 if model.like.device.type == "cpu" else 2**26)
        self.rows = max(1, budget // width(model))

    def found(self, x: Tensor | Batch, z: Tensor | None = None) -> Annealed:
        """What there is to say of x [B, *shape], from above where the z [B, L] that made it are given."""
        batch = as_batch(x)
        if not batch.n:
            raise ValueError("expected at least 1 image, came none")
        size = max(1, self.rows // self.chains)
        latents = [None] * -(-batch.n // size) if z is None else z.split(size)
        runs = [self.block(part, made_from) for part, made_from in zip(batch.split(size), latents, strict=True)]
        whole = Run(*(torch.cat(parts, 0 if parts[0].dim() == 1 else 1) for parts in zip(*runs, strict=True)))
        return Annealed.of(whole, 1 if z is None else -1)

    def block(self, batch: Batch, z: Tensor | None) -> Run:
        x = self.model.admit(batch.x)
        path = Path(self.model, batch.on(x.device)._replace(x=x), self.start)
        first = path.draw(self.chains) if z is None else z.to(self.model.like).expand(self.chains, *z.shape).contiguous()
        check(path, first)
        return run(path, first, self.annealing, table(path, self.annealing, self.chains), down=z is not None)


@contextmanager
def _still(model: LatentVariableModel, seed: int, step: int) -> Iterator[None]:
    """The model in eval(), its parameters out of the gradient, all draws from the seed."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), evaluating(model), frozen(model.parameters()):
        noise.seed_step(seed, step)
        yield
