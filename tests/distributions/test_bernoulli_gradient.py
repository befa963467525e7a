"""The Bernoulli likelihood's own backward, and its faster way where no gradient is needed."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from laws.numerics import assert_equal
from uncollapse.distributions.fields import BernoulliField


def log_prob(logits: Tensor, x: Tensor) -> Tensor:
    return BernoulliField(logits, x.shape[1:]).log_prob(x)


def test_against_finite_differences() -> None:
    """First and second derivatives, for plain logits, with K draws in front, and over an image."""
    x = torch.bernoulli(torch.full((4, 3), 0.5))
    for logits in (torch.randn(4, 3), torch.randn(2, 4, 3)):
        assert torch.autograd.gradcheck(lambda l: log_prob(l, x), logits.requires_grad_())
        assert torch.autograd.gradgradcheck(lambda l: log_prob(l, x), logits)
    image = torch.bernoulli(torch.full((2, 1, 2, 2), 0.5))
    assert torch.autograd.gradcheck(lambda l: log_prob(l, image), torch.randn(3, 2, 1, 2, 2, requires_grad=True))


def test_against_torch() -> None:
    """Value and gradient are those of torch's cross-entropy, summed over the image."""
    logits, x = torch.randn(5, 4, 6, requires_grad=True), torch.bernoulli(torch.full((4, 6), 0.3))
    ours, theirs = log_prob(logits, x), -binary_cross_entropy_with_logits(logits, x.expand(5, 4, 6), reduction="none").sum(-1)
    assert_equal(ours, theirs)
    weights = torch.randn(5, 4)
    (a,), (b,) = (torch.autograd.grad((weights * value).sum(), logits) for value in (ours, theirs))
    assert_equal(a, b)


@pytest.mark.parametrize("d", [1, 15, 16, 17, 100])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1000.0])
def test_without_gradients_it_is_the_same(d: int, scale: float) -> None:
    """Whatever the number of pixels and the size of the logits: the value under no_grad is that with gradients, to 1e-10."""
    logits, x = scale * torch.randn(3, 4, d), torch.bernoulli(torch.full((4, d), 0.5))
    with torch.no_grad():
        without = log_prob(logits, x)
    assert_equal(without, log_prob(logits, x))
    with torch.no_grad():
        single = log_prob(logits.float(), x.float())
    assert_equal(single.double(), without, 1e-5)


def test_one_set_of_logits_for_many_observations() -> None:
    """Logits [D] are shared by x [N, D], and get the sum of the gradients."""
    logits, x = torch.randn(3, requires_grad=True), torch.bernoulli(torch.full((7, 3), 0.5))
    (gradient,) = torch.autograd.grad(BernoulliField(logits, torch.Size((3,))).log_prob(x).sum(), logits)
    assert_equal(gradient, (x - torch.sigmoid(logits)).sum(0).detach())


def test_booleans_and_integers_are_data_too() -> None:
    """x may be bool or int: the result is in the logits' precision."""
    logits = torch.randn(4, 3)
    x = torch.bernoulli(torch.full((4, 3), 0.5))
    for kind in (torch.bool, torch.int64, torch.float32):
        assert_equal(log_prob(logits, x.to(kind)), log_prob(logits, x))
