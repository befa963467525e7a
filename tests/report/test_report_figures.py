"""The figures: what they show is what was measured."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Size

from report.runs import metrics, vae
from uncollapse.distributions import Mixture, Normal, Recurrent, Uniform, posteriors
from uncollapse.distributions.likelihoods import Bernoulli, Gaussian
from uncollapse.evaluation.numbers import measures, number
from uncollapse.networks import MLP, RecurrentEncoder
from uncollapse.report import curves, figures, game
from uncollapse.report.style import NotDrawn, svg
from uncollapse.report.traversals import move, traversals
from uncollapse.vae import VAE


def of(kind):
    return [row for row in metrics() if row["kind"] == kind]


def test_the_first_wild_steps_do_not_set_the_scale():
    ax = curves.bound(of("train"), of("valid")).axes[0]
    low, high = ax.get_ylim()
    assert -30 < low < -22 and -21 < high < -19
    assert "nats" in ax.get_ylabel() and "step" in ax.get_xlabel()


def test_the_best_validation_is_marked():
    marker = curves.bound(of("train"), of("valid")).axes[0].lines[-1]
    assert marker.get_xdata()[0] == 300 and marker.get_ydata()[0] == pytest.approx(-20 - 100 / 300)


def test_the_objective_that_was_maximised_is_the_curve():
    train = [{"step": t, "iwae": -1.0, "elbo": -2.0} for t in range(5)]
    ax = curves.bound(train, [{"step": 4, "bound": -1.1, "elbo": -2.1}]).axes[0]
    assert ax.lines[0].get_ydata()[0] == -1.0 and ax.lines[1].get_ydata()[0] == -1.1 and "IWAE" in ax.get_ylabel()


def test_the_thresholds_of_the_verdict_are_drawn():
    ax = curves.information(of("train"), of("valid")).axes[0]
    flat = {line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"}
    assert flat == {0.5, 2.0} and ax.get_ylim()[0] == 0 and ax.get_ylim()[1] >= 5


def test_units_are_sorted_by_their_last_divergence():
    valid = [{"step": t, "kl_units": [0.1, t / 10, 5.0 - t / 10, 0.0]} for t in (10, 20)]
    heat = curves.unit_history(valid).axes[0]
    bars = curves.unit_bars(valid).axes[0]
    assert [text.get_text() for text in heat.get_yticklabels()] == ["z₂", "z₁", "z₀", "z₃"]
    assert [bar.get_height() for bar in bars.patches] == [3.0, 2.0, 0.1, 0.0]
    assert np.allclose(heat.collections[0].get_array(), [[4, 3], [1, 2], [0.1, 0.1], [0, 0]])


def test_the_gradients_of_a_critic_over_time():
    valid = [{"step": t, "critic_gradient_real": 1.0, "critic_gradient_fake": t / 10} for t in (10, 20)]
    ax = game.gradients(valid).axes[0]
    assert [line.get_ydata().tolist() for line in ax.lines] == [[1.0, 1.0], [1.0, 2.0]]
    with pytest.raises(NotDrawn, match="no gradient of the critic yet"):
        game.gradients([{"step": 10, "coverage": 0.5}])


def test_a_divergence_without_parts_is_said():
    with pytest.raises(NotDrawn, match="factorise"):
        curves.unit_bars([{"step": 1, "kl_units": [3.0], "latent_units": 8}])


def test_long_curves_are_thinned_to_means():
    steps, values = curves.thinned(np.arange(10_000.0), np.arange(10_000.0) % 2)
    assert len(steps) == 300 and np.allclose(values, 0.5, atol=0.02) and (np.diff(steps) > 0).all()


def test_a_collapsed_posterior_is_a_dot_on_the_map():
    model, x = vae((1, 8, 8)), torch.rand(50, 1, 8, 8).round()
    with torch.no_grad():
        model.posterior.network.layers[-1].weight.mul_(1e-4)
    ax = figures.latent_map(model, x).axes[0]
    (low, high), dots = ax.get_xlim(), ax.collections[0].get_offsets()
    assert high - low >= 2 and np.ptp(dots) < 0.01


def test_two_latents_are_the_map_itself_in_the_labels_colours():
    model, x = vae((1, 8, 8), features=2), torch.rand(40, 1, 8, 8).round()
    labels = torch.arange(40) % 3
    ax = figures.latent_map(model, x, labels).axes[0]
    assert len(ax.collections) == 3 and "z₀" in ax.get_xlabel()
    assert np.allclose(ax.collections[1].get_offsets(), model.encode(x)[labels == 1], atol=1e-6)


def test_more_latents_are_projected_and_that_is_said():
    model, x = vae((1, 8, 8), features=6), 9 * torch.rand(40, 1, 8, 8)
    ax = figures.latent_map(model, x).axes[0]
    code = model.encode(x).double()
    first = torch.linalg.svdvals(code[:, code.var(0) > 0.01] - code[:, code.var(0) > 0.01].mean(0))[0]
    assert "principal component" in ax.get_xlabel()
    assert np.linalg.norm(ax.collections[0].get_offsets()[:, 0]) == pytest.approx(float(first))


def test_traversals_cross_a_bounded_support():
    shape = Size((1, 4, 4))
    model = VAE(Uniform(3, -2.0, 5.0), Bernoulli(3, shape, MLP), posteriors.LogitNormal(3, shape, MLP, low=-2.0, high=5.0))
    text = svg(traversals(model, torch.rand(20, 1, 4, 4).round(), units=2, steps=3), "t")
    assert all(f">{end}</text>" in text for end in ("−2", "1.5", "5"))


def test_traversals_take_the_most_active_units():
    model, x = vae((1, 8, 8), features=6), torch.rand(30, 1, 8, 8).round()
    with torch.no_grad():
        model.posterior.network.layers[-1].bias[4] = 3.0
    ax = traversals(model, x, units=2, steps=5).axes[0]
    assert ax.texts[0].get_text().startswith("z₄  4.") and ax.images[0].get_array().shape == (17, 44, 4)


def test_a_line_of_a_traversal_is_the_decoded_mean_of_a_feature():
    """Of real numbers less their mean, in the data's standard deviations; the units that stay are those of the first code."""
    model, x = vae((7,), features=3), 5 + 2 * torch.rand(30, 7)
    axes = traversals(model, x, units=2, steps=5).axes
    j = int(axes[0].get_title()[1].translate(str.maketrans("₀₁₂", "012")))
    z = model.encode(x)[0].repeat(5, 1)
    z[:, j] = torch.linspace(-3, 3, 5)
    expected = (model.decode(z) - x.mean(0)) / x.std(0)
    assert len(axes) == 2 and len(axes[0].lines) == 7
    assert np.allclose([line.get_ydata() for line in axes[0].lines], expected.T, atol=1e-5)
    assert axes[0].lines[6].get_label() == "x₆" and axes[0].lines[0].get_xdata().tolist() == [-3.0, -1.5, 0.0, 1.5, 3.0]


