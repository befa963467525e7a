"""Where weights start."""

from math import prod

from torch import nn
from torch.nn.modules.conv import _ConvNd


def weighted(module: nn.Module) -> list[nn.Linear | _ConvNd]:
    """The layers within a module that multiply by a weight: linear, convolutional and transposed convolutional ones.

    Example:
        >>> [type(layer).__name__ for layer in weighted(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Conv1d(1, 2, 3)))]
        ['Linear', 'Conv1d']
    """
    return [layer for layer in module.modules() if isinstance(layer, (nn.Linear, _ConvNd))]


def start_normal(module: nn.Module, std: float) -> None:
    """Draw the weights within a module from N(0, std²), and set the biases to zero: 0.02 in DCGAN and in PacGAN.

    Example:
        >>> layer = nn.Linear(100, 100)
        >>> start_normal(layer, std=0.02)
        >>> round(layer.weight.std().item(), 3), layer.bias.abs().max().item()
        (0.02, 0.0)
    """
    for layer in weighted(module):
        nn.init.normal_(layer.weight, std=std)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def start_even(module: nn.Module) -> None:
    r"""Draw the weights within a module so that rectified values keep their scale, :math:`\mathcal N(0, 2 / n)` for n inputs of
    an output, and set the biases to zero.

    A transposed convolution of stride s has s² times fewer inputs to each output than weights.

    References:
        He, Zhang, Ren and Sun (2015), Delving Deep into Rectifiers, equation 10.

    Example:
        >>> layers = nn.Sequential(nn.Linear(200, 100), nn.ConvTranspose2d(50, 20, 4, stride=2))
        >>> start_even(layers)
        >>> [round(layer.weight.std().item(), 2) for layer in layers]
        [0.1, 0.1]
    """
    for layer in weighted(module):
        inputs = layer.weight[0].numel()
        if isinstance(layer, nn.modules.conv._ConvTransposeNd):
            inputs = layer.in_channels * prod(layer.kernel_size) // (layer.groups * prod(layer.stride))
        nn.init.normal_(layer.weight, std=(2 / inputs) ** 0.5)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
