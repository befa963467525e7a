"""The flow priors: the change of variables against autograd, and what they refuse."""

from functools import partial

import pytest
import torch
from torch import Size, nn

from laws.numerics import assert_equal
from uncollapse.distributions import AutoregressivePrior, CouplingPrior, SplinePrior
from uncollapse.distributions.densities import StandardNormal

KINDS = [CouplingPrior, AutoregressivePrior, partial(SplinePrior, bins=5)]


@pytest.mark.parametrize("kind", KINDS)
def test_density_is_the_change_of_variables(kind: type) -> None:
    """log p(z) = log N(f(z); 0, I) + log |det ∂f/∂z|, with autograd's Jacobian, and f⁻¹ undoes f (a spline to 1e-6, where its
    root is a quotient)."""
    prior, z = kind(3, hidden=[5], activation=nn.Tanh), torch.randn(4, 3)
    f = prior.transform(None)
    for point in z:
        log_det = torch.autograd.functional.jacobian(f, point).slogdet().logabsdet
        assert_equal(prior().log_prob(point), StandardNormal(3, z).log_prob(f(point)) + log_det)
    assert_equal(f.inv(f(z)), z, 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_the_inverse_of_noise(kind: type) -> None:
    """f of the draws is the standard normal noise of the same seed."""
    prior = kind(3, hidden=[5])
    torch.manual_seed(1)
    z = prior().sample(Size((6,)))
    torch.manual_seed(1)
    assert_equal(prior.transform(None)(z), StandardNormal(3, z).sample(Size((6,))), 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns(kind: type) -> None:
    """A gradient of log p(z) reaches all that has one to give, and z."""
    prior, z = kind(3, hidden=[5], activation=nn.Tanh), torch.randn(8, 3, requires_grad=True)
    prior().log_prob(z).sum().backward()
    assert all(p.grad is not None for p in prior.parameters()) and z.grad.abs().sum() > 0


def test_refusals() -> None:
    """A coupling of one unit, no layers, one bin."""
    with pytest.raises(ValueError, match="came a latent of 1 unit; write --prior SplinePrior"):
        CouplingPrior(1)
    for kind in (CouplingPrior, AutoregressivePrior, SplinePrior):
        with pytest.raises(ValueError, match="at least 1 transform, came 0"):
            kind(2, transforms=0)
    with pytest.raises(ValueError, match="at least 2 bins, came 1"):
        SplinePrior(2, bins=1)
