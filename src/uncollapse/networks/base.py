"""The base class of networks: a module from one shape to another, with no probability in it."""

from collections.abc import Callable, Iterable
from math import prod
from typing import Any, ClassVar

import torch
from torch import Size, Tensor, nn
from torch.utils.hooks import RemovableHandle

from uncollapse.parts import Part


class Network(Part, nn.Module):
    """A map of tensors [..., *input] to tensors [..., *output], with any leading dimensions.

    Args:
        input: Shape of one input.
        output: Shape of one output.

    Attributes:
        smooth: Whether the output has a gradient for the input; a network that reads tokens has none.
    """

    given: ClassVar[tuple[str, ...]] = ("input", "output")
    smooth: ClassVar[bool] = True

    def __init__(self, input: Size, output: Size):
        super().__init__()
        self.input, self.output = Size(input), Size(output)

    def flat(self, x: Tensor) -> Tensor:
        """[..., *input] to [..., prod(input)].

        Raises:
            ValueError: If they are tokens.
        """
        if x.dtype == torch.int64:
            raise ValueError(f"{type(self).__name__} reads real numbers, got int64 tokens; use RecurrentEncoder")
        return x if len(self.input) == 1 else x.reshape(*self.leading(x), prod(self.input))

    def leading(self, x: Tensor) -> Size:
        """The leading dimensions of an input."""
        return x.shape[: x.dim() - len(self.input)]

    def shaped(self, y: Tensor) -> Tensor:
        """[..., prod(output)] to [..., *output]."""
        return y if len(self.output) == 1 else y.reshape(*y.shape[:-1], *self.output)


def hand_over_float32(part: nn.Module) -> list[RemovableHandle]:
    """Have the networks within a part give float32 for what autocast lets them compute in bf16 or float16: densities, noise and
    divergences are not rounded to it. Returns handles whose `remove` undoes it."""
    networks = [module for module in part.modules() if isinstance(module, Network)]
    return [network.register_forward_hook(_float32) for network in networks]


def _float32(module: nn.Module, given: Any, output: Tensor) -> Tensor:
    return output.float() if output.dtype in (torch.bfloat16, torch.float16) else output


Factory = Callable[[Size, Size], Network]
"""What a part that needs a network is given: shape in and shape out, to network."""


def widths(sizes: Iterable[int]) -> list[int]:
    """Widths of hidden layers.

    Raises:
        ValueError: If one is not at least 1.
    """
    found = list(sizes)
    if min(found, default=1) < 1:
        raise ValueError(f"expected widths of hidden layers of at least 1, came {found}")
    return found
