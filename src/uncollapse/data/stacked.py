"""Stacked MNIST: images whose three colours are three digits, put together when they are read."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.counter import uniform
from uncollapse.data.dataset import SPLITS, Data
from uncollapse.data.images import mnist
from uncollapse.data.lazy import Readable, read
from uncollapse.data.source import Source

SIZES = dict(zip(SPLITS, (128_000, 10_000, 26_000), strict=True))
"""Images of each split: as many to train on, and as many samples to be judged by, as in Lin et al. (2018), section 4.2."""

_STREAM = 2**32  # seeds that no other draw uses


class Stacked:
    """Images of several channels, each an image of its own: all that is kept are their numbers.

    Args:
        values: The single images, [M, 1, H, W].
        parts: Which of them are the channels of each image, [N, C] integers.
    """

    def __init__(self, values: Readable, parts: np.ndarray):
        self.values, self.parts = values, parts
        self.shape = (len(parts), parts.shape[1], *values.shape[2:])

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        parts = self.parts[rows]
        return read(self.values, parts.ravel()).reshape(*parts.shape, *self.shape[2:])


def stacked_mnist(seed: int = 0) -> Data:
    """Images of three random digits, one a colour channel, 28 by 28 in 256 levels: 128,000, 10,000 and 26,000; 1,000 modes.

    The label of the digits a, b and c is 100 a + 10 b + c. Each split is of the digits of MNIST's split of the same name: the
    train split is drawn once, by the seed; the others are the same in every run. They are 8-bit images, as MNIST is, so that
    whatever works on it works on them: values in [0, 1], binarisation and dequantisation. An image is three numbers until it
    is read.

    References:
        Metz, Poole, Pfau and Sohl-Dickstein (2017), Unrolled generative adversarial networks, section 3.3.1; the sizes: Lin,
        Khetan, Fanti and Oh (2018), PacGAN, section 4.2, which draws train and test digits alike.
    """
    digits = mnist()
    sources: dict[str, Any] = {
        split: stacked(getattr(digits, split), SIZES[split], _STREAM + len(SPLITS) * (seed if split == "train" else 0) + i)
        for i, split in enumerate(SPLITS)
    }
    return Data("stacked-mnist", **sources, levels=digits.levels)


def stacked(source: Source, n: int, seed: int, channels: int = 3) -> Source:
    """n images whose channels are independent draws, with replacement, from a split of images of one channel.

    Args:
        source: The images [M, 1, H, W], with labels 0 ... 9.
        n: How many images to make.
        seed: Of the draws; an image is a function of (seed, its number).
        channels: How many images make one; the label is their digits read as one number.

    Example:
        >>> from uncollapse.data import load
        >>> pairs = stacked(load("digits").train, 5, seed=0, channels=2)
        >>> pairs.batch(torch.arange(5)).x.shape, pairs.labels.tolist()
        (torch.Size([5, 2, 8, 8]), [44, 89, 24, 76, 45])
    """
    parts = (uniform(np.arange(n), channels, seed) * len(source)).astype(np.int32)
    values = source.values.cpu().numpy() if isinstance(source.values, Tensor) else source.values
    return Source(Stacked(values, parts), _read_as_one(source.labels, parts), source.scale)


def _read_as_one(labels: Tensor | None, parts: np.ndarray) -> Tensor | None:
    """100 a + 10 b + c of three digits."""
    if labels is None:
        return None
    powers = 10 ** torch.arange(parts.shape[1]).flip(0)
    return (labels[torch.from_numpy(parts.astype(np.int64))] * powers).sum(1)
