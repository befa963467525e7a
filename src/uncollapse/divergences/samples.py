"""Samples as rows of numbers, and the distances of all pairs of them, a block at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor

BUDGET = 2**24  # distances at a time
NARROW = 16  # dimensions up to which distances are taken by differences; matrix products are many times faster beyond


def blocks(x: Tensor, y: Tensor, width: int = 0) -> Iterator[tuple[int, Tensor]]:
    """Distances of all pairs, some rows of x at a time: where they start, and [rows, m].

    Equal rows are at 0. Beyond 16 dimensions so are those that rounding cannot tell apart, by about 1e-7 of their distance from
    the mean of y.

    Args:
        x: Rows [n, D], float64.
        y: Rows [m, D], float64.
        width: Numbers that the caller holds for each row, where these are more than m.

    Example:
        >>> [(start, list(d.shape)) for start, d in blocks(torch.zeros(5, 3), torch.zeros(7, 3), width=2**23)]
        [(0, [2, 7]), (2, [2, 7]), (4, [1, 7])]
    """
    rows, mean = max(1, BUDGET // max(len(y), width)), y.mean(0)
    for start in range(0, len(x), rows):
        yield start, _distances(x[start : start + rows] - mean, y - mean)


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """By differences, or by |x|² + |y|² - 2 x·y where that is many times faster; what drowns in its rounding is 0."""
    if x.shape[1] <= NARROW:
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    scale = x.square().sum(-1, keepdim=True) + y.square().sum(-1)
    squares = torch.addmm(scale, x, y.T, alpha=-2)
    return squares.masked_fill_(squares < 64 * torch.finfo(x.dtype).eps * scale, 0).sqrt_()


def flat(*samples: Tensor, least: int = 2) -> tuple[Tensor, ...]:
    """Samples [n, *shape] as float64 rows [n, D], without a gradient.

    Raises:
        ValueError: If a sample has too few draws, sizes differ, or a number is not finite.

    Example:
        >>> [x.shape for x in flat(torch.zeros(3, 1, 2, 2), torch.zeros(5, 4))]
        [torch.Size([3, 4]), torch.Size([5, 4])]
    """
    sizes = ", ".join(str(tuple(x.shape)) for x in samples)
    if any(not x.dim() or len(x) < least for x in samples):
        raise ValueError(f"expected at least {least} draws in each sample, came {sizes}; write [n, *shape]")
    rows = tuple(x.detach().reshape(len(x), -1).double() for x in samples)
    if len({x.shape[1] for x in rows}) > 1 or not rows[0].shape[1]:
        raise ValueError(f"expected draws of one size, came {sizes}; write samples of the same shape")
    if not all(bool(x.isfinite().all()) for x in rows):
        raise ValueError("expected finite numbers, came NaN or infinity; drop such draws and count them apart")
    return rows


def admit(real: Tensor, fake: Tensor) -> None:
    """Refuse what are no features of one network.

    Raises:
        ValueError: If they are not [N, D] and [M, D], lie on two devices, or one is not finite.
    """
    if real.dim() != 2 or fake.dim() != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(f"expected features [N, D] and [M, D], came {tuple(real.shape)} and {tuple(fake.shape)}")
    if real.device != fake.device:
        raise ValueError(f"expected features on one device, came {real.device} and {fake.device}; write fake.to(real.device)")
    if not (real.isfinite().all() and fake.isfinite().all()):
        raise ValueError("expected finite features, came NaN or infinity: look at the samples that they are of")


def double(x: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none."""
    return x.to("cpu" if x.device.type == "mps" else x.device).double()
