"""Feature extractors: images to the features that measures of sample quality compare, and what is to be said of them."""

import hashlib
import io
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse.data import fetch
from uncollapse.distributions.still import evaluating
from uncollapse.networks.inception import InceptionV3
from uncollapse.parts import Part

WEIGHTS = fetch.Remote(
    "inception",
    "pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
"""Of Inception-v3, from the TensorFlow graph that published figures are of."""

SIDE = 299  # pixels that Inception-v3 was trained on


@dataclass(frozen=True)
class Features:
    """What a measure of sample quality was taken over: to be said with every figure, beside N."""

    name: str  # of the network
    size: int  # numbers a feature
    resize: str  # in words
    sha256: str | None  # of the weights; None where there are none


class Extractor(Part, nn.Module, ABC):
    """A map of images [N, C, H, W] in [0, 1] to features [N, D], a chunk at a time, in `eval()` and without a gradient.

    Features lie where the network does; `.to(device)` moves it.

    Args:
        name: Of the features.
        chunk: Images at a time.

    Raises:
        ValueError: If chunk is below 1.
    """

    given: ClassVar[tuple[str, ...]] = ("module",)
    resize = "not resized"

    def __init__(self, name: str, chunk: int):
        super().__init__()
        if chunk < 1:
            raise ValueError(f"expected a chunk of at least 1 image, came {chunk}")
        self.name, self.chunk = name, chunk

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features [N, D] of images [N, C, H, W] in [0, 1].

        Raises:
            ValueError: If they are no such images.
        """
        if images.dim() != 4 or not len(images) or not images.is_floating_point():
            raise ValueError(
                f"expected images [N, C, H, W] as floats in [0, 1], came {tuple(images.shape)} of {images.dtype}; bytes are "
                "divided by 255"
            )
        like = next((w for w in chain(self.parameters(), self.buffers()) if w.is_floating_point()), images)
        with evaluating(self):
            return torch.cat([self.features(_admitted(some).to(like)).flatten(1) for some in images.split(self.chunk)])

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Features [B, ...] of a chunk [B, C, H, W], on the network's device and in its type."""

    @property
    def sha256(self) -> str | None:
        """Of the weights."""
        return None

    def classes(self, features: Tensor) -> Tensor | None:
        """What these features [N, D] are taken for, probabilities [N, classes]; None where the network classifies nothing."""
        return None

    def describe(self, features: Tensor) -> Features:
        """What these features [N, D] are."""
        return Features(self.name, features.shape[-1], self.resize, self.sha256)


class Pixels(Extractor):
    """The images themselves, flattened: for toys, since the distance of pixels is hardly what an eye sees.

    Example:
        >>> pixels = Pixels()
        >>> pixels.describe(pixels(torch.zeros(2, 1, 8, 8)))
        Features(name='pixels', size=64, resize='not resized', sha256=None)
    """

    def __init__(self) -> None:
        super().__init__("pixels", chunk=10_000)

    def forward(self, images: Tensor) -> Tensor:
        """The numbers of each observation, of whatever shape and range: [N, *shape] to [N, D]."""
        return images.flatten(1)

    def features(self, images: Tensor) -> Tensor:
        return images


class FeatureNetwork(Extractor):
    """What a network of one's own says of images, such as the last hidden layer of a classifier of these data.

    Args:
        module: Images [B, C, H, W] to [B, ...].
        name: What figures call it.
        chunk: Images at a time.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> classifier = FeatureNetwork(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "a linear map")
        >>> features = classifier(torch.rand(5, 1, 8, 8))
        >>> features.shape, classifier.describe(features).size
        (torch.Size([5, 10]), 10)
    """

    def __init__(self, module: nn.Module, name: str, chunk: int = 1000):
        super().__init__(name, chunk)
        self.module = module

    def features(self, images: Tensor) -> Tensor:
        return self.module(images)

    @torch.no_grad()
    def classes(self, features: Tensor) -> Tensor | None:
        """What the module's own `classes` says, where it has one."""
        own = getattr(self.module, "classes", None)
        return None if own is None else own(features)

    @property
    def sha256(self) -> str:
        """Of the module's `weights_hash`."""
        return weights_hash(self.module)


class Inception(Extractor):
    """The 2,048 features of Inception-v3 that the published figures of FID and KID are over.

    Its weights (96 MB) are looked for in the directory that UNCOLLAPSE_DATA names, then in the cache, then downloaded. Grey
    images are repeated in three colours, and all are resized to 299 x 299 bilinearly.

    Args:
        antialias: Whether larger images are low-passed as they shrink, as they should be (Parmar et al., 2022); pytorch-fid
            does not. Of images up to 299 x 299 both are the same.
        chunk: Images at a time, about 16 MB each.

    Raises:
        FileNotFoundError: If the weights are nowhere, and cannot be downloaded.
        ValueError: If their hash is another.

    References:
        Heusel et al. (2017), GANs Trained by a Two Time-Scale Update Rule, section 3; Parmar, Zhang and Zhu (2022), On Aliased
        Resizing and Surprising Subtleties in GAN Evaluation.
    """

    def __init__(self, antialias: bool = True, chunk: int = 32):
        super().__init__("Inception-v3 of TensorFlow, 2015-12-05", chunk)
        self.antialias = antialias
        self.resize = f"bilinear to {SIDE} x {SIDE}, {'with' if antialias else 'without'} antialias"
        self.network = InceptionV3().requires_grad_(False)
        self.network.load_state_dict(_weights())

    def features(self, images: Tensor) -> Tensor:
        return self.network(coloured(images, SIDE, self.antialias))

    @torch.no_grad()
    def classes(self, features: Tensor) -> Tensor:
        """What it takes images of these features [N, 2048] for: [N, 1008], for the inception score."""
        return self.network.probabilities(features)

    @property
    def sha256(self) -> str:
        """Of the published file."""
        return WEIGHTS.sha256


def weights_hash(module: nn.Module) -> str:
    """SHA-256 of the names and values of all parameters and buffers, in the order of the names, whatever device they are on.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> module = nn.Linear(2, 1)
        >>> weights_hash(module) == weights_hash(nn.Linear(2, 1)), len(weights_hash(module))
        (False, 64)
    """
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def coloured(images: Tensor, side: int, antialias: bool) -> Tensor:
    """Images [B, 1 or 3, H, W] in three colours and of one size, [B, 3, side, side], bilinearly.

    Raises:
        ValueError: If there are other than 1 or 3 colours.

    Example:
        >>> coloured(torch.ones(2, 1, 28, 28), 299, antialias=True).shape
        torch.Size([2, 3, 299, 299])
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(f"expected images of 1 or 3 colours, came {images.shape[1]}: [N, C, H, W]")
    images = F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=antialias)
    return images.expand(-1, 3, -1, -1)


def _admitted(images: Tensor) -> Tensor:
    low, high = (float(v) for v in images.aminmax())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"expected images in [0, 1], came values from {low:g} to {high:g}; rescale or clamp them")
    return images


def _weights() -> dict[str, Tensor]:
    """As published, its hash checked before it is read."""
    return torch.load(io.BytesIO(fetch.content(WEIGHTS)), map_location="cpu", weights_only=True)
