"""Divergences: how far one distribution is from another."""

from uncollapse.divergences.kl import has_closed_form, kl_units
from uncollapse.divergences.mmd import RBF, InverseMultiquadric, Kernel, mmd

__all__ = ["RBF", "InverseMultiquadric", "Kernel", "has_closed_form", "kl_units", "mmd"]
