"""Where weights start."""

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
