"""The diagnosis, proved on models that are known to be collapsed and on models that are known to be healthy."""

import json
import math
from functools import partial

import pytest
import torch
from torch import Size

from laws.parts import affine, vae
from laws.ppca import PPCA
from uncollapse.diagnosis import Thresholds, diagnose
from uncollapse.diagnosis.posterior_collapse import judge
from uncollapse.distributions import Bernoulli, LogitNormal, Normal, OptimalSigma, Uniform, likelihoods, posteriors
from uncollapse.evaluation import log_likelihood
from uncollapse.networks import Bias
from uncollapse.vae import VAE

SHAPE = Size((6,))


def bits(n: int = 400) -> torch.Tensor:
    """Random binary data."""
    return torch.bernoulli(torch.full((n, 6), 0.5))


def test_a_posterior_that_is_the_prior() -> None:
    """A decoder that ignores z at its optimum, q = p: KL and information zero, no unit active, and remedies to try."""
    model = VAE(Normal(3), Bernoulli(3, SHAPE, Bias), posteriors.Gaussian(3, SHAPE, Bias))
    seen = diagnose(model, bits())
    assert seen.verdict == "collapsed" and "the posterior is the prior" in seen.reason
    assert (seen.kl, seen.kl_units, seen.active_units, seen.latent_units) == (0.0, [0.0] * 3, 0, 3)
    assert abs(seen.mutual_information) < 1e-10
    assert seen.remedies and all(remedy.startswith("uncollapse train vae ") for remedy in seen.remedies)


def test_a_posterior_far_from_the_prior_that_tells_nothing() -> None:
    """q the same for every x, but not the prior: a large KL (4.5 nats a unit) hides nothing, the information is zero."""
    model = VAE(Normal(3), Bernoulli(3, SHAPE, affine), posteriors.Gaussian(3, SHAPE, Bias))
    with torch.no_grad():
        model.posterior.network.value.copy_(torch.tensor([3.0] * 3 + [0.0] * 3))
    seen = diagnose(model, bits(), recipe="mine")
    assert seen.verdict == "collapsed" and "z tells nothing about x" in seen.reason
    assert seen.kl == pytest.approx(13.5) and abs(seen.mutual_information) < 1e-10 and seen.active_units == 0
    assert seen.remedies[0].startswith("uncollapse train mine ")


def test_a_broken_posterior_is_not_healthy() -> None:
    """A divergence that is not finite is said to be broken."""
    model = vae()
    with torch.no_grad():
        model.posterior.network.layers[0].bias[2:].fill_(500.0)
    seen = diagnose(model, torch.ones(20, 3))
    assert seen.verdict == "collapsed" and "not finite" in seen.reason


def test_strong_signal_is_healthy() -> None:
    """The exact posterior of a linear model with little noise: no remedies, every unit active."""
    ppca = PPCA(sigma=0.05)
    ppca.solve_encoder()
    seen = diagnose(ppca.vae, ppca.sample(500))
    assert (seen.verdict, seen.remedies, seen.active_units) == ("healthy", [], 2)


def test_unused_units_beside_used_ones_are_healthy() -> None:
    """Fifty latents of which twenty carry the data: healthy, and exactly twenty are active, with a KL of their own."""
    ppca = PPCA(data=30, latent=50, sigma=0.3, diagonal=True)
    weight = torch.zeros(30, 50)
    weight[:20, :20] = torch.eye(20)
    ppca.set_decoder(weight)
    ppca.solve_encoder()
    seen = diagnose(ppca.vae, ppca.sample(500))
    assert (seen.verdict, seen.active_units, seen.latent_units) == ("healthy", 20, 50)
    assert max(seen.kl_units[20:]) < 1e-10 < 1.0 < min(seen.kl_units[:20])


@pytest.mark.parametrize("used", [0, 1, 3, 5])
def test_active_units_are_counted_exactly(used: int) -> None:
    """Units whose posterior mean moves with x, and no other: a constant offset does not make one active."""
    model = VAE(Normal(5), Bernoulli(5, SHAPE, affine), posteriors.Gaussian(5, SHAPE, affine))
    encoder = model.posterior.network.layers[0]
    with torch.no_grad():
        encoder.weight.zero_()
        encoder.bias.fill_(1.0)
        encoder.weight[:used, :used] = torch.eye(used)  # variance 1/4 each
        encoder.weight[used:5, 5] = 0.1  # variance 1/400: below the threshold
    assert diagnose(model, bits()).active_units == used


