"""The diagnosis, proved on models that are known to be collapsed and on models that are known to be healthy."""

import json
import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Size, nn

from diagnosis.vaes import function
from laws.parts import affine, vae
from laws.ppca import PPCA
from uncollapse.diagnosis import Remedy, Thresholds, diagnose
from uncollapse.diagnosis.posterior_evidence import Evidence
from uncollapse.diagnosis.posterior_verdict import LASTING, judge, lasting
from uncollapse.distributions import Bernoulli, LogitNormal, Normal, OptimalSigma, Uniform, likelihoods, posteriors
from uncollapse.evaluation import log_likelihood
from uncollapse.networks import Bias, Network
from uncollapse.vae import VAE

SHAPE = Size((6,))


class Beyond(Network):
    """Zero near the middle of the latent space, NaN beyond."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.norm(dim=-1, keepdim=True) - 0.5).neg().sqrt().expand(*x.shape[:-1], 6) * 0


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
    assert seen.remedies and all(isinstance(remedy, Remedy) for remedy in seen.remedies)


def test_a_posterior_far_from_the_prior_that_tells_nothing() -> None:
    """q the same for every x, but not the prior: a large KL (4.5 nats a unit) hides nothing, the information is zero."""
    model = VAE(Normal(3), Bernoulli(3, SHAPE, affine), posteriors.Gaussian(3, SHAPE, Bias))
    with torch.no_grad():
        model.posterior.network.value.copy_(torch.tensor([3.0] * 3 + [0.0] * 3))
    seen = diagnose(model, bits())
    assert seen.verdict == "collapsed" and "z tells nothing about x" in seen.reason
    assert seen.kl == pytest.approx(13.5) and abs(seen.mutual_information) < 1e-10 and seen.active_units == 0
    assert seen.remedies[0].options == (("objective", "ELBO"), ("objective.beta", "Linear"))


def test_a_broken_posterior_is_not_healthy() -> None:
    """A divergence that is not finite is said to be broken, and of how many observations; so is a decoder's output."""
    model = vae()
    with torch.no_grad():
        model.posterior.network.layers[0].bias[2:].fill_(500.0)
    seen = diagnose(model, torch.ones(20, 3))
    assert seen.verdict == "broken" and "KL(q(z|x) || p(z)) of 20 in 20" in seen.reason and seen.remedies
    model = VAE(Normal(2), Bernoulli(2, SHAPE, Beyond), posteriors.Gaussian(2, SHAPE, Bias))
    with torch.no_grad():
        model.posterior.network.value[2:] = -10.0
    assert diagnose(model, bits()).reason.startswith("not finite: log p(x|z) at codes of the prior of ")
    assert json.dumps(diagnose(model, bits()).as_dict())


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


def seen(**changed: Any) -> Evidence:
    """Evidence of a model that is healthy, but for what is changed."""
    healthy: dict[str, Any] = {
        "kl": 6.0,
        "kl_standard_error": 0.1,
        "kl_units": [6.0],
        "kl_is_bound": False,
        "mutual_information": 5.0,
        "mutual_information_standard_error": 0.0,
        "mutual_information_ceiling": 7.6,
        "mutual_information_is_bound": False,
        "estimator": "",
        "decoder_gain": 9.0,
        "decoder_gain_standard_error": 0.0,
        "gain_over_marginal": 5.0,
        "gain_over_marginal_standard_error": 0.1,
        "to_tell": 10.0,
        "entropy": 7.6,
        "aggregate_kl": 0.5,
        "prior_gap": 0.1,
        "prior_gap_standard_error": 0.1,
        "active_units": 2,
        "latent_units": 3,
        "n": 500,
    }
    return Evidence(**healthy | changed)


