"""Maxout and batch-normalised perceptrons: what they compute, and where their weights start."""

import pytest
import torch
from torch import Size, nn

from uncollapse.networks import BatchNormMLP, MaxoutMLP, MinibatchStd
from uncollapse.networks.maxout import Maxout


def test_maxout_by_hand(float64: None) -> None:
    """The greatest of the pieces, unit by unit."""
    layer, x = Maxout(3, 4, pieces=5), torch.randn(6, 3)
    every = x @ layer.linear.weight.T + layer.linear.bias
    expected = torch.stack([every[:, [unit + 4 * piece for piece in range(5)]].max(1).values for unit in range(4)], 1)
    torch.testing.assert_close(layer(x), expected)


def test_a_maxout_layer_is_convex(float64: None) -> None:
    """Between two points it is never above the chord."""
    layer, x, y = Maxout(3, 4, pieces=5), torch.randn(200, 3), torch.randn(200, 3)
    assert (layer((x + y) / 2) <= (layer(x) + layer(y)) / 2 + 1e-12).all()


def test_critic_and_generator_of_the_mixtures_have_their_published_sizes() -> None:
    """PacGAN's: (2 m)-200-200-200-1 with five pieces, and 2-400-400-400-400-2 with biases in the normalisation and the last
    layer alone; only the critic's first layer grows with m."""
    critics = [MaxoutMLP(Size((m, 2)), Size((1,)), std=0.02) for m in (1, 3)]
    sizes = [tuple(layer.weight.shape) for layer in critics[0].modules() if isinstance(layer, nn.Linear)]
    assert sizes == [(1000, 2), (1000, 200), (1000, 200), (1, 200)]
    one, three = (sum(p.numel() for p in critic.parameters()) for critic in critics)
    assert three - one == 4 * 1000
    generator = BatchNormMLP(Size((2,)), Size((2,)), momentum=0.05, std=0.02)
    linear = [layer for layer in generator.modules() if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == [(400, 2), *[(400, 400)] * 3, (2, 400)]
    assert [layer.bias is not None for layer in linear] == [False] * 4 + [True]


@pytest.mark.parametrize("network", [MaxoutMLP, BatchNormMLP])
def test_weights_start_as_they_are_told(network: type) -> None:
    """A standard deviation of 120,000 weights or more at 6 standard errors; biases of zero. None is torch's own start."""
    told, own = network(Size((2,)), Size((1,)), std=0.02), network(Size((2,)), Size((1,)))
    weights = torch.cat([layer.weight.flatten() for layer in told.modules() if isinstance(layer, nn.Linear)]).detach()
    assert abs(float(weights.std()) - 0.02) < 6 * 0.02 / (2 * len(weights)) ** 0.5
    biases = [layer.bias for layer in told.modules() if isinstance(layer, nn.Linear) and layer.bias is not None]
    assert all(not bias.any() for bias in biases)
    assert all(bool(layer.bias.any()) for layer in own.modules() if isinstance(layer, nn.Linear) and layer.bias is not None)


def test_hidden_units_are_normalised_in_training() -> None:
    """What enters the last rectifier has mean 0 and variance 1 over the batch, whatever leading dimensions it has."""
    network, seen = BatchNormMLP(Size((2,)), Size((3,)), hidden=[8, 8]), []
    network.layers[4].register_forward_hook(lambda module, given, output: seen.append(output.detach()))
    network(torch.randn(40, 50, 2) * 5 + 3)
    torch.testing.assert_close(seen[0].mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[0].var(0, correction=0), torch.ones(8), atol=1e-3, rtol=0)


def test_the_last_layer_sees_the_spread_of_the_batch() -> None:
    """The same rows beside others give other values; without the option they do not."""
    x, others = torch.randn(4, 2), torch.zeros(4, 2)
    for on in (False, True):
        network = MaxoutMLP(Size((2,)), Size((1,)), hidden=[8], minibatch_std=on)
        mixed = network(torch.stack((x[0], *others[:3])))[0]
        assert torch.allclose(mixed, network(x)[0]) == (not on)
        assert any(isinstance(layer, MinibatchStd) for layer in network.modules()) == on


def test_one_piece_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least 2 pieces to take the greatest of, came 1; write an MLP"):
        MaxoutMLP(Size((2,)), Size((1,)), pieces=1)
