"""The model: what it refuses, what it computes, and that it is the same after it was saved."""

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Size, Tensor

from laws.numerics import assert_equal
from laws.parts import LIKELIHOODS, PRIORS, affine, pairs, vae
from uncollapse.diagnosis import diagnose
from uncollapse.distributions import Bernoulli, LatentVariableModel, LogitNormal, Normal, OptimalSigma, Uniform, posteriors
from uncollapse.distributions.likelihoods import Gaussian
from uncollapse.vae import VAE

SHAPE = Size((3,))


def outputs(model: VAE, x: Tensor) -> list[Tensor]:
    """What a model says of x with one seed: densities, parameters, codes, reconstructions, draws."""
    torch.manual_seed(7)
    with torch.no_grad():
        return [*model.terms(x, k=2), model.posterior.encode(x), model.encode(x), model.reconstruct(x), model.sample(3)]


ROWS = [(p, q, "Bernoulli") for p, q in pairs()] + [("Normal", "Gaussian", l) for l in LIKELIHOODS]


@pytest.mark.parametrize(("prior", "posterior", "likelihood"), ROWS)
def test_saved_and_loaded_it_is_the_same(prior: str, posterior: str, likelihood: str, tmp_path: Path) -> None:
    """Every prior beside every posterior on its support, and every likelihood: all that it computes is equal to the bit."""
    model = vae(prior, likelihood, posterior).eval()
    x = torch.zeros(4, 3, dtype=torch.long if model.likelihood.space.kind == "tokens" else None)
    model.save_pretrained(tmp_path)
    again = VAE.from_pretrained(tmp_path)
    assert not again.training
    for a, b in zip(outputs(model, x), outputs(again, x), strict=True):
        assert torch.equal(a, b)


def test_precision_is_kept(tmp_path: Path) -> None:
    """Weights saved in float64 are loaded in float64, whatever the default is."""
    model = vae("Uniform", "Categorical", "LogitNormal").eval()
    model.save_pretrained(tmp_path)
    torch.set_default_dtype(torch.float32)
    again = VAE.from_pretrained(tmp_path)
    assert {p.dtype for p in again.parameters()} == {torch.float64}
    x = torch.zeros(4, 3, dtype=torch.float64)
    assert torch.equal(again.posterior.encode(x), model.posterior.encode(x))


def test_fitted_aggregate_is_saved_too(tmp_path: Path) -> None:
    """The mixture over the aggregated posterior travels with the model."""
    model = vae().eval()
    model.fit_aggregate(torch.bernoulli(torch.full((50, 3), 0.5)), components=4)
    model.save_pretrained(tmp_path)
    again, z = VAE.from_pretrained(tmp_path), torch.randn(5, 2)
    assert torch.equal(again.aggregate().log_prob(z), model.aggregate().log_prob(z))
    assert again.sample(6, again.aggregate()).shape == (6, 3)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    """No model, one of another format, and weights of another shape, each in words."""
    with pytest.raises(FileNotFoundError, match=r"holds no model\.json"):
        VAE.from_pretrained(tmp_path)
    vae().save_pretrained(tmp_path)
    document = json.loads((tmp_path / "model.json").read_text())
    for wrong, words in (({"format": 0}, "another format"), ({"model": "GAN"}, "holds a GAN")):
        (tmp_path / "model.json").write_text(json.dumps(document | wrong))
        with pytest.raises(ValueError, match=words):
            VAE.from_pretrained(tmp_path)


def test_weights_of_another_model_are_refused() -> None:
    """A tensor of another shape, one missing and one too many: the first of them is named with both shapes."""
    weights, name = vae().state_dict(), "likelihood.network.layers.0.weight"
    for changed, message in (
        (weights | {name: torch.zeros(9, 2)}, r"layers.0.weight is \(9, 2\) there and \(5, 2\) here"),
        (weights | {"prior.extra": torch.zeros(1)}, r"prior.extra is \(1,\) there and missing here"),
        ({k: v for k, v in weights.items() if k != name}, r"missing there and \(5, 2\) here \(1 differences\)"),
    ):
        with pytest.raises(ValueError, match=message):
            vae().load_weights(changed, "here")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b[:-1], "expected 936 bytes by its header, got 935"),
        (lambda b: b[:-1] + bytes([b[-1] ^ 1]), "its bytes are not those that were saved"),
        (lambda b: b"", "expected tensors, got a file without their names and shapes"),
    ],
)
def test_damaged_weights_are_refused(damage: Callable[[bytes], bytes], words: str, tmp_path: Path) -> None:
    vae().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=f"is damaged: {words}"):
        VAE.from_pretrained(tmp_path)


def test_looking_at_a_model_leaves_its_modes_and_sigma_alone() -> None:
    """encode, reconstruct, sample and diagnose act in eval() and put every module back in its own mode."""
    model = VAE(Normal(2), Gaussian(2, SHAPE, affine, OptimalSigma), posteriors.Gaussian(2, SHAPE, affine)).train()
    before, x = model.likelihood.sigma.variance.clone(), torch.randn(5, *SHAPE)
    for look in (model.encode, model.reconstruct, lambda x: model.sample(3), lambda x: diagnose(model, x)):
        look(x)
    assert torch.equal(model.likelihood.sigma.variance, before) and all(module.training for module in model.modules())


