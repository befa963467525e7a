"""What the verdict on a VAE rests on, against closed forms and enumeration."""

import math
from functools import partial
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Size, Tensor
from torch.distributions import Normal as TorchNormal

from diagnosis.vaes import function, iaf_of, one_bit, ppca, prototypes
from laws.numerics import assert_equal, every_event
from laws.ppca import PPCA
from uncollapse.data import from_arrays
from uncollapse.diagnosis import Reference, diagnose, no_code, prior_gap
from uncollapse.diagnosis.information import exact_information, information_by_decoder, log_likelihood
from uncollapse.diagnosis.no_code import shortfall
from uncollapse.diagnosis.posterior_evidence import others, prior_variance
from uncollapse.distributions import (
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    FixedSigma,
    LearnedSigma,
    LogitNormal,
    Mixture,
    Normal,
    Recurrent,
    SplinePrior,
    Uniform,
    draw,
    likelihoods,
    posteriors,
)
from uncollapse.distributions.densities import SqueezedNormal, StandardNormal
from uncollapse.evaluation import evaluate
from uncollapse.networks import Bias
from uncollapse.training import Training, fit
from uncollapse.vae import ELBO, VAE, Amortized

# What the decoder gains


@pytest.mark.parametrize("strength", [0.5, 2.0, 6.0])
def test_gains_of_the_linear_model(strength: float) -> None:
    """At the exact posterior on its own data E log p(x|z) - E log p(x|z') = tr(W Wᵀ) / σ², and E log p(x|z) - E log p0(x) =
    D/2 log(v / σ²) with v the mean variance of a dimension: within 6 standard errors and, of the second, what 1,000 training
    rows leave open (31 numbers, half a nat each over their number). Failure rate 1e-8."""
    case = ppca(2000, 30, 2, strength, sigma=0.7)
    seen = diagnose(case.model, case.x, case.train)
    assert abs(seen.decoder_gain - 2 * strength**2) < 6 * seen.decoder_gain_standard_error
    over = 15 * math.log1p(2 * strength**2 / 30)
    slack = 31 / 1000
    assert abs(seen.gain_over_marginal - over) < 6 * seen.gain_over_marginal_standard_error + slack
    assert seen.decoder_gain_standard_error < 0.1 * max(1.0, seen.decoder_gain)


def test_each_observation_gets_the_code_of_another() -> None:
    for n in (2, 3, 100):
        assert sorted(others(n).tolist()) == list(range(n)) and not (others(n) == torch.arange(n)).any()


def test_many_observations_are_scored_some_at_a_time() -> None:
    """1,203 pairs in three parts, the same as in one."""
    case = ppca(1203, 4, 2, 1.0)
    z = torch.randn(1203, 2)
    assert_equal(log_likelihood(case.model, z, case.x), case.model.likelihood(z).log_prob(case.x))


# The information


@pytest.mark.parametrize("strength", [0.3, 1.5])
def test_the_standard_error_of_the_information_is_that_of_repetitions(strength: float) -> None:
    """The mean of 120 standard errors is the standard deviation of 120 estimates, within a third of it: its own relative error
    is 1 / √240 = 0.065, so that is 5 standard errors (failure rate 1e-6)."""
    found = PPCA(3, 1, 1.0)
    found.set_decoder(strength * torch.ones(3, 1) / math.sqrt(3))
    found.solve_encoder()
    estimates, errors = [], []
    for _ in range(120):
        q = found.vae.posterior(found.sample(150))
        with torch.no_grad():
            seen = exact_information(q, *draw(q))
        estimates.append(seen.nats)
        errors.append(seen.standard_error)
    deviation = float(torch.tensor(estimates).std())
    assert float(torch.tensor(errors).mean()) == pytest.approx(deviation, rel=1 / 3)


def test_an_inverse_autoregressive_flow_is_scored_by_its_own_density() -> None:
    """One that is a Gaussian in truth, on 400 observations: the information of the linear model, ½ Σ log(1 + s²), by the
    same estimator within 6 standard errors and its bias of 0.1 nats; the subset is what the ceiling is of."""
    found = PPCA(8, 2, 1.0, diagonal=True)
    found.set_decoder(3 * torch.linalg.qr(torch.randn(8, 2))[0])
    found.solve_encoder()
    model = VAE(Normal(2), found.vae.likelihood, iaf_of(found))
    seen = diagnose(model, found.sample(900))
    assert abs(seen.mutual_information - math.log(10)) < 6 * seen.mutual_information_standard_error + 0.1
    assert seen.estimator.startswith("aggregated posterior of 418 observations")
    assert seen.mutual_information_ceiling == pytest.approx(math.log(418)) and not seen.mutual_information_is_bound


