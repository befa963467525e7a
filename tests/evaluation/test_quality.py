"""Sample quality against closed forms and other implementations. Random tests: 5 standard errors (6e-7 each) unless stated."""

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from laws.numerics import assert_mean
from uncollapse.divergences import RBF
from uncollapse.divergences.mmd import Polynomial, mmd
from uncollapse.evaluation import (
    Moments,
    copying,
    duplicates,
    energy_coefficient,
    energy_distance,
    fid,
    inception_score,
    kde,
    kid,
    kid_interval,
    mmd_test,
    prdc,
    vendi,
)

pytestmark = pytest.mark.usefixtures("float64")


def whitened(n: int, d: int) -> Tensor:
    """n points whose mean is 0 and whose unbiased covariance is the identity, to rounding."""
    x = torch.randn(n, d)
    q, _ = torch.linalg.qr(x - x.mean(0))
    return q * math.sqrt(n - 1)


def spd(d: int) -> Tensor:
    a = torch.randn(d, d)
    return a @ a.T / d + 0.1 * torch.eye(d)


def root(a: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(a)
    return vectors * values.sqrt() @ vectors.T


def rotation(d: int) -> Tensor:
    return torch.linalg.qr(torch.randn(d, d))[0]


def correlated(n: int, d: int, shift: float = 0.0) -> Tensor:
    return torch.randn(n, d) @ torch.randn(d, d) / d**0.5 + shift


# --- Fréchet distance ------------------------------------------------------------------------------------------------
def test_fid_of_commuting_gaussians() -> None:
    """With common eigenvectors it is the distance of means and of standard deviations."""
    z, u, s, t, shift = whitened(50, 6), rotation(6), torch.rand(6) + 0.1, torch.rand(6) + 0.1, torch.randn(6)
    expected = float(shift.square().sum() + (s - t).square().sum())
    assert fid(z * s @ u.T, z * t @ u.T + shift) == pytest.approx(expected, rel=1e-10)


def test_fid_of_any_gaussians() -> None:
    """The trace from a matrix square root in the definition's order, of covariances that do not commute."""
    a, b = spd(5), spd(5)
    x, y = whitened(40, 5) @ root(a), whitened(30, 5) @ root(b) + 2
    cross = root(root(a) @ b @ root(a)).trace()
    assert fid(x, y) == pytest.approx(float(20 + a.trace() + b.trace() - 2 * cross), rel=1e-10)


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 8), (20, 30, 64), (20, 300, 64), (300, 20, 64)])
def test_fid_is_that_of_torchmetrics(n: int, m: int, d: int) -> None:
    """With fewer samples than dimensions too, of one set or of both; theirs loses half the digits to eigenvalues near 0."""
    image = pytest.importorskip("torchmetrics.image.fid")
    x, y = correlated(n, d), correlated(m, d, shift=0.3)
    given = nn.Identity()
    given.num_features = d  # type: ignore[assignment]
    metric = image.FrechetInceptionDistance(given)
    metric.update(x, real=True)
    metric.update(y, real=False)
    assert fid(x, y) == pytest.approx(float(metric.compute()), rel=1e-5)


@pytest.mark.parametrize(("n", "d"), [(100, 8), (10, 30)])
def test_fid_of_a_set_with_itself_is_zero(n: int, d: int) -> None:
    x = correlated(n, d)
    assert fid(x, x.flip(0)) == pytest.approx(0, abs=1e-6)
    assert fid(Moments.of(x), x) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(100, 8), (10, 30)])
def test_fid_is_symmetric_and_follows_motions(n: int, d: int) -> None:
    """A rotation and a shift leave it, a scale squares; and features as float32 give it to float32's rounding."""
    x, y, u, shift = correlated(n, d), correlated(n, d, 0.5), rotation(d), torch.randn(d)
    found = fid(x, y)
    assert found > 0.1
    assert fid(y, x) == pytest.approx(found, rel=1e-6)
    assert fid(x @ u + shift, y @ u + shift) == pytest.approx(found, rel=1e-6)
    assert fid(3 * x, 3 * y) == pytest.approx(9 * found, rel=1e-6)
    assert fid(x.float(), y.float()) == pytest.approx(found, rel=1e-5)


