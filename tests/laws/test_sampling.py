"""Monte Carlo EM: the decoder's gradient is that of log p(x), whatever the encoder is, and the encoder's is the ELBO's."""

from functools import partial

import pytest
import torch
from torch import Size, Tensor

from laws.numerics import adam, assert_equal, assert_mean
from laws.parts import affine, vae
from laws.ppca import PPCA
from uncollapse.data import from_arrays
from uncollapse.distributions import HMC, Bernoulli, FixedSigma, Normal, OptimalSigma, VampPrior, likelihoods, posteriors
from uncollapse.learning import Procedure
from uncollapse.networks import Bias
from uncollapse.training import Training, TrainingError, fit
from uncollapse.vae import ELBO, VAE, Amortized, MonteCarloEM

t = torch.tensor(0)
sampler = partial(HMC, leapfrogs=6, step_size=0.15, adaptation=0.2)


def blind() -> VAE:
    """A linear-Gaussian model of four features whose encoder sees nothing: by the ELBO its best posterior is the prior."""
    likelihood = likelihoods.Gaussian(2, Size((4,)), affine, partial(FixedSigma, value=0.7))
    return VAE(Normal(2), likelihood, posteriors.Gaussian(2, Size((4,)), Bias))


def test_the_gradient_is_that_of_the_likelihood() -> None:
    """∇ log p(x, z_T) for W and b averages to ∇ log p(x) with a random encoder: 12 numbers at 6 standard errors over 4000
    chains, failure rate 2e-8; at z_0 it does not."""
    ppca = PPCA()
    row = ppca.sample(1)
    exact = torch.autograd.grad(ppca.log_prob(row).sum(), [ppca.decoder.weight, ppca.decoder.bias])
    x = row.expand(4000, -1)

    def gradients(transitions: int) -> tuple[Tensor, Tensor]:
        z, _ = MonteCarloEM(ELBO(ppca.vae), sampler, transitions).settled(x)
        residual = (x - ppca.decoder(z).detach()) / ppca.sigma**2
        return residual.unsqueeze(-1) * z.unsqueeze(-2), residual

    for found, expected in zip(gradients(30), exact, strict=True):
        assert_mean(found, expected)
    assert (gradients(0)[1].mean(0) - exact[1]).abs().max() > 0.5


def test_a_decoder_keeps_statistics_of_the_chains_ends_alone() -> None:
    """A sigma that follows the residuals follows them once a step, at z_T."""
    model = VAE(
        Normal(2), likelihoods.Gaussian(2, Size((3,)), affine, OptimalSigma), posteriors.Gaussian(2, Size((3,)), affine)
    )
    data = from_arrays(torch.randn(60, 3))
    fit(MonteCarloEM(ELBO(model)), data, Training(steps=3, batch_size=20))
    assert model.likelihood.sigma.seen == 3


def test_each_half_has_its_own_gradient() -> None:
    """One step: the encoder's gradient is the ELBO's, the decoder's that of log p(x, z_T); to 1e-12."""
    ppca = PPCA()
    x, procedure = ppca.sample(8), MonteCarloEM(ELBO(ppca.vae), sampler, transitions=2)
    found: list[Tensor] = []
    weights = [ppca.encoder.weight, ppca.decoder.weight]
    procedure.connect(
        lambda module: module, lambda moved: lambda loss: found.extend(torch.autograd.grad(loss, weights)) or None
    )
    torch.manual_seed(1)
    procedure.step(x, t)
    torch.manual_seed(1)
    again = MonteCarloEM(ELBO(ppca.vae), sampler, transitions=2)
    z, _ = again.settled(x)
    elbo = ELBO(ppca.vae)(x, t)[0]
    assert_equal(found[0], -torch.autograd.grad(elbo.mean(), weights[0])[0], 1e-12)
    assert_equal(found[1], -torch.autograd.grad(ppca.vae.log_joint(x, z).mean(), weights[1])[0], 1e-12)
    assert all(p.requires_grad for p in ppca.vae.parameters())