def test_the_decoder_bounds_the_information_from_below() -> None:
    """InfoNCE with the true p(x|z): not above I = log 2 + 6 standard errors on one bit, and not far below, with the codes of 15
    others; nothing where the decoder ignores z."""
    case = one_bit(600, "picture")
    z = case.model.posterior(case.x).sample()
    dead = VAE(case.model.prior, Bernoulli(1, Size((64,)), Bias), case.model.posterior)
    with torch.no_grad():
        seen, nothing = (information_by_decoder(model, z, case.x) for model in (case.model, dead))
    assert seen.is_bound and seen.ceiling == pytest.approx(math.log(16))
    assert math.log(2) - 0.1 < seen.nats < math.log(2) + 6 * seen.standard_error
    assert nothing.nats == pytest.approx(0.0, abs=1e-9)


def test_the_bound_on_the_aggregated_divergence_is_withheld_at_the_ceiling() -> None:
    """q(z) = N(0, I) in 20 dimensions whose codes tell 30 nats: the 22 nats by which the divergence exceeds log N are no
    bound that says anything; what a fitted prior gains is nothing, within 3 standard errors."""
    size, variance = 20, 0.05
    encoder = function(lambda x: torch.cat((math.sqrt(1 - variance) * x, torch.full_like(x, 0.5 * math.log(variance))), -1))
    shape = Size((size,))
    likelihood = likelihoods.Gaussian(size, shape, function(lambda z: z), partial(FixedSigma, value=0.3))
    model = VAE(Normal(size), likelihood, posteriors.Gaussian(size, shape, encoder))
    seen = diagnose(model, torch.randn(1000, size))
    assert seen.kl > 29 and seen.mutual_information > math.log(1000) - 0.01
    assert seen.aggregate_kl is None and "no upper bound" in str(seen)
    assert seen.prior_gap < 3 * seen.prior_gap_standard_error and "samples" not in str(seen)
    assert not any(name == "prior" for remedy in seen.remedies for name, _ in remedy.options)


# How far the codes are from the prior


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.3, 0.0), (1.0, 2.0), (2.0, 0.5)])
def test_prior_gap_of_gaussian_codes(scale: float, shift: float) -> None:
    """KL(N(m, s²) ‖ N(0, 1)) of three units: never above by 5 standard errors, and below by at most that and what the fit to
    1,000 codes costs, 9 numbers at half a nat over 1,000 each, ten times."""
    p = StandardNormal(3, torch.zeros(()))
    z = shift + scale * torch.randn(2000, 3)
    exact = 1.5 * (scale**2 + shift**2 - 1 - 2 * math.log(scale))
    found = prior_gap(z, p.log_prob(z))
    assert exact - 5 * found.standard_error - 0.045 < found.mean < exact + 5 * found.standard_error


def test_prior_gap_of_codes_in_heaps() -> None:
    """Two narrow heaps at ±3 under N(0, 1): E log h - E log p with the truth as h, by the same draws, to 0.1 nats."""
    z = torch.where(torch.rand(2000, 1) < 0.5, 3.0, -3.0) + 0.1 * torch.randn(2000, 1)
    heaps = torch.stack([TorchNormal(m, 0.1).log_prob(z[:, 0]) for m in (3.0, -3.0)]).logsumexp(0) - math.log(2)
    log_p = TorchNormal(0.0, 1.0).log_prob(z[:, 0])
    assert prior_gap(z, log_p).mean == pytest.approx(float((heaps - log_p).mean()), abs=0.1)


def test_prior_gap_on_an_interval() -> None:
    """Codes that are uniform on (0, 0.1) have none under that prior; those of the middle tenth have log 10 a unit."""
    prior = Uniform(2, 0.0, 0.1)
    z = 0.1 * torch.rand(2000, 2)
    found = prior_gap(z, prior().log_prob(z), prior.support)
    assert found.mean < 3 * found.standard_error
    inner = 0.045 + 0.1 * z
    assert prior_gap(inner, prior().log_prob(inner), prior.support).mean == pytest.approx(2 * math.log(10), abs=0.3)


