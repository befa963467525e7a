"""See a posterior collapse, and one remedy: a decoder variance that is too large, then the optimal one.

python examples/collapse.py [--steps 2000]
"""

import argparse
from functools import partial

import torch

import uncollapse as uc
from uncollapse.distributions import FixedSigma, Normal, OptimalSigma, likelihoods, posteriors
from uncollapse.networks import MLP
from uncollapse.vae import ELBO, VAE, Amortized

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--steps", type=int, default=2000)
options = parser.parse_args()

data = uc.data.load("digits")
network = partial(MLP, hidden=[128])
for sigma in (partial(FixedSigma, value=3.0), OptimalSigma):
    torch.manual_seed(0)
    likelihood = likelihoods.Gaussian(8, data.shape, network, sigma)
    vae = VAE(Normal(8), likelihood, posteriors.Gaussian(8, data.shape, network))
    uc.fit(Amortized(ELBO(vae)), data, uc.Training(steps=options.steps))
    print(type(likelihood.sigma).__name__)
    print(uc.diagnose(vae, data.valid.all()), end="\n\n")
