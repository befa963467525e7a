"""Under autocast to half precision networks are rounded, and no density, divergence or draw made of their outputs is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Size, Tensor, nn

from laws.parts import IMPLICIT, LIKELIHOODS, POSTERIORS, PRIORS, TRANSFORMS, prior
from uncollapse.distributions import Normal, PixelCNN, SplinePrior, draw, likelihoods, posteriors
from uncollapse.distributions.sigmas import FixedSigma
from uncollapse.divergences import kl_units
from uncollapse.networks import MLP, Network
from uncollapse.networks.pixelcnn import GatedPixelCNN
from uncollapse.networks.recurrent import RecurrentDecoder
from uncollapse.vae import VAE, InfoVAE

SHAPE = Size((3,))
LATENTS = 4
BOUND = {"Hierarchical": 3.0}  # nats that rounded networks may move a log density by, where more than a few tenths
ASCENDING = {"Free", "Refined", "Refined-differenced"}


@pytest.fixture(autouse=True)
def _float32(float64: None) -> None:
    """The precision that autocast lowers."""
    torch.set_default_dtype(torch.float32)


class Plain(nn.Module):
    """A network that is no part of the library, so that nothing hands float32 over for it."""

    def __init__(self, input: Size, output: Size):
        super().__init__()
        self.output, self.layer = output, nn.Linear(input.numel(), output.numel())

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).unflatten(-1, self.output)


@contextmanager
def outputs(kept: list[Tensor], replay: bool) -> Iterator[None]:
    """Within it what the networks of the library give is kept, or what was kept is given in its place, in float32."""
    left = iter(list(kept))

    def hook(module: nn.Module, given: Any, output: Tensor) -> Tensor | None:
        if not isinstance(module, Network | GatedPixelCNN | RecurrentDecoder):
            return None
        if replay:
            return next(left)
        kept.append(output.float())
        return None

    handle = nn.modules.module.register_module_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def assert_exact(values: Callable[[], tuple[Tensor, ...]], bound: float = 0.5) -> None:
    """In float32 under autocast, within `bound` of what it is without; and, of the same networks' outputs, the same to 1e-5."""
    found: list[tuple[Tensor, ...]] = []
    kept: list[Tensor] = []
    for lowered, replay in ((True, False), (False, True), (False, False)):
        torch.manual_seed(1)
        with outputs([] if not (lowered or replay) else kept, replay), torch.autocast("cpu", torch.bfloat16, enabled=lowered):
            found.append(values())
    for low, same, full in zip(*found, strict=True):
        assert low.dtype == torch.float32
        torch.testing.assert_close(low, same, rtol=1e-5, atol=1e-5)
        assert (low - full).abs().max() < bound


@pytest.mark.parametrize("name", PRIORS)
def test_priors(name: str) -> None:
    """log p(z), and draws."""
    p = prior(name, LATENTS)
    z = torch.linspace(-0.9, 0.9, 5 * p.features).reshape(5, -1)
    assert_exact(lambda: (p().log_prob(z), p().sample(Size((6,)))))


@pytest.mark.parametrize("name", [n for n in POSTERIORS if n not in ASCENDING])
def test_posteriors(name: str) -> None:
    """Draws with their log density, and the density of draws that were made elsewhere."""
    q, x = POSTERIORS[name](LATENTS, SHAPE), torch.linspace(-1, 1, 15).reshape(5, 3)
    if name in IMPLICIT:
        assert_exact(lambda: (q(x).rsample(Size((2,))),))
        return
    assert_exact(lambda: draw(q(x), Size((2,))), BOUND.get(name, 0.5))
    if name not in ("Hierarchical", "SemiImplicit"):
        assert_exact(lambda: (q(x).log_prob(torch.full((2, 5, LATENTS), 0.3)),))


