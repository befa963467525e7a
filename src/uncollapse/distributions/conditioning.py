"""The features of a condition beside what a network sees: in a vector behind its numbers, in an image as maps of one value."""

import torch
from torch import Size, Tensor


def conditioned_shape(shape: Size, features: int) -> Size:
    """The shape of x with the features of a condition beside it.

    Raises:
        ValueError: If x is neither a vector nor an image [C, H, W].

    Example:
        >>> conditioned_shape(Size((1, 8, 8)), 10), conditioned_shape(Size((5,)), 2)
        (torch.Size([11, 8, 8]), torch.Size([7]))
    """
    if len(shape) not in (1, 3):
        raise ValueError(f"a condition stands beside vectors or images [C, H, W], got shape {tuple(shape)}; add the channel")
    return Size((shape[0] + features, *shape[1:]))


def beside(x: Tensor, features: Tensor, dimensions: int) -> Tensor:
    """x [..., *shape] with the features [B, C] of a condition, which broadcast: [..., *conditioned_shape].

    Args:
        x: Vectors or images.
        features: Those of the condition.
        dimensions: Of one x: 1 or 3.

    References:
        As further channels of an image: Reed et al. (2016), Generative Adversarial Text to Image Synthesis, section 4.1.

    Example:
        >>> beside(torch.zeros(2, 1, 2, 2), torch.ones(2, 1), 3)[0].tolist()
        [[[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]]
    """
    leading = x.shape[: x.dim() - dimensions]
    features = features.to(x.dtype).expand(*leading, features.shape[-1])
    if dimensions == 3:
        features = features[..., None, None].expand(*features.shape, *x.shape[-2:])
    return torch.cat((x, features), -dimensions)


def apart(joined: Tensor, features: int, dimensions: int) -> tuple[Tensor, Tensor]:
    """What `beside` joined: x [..., *shape] and the features [..., C]."""
    x, maps = joined.split([joined.shape[-dimensions] - features, features], -dimensions)
    return x, maps if dimensions == 1 else maps[..., 0, 0]
