"""Training: one loop for every procedure."""

from uncollapse.training.checkpoint import CheckpointError
from uncollapse.training.estimator import Estimator
from uncollapse.training.fit import fit
from uncollapse.training.loop import Fitted, TrainingError
from uncollapse.training.meeting import PartnerError
from uncollapse.training.recipe import Recipe
from uncollapse.training.run import load_model as load
from uncollapse.training.run import train
from uncollapse.training.settings import Machine, Training
from uncollapse.training.stage import Stage

__all__ = [
    "CheckpointError",
    "Estimator",
    "Fitted",
    "Machine",
    "PartnerError",
    "Recipe",
    "Stage",
    "Training",
    "TrainingError",
    "fit",
    "load",
    "train",
]
