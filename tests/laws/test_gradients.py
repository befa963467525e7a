"""Two gradients of one expectation: the path through the draw, and the score of its density."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from laws.numerics import assert_mean
from laws.ppca import PPCA
from uncollapse.vae import ELBO, EntropyELBO, JointELBO

t = torch.tensor(0)
N = 20000


def score_gradient(ppca: PPCA, x: Tensor, lam: Tensor) -> Tensor:
    """log w(z) ∇λ log q_λ(z), z ~ q_λ, row by row (Williams, 1992): [N, P]."""
    lam = lam.clone().requires_grad_()
    q = ppca.vae.posterior.at(lam)
    z = q.sample()
    log_q = q.log_prob(z)
    signal = (ppca.vae.log_joint(x, z) - log_q).detach()
    return torch.autograd.grad((signal * log_q).sum(), lam)[0]


def path_gradient(form: type, ppca: PPCA, x: Tensor, lam: Tensor) -> Tensor:
    """The gradient of an objective of one draw for the parameters of q, row by row: [N, P]."""
    lam = lam.clone().requires_grad_()
    return torch.autograd.grad(form(ppca.vae)(x, t, lam)[0].sum(), lam)[0]


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("form", [ELBO, EntropyELBO, JointELBO])
def test_reparameterised_gradient_has_the_mean_of_the_score_gradient(form: type, diagonal: bool) -> None:
    """Both have -∇λ KL(q ‖ p(z|x)) as their mean (at most 14 numbers at 6 standard errors over 20000 draws each, failure rate
    2e-7 for all six cases), and the reparameterised one less than half the variance."""
    ppca = PPCA(diagonal=diagonal)
    row = ppca.sample(1)
    lam = ppca.vae.posterior.encode(row).detach()
    exact = lam.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(-ppca.gap(row, exact).sum(), exact)
    x, lam = row.expand(N, -1), lam.expand(N, -1)
    path, score = path_gradient(form, ppca, x, lam), score_gradient(ppca, x, lam)
    assert_mean(path, gradient[0])
    assert_mean(score, gradient[0])
    assert path.var(0).sum() < 0.5 * score.var(0).sum()


def test_score_has_mean_zero(ppca: PPCA) -> None:
    """E_q[∇λ log q_λ(z)] = 0: 5 numbers at 6 standard errors, failure rate 1e-8."""
    lam = torch.randn(1, 5).expand(N, -1).clone().requires_grad_()
    q = ppca.vae.posterior.at(lam)
    assert_mean(torch.autograd.grad(q.log_prob(q.sample()).sum(), lam)[0], 0.0)


def test_path_derivative_of_a_mean_is_one(ppca: PPCA) -> None:
    """dz/dμ = 1 and dz/dS = ε draw by draw: the reparameterisation itself."""
    lam = torch.randn(30, 5).requires_grad_()
    q = ppca.vae.posterior.at(lam)
    z = q.rsample()
    (d,) = torch.autograd.grad(z[:, 0].sum(), lam)
    eps = (z - q.mean)[:, 0] / (softplus(lam[:, 2]) + 1e-6)
    torch.testing.assert_close(d[:, 0], torch.ones(30))
    torch.testing.assert_close(d[:, 2], eps * torch.sigmoid(lam[:, 2]))
