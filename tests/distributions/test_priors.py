"""The priors against scipy."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Size

from laws.numerics import assert_equal
from uncollapse.distributions import Location, Mixture, Normal, Prior, Uniform


def test_normal_is_scipys() -> None:
    """log N(z; 0, I), its mean, variance and entropy."""
    p, z = Normal(3)(), torch.randn(20, 3)
    assert_equal(p.log_prob(z), torch.as_tensor(stats.norm.logpdf(z.numpy()).sum(-1)))
    assert_equal(p.entropy(), torch.tensor(3 * stats.norm.entropy()))
    assert_equal(torch.stack((p.mean, p.variance)), torch.tensor([[0.0] * 3, [1.0] * 3]))


def test_uniform_is_scipys() -> None:
    """The density on the box, zero outside of it."""
    p, z = Uniform(2, -1.0, 3.0)(), 5 * torch.rand(50, 2) - 1.5
    assert_equal(p.log_prob(z), torch.as_tensor(stats.uniform.logpdf(z.numpy(), -1.0, 4.0).sum(-1)))
    assert p.log_prob(torch.tensor([0.0, 3.5])) == -torch.inf


def test_location_is_scipys() -> None:
    """log N(x; θ, I)."""
    model, x = Location(2), torch.randn(9, 2)
    with torch.no_grad():
        model.theta.copy_(torch.tensor([1.0, -2.0]))
    assert_equal(model().log_prob(x).detach(), torch.as_tensor(stats.norm.logpdf(x.numpy(), [1.0, -2.0]).sum(-1)))


def test_mixture_is_scipys() -> None:
    """Σ_c π_c N(z; μ_c, diag σ_c²) with weights, means and scales that all differ."""
    model, z = Mixture(2, 3), torch.randn(15, 2)
    with torch.no_grad():
        model.logits.normal_()
        model.log_scale.normal_(std=0.5)
        weights, loc, scale = model.logits.softmax(0).numpy(), model.loc.numpy(), model.log_scale.exp().numpy()
    by_hand = sum(w * stats.norm.pdf(z.numpy(), m, s).prod(-1) for w, m, s in zip(weights, loc, scale, strict=True))
    assert_equal(model().log_prob(z).detach(), torch.as_tensor(np.log(by_hand)))


@pytest.mark.parametrize(("prior", "cdf"), [(Normal, stats.norm.cdf), (Uniform, stats.uniform.cdf)])
def test_draws_pass_kolmogorov_and_smirnov(prior: type[Prior], cdf: object) -> None:
    """The draws' distribution function is scipy's: p-value above 1e-4 each, failure rate 2e-4 without the fixed seed."""
    assert stats.kstest(prior(1)().sample(Size((5000,))).squeeze(-1).numpy(), cdf).pvalue > 1e-4


def test_fitted_mixture_finds_the_clusters() -> None:
    """Expectation maximisation recovers weights, means and scales of clusters far apart: means to 0.15 and scales to 0.1, more
    than 4 standard errors of each of the 8 numbers (failure rate 5e-4 without the fixed seed)."""
    z = torch.cat((torch.randn(1000, 2) * 0.5 - 6, torch.randn(3000, 2) + 6))
    found = Mixture.fitted(z, components=2)
    order = found.loc[:, 0].argsort()
    assert (found.loc[order] - torch.tensor([[-6.0, -6.0], [6.0, 6.0]])).abs().max() < 0.15
    assert (found.log_scale[order].exp() - torch.tensor([[0.5, 0.5], [1.0, 1.0]])).abs().max() < 0.1
    assert_equal(found.logits.softmax(0)[order], torch.tensor([0.25, 0.75]), 1e-3)


def test_fitted_mixture_has_no_more_components_than_points() -> None:
    """Three points, ten components asked for: three, each with a finite density."""
    found = Mixture.fitted(torch.randn(3, 2), components=10)
    assert len(found.loc) == 3 and found().log_prob(found.loc).isfinite().all()


def test_refusals() -> None:
    """Sizes and intervals that make no density are refused at construction."""
    with pytest.raises(ValueError, match="at least 1 feature, came 0"):
        Normal(0)
    with pytest.raises(ValueError, match="low < high"):
        Uniform(2, 1.0, 1.0)
    with pytest.raises(ValueError, match="at least 1 component"):
        Mixture(2, 0)
