"""The games: their values at the optimum, the f-divergences' bounds, and a critic's packs, noise and penalties."""

import math
from functools import partial

import pytest
import torch
from scipy import stats
from torch import Size, Tensor, nn

from laws.numerics import assert_equal, assert_mean
from laws.parts import F_DIVERGENCES, GAMES, small
from uncollapse import schedules
from uncollapse.divergences import (
    R1,
    R2,
    Critic,
    FDivergence,
    Game,
    GradientPenalty,
    Hinge,
    Judged,
    LeastSquares,
    Relativistic,
    Saturating,
    Wasserstein,
)

P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
Q = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)


def charge(game, logit: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    """The critic's expected loss over real ~ P and fake ~ Q, pairs enumerated."""
    return torch.einsum("i,j,ij->", P, Q, game.critic(logit[:, None], logit[None, :]))


def best(game) -> Tensor:  # type: ignore[no-untyped-def]
    """The critic's logits at its optimum, by Newton's method on the expected loss."""
    logit = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [logit], max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = charge(game, logit)
        value.backward()
        return value

    optimiser.step(loss)
    return logit.detach()


def test_the_value_of_the_minimax_game() -> None:
    """At the optimal critic p / (p + q) the two shares are 2 JSD - log 4, by enumeration, to 1e-9."""
    game, logit = Saturating(), best(Saturating())
    assert_equal(torch.sigmoid(logit), P / (P + Q), 1e-6)
    assert_equal(-charge(game, logit), 2 * jensen_shannon(P, Q) - math.log(4), 1e-9)


@pytest.mark.parametrize("kind", F_DIVERGENCES)
def test_f_divergences_by_their_conjugates(kind: type[FDivergence]) -> None:
    """No critic's bound exceeds Σ q f(p / q), the optimal one reaches it, and f* is the conjugate of f; by enumeration."""
    game = kind()
    divergence = (Q * game.f(P / Q)).sum()
    assert divergence > 0 and game.f(torch.ones(1, dtype=torch.float64)).abs() < 1e-12
    for _ in range(200):
        logit = torch.randn(4, dtype=torch.float64) * 2
        assert -charge(game, logit) <= divergence + 1e-12
    assert_equal(-charge(game, game.optimum(P / Q)), divergence, 1e-12)
    a, u = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64), torch.logspace(-4, 3, 200_001, dtype=torch.float64)
    for value in a:
        assert_equal(game.conjugate(value), (u * game.activation(value) - game.f(u)).max(), 2e-4)


@pytest.mark.parametrize("kind", F_DIVERGENCES)
def test_f_divergences_are_zero_between_equals(kind: type[FDivergence]) -> None:
    """And the generator's share of the zero-sum game is the critic's own."""
    game, u = kind(), torch.ones(4, dtype=torch.float64)
    assert_equal((Q * game.f(u)).sum(), torch.zeros((), dtype=torch.float64), 1e-12)
    logit = torch.randn(4, dtype=torch.float64)
    assert_equal(game.generator(logit), -game.conjugate(logit), 1e-12)
    assert_equal(kind(saturating=False).generator(logit), -game.activation(logit), 1e-12)


def test_least_squares_at_its_optimum() -> None:
    """The best number is p / (p + q); with targets -1, 1 and 0 it would be the Pearson divergence of the mixture."""
    assert_equal(best(LeastSquares()), P / (P + Q), 1e-9)


def test_hinge_and_relativistic_at_their_optimum() -> None:
    """The hinge's best critic is the sign of p - q and its loss 2 - Σ |p - q|; the relativistic one's is monotone in p / q."""
    sign = torch.sign(P - Q)
    assert_equal(charge(Hinge(), sign), 2 - (P - Q).abs().sum(), 1e-12)
    for _ in range(50):
        assert charge(Hinge(), sign + torch.randn(4, dtype=torch.float64)) >= charge(Hinge(), sign) - 1e-12
    logit, order = best(Relativistic()), (P / Q).argsort()
    assert (logit[order].diff() > 0).all() and charge(Relativistic(), logit) < math.log(2)


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    m = (p + q) / 2
    return 0.5 * (p * (p / m).log()).sum() + 0.5 * (q * (q / m).log()).sum()


def exact(game: Game) -> tuple[Tensor, Tensor]:
    """The divergence of P and Q that the game is to bound, by its name, and the logits of a critic that reaches it."""
    if isinstance(game, FDivergence):
        return (Q * game.f(P / Q)).sum(), game.optimum(P / Q)
    orders = torch.outer(P, Q).flatten(), torch.outer(Q, P).flatten()
    return {
        "JSD(p, q)": (jensen_shannon(P, Q), (P / Q).log()),
        "JSD(p⊗q, q⊗p)": (jensen_shannon(*orders), (P / Q).log()),
        "Le Cam(p, q)": (0.5 * ((P - Q).square() / (P + Q)).sum(), P / (P + Q)),
        "TV(p, q)": (0.5 * (P - Q).abs().sum(), torch.sign(P - Q)),
    }[game.divergence]