def test_few_samples_by_factors_are_as_by_moments() -> None:
    x, y = correlated(20, 50), correlated(30, 50, 0.2)
    assert fid(x, y) == pytest.approx(fid(Moments.of(x), Moments.of(y)), rel=1e-6)


def test_a_dead_feature_is_no_obstacle() -> None:
    """A covariance with a row of zeros has no Cholesky factor."""
    x, y = correlated(100, 6), correlated(100, 6, 0.5)
    found = fid(x, y)
    dead = torch.zeros(100, 1)
    assert fid(torch.cat([x, dead], 1), torch.cat([y, dead], 1)) == pytest.approx(found, rel=1e-6)
    assert fid(torch.cat([x, dead], 1), torch.cat([y, dead + 2], 1)) == pytest.approx(found + 4, rel=1e-6)


@pytest.mark.parametrize("batch", [1, 7, 1000])
@pytest.mark.parametrize("d", [3, 300])
def test_moments_add_up(batch: int, d: int) -> None:
    """Of any batches, and of float32 features far from 0, where sums of squares would cancel."""
    x = (correlated(50, d) + 1e4).float()
    moments = Moments(d)
    for rows in x.split(batch):
        moments.update(rows)
    moments.update(x[:0])
    assert moments.n == 50
    assert torch.allclose(moments.mean, x.double().mean(0), rtol=1e-14, atol=0)
    assert torch.allclose(moments.covariance, torch.from_numpy(np.cov(x.double().numpy().T)), rtol=1e-9, atol=1e-12)


def test_fid_refusals() -> None:
    x = torch.randn(10, 3)
    with pytest.raises(ValueError, match="at least 2 features, came 1"):
        fid(x[:1], x)
    with pytest.raises(ValueError, match="at least 2 features, came 0"):
        fid(x, Moments(3))
    with pytest.raises(ValueError, match=r"came \(10, 3\) and \(10, 2\)"):
        fid(x, x[:, :2])
    with pytest.raises(ValueError, match="one size, came 3 and 2"):
        fid(Moments.of(x), Moments.of(x[:, :2]))
    with pytest.raises(ValueError, match="finite features"):
        fid(x, x / 0)
    with pytest.raises(ValueError, match="finite features"):
        fid(Moments.of(x * math.nan), x)
    with pytest.raises(ValueError, match=r"features \[B, 2\], came \(10, 3\)"):
        Moments(2).update(x)


