"""A training of several stages: a VAE is pre-trained by the ELBO and goes on as an adversarial autoencoder."""

import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.conftest import small_vae
from tests.training.test_resume import same_run

from uncollapse import noise
from uncollapse.data import Batch, Data, from_arrays
from uncollapse.data import load as load_data
from uncollapse.distributions import BatchNormalized, Normal, OptimalSigma, likelihoods
from uncollapse.learning import Alternating
from uncollapse.networks import MLP
from uncollapse.schedules import Linear
from uncollapse.training import Fitted, Stage, Training, fit, load
from uncollapse.training.kept import Kept
from uncollapse.vae import ELBO, VAE, AdversarialAutoencoder, Amortized

SETTINGS: dict[str, Any] = {"batch_size": 50, "log_every": 2, "validate_every": 5, "ema": 0.9}


class Killed(Exception):
    """Ends a training where a kill would."""


def critic(shape: torch.Size, out: torch.Size) -> MLP:
    return MLP(shape, out, hidden=[8])


def stages(first: int = 10, second: int = 10, start: str = "last", **settings: Any) -> list[Stage]:
    """A VAE that is pre-trained, and goes on as an adversarial autoencoder."""
    vae = small_vae()
    torch.manual_seed(1)
    game = AdversarialAutoencoder(vae, critic)
    settings = SETTINGS | settings
    return [
        Stage("pretrain", ELBO(vae, beta=Linear(0.1, 1.0)), Amortized, training=Training(steps=first, **settings)),
        Stage("adversarial", game, Alternating, training=Training(steps=second, **settings), start=start),  # type: ignore[arg-type]
    ]


def killing(at: int) -> Callable[[dict[str, Any]], None]:
    """An observer that ends the training at the first line of this step of the log."""

    def observe(line: dict[str, Any]) -> None:
        if line["step"] == at:
            raise Killed

    return observe


@pytest.fixture(scope="module")
def digits() -> Data:
    """Few digits, of which 200 are for training."""
    rows = load_data("digits", binarize="none").train.batch(torch.arange(260)).x > 0.5
    return from_arrays(rows[:200], valid=rows[200:230], test=rows[230:])


