"""What annealed chains say by the names of summary.json: the numbers of `ais` and `bracket`, each with words and its counts."""

import math

import pytest
import torch
from torch import Size
from torch.distributions import MultivariateNormal

from laws.parts import affine
from uncollapse.data import from_arrays
from uncollapse.data.tokens import as_tokens
from uncollapse.distributions import Bernoulli, Generator, LatentVariableModel, Normal, Recurrent, likelihoods, posteriors
from uncollapse.evaluation import (
    Annealing,
    FromPosterior,
    Widened,
    ais,
    bracket,
    choose_noise,
    decoder_evaluations,
    evaluate_annealed,
    evaluate_located,
    located_evaluations,
    observed,
)
from uncollapse.evaluation.held_out import density_of
from uncollapse.evaluation.metric_catalog import FACTS, MEASURES
from uncollapse.evaluation.numbers import ELSEWHERE, measures
from uncollapse.gan import ImplicitModel
from uncollapse.vae import VAE

SHAPE = Size((4,))
FEW = Annealing(5, leapfrogs=2)
BINARY = from_arrays(torch.randint(2, (100, 4), generator=torch.Generator().manual_seed(0)).bool())
REAL = from_arrays(torch.randn(200, 4, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> Annealing:
    """Chains as short as this choose the noise."""
    annealing = Annealing(20, leapfrogs=1, adapt="never")
    for module in ("observation", "held_out"):
        monkeypatch.setattr(f"uncollapse.evaluation.{module}.SHORT", annealing)
    return annealing


def gan() -> ImplicitModel:
    return ImplicitModel(Normal(2), Generator(2, SHAPE, affine))


def vae() -> VAE:
    return VAE(Normal(2), Bernoulli(2, SHAPE, affine), posteriors.Gaussian(2, SHAPE, affine))


def test_a_generator_is_measured_with_the_noise_that_is_given() -> None:
    model = gan()
    found = evaluate_annealed(model, REAL, examples=7, chains=3, annealing=FEW, simulated=5, observation_noise=0.8, seed=2)
    x = REAL.test.batch(REAL.test.some(7)).x
    direct, ends = ais(observed(model, 0.8), x, 3, FEW, seed=2), bracket(observed(model, 0.8), 5, 3, FEW, seed=2)
    assert found["ais"] == pytest.approx(float(direct.log_likelihood.mean()))
    assert found["ais_standard_error"] == pytest.approx(float(direct.log_likelihood.std()) / 7**0.5)
    assert found["effective_chains"] == pytest.approx(float(direct.effective_sample_size.mean()))
    assert found["acceptance"] == pytest.approx(float(direct.acceptance.mean()))
    assert (found["bracket_lower"], found["bracket_upper"]) == pytest.approx((ends.lower, ends.upper))
    assert found["bracket_gap_standard_error"] == pytest.approx(ends.gap_standard_error)
    counts = {"n_examples": 7, "n_simulated": 5, "chains": 3, "temperatures": 5, "observation_noise": 0.8}
    assert {name: found[name] for name in counts} == counts
    assert (found["observation_noise_from"], found["density_of"], found["bits_per_dim"]) == ("given", "real numbers", None)


def test_a_generator_without_a_noise_gets_one_from_the_validation_split(cheap: Annealing) -> None:
    model = gan()
    found = evaluate_annealed(model, REAL, examples=2, chains=1, annealing=FEW)
    chosen = choose_noise(model, REAL.valid.batch(REAL.valid.some(50)).x, annealing=cheap)
    assert found["observation_noise"] == pytest.approx(chosen.sigma)
    assert found["observation_noise_from"].startswith(f"chosen: the highest AIS bound of {len(REAL.valid)} validation images")


def test_a_vae_has_its_own_density() -> None:
    model = vae()
    found = evaluate_annealed(model, BINARY, examples=6, chains=2, annealing=FEW, start=FromPosterior())
    x = BINARY.test.batch(BINARY.test.some(6)).x
    assert found["ais"] == pytest.approx(float(ais(model, x, 2, FEW, FromPosterior()).log_likelihood.mean()))
    assert found["bits_per_dim"] == pytest.approx(-found["ais"] / (4 * 0.6931471805599453))
    assert "observation_noise" not in found and "n_simulated" not in found
    with pytest.raises(ValueError, match=r"Bernoulli has a density of its own.* leave --observation-noise out"):
        evaluate_annealed(model, BINARY, observation_noise=0.1)


def test_a_generator_with_noise_of_its_own_is_measured_both_ways() -> None:
    """PresGAN's: importance samples and chains find log p(x) of 5 images, at 6 standard errors (failure rate 4e-9)."""
    model = ImplicitModel(Normal(2), likelihoods.Gaussian(2, SHAPE, affine))
    layer = model.likelihood.network.layers[0]
    w, b = layer.weight.detach(), layer.bias.detach()
    x = REAL.test.batch(REAL.test.some(5)).x
    exact = float(MultivariateNormal(b, w @ w.T + torch.eye(4)).log_prob(x).mean())
    sampled = evaluate_located(model, REAL, samples=500, examples=5)
    assert abs(sampled["nll"] + exact) <= 6 * sampled["nll_sampling_error"] + 1e-4
    assert (sampled["n_importance_samples"], sampled["n_examples"], sampled["density_of"]) == (500, 5, "real numbers")
    chains = evaluate_annealed(model, REAL, examples=5, chains=100, annealing=Annealing(10, leapfrogs=2))
    error = (1 / chains["effective_chains"] - 1 / 100) ** 0.5 / 5**0.5
    assert abs(chains["ais"] - exact) <= 6 * error + 1e-4
    assert "observation_noise" not in sampled | chains


def test_sampling_takes_as_many_evaluations_as_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the decoder forwards alone: a Newton step of L + 1 gradients is one."""
    model, rows = ImplicitModel(Normal(2), likelihoods.Gaussian(2, SHAPE, affine)), [0]
    model.likelihood.network.register_forward_hook(lambda module, given, output: rows.append(output.numel() // 4))
    for module in ("located", "held_out"):
        monkeypatch.setattr(f"uncollapse.evaluation.{module}.SHORT", FEW)
    evaluate_located(model, REAL, samples=1000, examples=3)
    assert 0.95 < sum(rows) / located_evaluations(0, 3, 1000) < 1.05


def test_every_figure_has_words_and_errors_stand_beside_their_value() -> None:
    found = evaluate_annealed(gan(), REAL, examples=3, chains=2, annealing=FEW, simulated=2, observation_noise=1.0)
    assert found.keys() <= MEASURES.keys() | FACTS.keys() | ELSEWHERE
    shown = {line.label: line.value for line in measures(found)}
    assert "Its standard error" not in shown
    assert all("±" in value for label, value in shown.items() if "og-likelihood" in label or "racket" in label)


def test_a_single_image_and_a_single_temperature_are_said_without_what_they_lack() -> None:
    found = evaluate_annealed(gan(), REAL, examples=1, chains=2, annealing=Annealing(1), observation_noise=1.0)
    assert found["ais_standard_error"] is None and found["acceptance"] is None


def test_the_density_says_of_what_it_is() -> None:
    real = LatentVariableModel(Normal(2), likelihoods.Gaussian(2, SHAPE, affine))
    assert density_of(vae(), BINARY) == "discrete data of 2 levels: their mass"
    assert density_of(real, REAL) == "real numbers"
    assert "raw levels k/1 in [0, 1], not dequantised" in density_of(real, BINARY)


@pytest.mark.parametrize("simulated", [None, 5])
def test_it_takes_as_many_evaluations_as_are_announced(simulated: int | None) -> None:
    """But for the look at where chains start, two for each, and for the simulated images themselves."""
    model, rows, annealing = gan(), [0], Annealing(60, leapfrogs=2)
    model.likelihood.network.register_forward_hook(lambda module, given, output: rows.append(output.numel() // 4))
    evaluate_annealed(model, REAL, examples=4, chains=2, annealing=annealing, simulated=simulated, observation_noise=1.0)
    assert 1 <= sum(rows) / decoder_evaluations(2, annealing, 4, simulated) < 1.02


def test_choosing_takes_as_many_evaluations_as_are_announced(cheap: Annealing) -> None:
    model, rows = gan(), [0]
    data = from_arrays(REAL.train.all(), valid=REAL.train.all()[:60], test=REAL.test.all())
    model.likelihood.network.register_forward_hook(lambda module, given, output: rows.append(output.numel() // 4))
    evaluate_annealed(model, data, examples=1, chains=1, annealing=Annealing(1))
    assert 1 <= sum(rows) / decoder_evaluations(1, Annealing(1), 1, choosing=True) < 1.1


def test_what_cannot_be_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match=r"at least 2 simulated images .*, came 1"):
        evaluate_annealed(gan(), REAL, simulated=1)
    with pytest.raises(ValueError, match=r"write FromPrior\(\)"):
        evaluate_annealed(gan(), REAL, start=Widened(1.2))
    with pytest.raises(ValueError, match="observation noise above 0, came 0"):
        evaluate_annealed(gan(), REAL, observation_noise=0.0)


def test_chains_give_sequences_bits_of_their_tokens() -> None:
    """By AIS as by importance samples: over the tokens up to each end, in the console's words and the report's."""
    torch.manual_seed(0)
    tokens = torch.zeros(60, 5, dtype=torch.long)
    tokens[:, 0], tokens[::2, 1] = 2, 1  # two and three tokens, the end among them
    model = LatentVariableModel(Normal(1), Recurrent(1, (5,), levels=4, hidden=3, embedding=2))
    data = as_tokens(from_arrays(tokens), 4)
    found = evaluate_annealed(model, data, examples=4, chains=2, annealing=FEW)
    test = data.test
    counted = model.likelihood.tokens(test.batch(test.some(4)).x).double().mean()
    assert found["bits_per_dim"] is None
    assert found["bits_per_token"] == pytest.approx(-found["ais"] / (float(counted) * math.log(2)))
    assert found["perplexity"] == pytest.approx(2 ** found["bits_per_token"])
    assert {"Bits per token", "Perplexity"} <= {line.label for line in measures(found)}
