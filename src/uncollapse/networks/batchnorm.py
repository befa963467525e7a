"""Batch normalisation over the rows of all processes, and the fully connected generator that is made with it."""

from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch import distributed as dist

from uncollapse.networks.base import Network, widths
from uncollapse.networks.initial import start_normal
from uncollapse.processes import Summed


class BatchNorm(nn.Module):
    r"""Batch normalisation of features [N, C] or of maps [N, C, H, W], over all dimensions but C.

    .. math:: y_j = \gamma_j \, \frac{x_j - m_j}{\sqrt{v_j + \epsilon}} + \beta_j

    In `train()` the mean m and the variance v are the batch's, of the rows of all processes that share it, each of which must
    come by; their running averages are kept, a batch that is not finite left out. In `eval()` those are used.

    Args:
        features: Number C of features or maps.
        momentum: Weight of the newest batch in the running averages.
        epsilon: What is added to the variance.

    References:
        Ioffe and Szegedy (2015), Batch normalization, algorithms 1 and 2.

    Example:
        >>> y = BatchNorm(3)(torch.randn(50, 3) * 4 + 2)
        >>> bool((y.mean(0).abs() < 1e-6).all() and ((y.std(0, correction=0) - 1).abs() < 1e-5).all())
        True
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, features: int, momentum: float = 0.1, epsilon: float = 1e-5):
        super().__init__()
        if not 0 < momentum <= 1:
            raise ValueError(f"expected a momentum in (0, 1], came {momentum}; write 0.1")
        self.momentum, self.epsilon = momentum, epsilon
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_variance", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            return self._over_processes(x)
        mean, variance = self.running_mean, self.running_variance
        if self.training:  # which writes into them
            mean, variance = mean.clone(), variance.clone()
        y = F.batch_norm(x, mean, variance, self.weight, self.bias, self.training, self.momentum, self.epsilon)
        if self.training:
            self._keep(mean, variance)
        return y

    def _over_processes(self, x: Tensor) -> Tensor:
        """The same by the moments of the processes' equal shares, in the type of the weights whatever that of x."""
        given, x = x.dtype, x.to(self.weight.dtype)
        shape, dims = [1, -1, *[1] * (x.dim() - 2)], [d for d in range(x.dim()) if d != 1]
        mean = _mean(x.mean(dims))
        variance = _mean((x - mean.reshape(shape)).square().mean(dims))
        n = x.numel() // x.shape[1] * dist.get_world_size()
        for_keeps = (mean.detach(), variance.detach() * n / max(1, n - 1))
        self._keep(*(old.lerp(new.to(old), self.momentum) for old, new in zip(self._running(), for_keeps, strict=True)))
        scale = self.weight * (variance + self.epsilon).rsqrt()
        return ((x - mean.reshape(shape)) * scale.reshape(shape) + self.bias.reshape(shape)).to(given)

    def _running(self) -> tuple[Tensor, Tensor]:
        return self.running_mean, self.running_variance

    @torch.no_grad()
    def _keep(self, *new: Tensor) -> None:
        for running, value in zip(self._running(), new, strict=True):
            running.copy_(torch.where(value.isfinite(), value, running))


def _mean(x: Tensor) -> Tensor:
    """The mean over the processes, with its gradient."""
    return Summed.apply(x) / dist.get_world_size()


class BatchNormMLP(Network):
    """A multilayer perceptron with batch normalisation before each nonlinearity, the last layer linear.

    Hidden layers have no bias but that of the normalisation.

    Args:
        input: Shape of one input.
        output: Shape of one output.
        hidden: Width of each hidden layer.
        activation: Class of the nonlinearity.
        momentum: Weight of the newest batch in the running averages of the normalisation.
        std: Standard deviation of the weights at the start, with biases of zero; PacGAN's is 0.02. None: torch's own start.

    References:
        With four hidden layers of 400, momentum 0.05 and std 0.02 it is the generator of the mixtures in Lin, Khetan, Fanti and
        Oh (2018), PacGAN.

    Example:
        >>> BatchNormMLP(Size((2,)), Size((2,)), hidden=[16, 16])(torch.randn(3, 4, 2)).shape
        torch.Size([3, 4, 2])
    """

    def __init__(
        self,
        input: Size,
        output: Size,
        hidden: list[int] = [400, 400, 400, 400],
        activation: type[nn.Module] = nn.ReLU,
        momentum: float = 0.1,
        std: float | None = None,
    ):
        super().__init__(input, output)
        sizes = [prod(input), *widths(hidden)]
        layers = [
            layer for i, o in pairwise(sizes) for layer in (nn.Linear(i, o, bias=False), BatchNorm(o, momentum), activation())
        ]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], prod(output)))
        if std is not None:
            start_normal(self, std)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, prod(self.input))
        return self.layers(rows).reshape(*self.leading(x), *self.output)