def test_it_learns_where_the_encoder_sees_nothing() -> None:
    """With an encoder that ignores x amortised inference collapses and ends a nat below the truth's mean log p(x); chains from
    the same encoder come to within 0.1 nats of it."""
    torch.manual_seed(5)
    truth = PPCA()
    truth.set_decoder(torch.tensor([[2.0, 0], [2, 0], [0, 1.5], [0, 1.5]]))
    x = truth.sample(200)

    def learnt(kind: type[Procedure] | partial[MonteCarloEM]) -> float:
        model = blind()
        procedure = kind(ELBO(model))
        procedure.connect(lambda module: module, adam(0.05))
        for _ in range(120):
            procedure.step(x, t)
        student = PPCA()
        layer = model.likelihood.network.layers[0]
        student.set_decoder(layer.weight.detach(), layer.bias.detach())
        return float(student.log_prob(x).detach().mean())

    best = float(truth.log_prob(x).detach().mean())
    assert learnt(Amortized) < best - 1
    assert learnt(partial(MonteCarloEM, sampler=sampler, transitions=8)) > best - 0.1


def test_a_sampler_that_never_accepts_stops_the_training() -> None:
    """After three lines of the log without an accepted proposal: what came, and what to write."""
    data = from_arrays(PPCA().sample(40))
    procedure = MonteCarloEM(ELBO(blind()), partial(HMC, step_size=1e6, adaptation=0.0))
    with pytest.raises(TrainingError, match=r"accepted none .* step size is 1e\+06: write --procedure.sampler.step_size"):
        fit(procedure, data, Training(steps=100, batch_size=10, log_every=2))


def test_the_step_size_goes_with_the_state() -> None:
    """It adapts in training, and a procedure that is restored goes on with it."""
    one, other = (MonteCarloEM(ELBO(blind()), sampler, transitions=5) for _ in range(2))
    one.settled(PPCA().sample(50))
    assert one.sampler.step_size != other.sampler.step_size
    other.restore(one.state())
    assert torch.equal(one.sampler.step_size, other.sampler.step_size)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"MonteCarloEM trains an encoder apart .* came Free"):
        MonteCarloEM(ELBO(vae(posterior="Free")))
    with pytest.raises(ValueError, match="the latent of Uniform lives on an interval; write --prior Normal"):
        MonteCarloEM(ELBO(vae("Uniform", posterior="LogitNormal")))
    with pytest.raises(ValueError, match="at least 0 transitions, came -1"):
        MonteCarloEM(ELBO(vae()), transitions=-1)


def test_a_prior_of_posteriors_hands_the_encoder_nothing() -> None:
    """Beside a VampPrior φ is in log p(z) too. One step: the encoder's gradient is the ELBO's, the pseudo-inputs' and the
    decoder's that of log p(x, z_T); to 1e-12."""
    model = VAE(
        VampPrior(2, 3, mean=0.5, std=0.3), Bernoulli(2, Size((3,)), affine), posteriors.Gaussian(2, Size((3,)), affine)
    )
    x, found = torch.bernoulli(torch.full((8, 3), 0.5)), []
    phi, theta = list(model.posterior.parameters()), [model.prior.pseudo_inputs, *model.likelihood.parameters()]
    procedure = MonteCarloEM(ELBO(model), sampler, transitions=2)
    procedure.connect(lambda module: module, lambda moved: lambda loss: found.extend(torch.autograd.grad(loss, phi + theta)))
    torch.manual_seed(1)
    procedure.step(x, t)
    torch.manual_seed(1)
    z, _ = MonteCarloEM(ELBO(model), sampler, transitions=2).settled(x)
    elbo, log_joint = ELBO(model)(x, t)[0].mean(), model.log_joint(x, z).mean()
    expected = [*torch.autograd.grad(elbo, phi), *torch.autograd.grad(log_joint, theta)]
    for a, b in zip(found, expected, strict=True):
        assert_equal(a, -b, 1e-12)
