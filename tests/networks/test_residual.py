"""Residual networks: where they start, how they are resampled, and gradients of the second order."""

import pytest
import torch
import torch.nn.functional as F
from torch import Size, nn

from uncollapse.networks import ResidualCritic, ResidualGenerator
from uncollapse.networks.residual import Block, Resample

SMALL = {"maps": [4, 8], "groups": 2}


@pytest.mark.parametrize(("height", "breadth"), [(28, 28), (32, 32), (28, 32), (17, 9)])
def test_every_size_is_met(height: int, breadth: int) -> None:
    """A generator's output is a critic's input, also where halves are rounded up."""
    shape = Size((2, height, breadth))
    generator = ResidualGenerator(Size((3,)), shape, maps=[8, 4, 4], groups=2)
    critic = ResidualCritic(shape, Size((1,)), maps=[4, 4, 8], groups=2)
    x = generator(torch.randn(3, 3))
    assert critic(x).shape == (3, 1) and 0 < x.min() < x.max() < 1


def test_blocks_start_as_the_identity() -> None:
    """And so a critic starts as a linear function of the image."""
    block, x = Block(4, groups=2, blocks=3), torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), x)
    critic = ResidualCritic(Size((1, 8, 8)), Size((1,)), **SMALL)
    a, b = torch.rand(2, 6, 1, 8, 8)
    torch.testing.assert_close(critic(a + b), critic(a) + critic(b), rtol=1e-4, atol=1e-5)


def test_outer_weights_keep_the_scale_of_what_they_meet() -> None:
    """Before it is squashed, an image of a random start has a variance near one: the mean of 50 starts, within 30 %."""
    variances = []
    for _ in range(50):
        generator = ResidualGenerator(Size((16,)), Size((1, 16, 16)), maps=[16, 16], squash=False)
        generator.layers = nn.Sequential(*[layer for layer in generator.layers if not isinstance(layer, Resample)])
        h = generator.affine(torch.randn(200, 16))[..., None, None] * generator.start
        variances.append(generator.layers(h).var().item())
    assert 0.7 < sum(variances) / 50 < 1.3


def test_inner_weights_shrink_with_the_number_of_blocks() -> None:
    """L^(-1/4) for three layers: of 16 blocks half as large as of one, at 6 standard errors of 2,048 weights."""
    few, many = (Block(32, groups=4, blocks=n).layers[0].weight.std().item() for n in (1, 16))
    assert many / few == pytest.approx(0.5, rel=6 * (2 / (2 * 2048)) ** 0.5)


@pytest.mark.parametrize(("before", "after"), [((4, 4), (8, 7)), ((8, 7), (4, 4)), ((5, 6), (10, 12)), ((28, 28), (14, 14))])
def test_resampling_is_bilinear(before: tuple[int, int], after: tuple[int, int], float64: None) -> None:
    """That of torch, smoothed where images become smaller; constant images stay constant."""
    resample, x = Resample(Size(before), Size(after)), torch.randn(2, 3, *before)
    expected = F.interpolate(x, size=after, mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(resample(x), expected)
    torch.testing.assert_close(resample(torch.ones_like(x)), torch.ones_like(expected))


def test_a_penalty_on_gradients_has_its_gradient(float64: None) -> None:
    """First and second derivatives of a critic against finite differences."""
    critic = ResidualCritic(Size((1, 4, 4)), Size((1,)), maps=[2, 2], groups=2)
    with torch.no_grad():
        for p in critic.parameters():
            p.add_(0.3 * torch.randn_like(p))
    x = torch.randn(2, 1, 4, 4, requires_grad=True)
    assert torch.autograd.gradcheck(critic, (x,)) and torch.autograd.gradgradcheck(critic, (x,))


def test_rows_are_judged_by_themselves() -> None:
    """In training too: there is no normalisation over the batch."""
    critic, x = ResidualCritic(Size((1, 8, 8)), Size((1,)), **SMALL), torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(critic(x)[:2], critic(x[:2]))


def test_resampling_is_not_saved() -> None:
    """Its matrices follow the module in type, and are no part of what is kept."""
    critic = ResidualCritic(Size((1, 8, 8)), Size((1,)), **SMALL).double()
    assert not [name for name in critic.state_dict() if name.endswith(("rows", "columns"))]
    assert critic(torch.rand(1, 1, 8, 8, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("options", [{"maps": []}, {"blocks": 0}, {"groups": 3}])
def test_what_makes_no_network_is_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="expected maps of at least one size, at least 1 block, and groups that share"):
        ResidualGenerator(Size((3,)), Size((1, 28, 28)), **options)


def test_an_image_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match=r"as input, .* sides of at least 3 for 2 halvings, came \(1, 2, 2\)"):
        ResidualCritic(Size((1, 2, 2)), Size((1,)))
