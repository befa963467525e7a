"""Distributions: p(z), p(x|z) and q(z|x), modules that return a torch Distribution."""

from uncollapse.distributions import flows, likelihoods, posteriors, priors
from uncollapse.distributions.chain import Chain, ChainPosterior, ChainPrior, block_terms
from uncollapse.distributions.conditional import Density, Likelihood, Posterior, Prior
from uncollapse.distributions.conditional_normal import ConditionalNormal
from uncollapse.distributions.draws import draw, draw_scored
from uncollapse.distributions.fields import bits_per_dim, bits_per_token, perplexity
from uncollapse.distributions.floored_posteriors import BatchNormalized, Committed
from uncollapse.distributions.flow_priors import AutoregressivePrior, CouplingPrior, SplinePrior
from uncollapse.distributions.generator import Generator
from uncollapse.distributions.implicit import Implicit
from uncollapse.distributions.latent import LatentVariableModel
from uncollapse.distributions.likelihoods import Bernoulli, Categorical, DiscretizedLogistic
from uncollapse.distributions.mcmc import HMC
from uncollapse.distributions.mixed_posteriors import Hierarchical, SemiImplicit
from uncollapse.distributions.pixelcnn import PixelCNN
from uncollapse.distributions.posteriors import Free, FullGaussian, LogitNormal
from uncollapse.distributions.priors import Mixture, Normal, Uniform
from uncollapse.distributions.recurrent import Recurrent
from uncollapse.distributions.refined import Refined
from uncollapse.distributions.sigmas import FixedSigma, LearnedSigma, OptimalSigma, Sigma
from uncollapse.distributions.tractable import Location
from uncollapse.distributions.vamp import VampPrior

__all__ = [
    "HMC",
    "AutoregressivePrior",
    "BatchNormalized",
    "Bernoulli",
    "Categorical",
    "Chain",
    "ChainPosterior",
    "ChainPrior",
    "Committed",
    "ConditionalNormal",
    "CouplingPrior",
    "Density",
    "DiscretizedLogistic",
    "FixedSigma",
    "Free",
    "FullGaussian",
    "Generator",
    "Hierarchical",
    "Implicit",
    "LatentVariableModel",
    "LearnedSigma",
    "Likelihood",
    "Location",
    "LogitNormal",
    "Mixture",
    "Normal",
    "OptimalSigma",
    "PixelCNN",
    "Posterior",
    "Prior",
    "Recurrent",
    "Refined",
    "SemiImplicit",
    "Sigma",
    "SplinePrior",
    "Uniform",
    "VampPrior",
    "bits_per_dim",
    "bits_per_token",
    "block_terms",
    "draw",
    "draw_scored",
    "flows",
    "likelihoods",
    "perplexity",
    "posteriors",
    "priors",
]
