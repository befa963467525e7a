"""What the stages of a training share: devices and processes, data, the log, the clock."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from uncollapse import noise
from uncollapse.data import Data
from uncollapse.diagnosis.monitors import CollapseMonitor
from uncollapse.gan import GAN
from uncollapse.noise import Rows
from uncollapse.training.collapse_monitor import collapse_monitor
from uncollapse.training.documents import clear, put
from uncollapse.training.log import Line, Log, Observer
from uncollapse.training.machine import accelerator, rows, wrapper
from uncollapse.training.settings import Machine
from uncollapse.training.stage import Stage

START = 2**40 + 1  # the step of what is drawn before the first one
CONDITIONS = 1000  # of the training data that are kept with a conditional model


def _close(a: Any, b: float) -> bool:
    """Whether two numbers are the same but for rounding on another processor."""
    return isinstance(a, int | float) and abs(a - b) <= 1e-3 * max(abs(a), abs(b), 1e-6)


class Session:
    """What the stages of a training share.

    Args:
        stages: The stages.
        data: What they learn from.
        machine: Where.
        out: Run folder; None: nothing is written.
        observers: Called with every line of the log.

    Raises:
        ValueError: If a stage cannot learn from the data, or on this machine.
    """

    def __init__(
        self, stages: Sequence[Stage], data: Data, machine: Machine, out: Path | None = None, observers: Iterable[Observer] = ()
    ):
        self.stages, self.out, self.n_train = stages, out, len(data.train)
        self.accelerator = accelerator(machine, out)
        self.main = self.accelerator.is_main_process
        self.wrap = wrapper(self.accelerator, machine)
        for stage in stages:
            own = self.rows(stage)
            stage.objective.meet(data, self.batch_size(stage) if own is None else own.stop - own.start)
        self.fingerprint = data.fingerprint() if out is not None else {}
        self.name = data.name
        self._start(data)
        model = stages[0].model.to(self.accelerator.device)
        self.data = data.to(self.accelerator.device, next(model.parameters()).dtype)
        file = out / "metrics.jsonl" if out and self.main else None
        self.log = Log(file, [*observers, self._track(machine)] if self.main else [])
        self.monitors = self._monitors()
        self.started = time.perf_counter()

    def check_data(self, values: Mapping[str, Any]) -> None:
        """Refuse to go on from a checkpoint's values with other data than it was begun with.

        Raises:
            ValueError: If they are.
        """
        before = values.get("data")
        if not isinstance(before, dict):
            return
        for split, now in self.fingerprint.items():
            was = before.get(split)
            if isinstance(was, list) and len(was) == len(now) and all(map(_close, was, now)):
                continue
            rows = f"{was[0]:.0f}" if isinstance(was, list) and was else "other"
            told = f"{rows} rows, now {now[0]:.0f}" if rows != f"{now[0]:.0f}" else f"{rows} rows of other values"
            raise ValueError(
                f"{self.out} was begun with other data than {self.name} is now: its {split} split had {told}; put them back, "
                "or train anew without --resume and with another --out"
            )

    def batch_size(self, stage: Stage) -> int:
        """Observations in a batch of a stage, over all processes together."""
        return min(stage.training.batch_size, self.n_train)

    def rows(self, stage: Stage) -> Rows | None:
        """Which rows of a stage's batches are this process's; None: all."""
        return rows(self.accelerator, self.batch_size(stage))

    def seconds(self) -> float:
        """Seconds since the training began, those before it was interrupted included."""
        return time.perf_counter() - self.started

    def begin(self, documents: Mapping[str, str], resumed: bool) -> None:
        """Make the run folder: from here on the run can be resumed."""
        if self.out is None or not self.main:
            return
        if not resumed:
            clear(self.out)
        if documents:
            put(self.out, documents)
        self.log.begin()

    def named(self, stage: Stage) -> Line:
        """What tells the stage of a line of the log and of a checkpoint; nothing where there is one stage."""
        return {"stage": stage.name} if len(self.stages) > 1 else {}

    def _start(self, data: Data) -> None:
        """Let a prior that asks for it begin at training data, and a conditional model keep some of their conditions; a resumed
        training takes both over later."""
        model: Any = self.stages[0].model
        prior = getattr(model, "prior", None)
        if prior is not None and prior.wants:
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                noise.seed_step(self.stages[0].training.seed, START)
                prior.start_from(data.train.batch(data.train.some(prior.wants)).x)
        if getattr(model, "condition", None) is not None and data.train.condition is not None:
            index = data.train.some(CONDITIONS).to(data.train.condition.device)
            model.keep_conditions(data.train.condition[index])

    def _monitors(self) -> dict[str, CollapseMonitor]:
        """What watches each stage for collapse, made before any trains; what is fitted to the data for a VAE is fitted once."""
        found: dict[str, CollapseMonitor] = {}
        of_model: CollapseMonitor | None = None
        for stage in self.stages:
            if isinstance(stage.objective, GAN):
                found[stage.name] = collapse_monitor(stage.objective, self.data)
            else:
                of_model = of_model or collapse_monitor(stage.objective, self.data)
                found[stage.name] = of_model
        return found

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
