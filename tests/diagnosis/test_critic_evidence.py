"""What a critic says: against closed forms, quadrature and finite differences."""

import math
from functools import partial

import pytest
import torch
from torch import Size, Tensor, nn

from laws.numerics import assert_equal
from laws.parts import IMPLICIT_OBJECTIVES, implicit_model, small
from uncollapse.data import from_arrays
from uncollapse.diagnosis import critic_evidence
from uncollapse.diagnosis.critic_evidence import slope
from uncollapse.diagnosis.monitors import ModeMonitor
from uncollapse.distributions import Generator, Normal
from uncollapse.divergences import Critic, Game, Hinge, LeastSquares, NonSaturating, Saturating, Wasserstein
from uncollapse.gan import GAN, ImplicitModel
from uncollapse.networks import MLP

double = torch.float64


def ratio(pack: int = 1, scale: float = 1.0) -> Critic:
    """The best critic of N(0, 1) against N(1, 1), a(x) = 1/2 - x, or of packs of them; times a scale."""
    critic = Critic([Size((1,))], lambda i, o: nn.Linear(i[0], 1), pack=pack).double().eval()
    with torch.no_grad():
        critic.network.weight.fill_(-scale)
        critic.network.bias.fill_(0.5 * scale * pack)
    return critic


def normal(n: int, mean: float, seed: int) -> tuple[Tensor]:
    return (mean + torch.randn(n, 1, dtype=double, generator=torch.Generator().manual_seed(seed)),)


@pytest.mark.parametrize("game", [NonSaturating(), Saturating()], ids=lambda game: type(game).__name__)
def test_the_best_critic_of_two_gaussians(game: Game) -> None:
    """Accuracy Φ(1/√2), D by quadrature and the Jensen-Shannon divergence by quadrature, over 4000 draws of each. All are
    bounded means or U-statistics with a variance of at most 1/n: 6 standard errors, failure rate 1e-8; the gradient is 1."""
    found = critic_evidence(ratio(), game, normal(4000, 0.0, 0), normal(4000, 1.0, 1))
    x = torch.linspace(-12, 13, 100_001, dtype=double)
    p, q = ((-0.5 * (x - mean).square()).exp() / math.sqrt(2 * math.pi) for mean in (0.0, 1.0))
    m, tolerance = (p + q) / 2, 6 / 4000**0.5
    divergence = torch.trapezoid(0.5 * p * (p / m).log() + 0.5 * q * (q / m).log(), x)
    assert abs(found.accuracy - 0.5 * (1 + math.erf(0.5))) < tolerance
    assert abs(found.probability_real - torch.trapezoid(p * p / (p + q), x)) < tolerance
    assert abs(found.probability_fake - torch.trapezoid(q * p / (p + q), x)) < tolerance
    assert abs(found.divergence - divergence) < tolerance and divergence > 0.1
    assert_equal(torch.tensor([found.gradient_real, found.gradient_fake]), torch.ones(2), 1e-6)


def test_what_is_no_probability_is_called_a_mean() -> None:
    """Where the number is no logit its mean is told by another name, and the bound is the game's own."""
    real, fake = normal(500, 0.0, 0), normal(500, 1.0, 1)
    a, b = (0.5 - float(x[0].mean()) for x in (real, fake))
    for game in (Wasserstein(), Hinge(), LeastSquares()):
        found = critic_evidence(ratio(), game, real, fake)
        assert found.probability_real is None and (found.real, found.fake) == pytest.approx((a, b))
        assert {"critic_real", "critic_fake"} < found.as_dict().keys() and "critic_overfit" not in found.as_dict()
        assert found.divergence_of == game.divergence and f"mean {a:.2f} at data" in str(found)
    assert critic_evidence(ratio(), Wasserstein(), real, fake).divergence == pytest.approx(a - b)


def test_a_critic_that_knows_its_training_data_by_heart() -> None:
    """It ranks every training observation above every held-out one: half more than chance; and of equal ones none."""
    x = normal(200, 0.0, 0)
    found = critic_evidence(ratio(), NonSaturating(), x, normal(200, 1.0, 1), train=(x[0] - 100,))
    assert found.overfit == 0.5 and critic_evidence(ratio(), NonSaturating(), x, x, train=x).overfit == 0.0
    assert critic_evidence(ratio(), NonSaturating(), x, x).accuracy == 0.5


@pytest.mark.parametrize("pack", [1, 2])
def test_gradients_against_finite_differences(pack: int) -> None:
    """The mean norm over all that one number sees of the observations, latents left out; central differences, to 1e-6."""
    torch.manual_seed(0)
    critic = Critic([Size((3,)), Size((2,))], partial(small), pack=pack).double().eval()
    x, z, h = torch.randn(4, 3, dtype=double), torch.randn(4, 2, dtype=double), 1e-5
    squares = torch.zeros(4 // pack, dtype=double)
    for row in range(4):
        for column in range(3):
            step = torch.zeros_like(x)
            step[row, column] = h
            squares += ((critic(x + step, z) - critic(x - step, z)) / (2 * h)).detach().square()
    assert slope(critic, (x, z)) == pytest.approx(float(squares.sqrt().mean()), abs=1e-6)
    assert all(p.grad is None for p in critic.parameters())


def test_packs_are_judged_together() -> None:
    """The gradient of a pack of four is for all four, and so twice as long; the divergence is that between packs."""
    real, fake = normal(4000, 0.0, 0), normal(4000, 1.0, 1)
    one, four = (critic_evidence(ratio(pack), NonSaturating(), real, fake) for pack in (1, 4))
    assert four.gradient_real == pytest.approx(2.0) and four.divergence > 2 * one.divergence


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("name", sorted(IMPLICIT_OBJECTIVES))
def test_every_game_tells_its_evidence(name: str, gradients: bool) -> None:
    """A look at each game holds the critic's numbers, whatever it sees, where gradients are kept as where they are not, and
    leaves none behind."""
    objective = IMPLICIT_OBJECTIVES[name](implicit_model(name))
    x = torch.randn(40, *objective.model.likelihood.shape)
    with torch.set_grad_enabled(gradients):
        seen = ModeMonitor(objective, from_arrays(x)).look(x)
    assert {"critic_accuracy", "critic_gradient_real", "critic_divergence", "critic_divergence_of", "near_pairs"} < seen.keys()
    assert isinstance(objective, GAN) and all(p.grad is None for p in objective.parameters())
    assert all(isinstance(value, int | float | str) for value in seen.values())


def test_overfitting_is_told_by_training_rows_at_random() -> None:
    """Rows in order: a critic that ranks small ones higher sees no overfitting in a training set like the held-out one, and
    all of it in one that lies below it."""
    objective = GAN(ImplicitModel(Normal(1), Generator(1, (1,), MLP)), lambda shapes: ratio())
    rows = torch.linspace(-2, 2, 5000).unsqueeze(1)
    x = rows[torch.randperm(5000, generator=torch.Generator().manual_seed(0))][:400]
    seen = [ModeMonitor(objective, from_arrays(train, valid=x)).look(x)["critic_overfit"] for train in (rows, rows - 100)]
    assert abs(seen[0]) < 6 * 0.5 / math.sqrt(400) and seen[1] == 0.5
