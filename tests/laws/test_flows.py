"""Flows: their inverses and log-determinants against autograd, their densities against quadrature, and what they add."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Size, Tensor

from laws.numerics import assert_equal, assert_mean, midpoints
from laws.parts import TRANSFORMS, affine, vae
from laws.ppca import PPCA
from uncollapse.diagnosis import diagnose
from uncollapse.distributions import Density, Free, draw, flows, posteriors
from uncollapse.distributions.bijections import PlanarMap, RadialMap
from uncollapse.distributions.densities import DiagonalNormal
from uncollapse.distributions.flows import Transformed
from uncollapse.evaluation import Widened, log_likelihood
from uncollapse.networks import Bias
from uncollapse.vae import ELBO, IWAE, VAE, EntropyELBO, JointELBO

t = torch.tensor(0)
SMOOTH = {"Radial": 1e-3, "Spline": 1e-3, "Spline-autoregressive": 1e-3}  # these have kinks, where quadrature is coarse


def volume(f: torch.distributions.Transform, z: Tensor) -> Tensor:
    """log |det ∂f/∂z| of single points by autograd: z [N, L] to [N]."""
    jacobian = torch.autograd.functional.jacobian(lambda v: f(v).sum(0), z)  # [L, N, L]: rows do not mix
    return torch.linalg.slogdet(jacobian.transpose(0, 1))[1]


@pytest.mark.parametrize("features", [1, 2, 4])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_inverses_and_log_determinants(name: str, features: int) -> None:
    """f⁻¹(f(z)) = z, f(f⁻¹(z)) = z, log |det| against autograd and that of the inverse against it, all to 1e-10, for 30 sets of
    random parameters, large ones among them."""
    if name in ("Coupling", "Spline") and features == 1:
        return
    row = TRANSFORMS[name](features, 3)
    f = row(torch.linspace(0.1, 3.0, 30).unsqueeze(-1) * torch.randn(30, row.context))
    z = 2 * torch.randn(30, features)
    y, ladj = f.call_and_ladj(z)
    assert_equal(ladj, volume(f, z))
    assert_equal(y, f(z))
    assert_equal(f.inv(y), z)
    assert_equal(f(f.inv(z)), z)
    assert_equal(f.inv.call_and_ladj(y)[1], -ladj)


@pytest.mark.parametrize(
    ("name", "drawing", "both", "scoring"),
    [("IAF", 1, 1, 5), ("MAF", 4, 5, 1), ("Coupling", 1, 1, 2), ("Spline", 1, 1, 2), ("Spline-autoregressive", 1, 1, 5)],
)
def test_the_fast_way_is_the_one_promised(name: str, drawing: int, both: int, scoring: int) -> None:
    """Passes through each of 3 networks of 4 latents: for a draw, for one with its density, for the density of any z. An IAF
    draws in one pass and scores in L + 1, a MAF scores in one and draws in L; coupling scores in two."""
    family = posteriors.Flow(4, Size((3,)), affine, TRANSFORMS[name], transforms=3)
    passes = []
    for i, layer in enumerate(family.transform.layers):
        layer.hyper.register_forward_hook(lambda *_, i=i: passes.append(i))

    def counted(ask: Callable[[], object]) -> list[int]:
        passes.clear()
        ask()
        return [passes.count(i) for i in range(3)]

    q, z = family(torch.randn(5, 3)), torch.randn(5, 4)
    asked = (lambda: q.rsample(Size((2,))), lambda: draw(q, Size((2,))), lambda: q.log_prob(z))
    assert [counted(ask) for ask in asked] == [[drawing] * 3, [both] * 3, [scoring] * 3]
    assert q.pairwise == (scoring <= 2)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_densities_integrate_to_one(name: str) -> None:
    """∫ q(z|x) dz = 1 for two observations by the midpoint rule, to 1e-6 where the maps are smooth."""
    row = TRANSFORMS[name](2, 2)
    q = Transformed(DiagonalNormal(0.3 * torch.randn(2, 2), torch.full((2, 2), -0.2)), row(0.4 * torch.randn(2, row.context)))
    z, weights = midpoints(-9.0, 9.0, 120, 2)
    with torch.no_grad():
        mass = weights @ q.log_prob(z.unsqueeze(1)).exp()
    assert_equal(mass, torch.ones(2), SMOOTH.get(name, 1e-6))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_density_along_the_path_is_the_density(name: str) -> None:
    """What `draw` says of its draws is what `log_prob` says of them by inversion, with the same gradient for the parameters;
    shapes [K, B, L] and [K, B], or [B, L] and [B]."""
    family = posteriors.Flow(2, Size((3,)), affine, TRANSFORMS[name], transforms=2)
    parameters = family.encode(torch.randn(5, 3)).detach().requires_grad_()
    q = family.at(parameters)
    assert (q.batch_shape, q.event_shape, family.density) == (Size((5,)), Size((2,)), Density.EXACT)
    z, log_q = draw(q, Size((4,)))
    assert z.shape == (4, 5, 2) and log_q.shape == (4, 5) and z.requires_grad and draw(q)[1].shape == (5,)
    assert_equal(q.log_prob(z), log_q, 1e-8)
    (path,) = torch.autograd.grad(log_q.sum(), parameters, retain_graph=True)
    (inverted,) = torch.autograd.grad(q.log_prob(z).sum(), parameters)
    assert_equal(path, inverted, 1e-6)


@pytest.mark.parametrize("name", ["Planar", "Radial"])
def test_zero_is_the_identity(name: str) -> None:
    """Where the encoder gives zero for the maps, the posterior is its Gaussian, draw by draw and in density."""
    family = posteriors.Flow(3, Size((3,)), affine, TRANSFORMS[name], transforms=5)
    base = torch.randn(6, 6)
    q = family.at(torch.cat((base, torch.zeros(6, family.transform.context)), -1))
    z, gaussian = torch.randn(4, 6, 3), DiagonalNormal(*base.chunk(2, -1))
    assert_equal(q.log_prob(z), gaussian.log_prob(z))


def test_planar_condition() -> None:
    """wᵀ û >= -1 however far u points against w, so f rises along w everywhere, and log |det| is finite."""
    w = torch.randn(50, 3)
    f = PlanarMap(-torch.logspace(-3, 2, 50).unsqueeze(-1) * w, w, torch.randn(50))
    assert ((f.u * w).sum(-1) >= -1 - 1e-12).all()
    z = torch.randn(50, 3)
    assert f.call_and_ladj(z)[1].isfinite().all()
    assert_equal((f.u * w).sum(-1), f.along)


def test_radial_condition() -> None:
    """1 + β̂ / (α + r) > 0 however negative β is, and the map keeps its centre."""
    center = torch.randn(50, 3)
    f = RadialMap(center, torch.rand(50) + 0.01, torch.linspace(-30.0, 30.0, 50))
    assert f.call_and_ladj(center + 0.1 * torch.randn(50, 3))[1].isfinite().all()
    assert_equal(f(center), center)


def test_coupling_of_a_single_latent_is_refused() -> None:
    """Nothing is left to move it by; the message says what would do, and that does."""
    for name in ("Coupling", "Spline"):
        with pytest.raises(ValueError, match="at least 2, came 1; write Planar"):
            posteriors.Flow(1, Size((3,)), affine, TRANSFORMS[name])
    q = posteriors.Flow(1, Size((3,)), affine, partial(flows.Spline, autoregressive=True))
    assert draw(q(torch.zeros(2, 3)))[0].shape == (2, 1)


def test_refusals() -> None:
    """No map at all, a negative context, a spline without room."""
    with pytest.raises(ValueError, match="at least 1 transform, came 0; write --posterior Gaussian"):
        posteriors.Flow(2, Size((3,)), affine, transforms=0)
    with pytest.raises(ValueError, match="context of at least 0 numbers, came -1"):
        flows.IAF(2, 1, context=-1)
    with pytest.raises(ValueError, match="bound above 0"):
        flows.Spline(2, 1, bound=0.0)


def test_doubly_reparameterised_gradient_needs_all_parameters_from_the_encoder() -> None:
    """The maps' own weights would get another gradient: refused for IAF, allowed for planar maps."""
    with pytest.raises(ValueError, match="weights of its own"):
        IWAE(vae(posterior="Flow-IAF"), doubly_reparameterized=True)
    IWAE(vae(posterior="Flow-Planar"), k=3, doubly_reparameterized=True)(torch.ones(2, 3), t)[0].sum().backward()


