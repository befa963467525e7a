"""Evaluation: one number each, for any trained model."""

from uncollapse.evaluation.diversity import diversity_ms_ssim, duplicates, mode_entropy, ms_ssim, vendi, vendi_interval
from uncollapse.evaluation.evaluate import evaluate
from uncollapse.evaluation.features import Extractor, FeatureNetwork, Features, Inception, Pixels
from uncollapse.evaluation.frechet import Moments, fid
from uncollapse.evaluation.likelihood import HeldOut, log_likelihood, width
from uncollapse.evaluation.neighbours import PRDC, prdc
from uncollapse.evaluation.proposals import FromPosterior, FromPrior, Matched, Proposal, Widened, natural
from uncollapse.evaluation.quality import KID, InceptionScore, inception_score, kid
from uncollapse.evaluation.two_samples import classifier_test, energy_distance, memorisation, mmd_test, nearest_neighbours

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
    "classifier_test",
    "diversity_ms_ssim",
    "duplicates",
    "energy_distance",
    "evaluate",
    "fid",
    "inception_score",
    "kid",
    "log_likelihood",
    "memorisation",
    "mmd_test",
    "mode_entropy",
    "ms_ssim",
    "natural",
    "nearest_neighbours",
    "prdc",
    "vendi",
    "vendi_interval",
    "width",
]
