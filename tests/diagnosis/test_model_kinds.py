"""A third kind of model needs one registration: everything that looks at models chooses by it."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import uncollapse as uc
from uncollapse.cli.kinds import DEFAULTS, settle
from uncollapse.data import Batch, from_arrays
from uncollapse.diagnosis import ModelKind, Remedy, SampleDiagnosis, diagnose_samples, kind_of, register
from uncollapse.diagnosis.model_kinds import KINDS, SampledKind
from uncollapse.diagnosis.monitors import CollapseMonitor
from uncollapse.distributions import Generator, LatentVariableModel, Normal
from uncollapse.evaluation import evaluate
from uncollapse.gan import ImplicitModel
from uncollapse.learning import Objective, Procedure
from uncollapse.networks import Bias
from uncollapse.report.sections import GAME_SECTIONS, sections
from uncollapse.training import Recipe, Training
from uncollapse.training.collapse_monitor import collapse_monitor, remedies
from uncollapse.training.loop import Fitted
from uncollapse.training.run import summarise


class Simulator(LatentVariableModel):
    """A model of its own kind: all of its draws are zero."""


class Energy(Objective):
    """An objective of it that nothing knows."""

    def forward(self, batch: Any, t: Tensor, parameters: Tensor | None = None) -> Any:
        return batch.x.sum(-1), {}


class Descent(Procedure):
    """A procedure that does nothing."""

    def step(self, batch: Batch, t: Tensor) -> Any:
        return {}


class Watching(CollapseMonitor):
    n_observations = 30

    def look(self, batch: Tensor | Batch, earlier: Any = ()) -> dict[str, Any]:
        return {"verdict": "collapsed", "reason": "of this kind"}


class SimulatorKind(ModelKind):
    measured_by = "draws"

    def diagnose(self, model: Any, batch: Batch, train: Any = None, thresholds: Any = None) -> SampleDiagnosis:
        return diagnose_samples(model.sample(batch.n), batch.x)

    def monitor(self, objective: Objective, data: Any) -> CollapseMonitor:
        return Watching()

    def remedies(self, objective: Objective, seen: dict[str, Any], steps: int, averaged: bool) -> list[Remedy]:
        return [Remedy((("simulator.width", 2 * steps),), "of this kind")] if seen["verdict"] == "collapsed" else []


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    register(Simulator, SimulatorKind())
    yield Simulator(Normal(2), Generator(2, (2,), Bias))
    del KINDS[Simulator]


def test_a_third_kind_is_diagnosed_watched_evaluated_summarised_and_reported(simulator: Simulator, tmp_path: Path) -> None:
    data = from_arrays(torch.randn(400, 2), name="points")
    procedure = Descent(Energy(simulator))
    assert uc.diagnose(simulator, torch.randn(200, 2)).verdict == "collapsed"
    assert evaluate(simulator, data, examples=60)["n_samples"] == 40
    assert collapse_monitor(procedure.objective, data).look(data.valid.all()) == {
        "verdict": "collapsed",
        "reason": "of this kind",
    }
    told = remedies(procedure, "mine", {"verdict": "collapsed"}, Training(steps=10))
    assert [line.split("  ")[0] for line in told] == ["uncollapse train mine --simulator.width 20"]
    recipe = Recipe.read("gan-ring")
    recipe.procedure = lambda model: Descent(Energy(model))  # type: ignore[method-assign]
    fitted = Fitted(model=simulator, step=10, lines=[], seconds=1.0, training_seconds=1.0)
    found = summarise(fitted, data, recipe, tmp_path)
    assert found["verdict"] == "collapsed" and "of this kind" in found["remedies"][0]
    assert sections(simulator) is GAME_SECTIONS
    options = Namespace(**(dict.fromkeys(DEFAULTS) | {"annealed": False}))
    settle(options, simulator)
    assert options.examples == 100


def test_a_generator_is_diagnosed_by_its_draws_beside_rows() -> None:
    """The data's own distribution is healthy, a constant is collapsed; copies are told with `train`."""
    x, model = torch.randn(600, 2), ImplicitModel(Normal(2), Generator(2, (2,), lambda i, o: nn.Identity()))  # type: ignore[arg-type]
    seen = uc.diagnose(model, x.numpy(), train=torch.randn(100, 2))
    assert seen.verdict == "healthy" and "copies" in seen.measures
    assert uc.diagnose(ImplicitModel(Normal(2), Generator(2, (2,), Bias)), x).verdict == "collapsed"
    with pytest.raises(ValueError, match="of shape"):
        uc.diagnose(model, torch.randn(100, 3))


def test_a_class_has_the_kind_of_the_nearest_one_that_it_inherits_from() -> None:
    class Conditional(ImplicitModel):
        pass

    assert kind_of(Conditional(Normal(2), Generator(2, (2,), Bias))) is KINDS[ImplicitModel]
    assert isinstance(kind_of(LatentVariableModel(Normal(2), Generator(2, (2,), Bias))), SampledKind)
    with pytest.raises(TypeError, match="registered kind"):
        uc.diagnose(nn.Linear(2, 2), torch.randn(5, 2))
