"""Divergences: how far one distribution is from another."""

from uncollapse.divergences.copying import Copying, copying
from uncollapse.divergences.critics import Critic, Things
from uncollapse.divergences.duplicates import Duplicates, duplicates
from uncollapse.divergences.energy import energy_coefficient, energy_distance
from uncollapse.divergences.f_divergences import KL, FDivergence, Hellinger, JensenShannon, Pearson, ReverseKL
from uncollapse.divergences.games import (
    DensityRatio,
    Game,
    Hinge,
    LeastSquares,
    NonSaturating,
    Relativistic,
    Saturating,
    Wasserstein,
)
from uncollapse.divergences.kl import has_closed_form, kl_units
from uncollapse.divergences.mmd import RBF, InverseMultiquadric, Kernel, mmd
from uncollapse.divergences.modes import mode_entropy, reverse_kl_floor
from uncollapse.divergences.neighbours import PRDC, prdc
from uncollapse.divergences.penalties import R1, R2, GradientPenalty, Judged, Penalty

__all__ = [
    "KL",
    "PRDC",
    "R1",
    "R2",
    "RBF",
    "Copying",
    "Critic",
    "DensityRatio",
    "Duplicates",
    "FDivergence",
    "Game",
    "GradientPenalty",
    "Hellinger",
    "Hinge",
    "InverseMultiquadric",
    "JensenShannon",
    "Judged",
    "Kernel",
    "LeastSquares",
    "NonSaturating",
    "Pearson",
    "Penalty",
    "Relativistic",
    "ReverseKL",
    "Saturating",
    "Things",
    "Wasserstein",
    "copying",
    "duplicates",
    "energy_coefficient",
    "energy_distance",
    "has_closed_form",
    "kl_units",
    "mmd",
    "mode_entropy",
    "prdc",
    "reverse_kl_floor",
]