def test_of_many_features_ten_that_move_most_have_names():
    model, x = vae((40,), features=2), torch.rand(30, 40)
    with torch.no_grad():
        model.likelihood.network.layers[-1].weight[:20].zero_()
    names = [line.get_label() for line in traversals(model, x).axes[0].lines]
    assert len(names) == 40 and sum(name.startswith("x") for name in names) == 10
    assert all(int(name[1:].translate(str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789"))) >= 20 for name in names if name[0] == "x")


def test_a_path_is_the_decoded_mean_in_the_plane():
    model, x = vae((2,), features=2), torch.rand(30, 2)
    with torch.no_grad():
        model.posterior.network.layers[-1].bias[1] = 3.0
    path = traversals(model, x, steps=7).axes[0].lines[0]
    z = model.encode(x)[0].repeat(7, 1)
    z[:, 1] = torch.linspace(-3, 3, 7)
    assert path.get_label().startswith("z₁") and np.allclose(path.get_xydata(), model.decode(z), atol=1e-5)


def test_traversals_go_as_far_as_the_prior():
    """Three standard deviations of a mixture far from the origin: where KL has no parts, names stand alone."""
    shape = Size((4,))
    model = VAE(Mixture(2, components=1), Gaussian(2, shape, MLP), posteriors.Gaussian(2, shape, MLP))
    with torch.no_grad():
        model.prior.loc.copy_(torch.tensor([[10.0, -10.0]]))
        model.prior.log_scale.fill_(0.5)
    x = torch.rand(20, 4)
    moved = move(model, x, units=2, steps=3)
    ends = torch.tensor([10.0, -10.0]) + 3 * torch.tensor(0.5).exp()
    for name, made in zip(moved.units, moved.made, strict=True):
        z, j = model.encode(x)[0], ["z₀", "z₁"].index(name)
        z[j] = ends[j]
        assert torch.allclose(made[-1], model.decode(z), atol=1e-5)
    assert moved.places.tolist() == [-3.0, 0.0, 3.0]


def test_a_likelihood_without_a_mean_has_no_lines():
    shape = Size((5,))
    model = VAE(Normal(2), Recurrent(2, shape, levels=3), posteriors.Gaussian(2, shape, partial(RecurrentEncoder, levels=3)))
    with pytest.raises(NotDrawn, match="no mean"):
        traversals(model, torch.randint(3, (9, 5)))


def test_points_are_samples_of_the_model_with_its_noise():
    torch.manual_seed(0)
    model = VAE(vae((2,)).prior, Gaussian(4, Size((2,)), MLP), vae((2,)).posterior)
    ax = figures.samples(model, torch.rand(50, 2)).axes[0]
    assert [len(dots.get_offsets()) for dots in ax.collections] == [50, 2000]
    assert np.std(ax.collections[1].get_offsets(), axis=0).min() > 0.5


def test_numbers_keep_their_units_and_unknown_ones_are_shown():
    rows = {
        row.label: row for row in measures({"kl": 0.02, "islands": 25, "kl_units": [1.0], "nll": float("nan"), "extra": None})
    }
    assert rows["KL(q(z|x) ‖ p(z))"][1:3] == ("0.0200", "nats") and rows["islands"].value == "25"
    assert rows["Negative log-likelihood"].value == "not finite" and len(rows) == 3
    assert number(-0.00001) == "0.0000"
