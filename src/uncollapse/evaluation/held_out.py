"""Log-likelihoods of any model on held-out data, by annealed chains or around modes, by the names of summary.json."""

import math
from typing import Any

import torch

from uncollapse import noise
from uncollapse.data import Batch, Data
from uncollapse.distributions import LatentVariableModel
from uncollapse.evaluation.annealed import Annealed, Bracket, ais, bracket
from uncollapse.evaluation.annealing import SHORT, Annealing
from uncollapse.evaluation.likelihood import code_lengths
from uncollapse.evaluation.located import NEWTON, SEEKING, located_likelihood
from uncollapse.evaluation.observation import CHAINS, STEPS, choose_noise, observed
from uncollapse.evaluation.paths import admit
from uncollapse.evaluation.proposals import FromPrior, Proposal

VALIDATION = 50  # images that an observation noise is chosen on


def evaluate_annealed(
    model: LatentVariableModel,
    data: Data,
    split: str = "test",
    examples: int | None = 100,
    chains: int = 16,
    annealing: Annealing | None = None,
    start: Proposal | None = None,
    simulated: int | None = None,
    observation_noise: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The AIS bound on held-out images and, where asked for, the bracket on simulated ones, by the names of summary.json.

    Of a VAE and a GAN alike. A generator without a density is seen through Gaussian noise of the size that is given, or that is
    chosen on 50 validation images (`choose_noise`); where the split is `valid` itself, these are among those measured.

    Args:
        model: What to evaluate.
        data: Where the images come from.
        split: train, valid, test or all.
        examples: Only so many of the split, drawn at random and always the same ones; None: all.
        chains: Chains K for each image.
        annealing: Temperatures and transitions; None: `Annealing()`.
        start: Where chains start; None: the prior.
        simulated: How many images the model makes for the bracket; None: no bracket.
        observation_noise: σ of a generator without a density; None: chosen.
        seed: Of all draws; the caller's random state is left as it was.

    Returns:
        Plain values, nats unless the name says otherwise. `density_of` says what the density is of: of data that were not
        dequantised it is that of the continuous values, no bound on the mass of the discrete ones.

    Raises:
        ValueError: As `ais` and `bracket`; or if an observation noise is given to a model that has a density.

    Example:
        >>> from uncollapse.data import from_arrays
        >>> from uncollapse.distributions import Generator, Normal
        >>> from uncollapse.networks import Bias
        >>> model = LatentVariableModel(Normal(2), Generator(2, (4,), Bias))
        >>> data, once = from_arrays(torch.zeros(30, 4) - 0.5), Annealing(1)
        >>> found = evaluate_annealed(model, data, annealing=once, observation_noise=1.0)
        >>> round(found["ais"], 3), found["n_examples"], found["density_of"]
        (-4.176, 3, 'real numbers')
    """
    if simulated is not None and simulated < 2:
        raise ValueError(f"expected at least 2 simulated images for a standard error, came {simulated}; write --simulated 100")
    annealing = annealing or Annealing()
    seen, told = _with_density(model, data, start, observation_noise, seed)
    x = _images(model, data, split, examples, seed)
    found = told | _of_images(ais(seen, x, chains, annealing, start, seed=seed))
    tokens = seen.likelihood.tokens(x.x)
    found |= code_lengths(
        -found["ais"], seen.likelihood, data.dequantized, None if tokens is None else float(tokens.double().mean())
    )
    if simulated is not None:
        found |= _of_bracket(bracket(seen, simulated, chains, annealing, start, seed=seed))
    settings = {"chains": chains, "temperatures": annealing.temperatures, "density_of": density_of(seen, data)}
    return found | settings | {"split": split, "data": data.name}


def evaluate_located(
    model: LatentVariableModel,
    data: Data,
    split: str = "test",
    samples: int = 2000,
    examples: int | None = 100,
    widen: float = 1.2,
    observation_noise: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The importance-sampled likelihood of a model without an encoder (`located_likelihood`), by the names of summary.json.

    Args:
        model: What to evaluate: PresGAN's generator with noise, or one without, whose noise is given or chosen.
        data: Where the images come from.
        split: train, valid, test or all.
        samples: Importance samples K for each image.
        examples: Only so many of the split, drawn at random and always the same ones; None: all.
        widen: How much wider than the curvature says the proposal is.
        observation_noise: σ of a generator without a density; None: chosen, as `evaluate_annealed` does.
        seed: Of all draws; the caller's random state is left as it was.

    Raises:
        ValueError: As `located_likelihood`; or if an observation noise is given to a model that has a density.

    Example:
        >>> from uncollapse.data import from_arrays
        >>> from uncollapse.distributions import Normal, likelihoods
        >>> from uncollapse.networks import Bias
        >>> model = LatentVariableModel(Normal(2), likelihoods.Gaussian(2, (4,), Bias))
        >>> found = evaluate_located(model, from_arrays(torch.zeros(30, 4) - 0.5), samples=10, widen=1.0)
        >>> round(found["nll"], 3), found["n_examples"]
        (4.176, 3)
    """
    seen, told = _with_density(model, data, None, observation_noise, seed)
    x = _images(model, data, split, examples, seed)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        noise.seed_step(seed, 1)
        found = located_likelihood(seen, x.x, samples, widen, dequantized=data.dequantized, seed=seed)
    values = {name: value for name, value in found.as_dict().items() if name not in ("elbo", "kl", "proposal")}
    about = {"proposal": f"Laplace, {found.proposal}", "density_of": density_of(seen, data)}
    return told | values | about | {"split": split, "data": data.name}


def decoder_evaluations(
    chains: int, annealing: Annealing, examples: int, simulated: int | None = None, choosing: bool = False
) -> int:
    """How many evaluations of the decoder, nearly all with a gradient, `evaluate_annealed` takes; `choosing`: σ too.

    Example:
        >>> decoder_evaluations(16, Annealing(), 100), decoder_evaluations(16, Annealing(), 100, 100, choosing=True)
        (21088000, 64332000)
    """
    first = (STEPS + 2) * VALIDATION * CHAINS * SHORT.evaluations if choosing else 0
    return first + (examples + 2 * (simulated or 0)) * chains * annealing.evaluations


def located_evaluations(features: int, examples: int, samples: int, choosing: bool = False) -> int:
    """How many evaluations of the decoder `evaluate_located` takes for L features, a gradient of Newton's counted as one.

    Example:
        >>> located_evaluations(10, 100, 2000)
        589100
    """
    newton = (NEWTON + 1) * (features + 1)
    return decoder_evaluations(SEEKING, SHORT, examples, choosing=choosing) + examples * (newton + samples + 100)


def density_of(model: LatentVariableModel, data: Data) -> str:
    """What log p(x) is a density of: raw levels, dequantised ones, real numbers; or of what it is the mass.

    Example:
        >>> from uncollapse.data import load
        >>> from uncollapse.distributions import Normal, likelihoods
        >>> from uncollapse.networks import MLP
        >>> model = LatentVariableModel(Normal(2), likelihoods.Gaussian(2, (1, 8, 8), MLP))
        >>> density_of(model, load("digits", dequantize=True))
        '17 levels dequantised by uniform noise to [0, 1)'
        >>> density_of(model, load("digits"))
        'raw levels k/16 in [0, 1], not dequantised: the density of continuous values, no bound on a mass'
    """
    if model.likelihood.levels is not None:
        return f"discrete data of {model.likelihood.levels} levels: their mass"
    if data.dequantized is not None:
        return f"{data.dequantized} levels dequantised by uniform noise to [0, 1)"
    if data.levels is not None:
        last = data.levels - 1
        return f"raw levels k/{last} in [0, 1], not dequantised: the density of continuous values, no bound on a mass"
    return "real numbers"


def _with_density(
    model: LatentVariableModel, data: Data, start: Proposal | None, sigma: float | None, seed: int
) -> tuple[LatentVariableModel, dict[str, Any]]:
    """The model with a density, its own or that of an observation noise; and what is to be said of the noise."""
    if model.likelihood.density.weighs:
        if sigma is not None:
            raise ValueError(
                f"{type(model.likelihood).__name__} has a density of its own, and takes no observation noise, came {sigma}; "
                "leave --observation-noise out"
            )
        admit(model, start or FromPrior())
        return model, {}
    admit(observed(model, 1.0 if sigma is None else sigma), start or FromPrior())
    if sigma is not None:
        return observed(model, sigma), {"observation_noise": sigma, "observation_noise_from": "given"}
    x = _images(model, data, "valid", VALIDATION, seed)
    found = choose_noise(model, x.x, seed=seed)
    told = (
        f"chosen: the highest AIS bound of {found.n} validation images, {found.chains} chains, "
        f"{found.temperatures} temperatures"
    )
    return observed(model, found.sigma), {"observation_noise": found.sigma, "observation_noise_from": told}


def _images(model: LatentVariableModel, data: Data, split: str, n: int | None, seed: int) -> Batch:
    like = model.like
    source = data.split(split).to(like.device, like.dtype)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        noise.seed_step(seed, 0)
        return source.batch(source.some(n))


def _of_images(found: Annealed) -> dict[str, Any]:
    values, n = found.log_likelihood, len(found.log_likelihood)
    acceptance = float(found.acceptance.mean())
    return {
        "ais": float(values.mean()),
        "ais_standard_error": float(values.std()) / math.sqrt(n) if n > 1 else None,
        "acceptance": acceptance if math.isfinite(acceptance) else None,
        "effective_chains": float(found.effective_sample_size.mean()),
        "n_examples": n,
    }


def _of_bracket(found: Bracket) -> dict[str, Any]:
    ends = {f"bracket_{name}": value for name, value in found.as_dict().items() if name not in ("n", "chains", "temperatures")}
    return ends | {"n_simulated": found.n}
