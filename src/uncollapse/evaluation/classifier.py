"""A classifier of digits, by which the modes of stacked digits are counted; trained here once, and kept."""

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from uncollapse.data import Data, Source, fetch, load
from uncollapse.evaluation.digit_sharpness import DigitSharpness
from uncollapse.evaluation.features import weights_hash

LEAST = 0.985
"""Share of the test digits that a classifier must get right, or it is refused."""

_ROWS = 1000  # images that are looked at together


@dataclass(frozen=True)
class Settings:
    """How a classifier is trained; what changes here is trained anew.

    Three epochs get about 99 % of the test digits right, as does the network of Keras's example, by which Lin et al. (2018)
    counted modes, with six times the weights and 20 epochs.
    """

    seed: int = 0
    epochs: int = 3
    batch: int = 100
    rate: float = 3e-3  # the peak of one cycle
    dropout: float = 0.25
    version: int = 2  # of the network, of the loop below and of `DigitSharpness`


class DigitClassifier(nn.Module):
    """Two convolutions, pooling, and two affine maps: images [N, 1, 28, 28] in [0, 1] to logits [N, 10].

    Args:
        dropout: Share of the features that is dropped in training.

    Example:
        >>> network = DigitClassifier()
        >>> network(torch.zeros(2, 1, 28, 28)).shape, network.features(torch.zeros(2, 1, 28, 28)).shape
        (torch.Size([2, 10]), torch.Size([2, 128]))
    """

    def __init__(self, dropout: float = 0.25):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 128),
            nn.ReLU(),
        )
        self.logits = nn.Sequential(nn.Dropout(dropout), nn.Linear(128, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.features(x))


class Classifier(nn.Module):
    """A trained classifier, and how good it is.

    Images are moved to where its weights lie (`to` moves them), a thousand at a time.

    Args:
        network: A network from images to logits, whose `features` gives its penultimate layer.
        accuracy: Share of the test digits that it gets right.
        sharpness: How sharp the digits are that it learned; without it stacked digits have no distance to their modes.

    Attributes:
        sha256: Hash of the weights: numbers that two classifiers gave are not to be compared.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> classifier = Classifier(DigitClassifier(), accuracy=0.1)
        >>> torch.allclose(classifier.probabilities(torch.zeros(2, 1, 28, 28)).sum(1), torch.ones(2))
        True
    """

    def __init__(self, network: DigitClassifier, accuracy: float, sharpness: DigitSharpness | None = None):
        super().__init__()
        self.network, self.accuracy, self.sharpness = network.eval().requires_grad_(False), accuracy, sharpness
        self.sha256 = weights_hash(network)

    def __repr__(self) -> str:
        return f"Classifier(accuracy {self.accuracy:.4f}, sha256 {self.sha256[:12]})"

    def train(self, mode: bool = True) -> "Classifier":
        """It has been trained: it stays in eval()."""
        return self

    def probabilities(self, x: Tensor) -> Tensor:
        """p(digit | image): [N, 1, 28, 28] in [0, 1] to [N, 10]."""
        return self._mapped(lambda part: self.network(part).softmax(-1), x)

    def features(self, x: Tensor) -> Tensor:
        """The penultimate layer, for Fréchet distances: [N, 1, 28, 28] in [0, 1] to [N, 128]."""
        return self._mapped(self.network.features, x)

    @torch.no_grad()
    def _mapped(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if x.shape[1:] != (1, 28, 28):
            raise ValueError(f"expected digits [N, 1, 28, 28] to classify, came {tuple(x.shape)}")
        weight = next(self.network.parameters())
        return torch.cat([function(part.to(weight)) for part in x.split(_ROWS)])


def digit_classifier(seed: int = 0) -> Classifier:
    """The classifier of MNIST's digits: kept from an earlier call, else trained on the train split, in a minute on one thread.

    It is kept in the cache of downloads, under a hash of its settings. The generators that others draw from are left alone.

    Args:
        seed: Of its weights at the start, of the order of the digits and of its dropout.

    Raises:
        FileNotFoundError: If MNIST is missing, and cannot be downloaded.
        ValueError: If it gets less than `LEAST` of the 10,000 test digits right, or what was kept is broken.
    """
    settings = Settings(seed)
    name = f"digits-{hashlib.sha256(json.dumps(asdict(settings)).encode()).hexdigest()[:16]}.safetensors"
    path = fetch.found("classifiers", name)
    if path is not None:
        return _admitted(_read(path))
    digits, start = load("mnist"), time.monotonic()
    classifier = _admitted(trained(digits.train, digits.test, settings))
    print(f"trained a classifier of digits in {time.monotonic() - start:.0f} s: {classifier}", file=sys.stderr)
    with suppress(OSError):  # where nothing can be kept, it is trained anew each time
        _write(classifier, fetch.cache() / "classifiers" / name)
    return classifier


def trained(train: Source, test: Source, settings: Settings = Settings()) -> Classifier:
    """A classifier that has learned the digits of one split, and is judged by another.

    Args:
        train: Digits of 28 by 28 pixels in [0, 1], with labels.
        test: Others.
        settings: How to train.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        network = DigitClassifier(settings.dropout)
        _learn(network, train, settings)
    classifier = Classifier(network, accuracy=0.0, sharpness=DigitSharpness.fit(train, _labels(train)))
    found = torch.cat([classifier.probabilities(batch.x).argmax(1) for batch in test.batches(_ROWS)])
    classifier.accuracy = float(found.eq(_labels(test)).double().mean())
    return classifier


def _learn(network: DigitClassifier, train: Source, settings: Settings) -> None:
    """Adam on the cross entropy, its rate in one cycle (Smith and Topin, 2018)."""
    labels, steps = _labels(train), settings.epochs * -(-len(train) // settings.batch)
    optimizer = torch.optim.Adam(network.parameters(), settings.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, steps)
    for _ in range(settings.epochs):
        for rows in torch.randperm(len(train)).split(settings.batch):
            loss = F.cross_entropy(network(train.batch(rows).x.float()), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _labels(source: Source) -> Tensor:
    if source.labels is None:
        raise ValueError("expected digits with labels to learn from, came none")
    return source.labels


def _admitted(classifier: Classifier) -> Classifier:
    if classifier.accuracy < LEAST:
        raise ValueError(
            f"expected a classifier that gets {LEAST:.1%} of the test digits right to count modes by, came "
            f"{classifier.accuracy:.2%}; write another seed"
        )
    return classifier


def _write(classifier: Classifier, path: Path) -> None:
    """Whole or not at all: the file gets its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stated = {"accuracy": repr(classifier.accuracy), "sha256": classifier.sha256}
    tensors, sharpness = dict(classifier.network.state_dict()), classifier.sharpness
    if sharpness is not None:
        tensors |= {"sharpness.means": sharpness.means, "sharpness.whitening": sharpness.whitening}
        stated |= {"unit": repr(sharpness.unit), "sharpness_sha256": _hash(sharpness)}
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(save(tensors, stated))
    os.replace(file.name, path)


def _read(path: Path) -> Classifier:
    network = DigitClassifier()
    try:
        with safe_open(path, "pt") as file:
            stated, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        sharpness = None
        if "unit" in stated:
            means, whitening = (tensors.pop(f"sharpness.{name}") for name in ("means", "whitening"))
            sharpness = DigitSharpness(means, whitening, float(stated["unit"]))
        network.load_state_dict(tensors)
        classifier = Classifier(network, float(stated["accuracy"]), sharpness)
        if classifier.sha256 != stated["sha256"] or (sharpness and _hash(sharpness) != stated["sharpness_sha256"]):
            raise ValueError("its weights have another hash")
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is broken ({type(error).__name__}): delete it to train it again") from error
    return classifier


def _hash(sharpness: DigitSharpness) -> str:
    found = hashlib.sha256(repr(sharpness.unit).encode())
    for part in (sharpness.means, sharpness.whitening):
        found.update(part.contiguous().numpy().tobytes())
    return found.hexdigest()


def stacked_modes(x: Tensor, classifier: Classifier) -> Tensor:
    """The mode of each stacked image, 100 a + 10 b + c of the digits a, b and c that its channels are taken for.

    Args:
        x: Images [N, 3, 28, 28] in [0, 1].
        classifier: Of digits.

    Returns:
        [N] int64, 0 ... 999.

    Raises:
        ValueError: If an image has other than three channels.

    References:
        Metz, Poole, Pfau and Sohl-Dickstein (2017), Unrolled generative adversarial networks, section 3.3.1.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> modes = stacked_modes(torch.zeros(2, 3, 28, 28), Classifier(DigitClassifier(), accuracy=0.1))
        >>> bool((modes % 111 == 0).all())
        True
    """
    return _as_one_number(_stacked_digits(x, classifier))


def _stacked_digits(x: Tensor, classifier: Classifier) -> Tensor:
    """The digits [N, 3] that the channels of images are taken for."""
    if x.dim() != 4 or x.shape[1] != 3:
        raise ValueError(f"expected images of three digits [N, 3, 28, 28], came {tuple(x.shape)}")
    return classifier.probabilities(x.reshape(prod(x.shape[:2]), 1, *x.shape[2:])).argmax(1).view(-1, 3)


def _as_one_number(digits: Tensor) -> Tensor:
    return (digits * digits.new_tensor([100, 10, 1])).sum(1)


class DigitFeatures(nn.Module):
    """What the classifier's penultimate layer says of each channel, side by side: [N, C, 28, 28] to [N, 128 C].

    Args:
        classifier: Of digits.

    Raises:
        ValueError: If an image is not of 28 by 28 pixels.

    Example:
        >>> DigitFeatures(Classifier(DigitClassifier(), accuracy=0.1))(torch.zeros(2, 3, 28, 28)).shape
        torch.Size([2, 384])
    """

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[2:] != (28, 28):
            raise ValueError(f"expected digits of 28 by 28 pixels, came images {tuple(x.shape[1:])}; write --features pixels")
        return self.classifier.features(x.reshape(-1, 1, 28, 28)).reshape(len(x), -1)

    def classes(self, features: Tensor) -> Tensor | None:
        """p(digit) by the features of images of one channel, [N, 128] to [N, 10]; None of more channels."""
        logits = self.classifier.network.logits
        return logits(features).softmax(-1) if features.shape[1] == logits[-1].in_features else None


class StackedModes:
    """The modes of stacked digits, by a classifier: a thousand. How far an image lies from its mode is told by its sharpness.

    98.9 % of real stacked digits lie within 3 standard deviations of theirs, as of a Gaussian mode in the plane. Blurred
    digits, averages of digits and noise lie farther off.

    Args:
        classifier: Of digits, with their sharpness.

    Raises:
        ValueError: If the classifier does not know how sharp digits are.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> digits = Source(torch.rand(200, 1, 28, 28), torch.arange(200) % 10)
        >>> known = DigitSharpness.fit(digits, torch.arange(200) % 10)
        >>> modes = StackedModes(Classifier(DigitClassifier(), accuracy=0.1, sharpness=known))
        >>> len(modes), bool((modes.assign(torch.zeros(2, 3, 28, 28))[1] > 3).all())
        (1000, True)
    """

    def __init__(self, classifier: Classifier):
        if classifier.sharpness is None:
            raise ValueError(
                "expected a classifier that knows how sharp digits are, got one without: use digit_classifier(), or give it "
                "sharpness=DigitSharpness.fit(images, digits)"
            )
        self.classifier, self.sharpness = classifier, classifier.sharpness

    def __len__(self) -> int:
        return 1000

    def assign(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mode of each image [N], and how far from real digits its three channels are, in standard deviations."""
        digits = _stacked_digits(x, self.classifier).to(x.device)
        away = [self.sharpness(part, those) for part, those in zip(x.split(_ROWS), digits.split(_ROWS), strict=True)]
        return _as_one_number(digits), torch.cat(away).to(x.dtype)

    def features(self, x: Tensor) -> Tensor:
        """What neighbours among images are told by, [N, 384]: `DigitFeatures`; over pixels a blur is near everything."""
        return DigitFeatures(self.classifier)(x).to(x.device)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "StackedModes":
        """The same modes, the classifier on a device, in one floating type."""
        return StackedModes(deepcopy(self.classifier).to(device, dtype))


def with_modes(data: Data) -> Data:
    """The data, of which the modes are known where a classifier here tells them: stacked digits."""
    if data.name != "stacked-mnist" or data.modes is not None:
        return data
    return replace(data, modes=StackedModes(digit_classifier()))
