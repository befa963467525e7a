"""The loop: one for every procedure, and for each stage of a training."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from uncollapse import noise
from uncollapse.data import Batch, Source
from uncollapse.memory import keep_pages
from uncollapse.training.collapse_monitor import remedies
from uncollapse.training.kept import Kept
from uncollapse.training.log import Line, Meter, plain
from uncollapse.training.machine import Interruption
from uncollapse.training.session import Session
from uncollapse.training.stage import Stage
from uncollapse.training.statistics import has_statistics, measured, settled, sigmas
from uncollapse.training.update import Update

EARLY, LOOKED = 4, 256  # in how many parts early looks cut the steps up to the first validation, and at how many observations
SOON = 50  # steps before which, and between which, none is worth its time
AGREE = 1.0  # seconds between two times that several processes ask each other whether a signal came, at most a line of the log
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
    """The state of a training within a stage, and how it moves; `fit` is its one user.

    Args:
        stage: The stage.
        session: What it shares with the others.
        before: The loop of the stage before, which has ended; None: there was none, or its state is in the checkpoint.
    """

    def __init__(self, stage: Stage, session: Session, before: "Loop | None" = None):
        self.stage, self.session, self.out = stage, session, session.out
        self.procedure, self.training, self.model = stage.procedure, stage.training, stage.model
        self.accelerator, self.data, self.log = session.accelerator, session.data, session.log
        self.number = session.stages.index(stage)
        self.batch, self.rows = session.batch_size(stage), session.rows(stage)
        self.updates: list[Update] = []  # one a player, the model's first
        self.procedure.connect(session.wrap, self._make_update)
        if not self.updates:
            name = type(self.procedure).__name__
            raise ValueError(f"expected {name}.connect to ask for an update; call update(parameters) in it")
        self.procedure.draw, self.procedure.autocast = self._further, self.accelerator.autocast
        self.still = stage.still()
        self.settles = bool(self.training.ema) and has_statistics(self.procedure.objective)
        self.measures = bool(sigmas(self.procedure.objective, self.still))
        self.monitor = session.monitors[stage.name]
        self.meter, self.t = Meter(), torch.zeros((), device=self.accelerator.device)
        self.step, self.epoch, self.order = 0, -1, torch.empty(0)
        self.began = 0 if before is None else before.total  # the step of the whole training at which the stage began
        self.training_seconds: float = 0.0 if before is None else before.training_seconds
        self.agreed: tuple[int, float] | None = None  # when several processes last asked each other whether to stop: step, time
        self.agree_at = 0
        self.best, self.stale, self.saved = -math.inf, 0, False
        self.kept = Kept(self.out, session.main, self.model, self.procedure, self.updates, self.meter)
        keep_pages()

    @property
    def total(self) -> int:
        """Steps since the training began, over all stages."""
        return self.began + self.step

    def _make_update(self, parameters: Iterable[nn.Parameter], rate: float = 1.0) -> Update:
        self.updates.append(Update(parameters, self.stage.optimizer, self.training, self.accelerator, rate))
        return self.updates[-1]

    def begin(self) -> None:
        """Put right what a kill left in the run folder. A later stage that begins has no best weights yet."""
        self.kept.tidy()
        if self.number and not self.step:
            self.kept.forget_best()

    def leave(self) -> None:
        """End a stage behind which another begins.

        Raises:
            TrainingError: If a step of it was skipped.
        """
        if skipped := self._skipped():
            raise TrainingError(
                f"not a finite number by step {self.total}: {skipped} steps were skipped and moved no weight; "
                f"{self.kept.left()}"
            )

    def enter(self) -> None:
        """Begin a later stage: what it starts from is kept, so that a resumed run needs nothing of the stage before."""
        self._save()
        self.begin()

    def run(self, stop: Interruption) -> None:
        """Train until the steps are done, the patience is over or a signal came."""
        training = self.training
        self.stage.train()
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
        """One step of the procedure, its randomness a function of (seed, stage, step), and the line of the log that it ends."""
        noise.seed_step(self.training.seed, self.step, self.number)
        self.t.fill_(self.step)
        logged = (self.step + 1) % self.training.log_every == 0 or self.step + 1 == self.training.steps
        for update in self.updates:
            update.at(self.step, measuring=logged)
        self.meter.add(self.procedure.step(self.data.train.batch(self._index()), self.t))
        self.step += 1
        if self.step % self.training.log_every == 0 or self.step == self.training.steps:
            self._report()

    def _index(self) -> Tensor:
        """This step's rows of this process; an epoch's order follows from (seed, stage, epoch); what fills no batch waits."""
        epoch, place = divmod(self.step, len(self.data.train) // self.batch)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(noise.epoch_seed(self.training.seed, epoch, self.number) % 2**63)
            self.order = torch.randperm(len(self.data.train), generator=generator).to(self.data.train.device)
            self.epoch = epoch
        start, stop = (0, self.batch) if self.rows is None else (self.rows.start, self.rows.stop)
        return self.order[place * self.batch + start : place * self.batch + stop]

    def _further(self) -> Batch:
        """A batch beside the step's own: rows drawn with replacement, a function of (seed, stage, step) as all."""
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
        self.log.write(self._line("train", values | {"gradient_norm": norm, "learning_rate": self.updates[0].rate}))
        if skipped:
            broken = [name for name, value in values.items() if not math.isfinite(value)]
            term = ", ".join(broken) if broken else "the gradient, though every term is finite"
            raise TrainingError(
                f"not a finite number in {term} by step {self.total}: {skipped} steps were skipped and moved no weight; "
                f"{self.kept.left()} Try a smaller learning rate, --training.clip 100, or look for extreme values in the data"
            )
        complaint = self.procedure.complaint(values)
        if complaint is not None:
            raise TrainingError(f"{complaint} (by step {self.total}); {self.kept.left()}")

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
                averaged.enter_context(settled(objective, (self._further() for _ in range(PASSES)), self.t, self.still))
            if self.measures:
                noise.seed_step(self.training.seed, MEASURING)
                averaged.enter_context(measured(self.procedure, self._sample, self.t, self.still))
            averaged.enter_context(noise.sharing(None))
            noise.seed_step(self.training.seed, VALIDATION)
            yield self.data.valid
        self.stage.train()

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
                self.kept.keep_best({"step": self.total, "bound": self.best, **self.session.named(self.stage)})
            else:
                self.stale += 1
        self._note("valid", seen)
        self._save()

    def _note(self, kind: str, seen: Line) -> None:
        """A line of the log on what was seen; behind it a warning, the first time before the end that a collapse lasts."""
        looks = self._looks()
        warned = any(line["kind"] == "warning" for line in self._lines()) or self.step == self.training.steps
        line = self._line(kind, seen)
        self.log.write(line)
        if not looks or warned or not self.monitor.lasts(looks[-1], line) or not self._settled(looks[-1]["step"], self.total):
            return
        config = None if self.out is None else self.out / "config.yaml"
        recipe = str(config) if config and config.exists() else self.procedure.objective.usual
        cures = remedies(self.procedure, recipe, line, self.training, self.session.named(self.stage).get("stage"))
        words: Line = {name: line[name] for name in ("step", "stage", "seconds", "verdict", "reason") if name in line}
        self.log.write({"kind": "warning", **words, "since": looks[-1]["step"], "remedies": cures})

    def _line(self, kind: str, values: Line) -> Line:
        """A line of the log: its step counts on over the stages."""
        seconds = round(self.session.seconds(), 3)
        return {"kind": kind, "step": self.total, **self.session.named(self.stage), "seconds": seconds, **values}

    def _lines(self) -> list[Line]:
        """The lines of the log of this stage."""
        return [line for line in self.log.lines if line["step"] > self.began]

    def _looks(self) -> list[Line]:
        """The lines of the stage that hold a diagnosis."""
        return [line for line in self._lines() if line["kind"] in ("look", "valid")]

    def _settled(self, *steps: int) -> bool:
        """Whether at these steps the objective's schedules were what they end as, such as the weight of the KL."""
        end = float(self.training.steps)
        return all(
            float(schedule(t - self.began)) == float(schedule(end))
            for schedule in self.procedure.objective.charges()
            for t in steps
        )

    def _save(self) -> None:
        """Keep all that a resumed run needs, unless a step was skipped: then what was kept before is the last that is good."""
        self.saved = self.out is not None and not self._skipped()
        if self.saved:
            stage = self.session.named(self.stage)
            stage |= {"stage_step": self.step} if stage else {}
            times = {"training_seconds": self.training_seconds, "seconds": self.session.seconds()}
            values = {"step": self.total, **stage, "best": plain(self.best), "stale": self.stale, **times}
            self.kept.save(values | {"data": self.session.fingerprint, "log": self.log.written()}, self._metered())

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
            self.session.check_data(values)
            self.step = values.get("stage_step", values["step"])
            self.began = values["step"] - self.step
            if self.step > self.training.steps:
                raise ValueError(
                    f"expected at least {self.step} steps, which are done, got {self.training.steps}; leave --steps out, or "
                    "train anew without --resume and with another --out"
                )
            self.stale, self.training_seconds = values["stale"], values["training_seconds"]
            self.best = -math.inf if values["best"] is None else values["best"]
            self.session.started = time.perf_counter() - values["seconds"]
        self.log.cut(self.total)

    def finish(self, stop: Interruption) -> Fitted:
        """The best weights in the model, and what the training leaves."""
        self.kept.take_best()
        self.accelerator.end_training()
        self.model.eval()
        seconds = self.session.seconds()
        return Fitted(self.model, self.total, seconds, self.training_seconds, self.log.lines, stop.signal, self.saved)

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
