"""Implicit posteriors: they learn by a critic, and what stands in for their density is a bound on the right side."""

import math
from functools import partial

import pytest
import torch
from torch import Size, Tensor, nn

from laws.numerics import adam, assert_equal, assert_mean
from laws.parts import small, vae
from laws.ppca import PPCA
from uncollapse.diagnosis import diagnose
from uncollapse.diagnosis.posterior_evidence import MATCHED
from uncollapse.distributions import Implicit, Normal, likelihoods
from uncollapse.evaluation import FromPosterior, Matched, Widened, log_likelihood
from uncollapse.learning import Alternating
from uncollapse.networks import Bias, Network
from uncollapse.training import Recipe
from uncollapse.vae import ELBO, VAE, AdversarialVariationalBayes

t = torch.tensor(0)


class Identity(Network):
    """What comes, handed on."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Nothing(Network):
    """Zero, whatever comes."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class Affine(Network):
    """z = mean of h + a square matrix times the noise."""

    def __init__(self, input: Size, output: Size, matrix: list[list[float]]):
        super().__init__(input, output)
        self.matrix = nn.Parameter(torch.tensor(matrix).double())

    def forward(self, x: Tensor) -> Tensor:
        h, epsilon = x.split([x.shape[-1] - 2, 2], -1)
        return h[..., :2] + epsilon @ self.matrix.T


def known(matrix: Tensor) -> VAE:
    """An implicit posterior that is N(x, A Aᵀ) in truth, on data of two features."""
    posterior = Implicit(2, (2,), Identity, partial(Affine, matrix=matrix.tolist()), context=2, noise_features=2)
    return VAE(Normal(2), likelihoods.Gaussian(2, (2,), small), posterior)


def test_draws_are_the_networks() -> None:
    """Mean and covariance of 20000 draws are x and A Aᵀ: 5 numbers at 6 standard errors; a gradient reaches A."""
    matrix = torch.tensor([[0.5, 0.0], [0.4, 0.3]])
    model, x = known(matrix), torch.tensor([[0.3, -1.0]])
    z = model.posterior(x).rsample(Size((20000,)))
    off = z.squeeze(1) - x
    assert_mean(off.detach(), 0.0)
    assert_mean((off.unsqueeze(-1) * off.unsqueeze(-2)).detach(), matrix @ matrix.T)
    z.sum().backward()
    assert model.posterior.mixing.matrix.grad.abs().sum() > 0


@pytest.mark.parametrize("matrix", [torch.diag(torch.tensor([0.5, 1.5])), torch.tensor([[0.5, 0.0], [0.9, 0.3]])])
def test_the_diagnosis_is_a_lower_bound(matrix: Tensor) -> None:
    """KL of the moments is the true KL(q ‖ p) less KL(q ‖ its diagonal) where q is Gaussian: to 0.25 nats, from 3000
    observations. The information is below log N, and the estimator says what was done."""
    x = 2 * torch.randn(3000, 2)
    seen = diagnose(known(matrix), x)
    covariance = matrix.double() @ matrix.double().T
    exact = 0.5 * (covariance.trace() + x.square().sum(-1).mean() - 2 - torch.logdet(covariance))
    loss = 0.5 * (covariance.diagonal().log().sum() - torch.logdet(covariance))
    assert seen.kl < exact
    assert seen.kl == pytest.approx(float(exact - loss), abs=0.25)
    assert 0 < seen.mutual_information < seen.mutual_information_ceiling and seen.estimator.endswith(MATCHED)
    assert seen.verdict == "collapsed" and "the decoder ignores z" in seen.reason  # one at random, which hardly moves
    listening = VAE(Normal(2), likelihoods.Gaussian(2, (2,), Identity), known(matrix).posterior)
    assert diagnose(listening, x).verdict == "healthy"


def test_it_leaves_no_upper_bound_on_the_aggregated_divergence() -> None:
    """q(z|x) is a ring of radius √2 for every x, which has the moments of the prior: by these Gaussians KL(q(z) ‖ p(z)) would
    be 0, and q(z) has no density at all."""

    class Ring(Network):
        def forward(self, h: Tensor) -> Tensor:
            return math.sqrt(2) * h[..., 2:] / h[..., 2:].norm(dim=-1, keepdim=True)

    posterior = Implicit(2, Size((2,)), Nothing, Ring, context=2, noise_features=2)
    seen = diagnose(VAE(Normal(2), likelihoods.Gaussian(2, (2,), Identity), posterior), torch.randn(1000, 2))
    assert seen.kl < 0.1 < seen.prior_gap
    assert seen.aggregate_kl is None and "no upper bound: this posterior has no density" in str(seen)