@pytest.mark.parametrize("number", ["mutual_information", "decoder_gain"])
@pytest.mark.parametrize(
    ("value", "verdict"), [(0.01, "collapsed"), (0.49, "collapsed"), (1.99, "partly collapsed"), (2.01, "healthy")]
)
def test_thresholds(number: str, value: float, verdict: str) -> None:
    """Half a nat and two nats, of the information and of what the decoder gains by it; others can be chosen."""
    assert judge(seen(**{number: value}))[0] == verdict
    if value > 0.1:
        assert judge(seen(**{number: value}), Thresholds(collapsed=0.0, partly=0.1))[0] == "healthy"


@pytest.mark.parametrize(
    ("to_tell", "entropy", "value", "verdict"),
    [
        (0.6, 7.6, 0.41, "healthy"),
        (0.6, 7.6, 0.39, "partly collapsed"),
        (0.6, 7.6, 0.14, "collapsed"),
        (9.0, math.log(2), 0.56, "healthy"),
        (9.0, math.log(2), 0.54, "partly collapsed"),
        (9.0, math.log(2), 0.17, "collapsed"),
        (0.0, 7.6, 0.02, "healthy"),
        (0.0, 7.6, 0.005, "collapsed"),
    ],
)
def test_where_less_was_to_tell_less_is_asked_for(to_tell: float, entropy: float, value: float, verdict: str) -> None:
    """A quarter and two thirds of what simple codes tell, a quarter and four fifths of the entropy, a hundredth of a nat."""
    assert judge(seen(to_tell=to_tell, entropy=entropy, mutual_information=value, decoder_gain=9.0))[0] == verdict


@pytest.mark.parametrize(("gain", "verdict"), [(0.9, "collapsed"), (1.9, "partly collapsed"), (2.1, "healthy")])
def test_the_decoder_is_held_to_what_the_code_tells(gain: float, verdict: str) -> None:
    """However little simple codes tell: a quarter and half of the information, at most half a nat and two."""
    thresholds = Thresholds(collapsed=1.0, partly=2.0)
    assert judge(seen(to_tell=0.0, mutual_information=4.0, decoder_gain=gain), thresholds)[0] == verdict


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"gain_over_marginal": -0.19}, "healthy"),
        ({"gain_over_marginal": -0.21}, "worse than no code"),
        ({"decoder_gain": -0.6}, "worse than no code"),
        ({"decoder_gain": -0.4}, "collapsed"),
        ({"decoder_gain": 1.2, "decoder_gain_standard_error": 0.4}, "unknown"),
        ({"mutual_information": 1.2, "mutual_information_standard_error": 0.4}, "unknown"),
        ({"not_finite": "KL"}, "broken"),
        ({"kl": 0.2}, "collapsed"),
        ({"kl": 0.2, "kl_is_bound": True}, "healthy"),
        ({"mutual_information_is_bound": True}, "healthy"),
        ({"mutual_information_is_bound": True, "mutual_information": 0.1}, "unknown"),
        ({"mutual_information_is_bound": True, "mutual_information": 1.9}, "unknown"),
        ({"mutual_information_is_bound": True, "mutual_information": 0.1, "kl": 0.2}, "collapsed"),
        ({"mutual_information_is_bound": True, "mutual_information": 0.1, "decoder_gain": 0.1}, "collapsed"),
        ({"mutual_information_is_bound": True, "mutual_information": 0.1, "gain_over_marginal": -9.0}, "worse than no code"),
    ],
)
def test_what_decides(changed: dict[str, Any], verdict: str) -> None:
    """Two standard errors; a lower bound on the information proves some and never none, and the rest may decide without it."""
    assert judge(seen(**changed))[0] == verdict


