"""Critics and the objectives that they judge: exact at the optimal critic, by quadrature on Gaussians."""

import copy
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Size, Tensor, nn
from torch.distributions import Normal as TorchNormal

from laws.numerics import adam, assert_equal, assert_mean, midpoints, sgd
from laws.parts import ADVERSARIAL, GAMES, small, vae
from laws.ppca import PPCA
from uncollapse.data import from_arrays
from uncollapse.distributions import Bernoulli, Mixture, Normal, posteriors
from uncollapse.divergences import Critic, DensityRatio, LeastSquares, NonSaturating
from uncollapse.learning import Alternating, TwoPlayer
from uncollapse.training import Training, fit
from uncollapse.vae import (
    ELBO,
    VAE,
    AdversarialAutoencoder,
    AdversarialVariationalBayes,
    Amortized,
    InfoVAE,
)

t = torch.tensor(0)
REAL, FAKE = (TorchNormal(*torch.tensor(values, dtype=torch.float64)) for values in ((0.0, 1.0), (0.8, 0.6)))


class Known(nn.Module):
    """A critic in closed form."""

    def __init__(self, ratio):  # type: ignore[no-untyped-def]
        super().__init__()
        self.ratio = ratio

    def forward(self, *things: Tensor, t: Tensor | float = 0.0) -> Tensor:
        return self.ratio(*things)


def quadrature() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points, the optimal logit there, and the weights of the real and of the fake distribution."""
    grid, weights = midpoints(-9.0, 9.0, 20000, 1)
    u = grid.squeeze(-1)
    return u, REAL.log_prob(u) - FAKE.log_prob(u), REAL.log_prob(u).exp() * weights, FAKE.log_prob(u).exp() * weights


MINIMAX = ["DensityRatio", "NonSaturating", "Saturating"]


@pytest.mark.parametrize("name", MINIMAX)
def test_the_log_density_ratio_is_the_optimal_logit(name: str) -> None:
    """The gradient of the critic's expected loss at every point is zero there, nearby logits are worse, and the minimum is
    log 4 - 2 JSD; by quadrature, to 1e-9."""
    _, ratio, real, fake = quadrature()
    game = GAMES[name]()

    def loss(logit: Tensor) -> Tensor:
        zero = torch.zeros_like(logit)
        return real @ game.critic(logit, zero) + fake @ game.critic(zero, logit) - 2 * math.log(2)

    logit = ratio.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logit), logit)
    assert gradient.abs().max() < 1e-12
    middle = torch.logaddexp(ratio, torch.zeros(())) - math.log(2)  # log of the mixture's density over the fake's
    jensen_shannon = 0.5 * (real @ (ratio - middle) - fake @ middle)
    assert_equal(loss(ratio), math.log(4) - 2 * jensen_shannon, 1e-9)
    for _ in range(20):
        assert loss(ratio + 0.3 * torch.randn_like(ratio)) > loss(ratio)


def test_the_density_ratio_game_charges_the_divergence() -> None:
    """At the optimal critic the fakes' mean charge is KL(fake ‖ real), in closed form; by quadrature, to 1e-9."""
    _, ratio, _, fake = quadrature()
    expected = torch.distributions.kl_divergence(FAKE, REAL)
    assert_equal(fake @ DensityRatio().generator(ratio), expected, 1e-9)


@pytest.mark.parametrize("name", sorted(GAMES.keys() - {"LeastSquares", "Relativistic", "Pearson"}))
def test_every_game_falls_as_a_fake_passes_for_real(name: str) -> None:
    """The generator's charge falls with the logit, and is finite however sure the critic is."""
    logit = torch.tensor([-300.0, -20.0, -1.0, 0.0, 1.0, 20.0]).requires_grad_()
    charge = GAMES[name]().generator(logit)
    (gradient,) = torch.autograd.grad(charge.sum(), logit)
    assert charge.isfinite().all() and (charge.diff() <= 0).all() and (gradient <= 0).all()


