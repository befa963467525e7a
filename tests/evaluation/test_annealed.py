"""Annealed importance sampling against the linear-Gaussian model and quadrature: bounds in expectation, and what is refused."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution
from torch.utils._python_dispatch import TorchDispatchMode

from laws.numerics import assert_equal, assert_mean, every_event, support_grid
from laws.parts import affine
from laws.ppca import PPCA
from uncollapse import noise
from uncollapse.distributions import (
    Bernoulli,
    Density,
    Implicit,
    LatentVariableModel,
    LearnedSigma,
    LogitNormal,
    Mixture,
    Normal,
    Prior,
    SemiImplicit,
    Uniform,
    VampPrior,
    likelihoods,
    posteriors,
)
from uncollapse.evaluation import (
    Annealing,
    FromPosterior,
    FromPrior,
    Ladder,
    LinearLadder,
    Matched,
    Proposal,
    SigmoidLadder,
    Widened,
    ais,
    bracket,
    reverse,
)
from uncollapse.evaluation.annealed import UP
from uncollapse.evaluation.paths import Path, run, table
from uncollapse.networks import MLP
from uncollapse.vae import VAE

STARTS = [FromPrior(), FromPosterior(), Widened(1.5), Matched(draws=64)]


@pytest.fixture(autouse=True)
def _float64(float64: None) -> None:
    """The precision of every part built here."""


@pytest.fixture
def ppca(float64: None) -> PPCA:
    """Its posterior is wrong: moved, and wide enough that weights from it have a variance."""
    known = PPCA()
    known.vae.requires_grad_(False)
    known.solve_encoder()
    bias = known.encoder.bias
    bias.copy_(known.vae.posterior.widen(bias[None], 1.3)[0])
    bias[:2] += 0.3
    return known


class Late(Ladder):
    """Rungs that are not symmetric, denser near the start."""

    def at(self, u: Tensor) -> Tensor:
        return u.square()


def short(temperatures: int, **settings: Any) -> Annealing:
    """Few leapfrog steps, enough for two latents, of a size that suits them."""
    return Annealing(temperatures, **{"leapfrogs": 3, "step_size": 0.3, "adapt": "never", **settings})


@pytest.mark.parametrize("ladder", [LinearLadder(), SigmoidLadder(), SigmoidLadder(10.0)], ids=repr)
@pytest.mark.parametrize("temperatures", [1, 2, 101])
def test_a_ladder_rises_from_0_to_1(ladder: Any, temperatures: int) -> None:
    betas = torch.tensor(ladder.betas(temperatures))
    assert (len(betas), betas[0], betas[-1]) == (temperatures + 1, 0, 1)
    assert (betas.diff() > 0).all()
    assert_equal(betas + betas.flip(0), torch.ones_like(betas))


def test_a_flat_sigmoid_is_linear() -> None:
    assert_equal(torch.tensor(SigmoidLadder(1e-3).betas(10)), torch.tensor(LinearLadder().betas(10)), tolerance=1e-6)


@pytest.mark.parametrize("start", STARTS, ids=repr)
@pytest.mark.parametrize("adapt", ["first", "never"])
def test_weights_are_unbiased(ppca: PPCA, start: Proposal, adapt: str) -> None:
    """E w = p(x) however short the annealing, and E log w <= log p(x): 2000 chains for each of 2 images in each of eight cases,
    6 standard errors, failure rate 3e-8."""
    x = ppca.sample(2)
    exact = ppca.log_prob(x)
    log_w = ais(ppca.vae, x, 2000, short(12, adapt=adapt, ladder=Late()), start).log_weights
    assert_mean((log_w - exact).exp(), 1.0)
    assert (log_w.mean(0) < exact).all()


@pytest.mark.parametrize("start", STARTS, ids=repr)
def test_reverse_weights_are_unbiased(ppca: PPCA, start: Proposal) -> None:
    """E 1 / w = 1 / p(x) over exact draws of the posterior, and E log w >= log p(x): 4000 draws for one image in each of four
    cases, 6 standard errors, failure rate 8e-9."""
    x = ppca.sample(1).expand(4000, -1)
    exact = ppca.log_prob(x)
    found = reverse(ppca.vae, ppca.posterior(x).sample(), x, 1, short(20, ladder=Late()), start)
    assert_mean((exact - found.log_weights[0]).exp(), 1.0)
    assert found.log_likelihood.mean() > exact[0]


def test_a_thousand_temperatures_find_the_evidence() -> None:
    """16 chains: each of 30 images within 6 of its standard errors (failure rate 6e-8), the mean within 0.01 nats."""
    known = PPCA(data=3, latent=1, sigma=1.0)
    known.set_decoder(torch.tensor([[0.9], [-0.6], [0.3]]), 0.2)
    x = known.sample(30)
    found = ais(known.vae, x, annealing=Annealing(leapfrogs=1, step_size=0.4, bounds=(0.1, 2.0)))
    error = found.log_likelihood - known.log_prob(x).detach()
    assert (error.abs() <= 6 * found.log_weights.std(0) / 4).all()
    assert error.abs().max() < 0.05
    assert abs(error.mean()) < 0.01
    assert (found.effective_sample_size > 15.5).all()


@pytest.mark.parametrize("start", [FromPrior(), FromPosterior()], ids=repr)
def test_a_bracket_contains_the_evidence(start: Proposal) -> None:
    """Narrower than 0.05 nats, the mean of the exact log p(x) within it at 6 standard errors of each end's error."""
    known = PPCA(data=3, sigma=1.0)
    known.solve_encoder()
    with torch.no_grad():
        known.encoder.bias[:2] += 0.3
    found = bracket(known.vae, 60, 16, short(60, leapfrogs=2, step_size=0.5), start)
    exact = known.log_prob(found.x).detach()
    below, above = found.below.log_likelihood - exact, found.above.log_likelihood - exact
    assert below.mean() < 6 * below.std() / 60**0.5
    assert above.mean() > -6 * above.std() / 60**0.5
    assert abs(found.gap) < 0.05
    assert found.gap == pytest.approx(found.upper - found.lower)
    assert found.lower_standard_error == pytest.approx(float(found.below.log_likelihood.std()) / 60**0.5)
    assert found.as_dict().keys() == {
        *("lower", "lower_standard_error", "upper", "upper_standard_error", "gap", "gap_standard_error"),
        *("n", "chains", "temperatures"),
    }