# --- Kernel distance -------------------------------------------------------------------------------------------------
def test_kid_by_hand() -> None:
    x, y = torch.randn(4, 3), torch.randn(4, 3) + 1

    def mean(pairs: list[tuple[Tensor, Tensor]]) -> float:
        return sum(float((a @ b / 3 + 1) ** 3) for a, b in pairs) / len(pairs)

    within = [mean([(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j]) for s in (x, y)]
    expected = sum(within) - 2 * mean([(a, b) for a in x for b in y])
    assert kid(x, y, subsets=3, size=4) == pytest.approx((expected, 0), rel=1e-10, abs=1e-10)
    assert float(mmd(x, x, Polynomial(), unbiased=False)) == pytest.approx(0, abs=1e-10)


def test_kid_is_that_of_torchmetrics() -> None:
    """Of subsets that are all of both sets: those drawn at random are other ones."""
    module = pytest.importorskip("torchmetrics.image.kid")
    x, y = correlated(60, 8), correlated(60, 8, 0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric = module.KernelInceptionDistance(nn.Identity(), subsets=2, subset_size=60)
    metric.update(x, real=True)
    metric.update(y, real=False)
    assert kid(x, y, subsets=2, size=60).mean == pytest.approx(float(metric.compute()[0]), rel=1e-6)


def test_kid_is_unbiased() -> None:
    """Of 4 draws each of N(0, 1) and N(m, 1): E (x y + 1)³ = 1 + 3 E x² E y² + 3 E x E y + E x³ E y³, its moments known."""
    m, n = 0.7, 20_000
    real, fake = torch.randn(n, 4, 1), torch.randn(n, 4, 1) + m
    second, third = 1 + m**2, m**3 + 3 * m
    exact = (1 + 3) + (1 + 3 * second**2 + 3 * m**2 + third**2) - 2 * (1 + 3 * second)
    values = mmd(real, fake, Polynomial())
    assert abs(float(values.mean()) - exact) < 5 * float(values.std()) / n**0.5
    found = kid(real.reshape(-1, 1), fake.reshape(-1, 1), subsets=400, size=4)
    assert abs(found.mean - exact) < 5 * found.std / 20


def test_kid_of_equal_distributions_has_both_signs() -> None:
    """And subsets follow the seed alone."""
    x, y = torch.randn(500, 4), torch.randn(500, 4)
    found = [kid(x, y, subsets=1, size=50, seed=seed).mean for seed in range(20)]
    assert min(found) < 0 < max(found)
    state = torch.get_rng_state()
    assert kid(x, y, 5, 50, seed=3) == kid(x, y, 5, 50, seed=3) != kid(x, y, 5, 50, seed=4)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_error_of_kid_is_that_of_other_samples() -> None:
    """400 times 5 blocks of 8 of N(0, 1) and N(m, 1): the closed form in the mean at 6 standard errors (2e-9), and SE² is the
    variance of the estimates: both are known to about √(2 / 400) or worse, tails being long, so within a third."""
    m = 0.7
    second, third = 1 + m**2, m**3 + 3 * m
    exact = (1 + 3) + (1 + 3 * second**2 + 3 * m**2 + third**2) - 2 * (1 + 3 * second)
    found = [kid_interval(torch.randn(45, 1), torch.randn(40, 1) + m, size=8, blocks=5, seed=i) for i in range(400)]
    means, errors = (torch.tensor(column, dtype=torch.double) for column in zip(*found, strict=True))
    assert_mean(means, exact)
    assert float(errors.square().mean() / means.var()) == pytest.approx(1, abs=1 / 3)


def test_blocks_of_kid_share_no_feature() -> None:
    """Ones beside zeros are (1 + 1)³ + 1 - 2 = 7 apart; a feature that is far off moves one block of four, so that the mean is
    higher by as much as the standard error."""
    x = torch.ones(40, 1)
    x[7] = 10
    found = kid_interval(x, torch.zeros(40, 1), size=10, blocks=4)
    assert found.mean - 7 == pytest.approx(found.standard_error, rel=1e-4) and found.standard_error > 10
    with pytest.raises(ValueError, match=r"blocks=4, size=20 and 40 features; write size=10"):
        kid_interval(x, x, size=20, blocks=4)


def test_kid_refusals() -> None:
    x = torch.randn(10, 3)
    with pytest.raises(ValueError, match="at least size=20 features of each, came 10 real and 5 fake; write size=5"):
        kid(x, x[:5], size=20)
    with pytest.raises(ValueError, match="came subsets=0"):
        kid(x, x, subsets=0)
    with pytest.raises(ValueError, match="size=1"):
        kid(x, x, size=1)
    with pytest.raises(ValueError, match="degree of at least 1"):
        Polynomial(0)


KINDS = [torch.uint8, torch.int16, torch.int64, torch.float16, torch.bfloat16, torch.float32]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_features_of_any_kind_are_taken_in_float64(kind: torch.dtype) -> None:
    """Every measure of two samples gives of integers and halves, from 0 to 200, what it gives of the same numbers as float64;
    the kernel's cubes, of 1e12, hold in none of these."""
    x, y = ((top * torch.rand(60, 64)).to(kind) for top in (200.0, 150.0))
    measures: dict[str, Callable[[Tensor, Tensor], float]] = {
        "kid": lambda a, b: kid(a, b, subsets=2, size=50).mean,
        "kid_interval": lambda a, b: kid_interval(a, b, size=10, blocks=4).standard_error,
        "fid": fid,
        "prdc": lambda a, b: prdc(a, b).density,
        "energy_distance": energy_distance,
        "energy_coefficient": energy_coefficient,
        "mmd_test": lambda a, b: mmd_test(a, b, permutations=9).mmd,
        "copying": lambda a, b: copying(a, b, a.flip(0)).threshold,
        "duplicates": lambda a, b: float(duplicates(torch.cat((a, b))).distances.sum()),
        "vendi": lambda a, b: vendi(torch.cat((a, b))),
        "kde": lambda a, b: float(kde(a, b, [30.0]).log_likelihood.sum()),
    }
    if kind != torch.float32:
        measures["mmd"] = lambda a, b: float(mmd(a, b, Polynomial()))
        measures["mmd, gaussian"] = lambda a, b: float(mmd(a, b, RBF([100.0])))
    for name, measure in measures.items():
        assert measure(x, y) == pytest.approx(measure(x.double(), y.double()), rel=1e-12), name


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_kid_of_constants_is_exact(kind: torch.dtype) -> None:
    """Of rows of 192 and rows of 144 it is (192² + 1)³ + (144² + 1)³ - 2 (192 · 144 + 1)³, to 1e-12, which float32 misses."""
    x, y = torch.full((40, 5), 192).to(kind), torch.full((40, 5), 144).to(kind)
    expected = (192**2 + 1) ** 3 + (144**2 + 1) ** 3 - 2 * (192 * 144 + 1) ** 3
    assert kid(x, y, subsets=2, size=10).mean == pytest.approx(expected, rel=1e-12)
    assert kid_interval(x, y, size=10, blocks=2).mean == pytest.approx(expected, rel=1e-12)


def test_half_precision_has_a_gradient() -> None:
    """The MMD of bfloat16 draws, as a training may have them, is that of the same numbers, and so is its gradient."""
    x, y = torch.randn(20, 3).bfloat16().requires_grad_(), torch.randn(20, 3)
    (gradient,) = torch.autograd.grad(mmd(x, y, RBF()), x)
    exact = x.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(mmd(exact, y, RBF()), exact)
    assert gradient.dtype == torch.bfloat16 and torch.allclose(gradient.double(), expected, rtol=1e-2, atol=1e-8)


# --- Neighbours ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("numbers", [1000, 2**24])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.5, 0.3), (1.5, 10.0)])
def test_prdc_is_that_of_prdc(monkeypatch, capsys, k: int, numbers: int, scale: float, shift: float) -> None:
    theirs = pytest.importorskip("prdc")
    monkeypatch.setattr("uncollapse.divergences.samples.BUDGET", numbers)
    x, y = torch.randn(150, 4), scale * torch.randn(200, 4)
    y[:, 0] += shift
    expected = theirs.compute_prdc(real_features=x.numpy(), fake_features=y.numpy(), nearest_k=k)
    assert prdc(x, y, k)._asdict() == pytest.approx({name: float(value) for name, value in expected.items()}, abs=1e-12)


def test_prdc_by_hand() -> None:
    """Balls of data [-1, 1], [0, 2], [1, 5] and of samples [0.7, 1.1], [0.9, 1.3], [1.1, 16.9]."""
    x, y = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.9], [1.1], [9.0]])
    assert prdc(x, y, k=1) == pytest.approx((2 / 3, 2 / 3, (2 + 2 + 0) / 3, 1.0))
    assert prdc(x, y + 100, k=1) == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("offset", [0.0, 0.1, 1e4 / 3])
