"""Evaluation: one number each, for any trained model."""

from uncollapse.evaluation.evaluate import evaluate
from uncollapse.evaluation.likelihood import HeldOut, log_likelihood, width
from uncollapse.evaluation.proposals import FromPosterior, FromPrior, Matched, Proposal, Widened, natural

__all__ = [
    "FromPosterior",
    "FromPrior",
    "HeldOut",
    "Matched",
    "Proposal",
    "Widened",
    "evaluate",
    "log_likelihood",
    "natural",
    "width",
]
