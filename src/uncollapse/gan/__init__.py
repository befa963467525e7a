"""Generative adversarial networks: the implicit model, its objectives, and the diagnosis of mode collapse."""

from uncollapse.gan.augmentations import ADA, Augmentation, DiffAugment
from uncollapse.gan.coverage import Coverage, diagnose, mode_coverage
from uncollapse.gan.entropy import Entropy
from uncollapse.gan.evidence import CriticEvidence, hear
from uncollapse.gan.model import ImplicitModel
from uncollapse.gan.objectives import ALI, GAN, VEEGAN, InfoGAN
from uncollapse.gan.verdict import Limits

__all__ = [
    "ADA",
    "ALI",
    "GAN",
    "VEEGAN",
    "Augmentation",
    "Coverage",
    "CriticEvidence",
    "DiffAugment",
    "Entropy",
    "ImplicitModel",
    "InfoGAN",
    "Limits",
    "diagnose",
    "hear",
    "mode_coverage",
]
