"""Divergences: how far one distribution is from another."""

from uncollapse.divergences.critics import Critic, DensityRatio, Game, NonSaturating, Saturating
from uncollapse.divergences.kl import has_closed_form, kl_units
from uncollapse.divergences.mmd import RBF, InverseMultiquadric, Kernel, mmd

__all__ = [
    "RBF",
    "Critic",
    "DensityRatio",
    "Game",
    "InverseMultiquadric",
    "Kernel",
    "NonSaturating",
    "Saturating",
    "has_closed_form",
    "kl_units",
    "mmd",
]