def test_a_trained_critic_finds_the_ratio() -> None:
    """A logit quadratic in u, which holds that of two Gaussians, trained on the exact expectation, is the log density ratio to
    0.02 nats wherever there are draws."""
    u, ratio, real, fake = quadrature()
    weight = torch.zeros(3, requires_grad=True)
    features = torch.stack((torch.ones_like(u), u, u.square()), -1)
    optimiser = torch.optim.LBFGS(
        [weight], max_iter=100, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        logit, zero, game = features @ weight, torch.zeros_like(u), NonSaturating()
        value = real @ game.critic(logit, zero) + fake @ game.critic(zero, logit)
        value.backward()
        return value

    optimiser.step(loss)
    seen = u.abs() < 3
    assert (features @ weight.detach() - ratio)[seen].abs().max() < 0.02


def test_adversarial_variational_bayes_at_its_optimum_is_the_elbo() -> None:
    """With the critic log p(z) - log q(z|x): the same value and the same encoder gradient as the ELBO by draws, with the same
    draws, up to the score's, whose mean is zero: the ELBO by the joint form with a stopped density. To 1e-10."""
    ppca = PPCA(diagonal=True)
    x, model = ppca.sample(30), ppca.vae
    objective = AdversarialVariationalBayes(model, small)
    frozen = model.posterior.encode(x).detach()
    objective.judgement.critic = Known(lambda x, z: model.prior().log_prob(z) - model.posterior.at(frozen).log_prob(z))
    torch.manual_seed(1)
    bound, logged = objective(x, t)
    torch.manual_seed(1)
    q = model.posterior(x)
    z = q.rsample()
    by_draws = model.log_joint(x, z) - q.log_prob(z)
    assert_equal(bound, by_draws)
    assert_equal(logged["objective"], by_draws)
    stopped = model.log_joint(x, z) - model.posterior.at(frozen).log_prob(z)
    phi = list(ppca.encoder.parameters())
    found, expected = (torch.autograd.grad(v.sum(), phi, retain_graph=True) for v in (bound, stopped))
    for a, b in zip(found, expected, strict=True):
        assert_equal(a, b)


def test_adversarial_variational_bayes_averages_to_the_elbo() -> None:
    """The same in the mean: log p(x) - KL(q ‖ p(z|x)) in closed form, 4000 draws at 6 standard errors, failure rate 2e-9."""
    ppca = PPCA(diagonal=True)
    x = ppca.sample(1).expand(4000, -1)
    objective = AdversarialVariationalBayes(ppca.vae, small)
    objective.judgement.critic = Known(lambda x, z: ppca.vae.prior().log_prob(z) - ppca.vae.posterior(x).log_prob(z))
    expected = ppca.log_prob(x[:1]) - ppca.gap(x[:1], ppca.vae.posterior.encode(x[:1]))
    assert_mean(objective(x, t)[0].detach(), expected.detach())


def test_adversarial_autoencoder_at_its_optimum_has_the_aggregate_divergence() -> None:
    """Where q(z) = N(m, v) is known, the mean of the objective is E log p(x|z) - KL(q(z) ‖ p(z)), in closed form: that of an
    InfoVAE of α = 1, λ = 1 with the KL in the MMD's place. 4000 draws at 6 standard errors, failure rate 2e-9."""
    ppca = PPCA(diagonal=True)
    with torch.no_grad():
        ppca.encoder.weight.zero_()
        ppca.encoder.bias.copy_(torch.tensor([0.7, -1.0, -0.5, 0.2]))
    model, x = ppca.vae, ppca.sample(1).expand(4000, -1)
    q = model.posterior(x[:1])
    objective = AdversarialAutoencoder(model, small, DensityRatio())
    objective.judgement.critic = Known(lambda z: model.prior().log_prob(z) - q.log_prob(z))
    torch.manual_seed(2)
    found, logged = objective(x, t)
    torch.manual_seed(2)
    reconstruction = InfoVAE(model, alpha=1.0, lam=0.0)(x, t)[0]
    assert_equal(logged["log_likelihood"], reconstruction)
    kl = torch.distributions.kl_divergence(TorchNormal(q.mean, q.stddev), TorchNormal(torch.zeros(2), torch.ones(2))).sum()
    assert_mean((reconstruction - found).detach(), kl.detach())


def by_hand(objective: TwoPlayer, rates: tuple[float, float], x: Tensor, further: Tensor) -> None:
    """Two steps of the critic on a batch each, then one of the model, with autograd's own gradients."""

    def descend(loss: Tensor, part: nn.Module, rate: float) -> None:
        moved = list(part.parameters())
        for p, gradient in zip(moved, torch.autograd.grad(loss, moved), strict=True):
            p.data.sub_(rate * gradient)

    for batch in (x, further):
        real, fake = objective.pairs(batch)
        things = (tuple(thing.detach() for thing in side) for side in (real, fake))
        descend(-objective.judgement(*things, t)[0].mean(), objective.critic, rates[1])
    descend(-objective(x, t)[0].mean(), objective.model, rates[0])


@pytest.mark.parametrize("rates", [(0.1, 0.0), (0.0, 0.1), (0.1, 0.2)], ids=["model", "critic", "both"])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_each_player_moves_its_own(name: str, rates: tuple[float, float]) -> None:
    """A step moves the critic by the gradient of its loss, then encoder and decoder by that of the objective, and neither moves
    the other's: a player of rate 0 stays where it was, bit for bit. Two updates are asked for, the model's first."""
    objective, (x, further) = ADVERSARIAL[name](vae()), torch.bernoulli(torch.full((2, 8, 3), 0.5))
    expected, before = copy.deepcopy(objective), copy.deepcopy(objective)
    procedure = Alternating(objective, steps=2)
    asked: list[list[nn.Parameter]] = []

    def update(parameters, rate=1.0):  # type: ignore[no-untyped-def]
        asked.append(list(parameters))
        return sgd(rates[len(asked) - 1])(asked[-1])

    procedure.connect(lambda module: module, update)
    procedure.draw = lambda: further
    players = objective.model, objective.critic
    assert [{id(p) for p in group} for group in asked] == [{id(p) for p in player.parameters()} for player in players]
    torch.manual_seed(1)
    logged = procedure.step(x, t)
    torch.manual_seed(1)
    by_hand(expected, rates, x, further)
    assert_equal(flat(objective.model), flat(expected.model))
    assert_equal(flat(objective.critic), flat(expected.critic))
    for player, was, rate in zip(players, (before.model, before.critic), rates, strict=True):
        assert all(torch.equal(a, b) != (rate > 0) for a, b in zip(player.parameters(), was.parameters(), strict=True))
        assert all(p.requires_grad for p in player.parameters())
    assert all(value.shape == (8,) and not value.requires_grad for value in logged.values())


def flat(part: nn.Module) -> Tensor:
    """All parameters as one vector."""
    return nn.utils.parameters_to_vector(part.parameters()).detach()


def test_a_critic_learns_to_tell() -> None:
    """With a posterior far from the prior, the critic's loss falls from about 2 log 2 towards 0 when only it moves."""
    objective = AdversarialAutoencoder(vae(), small)
    with torch.no_grad():
        objective.model.posterior.network.layers[0].bias.copy_(torch.tensor([6.0, 6.0, -1.0, -1.0]))
    procedure = Alternating(objective)
    procedure.connect(lambda module: module, adam(0.05))
    x = torch.ones(64, 3)
    losses = [float(procedure.judge(x, t)["critic_loss"].mean()) for _ in range(60)]
    assert losses[0] > 0.5 and losses[-1] < 0.1


def fitted(out: Path, steps: int, resume: bool = False) -> dict[str, Tensor]:
    """Weights of the model and of the critic after so many steps, with averaged weights."""
    torch.manual_seed(0)
    model = VAE(Normal(2), Bernoulli(2, (3,), small), posteriors.Gaussian(2, (3,), small))
    procedure = Alternating(AdversarialAutoencoder(model, small))
    data = from_arrays(torch.randint(2, (200, 3), generator=torch.Generator().manual_seed(1)).bool())
    fit(procedure, data, Training(steps=steps, batch_size=20, log_every=5, validate_every=10, ema=0.9), out=out, resume=resume)
    return procedure.state()


def test_both_players_resume_to_the_same_numbers(tmp_path: Path) -> None:
    """20 steps, then 10 more, leave the critic, both optimisers and both averages as 30 in one go do, bit for bit."""
    whole = fitted(tmp_path / "whole", 30)
    fitted(tmp_path / "parts", 20)
    parts = fitted(tmp_path / "parts", 30, resume=True)
    assert whole.keys() == parts.keys() and all(torch.equal(whole[k], parts[k]) for k in whole)
    from safetensors.torch import load_file

    for name in ("model", "state"):
        a, b = (load_file(tmp_path / run / "checkpoints" / "last" / f"{name}.safetensors") for run in ("whole", "parts"))
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert any(k.startswith("player1.optimizer.") for k in a) and any(k.startswith("player1.average.") for k in a)


def test_lam_weighs_the_game() -> None:
    """At 0.5 and 3 times the game the objective moves along the same line, to 1e-12."""
    model, x = vae(), torch.ones(5, 3)
    found = []
    for lam in (0.5, 1.0, 3.0):
        torch.manual_seed(0)
        objective = AdversarialAutoencoder(model, small, lam=lam)
        found.append(objective(x, t)[0])
    assert_equal((found[2] - found[1]) / 2, (found[1] - found[0]) / 0.5)
    assert (found[2] < found[1]).all()
    with pytest.raises(ValueError, match=r"expected lam above 0, came 0.0"):
        AdversarialAutoencoder(model, small, lam=0.0)


def test_what_makes_no_sense_is_refused() -> None:
    """A procedure without a second player, one without a critic, and a learned prior."""
    with pytest.raises(ValueError, match="write --procedure Alternating"):
        Amortized(AdversarialAutoencoder(vae(), small))
    with pytest.raises(ValueError, match="with a critic, came ELBO"):
        Alternating(ELBO(vae()))
    model = vae()
    with pytest.raises(ValueError, match="nothing would train Mixture"):
        AdversarialVariationalBayes(VAE(Mixture(2), model.likelihood, model.posterior), small)
    with pytest.raises(ValueError, match="log density ratio, that of LeastSquares is none"):
        AdversarialAutoencoder(vae(), small, game=LeastSquares())
    free = posteriors.Free(2, Size((3,)), partial(posteriors.Gaussian, network=small))
    with pytest.raises(ValueError, match="plays against an encoder, Free has none that learns"):
        AdversarialAutoencoder(VAE(model.prior, model.likelihood, free), small)
    with pytest.raises(ValueError, match="at least 1 step"):
        Alternating(AdversarialAutoencoder(vae(), small), steps=0)
    with pytest.raises(RuntimeError, match="fit"):
        Alternating(AdversarialAutoencoder(vae(), small)).step(torch.ones(2, 3), t)


def test_critics_see_any_shapes() -> None:
    """One thing keeps its shape for the network; several are laid side by side; leading dimensions are kept."""
    image, z = Size((1, 2, 2)), Size((3,))
    assert Critic([image], small).network.input == image
    joint = Critic([image, z], small)
    assert joint.network.input == (7,)
    assert joint(torch.zeros(6, 5, *image), torch.zeros(6, 5, *z)).shape == (6, 5)


@pytest.mark.parametrize("lam", [1.0, 4.0])
def test_what_is_logged_at_the_optimum(lam: float) -> None:
    """`divergence` averages to KL(q ‖ p), and `objective`, by which the best weights are chosen, to E log p(x|z) - λ KL(q ‖ p),
    in closed form: 4000 draws at 6 standard errors, failure rate 8e-9, whatever the game is."""
    ppca = PPCA(diagonal=True)
    with torch.no_grad():
        ppca.encoder.weight.zero_()
        ppca.encoder.bias.copy_(torch.tensor([0.7, -1.0, -0.5, 0.2]))
    model, x = ppca.vae, ppca.sample(1).expand(4000, -1)
    q = model.posterior(x[:1])
    kl = torch.distributions.kl_divergence(q, model.prior()).detach()
    for game in (DensityRatio(), NonSaturating()):
        objective = AdversarialAutoencoder(model, small, game, lam)
        objective.judgement.critic = Known(lambda z: model.prior().log_prob(z) - q.log_prob(z))
        logged = {name: value.detach() for name, value in objective(x, t)[1].items()}
        assert_mean(logged["divergence"], kl)
        assert_equal(logged["objective"], logged["log_likelihood"] - lam * logged["divergence"])
        assert kl > 0.5