@pytest.mark.parametrize("name", sorted(ASCENDING))
def test_ascending_posteriors(name: str) -> None:
    """Steps up an ELBO add up what rounding does to each: the type alone."""
    q = POSTERIORS[name](LATENTS, SHAPE)
    q.attach(lambda x, z: -z.square().sum(-1))
    with torch.autocast("cpu", torch.bfloat16):
        assert {value.dtype for value in draw(q(torch.ones(5, 3)))} == {torch.float32}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods(name: str) -> None:
    """log p(x|z)."""
    p, z = LIKELIHOODS[name](LATENTS, SHAPE).eval(), torch.linspace(-1, 1, 5 * LATENTS).reshape(5, LATENTS)
    x = torch.zeros(5, 3, dtype=torch.long if p.space.kind == "tokens" else None)
    assert_exact(lambda: (p(z).log_prob(x),))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_log_determinants(name: str) -> None:
    """Of 8 maps of 16 latents, whose networks no hook knows: that of autograd's Jacobian, to 1e-3 nats."""
    f = TRANSFORMS[name](16, 8)
    q = posteriors.Flow(16, SHAPE, partial(MLP, hidden=[]), transform=lambda features, steps: f)
    with torch.no_grad():
        at = q.encode(torch.ones(1, 3))
    with torch.autocast("cpu", torch.bfloat16):
        member = q.at(at)
        torch.manual_seed(0)
        z, log_q = member.rsample_and_log_prob()
        torch.manual_seed(0)
        z0 = member.base.rsample().squeeze(0)
    jacobian = torch.autograd.functional.jacobian(lambda v: member.f(v.unsqueeze(0)).squeeze(0), z0)
    exact = member.base.log_prob(z0) - torch.linalg.slogdet(jacobian.double())[1]
    assert z.dtype == log_q.dtype == torch.float32
    assert abs(float((log_q - exact).detach())) < 1e-3


def test_networks_that_hand_nothing_over() -> None:
    """A foreign module's bf16 outputs are summed in float32: of 784 terms, to 1e-5 of the value in float64, for every kind of
    parameter that a network gives."""
    wide, z, x = Size((784,)), torch.randn(7, 2), torch.randint(2, (7, 784)).float()
    fixed = partial(FixedSigma, value=0.5)
    kinds: list[Any] = [
        likelihoods.Bernoulli(2, wide, Plain),
        likelihoods.Categorical(2, wide, Plain, levels=3),
        likelihoods.DiscretizedLogistic(2, wide, Plain),
        likelihoods.Gaussian(2, wide, Plain, sigma=fixed),
    ]
    for p in kinds:
        with torch.autocast("cpu", torch.bfloat16):
            found = p(z).log_prob(x)
            given = p.network(z)
        assert given.dtype == torch.bfloat16 and found.dtype == torch.float32
        p.network.forward = lambda z, given=given: given.double()
        torch.testing.assert_close(found.double(), p(z).log_prob(x.double()), rtol=1e-5, atol=1e-5)
    for kind in (posteriors.Gaussian, posteriors.FullGaussian, posteriors.LogitNormal, posteriors.Flow):
        q = kind(6, SHAPE, Plain)
        with torch.autocast("cpu", torch.bfloat16):
            assert {value.dtype for value in draw(q(torch.ones(5, 3)))} == {torch.float32}


def test_every_value_of_a_strong_decoder_counts() -> None:
    """64 images of a PixelCNN with 256 levels have 64 log densities, where sums in bf16 had four."""
    p = PixelCNN(8, Size((1, 8, 8)), layers=2, maps=8, levels=256)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = p(torch.randn(64, 8)).log_prob(torch.randint(256, (64, 1, 8, 8)) / 255)
    assert found.dtype == torch.float32 and len(found.unique()) == 64


def test_divergences() -> None:
    """In closed form, by draws beside a spline prior, and the MMD."""
    x = torch.linspace(-1, 1, 15).reshape(5, 3)
    q = posteriors.FullGaussian(LATENTS, SHAPE, partial(MLP, hidden=[]))
    assert_exact(lambda: (kl_units(q(x), Normal(LATENTS)()),))  # type: ignore[return-value]
    model = VAE(SplinePrior(LATENTS), likelihoods.Gaussian(LATENTS, SHAPE, partial(MLP, hidden=[])), q)
    objective = InfoVAE(model, lam=5.0)
    assert_exact(lambda: tuple(objective(x, torch.tensor(0))[1].values()))
