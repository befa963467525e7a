"""Running statistics of batch normalisation for weights that they were not gathered with."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from uncollapse.learning import Objective

PREFIX = "running_"  # torch's own name for what batch normalisation keeps, and ours


def has_statistics(module: nn.Module) -> bool:
    """Whether a module keeps running statistics, as buffers called `running_...`.

    Example:
        >>> from uncollapse.networks import BatchNorm
        >>> has_statistics(nn.Sequential(nn.Linear(2, 3), BatchNorm(3))), has_statistics(nn.Linear(2, 3))
        (True, False)
    """
    return any(name.rpartition(".")[2].startswith(PREFIX) for name, _ in module.named_buffers())


@contextmanager
def settled(objective: Objective, batches: Iterable[Tensor], t: Tensor) -> Iterator[None]:
    r"""Within it, the running statistics are those of the weights as they stand, and afterwards what they were before.

    The average of the weights is a network that none of the training was, so neither the last statistics nor their average are
    its own. Passes in train() without a gradient move them there: with momentum m the share :math:`(1 - m)^n` of what they were
    is left after n of them.

    Args:
        objective: Whose model, and critic if it has one, keep statistics.
        batches: Training observations [B, *shape], one batch for each round of passes.
        t: Step, a 0-d tensor.

    References:
        Izmailov, Podoprikhin, Garipov, Vetrov and Wilson (2018), Averaging Weights Leads to Wider Optima and Better
        Generalization, section 3.2, there one pass over the data; Brock, Donahue and Simonyan (2019), Large Scale GAN
        Training for High Fidelity Natural Image Synthesis, appendix C.1, standing statistics.
    """
    saved = objective.state_dict().keys()
    buffers = [buffer for name, buffer in objective.named_buffers() if name in saved]
    before, training = [buffer.clone() for buffer in buffers], objective.training
    objective.train()
    with torch.no_grad():
        for x in batches:
            objective.passes(x, t)
    objective.train(training)
    try:
        yield
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