def test_good_codes_with_bad_samples_are_told_apart_from_the_verdict() -> None:
    """Sixteen separate codes under a normal prior: healthy, with a line on the samples and priors to try; none at the best
    prior."""
    case = prototypes(600, 16)
    seen = diagnose(case.model, case.x, case.train)
    assert seen.verdict == "healthy" and seen.prior_gap > 20 and "from the prior miss the codes" in str(seen)
    assert seen.remedies and all({"prior", "objective.lam"} & dict(remedy.options).keys() for remedy in seen.remedies)
    fitted = Mixture.fitted(case.model.posterior(case.x).sample(), 16)
    seen = diagnose(VAE(fitted, case.model.likelihood, case.model.posterior), case.x, case.train)
    assert seen.prior_gap < 1 and seen.remedies == []


# Active units


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_unit_is_active_by_the_prior_s_variance(scale: float) -> None:
    """Means that vary by 0.2 of the prior's standard deviation, and by 0.05 of it: active and not, on every scale."""
    weight = scale * torch.tensor([0.2, 0.05])
    encoder = function(lambda x: torch.cat((x * weight, torch.full_like(x, math.log(0.01 * scale))), -1))
    prior = Mixture(2, 1, spread=0.0, scale=scale)
    likelihood = likelihoods.Gaussian(2, Size((2,)), function(lambda z: z / weight), partial(FixedSigma, value=0.3))
    model = VAE(prior, likelihood, posteriors.Gaussian(2, Size((2,)), encoder))
    assert diagnose(model, torch.randn(500, 2)).active_units == 1


def test_the_prior_s_variance_is_stated_or_drawn() -> None:
    """Uniform: (b - a)² / 12. A flow: of draws, within 6 standard errors of other draws'."""
    assert_equal(prior_variance(Uniform(2, 0.0, 0.1)()), torch.full((2,), 0.01 / 12))
    flow = SplinePrior(2)()
    with torch.no_grad():
        z = flow.sample(Size((20000,)))
        spread = z.square().std(0) / math.sqrt(2000)
        assert ((prior_variance(flow) - z.var(0)).abs() < 6 * spread).all()


def test_bounded_units_are_active() -> None:
    """A uniform latent on (0, 0.1) that tells x: two of two units, where a fixed threshold finds none."""
    q = LogitNormal(2, Size((2,)), function(lambda x: torch.cat((2 * x, torch.full_like(x, -3.0)), -1)), high=0.1)
    decoder = function(lambda z: torch.logit((10 * z).clamp(1e-6, 1 - 1e-6)) / 2)
    model = VAE(Uniform(2, 0.0, 0.1), likelihoods.Gaussian(2, Size((2,)), decoder, partial(FixedSigma, value=0.1)), q)
    seen = diagnose(model, torch.randn(500, 2))
    assert (seen.active_units, seen.verdict) == (2, "healthy")


# Decoders that ignore z


def test_frequencies_are_those_of_a_decoder_without_z() -> None:
    """Bernoulli and categorical data: the masses of all events sum to one, and are the frequencies with one row's weight."""
    x = torch.randint(3, (50, 3)).double() / 2
    p = no_code(Categorical(2, Size((3,)), Bias, levels=3), x)
    assert_equal(p(every_event(3, Size((3,)))).exp().sum(), torch.tensor(1.0))
    expected = [((x[:, d] == x[0, d]).sum() + 1 / 3) / 51 for d in range(3)]
    assert_equal(p(x[:1])[0], torch.stack(expected).log().sum())


def test_logistics_are_a_decoder_without_z() -> None:
    """They sum to one over the grid, and are as likely, to 0.1 nats a dimension, as the best that gradient ascent finds."""
    x = ((0.3 + 0.1 * torch.randn(300, 2)).clamp(0, 1) * 16).round() / 16
    likelihood = DiscretizedLogistic(1, Size((2,)), Bias, levels=17)
    p = no_code(likelihood, x)
    assert_equal(p(every_event(17, Size((2,)))).exp().sum(), torch.tensor(1.0))
    with torch.enable_grad():
        best = torch.optim.Adam(likelihood.parameters(), 0.05)
        for _ in range(150):
            best.zero_grad()
            likelihood(torch.zeros(1)).log_prob(x).mean().neg().backward()
            best.step()
    assert float(likelihood(torch.zeros(1)).log_prob(x).mean().detach() - p(x).mean()) < 0.2


