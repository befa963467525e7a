"""Reconstructions and inferred latents against closed forms, probes of codes that are known, and which names a model has."""

import math
from functools import partial

import pytest
import torch
from torch import Size, Tensor, nn
from torch.distributions import Independent

from laws.ppca import PPCA
from uncollapse.data import Data, Source, from_arrays
from uncollapse.distributions import Generator, LatentVariableModel, Mixture, Normal, likelihoods, posteriors
from uncollapse.divergences import Critic
from uncollapse.evaluation import evaluate, evaluate_latents, evaluate_samples, linear_probe
from uncollapse.evaluation.metric_catalog import FACTS, MEASURES
from uncollapse.evaluation.numbers import measures
from uncollapse.gan import ALI, GAN, VEEGAN, ImplicitModel, InfoGAN
from uncollapse.networks import MLP, Bias

RECONSTRUCTION = {"reconstruction_error", "reconstruction_error_standard_error", "reconstruction_error_of_mean"}
LATENT = {"latent_error", "latent_error_standard_error", "latents_n"}
PROBE = {
    "probe_accuracy",
    "probe_accuracy_standard_error",
    "probe_accuracy_chance",
    "probe_accuracy_pca",
    "probe_n",
    "probe_train_n",
}
affine = partial(MLP, hidden=[])


@pytest.fixture
def ppca(float64: None) -> PPCA:
    torch.manual_seed(1)
    model = PPCA(data=5, latent=2, sigma=0.6)
    model.set_decoder(model.decoder.weight, torch.arange(5.0))
    model.solve_encoder()
    return model


def identity(features: int) -> LatentVariableModel:
    """An encoder whose posterior mean is x."""
    posterior = posteriors.Gaussian(features, (features,), affine)
    with torch.no_grad():
        posterior.network.layers[0].weight.copy_(torch.eye(2 * features, features))
        posterior.network.layers[0].bias.zero_()
    return LatentVariableModel(Normal(features), likelihoods.Gaussian(features, (features,), affine), posterior)


def test_the_reconstruction_error_is_that_of_the_projection(ppca: PPCA) -> None:
    """x - x̂ = (I - W M⁻¹ Wᵀ)(x - b): on the same rows the mean square of that, in expectation tr(R C Rᵀ) / D, within 5
    standard errors; the training mean leaves tr C / D, with 1 / N of it for its own error."""
    w, n = ppca.decoder.weight.detach(), 4000
    data = from_arrays(ppca.sample(n), test=ppca.sample(n))
    found = evaluate_latents(ppca.vae, data)
    rest = torch.eye(5) - w @ torch.linalg.solve(ppca.gain().detach(), w.T)
    c = w @ w.T + ppca.sigma**2 * torch.eye(5)
    squares = ((data.test.all() - ppca.decoder.bias.detach()) @ rest.T).square().mean(1)
    assert found["reconstruction_error"] == pytest.approx(float(squares.mean()), rel=1e-9)
    assert found["reconstruction_error_standard_error"] == pytest.approx(float(squares.std()) / n**0.5, rel=1e-9)
    exact = float((rest @ c @ rest.T).trace()) / 5
    assert abs(found["reconstruction_error"] - exact) < 5 * found["reconstruction_error_standard_error"]
    assert found["reconstruction_error_of_mean"] == pytest.approx(float(c.trace()) / 5, rel=0.1)
    constant = (data.test.all() - data.train.all().mean(0)).square().mean()
    assert found["reconstruction_error_of_mean"] == pytest.approx(float(constant), rel=1e-9)
    assert found["latents_n"] == n and found.keys() == RECONSTRUCTION | LATENT


class WithoutMean(likelihoods.Gaussian):
    """A Gaussian whose mean nobody knows, as that of a PixelCNN."""

    def forward(self, c: Tensor | None = None) -> Independent:
        p = super().forward(c)
        return MeanlessNormal(p.mean, p.variance.sqrt())


class MeanlessNormal(Independent):
    def __init__(self, loc: Tensor, scale: Tensor):
        super().__init__(torch.distributions.Normal(loc, scale), 1)

    @property
    def mean(self) -> Tensor:
        raise NotImplementedError


