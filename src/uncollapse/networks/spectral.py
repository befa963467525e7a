"""Spectral normalisation as a network around a network."""

from torch import Size, Tensor
from torch.nn.utils.parametrizations import spectral_norm

from uncollapse.networks.base import Factory, Network
from uncollapse.networks.initial import weighted
from uncollapse.networks.mlp import MLP


class Spectral(Network):
    r"""Another network, each of whose linear and convolutional weights is divided by its largest singular value.

    .. math:: \bar W = W / \sigma(W), \qquad \sigma(W) \approx u^\top W v

    with vectors u and v that are moved by one power iteration at each pass in `train()`, and saved. A perceptron with
    rectifiers is 1-Lipschitz where they have settled. For a convolution, σ is that of the weight as a matrix with a row for
    each output map, which is not the norm of the convolution. Recurrent and embedding weights are left as they are. Batch
    normalisation within the network scales its layers anew: leave it out.

    Args:
        input: Shape of one input.
        output: Shape of one output.
        network: Factory of the network, called with both shapes.

    Raises:
        ValueError: If the network has no such weight, or one that starts at zero, as residual blocks have them: zero over zero
            has no value, and any start beside it would be blown up to a norm of one.

    References:
        Miyato, Kataoka, Koyama and Yoshida (2018), Spectral normalization for generative adversarial networks, equation 8 and
        algorithm 1.

    Example:
        >>> import torch
        >>> network = Spectral(Size((2,)), Size((1,)), lambda i, o: MLP(i, o, hidden=[16])).eval()
        >>> x, y = torch.randn(2, 100, 2)
        >>> bool(((network(x) - network(y)).norm(dim=1) <= 1.1 * (x - y).norm(dim=1)).all())
        True
    """

    def __init__(self, input: Size, output: Size, network: Factory = MLP):
        super().__init__(input, output)
        self.network = network(self.input, self.output)
        layers = weighted(self.network)
        if not layers:
            raise ValueError(
                f"expected a network with linear or convolutional weights to normalise, came {type(self.network).__name__}; "
                "write MLP"
            )
        if not all(layer.weight.any() for layer in layers):
            raise ValueError(
                f"expected weights that can be divided by their norm, came {type(self.network).__name__}, where some start at "
                "zero; write another network, or a penalty on gradients in place of Spectral"
            )
        for layer in layers:
            spectral_norm(layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)
