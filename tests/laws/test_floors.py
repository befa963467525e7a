"""Posteriors with a rate floor: the divergence of a batch, or of an observation, is at least what the paper's formula says."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Size, Tensor
from torch.distributions import Distribution

from laws.numerics import assert_equal, assert_mean
from laws.parts import affine
from uncollapse.distributions import BatchNormalized, Committed, Normal
from uncollapse.divergences import kl_units
from uncollapse.networks import Bias, Network

SHAPE = Size((4,))


class Given(Network):
    """A network that gives its input, so that a test chooses what an encoder says."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def rate(q: Distribution) -> Tensor:
    """KL(q ‖ N(0, I)) of each unit, [B, L]."""
    units = kl_units(q, Normal(q.event_shape[0])())
    assert units is not None
    return units


@given(seed=st.integers(0, 10**6), scale=st.floats(-3, 6), offset=st.floats(-1e3, 1e3), gamma=st.floats(0.05, 3))
def test_batch_normalised_means_have_a_floor(seed: int, scale: float, offset: float, gamma: float) -> None:
    """The mean divergence of a batch is at least ½ γ² a unit, and ½ b² more with a shift b: for outputs of any scale about any
    offset, with log σ wherever it is cheapest (0) or elsewhere; the floor is reached where σ = 1."""
    torch.manual_seed(seed)
    q = BatchNormalized(2, SHAPE, Given, gamma=gamma)
    with torch.no_grad():
        q.shift.copy_(torch.randn(2))
    given = torch.cat((offset + 10**scale * torch.randn(6, 2), torch.randn(6, 2)), -1)
    least = 0.5 * (gamma**2 + q.shift.square())
    assert (rate(q(given)).mean(0) >= least - 1e-9).all() and math.isclose(q.floor, gamma**2)
    given[:, 2:] = 0
    assert_equal(rate(q(given)).mean(0), least, 1e-6 if scale < -1 else 1e-9)


