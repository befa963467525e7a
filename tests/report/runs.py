"""Small runs: a digits-like VAE, one of points, one of vectors, and the files that a training leaves behind."""

import torch
from torch import Size

from uncollapse.distributions import Normal, posteriors
from uncollapse.distributions.likelihoods import Bernoulli, Gaussian
from uncollapse.networks import MLP
from uncollapse.vae import VAE

SUMMARY = {
    "verdict": "collapsed",
    "reason": "z tells nothing about x: mutual information 0.10 < 0.5 nats, though KL is 3.20",
    "remedies": ["uncollapse train vae --objective.free_bits 0.25      leave each unit some nats for free"],
    "nll": 21.3456,
    "nll_standard_error": 0.21,
    "elbo": -22.5,
    "kl": 3.2,
    "mutual_information": 0.1,
    "mutual_information_ceiling": 6.21,
    "active_units": 1,
    "latent_units": 4,
    "bits_per_dim": 0.4812,
    "n_importance_samples": 500,
    "n_examples": 497,
    "steps": 300,
    "seconds": 83.0,
    "seed": 12345,
    "recipe": "vae",
    "data": "digits",
    "split": "test",
}


def vae(shape, features=4):
    torch.manual_seed(0)
    likelihood = Bernoulli if len(shape) == 3 else Gaussian
    return VAE(Normal(features), likelihood(features, Size(shape), MLP), posteriors.Gaussian(features, Size(shape), MLP))


def metrics(units=4, steps=300):
    lines = []
    for t in range(10, steps + 1, 10):
        elbo = -1e6 if t == 10 else -20 - 100 / t
        lines.append({"kind": "train", "step": t, "elbo": elbo, "log_likelihood": elbo + 3, "kl": 3.0, "learning_rate": 1e-3})
        if t % 50 == 0:
            kl_units = [3.0 / (j + 1) ** 2 for j in range(units)]
            told = {"bound": elbo, "elbo": elbo, "kl": sum(kl_units), "kl_units": kl_units, "mutual_information": 0.1}
            lines.append({"kind": "valid", "step": t, "active_units": 1, "verdict": "collapsed", **told})
    return lines
