"""Copying of the training set: exact p-values, calibration where nothing is copied, power where something is."""

import math
from importlib import import_module
from itertools import combinations

import pytest
import torch
from scipy import stats
from torch import Tensor

from uncollapse.divergences import Copying, copying
from uncollapse.divergences.copying import _preceding


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.double)


def some(train: Tensor, n: int) -> Tensor:
    """Random rows of the training set."""
    return train[torch.randint(len(train), (n,))]


@pytest.mark.parametrize(("n", "m", "k"), [(4, 5, 1), (4, 5, 2), (3, 3, 3), (1, 6, 1)])
def test_the_p_value_is_that_of_every_order(n: int, m: int, k: int) -> None:
    """All orders of n + m values enumerated: how many of the n precede the k-th of the m. The score has half of a tie."""
    counts = []
    for places in combinations(range(n + m), n):
        others = [place for place in range(n + m) if place not in places]
        counts.append(sum(place < others[k - 1] for place in places))
    for x in range(n + 1):
        reach, beyond = (sum(count >= at for count in counts) / len(counts) for at in (x, x + 1))
        p_value, z = _preceding(x, k, n, m)
        assert p_value == pytest.approx(reach, abs=1e-12)
        assert z == pytest.approx(stats.norm.isf((reach + beyond) / 2), abs=1e-9)


def by_hand(x: Tensor, train: Tensor) -> Tensor:
    first, second = (x.flatten(1)[:, None] - train.flatten(1)).norm(dim=-1).topk(2, largest=False).values.unbind(1)
    return first / second