@pytest.mark.parametrize(
    ("verdict", "rise", "gain", "lasts"),
    [
        ("collapsed", 0.05, 0.0, True),
        ("collapsed", 0.15, 0.0, False),
        ("collapsed", 0.5, 0.0, False),
        ("collapsed", 0.0, 5.0, True),
        ("worse than no code", 0.0, 0.05, True),
        ("worse than no code", 0.0, 0.5, False),
        ("broken", 0.0, 0.0, True),
        ("partly collapsed", 0.0, 0.0, False),
        ("unknown", 0.0, 0.0, False),
        ("healthy", 0.0, 0.0, False),
    ],
)
def test_what_lasts(verdict: str, rise: float, gain: float, lasts: bool) -> None:
    """A failure at two looks; unless the information has risen by a tenth of a nat, or the gain of a decoder that is worse."""
    before = {"verdict": verdict, "mutual_information": 0.01, "gain_over_marginal": -7.0}
    now = {"verdict": verdict, "mutual_information": 0.01 + rise, "gain_over_marginal": -7.0 + gain}
    assert lasting(before, now) is lasts
    assert not lasting({"verdict": "healthy"}, now)
    assert lasting({"verdict": verdict, "mutual_information": None}, {"verdict": verdict}) is (verdict in LASTING)


def test_remedies_fit_the_model() -> None:
    """A Gaussian likelihood is told about its sigma, unless that is optimal already; the others are not."""
    gaussian = likelihoods.Gaussian(2, SHAPE, Bias)
    family = partial(posteriors.Gaussian, 2, SHAPE, Bias)
    assert diagnose(VAE(Normal(2), gaussian, family()), bits()).remedies[0].options == (("likelihood.sigma", "OptimalSigma"),)
    fits = likelihoods.Gaussian(2, SHAPE, Bias, OptimalSigma)
    assert not any("sigma" in str(remedy) for remedy in diagnose(VAE(Normal(2), fits, family()), bits()).remedies)
    other = diagnose(VAE(Normal(2), Bernoulli(2, SHAPE, Bias), family()), bits()).remedies
    assert not any("sigma" in str(remedy) for remedy in other)


def test_it_reads_as_text_and_as_json() -> None:
    """The report names verdict, numbers with their errors, and remedies; the dictionary survives JSON."""
    seen = diagnose(vae(), torch.bernoulli(torch.full((50, 3), 0.5)))
    values = json.loads(json.dumps(seen.as_dict()))
    assert values["mutual_information"] == seen.mutual_information and list(values)[:2] == ["verdict", "reason"]
    for name in ("mutual_information", "decoder_gain", "gain_over_marginal", "prior_gap"):
        assert values[f"{name}_standard_error"] >= 0
    text = str(seen)
    assert seen.verdict in text and f"of at most {math.log(50):.2f} for this estimator" in text
    assert f"{seen.decoder_gain:.3f} ± {seen.decoder_gain_standard_error:.3f} nats by the code of x" in text
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


def test_what_was_put_together_in_python_is_told_what_to_try() -> None:
    """A network that no command line can name is no reason to fail: a remedy then names an MLP."""
    q = posteriors.Gaussian(2, SHAPE, lambda i, o: nn.Linear(6, 4))  # type: ignore[arg-type]
    seen = diagnose(VAE(Normal(2), Bernoulli(2, SHAPE, function(lambda z: z.new_zeros(*z.shape[:-1], 6))), q), bits())
    assert seen.verdict == "collapsed" and any(("posterior.network", "MLP") in remedy.options for remedy in seen.remedies)


@pytest.mark.parametrize("train", [False, True])
def test_rows_that_are_wrong_are_no_fault_of_the_model(train: bool) -> None:
    """NaN among them, another shape, or one row: refused, and never called a broken model."""
    model = VAE(Normal(3), Bernoulli(3, SHAPE, Bias), posteriors.Gaussian(3, SHAPE, Bias))
    holed = bits().index_fill(0, torch.tensor([1, 5]), math.nan)
    for rows, words in (
        (holed, "NaN or infinity in 2 of 400"),
        (bits()[:, :4], r"shape \(6,\), came \(4,\)"),
        (bits(1), "at least 2"),
    ):
        x, fitted = (bits(), rows) if train else (rows, None)
        with pytest.raises(ValueError, match=words):
            diagnose(model, x, fitted)
