"""What a batch is to several processes that share it: all of its rows, and one value of what is averaged."""

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
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(x.contiguous()), batch)


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
