"""A layer that lets a critic see how much the rows of a batch differ."""

import torch
from torch import Tensor, nn

_SMALLEST = 1e-8  # variance added, so that rows that are equal have a gradient


class MinibatchStd(nn.Module):
    r"""Appends one feature or feature map: the standard deviation within a group of rows, averaged over all numbers of a row.

    .. math:: s_g = \frac1D \sum_{j=1}^D \Big( \frac1n \sum_{i \in g} (x_{ij} - \bar x_{gj})^2 + 10^{-8} \Big)^{1/2}

    A generator that has collapsed gives groups whose s is near zero, and the critic sees it at once. A group is n rows that
    follow one another, so that processes which share a batch agree with a single one while their shares are multiples of n.
    Where the batch is no multiple of n, all of it is one group.

    Args:
        group: Rows n of a group.

    Raises:
        ValueError: If group is not at least 2.

    References:
        Karras, Aila, Laine and Lehtinen (2018), Progressive growing of GANs, section 3, there over the whole batch; groups of 4
        rows as in the authors' later networks.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [2.0, 4.0], [1.0, 1.0], [1.0, 1.0]])
        >>> MinibatchStd(group=2)(x)[:, 2]
        tensor([1.5000e+00, 1.5000e+00, 1.0000e-04, 1.0000e-04])
    """

    def __init__(self, group: int = 4):
        super().__init__()
        if group < 2:
            raise ValueError(f"expected a group of at least 2 rows, came {group}; write 4")
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """[N, C] to [N, C + 1], or [N, C, H, W] to [N, C + 1, H, W]."""
        n = len(x)
        size = n if n % self.group else self.group
        std = (x.unflatten(0, (-1, size)).var(1, correction=0) + _SMALLEST).sqrt().flatten(1).mean(1)
        feature = std.repeat_interleave(size).reshape(n, 1, *[1] * (x.dim() - 2))
        return torch.cat((x, feature.expand(-1, -1, *x.shape[2:])), 1)
