"""The loop: one for every procedure."""

import math
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from uncollapse import noise
from uncollapse.data import Data
from uncollapse.memory import keep_pages
from uncollapse.training.checkpoint import read_state, replacing, standing, steadily, write, write_state
from uncollapse.training.log import Line, Log, Meter, Observer, plain
from uncollapse.training.machine import Interruption, accelerator, rows, wrapper
from uncollapse.training.settings import Machine, Training
from uncollapse.training.update import OptimizerFactory, Update, default_optimizer
from uncollapse.vae import VAE, Procedure

VALIDATION = 2**40  # the step whose noise every validation uses, so that two of them differ in the weights alone


class TrainingError(RuntimeError):
    """A training that had to stop; says why, and what is left."""


@dataclass
class Fitted:
    """What a training leaves: the model with its best weights, the log, and how far it came."""

    model: nn.Module
    step: int
    seconds: float
    training_seconds: float
    lines: list[Line] = field(default_factory=list)
    signal: int | None = None  # the signal that stopped it, if one did
    saved: bool = False  # whether all of it is in the run folder

    @property
    def ms_per_step(self) -> float:
        """Milliseconds a training step took, validation and checkpoints left out."""
        return 1000 * self.training_seconds / max(self.step, 1)


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
        CheckpointError: If a checkpoint cannot be written, or the one to go on from cannot be read.
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
    folder = None if out is None else vacant(Path(out), resume)
    loop = Loop(procedure, data, training, optimizer, machine, folder, list(observers))
    if resume:
        loop.resume()
    loop.begin(documents)
    with (
        torch.random.fork_rng(devices=range(torch.cuda.device_count())),
        noise.sharing(loop.rows),
        Interruption().watching() as stop,
    ):
        loop.run(stop)
    return loop.finish(stop)


def vacant(out: Path, resume: bool) -> Path:
    """The folder of a run; a run that is there is never overwritten.

    Raises:
        FileExistsError: If it holds a run and `resume` is false.
    """
    log = out / "metrics.jsonl"
    if not resume and os.environ.get("RANK", "0") == "0" and log.exists() and log.stat().st_size:
        raise FileExistsError(f"{out} holds a run already; go on with it by --resume, or write elsewhere with --out")
    return out


