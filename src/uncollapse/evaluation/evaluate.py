"""All that can be said in numbers of a trained model on held-out data."""

from typing import Any, cast

import torch

from uncollapse import noise
from uncollapse.data import Data
from uncollapse.diagnosis import kind_of
from uncollapse.diagnosis.reference_codes import training_rows
from uncollapse.distributions import LatentVariableModel
from uncollapse.evaluation.latents import evaluate_latents
from uncollapse.evaluation.likelihood import log_likelihood
from uncollapse.evaluation.proposals import Proposal
from uncollapse.evaluation.samples import DRAWN, evaluate_samples
from uncollapse.vae import VAE

DIAGNOSED = 2000  # observations that the diagnosis looks at: a ceiling of 7.6 nats for the mutual information
BESIDE = ("kl", "kl_standard_error", "n")  # numbers of the diagnosis that the held-out likelihood has of more observations


def evaluate(
    model: LatentVariableModel,
    data: Data,
    split: str = "test",
    samples: int = 1000,
    proposal: Proposal | None = None,
    examples: int | None = None,
    seed: int = 0,
    each: bool = False,
) -> dict[str, Any]:
    """Held-out log-likelihood with its standard error, ELBO, bits, diagnosis and latents, by the names of summary.json.

    A model that is measured by its draws (`ImplicitModel`) gets `evaluate_samples` of as many draws as `examples`, by default
    2,500, in its place.

    Bits are per dimension of discrete data, `bits_per_dim`; of sequences per token, `bits_per_token`, with their `perplexity`.

    Args:
        model: What to evaluate.
        data: Where the observations come from.
        split: train, valid, test or all.
        samples: Importance samples K for each observation.
        proposal: Where they come from; None: the posterior, or the Gaussian matched to it where it has no density.
        examples: Only so many of the split, drawn at random and always the same ones; None: all.
        seed: Of all draws; the caller's random state is left as it was.
        each: Whether to give `log_likelihoods` too, log p(x) of each observation.

    Returns:
        Plain values, nats unless the name says otherwise. `elbo` and `kl` are of these samples, or of a hundred from the
        posterior (or that Gaussian) where the proposal is another. Reconstruction error, latent error and a linear probe are
        those of `evaluate_latents`, of `latents_n` observations.

    Raises:
        ValueError: If a model that is measured by its draws is given a proposal, or asked for `each`.

    Example:
        >>> from uncollapse.data import from_arrays
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import Bias
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), Bias), posteriors.Gaussian(2, (4,), Bias))
        >>> found = evaluate(vae, from_arrays(torch.randint(2, (30, 4)).bool()), samples=10)
        >>> round(found["nll"], 4), found["verdict"]
        (2.7726, 'collapsed')
    """
    if kind_of(model).measured_by != "likelihood":
        if proposal is not None or each:
            raise ValueError(f"a {type(model).__name__} is measured by its draws: leave proposal and each out")
        return evaluate_samples(model, data, split, examples or DRAWN, seed=seed)
    like, model = model.like, cast(VAE, model)
    source = data.split(split).to(like.device, like.dtype)
    index = source.some(examples)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        noise.seed_step(seed, 0)
        held_out = log_likelihood(model, source.batches(1000, index), samples, proposal, dequantized=data.dequantized)
        noise.seed_step(seed, 1)
        batch = source.batch(index[:DIAGNOSED])
        diagnosis = kind_of(model).diagnose(model, batch, training_rows(data, like)) if batch.n > 1 else None
    words = {} if diagnosis is None else {k: v for k, v in diagnosis.as_dict().items() if k not in BESIDE}
    values = {"log_likelihoods": held_out.log_likelihoods.tolist()} if each else {}
    latents = evaluate_latents(model, data, split, examples, seed=seed)
    return {**words, **held_out.as_dict(), **latents, "split": split, "data": data.name, **values}
