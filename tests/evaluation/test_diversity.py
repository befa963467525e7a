"""Measures of diversity against closed forms, other implementations and perfect samplers."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from torch import Tensor

from laws.numerics import assert_equal, assert_mean
from uncollapse.divergences import RBF, InverseMultiquadric, reverse_kl_floor
from uncollapse.evaluation import diversity_ms_ssim, duplicates, mode_entropy, ms_ssim, vendi, vendi_interval
from uncollapse.evaluation.diversity import C1, C2, WEIGHTS

ORDERS = [0.0, 0.1, 0.5, 1.0, 2.0, 10.0, 1000.0, math.inf]


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.double)


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.double)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("q", [0.5, 1.0, 2.0, math.inf])
@pytest.mark.parametrize("shape", [(40, 7), (12, 30)])
def test_vendi_is_that_of_its_authors(q: float, shape: tuple[int, int]) -> None:
    """By their eigenvalues of the N × N side, of which they count rounding errors above 0: so N ≤ D where q is below 1."""
    theirs = pytest.importorskip("vendi_score.vendi")
    x = normal(*shape)
    unit = (x / x.norm(dim=1, keepdim=True)).numpy()
    name = "inf" if q == math.inf else q
    if q >= 1 or shape[0] <= shape[1]:
        assert vendi(x, q) == pytest.approx(float(theirs.score_K(unit @ unit.T, name)), rel=1e-9)
    squares = ((x[:, None] - x) ** 2).sum(-1)
    k = np.exp(-squares.numpy() / (2 * 0.3 * shape[1]))
    expected = pytest.approx(float(theirs.score_K(k, name)), rel=1e-9)
    assert vendi(x, q, RBF([0.3])) == expected
    assert vendi(torch.from_numpy(k), q, precomputed=True) == expected


@pytest.mark.parametrize("q", ORDERS)
def test_vendi_of_known_spectra(q: float) -> None:
    """1 for equal draws, N for orthogonal ones; the exponential Rényi entropy of the shares of orthogonal groups."""
    assert vendi(normal(1, 5).expand(9, -1), q) == pytest.approx(1, abs=1e-9)
    assert vendi(3 * torch.eye(9), q) == pytest.approx(9, abs=1e-9)
    assert vendi(1e4 * normal(9, 30), q, RBF()) == pytest.approx(9, abs=1e-9)
    shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.double)
    groups = torch.eye(3).repeat_interleave(torch.tensor([5, 3, 2]), 0)
    if q == 1:
        expected = float((-shares * shares.log()).sum().exp())
    else:
        expected = 2.0 if q == math.inf else float(shares.pow(q).sum()) ** (1 / (1 - q))
    assert vendi(groups, q) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kernel", [None, RBF([0.1, 1.0]), InverseMultiquadric()])
def test_vendi_falls_in_its_order_and_stays_within_bounds(kernel: RBF | None) -> None:
    """From the rank to 1 / λ_max, between 1 and N, continuous at 1."""
    x = normal(20, 6)
    scores = [vendi(x, q, kernel) for q in ORDERS]
    assert all(a >= b for a, b in pairwise(scores))
    assert scores[0] == pytest.approx(6 if kernel is None else 20)
    assert scores[-1] >= 1
    for q in (1 - 1e-6, 1 - 1e-9, 1 + 1e-9, 1 + 1e-6):
        assert vendi(x, q, kernel) == pytest.approx(vendi(x, 1.0, kernel), rel=1e-5)


@pytest.mark.parametrize("q", ORDERS)
@pytest.mark.parametrize("kernel", [None, RBF([0.2])])
def test_vendi_does_not_see_duplicates_or_order(q: float, kernel: RBF | None) -> None:
    """A sample repeated as a whole, or in another order, has the same shares of the same draws: the same score."""
    x = normal(15, 20)
    assert vendi(torch.cat((x, x.flip(0), x)), q, kernel) == pytest.approx(vendi(x, q, kernel), rel=1e-8)
    if kernel is None:
        assert vendi(torch.rand(15, 1, 1) * x.reshape(15, 4, 5).float(), q) == pytest.approx(vendi(x, q), rel=1e-5)


def test_both_sides_have_one_spectrum() -> None:
    """D × D where D < N, N × N by the kernel matrix; float32 rows and kernels are no reason for another score."""
    x = normal(30, 4)
    u = x / x.norm(dim=1, keepdim=True)
    for q in (0.0, 0.3, 1.0, 2.0):
        assert vendi(u @ u.T, q, precomputed=True) == pytest.approx(vendi(x, q), rel=1e-9)
        assert vendi((u @ u.T).float(), q, precomputed=True) == pytest.approx(vendi(x, q), rel=1e-4)
    assert vendi(torch.eye(5, dtype=torch.int64), precomputed=True) == pytest.approx(5)


@pytest.mark.parametrize("size", [100, 200])
def test_vendi_interval_holds_the_expected_score(size: int) -> None:
    """80 samples of 100 or of 200 rows have the expected score of 50 fresh draws, at 5 standard errors (6e-7). The stated error
    is their spread's, within 4 of its own standard errors, 1 / √158 (6e-5), and the excess of second orders, 1.15."""
    scale = torch.linspace(0.2, 2, 5)
    found = [vendi_interval(normal(size, 5) * scale, 50, resamples=40, seed=1) for _ in range(80)]
    means, errors = torch.tensor(found, dtype=torch.double).T
    fresh = torch.tensor([vendi(normal(50, 5) * scale) for _ in range(2000)], dtype=torch.double)
    error = math.hypot(float(means.std()) / 80**0.5, float(fresh.std()) / 2000**0.5)
    assert abs(float(means.mean() - fresh.mean())) < 5 * error
    assert 0.68 < float(errors.mean() / means.std()) < 1.15 * 1.32


