"""Evaluation: one number each, for any trained model."""

from uncollapse.evaluation.evaluate import evaluate
from uncollapse.evaluation.features import Extractor, FeatureNetwork, Features, Inception, Pixels
from uncollapse.evaluation.frechet import Moments, fid
from uncollapse.evaluation.likelihood import HeldOut, log_likelihood, width
from uncollapse.evaluation.neighbours import PRDC, prdc
from uncollapse.evaluation.proposals import FromPosterior, FromPrior, Matched, Proposal, Widened, natural
from uncollapse.evaluation.quality import KID, InceptionScore, inception_score, kid

__all__ = [
    "KID",
    "PRDC",
    "Extractor",
    "FeatureNetwork",
    "Features",
    "FromPosterior",
    "FromPrior",
    "HeldOut",
    "Inception",
    "InceptionScore",
    "Matched",
    "Moments",
    "Pixels",
    "Proposal",
    "Widened",
    "evaluate",
    "fid",
    "inception_score",
    "kid",
    "log_likelihood",
    "natural",
    "prdc",
    "width",
]
