"""Variational autoencoders: the model, its objectives, and the procedures that learn them."""

from uncollapse.vae.adversarial import Adversarial, AdversarialAutoencoder, AdversarialVariationalBayes
from uncollapse.vae.apart import Apart
from uncollapse.vae.inference import Amortized, MaximumLikelihood, VariationalEM
from uncollapse.vae.lagging import Lagging
from uncollapse.vae.matching import InfoVAE
from uncollapse.vae.model import VAE, Terms
from uncollapse.vae.objectives import ELBO, IWAE, Bound, EntropyELBO, JointELBO, LogLikelihood
from uncollapse.vae.penalties import Capacity
from uncollapse.vae.reweighted import ReweightedEM
from uncollapse.vae.sampling import MonteCarloEM

__all__ = [
    "ELBO",
    "IWAE",
    "VAE",
    "Adversarial",
    "AdversarialAutoencoder",
    "AdversarialVariationalBayes",
    "Amortized",
    "Apart",
    "Bound",
    "Capacity",
    "EntropyELBO",
    "InfoVAE",
    "JointELBO",
    "Lagging",
    "LogLikelihood",
    "MaximumLikelihood",
    "MonteCarloEM",
    "ReweightedEM",
    "Terms",
    "VariationalEM",
]
