"""The PixelCNN as a likelihood: each pixel given z and the pixels before it, exactly."""

from typing import Any, ClassVar

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse import noise
from uncollapse.distributions.conditional import Likelihood
from uncollapse.distributions.densities import Unvalidated
from uncollapse.distributions.fields import BernoulliField, Field, LevelsField
from uncollapse.networks import MLP, Factory
from uncollapse.networks.pixelcnn import GatedPixelCNN


class PixelCNN(Likelihood):
    r"""Discrete images, pixel by pixel from the top left, by a gated PixelCNN with z in each layer.

    .. math:: \log p(x \mid z) = \sum_{d} \log p(x_d \mid x_{<d}, z)

    A strong decoder: it can learn p(x) without z, and its posterior collapses unless something is done about it. It has
    `log_prob`, in one pass, and `sample`, which computes each pixel once; it has no mean.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation: (channels, height, width), (height, width), or (width,), an image of one row.
        network: Factory of the network from z to maps, (context, height, width), that enter the layers as biases.
        layers: Number of layers.
        maps: Maps of each layer, a multiple of the channels.
        kernel: Side of the square of which a layer sees the past half; odd.
        first: The same of the first layer.
        context: Maps of z.
        levels: Number n of values on the grid k / (n - 1).
        skip: Whether z's maps enter each layer, or the first alone.

    Raises:
        ValueError: If the shape is no image, or a size makes no PixelCNN.

    References:
        van den Oord et al. (2016), Conditional Image Generation with PixelCNN Decoders, equations 3 to 5; as the decoder of a
        VAE: Gulrajani et al. (2017), PixelVAE.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> p = PixelCNN(2, Size((1, 2, 2)), layers=2, maps=4)(torch.zeros(2))
        >>> x = torch.tensor([[k >> d & 1 for d in range(4)] for k in range(16)]).reshape(16, 1, 2, 2)
        >>> round(p.log_prob(x.float()).exp().sum().item(), 5)
        1.0
    """

    instead: ClassVar[str] = "--likelihood.levels with their number, --data.binarize, or --likelihood Gaussian for real numbers"

    def __init__(
        self,
        features: int,
        shape: Size,
        network: Factory = MLP,
        layers: int = 6,
        maps: int = 32,
        kernel: int = 5,
        first: int = 7,
        context: int = 4,
        levels: int = 2,
        skip: bool = True,
    ):
        super().__init__(features, shape)
        if not 1 <= len(self.shape) <= 3 or levels < 2 or context < 1:
            raise ValueError(
                f"expected an image (channels, height, width), at least 2 levels and 1 map of z, came shape {tuple(shape)}, "
                f"levels={levels}, context={context}; write another likelihood for other data"
            )
        image = Size((*[1] * (3 - len(self.shape)), *self.shape))
        self.network = network(Size((features,)), Size((context, *image[1:])))
        self.pixels = GatedPixelCNN(image, 1 if levels == 2 else levels, context, layers, maps, kernel, first, skip)
        self.levels: int = levels

    def forward(self, c: Any = None) -> Distribution:
        return PixelField(self.pixels, self.network(c), self.levels, self.shape)


class PixelField(Field):
    """The pixels of an image one after another: a `GatedPixelCNN` and z's maps [..., Z, H, W]."""

    def __init__(self, pixels: GatedPixelCNN, maps: Tensor, levels: int, event: Size):
        self.pixels, self.maps, self.levels = pixels, maps, levels
        Unvalidated.__init__(self, maps.shape[:-3], Size(event))

    def given(self, x: Tensor) -> Field:
        """The pixels, each given those of x [..., *event] before it: independent of one another."""
        n = len(self.event_shape)
        batch = torch.broadcast_shapes(self.batch_shape, x.shape[: x.dim() - n])
        images = x.to(self.maps.dtype).expand(*batch, *self.event_shape).reshape(-1, *self.pixels.shape)
        maps = self.maps.expand(*batch, *self.maps.shape[-3:]).reshape(-1, *self.maps.shape[-3:])
        logits = self.pixels(images, maps)
        if self.levels == 2:
            return BernoulliField(logits.reshape(*batch, *self.event_shape), self.event_shape)
        return LevelsField(logits.reshape(*batch, self.levels, *self.event_shape), self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.given(value).log_prob(value)

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        u = noise.uniform(shape, self.maps, self.rows(shape)).reshape(-1, *self.pixels.shape)
        maps = self.maps.expand(*shape[: len(shape) - len(self.event_shape)], *self.maps.shape[-3:])
        x = self.pixels.generate(maps.reshape(-1, *maps.shape[-3:]), lambda logits, place: chosen(logits, u[(..., *place)]))
        return x.reshape(shape)


def chosen(logits: Tensor, u: Tensor) -> Tensor:
    """The value in [0, 1] at which the distribution function passes u: logits [N, levels] (or [N, 1], of a bit) and u [N]."""
    if logits.shape[-1] == 1:
        return (u < torch.sigmoid(logits.squeeze(-1))).to(u)
    below = logits.softmax(-1).cumsum(-1)[..., :-1] < u.unsqueeze(-1)
    return below.sum(-1).to(u) / (logits.shape[-1] - 1)
