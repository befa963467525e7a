"""What a batch is to several processes that share it: all of its rows, and one value of what is averaged."""

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from uncollapse import noise


def gathered(x: Tensor, batch: int = 0) -> Tensor:
    """The rows of the global batch, in order: x itself where one process holds them all.

    Gradients flow back to the rows of every process, so that a statistic of the gathered batch has the same value and, once the
    processes' gradients are averaged, the same gradient as in a single process.

    Args:
        x: This process's rows.
        batch: The dimension that runs over them.

    Example:
        >>> import torch
        >>> gathered(torch.arange(3.0)).tolist()
        [0.0, 1.0, 2.0]
    """
    if not noise.shared(x.shape[batch]) or not dist.is_initialized():
        return x
    return torch.cat(_Gathered.apply(x).unbind(), batch)


class Summed(torch.autograd.Function):
    """The sum over the processes; each one's gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return Summed.apply(gradient)


class _Gathered(torch.autograd.Function):
    """What each process has, [processes, *shape]; the gradient of one is the sum of what all have for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return Summed.apply(gradient)[dist.get_rank()]


@torch.no_grad()
def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of each process's value, the same in all of them; the value itself where there is one process.

    Example:
        >>> mean_over_processes(torch.tensor(2.0))
        tensor(2.)
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
