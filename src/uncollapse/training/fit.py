"""The one way to train: admit the data, run the loop, hand back the best weights."""

import os
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn

from uncollapse import noise
from uncollapse.data import Data
from uncollapse.distributions import LatentVariableModel
from uncollapse.launch import launch
from uncollapse.learning import Procedure
from uncollapse.training.documents import NAMES, read_record
from uncollapse.training.lock import sole_writer
from uncollapse.training.log import Observer
from uncollapse.training.loop import Fitted, Loop
from uncollapse.training.machine import Interruption
from uncollapse.training.meeting import partners
from uncollapse.training.settings import Machine, Training
from uncollapse.training.update import OptimizerFactory, default_optimizer


def _check_rows(data: Data) -> None:
    """Refuse data that leave nothing to validate on, or a single observation to learn from."""
    data.split("valid")
    if len(data.train) < 2:
        raise ValueError(
            f"expected at least 2 observations of {data.name} to learn from, got {len(data.train)} beside {len(data.valid)} to "
            "validate on: give at least 4, or all three splits"
        )


def fit(
    procedure: Procedure,
    data: Data,
    training: Training = Training(),
    optimizer: OptimizerFactory = default_optimizer,
    machine: Machine = Machine(),
    out: Path | str | None = None,
    resume: bool = False,
    observers: Iterable[Observer] = (),
    documents: Mapping[str, str] = {},
) -> Fitted:
    """Run a procedure on data until its steps are done, its patience is over, or a signal comes.

    Args:
        procedure: What turns batches into updates.
        data: Where batches come from; the validation split chooses the best weights.
        training: How long and how.
        optimizer: Factory of the optimiser.
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
        ValueError: If the data are not what the model expects, or too few to validate on.

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
    with nullcontext() if out is None else sole_writer(Path(out)):
        folder = None if out is None else vacant(Path(out), resume)
        admit(procedure.objective.model, data)
        _check_rows(data)
        with partners():
            loop = Loop(procedure, data, training, optimizer, machine, folder, list(observers))
        if resume:
            loop.resume()
        loop.begin(documents, resume)
        with (
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            noise.sharing(loop.rows),
            Interruption(several=launch().world > 1).watching() as stop,
            partners(lambda: f"another process of this training ended; {loop.kept.left()}"),
        ):
            loop.run(stop)
        return loop.finish(stop)


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
