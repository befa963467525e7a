"""Generative skip connections: without their weights the plain decoder, with them a path from z to every layer."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.autograd.functional import jacobian

from laws.numerics import assert_equal
from uncollapse.networks import MLP, ConvDecoder, Network, SkipConvDecoder, SkipMLP

IMAGE = Size((2, 8, 4))
PAIRS = {
    "MLP": (partial(SkipMLP, hidden=[7, 6, 5], activation=nn.Tanh), partial(MLP, hidden=[7, 6, 5], activation=nn.Tanh)),
    "affine": (partial(SkipMLP, hidden=[]), partial(MLP, hidden=[])),
    "conv": (partial(SkipConvDecoder, width=3), partial(ConvDecoder, width=3)),
}


def silenced(network: Network) -> Network:
    """With every path that does not pass by a skip connection cut: the first layer gives zero."""
    first = network.affine if isinstance(network, SkipConvDecoder) else network.layers[0]
    nn.init.zeros_(first.weight)
    return network


@pytest.mark.parametrize("name", PAIRS)
def test_without_skip_weights_it_is_the_plain_network(name: str) -> None:
    """The plain network's weights, in their order, and V = 0: the same output and gradient, to 1e-12."""
    skip, plain = (factory(Size((3,)), IMAGE) for factory in PAIRS[name])
    weights = [p for n, p in skip.named_parameters() if not n.startswith("skips")]
    with torch.no_grad():
        for mine, theirs in zip(weights, plain.parameters(), strict=True):
            mine.copy_(theirs)
        for v in skip.skips.parameters():
            v.zero_()
    z = torch.randn(6, 3)
    assert_equal(skip(z), plain(z), 1e-12)
    assert_equal(jacobian(skip, z[0]), jacobian(plain, z[0]), 1e-12)


@pytest.mark.parametrize("name", ["MLP", "conv"])
def test_z_reaches_every_layer_by_itself(name: str) -> None:
    """With the first layer cut and all skip connections but one, z still moves the output, by that one alone."""
    z = torch.randn(3)
    count = len(PAIRS[name][0](Size((3,)), IMAGE).skips)
    assert count == 3
    for alone in range(count):
        network = silenced(PAIRS[name][0](Size((3,)), IMAGE))
        for i, skip in enumerate(network.skips):
            if i != alone:
                nn.init.zeros_(skip.weight)
        moved: Tensor = jacobian(network, z)
        assert (moved.abs().sum((0, 1, 2)) > 0).all(), alone


def test_skip_mlp_by_hand() -> None:
    """W₂ a(W₁ a(W₀ z + b₀) + V₁ z + b₁) + V₂ z + b₂."""
    network, z = SkipMLP(Size((3,)), Size((4,)), hidden=[6, 5], activation=nn.Tanh), torch.randn(7, 3)
    (w0, b0), (w1, b1), (w2, b2) = ((layer.weight, layer.bias) for layer in network.layers)
    v1, v2 = (skip.weight for skip in network.skips)
    h = torch.tanh(torch.tanh(z @ w0.T + b0) @ w1.T + z @ v1.T + b1)
    assert_equal(network(z), h @ w2.T + z @ v2.T + b2)


def plainly(h: Tensor, layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """Maps and kernel of which a convolution without padding is the layer's: a transposed one spreads its maps out."""
    if isinstance(layer, nn.Conv2d):
        return F.pad(h, (1, 1, 1, 1)), layer.weight
    spread = h.new_zeros(*h.shape[:2], 2 * h.shape[2] + 3, 2 * h.shape[3] + 3)
    spread[..., 2:-2:2, 2:-2:2] = h
    return spread, layer.weight.transpose(0, 1).flip(-2, -1)


def test_skip_decoder_by_hand() -> None:
    """Each layer is one convolution of the maps below and, laid beside them, of maps that hold z at all pixels: V stands at one
    place of the larger kernel, which is 0 elsewhere."""
    network, z = SkipConvDecoder(Size((3,)), IMAGE, width=3), torch.randn(5, 3)
    h = (z @ network.affine.weight.T + network.affine.bias).reshape(5, 6, 2, 1)
    for layer, skip in zip(network.layers, network.skips, strict=True):
        maps, kernel = plainly(F.silu(h), layer)
        constant = z[..., None, None].expand(5, 3, *maps.shape[2:])
        v = F.pad(skip.weight[..., None, None], (0, kernel.shape[3] - 1, 0, kernel.shape[2] - 1))
        h = F.conv2d(torch.cat((maps, constant), 1), torch.cat((kernel, v), 1), layer.bias)
    assert_equal(network(z), h, 1e-12)