def test_a_batch_pressed_to_its_floor_stays_there() -> None:
    """The adversary: 200 steps of gradient descent of the divergence itself reach Σ ½ γ² and do not pass it."""
    q, x = BatchNormalized(3, SHAPE, affine, gamma=0.8), torch.randn(16, 4)
    optimiser = torch.optim.Adam(q.parameters(), lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        kl = rate(q(x)).sum(-1).mean()
        kl.backward()
        optimiser.step()
        assert kl >= q.floor - 1e-10
    assert kl < q.floor + 0.01


def test_a_bias_that_normalisation_takes_away_stays_where_it_starts() -> None:
    """In float32 rounding errors alone would be its gradient, and Adam makes steps of full size of them."""
    q = BatchNormalized(8, SHAPE, affine).float()
    bias = q.network.layers[-1].bias
    start = bias.detach().clone()
    optimiser = torch.optim.Adam(q.parameters(), lr=0.01)
    for _ in range(5):
        optimiser.zero_grad()
        q(torch.randn(50, 4, dtype=torch.float32)).rsample().square().sum().backward()
        optimiser.step()
    assert (bias[:8] == start[:8]).all() and (bias[8:] != start[8:]).all()


def test_equal_means_have_no_floor_and_a_finite_gradient() -> None:
    """An encoder that ignores x has nothing to spread: its means are the shift, and nothing overflows."""
    q = BatchNormalized(2, SHAPE, Bias)
    kl = rate(q(torch.randn(5, 4))).sum()
    kl.backward()
    assert kl == 0 and all(p.grad.isfinite().all() for p in q.parameters() if p.grad is not None)


def test_batch_statistics_act_in_training_only() -> None:
    """In `train()` the spread is γ exactly and the running averages move; in `eval()` a code is its own observation's, and the
    averages of the first batches are their plain means."""
    q = BatchNormalized(2, SHAPE, Given, gamma=0.5, momentum=0.01)
    batches = [3 + 2 * torch.randn(8, 4) for _ in range(3)]
    for x in batches:
        mean = q.encode(x)[:, :2]
        assert_equal(mean.mean(0), torch.zeros(2))
        assert_equal(mean.std(0, correction=0), torch.full((2,), 0.5))
    assert_equal(q.running_mean, torch.stack(batches)[..., :2].mean((0, 1)))
    assert_equal(q.running_variance, torch.stack([x[:, :2].var(0) for x in batches]).mean(0))
    q.eval()
    before, x = q.running_mean.clone(), batches[0]
    assert_equal(q.encode(x)[2:3], q.encode(x[2:3]))
    assert_equal(q.encode(x)[:, :2], 0.5 * (x[:, :2] - q.running_mean) / q.running_variance.sqrt())
    assert torch.equal(q.running_mean, before)


def test_a_broken_batch_leaves_the_averages_alone() -> None:
    """What is not finite never reaches the running averages."""
    q = BatchNormalized(2, SHAPE, Given)
    q.encode(torch.full((4, 4), torch.nan))
    assert_equal(q.running_mean, torch.zeros(2))
    assert_equal(q.running_variance, torch.ones(2))


@pytest.mark.parametrize("by_mean", [False, True])
@given(seed=st.integers(0, 10**6), scale=st.floats(-2, 4), delta=st.floats(1e-4, 60))
def test_every_observation_is_committed(by_mean: bool, seed: int, scale: float, delta: float) -> None:
    """KL >= δ / L of each unit of each observation, whatever the network says, and however loud."""
    torch.manual_seed(seed)
    q = Committed(2, SHAPE, Given, delta=delta, by_mean=by_mean)
    units = rate(q(10**scale * torch.randn(50, 4)))
    assert (units >= delta / 2 - 1e-9).all() and q.floor == delta


@pytest.mark.parametrize("by_mean", [False, True])
def test_a_commitment_can_be_met(by_mean: bool) -> None:
    """The floor is not merely passed: extreme outputs come within 1e-6 of it, at μ = 0 or all along the mean's curve."""
    q = Committed(2, SHAPE, Given, delta=3.0, by_mean=by_mean)
    for s in (-2.0, 0.0, 2.0) if by_mean else (40.0,):
        m = -40.0 if by_mean else 0.0
        assert_equal(rate(q(torch.tensor([[m, m, s, s]]))), torch.full((1, 2), 1.5), 1e-6)


@pytest.mark.parametrize("delta", [1e-3, 0.1, 2.0, 150.0])
def test_roots_are_roots(delta: float) -> None:
    """½ (σ² - log σ² - 1) = δ / L at both, one below 1 and one above."""
    q = Committed(2, SHAPE, Given, delta=delta)
    for log_sigma in (q.smaller, q.larger):
        assert math.isclose(0.5 * (math.exp(2 * log_sigma) - 2 * log_sigma - 1), delta / 2, rel_tol=1e-9)
    assert q.smaller < 0 < q.larger


@pytest.mark.parametrize("by_mean", [False, True])
def test_a_committed_encoder_can_match_or_not(by_mean: bool) -> None:
    """By the variance, means of spread √(1 - σ²) make q(z) a standard normal in its first two moments; by the mean, every mean
    is positive."""
    q = Committed(1, SHAPE, Given, delta=1.0, by_mean=by_mean)
    found = q(torch.cat((torch.randn(5000, 1), torch.full((5000, 1), 40.0)), -1))
    if by_mean:
        assert (found.mean > 0).all()
    else:
        sigma = math.exp(q.smaller)
        matching = q(torch.cat((math.sqrt(1 - sigma**2) * torch.randn(5000, 1), torch.full((5000, 1), 40.0)), -1))
        z = matching.sample()
        assert abs(float(z.mean())) < 6 / 5000**0.5 and abs(float(z.var()) - 1) < 6 * (2 / 5000) ** 0.5


@pytest.mark.parametrize("part", [BatchNormalized, Committed])
def test_gradients_reach_the_encoder(part: type) -> None:
    """At the floor as elsewhere, in float32 too, every weight has a finite gradient."""
    for dtype in (torch.float32, torch.float64):
        q = part(2, SHAPE, affine).to(dtype)
        q(torch.randn(6, 4, dtype=dtype)).rsample().square().sum().backward()
        assert all(p.grad.isfinite().all() for p in q.parameters() if p.grad is not None)


def test_floors_refuse() -> None:
    """No spread, no rate, or one that no number holds."""
    with pytest.raises(ValueError, match="gamma above 0"):
        BatchNormalized(2, SHAPE, affine, gamma=0.0)
    with pytest.raises(ValueError, match="momentum in"):
        BatchNormalized(2, SHAPE, affine, momentum=0.0)
    for delta in (0.0, 201.0):
        with pytest.raises(ValueError, match="delta above 0 and at most 200 nats"):
            Committed(2, SHAPE, affine, delta=delta)


class Drawn(Network):
    """Random outputs about 3 with standard deviation 2, whatever it is shown."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 + 2 * torch.randn(*x.shape[:-1], *self.output)


@pytest.mark.parametrize("batch", [2, 3, 8, 64])
def test_batches_of_any_size_keep_the_variance_of_the_data(batch: int) -> None:
    """The running variance has the data's own, 4, as its mean, however small the batches: 4000 units after 40 batches, at 6
    standard errors (failure rate 8e-9); by the biased one it would be 2 for batches of two. So in eval() means have the spread
    that the floor is made of."""
    q = BatchNormalized(4000, SHAPE, Drawn)
    for _ in range(40):
        q(torch.zeros(batch, 4))
    assert_mean(q.running_variance, 4.0)
    assert_mean(q.running_mean, 3.0)
    if batch == 64:
        q.eval()
        assert float(q(torch.zeros(50, 4)).mean.std().detach()) == pytest.approx(0.7, rel=0.02)


def test_running_averages_forget() -> None:
    """Plain means of the first 1 / m batches, then r + m (new - r): exactly, for batches whose moments are given."""
    q, rows = BatchNormalized(1, SHAPE, Given, momentum=0.25), [float(k) for k in (1, 5, 2, 8, 30, 1, 4)]
    mean, variance = 0.0, 0.0
    for n, scale in enumerate(rows, 1):
        q(torch.tensor([[10 * scale - scale, 0.0], [10 * scale + scale, 0.0]]))
        weight = max(1 / n, 0.25)
        mean += weight * (10 * scale - mean)
        variance += weight * (2 * scale**2 - variance)
    assert_equal(q.running_mean, torch.tensor([mean]))
    assert_equal(q.running_variance, torch.tensor([variance]))
