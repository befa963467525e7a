"""Generative adversarial networks: the implicit model, its objectives, and the diagnosis of mode collapse."""

from uncollapse.gan.augmentations import ADA, Augmentation, DiffAugment
from uncollapse.gan.coverage import Coverage, Limits, diagnose, mode_coverage
from uncollapse.gan.entropy import Entropy
from uncollapse.gan.model import ImplicitModel
from uncollapse.gan.objectives import ALI, GAN, VEEGAN, InfoGAN

__all__ = [
    "ADA",
    "ALI",
    "GAN",
    "VEEGAN",
    "Augmentation",
    "Coverage",
    "DiffAugment",
    "Entropy",
    "ImplicitModel",
    "InfoGAN",
    "Limits",
    "diagnose",
    "mode_coverage",
]
