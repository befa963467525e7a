"""Models that are conditioned: log p(x|c) in closed form, and what is left where the condition is ignored."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Size
from torch.distributions import MultivariateNormal

from laws.numerics import assert_equal
from laws.parts import affine
from uncollapse.data import Batch, Space, from_arrays
from uncollapse.data.condition import conditioned_on_labels
from uncollapse.distributions import (
    Bernoulli,
    ConditionalNormal,
    FixedSigma,
    FullGaussian,
    Generator,
    Normal,
    Refined,
    VampPrior,
    likelihoods,
    posteriors,
)
from uncollapse.divergences import R1, R2, Critic, GradientPenalty
from uncollapse.evaluation import ais, log_likelihood
from uncollapse.gan import GAN, ImplicitModel
from uncollapse.learning import Alternating
from uncollapse.networks import Features, LabelEmbedding, OneHot, RecurrentEncoder
from uncollapse.training import Training, fit
from uncollapse.vae import ELBO, IWAE, VAE, Amortized

CLASSES, DATA, LATENT, SIGMA = 3, 4, 2, 0.7
LABELS = Space(Size(()), "label", CLASSES)


def conditional(prior: type = Normal, encoder=OneHot) -> VAE:
    """A linear-Gaussian model whose mean is moved by its class."""
    torch.manual_seed(1)
    likelihood = partial(likelihoods.Gaussian, network=affine, sigma=partial(FixedSigma, value=SIGMA))
    return VAE.of(LATENT, [DATA], prior, likelihood, partial(FullGaussian, network=affine), encoder, LABELS.as_dict())


def batch_of(n: int) -> Batch:
    return Batch(torch.randn(n, DATA), torch.arange(n) % CLASSES)


def test_the_evidence_given_the_class_is_that_of_the_closed_form() -> None:
    """At the exact posterior every weight is p(x|c) = N(W_c e_c + b, W_z W_zᵀ + σ² I); ELBO + KL is it at any other."""
    model, batch = conditional(), batch_of(12)
    decoder, encoder = model.likelihood.network.layers[0], model.posterior.network.layers[0]
    w, v, b = (part.detach() for part in (decoder.weight[:, :LATENT], decoder.weight[:, LATENT:], decoder.bias))
    means = b + v.T[batch.condition]
    exact = MultivariateNormal(means, w @ w.T + SIGMA**2 * torch.eye(DATA)).log_prob(batch.x)
    gain = w.T @ w + SIGMA**2 * torch.eye(LATENT)
    mean, tril = torch.linalg.solve(gain, w.T), torch.linalg.cholesky(torch.linalg.inv(gain) * SIGMA**2)
    with torch.no_grad():
        encoder.weight.zero_()
        encoder.weight[:LATENT, :DATA] = mean
        encoder.weight[:LATENT, DATA:] = -mean @ v
        rest = torch.cat((tril.diagonal().sub(1e-6).expm1().log(), tril[tuple(model.posterior.below)]))
        encoder.bias.copy_(torch.cat((-mean @ b, rest)))
    assert_equal(model.terms(batch, k=3).log_w, exact.expand(3, 12), 1e-7)
    assert_equal(IWAE(model, k=4)(batch, torch.zeros(()))[0], exact, 1e-7)
    assert_equal(log_likelihood(model, batch, k=5).log_likelihoods, exact, 1e-7)
    z = torch.randn(2, 12, LATENT)
    joint = model.log_likelihood(z, batch) + Normal(LATENT)().log_prob(z)
    assert_equal(model.log_joint(batch, z), joint)
    assert_equal(model.log_joint_of_input(model.encoder_input(batch), z), joint)
    found = ais(model, batch, chains=64, annealing=None).log_likelihood
    assert (found - exact).abs().max() < 0.5


@pytest.mark.parametrize("encoder", [OneHot, partial(LabelEmbedding, size=5)])
def test_with_weights_of_zero_it_is_the_model_without_the_condition(encoder) -> None:
    model, batch = conditional(encoder=encoder), batch_of(9)
    likelihood = partial(likelihoods.Gaussian, network=affine, sigma=partial(FixedSigma, value=SIGMA))
    plain = VAE.of(LATENT, [DATA], Normal, likelihood, partial(FullGaussian, network=affine))
    with torch.no_grad():
        for part, sizes in (("likelihood", LATENT), ("posterior", DATA)):
            mine, other = (getattr(m, part).network.layers[0] for m in (model, plain))
            mine.weight[:, sizes:] = 0.0
            other.weight.copy_(mine.weight[:, :sizes])
            other.bias.copy_(mine.bias)
    z = torch.randn(3, 9, LATENT)
    assert_equal(model.log_likelihood(z, batch), plain.log_likelihood(z, batch.x), 1e-12)
    assert_equal(model.encode(batch), plain.encode(batch.x), 1e-12)
    assert_equal(ELBO(model, k=1)(batch, torch.zeros(()))[1]["kl"], ELBO(plain, k=1)(batch.x, torch.zeros(()))[1]["kl"], 1e-12)


def test_a_conditional_prior_is_scored_by_its_class() -> None:
    model, batch = conditional(prior=partial(ConditionalNormal, network=affine)), batch_of(6)
    p, z = model.prior_for(batch), torch.randn(5, 6, LATENT)
    assert p.batch_shape == (6,)
    assert_equal(model.log_joint(batch, z), model.log_likelihood(z, batch) + p.log_prob(z))
    terms = model.terms(batch, k=5)
    assert_equal(terms.log_prior, model.prior_for(batch).log_prob(terms.z))
    assert log_likelihood(model, batch, k=3).n_examples == 6
    drawn, simulated = model.simulate(4, condition=1)
    assert drawn.shape == (4, LATENT) and simulated.condition.tolist() == [1] * 4


def test_images_have_their_class_as_maps() -> None:
    shape = [1, 4, 4]
    posterior = partial(posteriors.Gaussian, network=affine)
    model = VAE.of(2, shape, Normal, partial(Bernoulli, network=affine), posterior, OneHot, LABELS.as_dict())
    assert model.posterior.shape == (4, 4, 4)
    seen = model.encoder_input(Batch(torch.ones(2, *shape), torch.tensor([2, 0])))
    assert seen[:, 1:].mean((2, 3)).tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]


def test_an_ascending_posterior_climbs_the_elbo_given_the_class() -> None:
    family = partial(Refined, family=partial(posteriors.Gaussian, network=affine), steps=3)
    model = VAE.of(LATENT, [DATA], Normal, partial(likelihoods.Gaussian, network=affine), family, OneHot, LABELS.as_dict())
    batch = batch_of(5)
    before, after = model.posterior.family.encode(model.encoder_input(batch)), model.encode_parameters(batch)
    elbos = []
    for parameters in (before, after):
        torch.manual_seed(0)
        elbos.append(model.terms(batch, k=2000, q=model.posterior.at(parameters)).log_w.mean(0))
    assert elbos[1].mean() > elbos[0].mean()


def test_parts_that_take_no_condition_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="VampPrior encodes pseudo-inputs, which have no condition"):
        conditional(prior=VampPrior)
    tokens = partial(posteriors.Gaussian, network=partial(RecurrentEncoder, levels=5, hidden=4))
    likelihood = partial(likelihoods.Recurrent, levels=5, hidden=4)
    with pytest.raises(ValueError, match="Gaussian encodes tokens, beside which no condition can stand"):
        VAE.of(2, [6], Normal, likelihood, tokens, OneHot, LABELS.as_dict())
    for condition, space, words in ((OneHot, None, "the data have none"), (None, LABELS.as_dict(), "has no encoder of it")):
        with pytest.raises(ValueError, match=words):
            VAE.of(2, [4], Normal, likelihood, tokens, condition, space)
    with pytest.raises(ValueError, match="Features encodes numbers, got conditions of kind label"):
        Features(LABELS)


def test_a_conditional_model_is_saved_with_its_conditions_and_sampled_by_them(tmp_path: Path) -> None:
    labels = torch.tensor([0, 2] * 20)
    data = conditioned_on_labels(from_arrays(torch.randn(40, DATA), labels=labels))
    fitted = fit(Amortized(ELBO(conditional())), data, Training(steps=3, batch_size=10))
    fitted.model.save_pretrained(tmp_path)
    model = VAE.from_pretrained(tmp_path)
    assert set(model.condition_examples.tolist()) == {0, 2} and model.condition.space == LABELS
    batch = batch_of(4)
    assert torch.equal(model.encode(batch), fitted.model.encode(batch))
    assert model.sample(5).shape == (5, DATA) and model.sample(2, condition=1, mean=True).shape == (2, DATA)
    torch.manual_seed(0)
    assert set(model.conditions(50).tolist()) == {0, 2}
    for wrong in (3, -1, [0, 1], [[0, 1]]):
        with pytest.raises(
            ValueError, match=r"expected a (class from 0 to 2|condition of shape \(\), or one for each of 3 draws)"
        ):
            model.sample(3, condition=wrong)
    with pytest.raises(ValueError, match="expected a condition for each observation, of kind label, got observations alone"):
        model.encode(torch.zeros(2, DATA))


def conditional_gan(condition, penalties=()) -> GAN:
    space = None if condition is None else LABELS.as_dict()
    model = ImplicitModel.of(LATENT, [DATA], Normal, partial(Generator, network=affine), None, condition, space)
    return GAN(model, partial(Critic, network=affine), penalties=penalties)


@pytest.mark.parametrize("penalties", [[], [R1(), R2(), GradientPenalty()]])
def test_a_game_whose_condition_has_no_weight_is_the_game_without_it(penalties) -> None:
    """Both players' losses, and no gradient at the condition is penalised."""
    mine, plain, batch, t = conditional_gan(OneHot, penalties), conditional_gan(None, penalties), batch_of(8), torch.zeros(())
    with torch.no_grad():
        for part, sizes, weight in (("model.likelihood", LATENT, 0.0), ("critic", DATA, 3.0)):
            own, other = (g.get_submodule(f"{part}.network").layers[0] for g in (mine, plain))
            own.weight[:, sizes:] = weight
            other.weight.copy_(own.weight[:, :sizes])
            other.bias.copy_(own.bias + weight)  # one of the features is 1
    found = []
    for objective, given in ((mine, batch), (plain, batch.x)):
        torch.manual_seed(0)
        loss = objective(given, t)[1]["generator_loss"]
        torch.manual_seed(0)
        found.append((loss, objective.judgement(*objective.pairs(given), t)[0]))
    for a, b in zip(*found, strict=True):
        assert_equal(a, b, 1e-12)


def test_real_and_fake_are_judged_by_the_same_condition() -> None:
    objective, batch = conditional_gan(OneHot), batch_of(8)
    real, fake = objective.pairs(batch)
    assert torch.equal(real[-1], fake[-1]) and torch.equal(real[-1].argmax(1), batch.condition)
    data = conditioned_on_labels(from_arrays(torch.randn(40, DATA), labels=torch.arange(40) % CLASSES))
    fitted = fit(Alternating(objective), data, Training(steps=2, batch_size=10))
    assert fitted.model.sample(3, condition=2).shape == (3, DATA)
