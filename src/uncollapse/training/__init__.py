"""Training: one loop for every procedure."""
from uncollapse.training.checkpoint import CheckpointError
from uncollapse.training.fit import Fitted, TrainingError, fit
from uncollapse.training.settings import Machine, Training

__all__ = ["CheckpointError", "Fitted", "Machine", "Training", "TrainingError", "fit"]
