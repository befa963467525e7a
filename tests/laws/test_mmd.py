"""The maximum mean discrepancy against closed form, and the objectives that it enters."""

import pytest
import torch
from torch import Tensor

from laws.numerics import assert_equal, assert_mean, cubature
from laws.parts import KERNELS, pairs, vae
from laws.ppca import PPCA
from uncollapse.distributions import Mixture
from uncollapse.divergences import RBF, InverseMultiquadric, mmd
from uncollapse.vae import ELBO, VAE, Capacity, InfoVAE

t = torch.tensor(0)


def expected_rbf(m: Tensor, v: Tensor, width: float) -> Tensor:
    """E exp(-|d|² / width) for d ~ N(m, diag v), in closed form."""
    spread = width + 2 * v
    return ((width / spread).sqrt() * torch.exp(-m.square() / spread)).prod(-1)


def exact(m: Tensor, v: Tensor, w: Tensor, scales: list[float]) -> Tensor:
    """MMD² of N(m, diag v) and N(0, diag w) under the Gaussian kernel."""
    zero, n = torch.zeros_like(m), m.shape[-1]
    values = [
        expected_rbf(zero, 2 * v, 2 * c * n) + expected_rbf(zero, 2 * w, 2 * c * n) - 2 * expected_rbf(m, v + w, 2 * c * n)
        for c in scales
    ]
    return torch.stack(values).mean(0)


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("scales", [[1.0], [0.1, 3.0]])
def test_statistics_have_the_closed_form_as_their_mean(unbiased: bool, scales: list[float]) -> None:
    """4000 pairs of samples of 6 and 5 draws of Gaussians: the U-statistic's mean is MMD², the V-statistic's is that and its
    stated excess; 6 standard errors, 1 number each, failure rate 8e-9 together."""
    m, v, w = torch.tensor([1.0, -0.5]), torch.tensor([0.5, 2.0]), torch.tensor([1.0, 0.3])
    x, y = m + v.sqrt() * torch.randn(4000, 6, 2), w.sqrt() * torch.randn(4000, 5, 2)
    found = mmd(x, y, RBF(scales), unbiased)
    zero = torch.zeros(2)
    same = [torch.stack([expected_rbf(zero, 2 * s, 4 * c) for c in scales]).mean() for s in (v, w)]
    excess = 0.0 if unbiased else (1 - same[0]) / 6 + (1 - same[1]) / 5
    assert found.shape == (4000,)
    assert_mean(found, exact(m, v, w, scales) + excess)


@pytest.mark.parametrize("name", KERNELS)
def test_statistics_by_hand(name: str) -> None:
    """Both statistics are the sums over pairs of their definitions."""
    kernel, x, y = KERNELS[name](), torch.randn(4, 3), torch.randn(5, 3)

    def k(a: Tensor, b: Tensor) -> Tensor:
        return kernel((a - b).square().sum(), 3)

    xx, yy, xy = ([[k(a, b) for b in v] for a in u] for u, v in ((x, x), (y, y), (x, y)))
    cross = 2 * torch.tensor(xy).mean()
    v_statistic = torch.tensor(xx).mean() + torch.tensor(yy).mean() - cross
    without = [(torch.tensor(w).sum() - torch.tensor(w).trace()) / (len(w) * (len(w) - 1)) for w in (xx, yy)]
    assert_equal(mmd(x, y, kernel, unbiased=False), v_statistic)
    assert_equal(mmd(x, y, kernel), without[0] + without[1] - cross)


@pytest.mark.parametrize("name", KERNELS)
def test_the_v_statistic_is_a_distance(name: str) -> None:
    """At least 0 for any samples, near, far or repeated; 0 between a sample and itself, whatever its order; symmetric."""
    kernel = KERNELS[name]()
    for scale in (1e-3, 1.0, 1e3):
        x, y = scale * torch.randn(50, 6, 2), scale * torch.randn(50, 9, 2) + scale * torch.randn(50, 1, 2)
        found = mmd(x, y, kernel, unbiased=False)
        assert (found >= -1e-12).all() and (found <= 2).all()
        assert_equal(found, mmd(y, x, kernel, unbiased=False))
        assert_equal(mmd(x, x.flip(-2), kernel, unbiased=False), torch.zeros(50))
    assert kernel(torch.tensor(0.0), 3) == 1