@pytest.mark.parametrize("features", [2, 6, 40])
def test_balls_are_closed(features: int, offset: float) -> None:
    """On a grid many points lie on a rim, and count as within: by whole numbers, wherever the grid lies."""
    n = {2: 12, 6: 3, 40: 2}[features]
    x, y = torch.randint(n, (60, features)), torch.randint(n, (50, features))
    squares = lambda a, b: (a[:, None] - b).square().sum(-1)  # noqa: E731
    (around_x, around_y), across = (squares(a, a).sort(-1).values[:, 5] for a in (x, y)), squares(x, y)
    assert int((across == around_x[:, None]).sum()) > 20
    expected = (
        (across <= around_x[:, None]).any(0).double().mean(),
        (across <= around_y).any(1).double().mean(),
        (across <= around_x[:, None]).double().sum() / (5 * 50),
        (across <= around_x[:, None]).any(1).double().mean(),
    )
    found = prdc(offset + x.double() / 7, offset + y.double() / 7)
    assert found == pytest.approx([float(value) for value in expected], abs=1e-12)


def test_one_point_over_and_over_lies_in_its_own_ball() -> None:
    """A ball of radius 0 holds its centre."""
    x = torch.ones(20, 3)
    assert prdc(x, x) == pytest.approx((1.0, 1.0, 4.0, 1.0))


