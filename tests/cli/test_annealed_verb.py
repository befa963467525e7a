"""`uncollapse evaluate` of a GAN and a VAE: annealed likelihoods, and options that mean nothing for a kind of model."""

import json
from pathlib import Path

import pytest
import yaml
from torch import Size

from uncollapse.cli import main
from uncollapse.evaluation import Annealing
from uncollapse.training.recipe import Recipe

FEW = ["--annealed", "--chains", "2", "--temperatures", "3", "--examples", "5"]


def untrained(out: Path, recipe: str, *options: str) -> str:
    """A run folder as far as `evaluate` reads it, its weights as they were drawn."""
    read = Recipe.read(recipe, options)
    out.mkdir()
    (out / "config.yaml").write_text(yaml.safe_dump({"recipe": read.name, **read.values}))
    read.model(Size((1, 8, 8))).save_pretrained(out)
    return str(out)


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> str:
    return untrained(tmp_path_factory.mktemp("runs") / "vae", "vae", "--features", "2")


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> str:
    data = ["--data", "digits", "--data.dequantize", "true"]
    return untrained(tmp_path_factory.mktemp("runs") / "gan", "gan-ring", *data)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A noise is chosen by chains as short as these, and step sizes are adapted in as short ones."""
    monkeypatch.setattr("uncollapse.evaluation.annealing.FEWEST", 2)
    monkeypatch.setattr("uncollapse.evaluation.observation.SHORT", Annealing(3, leapfrogs=1, adapt="never"))


def test_a_gan_and_a_vae_are_annealed_alike(gan: str, vae: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for run in (gan, vae):
        assert main(["evaluate", run, *FEW, "--simulated", "3", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert {name: found[name] for name in ("n_examples", "n_simulated", "chains", "temperatures")} == {
            "n_examples": 5,
            "n_simulated": 3,
            "chains": 2,
            "temperatures": 3,
        }
        assert found["bracket_gap"] == pytest.approx(found["bracket_upper"] - found["bracket_lower"])
        assert found["ais_standard_error"] > 0 and found["bits_per_dim"] > 0
        assert ("observation_noise" in found) == (run == gan)


def test_the_console_says_of_what_the_density_is(gan: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", gan, *FEW, "--observation-noise", "0.2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "density_of 17 levels dequantised by uniform noise" in said
    assert "observation_noise 0.200" in said and "observation_noise_from given" in said


def test_what_takes_long_is_announced_in_a_line(
    vae: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["evaluate", vae, *FEW]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("uncollapse.cli.kinds.LONG", 1)
    assert main(["evaluate", vae, *FEW, "--simulated", "2"]) == 0
    error = capsys.readouterr().err
    assert error.startswith("630 evaluations of the decoder") and error.count("\n") == 1
    assert "2 chains of 3 temperatures for 5 observations, and both ways for 2 simulated ones" in error


def test_chains_may_start_at_the_posterior(vae: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for proposal in (["--proposal", "posterior"], ["--proposal", "widened", "--widen", "1.5"]):
        assert main(["evaluate", vae, *FEW, *proposal, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["ais"] < 0


@pytest.mark.parametrize(
    ("kind", "argv", "said"),
    [
        ("gan", ["--examples", "5"], "--examples means nothing for a GAN, which is judged by its draws; write --draws N"),
        ("gan", ["--proposal", "prior"], "--proposal means nothing for a GAN"),
        ("gan", ["--widen", "1.5"], "--widen means nothing for a GAN"),
        ("gan", ["--observation-noise", "0.1"], "without a likelihood; write --annealed or --samples K beside it"),
        ("gan", ["--samples", "5", "--draws", "5"], "with --samples, which looks at no draws of a GAN"),
        ("gan", ["--samples", "5", "--proposal", "prior"], "for a GAN, whose samples lie around a mode; leave it out"),
        ("gan", ["--samples", "5", "--chains", "5"], "with --samples; write --annealed in its place"),
        ("gan", ["--chains", "5"], "write --annealed beside it"),
        ("vae", ["--features", "digits"], "--features means nothing where nothing is drawn; write --draws N beside it"),
        ("vae", ["--temperatures", "5"], "write --annealed beside it"),
        ("vae", ["--simulated", "5"], "write --annealed beside it"),
        ("vae", ["--observation-noise", "0.5"], "write --annealed beside it"),
        ("vae", [*FEW, "--observation-noise", "0.5"], "a Bernoulli likelihood, which has a density of its own; leave it out"),
        ("vae", [*FEW, "--samples", "5"], "with --annealed; write --chains K"),
        ("vae", [*FEW, "--draws", "5"], "with --annealed, which looks at no draws; leave one of them out"),
        ("gan", [*FEW, "--features", "digits"], "with --annealed, which looks at no draws; leave one of them out"),
        ("gan", [*FEW, "--proposal", "posterior"], "for a GAN, whose chains start at the prior; leave it out"),
    ],
)
def test_an_option_that_means_nothing_is_refused_in_a_line(
    kind: str, argv: list[str], said: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    run = request.getfixturevalue(kind)
    capsys.readouterr()
    assert main(["evaluate", run, *argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert said in error


def test_a_gan_is_sampled_around_its_modes(
    gan: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("uncollapse.evaluation.located.SHORT", Annealing(3, leapfrogs=1, adapt="never"))
    capsys.readouterr()
    given = ["--samples", "50", "--examples", "5", "--observation-noise", "0.3", "--json"]
    assert main(["evaluate", gan, *given]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_importance_samples"], found["n_examples"], found["observation_noise"]) == (50, 5, 0.3)
    assert found["proposal"] == "Laplace, Widened(factor=1.2)" and "dequantised" in found["density_of"]
    assert found["nll"] > 0 and "kl" not in found and "verdict" not in found


def test_a_single_simulated_observation_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", str(tmp_path), "--annealed", "--simulated", "1"])
    assert "expected at least 2, for a standard error, came 1" in capsys.readouterr().err