@pytest.mark.parametrize("each", [False, True])
def test_normals_are_a_decoder_without_z(each: bool) -> None:
    """One variance for all dimensions, or one for each where the likelihood has that; whatever its own sigma is."""
    x = torch.randn(400, 3) * torch.tensor([1.0, 2.0, 5.0]) + 3
    sigma = partial(LearnedSigma, start=0.01, per_pixel=each)
    variance = x.var(0, correction=0)
    scale = (variance if each else variance.mean()).sqrt()
    expected = TorchNormal(x.mean(0), scale.expand(3)).log_prob(x).sum(-1)
    assert_equal(no_code(likelihoods.Gaussian(2, Size((3,)), Bias, sigma), x)(x), expected)


@pytest.mark.parametrize("ends", [False, True])
def test_words_are_a_decoder_without_z(ends: bool) -> None:
    """The masses of all sequences sum to one; an end that is followed by the ends which fill it up counts once."""
    likelihood = Recurrent(2, Size((3,)), levels=3, hidden=4, embedding=2, ends=ends)
    every = torch.tensor(list(product(range(3), repeat=3)))
    proper = [row for row in every if not ends or all(a or not b for a, b in pairwise(row))]
    x = torch.stack(proper)[torch.randint(len(proper), (40,))]
    assert_equal(no_code(likelihood, x)(torch.stack(proper)).exp().sum(), torch.tensor(1.0))


def test_what_the_fit_of_a_marginal_costs() -> None:
    """200 means and a variance from 60 rows: log p falls short of the true one's by 201 / 120 nats, a sixth more or less."""
    likelihood = likelihoods.Gaussian(2, Size((200,)), Bias)
    x = torch.randn(2000, 200)
    truth = TorchNormal(0.0, 1.0).log_prob(x).sum(-1)
    costs = torch.tensor([float((truth - no_code(likelihood, torch.randn(60, 200))(x)).mean().detach()) for _ in range(10)])
    assert float(costs.mean()) == pytest.approx(201 / 120, rel=1 / 6)
    assert shortfall(likelihood, 60) == pytest.approx(201 / 120)


def test_a_decoder_is_not_praised_for_a_marginal_that_was_fitted_to_few_rows() -> None:
    """Little signal in 200 dimensions, from 100 observations alone: no simple code tells any, and nothing is modelled without
    z, though the decoder beats a marginal of 50 rows with any code."""
    for _ in range(5):
        case = ppca(100, 200, 1, 1.0)
        seen = diagnose(case.model, case.x)
        assert seen.to_tell < 0.1 and seen.verdict in ("healthy", "unknown")


# What a code could tell


def bits(n: int, d: int) -> Tensor:
    return torch.randint(2, (n, d)).double()


@pytest.mark.parametrize(
    ("make", "x", "train", "nats"),
    [
        (lambda: Bernoulli(2, Size((8,)), Bias), bits(600, 1).expand(-1, 8), bits(600, 1).expand(-1, 8), math.log(2)),
        (lambda: Bernoulli(2, Size((8,)), Bias), bits(600, 8), bits(600, 8), 0.0),
        (lambda: likelihoods.Gaussian(2, Size((8,)), Bias), torch.randn(600, 8), torch.randn(600, 8), 0.0),
        (
            lambda: likelihoods.Gaussian(2, Size((20,)), Bias),
            torch.randn(600, 1) * 3 + torch.randn(600, 20),
            torch.randn(600, 1) * 3 + torch.randn(600, 20),
            0.5 * math.log(1 + 180),
        ),
        (
            lambda: likelihoods.Gaussian(2, Size((3,)), Bias, partial(LearnedSigma, per_pixel=True)),
            torch.randn(600, 3) * torch.tensor([1.0, 5.0, 20.0]),
            torch.randn(600, 3) * torch.tensor([1.0, 5.0, 20.0]),
            0.0,
        ),
    ],
)
def test_what_simple_codes_tell(make: Any, x: Tensor, train: Tensor, nats: float) -> None:
    """One bit that all variables share, nothing of independent ones, the information of one principal component; to 0.1 nats,
    by training rows and by halves of the observations themselves."""
    likelihood = make()
    with torch.no_grad():
        assert Reference(likelihood, train).of(x).nats == pytest.approx(nats, abs=0.1)
        assert Reference.crossed(likelihood, x).nats == pytest.approx(nats, abs=0.1)


