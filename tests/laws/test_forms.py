"""The forms of the ELBO are one bound; β and free bits leave it alone at their neutral values."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Size

from laws.numerics import assert_equal, assert_mean, cubature
from laws.parts import BOUNDS, affine, pairs, vae
from laws.ppca import PPCA
from uncollapse.divergences import Critic
from uncollapse.schedules import Cyclical, Linear
from uncollapse.vae import ELBO, IWAE, Capacity, EntropyELBO, JointELBO

t = torch.tensor(0)
nats = st.floats(0, 3)


def test_forms_agree_exactly(ppca: PPCA) -> None:
    """KL, entropy and joint form are equal in exact expectation; the joint form once the data's entropy is taken off."""
    x = ppca.sample(30)
    with cubature():
        kl, entropy = ELBO(ppca.vae, k=4)(x, t)[0], EntropyELBO(ppca.vae, k=4)(x, t)[0]
        joint = JointELBO(ppca.vae, k=4, data_entropy=1.25)(x, t)[0]
    assert_equal(kl, entropy)
    assert_equal(joint - 1.25, kl)


@pytest.mark.parametrize(("prior", "posterior"), pairs())
@pytest.mark.parametrize("form", [EntropyELBO, JointELBO])
def test_forms_agree_in_the_mean(form: type, prior: str, posterior: str) -> None:
    """For every pair of a prior and a posterior of the list: the mean difference from the KL form, on common draws, is zero
    within 6 standard errors over 2000 of them; about 30 numbers, failure rate 6e-8 for all pairs together."""
    model = vae(prior, "Bernoulli", posterior)
    x = torch.tensor([[1.0, 0.0, 1.0]]).expand(2000, 3)
    parameters = model.posterior.encode(x[:1]).expand(2000, -1)
    seed = torch.get_rng_state()
    kl = ELBO(model)(x, t, parameters)[0]
    torch.set_rng_state(seed)
    assert_mean(kl - form(model)(x, t, parameters)[0], 0.0)


@pytest.mark.parametrize("name", BOUNDS)
def test_every_bound_logs_the_same_elbo(name: str) -> None:
    """What a bound calls elbo is the ELBO, whatever it maximises: the IWAE logs that of its draws, β and free bits do not
    enter; 6 standard errors over 4000 draws, 1 number each, failure rate 1e-8 together."""
    model = vae()
    x = torch.tensor([[1.0, 0.0, 1.0]]).expand(4000, 3)
    reference = model.terms(x[:1], k=100000).log_w.mean()
    bound = BOUNDS[name](model)
    elbo = torch.cat([bound(rows, t)[1]["elbo"] for rows in x.split(500)])  # of InfoVAE a kernel of all pairs of rows
    assert_mean(elbo, reference, slack=0.02)


def test_beta_of_one_is_the_elbo(ppca: PPCA) -> None:
    """β = 1, a β schedule at its neutral end, and free bits of zero: the logged ELBO itself, exactly."""
    x = ppca.sample(9)
    for beta, step in ((1.0, 0), (Linear(0.0, 1.0, steps=10), 10), (Linear(0.0, 1.0, steps=10), 500)):
        bound, logged = ELBO(ppca.vae, beta=beta, free_bits=0.0)(x, torch.tensor(step))
        assert_equal(bound, logged["elbo"])
    bound, logged = ELBO(ppca.vae, beta=Linear(0.0, 1.0, steps=10))(x, torch.tensor(0))
    assert_equal(bound, logged["log_likelihood"])


@given(beta=st.floats(0, 5))
def test_beta_weighs_the_divergence_alone(beta: float) -> None:
    """bound = log p(x|z) - β KL, and log p(x|z) - KL is what it logs as the ELBO."""
    x = torch.ones(4, 3)
    bound, logged = ELBO(vae(), beta=beta)(x, t)
    assert_equal(bound, logged["log_likelihood"] - beta * logged["kl"])
    assert_equal(logged["elbo"], logged["log_likelihood"] - logged["kl"])


@given(units=st.lists(st.lists(nats, min_size=3, max_size=3), min_size=1, max_size=6), floor=nats)
def test_free_bits_floor_each_unit(units: list[list[float]], floor: float) -> None:
    """The batch mean of what is charged is Σ_j max(λ, mean KL_j), so never less than the divergence nor than L λ."""
    kl = torch.tensor(units)
    charged = ELBO(vae(), free_bits=floor).floored(kl).mean()
    assert_equal(charged, kl.mean(0).clamp(min=floor).sum())


def test_free_bits_take_no_gradient_below_the_floor() -> None:
    """Units below the floor are free: no gradient reaches their divergence; the others keep the whole of it."""
    kl = torch.tensor([[0.1, 2.0], [0.2, 4.0]], requires_grad=True)
    ELBO(vae(), free_bits=0.5).floored(kl).mean().backward()
    assert_equal(kl.grad, torch.tensor([[0.0, 0.5], [0.0, 0.5]]))


def test_negative_free_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="finite free_bits of at least 0 nats, came -1"):
        ELBO(vae(), free_bits=-1.0)


@pytest.mark.parametrize("form", [ELBO, EntropyELBO, JointELBO, IWAE])
@pytest.mark.parametrize("k", [0, 2.5])
def test_objectives_refuse_what_is_no_number_of_samples(form: type, k: float) -> None:
    """No sample, or half of one, at construction."""
    with pytest.raises(ValueError, match="k as a whole number of at least 1 sample"):
        form(vae(), k=k)


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_weights_that_are_none_are_refused(wrong: float) -> None:
    """Free bits and β, a schedule's ends among them, that are negative or no number; zero is one."""
    with pytest.raises(ValueError, match=f"free_bits of at least 0 nats, came {wrong}; write 0"):
        ELBO(vae(), free_bits=wrong)
    with pytest.raises(ValueError, match=f"beta of at least 0, came {wrong}; write 1"):
        ELBO(vae(), beta=wrong)
    with pytest.raises(ValueError, match=f"beta of at least 0, came Linear 0.0 to {wrong}; write 1"):
        ELBO(vae(), beta=Linear(0.0, wrong))
    with pytest.raises(ValueError, match=f"gamma of at least 0, came {wrong}; "):
        Capacity(vae(), gamma=wrong)
    with pytest.raises(ValueError, match=f"capacity of at least 0, came Cyclical {wrong} to 25.0; "):
        Capacity(vae(), capacity=Cyclical(wrong, 25.0))
    with pytest.raises(ValueError, match=f"noise of at least 0, came Linear {wrong} to 0.0; write 0"):
        Critic([Size((3,))], affine, noise=Linear(wrong, 0.0))
    assert ELBO(vae(), beta=0.0, free_bits=0.0) and Capacity(vae(), gamma=0.0, capacity=Linear(0.0, 25.0))
