"""The loop: one for every procedure."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse import noise
from uncollapse.data import Batch, Data, Source
from uncollapse.learning import Procedure
from uncollapse.memory import keep_pages
from uncollapse.training.collapse_monitor import collapse_monitor, remedies
from uncollapse.training.documents import clear, put
from uncollapse.training.kept import Kept
from uncollapse.training.log import Line, Log, Meter, Observer, plain
from uncollapse.training.machine import Interruption, accelerator, rows, wrapper
from uncollapse.training.settings import Machine, Training
from uncollapse.training.statistics import has_statistics, measured, settled, sigmas
from uncollapse.training.update import OptimizerFactory, Update

EARLY, LOOKED = 4, 256  # in how many parts early looks cut the steps up to the first validation, and at how many observations
SOON = 50  # steps before which, and between which, none is worth its time
AGREE = 1.0  # seconds between two times that several processes ask each other whether a signal came, at most a line of the log
START = 2**40 + 1  # the step of what is drawn before the first one
CONDITIONS = 1000  # of the training data that are kept with a conditional model
PASSES = 50  # training batches by which averaged weights come to statistics of their own
SETTLING = 2**40 + 2  # the step whose rows and noise these are
MEASURED, MEASURING = 5000, 2**40 + 3  # training observations that an optimal sigma is of, and the step whose noise theirs is
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
        self.batch = min(training.batch_size, len(data.train))
        self.rows = rows(self.accelerator, self.batch)
        for schedule in (training.schedule, *procedure.schedules()):
            schedule.over(training.steps)
        self.updates: list[Update] = []  # one a player, the model's first
        self._optimizer = optimizer
        procedure.objective.meet(data, self.batch if self.rows is None else self.rows.stop - self.rows.start)
        self._start(data)
        procedure.connect(wrapper(self.accelerator, machine), self._make_update)
        if not self.updates:
            raise ValueError(f"expected {type(procedure).__name__}.connect to ask for an update; call update(parameters) in it")
        procedure.draw, procedure.autocast = self._further, self.accelerator.autocast
        self.settles = bool(training.ema) and has_statistics(procedure.objective)
        self.measures = bool(sigmas(procedure.objective))
        self.data = data.to(self.accelerator.device, next(self.model.parameters()).dtype)
        self.log = Log(
            out / "metrics.jsonl" if out and self.main else None, [*observers, self._track(machine)] if self.main else []
        )
        self.monitor = collapse_monitor(procedure.objective, self.data)
        self.meter, self.t = Meter(), torch.zeros((), device=self.accelerator.device)
        self.step, self.epoch, self.order = 0, -1, torch.empty(0)
        self.agreed: tuple[int, float] | None = None  # when several processes last asked each other whether to stop: step, time
        self.agree_at = 0
        self.best, self.stale, self.training_seconds, self.saved = -math.inf, 0, 0.0, False
        self.kept = Kept(out, self.main, self.model, procedure, self.updates, self.meter)
        self.started = time.perf_counter()
        keep_pages()

    def _start(self, data: Data) -> None:
        """Let a prior that asks for it begin at training data, and a conditional model keep some of their conditions; a resumed
        training takes both over later."""
        prior = getattr(self.model, "prior", None)
        if prior is not None and prior.wants:
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                noise.seed_step(self.training.seed, START)
                prior.start_from(data.train.batch(data.train.some(prior.wants)).x)
        if getattr(self.model, "condition", None) is not None and data.train.condition is not None:
            rows = data.train.some(CONDITIONS).to(data.train.condition.device)
            self.model.keep_conditions(data.train.condition[rows])

    def _make_update(self, parameters: Iterable[nn.Parameter], rate: float = 1.0) -> Update:
        self.updates.append(Update(parameters, self._optimizer, self.training, self.accelerator, rate))
        return self.updates[-1]

    def _track(self, machine: Machine) -> Observer:
        """An observer that hands the log's numbers to the tracker."""
        if machine.tracker is None:
            return lambda line: None
        try:
            self.accelerator.init_trackers("uncollapse")
        except Exception as error:  # each tracker has errors of its own
            reason = " ".join(str(error).split())
            raise ValueError(f"tracker {machine.tracker} does not start: {reason}; or leave --tracker out") from error
        return lambda line: self.accelerator.log(
            {f"{line['kind']}/{k}": v for k, v in line.items() if k != "step" and type(v) in (int, float)}, step=line["step"]
        )

    def begin(self, documents: Mapping[str, str], resumed: bool) -> None:
        """Make the run folder: from here on the run can be resumed."""
        if self.out is not None and self.main:
            self.kept.tidy()
            if not resumed:
                clear(self.out)
            if documents:
                put(self.out, documents)
            self.log.begin()

    def run(self, stop: Interruption) -> None:
        """Train until the steps are done, the patience is over or a signal came."""
        training = self.training
        self.procedure.objective.train()
        since = time.perf_counter()
        while self.step < training.steps and not self._stale() and not self._stopped(stop):
            self.advance()
            if self._due():
                self.training_seconds += time.perf_counter() - since
                self._validate()
                since = time.perf_counter()
            elif self.step < training.validate_every and self.step % max(SOON, training.validate_every // EARLY) == 0:
                self.training_seconds += time.perf_counter() - since
                self._look()
                since = time.perf_counter()
        self.training_seconds += time.perf_counter() - since
        if self.rows is not None:
            self._agree(stop)
        if stop.signal is not None:
            self._save()

    def _due(self) -> bool:
        """Whether a validation follows this step: by the training's rule, or because the procedure needs one."""
        every = (self.training.validate_every, self.procedure.looks or self.training.steps)
        return self.step == self.training.steps or any(self.step % steps == 0 for steps in every)

    def advance(self) -> None:
        """One step of the procedure, all its randomness a function of (seed, step), and the line of the log that it ends."""
        noise.seed_step(self.training.seed, self.step)
        self.t.fill_(self.step)
        logged = (self.step + 1) % self.training.log_every == 0 or self.step + 1 == self.training.steps
        for update in self.updates:
            update.at(self.step, measuring=logged)
        self.meter.add(self.procedure.step(self.data.train.batch(self._index()), self.t))
        self.step += 1
        if self.step % self.training.log_every == 0 or self.step == self.training.steps:
            self._report()

    def _index(self) -> Tensor:
        """This step's rows of this process; an epoch's order follows from (seed, epoch), what does not fill a batch waits."""
        epoch, place = divmod(self.step, len(self.data.train) // self.batch)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed((self.training.seed * 1_000_003 + epoch) % 2**63)
            self.order = torch.randperm(len(self.data.train), generator=generator).to(self.data.train.device)
            self.epoch = epoch
        start, stop = (0, self.batch) if self.rows is None else (self.rows.start, self.rows.stop)
        return self.order[place * self.batch + start : place * self.batch + stop]

    def _further(self) -> Batch:
        """A batch beside the step's own: rows drawn with replacement, a function of (seed, step) as all within a step."""
        train = self.data.train
        index = torch.randint(len(train), (self.batch,), device=train.device)
        return train.batch(index if self.rows is None else index[self.rows.start : self.rows.stop])

    def _sample(self) -> Iterator[Batch]:
        """Whole batches of training observations, drawn at random and always the same ones; each process has its share."""
        train = self.data.train
        start, stop = (0, self.batch) if self.rows is None else (self.rows.start, self.rows.stop)
        for index in train.some(max(MEASURED, self.batch)).split(self.batch):
            if len(index) == self.batch:
                yield train.batch(index[start:stop])

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
                f"not a finite number in {term} by step {self.step}: {skipped} steps were skipped and moved no weight; "
                f"{self.kept.left()} Try a smaller learning rate, --training.clip 100, or look for extreme values in the data"
            )
        complaint = self.procedure.complaint(values)
        if complaint is not None:
            raise TrainingError(f"{complaint} (by step {self.step}); {self.kept.left()}")

    def _skipped(self) -> int:
        """Steps that any player skipped; waits for the device."""
        return int(sum(update.skipped for update in self.updates))

    @contextmanager
    def _averaged(self) -> Iterator[Source]:
        """Within it the model is in eval mode with its averaged weights and statistics of theirs, and noise is that of
        validations; the data for it."""
        objective = self.procedure.objective.eval()
        with ExitStack() as averaged:
            for update in self.updates:
                averaged.enter_context(update.averaged())
            if self.settles:
                noise.seed_step(self.training.seed, SETTLING)
                averaged.enter_context(settled(objective, (self._further() for _ in range(PASSES)), self.t))
            if self.measures:
                noise.seed_step(self.training.seed, MEASURING)
                averaged.enter_context(measured(self.procedure, self._sample, self.t))
            averaged.enter_context(noise.sharing(None))
            noise.seed_step(self.training.seed, VALIDATION)
            yield self.data.valid
        self.procedure.objective.train()

    def _look(self) -> None:
        """Before the first validation, look at the posterior alone: a collapse begins early."""
        with self._averaged() as valid:
            seen = self.monitor.look(valid.batch(valid.some(LOOKED)), self._looks())
        if seen:
            self._note("look", seen)

    def _validate(self) -> None:
        """Look at the validation data with the averaged weights, keep the best, and save."""
        with self._averaged() as valid:
            rows = valid.some(self.training.validate_on)
            seen: Line = self.procedure.validate(valid.batches(self.batch, rows), self.t)
            seen = self.monitor.look(valid.batch(rows[: self.monitor.n_observations]), self._looks()) | seen
            selected = seen.get(self.procedure.objective.selects, float(self.step))  # where nothing tells, the last is the best
            seen = {"bound": selected, **seen, **self.procedure.after_validation(seen)}
            better = seen["bound"] > self.best
            if better:
                self.best, self.stale = seen["bound"], 0
                self.kept.keep_best({"step": self.step, "bound": self.best})
            else:
                self.stale += 1
        self._note("valid", seen)
        self._save()

    def _note(self, kind: str, seen: Line) -> None:
        """A line of the log on what was seen; behind it a warning, the first time before the end that a collapse lasts."""
        looks = self._looks()
        warned = any(line["kind"] == "warning" for line in self.log.lines) or self.step == self.training.steps
        line = {"kind": kind, "step": self.step, "seconds": round(time.perf_counter() - self.started, 3), **seen}
        self.log.write(line)
        if not looks or warned or not self.monitor.lasts(looks[-1], line) or not self._settled(looks[-1]["step"], self.step):
            return
        config = None if self.out is None else self.out / "config.yaml"
        recipe = str(config) if config and config.exists() else self.procedure.objective.usual
        cures = remedies(self.procedure, recipe, line, self.training)
        words = {name: line[name] for name in ("step", "seconds", "verdict", "reason")}
        self.log.write({"kind": "warning", **words, "since": looks[-1]["step"], "remedies": cures})

    def _looks(self) -> list[Line]:
        """The lines of the log that hold a diagnosis."""
        return [line for line in self.log.lines if line["kind"] in ("look", "valid")]

    def _settled(self, *steps: int) -> bool:
        """Whether at these steps the objective's schedules were what they end as, such as the weight of the KL."""
        end = float(self.training.steps)
        return all(float(schedule(t)) == float(schedule(end)) for schedule in self.procedure.objective.charges() for t in steps)

    def _save(self) -> None:
        """Keep all that a resumed run needs, unless a step was skipped: then what was kept before is the last that is good."""
        self.saved = self.out is not None and not self._skipped()
        if self.saved:
            times = {"training_seconds": self.training_seconds, "seconds": time.perf_counter() - self.started}
            values = {"step": self.step, "best": plain(self.best), "stale": self.stale, **times, "log": self.log.written()}
            self.kept.save(values, self._metered())

    def _metered(self) -> dict[str, Tensor]:
        """The values since the last line of the log, of all processes."""
        state = self.meter.state()
        if self.rows is None:
            return state
        return {name: self.accelerator.reduce(values, "mean") for name, values in state.items()}

    def resume(self) -> None:
        """Go on from the run folder's last checkpoint, or from the start where it was killed before the first."""
        values = self.kept.resume()
        if values is not None:
            self.step, self.stale, self.training_seconds = values["step"], values["stale"], values["training_seconds"]
            self.best = -math.inf if values["best"] is None else values["best"]
            self.started = time.perf_counter() - values["seconds"]
        self.log.cut(self.step)

    def finish(self, stop: Interruption) -> Fitted:
        """The best weights in the model, and what the training leaves."""
        self.kept.take_best()
        self.accelerator.end_training()
        self.model.eval()
        seconds = time.perf_counter() - self.started
        return Fitted(self.model, self.step, seconds, self.training_seconds, self.log.lines, stop.signal, self.saved)

    def _stale(self) -> bool:
        return self.training.patience is not None and self.stale >= self.training.patience

    def _stopped(self, stop: Interruption) -> bool:
        """Whether a signal came; several processes agree on it about once in `AGREE` seconds."""
        if self.rows is None:
            return stop.signal is not None
        return self.step >= self.agree_at and self._agree(stop)

    def _agree(self, stop: Interruption) -> bool:
        """Whether a signal came to any of several processes; and when to ask again, at the pace of the slowest."""
        now = time.perf_counter()
        pace = AGREE if self.agreed is None else (now - self.agreed[1]) / max(1, self.step - self.agreed[0])
        told = torch.tensor([[float(stop.signal or 0), pace]], device=self.accelerator.device)
        number, pace = self.accelerator.gather(told).amax(0).tolist()
        self.agreed = self.step, now
        self.agree_at = self.step + min(max(1, int(AGREE / pace)), self.training.log_every)
        if number:
            stop.signal = int(number)
        return bool(number)
