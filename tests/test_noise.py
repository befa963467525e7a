"""Randomness that follows from (seed, step, row): what two processes draw together is what one draws alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Size, Tensor

from laws.numerics import assert_mean
from laws.parts import LIKELIHOODS, POSTERIORS, PRIORS, prior, vae
from uncollapse import noise
from uncollapse.noise import Rows, seed_step, sharing
from uncollapse.vae import ELBO, IWAE

HALVES = (Rows(0, 4, 8), Rows(4, 8, 8))
like = torch.zeros(())


def shares(draw: Callable[[int, int], Tensor], batch: int, tolerance: float = 1e-9) -> None:
    """draw(start, stop) by one process and by two, with the same seed: the same rows, but for the rounding of what is computed
    from the noise, since a product of eight rows may be added up in another order than one of four."""
    seed_step(3, 5)
    whole = draw(0, 8)
    parts = []
    for rows in HALVES:
        seed_step(3, 5)
        with sharing(rows):
            parts.append(draw(rows.start, rows.stop))
    torch.testing.assert_close(torch.cat(parts, batch), whole, rtol=tolerance, atol=tolerance)
    assert not torch.equal(*parts)


def test_seed_step_is_a_function_of_both() -> None:
    """The same pair gives the same numbers, and 900 neighbouring pairs give different ones."""
    seen = set()
    for seed in range(30):
        for step in range(30):
            seed_step(seed, step)
            seen.add(torch.initial_seed())
    assert len(seen) == 900
    seed_step(2, 3)
    first = torch.randn(3)
    seed_step(99, 99)
    torch.randn(7)
    seed_step(2, 3)
    assert torch.equal(torch.randn(3), first)


def test_neighbouring_steps_are_unrelated() -> None:
    """First draws of 2000 consecutive steps: mean 0, variance 1, no correlation with the next; 3 numbers at 6 standard errors,
    failure rate 6e-9."""
    first = []
    for step in range(2000):
        seed_step(0, step)
        first.append(torch.randn(()))
    draws = torch.stack(first)
    assert_mean(torch.stack((draws[:-1], draws[:-1].square() - 1, draws[:-1] * draws[1:]), -1), 0.0)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**63 - 1])
@pytest.mark.parametrize("step", [0, 1, 10**9])
def test_every_seed_is_allowed(seed: int, step: int) -> None:
    """Large seeds and steps stay within what torch takes."""
    seed_step(seed, step)
    assert 0 <= torch.initial_seed() < 2**63


@pytest.mark.parametrize("function", [noise.normal, noise.uniform])
@pytest.mark.parametrize("batch", [0, 1, 2, -1, -2, -3])
def test_halves_make_the_whole(function: Callable[..., Tensor], batch: int) -> None:
    """For normal and uniform noise and any batch dimension, to the last bit: noise alone is not computed with."""

    def draw(start: int, stop: int) -> Tensor:
        mine = [5, 3, 6]
        mine[batch] = stop - start
        return function(Size(mine), like, batch)

    shares(draw, batch, tolerance=0.0)


def test_uneven_shares_make_the_whole_too() -> None:
    """Three processes with 1, 5 and 2 rows."""
    seed_step(0, 0)
    whole = noise.normal(Size((4, 8, 2)), like)
    parts = []
    for rows in (Rows(0, 1, 8), Rows(1, 6, 8), Rows(6, 8, 8)):
        seed_step(0, 0)
        with sharing(rows):
            parts.append(noise.normal(Size((4, rows.stop - rows.start, 2)), like))
    assert torch.equal(torch.cat(parts, 1), whole)


@pytest.mark.parametrize("name", [n for n in POSTERIORS if n != "Free"])
def test_posteriors_share(name: str, float64: None) -> None:
    """Draws [K, B, L] of every posterior of the list. (In `eval()`: statistics of a batch need the processes themselves.)"""
    family, x = POSTERIORS[name](2, Size((3,))).eval(), torch.randn(8, 3)
    if hasattr(family, "attach"):
        family.attach(lambda x, z: -z.square().sum(-1))
    shares(lambda start, stop: family(x[start:stop]).rsample(Size((6,))).detach(), -2)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods_share(name: str, float64: None) -> None:
    """Draws [B, *shape] of every likelihood of the list, of images too."""
    family, z = LIKELIHOODS[name](2, Size((1, 2, 3))).eval(), torch.randn(8, 2)
    shares(lambda start, stop: family(z[start:stop]).sample().detach(), 0)


@pytest.mark.parametrize("name", PRIORS)
def test_priors_share(name: str, float64: None) -> None:
    """Draws [B, L] and [K, B, L] of the priors, the components of the mixtures included."""
    part = prior(name)
    shares(lambda start, stop: part().sample(Size((stop - start,))), -2)
    shares(lambda start, stop: part().sample(Size((5, stop - start))), -2)


@pytest.mark.parametrize("objective", [ELBO, IWAE])
def test_objectives_share(objective: type, float64: None) -> None:
    """The bound of each row is that of the single process, so their mean and its gradient are."""
    bound, x = objective(vae(), k=3), torch.bernoulli(torch.full((8, 3), 0.5))
    shares(lambda start, stop: bound(x[start:stop], torch.tensor(0))[0].detach(), 0)


def test_it_ends_with_the_block() -> None:
    """After it, and after an error in it, draws are a single process's again; blocks nest."""
    with pytest.raises(KeyError), sharing(HALVES[1]):
        raise KeyError
    seed_step(1, 1)
    alone = noise.uniform(Size((4, 2)), like)
    with sharing(HALVES[1]):
        with sharing(None):
            seed_step(1, 1)
            assert torch.equal(noise.uniform(Size((4, 2)), like), alone)
        seed_step(1, 1)
        assert not torch.equal(noise.uniform(Size((4, 2)), like), alone)
    seed_step(1, 1)
    assert torch.equal(noise.uniform(Size((4, 2)), like), alone)


def test_noise_is_standard_and_in_the_given_precision() -> None:
    """Means and variances of normal (0, 1) and uniform (1/2, 1/12) noise: 4 numbers at 6 standard errors, failure rate 8e-9."""
    double = torch.zeros((), dtype=torch.float64)
    n, u = noise.normal(Size((40000, 1)), double), noise.uniform(Size((40000, 1)), double)
    assert n.dtype == u.dtype == torch.float64 and u.min() >= 0 and u.max() < 1
    assert_mean(torch.cat((n, n.square() - 1, u - 0.5, (u - 0.5).square() - 1 / 12), -1), 0.0)
