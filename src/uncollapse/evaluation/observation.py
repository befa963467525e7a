"""A Gaussian observation model for a generator: with noise of a stated size, x = g(z) has a density, and log p(x) exists."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse import noise
from uncollapse.distributions import FixedSigma, LatentVariableModel, Likelihood
from uncollapse.distributions.fields import NormalField
from uncollapse.distributions.still import evaluating
from uncollapse.evaluation.annealed import ais
from uncollapse.evaluation.annealing import SHORT, Annealing

GOLDEN = (math.sqrt(5) - 1) / 2
RANGE = 100.0  # between the largest σ that is tried and the smallest
PRIOR_DRAWS = 256  # that the largest one is of
CHAINS = 2  # how many for each image
STEPS = 10  # how often the range is narrowed


class Observed(Likelihood):
    r"""A likelihood's mean seen through Gaussian noise, :math:`p(x \mid z) = \mathcal N(g_\theta(z), \sigma^2 I)`.

    Of a `Generator` the mean is its output. What log p(x) then is depends on σ as much as on the generator: state it.

    Args:
        likelihood: What has the mean, differentiable in z.
        sigma: σ, in units of x.

    Raises:
        ValueError: If sigma is not a number above 0.

    References:
        Wu et al. (2017), On the Quantitative Analysis of Decoder-Based Generative Models, section 2.1.

    Example:
        >>> from uncollapse.distributions import Generator
        >>> from uncollapse.networks import Bias
        >>> p = Observed(Generator(2, Size((3,)), Bias), 0.1)
        >>> round(p(torch.zeros(2)).log_prob(torch.zeros(3)).item(), 4)
        4.1509
    """

    def __init__(self, likelihood: Likelihood, sigma: float):
        super().__init__(likelihood.features, likelihood.shape)
        if not 0 < sigma < math.inf:
            raise ValueError(
                f"a generator has a density only with noise: expected an observation noise above 0, came {sigma}; write "
                "--observation-noise 0.1, or leave it out to have it chosen on the validation split"
            )
        self.likelihood, self.sigma = likelihood, FixedSigma(self.shape, sigma)

    def forward(self, c: Any = None) -> Distribution:
        return NormalField(self.likelihood(c).mean, self.sigma, self.shape)


def observed(model: LatentVariableModel, sigma: float) -> LatentVariableModel:
    """The model with an `Observed` likelihood in place of its own; the parts are shared, not copied.

    Example:
        >>> from uncollapse.distributions import Generator, Normal
        >>> from uncollapse.gan import ImplicitModel
        >>> from uncollapse.networks import Bias
        >>> model = ImplicitModel(Normal(2), Generator(2, Size((3,)), Bias))
        >>> round(observed(model, 1.0).log_joint(torch.zeros(1, 3), torch.zeros(1, 1, 2)).item(), 4)
        -4.5947
    """
    return LatentVariableModel(model.prior, Observed(model.likelihood, sigma))


class ObservationNoise(NamedTuple):
    """A chosen σ and how it was found."""

    sigma: float  # in units of x
    tried: list[float]  # every σ in the order that they were tried
    log_likelihoods: list[float]  # the mean AIS bound at each, nats
    n: int  # images
    chains: int
    temperatures: int


def choose_noise(
    model: LatentVariableModel,
    x: Tensor,
    chains: int = CHAINS,
    annealing: Annealing | None = None,
    steps: int = STEPS,
    budget: int | None = None,
    seed: int = 0,
) -> ObservationNoise:
    r"""The observation noise at which a cheap AIS bound of validation images is largest, by golden section in log σ.

    .. math:: \hat\sigma = \arg\max_{\sigma_1 / 100 \le \sigma \le \sigma_1} \frac1V \sum_v \text{ais}_\sigma(x_v), \quad
              \sigma_1^2 = \frac1D\, \mathbb E_v\, \mathbb E_{p(z)} \lVert x_v - g(z) \rVert^2

    No maximum of the likelihood lies above :math:`\sigma_1`: there :math:`\sigma^2` is the mean square error under the
    posterior, which prefers what is near. Each σ has the same draws, so that the bound is nearly one smooth function of σ.
    Chains are further from the truth the smaller σ is, so that few temperatures choose somewhat too large a σ; of D dimensions
    a relative error δ costs about :math:`D \delta^2` nats. A generator that reproduces images exactly has no best σ, and the
    smallest that is tried comes out.

    Args:
        model: p(z), and a likelihood with a mean that is differentiable in z.
        x: Validation images [V, *shape], other than those that are reported on.
        chains: Chains for each image.
        annealing: Temperatures and transitions; None: `Annealing(100, leapfrogs=5)`.
        steps: How often the range of log σ is narrowed to 0.62 of it, with one run each after the first two; 10
            leave 4 % of σ.
        budget: Numbers that the decoder may give at a time.
        seed: Of all draws; the caller's random state is left as it was.

    Raises:
        ValueError: As `ais`; if steps is below 1, or every draw of the model is every image.

    References:
        Wu et al. (2017), section 5.1, tune it on validation data too. Golden section: Kiefer (1953).

    Example:
        >>> from uncollapse.distributions import Generator, Normal
        >>> from uncollapse.networks import Bias
        >>> model = LatentVariableModel(Normal(1), Generator(1, Size((2,)), Bias))
        >>> found = choose_noise(model, torch.tensor([[0.3, -0.3], [0.1, 0.1]]), annealing=Annealing(1))
        >>> abs(found.sigma / 0.05**0.5 - 1) < 0.04, len(found.tried)
        (True, 12)
    """
    if steps < 1:
        raise ValueError(f"expected steps of at least 1, came {steps}; write 10, which leave 4 % of σ")
    if model.condition is not None:
        raise ValueError("expected a model without a condition to choose a noise for; state it, --observation-noise SIGMA")
    annealing = annealing or SHORT
    largest = math.log(spread(model, x, seed))
    found: dict[float, float] = {}

    def bound(log_sigma: float) -> float:
        seen = ais(observed(model, math.exp(log_sigma)), x, chains, annealing, budget=budget, seed=seed)
        return found.setdefault(math.exp(log_sigma), float(seen.log_likelihood.mean()))

    _golden(bound, largest - math.log(RANGE), largest, steps)
    best = max(found, key=lambda sigma: found[sigma])
    return ObservationNoise(best, list(found), list(found.values()), len(x), chains, annealing.temperatures)


@torch.no_grad()
def spread(model: LatentVariableModel, x: Tensor, seed: int = 0) -> float:
    r"""How far the model's draws are from images [V, *shape], whatever z: :math:`\sigma_1`, in units of x.

    Raises:
        ValueError: If they are nowhere apart.
    """
    like = model.like
    x = x.to(like)
    with evaluating(model), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        noise.seed_step(seed, 0)
        fake = model.likelihood(model.prior().sample(Size((PRIOR_DRAWS,))).to(like)).mean.double()
    apart = (x.double().mean(0) - fake.mean(0)).square() + x.double().var(0, correction=0) + fake.var(0, correction=0)
    found = math.sqrt(float(apart.mean()))
    if not 0 < found < math.inf:
        raise ValueError(f"expected draws that differ from the validation images, came a distance of {found}; train it first")
    return found


def _golden(f: Callable[[float], float], low: float, high: float, steps: int) -> None:
    """Narrow [low, high] about the maximum of f, which notes its values itself."""
    a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    fa, fb = f(a), f(b)
    for _ in range(steps):
        if fa > fb:
            high, b, fb = b, a, fa
            a = high - GOLDEN * (high - low)
            fa = f(a)
        else:
            low, a, fa = a, b, fb
            b = low + GOLDEN * (high - low)
            fb = f(b)