def test_a_short_bracket_is_wide(ppca: PPCA) -> None:
    """The gap shrinks with the temperatures, and is far from 0 at its standard error where there are few."""
    few, many = (bracket(ppca.vae, 40, 4, short(t)) for t in (3, 60))
    assert few.gap > 6 * few.gap_standard_error
    assert many.gap < few.gap / 4


@pytest.mark.parametrize("start", STARTS[:3], ids=repr)
def test_one_temperature_is_importance_sampling(ppca: PPCA, start: Proposal) -> None:
    """The same draws as the house's own importance weights have: exact, from the prior and from the posterior (IWAE)."""
    x = ppca.sample(7)
    found = ais(ppca.vae, x, 50, Annealing(1), start, seed=3)
    noise.seed_step(3, UP)
    log_w = ppca.vae.terms(x, 50, start.at(ppca.vae, ppca.vae.posterior.encode(x))).log_w
    assert_equal(found.log_weights, log_w)
    assert_equal(found.log_likelihood, log_w.logsumexp(0) - math.log(50))
    assert found.acceptance.isnan().all()


PRIORS: dict[str, Callable[[], Prior]] = {
    "normal": lambda: Normal(1),
    "two latents": lambda: Normal(2),
    "uniform": lambda: Uniform(1, -1.0, 2.0),
    "mixture": lambda: Mixture(1, 3),
}


