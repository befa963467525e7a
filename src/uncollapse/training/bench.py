"""Benches: one model and what is done to it, a row each, at an equal budget of steps."""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import yaml

from uncollapse.evaluation import evaluate
from uncollapse.training.checkpoint import write
from uncollapse.training.log import Observer, plain
from uncollapse.training.loop import TrainingError
from uncollapse.training.named import located
from uncollapse.training.recipe import Recipe
from uncollapse.training.run import train
from uncollapse.vae import VAE

COLUMNS = ("nll", "nll_standard_error", "elbo", "kl", "mutual_information", "active_units", "seconds", "verdict")
"""What the table of a bench states of each row, by the names of summary.json."""


@dataclass(frozen=True)
class Bench:
    """A recipe, and rows that change it: options as on the command line.

    Example:
        >>> bench = Bench.read("collapse")
        >>> next(iter(bench.rows))
        'baseline'
    """

    name: str
    recipe: str
    rows: dict[str, list[str]]

    @classmethod
    def read(cls, name: str) -> Self:
        """Read a bench by its name, or by the path of a .yaml file.

        Raises:
            ValueError: If there is none of this name, or the file is no bench.
        """
        file = located("bench", "benches", name)
        found = yaml.safe_load(file.read_text())
        if not isinstance(found, dict) or not {"recipe", "rows"} <= found.keys():
            raise ValueError(f"{name} is no bench: expected recipe: NAME and rows: {{NAME: OPTIONS}}")
        return cls(file.stem, found["recipe"], {row: shlex.split(options or "") for row, options in found["rows"].items()})

    def only(self, rows: Iterable[str]) -> Self:
        """Some of the rows, in the bench's order.

        Raises:
            ValueError: If it has no row of that name.
        """
        wanted = list(rows)
        for row in wanted:
            if row not in self.rows:
                raise ValueError(f"{self.name} has no row {row!r}; there are {', '.join(self.rows)}")
        return type(self)(self.name, self.recipe, {row: self.rows[row] for row in self.rows if row in wanted})


def carry_out(
    bench: Bench,
    out: Path,
    options: Iterable[str] = (),
    samples: int = 500,
    examples: int | None = None,
    watching: Callable[[str, Recipe], Iterable[Observer]] = lambda row, recipe: (),
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train and evaluate row after row, each in a run folder of its own; rows that are done already are read again.

    A row that cannot be trained stays in the table with its error.

    Args:
        bench: The rows.
        out: The folder of all run folders.
        options: Of every row, as on the command line, before the row's own.
        samples: Importance samples for each test observation.
        examples: How many test observations; None: all.
        watching: What looks on while a row is trained.

    Yields:
        The name of a row and its numbers, or its `error`.
    """
    for row, own in bench.rows.items():
        file = out / row / "row.json"
        if file.exists():
            yield row, json.loads(file.read_text())
            continue
        try:
            found = _row(bench.recipe, [*options, *own], out / row, samples, examples, partial(watching, row))
        except (ValueError, TrainingError) as error:
            found = {"error": " ".join(str(error).split())}
        write(file, json.dumps(plain(found), indent=2))
        yield row, plain(found)


def _row(
    name: str,
    options: list[str],
    out: Path,
    samples: int,
    examples: int | None,
    watching: Callable[[Recipe], Iterable[Observer]],
) -> dict[str, Any]:
    """One row's numbers."""
    recipe = Recipe.read(name, options)
    fitted, _ = train(recipe, out, (out / "metrics.jsonl").exists(), watching(recipe))
    if fitted.signal is not None:
        raise KeyboardInterrupt
    model = fitted.model
    if not isinstance(model, VAE):
        raise ValueError(f"a bench compares VAEs, {name} trains a {type(model).__name__}")
    found = evaluate(model, recipe.data(), "test", samples, examples=examples, recipe=str(out / "config.yaml"))
    return {**found, "seconds": round(fitted.seconds, 1), "steps": fitted.step, "options": shlex.join(options)}


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """The table of a bench in Markdown: nats, but for active units and seconds.

    Example:
        >>> print(markdown({"baseline": {"nll": 80.0, "kl": 0.1, "verdict": "collapsed"}, "other": {"error": "no such data"}}))
        | row | nll | nll_standard_error | elbo | kl | mutual_information | active_units | seconds | verdict |
        |---|---|---|---|---|---|---|---|---|
        | baseline | 80.00 |  |  | 0.10 |  |  |  | collapsed |
        | other | failed: no such data |
    """
    lines = [f"| row | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row, found in rows.items():
        if "error" in found:
            lines.append(f"| {row} | failed: {found['error']} |")
        else:
            lines.append(f"| {row} | {' | '.join(_cell(found.get(name)) for name in COLUMNS)} |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else "" if value is None else str(value)
