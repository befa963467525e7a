"""The networks: shapes with any leading dimensions, refusals, and what each of them computes."""

import pytest
import torch
from torch import Size, nn

from laws.parts import NETWORKS
from uncollapse.networks import MLP, Bias, ConvDecoder, ConvEncoder, GatedLinear, GatedMLP, Network, SkipConvDecoder, SkipMLP


def make(name: str) -> Network:
    """The network of a row, in evaluation mode."""
    factory, input, output = NETWORKS[name]
    return factory(input, output).eval()


def inputs(network: Network, *leading: int) -> torch.Tensor:
    """Random numbers [*leading, *input], or tokens for a network that reads them."""
    shape = (*leading, *network.input)
    return torch.randn(shape) if network.smooth else torch.randint(network.levels, shape)


@pytest.mark.parametrize("leading", [(), (4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("name", NETWORKS)
def test_leading_dimensions_are_kept(name: str, leading: tuple[int, ...]) -> None:
    """[..., *input] to [..., *output], each row by itself: the same as one at a time."""
    network = make(name)
    x = inputs(network, *leading)
    y = network(x)
    assert y.shape == (*leading, *network.output)
    one_by_one = torch.stack([network(row) for row in x.reshape(-1, *network.input)])
    torch.testing.assert_close(y.reshape(-1, *network.output), one_by_one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_gets_a_gradient(name: str) -> None:
    """No layer is left out of the forward, a little off its start: some start at zero, behind which nothing has a gradient."""
    network = make(name)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    (network(inputs(network, 16)) + 1).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_affine_network_by_hand() -> None:
    """Without hidden layers it is W x + b, of the flattened input."""
    network = MLP(Size((2, 3)), Size((4,)), hidden=[])
    x = torch.randn(5, 2, 3)
    (layer,) = network.layers
    torch.testing.assert_close(network(x), x.flatten(1) @ layer.weight.T + layer.bias)


def test_hidden_layers_have_their_widths_and_activation() -> None:
    """Sizes and nonlinearity are those that were written."""
    layers = MLP(Size((3,)), Size((2,)), hidden=[7, 5], activation=nn.Tanh).layers
    assert [tuple(m.weight.shape) for m in layers if isinstance(m, nn.Linear)] == [(7, 3), (5, 7), (2, 5)]
    assert sum(isinstance(m, nn.Tanh) for m in layers) == 2


def test_gate_by_hand() -> None:
    """(W x + b) sigmoid(V x + c), both from one matrix product."""
    layer, x = GatedLinear(3, 4), torch.randn(6, 3)
    value, gate = layer.linear(x).split(4, -1)
    torch.testing.assert_close(layer(x), value * torch.sigmoid(gate))


def test_dropout_acts_in_training_only() -> None:
    """The same input twice: different in training, the same in evaluation."""
    network, x = GatedMLP(Size((50,)), Size((4,)), hidden=[8], dropout=0.5), torch.ones(2, 50)
    assert not torch.equal(network(x), network(x))
    assert torch.equal(network.eval()(x), network(x))


def test_bias_ignores_its_input() -> None:
    """The same vector for every input, zero at the start, with a gradient for the vector and none for the input."""
    network, x = Bias(Size((3,)), Size((2,))), torch.randn(5, 3, requires_grad=True)
    with torch.no_grad():
        network.value.copy_(torch.tensor([1.0, -2.0]))
    assert network(x).tolist() == [[1.0, -2.0]] * 5
    (gradient,) = torch.autograd.grad(network(x).sum(), x, allow_unused=True, materialize_grads=True)
    assert gradient.abs().max() == 0
    network(x).sum().backward()
    assert network.value.grad.tolist() == [5.0, 5.0]


@pytest.mark.parametrize("shape", [(1, 30, 28), (1, 28, 30), (3, 7, 8), (28, 28), (784,)])
def test_convolutions_refuse_what_is_no_image(shape: tuple[int, ...]) -> None:
    """Sides that are not multiples of four, or no maps at all: the shape that came, and what to write instead."""
    with pytest.raises(ValueError, match=r"as input, .* multiples of 4, came .* write an MLP"):
        ConvEncoder(Size(shape), Size((2,)))
    with pytest.raises(ValueError, match=r"as output, .* multiples of 4, came .* write an MLP"):
        ConvDecoder(Size((2,)), Size(shape))


@pytest.mark.parametrize("side", [4, 8, 28, 32])
def test_convolutions_take_sides_that_are_multiples_of_four(side: int) -> None:
    """An encoder's input is the decoder's output."""
    shape = Size((2, side, side + 4))
    encoder, decoder = ConvEncoder(shape, Size((5,)), width=2), ConvDecoder(Size((5,)), shape, width=2)
    assert decoder(encoder(torch.zeros(3, *shape))).shape == (3, *shape)


def test_convolutions_see_every_pixel() -> None:
    """Each pixel of the input moves the code, and the code moves each pixel of the output."""
    encoder, decoder = make("ConvEncoder"), make("ConvDecoder")
    x, z = torch.randn(1, 2, 8, 4, requires_grad=True), torch.randn(3)
    assert (torch.autograd.grad(encoder(x).sum(), x)[0] != 0).all()
    assert (decoder(z) != decoder(z + 1.0)).all()


def test_skip_decoders_refuse_widths_below_one() -> None:
    for build in (
        lambda: SkipMLP(Size((2,)), Size((3,)), hidden=[4, -3]),
        lambda: SkipConvDecoder(Size((2,)), Size((1, 8, 8)), width=0),
    ):
        with pytest.raises(ValueError, match="expected widths of hidden layers of at least 1"):
            build()