@pytest.mark.parametrize("name", ["Flow-Planar", "Flow-IAF", "Flow-Spline"])
def test_everything_takes_a_flow(name: str) -> None:
    """Every objective, the diagnosis and the held-out likelihood, from the posterior and widened."""
    model, x = vae(posterior=name), torch.bernoulli(torch.full((30, 3), 0.5))
    for objective in (ELBO(model, k=2), ELBO(model), EntropyELBO(model), JointELBO(model), IWAE(model, k=3)):
        bound, _ = objective(x, t)
        assert bound.shape == (30,) and bound.isfinite().all()
    seen = diagnose(model, x)
    assert seen.estimator.startswith("aggregated posterior of 30" if name == "Flow-IAF" else "aggregated posterior of N")
    own, wide = (log_likelihood(model, x, k=400, proposal=p) for p in (Widened(1.0), Widened(1.5)))
    error = (own.nll_sampling_error**2 + wide.nll_sampling_error**2) ** 0.5
    assert abs(own.nll - wide.nll) < 6 * error


def test_free_parameters_of_a_flow() -> None:
    """Variational EM ascends a planar flow's own parameters: from a start 1 off in each of them, the ELBO rises to within 0.1
    nats of the one of a posterior that is all but the prior."""
    model = vae(posterior="Gaussian")
    family = partial(posteriors.Flow, network=Bias, transforms=2)
    free = VAE(model.prior, model.likelihood, Free(2, Size((3,)), family, rate=0.02, limit=400))
    x = torch.ones(200, 3)
    near = ELBO(free, k=20)(x, t, free.posterior.family.encode(x))[0].mean()
    free.posterior.family.network.value.data += 1
    start = ELBO(free, k=20)(x, t, free.posterior.family.encode(x))[0].mean()
    assert start < near - 0.5 and ELBO(free, k=20)(x, t)[0].mean() > near - 0.1


def test_constant_flow_has_no_active_unit() -> None:
    """Posterior means that are averages of draws: their noise makes no unit active, and tells nothing of x."""
    model = vae(posterior="Flow-IAF")
    q = posteriors.Flow(2, Size((3,)), Bias, TRANSFORMS["IAF"])
    seen = diagnose(VAE(model.prior, model.likelihood, q), torch.bernoulli(torch.full((400, 3), 0.5)))
    assert seen.active_units == 0 and seen.mutual_information < 0.05


def test_importance_weights_of_a_flow_average_to_the_evidence() -> None:
    """E_q[w] = p(x), with the density along the path: 4 numbers at 6 standard errors."""
    ppca = PPCA()
    q = posteriors.Flow(2, Size((4,)), affine, flows.Planar, transforms=3)
    model = VAE(ppca.vae.prior, ppca.vae.likelihood, q)
    x = 0.3 * ppca.sample(4)
    parameters = torch.cat((ppca.posterior(x).mean, torch.zeros(4, 2), 0.5 * torch.randn(4, q.transform.context)), -1)
    log_w = model.terms(x, k=20000, q=q.at(parameters.detach())).log_w
    assert_mean((log_w - ppca.log_prob(x)).exp().detach(), 1.0)