@pytest.mark.parametrize("name", PRIORS)
def test_a_bernoulli_decoder_against_quadrature(name: str) -> None:
    """log p(x) of all 8 events by the midpoint rule, to 6 standard errors of the mean weight (failure rate 6e-8 in all)."""
    prior = PRIORS[name]()
    model = LatentVariableModel(prior, Bernoulli(prior.features, Size((3,)), lambda i, o: MLP(i, o, [8])))
    with torch.no_grad():
        for p in model.likelihood.parameters():
            p.mul_(3)
    x, (grid, area) = every_event(2, Size((3,))), support_grid(prior, prior.features)
    with torch.no_grad():
        joint = model.log_joint(x, grid.unsqueeze(1).expand(-1, len(x), -1))
    exact = (joint + area.log().unsqueeze(1)).logsumexp(0)
    found = ais(model, x, 200, short(20))
    assert_mean((found.log_weights - exact).exp(), 1.0)
    assert (found.log_likelihood - exact).abs().max() < 0.1


def test_a_bounded_latent_from_its_posterior() -> None:
    """Chains that leave the interval are rejected, so that E w = p(x) there too: 8 numbers at 6 standard errors."""
    shape = Size((3,))
    vae = VAE(Uniform(1), Bernoulli(1, shape, affine), LogitNormal(1, shape, affine))
    x, (grid, area) = every_event(2, shape), support_grid(vae.prior, 1)
    with torch.no_grad():
        joint = vae.log_joint(x, grid.unsqueeze(1).expand(-1, len(x), -1))
    found = ais(vae, x, 400, short(20), FromPosterior())
    assert_mean((found.log_weights - (joint + area.log().unsqueeze(1)).logsumexp(0)).exp(), 1.0)
    assert found.z.min() > 0 and found.z.max() < 1


def test_a_prior_that_is_made_of_the_posterior() -> None:
    """A VampPrior encodes its pseudo-inputs once an image block, and the two starts agree at 6 standard errors of each."""
    shape = Size((4,))
    vae = VAE(VampPrior(2, 5), Bernoulli(2, shape, affine), posteriors.Gaussian(2, shape, affine))
    encoded: list[int] = []
    vae.posterior.network.register_forward_hook(lambda module, given, output: encoded.append(len(output)))
    x = every_event(2, shape)[:5]
    a, b = (ais(vae, x, 500, short(10), start, seed=1).log_weights.exp() for start in (FromPrior(), FromPosterior()))
    assert encoded == [5, 5, 5]
    assert ((a.mean(0) - b.mean(0)).abs() <= 6 * (a.var(0) + b.var(0)).sqrt() / 500**0.5 + 1e-12).all()


def test_chains_that_never_move_still_bound(ppca: PPCA) -> None:
    """An absurd step: acceptance 0, and what is left is importance sampling from the prior, with the draws of T = 1."""
    x = ppca.sample(5)
    found = ais(ppca.vae, x, 100, short(30, step_size=1e4, adapt="never"))
    assert (found.acceptance == 0).all()
    assert_equal(found.log_weights, ais(ppca.vae, x, 100, Annealing(1)).log_weights)
    assert found.log_likelihood.mean() < ppca.log_prob(x).mean()


def test_step_sizes_follow_the_acceptance_of_each_image() -> None:
    """Where the posterior gets narrow, ε falls and acceptance comes near the target; on a flat one ε ends at its bound."""
    known = PPCA(data=8, latent=6, sigma=0.1)
    x = known.sample(4)
    sharp = Path(known.vae.requires_grad_(False), x, FromPrior())
    annealing = Annealing(200, leapfrogs=4)
    sizes = table(sharp, annealing, 16)
    assert sizes is not None and sizes.shape == (199, 4)
    assert (sizes[-1] < 0.4 * sizes.max(0).values).all()
    found = run(sharp, sharp.draw(16), annealing, sizes)
    assert torch.equal(found.step_sizes, sizes)
    assert ((found.acceptance - 0.65).abs() < 0.2).all()
    known.set_decoder(torch.zeros(8, 6))
    flat = table(Path(known.vae, x, FromPrior()), annealing, 16)
    assert flat is not None and (flat[-1] == 0.5).all()


