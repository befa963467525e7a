"""Stacked MNIST: three digits an image, put together when they are read."""

import math

import numpy as np
import pytest
import torch

from uncollapse import noise
from uncollapse.data import load
from uncollapse.data.source import Source
from uncollapse.data.stacked import Stacked, stacked


@pytest.fixture
def digits() -> Source:
    return load("digits").train


def test_each_channel_is_the_digit_of_its_label(digits):
    """Every channel is one of the images given, whose label is that place of the number."""
    made = stacked(digits, 50, seed=0)
    x, given = made.all(), digits.all()
    for image, label in zip(x, made.labels.tolist(), strict=True):
        for channel, digit in zip(image, f"{label:03}", strict=True):
            (row,) = torch.nonzero((given[:, 0] == channel).flatten(1).all(1)).flatten()[:1]
            assert int(digits.labels[row]) == int(digit)


def test_an_image_does_not_depend_on_what_is_read_with_it(digits):
    made = stacked(digits, 50, seed=0)
    assert torch.equal(made.batch(torch.tensor([7, 49, 7])).x, made.all()[[7, 49, 7]])
    assert torch.equal(stacked(digits, 20, seed=0).all(), made.all()[:20])
    assert not torch.equal(stacked(digits, 50, seed=1).all(), made.all())


def test_channels_are_independent_and_even():
    """Of 100,000 images, each pair of channels has each pair of digits as often as it must: chi-squared of 99 degrees of
    freedom within 6 of its standard deviations."""
    labels = torch.arange(10)
    made = stacked(Source(torch.zeros(10, 1, 1, 1), labels), 100_000, seed=5).labels
    places = (made // 100, made // 10 % 10, made % 10)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        counts = torch.bincount(10 * places[a] + places[b], minlength=100).double()
        assert float(((counts - 1000) ** 2 / 1000).sum()) < 99 + 6 * math.sqrt(2 * 99)


def test_memory_maps_are_read_by_index(tmp_path):
    """Images that lie in a file stay there: only what a batch needs is read."""
    images = np.random.default_rng(0).integers(0, 256, (9, 1, 4, 5), np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped, parts = np.load(tmp_path / "images.npy", mmap_mode="r"), np.array([[8, 0, 8], [3, 3, 1]])
    found = Source(Stacked(mapped, parts)).batch(torch.tensor([1, 0])).x
    assert torch.equal(found, torch.from_numpy(images[:, 0][parts[[1, 0]]]).float())


def test_without_labels_there_are_none(digits):
    assert stacked(Source(digits.values), 4, seed=0).labels is None


def test_stacked_mnist(data_directory):
    """Sizes, levels, and all thousand modes in every split; held-out images are the same in every run, of held-out digits."""
    data, other = load("stacked-mnist"), load("stacked-mnist", seed=1)
    assert [len(data.split(split)) for split in ("train", "valid", "test")] == [128_000, 10_000, 26_000]
    assert (data.shape, data.levels, data.modes) == ((3, 28, 28), 256, None)
    assert int(data.train.labels.max()) == 999 and data.train.labels.unique().numel() == 1000
    assert not torch.equal(data.train.labels, other.train.labels) and torch.equal(data.test.labels, other.test.labels)
    digits, index = load("mnist"), torch.arange(5)
    for split in ("train", "valid", "test"):
        channels = data.split(split).batch(index).x.reshape(-1, 784)
        assert torch.cdist(channels, digits.split(split).all().reshape(-1, 784)).min(1).values.max() < 0.1
    assert not data.train.in_memory and data.train.values.parts.nbytes < 2**21


def test_what_works_on_mnist_works_on_it(data_directory):
    """Bits drawn anew at each reading, and real numbers in [0, 1)."""
    bits = load("stacked-mnist", binarize="dynamic")
    noise.seed_step(0, 0)
    first = bits.train.batch(torch.arange(4)).x
    assert set(first.unique().tolist()) == {0.0, 1.0} and not torch.equal(bits.train.batch(torch.arange(4)).x, first)
    real = load("stacked-mnist", dequantize=True)
    x = real.to("cpu", torch.float64).test.batch(torch.arange(4)).x
    assert (real.levels, real.dequantized, x.dtype) == (None, 256, torch.float64) and 0 <= x.min() < x.max() < 1
