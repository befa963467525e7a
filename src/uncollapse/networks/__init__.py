"""Networks: plain modules from one shape to another, with no probability in them."""

from uncollapse.networks.base import Factory, Network
from uncollapse.networks.conv import ConvDecoder, ConvEncoder
from uncollapse.networks.mlp import MLP, Bias, GatedLinear, GatedMLP
from uncollapse.networks.recurrent import RecurrentEncoder
from uncollapse.networks.skip import SkipConvDecoder, SkipMLP

__all__ = [
    "MLP",
    "Bias",
    "ConvDecoder",
    "ConvEncoder",
    "Factory",
    "GatedLinear",
    "GatedMLP",
    "Network",
    "RecurrentEncoder",
    "SkipConvDecoder",
    "SkipMLP",
]