@pytest.mark.parametrize("width", [3, 40])
@pytest.mark.parametrize("numbers", [200, 2**22])
def test_near_copies_are_those_of_the_definition(width: int, numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair is a sample and its nearest training row, by a threshold that is a held-out row's own ratio; whatever the
    blocks, of a tensor or of several, images or rows."""
    monkeypatch.setattr(import_module("uncollapse.divergences.copying"), "NUMBERS", numbers)
    train, heldout = normal(300, width), normal(60, width)
    x = torch.cat((train[[7, 7, 100]] + 1e-6 * normal(3, width), normal(40, width)))
    found = copying(x, train, heldout)
    ratios, nearest = by_hand(x, train), (x[:, None] - train).norm(dim=-1).argmin(1)
    near = (ratios <= found.threshold).nonzero().flatten()
    assert set(found.pairs[:, 0].tolist()) == set(near.tolist()) >= {0, 1, 2}
    assert torch.equal(found.pairs[:, 1], nearest[found.pairs[:, 0]])
    assert (ratios[found.pairs[:, 0]].diff() >= 0).all()
    assert found.rows == len(nearest[near].unique())
    assert float((by_hand(heldout, train) - found.threshold).abs().min()) < 1e-9
    image = lambda rows: rows.reshape(len(rows), 1, -1, 1)  # noqa: E731
    again = copying(image(x), (image(part) for part in train.split(70)), image(heldout))
    assert again[:5] == pytest.approx(found[:5], abs=1e-9) and torch.equal(again.pairs, found.pairs)


def test_a_pure_copier_of_many_rows_is_found() -> None:
    """1,000 copies of 60,000 training rows: each of them is told, beside as many held-out rows."""
    train = torch.randn(60_000, 2)
    found = copying(some(train, 1000), train, torch.randn(500, 2))
    assert found.share == 1.0 and found.p_value < 1e-100 and found.z > 20 and found.rows > 950


@pytest.mark.parametrize(("width", "least"), [(2, 0.2), (20, 1.0)])
def test_copies_with_little_noise_are_found(width: int, least: float) -> None:
    """Noise of a thousandth of the scale: a part of the distance of neighbours on a plane, nothing in 20 dimensions."""
    train = normal(5000, width)
    found = copying(some(train, 500) + 1e-3 * normal(500, width), train, normal(500, width))
    assert found.share >= least and found.p_value < 1e-12


@pytest.mark.parametrize("width", [2, 20])
def test_a_few_copies_are_found(width: int) -> None:
    """One sample in twenty, in each of 10 seeds: the share at 5 standard errors."""
    for _ in range(10):
        train = normal(2000, width)
        found = copying(torch.cat((some(train, 25), normal(475, width))), train, normal(500, width))
        assert found.p_value < 1e-4
        assert abs(found.share - 0.05) < 5 * found.standard_error < 0.1


INNOCENT = {
    "fresh": lambda x, train: x,
    "shrunk": lambda x, train: 0.8 * x,
    "widened": lambda x, train: 1.5 * x,
    "on-a-plane": lambda x, train: x * (torch.arange(x.shape[1]) < 2),
    "mean": lambda x, train: train.mean(0).expand_as(x),
    "averages": lambda x, train: (some(train, len(x)) + some(train, len(x))) / 2,
    "ten-points": lambda x, train: x[:10].repeat(len(x) // 10, 1),
    "foreign": lambda x, train: torch.rand_like(x) * 9,
}


def calibrated(found: list[Copying]) -> None:
    """False alarms at 1 in 20 and 1 in 100 no more often than that, by the binomial's quantile of 1e-5; z as its name says."""
    p = torch.tensor([one.p_value for one in found])
    for level in (0.05, 0.01):
        assert int((p <= level).sum()) <= stats.binom.isf(1e-5, len(p), level)
    z = torch.tensor([one.z for one in found])
    assert float(z.mean()) < 5 / len(found) ** 0.5 and float(z.var()) < 1 + 5 * math.sqrt(2 / len(found))


@pytest.mark.parametrize("width", [2, 20])
@pytest.mark.parametrize("name", INNOCENT)
def test_what_copies_nothing_is_no_copier(name: str, width: int) -> None:
    """40 seeds, of generators good and bad: shrunk samples and the mean are nearer to training rows than held-out rows are."""
    found = []
    for _ in range(40):
        train, heldout, x = normal(1000, width), normal(300, width), normal(300, width)
        found.append(copying(INNOCENT[name](x, train), train, heldout))
    calibrated(found)
    assert max(one.share for one in found) < 0.15


def test_a_rank_test_of_distances_would_call_shrunk_samples_copies() -> None:
    """What the ratio is for: in 20 dimensions samples of scale 0.8 are nearer to training rows at p < 1e-12."""
    train, heldout, x = normal(1000, 20), normal(300, 20), 0.8 * normal(300, 20)
    near, far = (torch.cdist(rows, train).min(1).values.numpy() for rows in (x, heldout))
    assert stats.mannwhitneyu(near, far, alternative="less").pvalue < 1e-12
    assert copying(x, train, heldout).p_value > 0.01


@pytest.mark.parametrize("width", [8, 20])
def test_binary_rows_repeat_without_being_copied(width: int) -> None:
    """Of 8 bits most rows stand in the training set, and the held-out ones as often; 40 seeds."""
    p, found = torch.rand(width, dtype=torch.double), []
    for _ in range(40):
        train, heldout, x = (torch.bernoulli(p.expand(n, width)) for n in (500, 200, 200))
        found.append(copying(x, train, heldout))
    calibrated(found)
    bits = torch.randint(2, (3, 300, 40), dtype=torch.uint8)
    assert copying(bits[0], bits[0], bits[1]).p_value < 1e-50 and copying(bits[2], bits[0], bits[1]).p_value > 1e-3


def test_the_standard_error_is_that_of_other_held_out_rows() -> None:
    """Of ten bits 38 % of all rows stand in the training set by chance; 60 held-out rows say how many. 100 seeds, the spread
    beside the mean error, within a third: a standard deviation of 100 is good to 7 %."""
    found = []
    for _ in range(100):
        train, x, heldout = (torch.randint(2, (n, 10)) for n in (500, 1000, 60))
        found.append(copying(x, train, heldout))
    shares = torch.tensor([one.share for one in found])
    error = torch.tensor([one.standard_error for one in found]).square().mean().sqrt()
    assert 2 / 3 < float(shares.std() / error) < 4 / 3


def test_the_standard_error_is_that_of_other_samples() -> None:
    """Of generators that copy a tenth at random: 100 seeds, the spread of the share beside the mean error, within a third."""
    found = []
    for _ in range(100):
        train, x = normal(500, 8), normal(200, 8)
        copied = torch.rand(200, 1) < 0.1
        found.append(copying(torch.where(copied, some(train, 200), x), train, normal(200, 8)))
    shares = torch.tensor([one.share for one in found])
    error = torch.tensor([one.standard_error for one in found]).square().mean().sqrt()
    assert 2 / 3 < float(shares.std() / error) < 4 / 3
    assert abs(float(shares.mean()) - 0.1) < 5 * float(shares.std()) / 10


def test_few_rows_over_and_over() -> None:
    """Ten training rows, again and again: all copies, of ten rows, and told by these ten alone. One row proves little."""
    train, heldout = normal(1000, 5), normal(300, 5)
    found = copying(train[:10].repeat(30, 1), train, heldout)
    assert found.share == 1.0 and found.rows == 10 and 1e-30 < found.p_value < 1e-10
    one = copying(train[:1].repeat(300, 1), train, heldout)
    assert one.share == 1.0 and one.rows == 1 and 1 / 301 <= one.p_value < 0.01


def test_what_makes_no_comparison_is_refused() -> None:
    x = normal(5, 3)
    with pytest.raises(ValueError, match="at least 2 training rows, got 1"):
        copying(x, x[:1], x)
    with pytest.raises(ValueError, match="one size"):
        copying(x, normal(5, 2), x)
    with pytest.raises(ValueError, match="one size"):
        copying(x, x, normal(5, 2))
    with pytest.raises(ValueError, match="at least 2 draws"):
        copying(x, x, x[:1])
    with pytest.raises(ValueError, match="finite numbers"):
        copying(x, x / 0, x)
