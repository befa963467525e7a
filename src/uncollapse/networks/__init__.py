"""Networks: plain modules from one shape to another, with no probability in them."""

from uncollapse.networks.base import Factory, Network
from uncollapse.networks.batchnorm import BatchNorm, BatchNormMLP
from uncollapse.networks.condition_encoders import ConditionEncoder, Features, LabelEmbedding, OneHot
from uncollapse.networks.conv import ConvDecoder, ConvEncoder
from uncollapse.networks.dcgan import DCGANCritic, DCGANGenerator
from uncollapse.networks.fourier import Fourier
from uncollapse.networks.maxout import MaxoutMLP
from uncollapse.networks.minibatch import MinibatchStd
from uncollapse.networks.mlp import MLP, Bias, GatedLinear, GatedMLP
from uncollapse.networks.recurrent import RecurrentEncoder
from uncollapse.networks.residual import ResidualCritic, ResidualGenerator
from uncollapse.networks.skip import SkipConvDecoder, SkipMLP
from uncollapse.networks.spectral import Spectral

__all__ = [
    "MLP",
    "BatchNorm",
    "BatchNormMLP",
    "Bias",
    "ConditionEncoder",
    "ConvDecoder",
    "ConvEncoder",
    "DCGANCritic",
    "DCGANGenerator",
    "Factory",
    "Features",
    "Fourier",
    "GatedLinear",
    "GatedMLP",
    "LabelEmbedding",
    "MaxoutMLP",
    "MinibatchStd",
    "Network",
    "OneHot",
    "RecurrentEncoder",
    "ResidualCritic",
    "ResidualGenerator",
    "SkipConvDecoder",
    "SkipMLP",
    "Spectral",
]