def test_prdc_follows_motions() -> None:
    x, y, u = torch.randn(100, 5), 0.8 * torch.randn(100, 5), rotation(5)
    assert prdc(x, y) == prdc(4 * x @ u + 7, 4 * y @ u + 7)


def test_equal_distributions() -> None:
    """Density 1, and the expected coverage of Naeem et al.; 30 pairs of sets, two numbers, failure rate 5e-5."""
    n, k = 200, 3
    found = torch.tensor([prdc(torch.randn(n, 2), torch.randn(n, 2), k) for _ in range(30)])
    exact = 1 - math.prod((n - 1 - i) / (2 * n - 1 - i) for i in range(k))
    for column, expected in ((2, 1.0), (3, exact)):
        assert abs(float(found[:, column].mean()) - expected) < 5 * float(found[:, column].std()) / 30**0.5


def ring(n: int, modes: int, spread: float = 0.05) -> Tensor:
    """Draws of the first of eight Gaussians on a circle, as many of each."""
    angle = 2 * math.pi * (torch.arange(n) % modes) / 8
    return torch.stack([angle.cos(), angle.sin()], 1) + spread * torch.randn(n, 2)


def test_dropped_modes_cost_recall_and_coverage_alone() -> None:
    """Two modes of eight: what is there lies well, and a quarter of the data has something near."""
    data = ring(800, 8)
    whole, dropped = prdc(data, ring(800, 8)), prdc(data, ring(800, 2))
    assert min(whole.precision, whole.recall, whole.coverage) > 0.9
    assert dropped.precision > 0.9 and dropped.density > 0.8
    assert dropped.recall < 0.27 and dropped.coverage < 0.27


def test_noise_costs_precision_and_density_alone() -> None:
    """Every mode is there, with noise around it."""
    data, noisy = ring(800, 8), prdc(ring(800, 8), torch.cat([ring(800, 8), 2 * torch.randn(1600, 2)]))
    assert noisy.precision < 0.75 and noisy.density < 0.6
    assert noisy.recall > 0.9 and noisy.coverage > 0.9
    assert prdc(data, data).precision == 1.0


def test_equal_points_have_equal_distances() -> None:
    """A model that gives one training image alone: its balls are points, in whatever order sums are rounded."""
    data = torch.randn(50, 100) + 3
    collapsed = prdc(data, data[:1].repeat(20, 1))
    assert collapsed.precision == 1.0 and collapsed.recall == 1 / 50


def test_prdc_refusals() -> None:
    x = torch.randn(10, 3)
    with pytest.raises(ValueError, match="more than k=5 features of each, came 10 and 5"):
        prdc(x, x[:5])
    with pytest.raises(ValueError, match="k of at least 1"):
        prdc(x, x, k=0)
    with pytest.raises(ValueError, match=r"\[N, D\]"):
        prdc(x[0], x[0])


# --- Inception score -------------------------------------------------------------------------------------------------
def test_inception_score_at_its_ends() -> None:
    assert inception_score(torch.eye(5).repeat(4, 1), splits=2) == pytest.approx((5, 0))
    assert inception_score(torch.full((40, 5), 0.2)) == pytest.approx((1, 0))
    assert inception_score(torch.eye(5)[:1].repeat(40, 1)) == pytest.approx((1, 0))


def test_inception_score_is_its_definition() -> None:
    p = torch.randn(30, 4).softmax(-1)
    values = torch.stack([(b * (b / b.mean(0)).log()).sum(-1).mean().exp() for b in p.split(10)])
    assert inception_score(p, splits=3) == pytest.approx((float(values.mean()), float(values.std(correction=0))))
    assert inception_score(p.float(), splits=3).mean == pytest.approx(float(values.mean()), rel=1e-6)


def test_inception_score_refusals() -> None:
    with pytest.raises(ValueError, match="N of at least splits=10"):
        inception_score(torch.eye(5))
    with pytest.raises(ValueError, match="sum to 1"):
        inception_score(torch.randn(20, 5))
    with pytest.raises(ValueError, match="sum to 1"):
        inception_score(torch.full((20, 5), math.nan))