@pytest.fixture(scope="module")
def unbroken(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stages") / "unbroken"
    fit(stages(start="best"), digits, out=out)
    return out


@pytest.mark.parametrize("step", [8, 10, 12, 16])
def test_a_training_killed_on_either_side_of_the_border_goes_on_to_the_same_numbers(
    step: int, unbroken: Path, digits: Data, tmp_path: Path
) -> None:
    """8: in the first stage, behind a checkpoint; 10: at its last line, before its last checkpoint; 12 and 16: in the second,
    before and behind its first checkpoint."""
    with pytest.raises(Killed):
        fit(stages(start="best"), digits, out=tmp_path / "run", observers=[killing(step)])
    fit(stages(start="best"), digits, out=tmp_path / "run", resume=True)
    same_run(unbroken, tmp_path / "run")


@pytest.mark.parametrize("method", ["save", "forget_best", "keep_best"])
@pytest.mark.parametrize("after", [True, False])
def test_a_training_killed_on_the_border_goes_on_to_the_same_numbers(
    method: str, after: bool, unbroken: Path, digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after what the second stage starts from is kept, the first's best weights go, the second's are kept."""
    plain = getattr(Kept, method)

    def killed(kept: Kept, *given: Any) -> None:
        second = isinstance(kept.procedure, Alternating)
        if second and not after:
            raise Killed
        plain(kept, *given)
        if second:
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Kept, method, killed)
        fit(stages(start="best"), digits, out=tmp_path / "run")
    fit(stages(start="best"), digits, out=tmp_path / "run", resume=True)
    same_run(unbroken, tmp_path / "run")


@pytest.mark.parametrize("step", [8, 10, 12])
def test_a_training_stopped_by_a_signal_goes_on_to_the_same_numbers(
    step: int, unbroken: Path, digits: Data, tmp_path: Path
) -> None:
    def interrupt(line: dict[str, Any]) -> None:
        if line["step"] == step:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = fit(stages(start="best"), digits, out=tmp_path / "run", observers=[interrupt])
    assert (stopped.signal, stopped.step) == (signal.SIGTERM, step)
    assert load(tmp_path / "run") is not None
    fit(stages(start="best"), digits, out=tmp_path / "run", resume=True)
    same_run(unbroken, tmp_path / "run")


def test_log_and_checkpoints_carry_the_stage_and_count_on(unbroken: Path) -> None:
    lines = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    train = [(line["step"], line["stage"]) for line in lines if line["kind"] == "train"]
    assert train == [(step, "pretrain" if step <= 10 else "adversarial") for step in range(2, 22, 2)]
    assert all(("critic_loss" in line) == (line["stage"] == "adversarial") for line in lines if line["kind"] == "train")
    assert {line["stage"] for line in lines} == {"pretrain", "adversarial"}
    last, best = (json.loads((unbroken / "checkpoints" / name / "state.json").read_text()) for name in ("last", "best"))
    assert (last["step"], last["stage"], last["stage_step"]) == (20, "adversarial", 10)
    assert best["stage"] == "adversarial" and 10 < best["step"] <= 20


def test_one_stage_in_a_list_is_the_plain_procedure(digits: Data, tmp_path: Path) -> None:
    training = Training(steps=10, **SETTINGS)
    fit(Amortized(ELBO(small_vae())), digits, training, out=tmp_path / "plain")
    fit([Stage("only", ELBO(small_vae()), Amortized, training=training)], digits, out=tmp_path / "list")
    same_run(tmp_path / "plain", tmp_path / "list")
    states = [json.loads((tmp_path / name / "checkpoints/last/state.json").read_text()) for name in ("plain", "list")]
    assert states[0].keys() == states[1].keys() and "stage" not in states[0]


def test_the_first_stage_is_what_it_would_be_alone_and_the_second_has_draws_of_its_own(digits: Data) -> None:

    def trained(steps: list[int]) -> Fitted:
        vae = small_vae()
        return fit(
            [Stage(f"s{i}", ELBO(vae), Amortized, training=Training(steps=n, **SETTINGS)) for i, n in enumerate(steps)], digits
        )

    both, alone = trained([10, 10]), trained([10])
    numbers = [
        [{k: v for k, v in line.items() if k not in ("seconds", "stage")} for line in run.lines] for run in (both, alone)
    ]
    assert numbers[0][: len(numbers[1])] == numbers[1]
    assert both.step == 20 and both.ms_per_step == pytest.approx(1000 * both.training_seconds / 20)
    drawn = []
    for stage in (0, 1):
        noise.seed_step(3, 7, stage)
        drawn.append(torch.randn(4))
    noise.seed_step(3, 7)
    assert torch.equal(drawn[0], torch.randn(4)) and not torch.equal(*drawn)


def test_a_second_stage_has_rows_and_noise_of_its_own(digits: Data) -> None:
    seen: list[tuple[float, float]] = []

    class Watching(Amortized):
        def step(self, batch: Batch, t: torch.Tensor) -> dict[str, torch.Tensor]:
            seen.append((float(torch.rand(())), float(batch.x.sum())))
            return super().step(batch, t)

    vae, training = small_vae(), Training(steps=4, **SETTINGS)
    fit([Stage(name, ELBO(vae), Watching, training=training) for name in ("a", "b")], digits)
    for first, second in zip(zip(*seen[:4], strict=True), zip(*seen[4:], strict=True), strict=True):
        assert len(first) == len(second) == 4 and not set(first) & set(second)


def test_schedules_and_averages_are_of_a_stage(digits: Data) -> None:
    """A rate that falls to 0 over a stage's own steps, though both stages are given one and the same schedule."""
    vae = small_vae()
    training = Training(steps=10, schedule=Linear(1.0, 0.0), **SETTINGS)
    longer = Training(steps=20, schedule=training.schedule, **SETTINGS)
    fitted = fit(
        [Stage("a", ELBO(vae), Amortized, training=training), Stage("b", ELBO(vae), Amortized, training=longer)], digits
    )
    rates = {line["step"]: line["learning_rate"] for line in fitted.lines if line["kind"] == "train"}
    assert rates[2] == pytest.approx(1e-3 * 0.9) and rates[10] == pytest.approx(1e-3 * 0.1)
    assert rates[12] == pytest.approx(1e-3 * 0.95) and rates[30] == pytest.approx(1e-3 * 0.05)


def test_a_stage_that_runs_out_of_patience_hands_over(digits: Data) -> None:
    impatient = Training(steps=1000, **SETTINGS | {"patience": 1, "ema": 0.0, "validate_every": 2})
    vae = small_vae()
    first = Stage("a", ELBO(vae), Amortized, lambda p: torch.optim.SGD(p, lr=1e-12), impatient)
    fitted = fit([first, Stage("b", ELBO(vae), Amortized, training=Training(steps=10, **SETTINGS))], digits)
    ended = max(line["step"] for line in fitted.lines if line["stage"] == "a")
    assert ended < 1000 and fitted.step == ended + 10
    assert [line["step"] - ended for line in fitted.lines if line["stage"] == "b" and line["kind"] == "train"] == [
        2,
        4,
        6,
        8,
        10,
    ]


@pytest.mark.parametrize("part", ["likelihood", "posterior"])
def test_what_does_not_train_keeps_its_weights_statistics_and_sigma(part: str, tmp_path: Path) -> None:
    """An encoder with running statistics, and a decoder whose sigma is estimated from the data."""
    torch.manual_seed(0)
    network = partial(MLP, hidden=[16])
    likelihood = likelihoods.Gaussian(3, (4,), network, sigma=OptimalSigma)
    vae = VAE(Normal(3), likelihood, BatchNormalized(3, (4,), network))
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    stage = Stage("part", ELBO(vae), Amortized, training=Training(steps=12, **SETTINGS), trains=[part])
    fit([stage], from_arrays(torch.randn(100, 4)), out=tmp_path)
    for kept in ("last", "best"):
        after = load_file(tmp_path / f"checkpoints/{kept}/model.safetensors")
        moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
        assert moved and all(name.startswith(part) for name in moved)
        state = {"likelihood": "likelihood.sigma.variance", "posterior": "posterior.running_variance"}
        assert state[part] in moved or state[part] not in before
    assert all(p.requires_grad for p in vae.parameters())


def test_gradients_are_asked_for_again_after_a_training_that_broke_off(digits: Data) -> None:
    vae = small_vae()
    stage = Stage("part", ELBO(vae), Amortized, training=Training(steps=6, **SETTINGS), trains=["posterior"])
    with pytest.raises(Killed):
        fit([stage], digits, observers=[killing(4)])
    assert all(p.requires_grad for p in vae.parameters())


def test_a_later_stage_starts_from_the_weights_it_says(digits: Data) -> None:
    """A rate that rises until the bound falls, then a stage that moves nothing that counts, so its weights are its start."""
    rising = Training(steps=20, schedule=Linear(1.0, 1e4), **SETTINGS | {"ema": 0.0})

    def started(start: str) -> list[torch.Tensor]:
        vae = small_vae()
        still = Training(steps=1, **SETTINGS | {"ema": 0.0})
        sgd = lambda p: torch.optim.SGD(p, lr=1e-12)  # noqa: E731
        begun = [Stage("a", ELBO(vae), Amortized, training=rising)]
        fit([*begun, Stage("b", ELBO(vae), Amortized, sgd, still, start=start)], digits)  # type: ignore[arg-type]
        return [p.detach().clone() for p in vae.parameters()]

    vae = small_vae()
    best = fit(Amortized(ELBO(vae)), digits, rising)
    bounds = [line["bound"] for line in best.lines if line["kind"] == "valid"]
    assert max(bounds) > bounds[-1]  # so that last and best differ
    chosen = [p.detach().clone() for p in vae.parameters()]
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(started("best"), chosen, strict=True))
    assert not all(torch.allclose(a, b, atol=1e-9) for a, b in zip(started("last"), chosen, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b: [], "expected a procedure or a list of stages"),
        (lambda a, b: [a, a], "names of their own"),
        (lambda a, b: [b], "first stage without a start"),
        (lambda a, b: [a, Stage("c", ELBO(small_vae()), Amortized)], "train one model"),
        (lambda a, b: [Stage("c", a.objective, Amortized, trains=["encoder"])], r"likelihood, posterior.*got 'encoder'"),
        (lambda a, b: [Stage("c", a.objective, Amortized, trains=[])], "leave it out for all"),
        (lambda a, b: [Stage("c", a.objective, Amortized, trains="posterior")], "as a list of parts"),  # type: ignore[arg-type]
        (lambda a, b: [Stage("../c", a.objective, Amortized)], "letters, digits"),
        (lambda a, b: [Stage("c", a.objective, Amortized, start="first")], "expected start of last or best"),  # type: ignore[arg-type]
    ],
)
def test_stages_that_do_not_fit_are_refused(change: Any, message: str, digits: Data) -> None:
    with pytest.raises(ValueError, match=message):
        fit(change(*stages(start="best")), digits)


