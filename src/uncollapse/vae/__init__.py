"""Variational autoencoders: the model, its objectives, the procedures that learn them, and the diagnosis of collapse."""
from uncollapse.vae.collapse import Diagnosis, Thresholds, diagnose
from uncollapse.vae.inference import Amortized, LogLikelihood, MaximumLikelihood, Procedure, VariationalEM
from uncollapse.vae.model import VAE, Terms
from uncollapse.vae.objectives import ELBO, IWAE, EntropyELBO, JointELBO, Objective

__all__ = [
    "ELBO",
    "IWAE",
    "VAE",
    "Amortized",
    "Diagnosis",
    "EntropyELBO",
    "JointELBO",
    "LogLikelihood",
    "MaximumLikelihood",
    "Objective",
    "Procedure",
    "Terms",
    "Thresholds",
    "VariationalEM",
    "diagnose",
]