@pytest.mark.parametrize("width", [1.0, 10.0])
def test_no_unit_of_a_constant_posterior_on_an_interval_is_active(width: float) -> None:
    """Nor on an interval of any width, where the mean has no elementary form."""
    model = VAE(Uniform(3, 0.0, width), Bernoulli(3, SHAPE, affine), LogitNormal(3, SHAPE, Bias, high=width))
    seen = diagnose(model, bits())
    assert (seen.active_units, seen.verdict) == (0, "collapsed")
    assert len(seen.kl_units) == 1


@pytest.mark.parametrize(
    ("kl", "information", "verdict"),
    [(0.49, 0.4, "collapsed"), (5.0, 0.49, "collapsed"), (5.0, 1.99, "partly collapsed"), (5.0, 2.01, "healthy")],
)
def test_thresholds(kl: float, information: float, verdict: str) -> None:
    """Half a nat and two nats, from the information unless the divergence is below already; others can be chosen."""
    assert judge(kl, information, Thresholds())[0] == verdict
    assert judge(kl, information, Thresholds(collapsed=0.0, partly=0.1))[0] == "healthy"
    assert judge(math.nan, information, Thresholds())[0] == "collapsed"


@pytest.mark.parametrize(("information", "verdict"), [(0.65, "healthy"), (0.52, "partly collapsed"), (0.3, "collapsed")])
def test_few_observations_are_judged_by_what_they_can_tell(information: float, verdict: str) -> None:
    """Of two observations the estimate is log 2 = 0.69 nats at most: four fifths of it are all that can be asked for."""
    assert judge(5.0, information, Thresholds(), ceiling=math.log(2))[0] == verdict


def test_remedies_fit_the_model() -> None:
    """A Gaussian likelihood is told about its sigma, unless that is optimal already; the others are not."""
    gaussian = likelihoods.Gaussian(2, SHAPE, Bias)
    family = partial(posteriors.Gaussian, 2, SHAPE, Bias)
    assert "OptimalSigma" in diagnose(VAE(Normal(2), gaussian, family()), bits()).remedies[0]
    fits = likelihoods.Gaussian(2, SHAPE, Bias, OptimalSigma)
    assert not any("sigma" in remedy for remedy in diagnose(VAE(Normal(2), fits, family()), bits()).remedies)
    other = diagnose(VAE(Normal(2), Bernoulli(2, SHAPE, Bias), family()), bits()).remedies
    assert not any("sigma" in remedy for remedy in other)


def test_it_reads_as_text_and_as_json() -> None:
    """The report names verdict, numbers and remedies; the dictionary survives JSON."""
    seen = diagnose(vae(), torch.bernoulli(torch.full((50, 3), 0.5)))
    assert json.loads(json.dumps(seen.as_dict()))["mutual_information"] == seen.mutual_information
    text = str(seen)
    assert seen.verdict in text and f"of at most log 50 = {math.log(50):.2f}" in text
    assert text.count("try ") == len(seen.remedies)


def test_one_observation_is_too_few() -> None:
    """It says how many it needs."""
    with pytest.raises(ValueError, match="at least 2 observations to diagnose, came 1"):
        diagnose(vae(), torch.ones(1, 3))


def test_it_leaves_the_model_alone() -> None:
    """No gradient, no weight moved."""
    model = vae()
    before = [p.clone() for p in model.parameters()]
    diagnose(model, torch.ones(10, 3))
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, model.parameters(), strict=True))


def test_arrays_are_as_good_as_tensors() -> None:
    """numpy in place of torch, whatever its type, gives the same numbers."""
    model = vae()
    x = bits(50)[:, :3]
    found = diagnose(model, x.numpy().astype(bool))
    torch.manual_seed(0)
    a = log_likelihood(model, x, k=3).nll
    torch.manual_seed(0)
    assert log_likelihood(model, x.numpy(), k=3).nll == a and found.n == 50


def test_no_fewer_draws_than_none() -> None:
    model = vae()
    assert len(model.sample(0)) == 0
    with pytest.raises(ValueError, match="expected how many observations to draw, came -1"):
        model.sample(-1)
