"""Inception-v3 as the Fréchet inception distance has it, under the parameter names that its published weights have."""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Sides = int | tuple[int, int]
Layer = tuple[int, Sides] | tuple[int, Sides, int]
"""Maps, kernel and stride (1) of a convolution."""
Branches = Mapping[str, Sequence[Layer | list[Layer]]]
"""The convolutions of each branch by its name, one after the other. A list ends it as a fork: all in it read the same."""

WIDE, TALL = (1, 7), (7, 1)
FEATURES = 2048
CLASSES = 1008  # of the TensorFlow graph: the thousand of ImageNet and a few that are not used


class Convolution(nn.Module):
    """A convolution without bias, batch normalisation and a rectifier.

    Args:
        maps: Maps that it reads.
        layer: Maps that it gives, kernel and stride; it keeps the size of the image unless it strides.
        padded: Whether a convolution of stride 1 keeps the size of the image.
    """

    def __init__(self, maps: int, layer: Layer, padded: bool = True):
        super().__init__()
        out, kernel, stride = (*layer, 1)[:3]
        height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        padding = (height // 2, width // 2) if padded and stride == 1 else (0, 0)
        self.conv = nn.Conv2d(maps, out, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """Branches side by side, their maps joined: convolutions one after the other, and one of the pooled input, the last.

    Args:
        maps: Maps that it reads.
        branches: The convolutions of each branch.
        pool: What the last branch begins with.
        pooled: Maps that a 1 x 1 convolution makes of it; 0: it is left as it is.
    """

    def __init__(self, maps: int, branches: Branches, pool: nn.Module, pooled: int = 0):
        super().__init__()
        self.pool, self.pooled = pool, pooled
        self.paths = [self._branch(name, maps, layers) for name, layers in branches.items()]
        if pooled:
            self.branch_pool = Convolution(maps, (pooled, 1))

    def _branch(self, name: str, maps: int, layers: Sequence[Layer | list[Layer]]) -> list[list[str]]:
        """Make the convolutions of a branch; their names, those of a fork together."""
        path = []
        for i, layer in enumerate(layers, 1):
            fork = layer if isinstance(layer, list) else [layer]
            stem = f"{name}_{i}" if len(layers) > 1 else name
            path.append([stem + letter for letter in ("ab" if len(fork) > 1 else [""])])
            for full, one in zip(path[-1], fork, strict=True):
                self.add_module(full, Convolution(maps, one))
            maps = fork[0][0]
        return path

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.branch_pool(self.pool(x)) if self.pooled else self.pool(x)
        return torch.cat([*(y for path in self.paths for y in self._along(path, x)), pooled], 1)

    def _along(self, path: list[list[str]], x: Tensor) -> Iterator[Tensor]:
        for names in path[:-1]:
            x = self.get_submodule(names[0])(x)
        return (self.get_submodule(name)(x) for name in path[-1])


class InceptionV3(nn.Module):
    r"""Inception-v3 in the variant of the Fréchet inception distance: images to 2,048 features, the mean of the last maps.

    It is the network of the TensorFlow graph of 5 December 2015, and not torchvision's: average pools leave the padding out of
    their mean, the last block pools by the maximum, and there are 1,008 classes. Meant for `eval()`.

    References:
        Szegedy, Vanhoucke, Ioffe, Shlens and Wojna (2016), Rethinking the Inception architecture, table 1 and figures 5 to 7;
        the weights that fit: Seitzer (2020), pytorch-fid, release fid_weights.

    Example:
        >>> with torch.device("meta"):
        ...     network = InceptionV3()
        >>> sum(p.numel() for p in network.parameters())
        23850960
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, (32, 3, 2))
        self.Conv2d_2a_3x3 = Convolution(32, (32, 3), padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, (64, 3))
        self.Conv2d_3b_1x1 = Convolution(64, (80, 1))
        self.Conv2d_4a_3x3 = Convolution(80, (192, 3), padded=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _fine(192, 32), _fine(256, 64), _fine(288, 64)
        self.Mixed_6a = _halve(288, {"branch3x3": [(384, 3, 2)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3, 2)]})
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = map(_factorised, (128, 160, 160, 192))
        sevens: list[Layer] = [(192, 1), (192, WIDE), (192, TALL), (192, 3, 2)]
        self.Mixed_7a = _halve(768, {"branch3x3": [(192, 1), (320, 3, 2)], "branch7x7x3": sevens})
        self.Mixed_7b, self.Mixed_7c = _coarse(1280, _mean()), _coarse(2048, nn.MaxPool2d(3, 1, 1))
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Features of images: [N, 3, 299, 299] in [0, 1] to [N, 2048]."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(2 * x - 1)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))

    def probabilities(self, features: Tensor) -> Tensor:
        """What the classifier says of features [N, 2048]: probabilities [N, 1008].

        Without the bias of the last layer, as the inception score was first computed (Salimans et al., 2016, their code).
        """
        return (features @ self.fc.weight.T).softmax(-1)


def _mean() -> nn.Module:
    """Of the pixels that there are: TensorFlow leaves the padding out."""
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


def _fine(maps: int, pooled: int) -> Mixed:
    """A block at 35 x 35."""
    branches: Branches = {
        "branch1x1": [(64, 1)],
        "branch5x5": [(48, 1), (64, 5)],
        "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
    }
    return Mixed(maps, branches, _mean(), pooled)


def _factorised(c: int) -> Mixed:
    """A block at 17 x 17, its convolutions of 7 x 7 in two factors."""
    branches: Branches = {
        "branch1x1": [(192, 1)],
        "branch7x7": [(c, 1), (c, WIDE), (192, TALL)],
        "branch7x7dbl": [(c, 1), (c, TALL), (c, WIDE), (c, TALL), (192, WIDE)],
    }
    return Mixed(768, branches, _mean(), 192)


def _halve(maps: int, branches: Branches) -> Mixed:
    """A block that halves the image."""
    return Mixed(maps, branches, nn.MaxPool2d(3, 2))


def _coarse(maps: int, pool: nn.Module) -> Mixed:
    """A block at 8 x 8, two branches of which end in a fork."""
    fork: list[Layer] = [(384, (1, 3)), (384, (3, 1))]
    branches: Branches = {
        "branch1x1": [(320, 1)],
        "branch3x3": [(384, 1), fork],
        "branch3x3dbl": [(448, 1), (384, 3), fork],
    }
    return Mixed(maps, branches, pool, 192)
