"""Spectral normalisation: largest singular values of one, a Lipschitz constant of one, and weights that are kept."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Size, nn

from uncollapse.networks import MLP, Bias, ConvDecoder, DCGANCritic, GatedMLP, Network, ResidualCritic, Spectral
from uncollapse.networks.initial import weighted

CASES: dict[str, tuple[Callable[[Size, Size], Network], Size, Size]] = {
    "MLP": (partial(MLP, hidden=[8, 8]), Size((3,)), Size((2,))),
    "GatedMLP": (partial(GatedMLP, hidden=[8]), Size((3,)), Size((2,))),
    "DCGANCritic": (partial(DCGANCritic, width=2, layers=3, batch_norm=False), Size((1, 12, 12)), Size((1,))),
    "ConvDecoder": (partial(ConvDecoder, width=2), Size((3,)), Size((1, 8, 8))),
}


def settled(name: str) -> Spectral:
    """The network of a row, its weights away from their start, after 300 passes in training."""
    factory, input, output = CASES[name]
    network = Spectral(input, output, factory)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.3 * torch.randn_like(p))
        for _ in range(300):
            network(torch.randn(2, *input))
    return network.eval()


@pytest.mark.parametrize("name", CASES)
def test_largest_singular_value_is_one(name: str, float64: None) -> None:
    """Of every linear and convolutional weight, as a matrix with a row for each output map."""
    layers = weighted(settled(name))
    assert len(layers) == len(weighted(CASES[name][0](*CASES[name][1:])))
    for layer in layers:
        rows = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
        assert float(torch.linalg.matrix_norm(rows.detach().flatten(1), 2)) == pytest.approx(1.0, abs=1e-4)


def test_a_perceptron_is_lipschitz(float64: None) -> None:
    """No pair of points is driven further apart, and no gradient is longer than one."""
    network, x, y = settled("MLP"), torch.randn(500, 3, requires_grad=True), torch.randn(500, 3)
    assert ((network(x) - network(y)).norm(dim=1) <= (1 + 1e-4) ** 3 * (x - y).norm(dim=1)).all()
    (gradient,) = torch.autograd.grad(network(x)[:, 0].sum(), x)
    assert gradient.norm(dim=1).max() <= (1 + 1e-4) ** 3


def test_estimates_move_in_training_only() -> None:
    """In evaluation the network is one function of its input."""
    network, x = Spectral(Size((3,)), Size((2,)), partial(MLP, hidden=[8])), torch.randn(4, 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert torch.equal(network.eval()(x), network(x))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.train()(x)
    moved = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
    assert moved and all(name.endswith(("_u", "_v")) for name in moved)


@pytest.mark.parametrize("name", CASES)
def test_weights_and_estimates_are_kept(name: str, tmp_path) -> None:
    """Written as safetensors and read into another network, which then gives the same."""
    from safetensors.torch import load_file, save_file

    network, x = settled(name), torch.randn(4, *CASES[name][1])
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, tmp_path / "weights.safetensors")
    factory, input, output = CASES[name]
    other = Spectral(input, output, factory).eval()
    assert not torch.equal(other(x), network(x))
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other(x), network(x))


def test_a_penalty_on_gradients_reaches_the_weights() -> None:
    """The second derivative passes through the normalisation."""
    network, x = Spectral(*CASES["DCGANCritic"][1:], CASES["DCGANCritic"][0]), torch.rand(2, 1, 12, 12, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert all(layer.parametrizations.weight.original.grad.isfinite().all() for layer in weighted(network))


def test_a_network_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a network with linear or convolutional weights to normalise, came Bias"):
        Spectral(Size((3,)), Size((2,)), Bias)


def test_weights_of_zero_are_refused() -> None:
    """Residual blocks start with some: their norm is zero."""
    with pytest.raises(ValueError, match="expected weights that can be divided by their norm, came ResidualCritic, where some"):
        Spectral(Size((1, 8, 8)), Size((1,)), ResidualCritic)