def test_one_that_ignores_its_input_is_collapsed() -> None:
    """N(0, I) whatever x: KL and information are zero to 0.1 nats. A lower bound on either proves nothing, so it is the decoder
    that decides: one that ignores z is collapsed, one that listens to such codes is not healthy."""
    model, x = known(torch.eye(2)), torch.randn(500, 2)
    model.posterior.network = Nothing(Size((2,)), Size((2,)))
    seen = diagnose(model, x)
    assert abs(seen.kl) < 0.1 and seen.mutual_information < 0.1 and seen.verdict not in ("healthy", "partly collapsed")
    seen = diagnose(VAE(Normal(2), likelihoods.Gaussian(2, (2,), Bias), model.posterior), x)
    assert seen.verdict == "collapsed" and "the decoder ignores z" in seen.reason and seen.remedies


def test_held_out_likelihood_by_the_matched_gaussian() -> None:
    """log p(x) of the linear-Gaussian model by importance sampling from the moments of an implicit posterior: 0.02 nats from
    the exact one's, 0.2 from a random one's made ten times as wide."""
    ppca = PPCA()
    posterior = Implicit(2, (4,), small, small)
    model, x = VAE(ppca.vae.prior, ppca.vae.likelihood, posterior), ppca.sample(5)
    found = log_likelihood(model, x, k=20000, proposal=Matched(factor=10.0))
    easy = log_likelihood(VAE(ppca.vae.prior, ppca.vae.likelihood, _exact(ppca)), x, k=4000)
    assert_equal(easy.log_likelihoods, ppca.log_prob(x).detach(), 0.02)
    assert easy.elbo < -easy.nll and easy.kl > 0 and "Matched" in easy.proposal
    assert_equal(found.log_likelihoods, ppca.log_prob(x).detach(), 0.2)
    with pytest.raises(ValueError, match="write Matched"):
        log_likelihood(model, x, proposal=FromPosterior())


def test_draws_that_do_not_differ_stay_numbers() -> None:
    """A deterministic encoder: evaluation and diagnosis are finite, and the advice on proposals holds."""
    model, x = known(torch.zeros(2, 2)), (torch.rand(20, 2) < 0.5).double()
    found = log_likelihood(model, x, k=5)
    assert all(math.isfinite(value) for value in (found.nll, found.elbo, found.kl, found.effective_sample_size))
    assert math.isfinite(diagnose(model, x).kl)
    with pytest.raises(ValueError, match="write Matched"):
        log_likelihood(model, x, proposal=Widened(1.5))


def _exact(ppca: PPCA) -> Implicit:
    """The exact posterior of the linear-Gaussian model, made of noise."""
    mean = torch.linalg.solve(ppca.gain(), ppca.decoder.weight.T).detach()
    root = torch.linalg.cholesky(torch.linalg.inv(ppca.gain()) * ppca.sigma**2).detach()

    class Exact(Network):
        def forward(self, x: Tensor) -> Tensor:
            return (x - ppca.decoder.bias.detach()) @ mean.T

    return Implicit(2, (4,), Exact, partial(Affine, matrix=root.tolist()), context=2, noise_features=2)


def test_it_learns_by_adversarial_variational_bayes() -> None:
    """On one observation of the linear-Gaussian model, its decoder held still, the draws come to the moments of p(z|x): the
    mean from three standard deviations away to within one, the standard deviations to 60 percent."""
    torch.manual_seed(3)
    ppca = PPCA()
    x = ppca.sample(1).expand(128, -1)
    model = VAE(ppca.vae.prior, ppca.vae.likelihood, Implicit(2, (4,), small, small, context=4, noise_features=2))
    model.likelihood.requires_grad_(False)
    procedure = Alternating(AdversarialVariationalBayes(model, partial(small, hidden=[32])), steps=2)
    procedure.connect(lambda module: module, adam(3e-3))
    procedure.draw = lambda: x
    exact = ppca.posterior(x[:1])
    scale = exact.covariance_matrix.detach()[0].diagonal().sqrt()
    for _ in range(600):
        procedure.step(x, t)
    z = model.posterior(x[:1]).sample(Size((4000,))).squeeze(1)
    assert ((z.mean(0) - exact.mean.detach()[0]).abs() < scale).all()
    assert ((z.std(0) / scale - 1).abs() < 0.6).all()


def test_bounds_refuse_it() -> None:
    """The ELBO needs a density, and says what would do, which does; sizes are checked."""
    with pytest.raises(ValueError, match=r"ELBO needs log q\(z\|x\), Implicit gives nothing") as refused:
        ELBO(vae(posterior="Implicit"))
    given = ["--posterior", "Implicit", "--posterior.network", "MLP"]
    recipe = Recipe.read("vae", [*given, *str(refused.value).partition("; write ")[2].split()])
    assert isinstance(recipe.procedure(recipe.model(Size((3,)))).objective, AdversarialVariationalBayes)
    with pytest.raises(ValueError, match="came context=0"):
        Implicit(2, (3,), small, context=0)
