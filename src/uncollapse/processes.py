"""What a batch is to a statistic of it: all of its rows, wherever they are."""

import torch.distributed
from torch import Tensor

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
    if not noise.shared(x.shape[batch]) or not torch.distributed.is_initialized():
        return x
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(x.contiguous()), batch)