def test_two_draws_have_the_error_of_the_mean_that_nobody_knows(ppca: PPCA) -> None:
    """The difference over the same 4,000 rows is 0 within 5 standard errors; one draw would add σ² = 0.36 to about 0.2."""
    data = from_arrays(ppca.sample(10), test=ppca.sample(4000))
    exact = evaluate_latents(ppca.vae, data)
    ppca.vae.likelihood.__class__ = WithoutMean
    found = evaluate_latents(ppca.vae, data)
    difference = found["reconstruction_error"] - exact["reconstruction_error"]
    assert abs(difference) < 5 * found["reconstruction_error_standard_error"] < 0.05


def test_the_latent_error_is_the_posterior_variance(ppca: PPCA) -> None:
    """With the exact posterior E ‖E[z|x] - z‖² / L = σ² tr(M⁻¹) / L; over 200 seeds of 100 draws the mean is within 5 standard
    errors of it, and the standard error is theirs within a quarter (5 deviations of a standard deviation of 200)."""
    data = from_arrays(ppca.sample(10), test=ppca.sample(100))
    runs = [evaluate_latents(ppca.vae, data, seed=seed) for seed in range(200)]
    errors = torch.tensor([run["latent_error"] for run in runs])
    stated = torch.tensor([run["latent_error_standard_error"] for run in runs])
    exact = float(ppca.sigma**2 * torch.linalg.inv(ppca.gain().detach()).trace()) / 2
    bias = 2 / 100  # of a ratio of means of 100 draws
    assert abs(float(errors.mean()) - exact) < 5 * float(errors.std()) / 200**0.5 + bias * exact
    assert float(errors.std() / stated.mean()) == pytest.approx(1, abs=0.25)


def test_an_encoder_that_says_the_priors_mean_has_latent_error_one(float64: None) -> None:
    """Whatever the prior's place and scale: here N(5, 3²), 5,000 draws, within 5 standard errors and 1 / N."""
    prior = Mixture(2, components=1, scale=3.0)
    model = LatentVariableModel(prior, Generator(2, (2,), Bias), posteriors.Gaussian(2, (2,), Bias))
    with torch.no_grad():
        prior.loc.fill_(5.0)
        model.posterior.network.value.copy_(torch.tensor([5.0, 5.0, 0.0, 0.0]))
    found = evaluate_latents(model, from_arrays(torch.randn(10, 2), test=torch.randn(5000, 2)))
    assert abs(found["latent_error"] - 1) < 5 * found["latent_error_standard_error"] + 1e-3
    assert found["latent_error_standard_error"] < 0.05


@pytest.mark.parametrize("objective", ["ALI", "VEEGAN", "InfoGAN", "code", "GAN"])
def test_which_names_a_generator_has(objective: str) -> None:
    """Reconstructions where the encoder infers the whole latent, latents and probe where there is an encoder at all."""
    x, labels = torch.randn(200, 3), torch.arange(200) % 2
    data = from_arrays(x, test=x, labels=labels, test_labels=labels)
    posterior = None if objective == "GAN" else posteriors.Gaussian(2, (3,), affine)
    model = ImplicitModel(Normal(2), Generator(2, (3,), affine), posterior)
    kinds = {"ALI": ALI, "VEEGAN": VEEGAN, "InfoGAN": InfoGAN, "code": partial(InfoGAN, code=1), "GAN": GAN}
    game = kinds[objective](model, partial(Critic, network=affine))
    found = evaluate_samples(model, data, draws=100, game=game)
    names = {"GAN": set(), "code": LATENT | PROBE}.get(objective, RECONSTRUCTION | LATENT | PROBE)
    assert found.keys() & (RECONSTRUCTION | LATENT | PROBE) == names
    quick = evaluate_samples(model, data, draws=100, game=game, quick=True)
    assert not quick.keys() & (LATENT | PROBE)
    if objective == "code":  # of other data, where the game's critic is no evidence, it is known all the same
        assert evaluate_samples(model, data, draws=100, code=1).keys() & (RECONSTRUCTION | LATENT | PROBE) == names