def test_samples_of_different_sizes_have_one_expected_score() -> None:
    """The score itself rises by more than 15 from 50 draws to 400; at n = 25 it differs by less than 5 stated errors (6e-7)."""
    few, many = normal(50, 60), normal(400, 60)
    assert vendi(many) > vendi(few) + 15
    a, b = vendi_interval(few, 25), vendi_interval(many, 25)
    assert abs(a.mean - b.mean) < 5 * math.hypot(a.standard_error, b.standard_error)


def test_the_error_of_few_subsamples_is_theirs() -> None:
    """Small subsamples of many rows: most of the error is that of R = 4 of them, so that over 200 seeds the mean has the spread
    that is stated, within a third; a standard deviation of 200 is good to 5 %, a mean error of 3 degrees of freedom to 6 %."""
    x = normal(2000, 5)
    found = [vendi_interval(x, 10, resamples=4, seed=seed) for seed in range(200)]
    spread = float(np.std([one.mean for one in found]))
    stated = float(np.mean([one.standard_error**2 for one in found])) ** 0.5
    assert 2 / 3 < spread / stated < 4 / 3


def test_vendi_interval_is_reproducible_and_its_subsamples_are_subsamples() -> None:
    x = normal(40, 5)
    k = RBF([0.4])((x[:, None] - x).square().sum(-1), 5)
    one, again, other = (vendi_interval(x, 20, 2.0, 10, seed, RBF([0.4])) for seed in (1, 1, 2))
    assert one == again and one != other
    assert vendi_interval(k, 20, 2.0, 10, 1, precomputed=True) == pytest.approx(one, rel=1e-9)
    assert vendi_interval(normal(1, 3).expand(9, -1), 4) == pytest.approx((1.0, 0.0), abs=1e-9)


def test_vendi_refuses() -> None:
    x = normal(4, 3)
    with pytest.raises(ValueError, match="order q from 0"):
        vendi(x, -1.0)
    with pytest.raises(ValueError, match="order q from 0"):
        vendi(x, math.nan)
    with pytest.raises(ValueError, match="at least 2 draws"):
        vendi(x[:1])
    with pytest.raises(ValueError, match="row of zeros"):
        vendi(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="finite numbers"):
        vendi(x / 0)
    with pytest.raises(ValueError, match="symmetric kernel matrix"):
        vendi(x, precomputed=True)
    with pytest.raises(ValueError, match="ones on its diagonal"):
        vendi(2 * torch.eye(3), precomputed=True)
    with pytest.raises(ValueError, match="semidefinite"):
        vendi(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), precomputed=True)
    with pytest.raises(ValueError, match="came both"):
        vendi(torch.eye(3), kernel=RBF(), precomputed=True)
    for n, resamples in ((1, 10), (4, 10), (2, 1)):
        with pytest.raises(ValueError, match="n from 2 to 3"):
            vendi_interval(x, n, resamples=resamples)


def test_mode_entropy_by_hand() -> None:
    found = mode_entropy(torch.tensor([0, 2, 2, 2]), 3)
    entropy = 0.25 * math.log(4) + 0.75 * math.log(4 / 3)
    assert found == pytest.approx((entropy, math.log(3) - entropy, *reverse_kl_floor(3, 4), 2, 3 * (1 - (2 / 3) ** 4)))
    assert mode_entropy(torch.zeros(5, dtype=torch.int32), 7)[:2] == pytest.approx((0.0, math.log(7)))
    assert mode_entropy(torch.arange(7).repeat(3), 7)[:2] == pytest.approx((math.log(7), 0.0))
    assert mode_entropy(torch.zeros(5, dtype=torch.uint8), 1).expected_captured == 1