@pytest.mark.parametrize("name", sorted(GAMES.keys() - {"Wasserstein"}))
def test_no_critic_bounds_more_than_the_divergence(name: str) -> None:
    """Of no critic is the mean bound above the exact divergence, and the best one reaches it; by enumeration, to 1e-12."""
    game = GAMES[name]()
    divergence, logit = exact(game)
    mean = lambda a: torch.einsum("i,j,ij->", P, Q, game.bound(a[:, None], a[None, :]))  # noqa: E731
    for _ in range(100):
        assert mean(logit + torch.randn(4, dtype=torch.float64)) <= divergence + 1e-12
    assert_equal(mean(logit), divergence, 1e-12)
    if game.logistic:
        assert_equal(torch.sigmoid(logit), P / (P + Q), 1e-12)


@pytest.mark.parametrize("name", sorted(GAMES.keys() - {"Relativistic"}))
def test_an_encoder_lowers_what_the_critic_says_of_its_pairs(name: str) -> None:
    """The roles exchanged: at logits where the critic calls a pair real the encoder's loss falls with the logit, and in the
    zero-sum games it is the critic's own share with the sign turned."""
    game, logit = GAMES[name](), torch.tensor([0.6, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(game.inference(logit).sum(), logit)
    assert (slope > 0).all()
    if isinstance(game, FDivergence) and game.saturating:
        assert_equal(game.inference(logit), game.activation(logit))


@pytest.mark.parametrize("kind", F_DIVERGENCES)
def test_an_encoder_that_does_not_saturate_lowers_the_conjugate(kind: type[FDivergence]) -> None:
    """The roles exchanged: of -T(-a) and -f*(-a) in the place of a, whose slopes are largest where pairs are told apart easily.
    So its loss is f*(T), not T, and falls no slower where the critic is sure."""
    logit = torch.linspace(0.5, 4.0, 15, dtype=torch.float64, requires_grad=True)
    steady, saturating = kind(saturating=False).inference(logit), kind().inference(logit)
    assert_equal(steady, kind().conjugate(logit))
    assert_equal(saturating, kind().activation(logit))
    slopes = [torch.autograd.grad(loss.sum(), logit)[0] for loss in (steady, saturating)]
    assert (slopes[0] >= slopes[1]).all() and slopes[0][-1] > 1.5 * slopes[1][-1]


def test_wasserstein_over_lipschitz_critics_is_the_distance() -> None:
    """On four points of a line the best critic of slope at most 1 earns Σ |F_p - F_q|, the Wasserstein-1 distance."""
    gaps = (P.cumsum(0) - Q.cumsum(0))[:-1]
    critic = torch.cat((torch.zeros(1, dtype=torch.float64), -torch.sign(gaps).cumsum(0)))
    assert_equal(-charge(Wasserstein(), critic), gaps.abs().sum(), 1e-12)
    assert torch.equal(Wasserstein().bound(P, Q), -Wasserstein().critic(P, Q)) and not Wasserstein.logistic


def test_packs_of_one_and_no_noise_are_the_plain_critic() -> None:
    """Bit for bit; and σ = 0 draws nothing from the generator."""
    torch.manual_seed(0)
    plain = Critic([Size((3,))], small)
    torch.manual_seed(0)
    other = Critic([Size((3,))], small, pack=1, noise=0.0)
    x = torch.randn(8, 3)
    state = torch.get_rng_state()
    assert torch.equal(plain(x), other(x)) and torch.equal(torch.get_rng_state(), state)


def test_packs_see_whole_groups() -> None:
    """A pack of three of images sees its channels together, in order, and nothing of the next one."""
    critic = Critic([Size((2, 4, 4))], small, pack=3)
    x = torch.randn(6, 2, 4, 4)
    assert critic.network.input == Size((6, 4, 4))
    assert_equal(critic(x)[0], critic.network(x[:3].reshape(1, 6, 4, 4))[0, 0])
    changed = x.clone()
    changed[3:] += 1
    assert_equal(critic(changed)[0], critic(x)[0])


def test_noise_blurs_observations_alone_and_in_training_alone() -> None:
    """Its standard deviation follows the schedule; latents beside the observation stay as they are."""
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x.sum(-1, keepdim=True)

    critic = Critic([Size((500,)), Size((2,))], small, noise=schedules.Linear(2.0, 0.0, steps=10))
    critic.network = Watching()
    x, z = torch.zeros(400, 500), torch.ones(400, 2)
    critic(x, z, t=torch.tensor(5.0))
    assert abs(float(seen[-1][:, :500].std()) - 1.0) < 6 / math.sqrt(2 * 200_000) and (seen[-1][:, 500:] == 1).all()
    critic(x, z, t=torch.tensor(10.0))
    assert (seen[-1][:, :500] == 0).all()
    critic.eval()
    critic(x, z, t=torch.tensor(0.0))
    assert (seen[-1][:, :500] == 0).all()


def test_latents_as_maps() -> None:
    """With `tile` each latent is a constant map beside the channels."""
    critic = Critic([Size((1, 4, 4)), Size((2,))], small, tile=True)
    assert critic.network.input == Size((3, 4, 4))
    x, z = torch.randn(5, 1, 4, 4), torch.randn(5, 2)
    expected = torch.cat((x, z[:, :, None, None] * torch.ones(1, 1, 4, 4)), 1)
    assert_equal(critic(x, z), critic.network(expected).squeeze(-1))


@pytest.mark.parametrize("pack", [1, 2])
def test_penalties_against_finite_differences(pack: int) -> None:
    """R1 and R2 are γ/2 times the squared slope at real and at fake, over the pack; by central differences, to 1e-6."""
    torch.manual_seed(0)
    critic = Critic([Size((3,))], partial(small), pack=pack).double()
    real, fake = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    judge = lambda things: critic(*things)  # noqa: E731
    a, b = Judged.by(judge, (real,)), Judged.by(judge, (fake,))

    def slopes(x: Tensor) -> Tensor:
        h, total = 1e-5, torch.zeros(len(x) // pack, dtype=torch.float64)
        for row in range(len(x)):
            for column in range(3):
                step = torch.zeros_like(x)
                step[row, column] = h
                total += ((critic(x + step) - critic(x - step)) / (2 * h)).square()
        return total

    assert_equal(R1(3.0)(judge, a, b), 1.5 * slopes(real), 1e-6)
    assert_equal(R2(3.0)(judge, a, b), 1.5 * slopes(fake), 1e-6)
    fading = R1(schedules.Linear(2.0, 0.0, steps=4))
    assert_equal(fading(judge, a, b, 1), 0.75 * slopes(real), 1e-6)
    same = Judged.by(judge, (real,))
    assert_equal(GradientPenalty(2.0)(judge, a, same), 2 * (slopes(real).sqrt() - 1).square(), 1e-6)


@pytest.mark.parametrize("pack", [1, 2])
def test_the_gradient_penalty_is_between_each_real_one_and_its_fake(pack: int) -> None:
    """Of a critic |x|² / 2 + |z|² / 2 the gradient is the point itself, between (e, f) and (2 e, 2 f) of length √2 (1 + u). So
    the penalty tells u: one for each row, the same for all its things, spread evenly over (0, 1), by Kolmogorov's distance,
    failure rate 1e-6. In packs of two it is of both rows, with a mean square of 4 E(1 + u)² = 28 / 3."""
    n, lam = 2000, 3.0
    e, f = torch.zeros(n, 5), torch.zeros(n, 2)
    e[:, 1], f[:, 0] = 1, 1
    judge = lambda things: 0.5 * sum(x.square().sum(1) for x in things).reshape(-1, pack).sum(1)  # noqa: E731
    real, fake = Judged.by(judge, (2 * e, 2 * f)), Judged.by(judge, (e, f))
    norm = (GradientPenalty(lam)(judge, real, fake) / lam).sqrt().detach() + 1
    if pack == 1:
        u = norm / math.sqrt(2) - 1
        assert len(u.unique()) > n / 2 and stats.kstest(u.numpy(), stats.uniform.cdf).pvalue > 1e-6
    else:
        assert norm.shape == (n // 2,)
        assert_mean(norm.square(), 28 / 3)


def test_clipped_weights_stay_within() -> None:
    """`constrain` puts every weight back within the clip."""
    critic = Critic([Size((3,))], small, clip=0.01)
    critic.constrain()
    assert all(p.abs().max() <= 0.01 for p in critic.parameters())


def test_what_makes_no_critic_is_refused() -> None:
    with pytest.raises(ValueError, match="pack of at least 1"):
        Critic([Size((3,))], small, pack=0)
    with pytest.raises(ValueError, match="at least 0, came -1"):
        Critic([Size((3,))], small, noise=-1.0)
    with pytest.raises(ValueError, match="image"):
        Critic([Size((3,)), Size((2,))], small, tile=True)
    with pytest.raises(ValueError, match="gamma above 0"):
        R1(0.0)
    with pytest.raises(ValueError, match="write NonSaturating"):
        Relativistic().generator(torch.zeros(2))
