"""Generative adversarial networks: the implicit model and its objectives."""

from uncollapse.gan.augmentations import ADA, Augmentation, DiffAugment
from uncollapse.gan.entropy import Entropy
from uncollapse.gan.model import ImplicitModel
from uncollapse.gan.objectives import ALI, GAN, VEEGAN, InfoGAN

__all__ = [
    "ADA",
    "ALI",
    "GAN",
    "VEEGAN",
    "Augmentation",
    "DiffAugment",
    "Entropy",
    "ImplicitModel",
    "InfoGAN",
]
