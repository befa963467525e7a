"""The one way to train: check the data, run the loop of each stage, hand back the best weights."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path

import torch
from torch import nn

from uncollapse import noise
from uncollapse.data import Data
from uncollapse.distributions import LatentVariableModel, Likelihood
from uncollapse.launch import launch
from uncollapse.learning import Procedure
from uncollapse.training.checkpoint import values_of
from uncollapse.training.documents import NAMES, read_record
from uncollapse.training.lock import sole_writer
from uncollapse.training.log import Observer
from uncollapse.training.loop import Fitted, Loop
from uncollapse.training.machine import Interruption
from uncollapse.training.meeting import partners
from uncollapse.training.session import Session
from uncollapse.training.settings import Machine, Training
from uncollapse.training.stage import Stage, listed
from uncollapse.training.update import OptimizerFactory, default_optimizer


def _check_rows(data: Data) -> None:
    """Refuse data that leave nothing to validate on, or a single observation to learn from."""
    data.split("valid")
    if len(data.train) < 2:
        raise ValueError(
            f"expected at least 2 observations of {data.name} to learn from, got {len(data.train)} beside {len(data.valid)} to "
            "validate on: give at least 4, or all three splits"
        )


DEFAULT = Training()


def fit(
    procedure: Procedure | Sequence[Stage],
    data: Data,
    training: Training = DEFAULT,
    optimizer: OptimizerFactory = default_optimizer,
    machine: Machine = Machine(),
    out: Path | str | None = None,
    resume: bool = False,
    observers: Iterable[Observer] = (),
    documents: Mapping[str, str] = {},
) -> Fitted:
    """Run a procedure on data until its steps are done, its patience is over, or a signal comes; or several, stage by stage.

    Args:
        procedure: What turns batches into updates; or a list of stages, each with a procedure, a training and an optimiser of
            its own, which follow each other on one model. The best weights are then the last stage's.
        data: Where batches come from; the validation split chooses the best weights.
        training: How long and how; stages state their own.
        optimizer: Factory of the optimiser; stages state their own.
        machine: Where.
        out: Run folder for the log and checkpoints; None: nothing is written.
        resume: Go on from the run folder's last checkpoint, or from the start where the run was killed before its first.
        observers: Called with every line of the log.
        documents: Texts to keep in the run folder, by the name of the file, written when all is admitted.

    Raises:
        TrainingError: If a loss or gradient was not finite.
        PartnerError: If another of several processes ended before the training did, or did not come.
        CheckpointError: If a checkpoint cannot be written, or the one to go on from cannot be read.
        FolderInUse: If something else writes to the run folder.
        ValueError: If the data are not what the model expects, or too few to validate on; if stages do not fit each other.

    Example:
        >>> from uncollapse.data import from_arrays
        >>> from uncollapse.distributions import Location
        >>> from uncollapse.vae import LogLikelihood, MaximumLikelihood
        >>> data = from_arrays(torch.randn(300, 2) + 3.0)
        >>> fitted = fit(MaximumLikelihood(LogLikelihood(Location(2))), data, Training(steps=60, batch_size=32),
        ...              lambda parameters: torch.optim.SGD(parameters, lr=0.2))
        >>> bool((fitted.model.theta - 3).abs().max() < 0.5)
        True
    """
    stages = _stages(procedure, training, optimizer)
    with nullcontext() if out is None else sole_writer(Path(out)), ExitStack() as freezing:
        folder = None if out is None else vacant(Path(out), resume)
        for stage in stages:
            admit(stage.model, data)
        _check_rows(data)
        number = _begun(folder, stages) if resume else 0
        freezing.enter_context(stages[number].freezing())
        with partners():
            session = Session(stages, data, machine, folder, observers)
            loop = Loop(stages[number], session)
        if resume:
            loop.resume()
        loop.begin()
        session.begin(documents, resume)
        with (
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            Interruption(several=launch().world > 1).watching() as stop,
            partners(lambda: f"another process of this training ended; {loop.kept.left()}"),
        ):
            _run(loop, stop)
            for stage in stages[number + 1 :]:
                if stop.signal is not None:
                    break
                loop.leave()
                if stage.start == "best":
                    loop.kept.take_best()
                freezing.close()
                freezing.enter_context(stage.freezing())
                loop = Loop(stage, session, loop)
                loop.enter()
                _run(loop, stop)
        return loop.finish(stop)


def _run(loop: Loop, stop: Interruption) -> None:
    """Train within a stage, its noise that of this process's rows."""
    with noise.sharing(loop.rows):
        loop.run(stop)


