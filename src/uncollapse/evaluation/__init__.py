"""Evaluation: one number each, for any trained model."""

from uncollapse.divergences import PRDC, copying, duplicates, energy_coefficient, energy_distance, mode_entropy, prdc
from uncollapse.divergences.two_sample_tests import classifier_test, mmd_test, nearest_neighbours
from uncollapse.evaluation.annealed import Annealed, Bracket, ais, bracket, reverse
from uncollapse.evaluation.annealing import Annealing, Ladder, LinearLadder, SigmoidLadder
from uncollapse.evaluation.classifier import (
    Classifier,
    DigitClassifier,
    DigitFeatures,
    digit_classifier,
    stacked_modes,
    with_modes,
)
from uncollapse.evaluation.digit_sharpness import DigitSharpness
from uncollapse.evaluation.diversity import diversity_ms_ssim, ms_ssim, vendi, vendi_interval
from uncollapse.evaluation.evaluate import evaluate
from uncollapse.evaluation.extractors import extractor_of
from uncollapse.evaluation.features import Extractor, FeatureNetwork, Features, Inception, Pixels
from uncollapse.evaluation.frechet import Moments, fid
from uncollapse.evaluation.held_out import decoder_evaluations, evaluate_annealed, evaluate_located, located_evaluations
from uncollapse.evaluation.judge import judge
from uncollapse.evaluation.latents import evaluate_latents
from uncollapse.evaluation.likelihood import HeldOut, log_likelihood, width
from uncollapse.evaluation.located import Laplace, located_likelihood
from uncollapse.evaluation.observation import ObservationNoise, Observed, choose_noise, observed
from uncollapse.evaluation.parzen import Parzen, kde
from uncollapse.evaluation.probe import Probe, linear_probe, principal_components
from uncollapse.evaluation.proposals import FromPosterior, FromPrior, Matched, Proposal, Widened, natural
from uncollapse.evaluation.quality import KID, InceptionScore, inception_score, kid, kid_interval
from uncollapse.evaluation.samples import evaluate_samples, fid_of_draws

__all__ = [
    "KID",
    "PRDC",
    "Annealed",
    "Annealing",
    "Bracket",
    "Classifier",
    "DigitClassifier",
    "DigitFeatures",
    "DigitSharpness",
    "Extractor",
    "FeatureNetwork",
    "Features",
    "FromPosterior",
    "FromPrior",
    "HeldOut",
    "Inception",
    "InceptionScore",
    "Ladder",
    "Laplace",
    "LinearLadder",
    "Matched",
    "Moments",
    "ObservationNoise",
    "Observed",
    "Parzen",
    "Pixels",
    "Probe",
    "Proposal",
    "SigmoidLadder",
    "Widened",
    "ais",
    "bracket",
    "choose_noise",
    "classifier_test",
    "copying",
    "decoder_evaluations",
    "digit_classifier",
    "diversity_ms_ssim",
    "duplicates",
    "energy_coefficient",
    "energy_distance",
    "evaluate",
    "evaluate_annealed",
    "evaluate_latents",
    "evaluate_located",
    "evaluate_samples",
    "extractor_of",
    "fid",
    "fid_of_draws",
    "inception_score",
    "judge",
    "kde",
    "kid",
    "kid_interval",
    "linear_probe",
    "located_evaluations",
    "located_likelihood",
    "log_likelihood",
    "mmd_test",
    "mode_entropy",
    "ms_ssim",
    "natural",
    "nearest_neighbours",
    "observed",
    "prdc",
    "principal_components",
    "reverse",
    "stacked_modes",
    "vendi",
    "vendi_interval",
    "width",
    "with_modes",
]
