"""The numbers of values on a grid."""

from torch import Tensor


def numbers(x: Tensor, levels: int) -> Tensor:
    """The numbers 0 ... levels - 1 of values k / (levels - 1): any shape, to int64.

    Example:
        >>> import torch
        >>> numbers(torch.tensor([0.0, 0.5, 1.0]), levels=5)
        tensor([0, 2, 4])
    """
    return (x * (levels - 1)).round().long().clamp(0, levels - 1)
