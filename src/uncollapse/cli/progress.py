"""How a training shows itself: a bar on a terminal, a line a validation elsewhere."""

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from uncollapse.cli.printable import marked
from uncollapse.cli.tables import colored, cures
from uncollapse.evaluation.metric_catalog import CATALOG

NAMES = ("iwae", "elbo", "log_likelihood")


class Progress:
    """An observer of the log.

    Args:
        console: Where it shows.
        steps: Steps in all.
        name: What is trained.
    """

    def __init__(self, console: Console, steps: int, name: str):
        self.console = console
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[seen]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task(marked(name), total=steps, seen="")
        self.name, self.stage = name, ""
        self.words: dict[str, str] = {}
        self.last = (0, time.perf_counter())

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()

    def __call__(self, line: dict[str, Any]) -> None:
        """Show a line of the log."""
        bound = next((line[n] for n in NAMES if n in line), None)
        if line.get("stage", self.stage) != self.stage:
            self._enter(line["stage"])
        if line["kind"] == "train":
            self.words |= {"nats": f"{bound:8.2f} nats"} if bound is not None else {}
            self.words |= {"kl": f"{CATALOG['kl'].short} {line['kl']:.2f}"} if "kl" in line else {}
            self.words |= {"critic": f"critic {line['critic_loss']:.2f}"} if "critic_loss" in line else {}
            self.words["speed"] = f"{self._speed(line['step']):.0f} steps/s"
            self.bar.update(self.task, completed=line["step"], seen="  ".join(self.words.values()))
            return
        if "active_units" in line:
            self.words["units"] = f"active {line['active_units']}"
        for text in told(line):
            self.console.print(text, highlight=False, soft_wrap=True)

    def _enter(self, stage: str) -> None:
        """Say which stage of the training begins."""
        self.stage, self.words = stage, {}
        self.bar.update(self.task, description=marked(f"{self.name}, {stage}"))
        self.console.print(f"stage {marked(stage)}", highlight=False)

    def _speed(self, step: int) -> float:
        before, since = self.last
        self.last = (step, time.perf_counter())
        return (step - before) / max(self.last[1] - since, 1e-9)


def told(line: dict[str, Any]) -> list[str]:
    """A validation, a look at the posterior or a warning of the log, in lines for the console.

    Example:
        >>> told({"kind": "look", "step": 125, "seconds": 2.0, "kl": 0.021, "verdict": "collapsed", "mutual_information": 0.018,
        ...       "active_units": 0})
        ['step     125                        KL   0.021  I(x;z)  0.018  active   0  [red]collapsed[/]  2 s']
    """
    if line["kind"] == "warning":
        when = f"at step {line['since']} and still at step {line['step']}"
        return [f"[bold red]{line['verdict']}[/] {when}: {marked(line['reason'])}; if it stays so", *cures(line["remedies"])]
    likelihood = "bound" in line and not ("closeness" in line or line.get("verdict") in ("too few", "diverged"))
    text = f"step {line['step']:>7}  " + (f"valid {line['bound']:9.3f} nats" if likelihood else " " * 20)
    if line.get("kl") is not None:
        text += f"  {CATALOG['kl'].short} {line['kl']:7.3f}"
    if "mutual_information" in line:
        text += f"  {CATALOG['mutual_information'].short} {line['mutual_information']:6.3f}"
        text += f"  active {line['active_units']:>3}  {colored(line['verdict'])}"
    if "coverage" in line:
        known = f"modes {line['modes']:>4} of {line['known_modes']}  " if "modes" in line else ""
        shares = "  ".join(f"{name} {line[name]:.2f}" for name in ("precision", "recall", "coverage") if name in line)
        text += f"  {known}{shares}  {colored(line['verdict'])}"
    return [f"{text}  {line['seconds']:.0f} s"]