def test_a_code_alone_is_measured(float64: None) -> None:
    """x = z, the encoder infers the first latent and is a hundred off in the second: errors of 0, and of 5,000 for both."""
    model = identity(2)
    model.likelihood = Generator(2, (2,), affine)
    with torch.no_grad():
        model.likelihood.network.layers[0].weight.copy_(torch.eye(2))
        model.likelihood.network.layers[0].bias.zero_()
        model.posterior.network.layers[0].bias[1] = 100.0
    x = torch.randn(1000, 2)
    data = from_arrays(x, test=x, labels=x[:, 1] > 0, test_labels=x[:, 1] > 0)
    code, all_latents = evaluate_latents(model, data, code=1), evaluate_latents(model, data)
    assert code["latent_error"] == pytest.approx(0, abs=1e-12) and all_latents["latent_error"] == pytest.approx(5000, rel=0.2)
    assert abs(code["probe_accuracy"] - 0.5) < 5 * 0.5 / 1000**0.5 and all_latents["probe_accuracy"] > 0.98


def test_a_probe_of_codes_that_are_the_label_and_of_noise() -> None:
    """1, and the share of the commonest label within 4 standard errors; in principal components, too."""
    labels = torch.arange(2000) % 4
    x = nn.functional.one_hot(labels, 4) + 0.01 * torch.randn(2000, 4)
    told = evaluate_latents(identity(4), from_arrays(x, test=x, labels=labels, test_labels=labels))
    assert told["probe_accuracy"] == told["probe_accuracy_pca"] == 1 and told["probe_accuracy_chance"] == 0.25
    assert (told["probe_n"], told["probe_train_n"], told["probe_accuracy_standard_error"]) == (2000, 1800, 0)
    a, b = torch.rand(2, 2000) < 0.3
    noise = evaluate_latents(identity(4), from_arrays(torch.randn(2000, 4), test=x, labels=a, test_labels=b))
    assert noise["probe_accuracy_chance"] == pytest.approx(1 - float(b.float().mean()))
    assert noise["probe_accuracy_standard_error"] == pytest.approx((0.7 * 0.3 / 2000) ** 0.5, rel=0.1)
    for name in ("probe_accuracy", "probe_accuracy_pca"):
        assert abs(noise[name] - noise["probe_accuracy_chance"]) < 4 * noise["probe_accuracy_standard_error"]


@pytest.mark.parametrize("split", ["train", "all"])
def test_a_probe_is_not_judged_by_what_it_learned_from(split: str) -> None:
    """Labels by chance, 500 rows of 100 latents to learn from: on these it would be right at more than 0.7."""
    data = from_arrays(
        torch.randn(1000, 100), test=torch.randn(2, 100), labels=torch.rand(1000) < 0.5, test_labels=[True, False]
    )
    found = evaluate_latents(identity(100), data, split)
    assert abs(found["probe_accuracy"] - 0.5) < 5 * 0.5 / found["probe_n"] ** 0.5 < 0.12


def test_without_labels_or_with_too_many_kinds_there_is_no_probe() -> None:
    x, model = torch.randn(300, 2), identity(2)
    assert not evaluate_latents(model, from_arrays(x, test=x)).keys() & PROBE
    for labels in (torch.arange(300), torch.zeros(300)):
        assert not evaluate_latents(model, from_arrays(x, test=x, labels=labels, test_labels=labels)).keys() & PROBE
    assert not evaluate_latents(model, from_arrays(x, test=x, labels=torch.arange(300) % 2)).keys() & PROBE


def test_codes_that_are_not_finite_have_no_probe() -> None:
    x, labels, model = torch.randn(300, 2), torch.arange(300) % 2, identity(2)
    with torch.no_grad():
        model.posterior.network.layers[0].bias.fill_(math.nan)
    found = evaluate_latents(model, from_arrays(x, test=x, labels=labels, test_labels=labels))
    assert math.isnan(found["reconstruction_error"]) and math.isnan(found["latent_error"]) and not found.keys() & PROBE


def tokens(rows: list[list[int]], levels: int) -> Data:
    x = Source(torch.tensor(rows), tokens=True)
    return Data("tokens", x, x, x, levels)


def grid(rows: list[list[int]], levels: int) -> Data:
    x = Source(torch.tensor(rows) / (levels - 1))
    return Data("grid", x, x, x, levels)


