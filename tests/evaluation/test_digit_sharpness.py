"""How far images of digits lie from real ones: the share within three standard deviations, of real digits and of others."""

import os
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import mahalanobis
from torch import Tensor

from uncollapse.data import Source, load
from uncollapse.evaluation.digit_sharpness import WITHIN, DigitSharpness, sharpness_statistics

STACKS = 1000


def upsampled(split: Source) -> tuple[Tensor, Tensor]:
    """The digits of scikit-learn in 28 by 28 pixels."""
    assert split.labels is not None
    return F.interpolate(split.all(), (28, 28), mode="bilinear", align_corners=False), split.labels


@pytest.fixture(scope="module")
def small() -> tuple[DigitSharpness, Tensor, Tensor]:
    """What is known of 1,439 small digits, and 358 others."""
    data = load("digits")
    x, y = upsampled(data.train)
    others = [torch.cat(parts) for parts in zip(upsampled(data.valid), upsampled(data.test), strict=True)]
    return DigitSharpness.fit(Source(x, y), y), others[0], others[1]


def blurred(sigma: float) -> Callable[[Tensor, Tensor], Tensor]:
    """A Gaussian blur of so many pixels."""
    return lambda x, y: torch.from_numpy(gaussian_filter(x.numpy(), (0, 0, sigma, sigma)))


def averaged(x: Tensor, y: Tensor) -> Tensor:
    """Each digit with another of its class."""
    other = torch.cat([rows.roll(1) for rows in (torch.where(y == digit)[0] for digit in range(10))])
    order = torch.cat([torch.where(y == digit)[0] for digit in range(10)])
    found = torch.empty_like(x)
    found[order] = (x[order] + x[other]) / 2
    return found


def means(x: Tensor, y: Tensor) -> Tensor:
    """Each digit is the mean of its class."""
    return torch.stack([x[y == digit].mean(0) for digit in range(10)])[y]


def noisy(sigma: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, y: x + sigma * torch.randn_like(x)


def share_within(known: DigitSharpness, x: Tensor, y: Tensor) -> float:
    """Of a thousand stacks of these digits, those within 3 standard deviations."""
    rows = torch.randint(len(x), (STACKS, 3))
    return float((known(x[rows, 0], y[rows]) < 3).double().mean())


def test_small_digits(small) -> None:
    """Held-out digits as Gaussian modes (4 of 358 digits are 0.033 of the stacks), with faint noise too; the means, blurred and
    noisy ones hardly at all, and averages of two halfway at most."""
    known, x, y = small
    assert abs(share_within(known, x, y) - WITHIN) < 0.03
    assert share_within(known, noisy(0.01)(x, y), y) > 0.95
    assert share_within(known, noisy(0.03)(x, y), y) > 0.85
    for other in (means, blurred(1.0), blurred(2.0), noisy(0.1)):
        assert share_within(known, other(x, y), y) < 0.1, other
    assert share_within(known, averaged(x, y), y) < 0.6
    for far in (torch.rand_like(x), (0.4 * x + 0.25 * torch.randn_like(x)).clamp(0, 1)):
        rows = torch.randint(len(x), (STACKS, 3))
        assert float(known(far[rows, 0], y[rows]).min()) > 15


def test_digits_of_mnist() -> None:
    """98.9 % of other real stacks to half a per cent, blur of any kind not at all."""
    if not os.environ.get("UNCOLLAPSE_DATA"):
        pytest.skip("needs published data files: set UNCOLLAPSE_DATA to a directory that holds mnist/")
    data = load("mnist")
    assert data.train.labels is not None and data.valid.labels is not None
    known = DigitSharpness.fit(data.train, data.train.labels)
    x, y = data.valid.batch(torch.arange(3000)).x.float(), data.valid.labels[:3000]
    assert abs(share_within(known, x, y) - WITHIN) < 0.02
    assert share_within(known, noisy(0.03)(x, y), y) > 0.95
    for other in (means, averaged, blurred(0.7), blurred(1.5), noisy(0.2), lambda x, y: torch.rand_like(x)):
        assert share_within(known, other(x, y), y) < 0.02, other


def test_distances_are_those_of_a_gaussian(small) -> None:
    """By scipy's Mahalanobis distance with the inverse covariance, the root of three squares; whatever type and batch."""
    known, x, y = small
    h = sharpness_statistics(x[:6]).double().numpy()
    inverse = (known.whitening.mT @ known.whitening).double().numpy()
    single = [mahalanobis(row, known.means[k].numpy(), inverse[k]) for row, k in zip(h, y[:6].tolist(), strict=True)]
    expected = np.linalg.norm(np.reshape(single, (2, 3)), axis=1) / known.unit
    stacks, digits = x[:6].view(2, 3, 28, 28), y[:6].view(2, 3)
    np.testing.assert_allclose(known(stacks, digits), expected, rtol=1e-3)
    np.testing.assert_allclose(known(stacks.double(), digits), expected, rtol=1e-3)
    np.testing.assert_allclose(known(stacks[1:], digits[1:]), expected[1:], rtol=1e-3)


def test_statistics_by_hand() -> None:
    """One white pixel of 28 by 28, amid black: a share of the pixels has ink, no grey, and each difference one."""
    x = torch.zeros(1, 1, 28, 28)
    x[..., 10, 10] = 1.0
    found = sharpness_statistics(x)[0].double().exp() - 1e-4
    inner, near = 26**2, 24**2
    expected = [1 / 784, 0.0, 4 / inner, (2 + 2**0.5) / inner, 20 / inner, 4 / near, (2 + 2**0.5) / near, 20 / near]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.double), rtol=1e-4, atol=1e-8)
    assert torch.equal(sharpness_statistics(x + 0.05 * torch.rand_like(x) * (x == 0)), sharpness_statistics(x))


def test_what_is_known_is_the_same_each_time(small) -> None:
    """Without a change of the generator that others draw from, and whatever that is at; labels may come in any order."""
    x, y = upsampled(load("digits").train)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = DigitSharpness.fit(Source(x, y), y)
    assert torch.equal(torch.get_rng_state(), state)
    assert again.unit == pytest.approx(small[0].unit, rel=1e-4)
    order = y.argsort()
    ordered = DigitSharpness.fit(Source(x[order], y[order]), y[order])
    assert ordered.unit == pytest.approx(small[0].unit, rel=0.1)


def test_too_few_of_a_digit_are_refused() -> None:
    y = torch.arange(200) % 9
    with pytest.raises(ValueError, match=r"expected at least 20 images of each digit, got \[23, .*, 0\]"):
        DigitSharpness.fit(Source(torch.rand(200, 1, 28, 28), y), y)