def test_an_expectation_step_leaves_the_model_as_it_stands() -> None:
    """The ascent on free parameters moves no running variance and no mode, in a model that is training."""
    family = partial(posteriors.Gaussian, network=affine)
    model = VAE(Normal(2), Gaussian(2, SHAPE, affine, OptimalSigma), posteriors.Free(2, SHAPE, family, limit=20)).train()
    before = model.likelihood.sigma.variance.clone()
    model.posterior.encode(torch.randn(5, *SHAPE))
    assert torch.equal(model.likelihood.sigma.variance, before) and all(module.training for module in model.modules())


def test_sample_draws_from_the_likelihood_and_mean_does_not() -> None:
    model = vae()
    assert set(model.sample(50).unique().tolist()) <= {0.0, 1.0}
    means = model.sample(50, mean=True)
    assert ((means > 0) & (means < 1)).all()


def test_supports_must_match() -> None:
    """A Gaussian posterior beside a uniform prior, the reverse, and two different intervals are refused; the message names what
    to write."""
    gaussian, boxed = posteriors.Gaussian(2, SHAPE, affine), LogitNormal(2, SHAPE, affine)
    likelihood = Bernoulli(2, SHAPE, affine)
    with pytest.raises(
        ValueError, match=r"Uniform lives on \(0, 1\), the posterior Gaussian on the real line; write LogitNormal"
    ):
        VAE(Uniform(2), likelihood, gaussian)
    with pytest.raises(ValueError, match=r"Normal lives on the real line, the posterior LogitNormal on \(0, 1\)"):
        VAE(Normal(2), likelihood, boxed)
    with pytest.raises(ValueError, match=r"\(-1, 1\), the posterior LogitNormal on \(0, 1\)"):
        VAE(Uniform(2, -1.0, 1.0), likelihood, boxed)
    assert VAE(Uniform(2), likelihood, boxed).prior.features == 2


def test_sizes_must_match() -> None:
    """Latents and data shapes that differ between the parts are refused with both numbers."""
    with pytest.raises(ValueError, match="the prior has 3 latents, the likelihood expects 2"):
        LatentVariableModel(Normal(3), Bernoulli(2, SHAPE, affine))
    with pytest.raises(ValueError, match="to 3 latents, the model has 2 latents"):
        VAE(Normal(2), Bernoulli(2, SHAPE, affine), posteriors.Gaussian(3, SHAPE, affine))
    with pytest.raises(ValueError, match=r"maps \(5,\) to 2 latents.*data of shape \(3,\)"):
        VAE(Normal(2), Bernoulli(2, SHAPE, affine), posteriors.Gaussian(2, Size((5,)), affine))


def test_of_states_each_size_once() -> None:
    """Factories get the sizes: the parts agree by construction."""
    model = VAE.of(3, [2, 4], Normal, partial(Bernoulli, network=affine), partial(posteriors.Gaussian, network=affine))
    assert (model.prior.features, model.likelihood.shape, model.posterior.shape) == (3, (2, 4), (2, 4))
    assert model.terms(torch.zeros(5, 2, 4), k=6).z.shape == (6, 5, 3)


@pytest.mark.parametrize("prior", PRIORS)
def test_terms_are_the_densities_of_the_draws(prior: str) -> None:
    """log p(x|z), log p(z), log q(z|x) at the same z, and log w their sum with signs; log p(x, z) is the first two."""
    model = vae(prior, posterior="LogitNormal" if prior == "Uniform" else "Gaussian")
    x = torch.bernoulli(torch.full((4, 3), 0.5))
    terms = model.terms(x, k=3)
    assert_equal(terms.log_likelihood, model.likelihood(terms.z).log_prob(x))
    assert_equal(terms.log_posterior, model.posterior(x).log_prob(terms.z))
    assert_equal(terms.log_w + terms.log_posterior, model.log_joint(x, terms.z))


def test_terms_of_other_proposals() -> None:
    """Draws of the prior [K, B, L], whose weights are the likelihoods, and of refined parameters."""
    model, x = vae(), torch.ones(4, 3)
    terms = model.terms(x, k=5, q=model.prior())
    assert terms.z.shape == (5, 4, 2)
    assert_equal(terms.log_w, terms.log_likelihood)
    refined = model.terms(x, k=5, q=model.posterior.at(torch.zeros(4, 4)))  # N(0, I) again
    assert refined.z.shape == (5, 4, 2)
    assert_equal(refined.log_w, refined.log_likelihood)


def test_codes_reconstructions_and_paths() -> None:
    """encode is the posterior's mean, reconstruct decodes it, interpolate starts and ends at the two reconstructions."""
    model = vae()
    a, b = torch.ones(2, 3), torch.zeros(2, 3)
    assert_equal(model.encode(a), model.posterior(a).mean.detach())
    assert_equal(model.reconstruct(a), model.likelihood(model.encode(a)).mean.detach())
    path = model.interpolate(a, b, steps=5)
    assert path.shape == (5, 2, 3)
    assert_equal(path[0], model.reconstruct(a))
    assert_equal(path[-1], model.reconstruct(b))


def test_a_copy_learns_from_itself() -> None:
    """A deep copy has its own weights, and free parameters that ascend the copy's ELBO, not the original's."""
    model = vae(posterior="Free")
    other = copy.deepcopy(model)
    assert other.posterior.log_joint.__self__ is other and other.configuration() == model.configuration()
    with torch.no_grad():
        next(other.likelihood.parameters()).add_(1.0)
    assert not torch.equal(next(other.likelihood.parameters()), next(model.likelihood.parameters()))