def test_the_error_rate_is_of_real_tokens() -> None:
    """A decoder that always ends at once: of 2 + 2 + 3 tokens up to the ends, 1 + 1 + 3 are wrong. The commonest tokens are 1,
    0, and 3 at the third place, which one sequence reaches: 1 of 7 is wrong."""
    likelihood = likelihoods.Recurrent(2, Size((3,)), levels=5, hidden=4, embedding=2)
    with torch.no_grad():
        likelihood.decoder.logits.bias[0] = 1000.0
    model = LatentVariableModel(Normal(2), likelihood, posteriors.Gaussian(2, (3,), Bias))
    found = evaluate_latents(model, tokens([[1, 0, 0], [1, 0, 0], [1, 2, 3]], 5))
    assert found["token_error_rate"] == pytest.approx(5 / 7)
    assert found["token_error_rate_of_mode"] == pytest.approx(1 / 7)
    residuals = torch.tensor([1.0, 1.0, 3.0]) - 5 / 7 * torch.tensor([2.0, 2.0, 3.0])
    error = float(residuals.std()) / (7 / 3) / 3**0.5
    assert found["token_error_rate_standard_error"] == pytest.approx(error, rel=1e-5)
    assert "reconstruction_error" not in found


def test_the_error_rate_of_levels_is_that_of_the_likeliest() -> None:
    """Levels without an order: of (0.4, 0.1, 0.5) 2 is the likeliest, wherever the mean lies; zeros are no ends. A draw would
    be wrong at 0.5 of the 240 tokens that are 2."""
    likelihood = likelihoods.Categorical(2, Size((2,)), Bias, levels=3)
    with torch.no_grad():
        likelihood.network.value.copy_(torch.tensor([0.4, 0.1, 0.5]).log()[:, None].expand(3, 2))
    model = LatentVariableModel(Normal(2), likelihood, posteriors.Gaussian(2, (2,), Bias))
    found = evaluate_latents(model, grid([[2, 2]] * 120 + [[0, 1]] * 80, 3))
    assert found["token_error_rate"] == pytest.approx(160 / 400)
    assert found["token_error_rate_of_mode"] == pytest.approx(160 / 400)


def test_of_how_many_and_that_nothing_else_is_drawn() -> None:
    x, labels, model = torch.rand(400, 2), torch.arange(400) % 2, identity(2)
    data = from_arrays(x, test=x, labels=labels, test_labels=labels)
    state = torch.get_rng_state()
    found = evaluate_latents(model, data, examples=50)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert (found["latents_n"], found["probe_n"], found["probe_train_n"]) == (50, 50, 360)
    assert evaluate_latents(model, data, examples=50) == found
    assert evaluate_latents(model, data, examples=50, seed=1)["latent_error"] != found["latent_error"]
    single = evaluate_latents(model, data, examples=1)
    assert single["latents_n"] == 1 and single["reconstruction_error_standard_error"] is None


def test_evaluate_says_it_of_a_vae_and_each_error_stands_in_its_line(ppca: PPCA) -> None:
    x, labels = ppca.sample(300), torch.arange(300) % 2
    data = from_arrays(x, test=x, labels=labels, test_labels=labels)
    found = evaluate(ppca.vae, data, samples=5)
    assert found.keys() > RECONSTRUCTION | LATENT | PROBE
    assert MEASURES.keys() | FACTS.keys() >= RECONSTRUCTION | LATENT | PROBE
    lines = {line.label: line for line in measures(found)}
    labels_of = [MEASURES[name].label for name in ("reconstruction_error", "latent_error", "probe_accuracy")]
    assert all("±" in lines[label].value for label in labels_of)
    assert "the training mean: " in lines["Reconstruction error"].meaning
    assert "chance: 0.5000, principal components: " in lines["Accuracy of a linear probe"].meaning
    beside = RECONSTRUCTION | PROBE - {"probe_n", "probe_train_n"} | LATENT - {"latents_n"}
    assert not {MEASURES[name].label for name in beside} & lines.keys() - set(labels_of)


@pytest.mark.parametrize(
    ("train", "labels", "test", "test_labels", "message"),
    [
        (torch.zeros(3, 1), torch.arange(2), torch.zeros(1, 1), torch.zeros(1), "2 labels of 3 training rows"),
        (torch.zeros(3, 1), torch.arange(3), torch.zeros(0, 1), torch.zeros(0), "at least 1 test row"),
        (torch.zeros(3, 1), torch.zeros(3), torch.zeros(1, 1), torch.zeros(1), "at least 2 classes, got 1"),
    ],
)
def test_what_a_probe_refuses(train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_probe(train, labels, test, test_labels)
