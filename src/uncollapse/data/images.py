"""The published image sets: digits, MNIST, its static binarisation, and Fashion-MNIST."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from uncollapse.data import fetch, files
from uncollapse.data.arrays import from_arrays
from uncollapse.data.counter import permutation
from uncollapse.data.dataset import SPLITS, Data
from uncollapse.data.file_checks import one_line
from uncollapse.data.source import Source

_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_STATIC = "https://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"

_IDX = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
_HASHES = {
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion_mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
_BITS = {
    "train": "43490d4d6ac9002727af4426d8748609fdb7e4094fa65ad8d681ea60082a7a5a",
    "valid": "069b4f0beb389b776478c3e872b4df71c95ac4be64d7cbe6d32e24ebac8e6d5e",
    "test": "ca0294c3b8d984c7a1dc891015a8eea6f37bae59a34e35ea0fc8c47110a8dd86",
}
"""Of the pixels, one a byte, since the container differs: text as published, or packed bits."""
_PACKED = "binarized_mnist_packbits.npz"


def digits(seed: int = 0) -> Data:
    """1797 digits of 8 by 8 pixels in 17 levels, as they ship with scikit-learn: 1439, 179 and 179.

    The splits are those of the permutation of seed 0, whatever the seed, so that every run has the same test split.

    References:
        Alpaydin and Kaynak (1998), Optical recognition of handwritten digits, UCI machine learning repository.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    values = torch.from_numpy(images.astype(np.uint8).reshape(-1, 1, 8, 8))
    valid, test, train = np.split(permutation(len(values), 0), [179, 358])
    rows = {"train": train, "valid": valid, "test": test}
    sources: dict[str, Any] = {split: Source(values[r], torch.from_numpy(labels)[r], 1 / 16) for split, r in rows.items()}
    return Data("digits", **sources, levels=17)


def mnist(seed: int = 0) -> Data:
    """Handwritten digits of 28 by 28 pixels in 256 levels: 50,000, 10,000 (the last of the published train set) and 10,000.

    References:
        LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document recognition.
    """
    return _idx("mnist", "mnist", _MNIST)


def fashion_mnist(seed: int = 0) -> Data:
    """Clothes of 28 by 28 pixels in 256 levels: 50,000, 10,000 (the last of the published train set) and 10,000.

    References:
        Xiao, Rasul and Vollgraf (2017), Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms.
    """
    return _idx("fashion-mnist", "fashion_mnist", _FASHION)


def mnist_static(seed: int = 0) -> Data:
    """MNIST binarised once, in the version that likelihoods are compared on: 50,000, 10,000 and 10,000, without labels.

    References:
        Larochelle and Murray (2011), The neural autoregressive distribution estimator.
    """
    packed = fetch.found("mnist_static", _PACKED)
    splits: dict[str, Any] = {split: _unpacked(packed, split) if packed else _parsed(split) for split in SPLITS}
    return from_arrays(**splits, name="mnist-static")


def _idx(name: str, folder: str, url: str) -> Data:
    remotes = [fetch.Remote(folder, file, url, sha256) for file, sha256 in zip(_IDX, _HASHES[folder], strict=True)]
    x, y, test, test_y = (np.frombuffer(fetch.content(remote), np.uint8) for remote in remotes)
    images, labels = x[16:].reshape(-1, 28, 28), y[8:]
    return from_arrays(
        images[:50000], images[50000:], test[16:].reshape(-1, 28, 28), labels[:50000], labels[50000:], test_y[8:], name=name
    )


def _unpacked(path: Path, split: str) -> np.ndarray:
    with one_line(lambda reason: ValueError(f"{path} is broken ({reason}): delete it to download it again")):
        bits = np.unpackbits(files.array(path, split), axis=1)[:, :784]
    return _bits(bits, split, path)


def _parsed(split: str) -> np.ndarray:
    """The published text: a 0 or a 1 a pixel, with blanks between."""
    remote = fetch.Remote("mnist_static", f"binarized_mnist_{split}.amat", _STATIC, _BITS[split])
    return _read(fetch.located(remote, lambda path: _read(path, split)), split)


def _read(path: Path, split: str) -> np.ndarray:
    text = np.frombuffer(path.read_bytes(), np.uint8)
    return _bits(text[text > ord(" ")] - np.uint8(ord("0")), split, path)


def _bits(bits: np.ndarray, split: str, path: Path) -> np.ndarray:
    fetch.check(bits.tobytes(), _BITS[split], path)
    return bits.reshape(-1, 28, 28)