def keep(model: nn.Module, directory: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write a model and a state beside it as a checkpoint, whole or not at all."""
    with replacing(directory) as staging:
        if isinstance(model, VAE):
            model.save_pretrained(staging)
        else:
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, staging / "model.safetensors")
        write_state(staging, tensors, values)


def take(model: nn.Module, weights: dict[str, Tensor], where: Path | str) -> None:
    """Load weights into a model of either kind, a mixture fitted to a VAE's aggregated posterior among them.

    Raises:
        ValueError: If they are another model's.
    """
    device = next(model.parameters()).device
    if isinstance(model, VAE):
        model.load_weights(weights, str(where))
    else:
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"{where} holds another model: {error}; use the recipe that it was trained with") from error
    model.to(device)


def admit(model: nn.Module, data: Data) -> None:
    """Refuse data that the model's likelihood gives no density to.

    Raises:
        ValueError: If levels, range or shape of the data are not what the likelihood expects.
    """
    if not isinstance(model, VAE):
        return
    expected = model.likelihood.levels
    if expected not in (None, data.levels):
        came = "real numbers" if data.levels is None else f"data of {data.levels} levels"
        raise ValueError(
            f"{type(model.likelihood).__name__} expects data of {expected} levels, {data.name} has {came}; write "
            f"{model.likelihood.instead}"
        )
    model.likelihood.check(data.train.batch(data.train.some(1000)))


def _name(i: int, name: str) -> str:
    """The name in a checkpoint of a value of the i-th update; those of the first, the only one of most procedures, are bare."""
    return f"player{i}.{name}" if i else name


class Loop:
    """The state of a training, and how it moves; `fit` is its one user."""

    def __init__(
        self,
        procedure: Procedure,
        data: Data,
        training: Training,
        optimizer: OptimizerFactory,
        machine: Machine,
        out: Path | None,
        observers: list[Observer],
    ):
        self.procedure, self.training, self.out = procedure, training, out
        self.accelerator = accelerator(machine, out)
        self.main = self.accelerator.is_main_process
        self.model: Any = procedure.objective.model
        admit(self.model, data)
        data.split("valid")  # refused here where too few rows came to draw it
        self.batch = min(training.batch_size, len(data.train))
        self.rows = rows(self.accelerator, self.batch)
        for schedule in (training.schedule, *procedure.schedules()):
            schedule.over(training.steps)
        self.updates: list[Update] = []  # one a player, the model's first
        self._optimizer = optimizer
        procedure.connect(wrapper(self.accelerator, machine), self._make_update)
        if not self.updates:
            raise ValueError(f"expected {type(procedure).__name__}.connect to ask for an update; call update(parameters) in it")
        procedure.draw = self._further
        self.data = data.to(self.accelerator.device, next(self.model.parameters()).dtype)
        self.log = Log(
            out / "metrics.jsonl" if out and self.main else None, [*observers, self._track(machine)] if self.main else []
        )
        self.meter, self.t = Meter(), torch.zeros((), device=self.accelerator.device)
        self.step, self.epoch, self.order = 0, -1, torch.empty(0)
        self.best, self.stale, self.training_seconds = -math.inf, 0, 0.0
        self.best_weights: dict[str, Tensor] | None = None
        self.saved = False
        self.started = time.perf_counter()
        keep_pages()

    def _make_update(self, parameters: Iterable[nn.Parameter]) -> Update:
        self.updates.append(Update(parameters, self._optimizer, self.training, self.accelerator))
        return self.updates[-1]

    def _track(self, machine: Machine) -> Observer:
        """An observer that hands the log's numbers to the tracker."""
        if machine.tracker is None:
            return lambda line: None
        self.accelerator.init_trackers("uncollapse")
        return lambda line: self.accelerator.log(
            {f"{line['kind']}/{k}": v for k, v in line.items() if k != "step" and type(v) in (int, float)}, step=line["step"]
        )

    def begin(self, documents: Mapping[str, str]) -> None:
        """Make the run folder: from here on the run can be resumed."""
        if self.out is not None and self.main:
            for name, text in documents.items():
                write(self.out / name, text)
            self.log.begin()

    def run(self, stop: Interruption) -> None:
        """Train until the steps are done, the patience is over or a signal came."""
        training = self.training
        self.model.train()
        since = time.perf_counter()
        while self.step < training.steps and not self._stale() and not self._stopped(stop):
            self.advance()
            if self.step % training.validate_every == 0 or self.step == training.steps:
                self.training_seconds += time.perf_counter() - since
                self._validate()
                since = time.perf_counter()
        self.training_seconds += time.perf_counter() - since
        if stop.signal is not None:
            self._save()

    def advance(self) -> None:
        """One step of the procedure, all its randomness a function of (seed, step), and the line of the log that it ends."""
        noise.seed_step(self.training.seed, self.step)
        self.t.fill_(self.step)
        for update in self.updates:
            update.at(self.step, measuring=(self.step + 1) % self.training.log_every == 0)
        self.meter.add(self.procedure.step(self.data.train.batch(self._index()), self.t))
        self.step += 1
        if self.step % self.training.log_every == 0 or self.step == self.training.steps:
            self._report()

    def _index(self) -> Tensor:
        """This step's rows of this process; an epoch's order follows from (seed, epoch), what does not fill a batch waits."""
        epoch, place = divmod(self.step, len(self.data.train) // self.batch)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(self.training.seed * 1_000_003 + epoch)
            self.order = torch.randperm(len(self.data.train), generator=generator).to(self.data.train.device)
            self.epoch = epoch
        start, stop = (0, self.batch) if self.rows is None else (self.rows.start, self.rows.stop)
        return self.order[place * self.batch + start : place * self.batch + stop]

    def _further(self) -> Tensor:
        """A batch beside the step's own: rows drawn with replacement, a function of (seed, step) as all within a step."""
        train = self.data.train
        index = torch.randint(len(train), (self.batch,), device=train.device)
        return train.batch(index if self.rows is None else index[self.rows.start : self.rows.stop])

    def _report(self) -> None:
        """A line of the log: here the device is waited for, and a run whose numbers broke is stopped."""
        values = self.meter.read(lambda means: self.accelerator.reduce(means, "mean"))
        skipped, norm = self._skipped(), float(self.updates[0].norm)
        seconds = time.perf_counter() - self.started
        line = {"kind": "train", "step": self.step, "seconds": round(seconds, 3), **values, "gradient_norm": norm}
        self.log.write(line | {"learning_rate": self.updates[0].rate})
        if skipped:
            broken = [name for name, value in values.items() if not math.isfinite(value)]
            term = ", ".join(broken) if broken else "the gradient, though every term is finite"
            raise TrainingError(
                f"not a finite number in {term} by step {self.step}: {skipped} steps were skipped and no weight was touched; "
                f"{self._left()} Try a smaller learning rate, --training.clip 100, or look for extreme values in the data"
            )
        complaint = self.procedure.complaint(values)
        if complaint is not None:
            raise TrainingError(f"{complaint} (by step {self.step}); {self._left()}")

    def _skipped(self) -> int:
        """Steps that any player skipped; waits for the device."""
        return int(sum(update.skipped for update in self.updates))

    def _left(self) -> str:
        """What a run that had to stop leaves."""
        if self.out is None:
            return "nothing was to be written."
        if not standing(self.out / "checkpoints" / "last").exists():
            return "there is no checkpoint yet."
        return f"the last good checkpoint is in {self.out / 'checkpoints'}."

    def _validate(self) -> None:
        """Look at the validation data with the averaged weights, keep the best, and save."""
        self.model.eval()
        with ExitStack() as averaged, noise.sharing(None):
            for update in self.updates:
                averaged.enter_context(update.averaged())
            noise.seed_step(self.training.seed, VALIDATION)
            valid = self.data.valid
            seen = self.procedure.validate(valid.batches(self.batch, valid.some(self.training.validate_on)), self.t)
            better = seen["bound"] > self.best
            if better:
                self.best, self.stale = seen["bound"], 0
                self._keep_best()
            else:
                self.stale += 1
        self.model.train()
        self.log.write({"kind": "valid", "step": self.step, "seconds": round(time.perf_counter() - self.started, 3), **seen})
        self._save()

    def _keep_best(self) -> None:
        """The weights of the best validation, in memory and in the run folder."""
        self.best_weights = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        if self.out is not None and self.main:
            keep(self.model, self.out / "checkpoints" / "best", {}, {"step": self.step, "bound": self.best})

    def _save(self) -> None:
        """All that a resumed run needs, as `last`, unless a step was skipped: then the one before is the last good one."""
        self.saved = self.out is not None and not self._skipped()
        if self.out is None or not self.main or not self.saved:
            return
        values = {"step": self.step, "best": plain(self.best), "stale": self.stale, "training_seconds": self.training_seconds}
        tensors = {**self.meter.state(), **{f"procedure.{name}": value for name, value in self.procedure.state().items()}}
        for i, update in enumerate(self.updates):
            tensors |= {_name(i, name): value for name, value in update.state().items()}
        keep(self.model, self.out / "checkpoints" / "last", tensors, values | {"seconds": time.perf_counter() - self.started})

    def resume(self) -> None:
        """Go on from the run folder's last checkpoint."""
        if self.out is None:
            raise ValueError("expected a run folder to resume from, came none; write out=... (--out on the command line)")
        last = self.out / "checkpoints" / "last"
        if (self.out / "metrics.jsonl").exists() and not standing(last).exists():
            self.log.cut(0)  # killed before the first checkpoint
            return
        tensors, values = read_state(last)
        take(self.model, load_file(standing(last) / "model.safetensors"), last)
        self.procedure.restore({k.removeprefix("procedure."): v for k, v in tensors.items() if k.startswith("procedure.")})
        for i, update in enumerate(self.updates):
            update.restore({k.removeprefix(_name(i, "")): v for k, v in tensors.items() if k.startswith(_name(i, ""))})
        self.meter.restore({k: v.to(self.accelerator.device) for k, v in tensors.items()})
        self.step, self.stale, self.training_seconds = values["step"], values["stale"], values["training_seconds"]
        self.best = -math.inf if values["best"] is None else values["best"]
        self.started = time.perf_counter() - values["seconds"]
        self.log.cut(self.step)

    def finish(self, stop: Interruption) -> Fitted:
        """The best weights in the model, and what the training leaves."""
        best = self.out and self.out / "checkpoints" / "best"
        if self.best_weights is None and best and standing(best).exists():
            self.best_weights = steadily(best, lambda place: load_file(place / "model.safetensors"))
        if self.best_weights is not None:
            take(self.model, self.best_weights, best or "the best validation")
        self.accelerator.end_training()
        self.model.eval()
        seconds = time.perf_counter() - self.started
        return Fitted(self.model, self.step, seconds, self.training_seconds, self.log.lines, stop.signal, self.saved)

    def _stale(self) -> bool:
        return self.training.patience is not None and self.stale >= self.training.patience

    def _stopped(self, stop: Interruption) -> bool:
        """Whether a signal came; several processes agree on it where the log is read."""
        if self.rows is None:
            return stop.signal is not None
        if self.step % self.training.log_every:
            return False
        flag = torch.tensor(float(stop.signal or 0), device=self.accelerator.device)
        number = int(self.accelerator.gather(flag.reshape(1)).max())
        stop.signal = number or None
        return bool(number)