def test_another_training_beside_stages_is_refused(digits: Data) -> None:
    with pytest.raises(ValueError, match="write it in each stage"):
        fit(stages(), digits, Training(steps=3))


def test_a_shared_schedule_of_open_length_is_refused(digits: Data) -> None:
    elbo = ELBO(small_vae(), beta=Linear(0.0, 1.0))
    with pytest.raises(ValueError, match="stages a and b share a Linear"):
        fit([Stage(n, elbo, Amortized, training=Training(steps=s)) for n, s in (("a", 10), ("b", 20))], digits)


def test_a_later_stage_that_cannot_begin_is_refused_before_the_first(digits: Data) -> None:
    first, second = stages()
    second = Stage("b", second.objective, Alternating, lambda p: torch.optim.SGD(p, lr=0.0), second.training)
    seen: list[Any] = []
    with pytest.raises(ValueError, match="above 0"):
        fit([first, second], digits, observers=[seen.append])
    assert not seen


def test_a_run_left_in_a_stage_is_resumed_by_its_own_stages(digits: Data, tmp_path: Path) -> None:
    fit(stages(5, 5), digits, out=tmp_path)
    with pytest.raises(ValueError, match=r"was left in stage 'adversarial'.*without stages"):
        fit(Amortized(ELBO(small_vae())), digits, Training(steps=20, **SETTINGS), out=tmp_path, resume=True)
    assert fit(stages(5, 10), digits, out=tmp_path, resume=True).step == 15


def test_a_run_of_one_stage_goes_on_with_a_second(digits: Data, tmp_path: Path) -> None:
    fit(stages()[:1], digits, out=tmp_path / "run")
    fit(stages(), digits, out=tmp_path / "run", resume=True)
    fit(stages(), digits, out=tmp_path / "whole")
    for name in ("last/model", "last/state", "best/model"):
        one, other = (load_file(tmp_path / run / "checkpoints" / f"{name}.safetensors") for run in ("run", "whole"))
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