def test_halves_are_judged_in_the_order_of_the_observations() -> None:
    """Each observation's log p is its own: by a marginal that tells zeros and ones apart."""
    x = torch.cat((torch.ones(90, 1), torch.zeros(10, 1)))
    found = Reference.crossed(Bernoulli(1, Size((1,)), Bias), x).log_marginal
    assert (found[:90] > math.log(0.7)).all() and (found[90:] < math.log(0.3)).all()


def test_a_decoder_that_models_the_data_without_z_has_shown_that_there_was_something_to_tell() -> None:
    """An autoregressive decoder of pairs of equal bits gains log 2 over the marginal with any code."""

    class Pairs(Bernoulli):
        def forward(self, c: Any = None) -> Any:
            like = super().forward(c)
            like.log_prob = lambda x: torch.where(x[..., 0] == x[..., 1], math.log(0.5), -20.0).expand(like.batch_shape)
            return like

    x = bits(500, 1).expand(-1, 2)
    q = posteriors.Gaussian(1, Size((2,)), function(lambda x: torch.stack((0.3 * x[:, 0], 0 * x[:, 0]), -1)))
    seen = diagnose(VAE(Normal(1), Pairs(1, Size((2,)), Bias), q), x)
    assert seen.to_tell == pytest.approx(math.log(2), abs=0.05) and seen.verdict == "collapsed"


# Who hands training rows over


def test_evaluation_compares_with_training_rows() -> None:
    """Data that are rare in training and all of the test split: log p0 is that of the training's frequency, 0.1."""
    train = (torch.arange(1000).remainder(10) == 0).double().unsqueeze(-1).expand(-1, 3)
    data = from_arrays(train, valid=torch.ones(60, 3), test=torch.ones(60, 3))
    model = VAE(Normal(1), Bernoulli(1, Size((3,)), Bias), posteriors.Gaussian(1, Size((3,)), Bias))
    seen = evaluate(model, data, samples=2)
    assert seen["gain_over_marginal"] == pytest.approx(3 * math.log(0.5 / 0.1), rel=0.02)
    assert "kl_standard_error" not in seen and seen["decoder_gain"] == 0


def test_a_training_compares_with_training_rows_and_logs_it() -> None:
    train = (torch.arange(1000).remainder(10) == 0).double().unsqueeze(-1).expand(-1, 3)
    data = from_arrays(train, valid=torch.ones(60, 3), test=torch.ones(60, 3))
    model = VAE(Normal(1), Bernoulli(1, Size((3,)), Bias), posteriors.Gaussian(1, Size((3,)), Bias))
    (line,) = (line for line in fit(Amortized(ELBO(model)), data, Training(steps=1)).lines if line["kind"] == "valid")
    assert line["gain_over_marginal"] == pytest.approx(3 * math.log(0.5 / 0.1), rel=0.05)
    names = {"decoder_gain", "to_tell", "prior_gap"}
    assert names | {f"{name}_standard_error" for name in names - {"to_tell"}} <= line.keys()


def test_information_of_codes_at_the_end_of_their_interval() -> None:
    """Logit-normal codes so near to an end that float32 rounds them to it: the information is that of their u, in closed form.

    u = m + s e with m ~ N(30, 1) of each observation and s = 0.1: I = log(1 / s) up to s² / 2, 1,000 observations, at 6
    standard errors (failure rate 2e-9) and 0.02."""
    torch.manual_seed(0)
    loc = (30 + torch.randn(1000, 1)).float()
    q = SqueezedNormal(loc, torch.full_like(loc, math.log(0.1)), 0.0, 1.0)
    z = q.sample()
    assert float((z > 0.9999999).double().mean()) > 0.99
    seen = exact_information(q, z, q.log_prob(z))
    assert abs(seen.nats - 0.5 * math.log(1 + 1 / 0.01)) < 6 * seen.standard_error + 0.02
