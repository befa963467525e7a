"""Where the linear-Gaussian posterior collapses, and that the diagnosis says so there and nowhere else."""

import pytest
import torch
from torch import Tensor

from laws.numerics import adam, assert_equal, cubature
from laws.ppca import PPCA
from uncollapse.diagnosis import diagnose
from uncollapse.vae import ELBO, Amortized


def data(n: int = 800, scales: tuple[float, ...] = (3.0, 1.5, 0.5, 0.2)) -> tuple[Tensor, Tensor]:
    """Centred observations with exactly these principal standard deviations, rotated, and their covariance."""
    d = len(scales)
    white = torch.randn(n, d)
    white = torch.linalg.qr(white - white.mean(0))[0] * n**0.5
    rotation = torch.linalg.qr(torch.randn(d, d))[0]
    x = white * torch.tensor(scales) @ rotation.T
    return x, x.T @ x / n


def solved(sigma: float, covariance: Tensor) -> PPCA:
    """The maximum-likelihood model at this σ with its exact posterior."""
    ppca = PPCA(len(covariance), 2, sigma)
    ppca.solve_decoder(covariance)
    ppca.solve_encoder()
    return ppca


def evidence(ppca: PPCA, weight: Tensor, covariance: Tensor) -> Tensor:
    """The data's mean log p(x), up to a constant, as a function of W: the ELBO at its best encoder."""
    model = weight @ weight.T + ppca.sigma**2 * torch.eye(len(weight))
    return -0.5 * (torch.logdet(model) + torch.linalg.solve(model, covariance).trace())


def test_where_the_decoder_variance_exceeds_the_data_nothing_beats_collapse() -> None:
    """σ² > λ_max: W = 0 is the global maximum of the ELBO (200 random W of all sizes are worse), its Hessian negative."""
    _, covariance = data()
    ppca = PPCA(4, 2, sigma=1.05 * 3.0)
    zero = torch.zeros(4, 2)
    for size in torch.logspace(-2, 1, 200):
        assert evidence(ppca, size * torch.randn(4, 2), covariance) < evidence(ppca, zero, covariance)
    hessian = torch.autograd.functional.hessian(lambda w: evidence(ppca, w, covariance), zero).reshape(8, 8)
    assert torch.linalg.eigvalsh(hessian).max() < 0


def test_where_it_does_not_collapse_is_a_saddle() -> None:
    """σ² < λ_max: the gradient at W = 0 is zero there too, but the Hessian has a rising direction for each λ_j > σ²."""
    _, covariance = data()
    ppca = PPCA(4, 2, sigma=0.95 * 3.0)
    zero = torch.zeros(4, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(evidence(ppca, zero, covariance), zero)
    assert_equal(gradient, torch.zeros(4, 2))
    hessian = torch.autograd.functional.hessian(lambda w: evidence(ppca, w, covariance), zero.detach()).reshape(8, 8)
    assert int((torch.linalg.eigvalsh(hessian) > 0).sum()) == 2  # one eigenvalue above σ², once for each of the two latents
    assert evidence(ppca, solved(ppca.sigma, covariance).decoder.weight, covariance) > evidence(ppca, zero, covariance)


def test_maximum_likelihood_decoder_is_stationary() -> None:
    """The ELBO's gradient for θ and φ vanishes at Tipping and Bishop's solution, to 1e-8."""
    x, covariance = data()
    ppca = solved(0.6, covariance)
    with cubature():
        bound = ELBO(ppca.vae, k=4)(x, torch.tensor(0))[0].mean()
    gradients = torch.autograd.grad(bound, [*ppca.decoder.parameters(), *ppca.encoder.parameters()])
    assert max(float(g.abs().max()) for g in gradients) < 1e-8


@pytest.mark.parametrize(
    ("sigma", "units", "verdicts"),
    [
        (3.3, 0, ["collapsed"]),
        (2.0, 1, ["collapsed", "partly collapsed"]),
        (0.35, 2, ["healthy"]),
        (0.1, 2, ["worse than no code"]),
    ],
)
def test_diagnosis_at_the_optimum(sigma: float, units: int, verdicts: list[str]) -> None:
    """Active units are exactly the eigenvalues above σ²: none where σ² exceeds them all (KL = 0, collapsed), all where
    the signal is strong. At σ = 2 one unit carries log(3 / 2) = 0.41 nats of the 3.4 that a σ that fits would let two carry. At
    σ = 0.1 the residual is five times as large as σ says, and the data's own averages have a higher density."""
    x, covariance = data()
    seen = diagnose(solved(sigma, covariance).vae, x)
    assert (seen.active_units, seen.verdict in verdicts) == (units, True)
    assert (seen.remedies == []) == (seen.verdict == "healthy")
    if units == 0:
        assert seen.kl < 1e-10
    if sigma == 0.1:
        assert "its sigma is 0.1 where 0." in seen.reason and ("likelihood.sigma", "OptimalSigma") in seen.remedies[0].options


@pytest.mark.parametrize(("sigma", "verdict"), [(3.6, "collapsed"), (0.3, "healthy")])
def test_training_finds_the_collapse(sigma: float, verdict: str) -> None:
    """Amortised inference from a random start ends in collapse where σ² > λ_max and not where it is small, and reaches the
    maximum-likelihood value of log p(x) to 0.1 nats (250 steps of exact expectations: no Monte Carlo)."""
    x, covariance = data(n=100)
    ppca = PPCA(4, 2, sigma)
    torch.nn.init.normal_(ppca.encoder.weight, std=0.1)
    procedure = Amortized(ELBO(ppca.vae, k=4))
    procedure.connect(lambda module: module, adam(0.05))
    with cubature():
        for step in range(250):
            logged = procedure.step(x, torch.tensor(step))
    assert diagnose(ppca.vae, x).verdict == verdict
    best = solved(sigma, covariance).log_prob(x).mean()
    assert abs(float(best.detach() - logged["elbo"].mean())) < 0.1