def test_adapting_along_is_close(ppca: PPCA) -> None:
    """Its bias is not seen at 6 standard errors of 200 chains."""
    x = ppca.sample(3)
    assert_mean((ais(ppca.vae, x, 200, short(60, adapt="along")).log_weights - ppca.log_prob(x)).exp(), 1.0)


def test_draws_follow_from_the_seed(ppca: PPCA) -> None:
    """The caller's random state, the mode of the model and what is learned stay as they were."""
    ppca.vae.train().requires_grad_(True)
    x, before = ppca.sample(4), torch.get_rng_state()
    one, again, other = (ais(ppca.vae, x, 3, short(5), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.log_weights, again.log_weights) and torch.equal(one.z, again.z)
    assert not torch.equal(one.log_weights, other.log_weights)
    assert torch.equal(torch.get_rng_state(), before)
    assert ppca.vae.training and all(p.requires_grad and p.grad is None for p in ppca.vae.parameters())
    a, b = (bracket(ppca.vae, 4, 2, short(3), seed=1) for _ in range(2))
    assert a == b and torch.equal(a.x, b.x)


@pytest.mark.parametrize(("budget", "most"), [(4 * 24, 24), (1, 3)])
def test_images_go_in_blocks(ppca: PPCA, budget: int, most: int) -> None:
    """The decoder never gives more than the budget, unless one image's chains do; every image is there, in its place."""
    rows: list[int] = []
    ppca.vae.likelihood.network.register_forward_hook(lambda module, given, output: rows.append(output.numel() // 4))
    found = ais(ppca.vae, ppca.sample(20), 3, short(4), budget=budget)
    assert max(rows) == most
    assert found.log_weights.shape == (3, 20) and found.z.shape == (3, 20, 2)


def test_blocks_keep_their_images(ppca: PPCA) -> None:
    """Three blocks of at most seven, each estimate within a nat of its own image's log p(x), where these are far apart."""
    x = torch.cat([ppca.sample(10), 5 + ppca.sample(10)])
    found = ais(ppca.vae, x, 64, short(20), FromPosterior(), budget=4 * 64 * 7)
    assert ppca.log_prob(x).std() > 5
    assert (found.log_likelihood - ppca.log_prob(x)).abs().max() < 1


class Unread(TorchDispatchMode):
    """Within it reading a number off a tensor, or a shape that depends on numbers, is an error."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


def test_nothing_is_read_on_the_host(ppca: PPCA) -> None:
    path, settings = Path(ppca.vae, ppca.sample(5), FromPosterior()), short(6)
    with pytest.raises(AssertionError), Unread():
        bool(path.batch.x.isfinite().all())
    with Unread():
        found = run(path, path.draw(4), settings, None)
        run(path, found.z, settings, found.step_sizes, down=True)


def test_single_precision_is_close(ppca: PPCA) -> None:
    """The same draws in float32: weights are added up in float64, and 1e-3 nats away where every proposal is taken."""
    x, settings, tape = ppca.sample(6), short(100, adapt="never", jitter=0.0), []
    path, sizes = Path(ppca.vae, x, FromPrior()), torch.full((99, 6), 0.02)
    z = path.draw(4)
    with noise.recorded(tape):
        exact = run(path, z, settings, sizes)
    path = Path(copy.deepcopy(ppca.vae).float(), x.float(), FromPrior())
    with noise.replayed([draws.float() for draws in tape]):
        single = run(path, z.float(), settings, sizes.float())
    assert (single.z.dtype, single.log_weights.dtype) == (torch.float32, torch.float64)
    assert (single.log_weights - exact.log_weights).abs().max() < 1e-3


class Points(likelihoods.Gaussian):
    """A generator without an observation model: it can only be sampled."""

    density = Density.SAMPLES


class Undefined(Bernoulli):
    """A likelihood whose density nobody wrote."""

    def forward(self, c: Any = None) -> Distribution:
        return Distribution(c.shape[:-1], self.shape, validate_args=False)


class Detached(Bernoulli):
    """A decoder that cuts the gradient off."""

    def forward(self, c: Any = None) -> Distribution:
        return super().forward(c.detach())


class Nothing(Normal):
    """A prior whose density has no gradient, so that nothing depends on z."""

    def forward(self, c: Any = None) -> Distribution:
        return Uniform(2, -99.0, 99.0)()


@pytest.mark.parametrize("kind", [Points, Undefined, Detached])
def test_it_refuses_a_likelihood_without_a_density(kind: type) -> None:
    model = LatentVariableModel(Nothing(2), kind(2, Size((3,)), affine))
    with pytest.raises(ValueError, match=r"AIS needs p\(x\|z\) with a density, .* give it a Gaussian observation model"):
        ais(model, torch.zeros(2, 3), annealing=short(2))


@pytest.mark.parametrize("log_sigma", [-math.inf, math.nan])
def test_it_refuses_a_point_mass(log_sigma: float) -> None:
    model = LatentVariableModel(Normal(2), likelihoods.Gaussian(2, Size((3,)), affine, LearnedSigma))
    model.likelihood.sigma.log_sigma.data.fill_(log_sigma)
    with pytest.raises(ValueError, match="not finite where chains start; give it a Gaussian observation model"):
        ais(model, torch.zeros(2, 3), annealing=short(2))


def test_it_refuses_what_is_no_model() -> None:
    with pytest.raises(ValueError, match="Linear has none; give it a Gaussian observation model"):
        ais(nn.Linear(2, 3), torch.zeros(2, 3))  # type: ignore[arg-type]


def test_it_refuses_starts_without_a_density(ppca: PPCA) -> None:
    shape = Size((4,))
    bare = LatentVariableModel(ppca.vae.prior, ppca.vae.likelihood)
    with pytest.raises(ValueError, match=r"LatentVariableModel has none; write FromPrior\(\)"):
        ais(bare, torch.zeros(2, 4), start=FromPosterior())
    for posterior in (SemiImplicit(2, shape, affine), Implicit(2, shape, MLP)):
        vae = VAE(Normal(2), Bernoulli(2, shape, affine), posterior)
        with pytest.raises(ValueError, match=r"need its density, .* write Matched\(\)"):
            ais(vae, torch.zeros(2, 4), start=FromPosterior())
        assert ais(vae, torch.zeros(2, 4), 2, short(3), Matched()).log_likelihood.isfinite().all()


@pytest.mark.parametrize(
    "settings",
    [
        *({"temperatures": 0}, {"leapfrogs": 0}, {"step_size": 0.0}, {"target": 1.0}, {"growth": 0.9}, {"shrinkage": 0.0}),
        *({"bounds": (0.5, 0.1)}, {"jitter": 1.0}, {"adapt": "later"}),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))}.*came"):
        Annealing(**settings)


def test_numbers_out_of_range_are_refused(ppca: PPCA) -> None:
    x = torch.zeros(2, 4)
    with pytest.raises(ValueError, match="chains and budget of at least 1, came chains=0"):
        ais(ppca.vae, x, chains=0)
    with pytest.raises(ValueError, match="came none"):
        ais(ppca.vae, x[:0])
    with pytest.raises(ValueError, match="shape"):
        ais(ppca.vae, torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"\(2, 2\), came \(3, 2\)"):
        reverse(ppca.vae, torch.zeros(3, 2), x)
    with pytest.raises(ValueError, match="n of at least 2"):
        bracket(ppca.vae, 1)
    with pytest.raises(ValueError, match=r"LinearLadder\(\)"):
        SigmoidLadder(0.0)