@pytest.mark.parametrize("name", KERNELS)
def test_gradients_are_finite_where_draws_coincide(name: str) -> None:
    """A posterior that collapsed to a point has a gradient: no square root of zero."""
    x = torch.zeros(4, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(mmd(x, torch.ones(4, 2), KERNELS[name]()), x)
    assert gradient.isfinite().all() and (gradient < 0).all()


def test_neutral_infovae_is_the_elbo(ppca: PPCA) -> None:
    """α = 0, λ = 1 is the ELBO bit for bit, and λ = 1 - α is the β-VAE of β = 1 - α, with the same draws."""
    x = ppca.sample(9)
    for alpha in (0.0, 0.25, 1.0):
        torch.manual_seed(3)
        ours = InfoVAE(ppca.vae, alpha=alpha, lam=1 - alpha)(x, t)[0]
        torch.manual_seed(3)
        assert torch.equal(ours, ELBO(ppca.vae, beta=1 - alpha)(x, t)[0])


@pytest.mark.parametrize(("prior", "posterior"), [pair for pair in pairs() if "Free" not in pair])
def test_infovae_is_made_of_its_terms(prior: str, posterior: str) -> None:
    """log p(x|z) - (1 - α) KL - (α + λ - 1) MMD², one value of it for the whole batch, for every pair of the list."""
    found, logged = InfoVAE(vae(prior, "Bernoulli", posterior), k=3, alpha=0.25, lam=4.0)(torch.ones(6, 3), t)
    assert_equal(found, logged["log_likelihood"] - 0.75 * logged["kl"] - 3.25 * logged["mmd"])
    assert logged["mmd"].shape == (6,) and logged["mmd"].unique().numel() == 1


def test_infovae_measures_the_aggregated_posterior() -> None:
    """In a linear-Gaussian model whose data fix q(z) = N(m, diag v): the mean of the logged MMD² is the closed form; 600
    batches of 20 at 6 standard errors, failure rate 2e-9."""
    ppca = PPCA(diagonal=True)
    with torch.no_grad():
        ppca.encoder.weight.zero_()
        ppca.encoder.bias.copy_(torch.tensor([0.7, -1.0, -0.5, 0.2]))
    objective = InfoVAE(ppca.vae, k=600, alpha=1.0, kernel=RBF([0.5]))
    z = objective.draws(ppca.vae.posterior(torch.zeros(20, 4))).detach()
    per_batch = mmd(z, ppca.vae.prior().sample(z.shape[:-1]), objective.kernel)
    m, log_v = ppca.encoder.bias.detach().chunk(2)
    expected = exact(m, (2 * log_v).exp(), torch.ones(2), [0.5])
    assert_mean(per_batch, expected)
    assert abs(float(objective.discrepancy(z, ppca.vae.prior()) - expected)) < 6 * float(per_batch.std()) / 600**0.5


def test_a_batch_of_one_still_has_an_objective() -> None:
    """The last validation batch may be a single observation."""
    assert InfoVAE(vae())(torch.ones(1, 3), t)[0].isfinite().all()


def test_infovae_trains_what_it_should() -> None:
    """The MMD's gradient reaches the encoder and a mixture prior is trained by the divergence."""
    model = vae("Mixture")
    InfoVAE(model, alpha=0.5)(torch.ones(4, 3), t)[0].mean().backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in (model.posterior.network.layers[0].weight, model.prior.loc)
    )


def test_infovae_refuses() -> None:
    """α above 1, a rewarded distance, and a learned prior that nothing would train."""
    with pytest.raises(ValueError, match=r"alpha of at most 1, came 1\.5"):
        InfoVAE(vae(), alpha=1.5)
    with pytest.raises(ValueError, match=r"alpha \+ lam of at least 1"):
        InfoVAE(vae(), alpha=0.5, lam=0.1)
    model = vae()
    with pytest.raises(ValueError, match="Mixture carry no gradient: write --prior Normal"):
        InfoVAE(VAE(Mixture(2), model.likelihood, model.posterior), alpha=1.0)
    with pytest.raises(ValueError, match="at least one scale"):
        RBF([])
    with pytest.raises(ValueError, match="all above 0"):
        InverseMultiquadric([1.0, 0.0])
    with pytest.raises(ValueError, match="unbiased=False"):
        mmd(torch.zeros(1, 2), torch.zeros(4, 2), RBF())


def test_neutral_capacity_is_the_elbo(ppca: PPCA) -> None:
    """γ = 1, C = 0 is the ELBO exactly, C = 0 the β-VAE of β = γ; of each observation or of the mean."""
    x = ppca.sample(9)
    for of_mean in (False, True):
        for gamma in (1.0, 4.0):
            torch.manual_seed(3)
            ours, logged = Capacity(ppca.vae, gamma=gamma, capacity=0.0, of_mean=of_mean)(x, t)
            torch.manual_seed(3)
            assert_equal(ours, ELBO(ppca.vae, beta=gamma)(x, t)[0])
            assert_equal(logged["elbo"], logged["log_likelihood"] - logged["kl"])


@pytest.mark.parametrize("capacity", [0.3, 2.0, 50.0])
def test_capacity_charges_the_distance_from_it(capacity: float, ppca: PPCA) -> None:
    """γ |KL - C| of each observation, or of their mean; of the mean never more than of each."""
    x = 3 * ppca.sample(9)
    each, logged = Capacity(ppca.vae, gamma=3.0, capacity=capacity)(x, t)
    assert_equal(logged["log_likelihood"] - each, 3 * (logged["kl"] - capacity).abs())
    mean, logged = Capacity(ppca.vae, gamma=3.0, capacity=capacity, of_mean=True)(x, t)
    charged = (logged["log_likelihood"] - mean).mean()
    assert_equal(charged, 3 * (logged["kl"].mean() - capacity).abs())
    assert charged <= 3 * (logged["kl"] - capacity).abs().mean() + 1e-10


@pytest.mark.parametrize(("capacity", "sign"), [(0.0, 1.0), (1e4, -1.0)])
def test_below_the_capacity_divergence_is_sought(capacity: float, sign: float, ppca: PPCA) -> None:
    """The gradient of the penalty is ±γ ∇KL: pressed down above C, pulled up below it."""
    x, phi = ppca.sample(6), list(ppca.encoder.parameters())
    with cubature():
        found, logged = Capacity(ppca.vae, k=4, gamma=2.0, capacity=capacity)(x, t)
    penalty = torch.autograd.grad((logged["log_likelihood"] - found).sum(), phi, retain_graph=True)
    kl = torch.autograd.grad(logged["kl"].sum(), phi)
    for a, b in zip(penalty, kl, strict=True):
        assert_equal(a, 2 * sign * b)


def test_capacity_refuses_a_negative_price() -> None:
    """Numbers are checked where they are given."""
    with pytest.raises(ValueError, match="gamma of at least 0, came -1"):
        Capacity(vae(), gamma=-1.0)
    with pytest.raises(ValueError, match="capacity of at least 0, came -2"):
        Capacity(vae(), capacity=-2.0)