def test_a_perfect_sampler_captures_as_many_modes() -> None:
    """2000 samples of 30 draws on 20 modes at 6 standard errors (2e-9)."""
    few = [mode_entropy(torch.randint(20, (30,)), 20) for _ in range(2000)]
    assert_mean(torch.tensor([one.captured for one in few], dtype=torch.double), few[0].expected_captured)


def test_mode_entropy_refuses() -> None:
    for modes, k, match in (
        (torch.tensor([0, 3]), 3, "k - 1 = 2, came 0 to 3"),
        (torch.tensor([0, -1]), 3, "came -1 to 0"),
        (torch.tensor([0, 0]), 0, "k - 1 = -1"),
        (torch.tensor([0]), 3, "at least 2 draws"),
        (torch.tensor([0.0, 1.0]), 3, "integer labels"),
        (torch.zeros(2, 2, dtype=torch.long), 3, r"labels \[N\]"),
    ):
        with pytest.raises(ValueError, match=match):
            mode_entropy(modes, k)


def plain(x: np.ndarray, y: np.ndarray, size: int = 11) -> tuple[float, float]:
    """SSIM and its contrast term of one channel, by scipy's correlation, where the window lies within the image."""
    places = np.arange(size) - size // 2
    window = np.exp(-(places**2) / (2 * 1.5**2))
    inner = slice(size // 2, -(size // 2))

    def mean(a: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            a = correlate1d(a, window / window.sum(), axis)
        return a[inner, inner]

    a, b = mean(x), mean(y)
    contrast = (2 * mean((x) * y) - 2 * a * b + C2) / (mean(x**2) - a**2 + mean(y**2) - b**2 + C2)
    return float(((2 * a * b + C1) / (a**2 + b**2 + C1) * contrast).mean()), float(contrast.mean())


def halved(x: np.ndarray) -> np.ndarray:
    h, w = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
    return (x[0:h:2, 0:w:2] + x[1:h:2, 0:w:2] + x[0:h:2, 1:w:2] + x[1:h:2, 1:w:2]) / 4


@pytest.mark.parametrize(
    ("shape", "scales", "size"),
    [((15, 21), 1, 11), ((11, 11), 1, 11), ((8, 9), 1, 7), ((28, 28), 2, 11), ((45, 50), 3, 11), ((176, 180), 5, 11)],
)
def test_ms_ssim_is_the_product_of_its_scales(shape: tuple[int, int], scales: int, size: int) -> None:
    """Against a plain implementation, at as many scales as leave 11 pixels."""
    x = images(2, 1, *shape)
    y = (x + 0.2 * images(2, 1, *shape)) / 1.2
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    for found, a, b in zip(ms_ssim(x, y), x[:, 0].numpy(), y[:, 0].numpy(), strict=True):
        expected = 1.0
        for j, weight in enumerate(weights):
            expected *= plain(a, b, size)[0 if j == scales - 1 else 1] ** weight
            a, b = halved(a), halved(b)
        assert float(found) == pytest.approx(expected, abs=1e-10)


def test_ms_ssim_of_equal_symmetric_and_opposite_images() -> None:
    x, y = images(6, 3, 28, 28), images(6, 3, 28, 28)
    assert_equal(ms_ssim(x, x), torch.ones(6, dtype=torch.double))
    assert_equal(ms_ssim(x, y), ms_ssim(y, x))
    assert_equal(ms_ssim(x, y), ms_ssim(x.flip(-1), y.flip(-1)))
    assert (ms_ssim(x, 1 - x) == 0).all()
    assert_equal(ms_ssim(x.float(), y.float()).double(), ms_ssim(x, y), 1e-4)
    flat = torch.full((1, 1, 3, 3), 0.25)
    assert float(ms_ssim(flat, flat)) == pytest.approx(1)


def test_ms_ssim_falls_with_noise() -> None:
    x = torch.nn.functional.avg_pool2d(images(8, 1, 64, 64), 5, 1, 2)
    noise = images(8, 1, 64, 64) - 0.5
    found = torch.stack([ms_ssim(x, (x + scale * noise).clamp(0, 1)) for scale in (0.0, 0.05, 0.1, 0.3, 1.0)])
    assert (found.diff(dim=0) < 0).all()


def test_many_images_at_once_are_the_images_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = images(7, 2, 16, 16), images(7, 2, 16, 16)
    monkeypatch.setattr("uncollapse.evaluation.diversity.BUDGET", 3 * 5 * 512)
    assert_equal(ms_ssim(x, y), torch.cat([ms_ssim(a[None], b[None]) for a, b in zip(x, y, strict=True)]))


def test_diversity_ms_ssim_is_the_mean_over_different_pairs() -> None:
    """Of four images there are six pairs; 4000 random ones at 6 standard errors (2e-9), which are the stated ones. A class of
    copies is known; a second draw of pairs is another."""
    x = torch.nn.functional.avg_pool2d(images(4, 1, 16, 16), 3, 1, 1)
    i, j = torch.triu_indices(4, 4, 1)
    exact = ms_ssim(x[i], x[j])
    found = diversity_ms_ssim(x, 4000, seed=3)
    assert abs(found.mean - float(exact.mean())) < 6 * found.standard_error
    assert found.standard_error == pytest.approx(float(exact.std(correction=0)) / 4000**0.5, rel=0.2)
    assert found == diversity_ms_ssim(x, 4000, seed=3) != diversity_ms_ssim(x, 4000, seed=4)
    assert diversity_ms_ssim(x[:1].expand(5, -1, -1, -1), 10) == pytest.approx((1.0, 0.0), abs=1e-9)


def test_images_are_refused() -> None:
    x = images(3, 1, 8, 8)
    for a, b, match in (
        (x, x[:2], "of one shape"),
        (x[0], x[0], r"images \[N, C, H, W\]"),
        (x, 255 * x, r"images in \[0, 1\]"),
        (x - 0.5, x, r"images in \[0, 1\]"),
        (x, x / 0, r"images in \[0, 1\]"),
    ):
        with pytest.raises(ValueError, match=match):
            ms_ssim(a, b)
    with pytest.raises(ValueError, match="at least 2 images"):
        diversity_ms_ssim(x[:1])
    with pytest.raises(ValueError, match="2 pairs"):
        diversity_ms_ssim(x, 1)


@pytest.mark.parametrize("width", [2, 40])
@pytest.mark.parametrize("budget", [50, 2**24])
def test_duplicates_finds_every_pair_once(width: int, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against all pairs, in one block and in many."""
    monkeypatch.setattr("uncollapse.divergences.samples.BUDGET", budget)
    x = normal(30, width)
    x = torch.cat((x, x[[3, 4, 3]], x[:1] + 1e-3))
    every = (x[:, None] - x).norm(dim=-1)[tuple(torch.triu_indices(34, 34, 1))].sort().values
    found = duplicates(x, nearest=9)
    assert found.found == 4 and found.support == 34 * 33 / 8
    assert_equal(found.distances, every[:9])
    assert (found.pairs[:, 0] < found.pairs[:, 1]).all()
    assert {tuple(pair) for pair in found.pairs[:5].tolist()} == {(3, 30), (3, 32), (30, 32), (4, 31), (0, 33)}
    for threshold in (float(every[20]) + 1e-6, float(every[20]) - 1e-6):
        assert duplicates(x, threshold).found == int((every <= threshold).sum())
    assert len(duplicates(x[:2], nearest=9).pairs) == 1


def test_the_support_of_a_uniform_distribution() -> None:
    """1000 samples of 60 draws of 500: pairs in expectation 60 · 59 / 1000, at 6 standard errors (2e-9). The lower limit holds
    in 95 % of samples or more, since D is a whole number: 4 standard errors of that share below (3e-5)."""
    found = [duplicates(torch.randint(500, (60, 1)), nearest=1) for _ in range(1000)]
    assert_mean(torch.tensor([one.found for one in found], dtype=torch.double), 60 * 59 / 1000)
    assert sum(one.support_at_least <= 500 for one in found) / 1000 > 0.95 - 4 * math.sqrt(0.05 * 0.95 / 1000)
    none = duplicates(normal(60, 1))
    assert (none.found, none.support) == (0, math.inf)
    assert none.support_at_least == pytest.approx(60 * 59 / 2 / -math.log(0.05))


def test_a_collapsed_sample_has_a_support_of_one() -> None:
    found = duplicates(normal(1, 100).expand(20, -1))
    assert found.support == 1 and found.found == 190


def test_duplicates_refuses() -> None:
    for threshold, nearest in ((-1.0, 5), (math.inf, 5), (math.nan, 5), (0.0, 0)):
        with pytest.raises(ValueError, match="finite threshold"):
            duplicates(normal(4, 2), threshold, nearest)
    with pytest.raises(ValueError, match="at least 2 draws"):
        duplicates(normal(1, 2))