def _stages(procedure: Procedure | Sequence[Stage], training: Training, optimizer: OptimizerFactory) -> list[Stage]:
    """The stages of a training; a procedure is one, without a name."""
    if isinstance(procedure, Procedure):
        return listed([Stage.of(procedure, training, optimizer)])
    if training is not DEFAULT or optimizer is not default_optimizer:
        raise ValueError(
            "expected stages with their own training and optimizer, got another beside them; write it in each stage"
        )
    return listed(procedure)


def _begun(folder: Path | None, stages: Sequence[Stage]) -> int:
    """Which stage the last checkpoint of a run is of.

    Raises:
        ValueError: If it is none of these.
    """
    if folder is None:
        return 0
    name = values_of(folder / "checkpoints" / "last").get("stage")
    names = [stage.name for stage in stages]
    if name is not None and name not in names:
        told = ", ".join(names) if len(names) > 1 else "a training without stages"
        raise ValueError(f"{folder} was left in stage {name!r:.80}, got {told}; give the stages that it was begun with")
    return 0 if name is None else names.index(name)


WRITTEN = (*NAMES, "README.md", "report.html", "checkpoints/best", "checkpoints/last")
"""What a training replaces in its folder."""


def vacant(out: Path, resume: bool) -> Path:
    """The folder of a run; a run that is there is never overwritten, nor files that no training wrote.

    Raises:
        FileExistsError: If it holds a run and `resume` is false, or a file of someone else's where one would be written.
    """
    log = out / "metrics.jsonl"
    if resume:
        return out
    if log.exists() and log.stat().st_size:
        raise FileExistsError(f"{out} holds a run already; go on with it by --resume, or write elsewhere with --out")
    there = [name for name in WRITTEN if os.path.lexists(out / name)]
    if there and read_record(out) is None:
        raise FileExistsError(
            f"expected an empty folder, got {out}, whose {there[0]} no training recorded and this one would replace; write "
            "elsewhere with --out"
        )
    return out


def admit(model: nn.Module, data: Data) -> None:
    """Refuse data that the model's likelihood gives no density to.

    Raises:
        ValueError: If levels, range or shape of the data are not what the likelihood expects.
    """
    if not isinstance(model, LatentVariableModel):
        return
    _check_kind(model.likelihood, data)
    expected = model.likelihood.levels
    if expected not in (None, data.levels):
        came = "real numbers" if data.levels is None else f"data of {data.levels} levels"
        raise ValueError(
            f"{type(model.likelihood).__name__} expects data of {expected} levels, {data.name} has {came}; write "
            f"{model.likelihood.instead}"
        )
    space = None if model.condition is None else model.condition.space
    if space != data.condition_space:
        raise ValueError(
            f"expected data with {'no condition' if space is None else f'conditions of {space}'}, got {data.name} with "
            f"{data.condition_space or 'none'}; use --data.condition labels beside --condition OneHot, or neither"
        )
    model.likelihood.check(data.train.batch(data.train.some(1000)).x)


def _check_kind(likelihood: Likelihood, data: Data) -> None:
    """Refuse numbers for a likelihood of tokens, and tokens for one of numbers."""
    kinds = {"tokens": "tokens", "real": "numbers", "grid": "numbers"}
    expected, got = (kinds[space.kind] for space in (likelihood.space, data.space))
    if expected == got:
        return
    mended = (
        "--data.tokens N for a file of their numbers, or another likelihood" if got == "numbers" else "--likelihood Recurrent"
    )
    name = type(likelihood).__name__
    raise ValueError(f"{name} expects {expected}, got {data.name} with {got}; write {mended}")
