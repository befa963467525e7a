"""Holding a model still while something else moves: its parts in eval(), its parameters out of the gradient."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within it the module is in eval(), every part back in its own mode afterwards: log p(x, z) is one function of x and z.

    No dropout draws, and no sigma looks at the observations. Recurrent networks do without cuDNN, which gives a gradient in
    train() alone.
    """
    parts = list(module.modules())
    training = [part for part in parts if part.training]
    with ExitStack() as stack:
        if any(isinstance(part, nn.RNNBase) for part in parts):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        module.eval()
        try:
            yield
        finally:
            for part in training:
                part.training = True


@contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Within it these parameters collect no gradient.

    Example:
        >>> p = nn.Parameter(torch.zeros(2))
        >>> with frozen([p]):
        ...     (p + 1).requires_grad
        False
        >>> p.requires_grad
        True
    """
    moving = [p for p in parameters if p.requires_grad]
    for p in moving:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in moving:
            p.requires_grad_(True)
