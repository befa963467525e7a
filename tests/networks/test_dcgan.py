"""Deep convolutional networks: published sizes, every image size, and what normalisation does."""

import pytest
import torch
from torch import Size, nn

from uncollapse.networks import BatchNorm, DCGANCritic, DCGANGenerator, MinibatchStd

RGB28 = Size((3, 28, 28))


def count(network: nn.Module) -> int:
    """How many parameters there are, those of the normalisation left out."""
    inner = sum(p.numel() for layer in network.modules() if isinstance(layer, BatchNorm) for p in layer.parameters())
    return sum(p.numel() for p in network.parameters()) - inner


@pytest.mark.parametrize(("height", "breadth"), [(28, 28), (32, 32), (64, 64), (28, 32), (17, 9), (31, 30)])
def test_every_size_is_met(height: int, breadth: int) -> None:
    """A generator's output is a critic's input, also where halves are rounded up; the maps mirror each other."""
    shape = Size((2, height, breadth))
    for kernel in (3, 5):
        generator = DCGANGenerator(Size((4,)), shape, width=2, kernel=kernel)
        critic = DCGANCritic(shape, Size((1,)), width=2, kernel=kernel)
        assert critic(generator(torch.randn(3, 4))).shape == (3, 1)
        assert generator.start[1:] == (-(-height // 16), -(-breadth // 16))


def test_first_published_setup() -> None:
    """PacGAN's networks for stacked digits: four layers of 64 to 512 maps around 2 x 2, 4.51 and 4.31 million weights."""
    generator, critic = DCGANGenerator(Size((100,)), RGB28), DCGANCritic(RGB28, Size((1,)))
    weights = 512 * 256 * 25 + 256 * 128 * 25 + 128 * 64 * 25 + 64 * 3 * 25
    assert generator.start == (512, 2, 2)
    assert count(generator) == 100 * 2048 + weights + 3
    assert count(critic) == weights + 64 + 2048 + 1


@pytest.mark.parametrize(("width", "parameters"), [(2, 585), (4, 1889)])
def test_second_published_setup(width: int, parameters: int) -> None:
    """The small critics of unrolled GANs, whose published numbers of parameters count biases that the normalisation undoes; the
    generator of 64, 32, 16 and 8 maps that goes with them."""
    critic = DCGANCritic(RGB28, Size((1,)), width, layers=3, kernel=3, first_norm=True, slope=0.3)
    maps = 7 * width
    assert count(critic) + 2 * maps + maps == parameters
    generator = DCGANGenerator(Size((256,)), RGB28, width=8, layers=3, kernel=3, finish=True)
    assert generator.start == (64, 4, 4)
    assert count(generator) == 256 * 1024 + 9 * (64 * 32 + 32 * 16 + 16 * 8 + 8 * 3) + 3


def test_weights_start_small() -> None:
    """N(0, 0.02²): each layer's standard deviation at 6 standard errors; biases of zero."""
    for network in (DCGANGenerator(Size((100,)), RGB28, width=8), DCGANCritic(RGB28, Size((1,)), width=8)):
        for name, p in network.named_parameters():
            if p.dim() > 1:
                assert abs(float(p.detach().std()) - 0.02) < 6 * 0.02 / (2 * p.numel()) ** 0.5, name
            elif name.endswith("bias"):
                assert not p.any()


def test_images_lie_between_zero_and_one_where_they_are_squashed() -> None:
    z = torch.randn(20, 4)
    for squash in (True, False):
        torch.manual_seed(1)
        generator = DCGANGenerator(Size((4,)), Size((1, 8, 8)), width=2, layers=2, squash=squash)
        x = generator(100 * z) if squash else torch.sigmoid(generator(100 * z))
        assert 0 <= x.min() < x.max() <= 1
        if squash:
            first = x
    torch.testing.assert_close(first, x)


@pytest.mark.parametrize("kernel", [3, 5])
def test_every_pixel_counts(kernel: int) -> None:
    """Each pixel moves the critic's value, and z moves each pixel."""
    shape = Size((2, 17, 20))
    critic = DCGANCritic(shape, Size((1,)), width=4, kernel=kernel).eval()
    x = torch.rand(3, *shape, requires_grad=True)
    assert (torch.autograd.grad(critic(x).sum(), x)[0] != 0).flatten(1).double().mean() > 0.99
    generator = DCGANGenerator(Size((4,)), shape, width=4, kernel=kernel)
    assert generator(torch.randn(5, 4)).std(0).min() > 0


def test_without_normalisation_rows_are_judged_by_themselves() -> None:
    """In training too; with normalisation or the spread of the batch they are not."""
    x, others = torch.rand(4, *RGB28), torch.rand(3, *RGB28)
    for options, alone in (
        ({"batch_norm": False}, True),
        ({}, False),
        ({"batch_norm": False, "first_norm": True}, False),
        ({"batch_norm": False, "minibatch_std": True}, False),
    ):
        critic = DCGANCritic(RGB28, Size((1,)), width=4, layers=3, **options)
        nn.init.normal_(critic.layers[-1].weight)
        mixed = critic(torch.cat((x[:1], others)))[0]
        assert torch.allclose(mixed, critic(x)[0], rtol=1e-4, atol=1e-7) == alone, options


def test_options_of_the_critic_are_layers() -> None:
    """Normalisation of all layers but the first, of the first too, of none; the spread as one map more."""
    kinds = [BatchNorm, MinibatchStd]
    for options, expected in (
        ({}, [3, 0]),
        ({"first_norm": True}, [4, 0]),
        ({"batch_norm": False, "minibatch_std": True}, [0, 1]),
    ):
        critic = DCGANCritic(RGB28, Size((1,)), width=2, **options)
        assert [sum(isinstance(layer, kind) for layer in critic.layers) for kind in kinds] == expected
        assert critic.layers[-1].in_features == (16 + expected[1]) * 4
        assert [layer.bias is None for layer in critic.layers if isinstance(layer, nn.Conv2d)].count(True) == expected[0]


@pytest.mark.parametrize("shape", [(3, 8, 8), (28, 28), (3, 28, 8)])
def test_what_is_no_image_or_too_small_is_refused(shape: tuple[int, ...]) -> None:
    """The shape that came, the side that was needed, and what to write instead."""
    with pytest.raises(ValueError, match=r"as output, .* sides of at least 9 for 4 halvings, came .*write fewer layers"):
        DCGANGenerator(Size((4,)), Size(shape))
    with pytest.raises(ValueError, match=r"as input, .* sides of at least 9 for 4 halvings, came .*write fewer layers"):
        DCGANCritic(Size(shape), Size((1,)))


@pytest.mark.parametrize("options", [{"kernel": 4}, {"kernel": 1}, {"layers": 0}])
def test_what_makes_no_network_is_refused(options: dict[str, int]) -> None:
    for build in (lambda: DCGANGenerator(Size((4,)), RGB28, **options), lambda: DCGANCritic(RGB28, Size((1,)), **options)):
        with pytest.raises(ValueError, match="expected at least 1 layer and an odd kernel of at least 3, came"):
            build()


def test_weights_by_their_number_keep_the_scale() -> None:
    """even: logits of noise without normalisation have the scale of the noise, where N(0, 0.02²) leaves a hundredth."""
    torch.manual_seed(0)
    x = torch.randn(20, *RGB28)
    kept, small = (DCGANCritic(RGB28, Size((500,)), width=16, batch_norm=False, even=even)(x).std() for even in (True, False))
    assert 0.5 < kept < 2 and small < 0.01
    torch.manual_seed(0)
    generator = DCGANGenerator(Size((100,)), RGB28, width=16, squash=False, even=True)
    assert 0.5 < generator(torch.randn(20, 100)).std() < 2
