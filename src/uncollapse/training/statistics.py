"""What is estimated from training data for weights that it was not gathered with: running statistics, optimal sigmas."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from uncollapse.data import Batch
from uncollapse.distributions import OptimalSigma
from uncollapse.distributions.ascending import Ascending
from uncollapse.learning import Objective, Procedure
from uncollapse.training.stage import hold

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
def settled(objective: Objective, batches: Iterable[Batch], t: Tensor, still: Sequence[nn.Module] = ()) -> Iterator[None]:
    r"""Within it, the running statistics are those of the weights as they stand, and afterwards what they were before.

    The average of the weights is a network that none of the training was, so neither the last statistics nor their average are
    its own. Passes in train() without a gradient move them there: with momentum m the share :math:`(1 - m)^n` of what they were
    is left after n of them.

    Args:
        objective: Whose model, and critic if it has one, keep statistics.
        batches: Training observations [B, *shape], one batch for each round of passes.
        t: Step, a 0-d tensor.
        still: Modules whose statistics stay as they are.

    References:
        Izmailov, Podoprikhin, Garipov, Vetrov and Wilson (2018), Averaging Weights Leads to Wider Optima and Better
        Generalization, section 3.2, there one pass over the data; Brock, Donahue and Simonyan (2019), Large Scale GAN
        Training for High Fidelity Natural Image Synthesis, appendix C.1, standing statistics.
    """
    saved = objective.state_dict().keys()
    buffers = [buffer for name, buffer in objective.named_buffers() if name in saved]
    before, training = [buffer.clone() for buffer in buffers], objective.training
    objective.train()
    hold(still)
    with torch.no_grad():
        for batch in batches:
            objective.passes(batch, t)
    objective.train(training)
    try:
        yield
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)


def sigmas(module: nn.Module, still: Sequence[nn.Module] = ()) -> list[OptimalSigma]:
    """The standard deviations within a module that are estimated from data, but for those that stay as they are."""
    fixed = {id(part) for part in still}
    return [part for part in module.modules() if isinstance(part, OptimalSigma) and id(part) not in fixed]


@contextmanager
def measured(
    procedure: Procedure, batches: Callable[[], Iterable[Batch]], t: Tensor, still: Sequence[nn.Module] = ()
) -> Iterator[None]:
    r"""Within it, each `OptimalSigma` is that of the weights as they stand, over training data, and afterwards what it was.

    The model is in eval(), as where the value is used: no dropout, the statistics of batch normalisation as they are kept.
    Where draws of z depend on sigma themselves, by an ascent or a chain, the first of two rounds is there to come near it.

    Args:
        procedure: Whose objective has the model.
        batches: Gives the training observations, [B, *shape] each, for one round.
        t: Step, a 0-d tensor.
        still: Modules that stay as they are.

    References:
        Rybkin, Daniilidis and Levine (2021), Simple and Effective VAE Training with Calibrated Decoders, equation 6.
    """
    found, training = sigmas(procedure.objective, still), procedure.objective.training
    before = [sigma.variance.clone() for sigma in found]
    procedure.objective.eval()
    follows = procedure.chains or any(isinstance(part, Ascending) for part in procedure.objective.modules())
    for _ in range(2 if follows else 1):
        with torch.no_grad(), ExitStack() as measuring:
            for sigma in found:
                measuring.enter_context(sigma.measured())
            for batch in batches():
                procedure.measure(batch, t)
    procedure.objective.train(training)
    try:
        yield
    finally:
        for sigma, value in zip(found, before, strict=True):
            sigma.variance.copy_(value)
