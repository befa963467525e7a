"""Hamiltonian Monte Carlo: what the leapfrog keeps, and which distribution the chains have."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Size, Tensor
from torch.distributions import MultivariateNormal

from laws.numerics import assert_equal, assert_mean
from laws.ppca import PPCA
from uncollapse.distributions import HMC
from uncollapse.distributions.mcmc import Point, leapfrog

COVARIANCES = {
    "round": torch.eye(2).double(),
    "correlated": torch.tensor([[1.0, 0.9], [0.9, 1.0]]).double(),
    "stretched": torch.tensor([[4.0, 0.3], [0.3, 0.09]]).double(),
}


def quartic(z: Tensor) -> Tensor:
    """A density that is not Gaussian: two wells in the first coordinate, coupled to the second."""
    return -(z[..., 0].square() - 1).square() - 0.5 * (z[..., 1] - 0.5 * z[..., 0]).square()


def energy(at: Point, r: Tensor) -> Tensor:
    return 0.5 * r.square().sum(-1) - at.log_density


def test_leapfrog_is_reversible() -> None:
    """With the momentum turned round the same steps lead back to the start: to 1e-10."""
    start, r = Point.of(quartic, torch.randn(50, 2)), torch.randn(50, 2)
    end, momentum = leapfrog(quartic, start, r, 0.05, 20)
    back, again = leapfrog(quartic, end, -momentum, 0.05, 20)
    assert_equal(back.z, start.z)
    assert_equal(again, -r)
    assert (end.z - start.z).abs().max() > 0.5


def test_leapfrog_keeps_volume() -> None:
    """The Jacobian of (z, r) to (z', r') has determinant 1: by central differences, to 1e-7."""

    def flow(state: Tensor) -> Tensor:
        end, r = leapfrog(quartic, Point.of(quartic, state[..., :2]), state[..., 2:], 0.1, 5)
        return torch.cat((end.z, r), -1)

    h, state = 1e-5, torch.randn(4)
    columns = (flow(state + h * torch.eye(4)) - flow(state - h * torch.eye(4))) / (2 * h)
    assert abs(float(torch.linalg.det(columns)) - 1) < 1e-7


def test_energy_error_is_of_second_order() -> None:
    """Over the same time the largest error of H falls by 4 when the step is halved, to a tenth of that."""
    start, r = Point.of(quartic, torch.randn(200, 2)), torch.randn(200, 2)
    errors = []
    for n in (40, 80, 160):
        end, momentum = leapfrog(quartic, start, r, 1.0 / n, n)
        errors.append(float((energy(end, momentum) - energy(start, r)).abs().mean()))
    assert all(a / b == pytest.approx(4, abs=0.4) for a, b in pairwise(errors))


@pytest.mark.parametrize("name", COVARIANCES)
@pytest.mark.parametrize("leapfrogs", [1, 7])
def test_it_leaves_a_gaussian_as_it_is(name: str, leapfrogs: int) -> None:
    """8000 chains that start in N(μ, Σ) are in N(μ, Σ) after 6 transitions: mean, covariance and mean log density at 6
    standard errors, 6 numbers for each of six cases, failure rate 7e-8; with a step that rejects."""
    target = MultivariateNormal(torch.tensor([1.0, -2.0]), COVARIANCES[name])
    small = float(torch.linalg.eigvalsh(COVARIANCES[name]).min().sqrt())
    z, acceptance = HMC(leapfrogs, step_size=1.2 * small).eval()(target.log_prob, target.sample(Size((8000,))), transitions=6)
    assert 0.3 < acceptance.mean() < 0.99
    off = z - target.mean
    assert_mean(off, 0.0)
    assert_mean((off.unsqueeze(-1) * off.unsqueeze(-2)).flatten(1), COVARIANCES[name].flatten())
    assert_mean(target.log_prob(z), -target.entropy())


def test_it_reaches_a_correlated_gaussian() -> None:
    """2000 chains from one point far away have the moments of the target after 60 transitions: 5 numbers at 6 standard errors,
    failure rate 1e-8; the step size was adapted over the first 30 and stays in eval()."""
    target = MultivariateNormal(torch.tensor([1.0, -2.0]), COVARIANCES["correlated"])
    hmc = HMC(leapfrogs=8, step_size=0.02, adaptation=0.5)
    z, _ = hmc(target.log_prob, torch.full((2000, 2), 6.0), transitions=30)
    adapted = hmc.step_size.clone()
    z, acceptance = hmc.eval()(target.log_prob, z, transitions=30)
    assert torch.equal(hmc.step_size, adapted) and adapted > 0.1
    assert acceptance.mean() == pytest.approx(0.67, abs=0.15)
    off = z - target.mean
    assert_mean(off, 0.0)
    assert_mean((off.unsqueeze(-1) * off.unsqueeze(-2)).flatten(1), COVARIANCES["correlated"].flatten())


def test_it_leaves_a_density_of_two_wells_as_it_is() -> None:
    """E z₁ = 0, E z₁² by quadrature and E (z₂ - z₁/2)² = 1, of 4000 chains from N(0, I) after 30 transitions: 3 numbers at 6
    standard errors, failure rate 6e-9."""
    z, _ = HMC(leapfrogs=5, step_size=0.3).eval()(quartic, torch.randn(4000, 2), transitions=30)
    grid = torch.linspace(-4, 4, 4001)
    density = (-(grid.square() - 1).square()).exp()
    assert_mean(z[:, 0], 0.0)
    assert_mean(z[:, 0].square(), float((density * grid.square()).sum() / density.sum()))
    assert_mean((z[:, 1] - 0.5 * z[:, 0]).square(), 1.0)


def test_it_samples_the_exact_posterior_of_a_model(ppca: PPCA) -> None:
    """Chains on log p(x, z) of the linear-Gaussian model have the moments of p(z|x), whatever x: 6 standard errors over 1000
    chains each, 10 numbers, failure rate 2e-8."""
    x = ppca.sample(2)
    z, _ = HMC(leapfrogs=6, step_size=0.1, adaptation=0.2)(
        lambda z: ppca.vae.log_joint(x, z), torch.randn(1000, 2, 2), transitions=25
    )
    exact = ppca.posterior(x)
    off = z - exact.mean.detach()
    assert_mean(off, 0.0)
    assert_mean(off.unsqueeze(-1) * off.unsqueeze(-2), exact.covariance_matrix.detach())


def test_the_acceptance_is_the_probability_of_being_taken() -> None:
    """The share of chains that moved is the mean acceptance, at 6 standard errors over 20000 chains; those that did not are
    where they were, bit for bit. Failure rate 2e-9."""
    z = torch.randn(20000, 1)
    moved, acceptance = HMC(leapfrogs=1, step_size=1.7).eval()(lambda z: -0.5 * z.square().sum(-1), z)
    stayed = (moved == z).all(-1)
    assert 0.1 < acceptance.mean() < 0.9
    assert_mean((~stayed).double() - acceptance, 0.0)
    assert torch.equal(moved[stayed], z[stayed])


def test_what_is_not_finite_is_rejected() -> None:
    """A density that ends at 0, and a step far too large: chains never leave where the density is."""
    z = torch.rand(500, 1) + 0.1
    half = HMC(leapfrogs=2, step_size=0.5).eval()(lambda z: torch.where(z > 0, -z, -math.inf).sum(-1), z, 20)[0]
    assert (half > 0).all()
    there, acceptance = HMC(step_size=1e200).eval()(lambda z: -z.pow(4).sum(-1), z)
    assert torch.equal(there, z) and acceptance.max() == 0


def test_step_size_is_saved() -> None:
    """A sampler that takes over the state of another goes on as that one does."""
    one, other = HMC(adaptation=0.5), HMC(adaptation=0.5)
    one(lambda z: -0.5 * z.square().sum(-1), torch.randn(10, 2), transitions=5)
    assert one.step_size != other.step_size
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.step_size, other.step_size)


@pytest.mark.parametrize("wrong", [{"leapfrogs": 0}, {"step_size": 0.0}, {"target": 1.0}, {"adaptation": -1.0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=f"came .*{name}={value}"):
        HMC(**wrong)
