"""The PixelCNN: what each pixel sees, exact masses, colours, and a sampler that computes each pixel once."""

from itertools import product

import pytest
import torch
from torch import Size, Tensor
from torch.autograd.functional import jacobian

from laws.numerics import assert_equal, every_event
from laws.parts import affine, small
from uncollapse import noise
from uncollapse.distributions import PixelCNN
from uncollapse.distributions.pixelcnn import chosen
from uncollapse.networks import ConvDecoder
from uncollapse.networks.pixelcnn import GatedPixelCNN


def seen(shape: Size, layers: int = 3, kernel: int = 3, first: int = 3, outputs: int = 1) -> Tensor:
    """Which value's logits depend on which value, [D, D]: the mean absolute derivative over 8 images and 3 networks."""
    total = torch.zeros(shape.numel(), shape.numel())
    for _ in range(3):
        network = GatedPixelCNN(shape, outputs, 2, layers, 6, kernel, first)
        s = torch.randn(8, 2, *shape[1:])

        def summed(x: Tensor, network: GatedPixelCNN = network, s: Tensor = s) -> Tensor:
            return network(x, s).sum((0, 1)).flatten()

        total += jacobian(summed, torch.rand(8, *shape)).abs().sum(1).flatten(1)
    return total


@pytest.mark.parametrize(("shape", "outputs"), [((1, 4, 4), 1), ((1, 1, 9), 1), ((1, 6, 3), 3), ((3, 3, 3), 2), ((2, 3, 2), 1)])
def test_each_value_sees_those_before_it_and_no_other(shape: tuple[int, int, int], outputs: int) -> None:
    """The jacobian, in raster order with the channels of a pixel in turn, is strictly below its diagonal; within reach all
    of it is there, the earlier colours of the pixel itself and the far corners of the rows above among it: no blind spot."""
    order = torch.arange(Size(shape).numel()).reshape(shape).permute(1, 2, 0).flatten()
    reaches = seen(Size(shape), layers=8, outputs=outputs)[order][:, order]
    before = torch.ones_like(reaches).tril(-1)
    assert (reaches[before == 0] == 0).all()
    assert (reaches[before == 1] > 0).all()


@pytest.mark.parametrize(("layers", "kernel", "first"), [(1, 3, 5), (2, 3, 3), (2, 5, 3), (3, 3, 7)])
def test_reach_is_that_of_the_kernels(layers: int, kernel: int, first: int) -> None:
    """With r = first // 2 + (layers - 1)(kernel // 2), a pixel sees all of the r + 1 rows above it within r columns, its own
    row within r columns at its left, and nothing else."""
    side, r = 9, first // 2 + (layers - 1) * (kernel // 2)
    i, j = side - 1, side // 2
    found = seen(Size((1, side, side)), layers, kernel, first).reshape(side, side, side, side)[i, j] > 0
    up, aside = (i - torch.arange(side)).unsqueeze(1), j - torch.arange(side)
    above, at_left = (up >= 1) & (up <= r + 1) & (aside.abs() <= r), (up == 0) & (aside >= 1) & (aside <= r)
    assert torch.equal(found, above | at_left)


@pytest.mark.parametrize(("shape", "levels"), [((1, 2, 3), 2), ((2, 3), 3), ((3, 1, 2), 3), ((2, 2, 2), 2)])
def test_masses_sum_to_one(shape: tuple[int, ...], levels: int) -> None:
    """Σ_x p(x|z) = 1 over every image, at three latents, to 1e-10."""
    p = PixelCNN(2, Size(shape), small, layers=2, maps=6, first=3, levels=levels)
    x = every_event(levels, Size(shape))
    assert_equal(p(3 * torch.randn(3, 2)).log_prob(x.unsqueeze(1)).logsumexp(0).detach(), torch.zeros(3))


@pytest.mark.parametrize(("shape", "levels"), [((1, 6, 5), 2), ((3, 4, 4), 4), ((7,), 3)])
def test_one_pass_is_the_product_of_conditionals(shape: tuple[int, ...], levels: int) -> None:
    """log p(x|z) is the sum of log p(x_d | x_{<d}, z), each from a pass that was never shown x_d or what comes after."""
    p = PixelCNN(2, Size(shape), small, layers=2, maps=6, first=3, levels=levels)(torch.randn(2))
    x = torch.randint(levels, shape) / (levels - 1)
    raster = [(c, i, j) for i, j, c in product(*(range(n) for n in (*p.pixels.shape[1:], p.pixels.shape[0])))]
    image, shown, total = x.reshape(p.pixels.shape), torch.rand(p.pixels.shape), torch.zeros(())
    for place in raster:
        logits = p.pixels(shown.unsqueeze(0), p.maps.unsqueeze(0))[(0, slice(None), *place)].detach()
        k = int((image[place] * (levels - 1)).round())
        both = torch.cat((torch.zeros(1), logits)) if levels == 2 else logits
        total = total + both.log_softmax(0)[k]
        shown[place] = image[place]
    assert_equal(p.log_prob(x).detach(), total)


