"""The spread of a batch as a feature: by hand, by group, and with a gradient."""

import pytest
import torch

from uncollapse.networks import MinibatchStd


@pytest.mark.parametrize("shape", [(8, 5), (8, 3, 2, 4), (6, 5), (1, 3)])
def test_it_is_the_mean_spread_of_each_group(shape: tuple[int, ...], float64: None) -> None:
    """Against a loop; eight rows are two groups of four, six rows are one group."""
    x = torch.randn(shape)
    y = MinibatchStd(4)(x)
    assert y.shape == (shape[0], shape[1] + 1, *shape[2:]) and torch.equal(y[:, :-1], x)
    size = 4 if shape[0] % 4 == 0 else shape[0]
    for row in range(shape[0]):
        group = x[row // size * size :][:size]
        expected = (group.var(0, correction=0) + 1e-8).sqrt().mean()
        torch.testing.assert_close(y[row, -1], expected.expand(shape[2:]))


def test_shares_of_a_batch_agree_with_the_whole() -> None:
    """Two halves of multiples of the group give what the whole gives, row by row."""
    layer, x = MinibatchStd(4), torch.randn(16, 3, 2, 2)
    torch.testing.assert_close(torch.cat([layer(half) for half in x.chunk(2)]), layer(x))


def test_equal_rows_have_gradients_that_are_finite(float64: None) -> None:
    """Of the first and the second order, as a penalty on gradients needs them."""
    layer = MinibatchStd(2)
    x = torch.zeros(4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[:, -1].sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    assert gradient.isfinite().all() and second.isfinite().all()
    assert torch.autograd.gradgradcheck(layer, (torch.randn(4, 3, requires_grad=True),))


def test_a_group_of_one_row_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a group of at least 2 rows, came 1; write 4"):
        MinibatchStd(1)