@pytest.mark.parametrize(
    ("shape", "levels", "skip"), [((1, 6, 5), 2, True), ((1, 5, 4), 5, False), ((3, 3, 4), 4, True), ((6,), 3, True)]
)
def test_cached_draws_are_those_of_full_passes(shape: tuple[int, ...], levels: int, skip: bool) -> None:
    """With the same uniforms, place by place with one full pass for each, and by the cache: the same images, and the same
    logits at each place to 1e-12."""
    p = PixelCNN(2, Size(shape), small, layers=3, maps=6, first=5, levels=levels, skip=skip)(torch.randn(4, 2))
    image, maps = p.pixels.shape, p.maps.detach()
    u, x = torch.rand(4, *image), torch.zeros(4, *image)
    logits: dict[tuple[int, int, int], Tensor] = {}
    with torch.no_grad():
        for i, j, c in product(range(image[1]), range(image[2]), range(image[0])):
            place = (c, i, j)
            logits[place] = p.pixels(x, maps)[(..., *place)]
            x[(slice(None), *place)] = chosen(logits[place], u[(slice(None), *place)])

    def choose(found: Tensor, place: tuple[int, int, int]) -> Tensor:
        assert_equal(found, logits[place], 1e-12)
        return chosen(found, u[(slice(None), *place)])

    assert torch.equal(p.pixels.generate(maps, choose), x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "uniform", lambda shape, like, batch=0: u.reshape(shape))
        assert torch.equal(p.sample(), x.reshape(4, *shape))


def test_a_draw_costs_about_one_pass() -> None:
    """Multiplications, counted by torch: a draw of 12 x 12 pixels costs less than 3 passes, where a pass for each pixel costs
    144."""
    from torch.utils.flop_counter import FlopCounterMode

    network = GatedPixelCNN(Size((1, 12, 12)), outputs=1, context=2, layers=3, maps=8)
    s, x = torch.randn(2, 2, 12, 12), torch.rand(2, 1, 12, 12)
    with torch.no_grad(), FlopCounterMode(display=False) as one:
        network(x, s)
    with FlopCounterMode(display=False) as drawn:
        network.generate(s, lambda logits, place: torch.rand(2))
    assert drawn.get_total_flops() < 3 * one.get_total_flops()


def test_z_reaches_every_pixel_and_layer() -> None:
    """Every logit, the first included, and every layer's context has a gradient from z; without skip connections only the first
    layer has one, and with the others' at zero both are the same."""
    p = PixelCNN(2, Size((1, 4, 4)), affine, layers=3, maps=6, first=3)
    z = torch.randn(2)
    reached = jacobian(lambda z: p(z).given(torch.zeros(1, 4, 4)).logits.flatten(), z)
    assert (reached != 0).all()
    p(z).log_prob(torch.zeros(1, 4, 4)).backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in p.parameters())
    plain = PixelCNN(2, Size((1, 4, 4)), affine, layers=3, maps=6, first=3, skip=False)
    assert [layer.context is not None for layer in plain.pixels.stack] == [True, False, False]
    for layer in p.pixels.stack[1:]:
        torch.nn.init.zeros_(layer.context.weight)
    plain.load_state_dict(p.state_dict(), strict=False)
    x = torch.rand(5, 1, 4, 4).round()
    assert_equal(p(z).log_prob(x), plain(z).log_prob(x))


def test_convolutions_can_make_the_maps() -> None:
    """A convolutional decoder from z to the maps of z."""
    p = PixelCNN(3, Size((1, 8, 8)), lambda i, o: ConvDecoder(i, o, width=4), layers=2, maps=4)
    assert p.network.output == (4, 8, 8)
    assert p(torch.zeros(2, 3)).sample().shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kernel": 4}, "expected an odd kernel of at least 3, came 4"),
        ({"first": 1}, "expected an odd first of at least 3, came 1"),
        ({"layers": 0}, "at least 1 layer"),
        ({"maps": 8}, r"maps in multiples of the 3 channels, came layers=6, maps=8; write maps=6"),
        ({"levels": 1}, "at least 2 levels"),
        ({"context": 0}, "1 map of z"),
        ({"shape": Size((2, 3, 4, 4))}, r"expected an image \(channels, height, width\), .* came shape \(2, 3, 4, 4\)"),
    ],
)
def test_sizes_that_make_none_are_refused(wrong: dict, message: str) -> None:
    """At construction, with what came and what to write."""
    with pytest.raises(ValueError, match=message):
        PixelCNN(**{"features": 2, "shape": Size((3, 4, 4)), **wrong})
