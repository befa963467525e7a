"""The verb `bench`."""

import json
from argparse import Namespace
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from uncollapse.cli.printable import marked
from uncollapse.cli.progress import told
from uncollapse.cli.tables import cures, outcome, rows_table
from uncollapse.report import write_bench_report
from uncollapse.report.rows import markdown
from uncollapse.training.bench import Bench, Found, carry_out, results
from uncollapse.training.checkpoint import write
from uncollapse.training.log import Line, Observer
from uncollapse.training.named import named
from uncollapse.training.recipe import Recipe

console = Console(stderr=True)


def bench(options: Namespace) -> None:
    """Tables of a model that collapses and of each remedy, at an equal budget of steps."""
    if options.bench is None:
        for name, line in named("benches").items():
            print(f"{name:18} {line}")
        return
    chosen = Bench.read(options.bench)
    out = options.out or Path("runs") / f"bench-{chosen.name}"
    rows, tables = _names(options.only), _names(options.table)
    watch = Watch(chosen, options.json)
    measured = options.samples, options.examples, rows, tables, options.draws, options.fid_features
    done = carry_out(chosen, out, options.parts, *measured, watch, options.imports)
    for title, row, found in done:
        write(out / "table.md", markdown(chosen, results(chosen, out)) + "\n")
        watch.ended(title, row, found)
    everything = results(chosen, out)
    if not options.json:
        for title, found in everything.items():
            print()
            Console(width=None if console.is_terminal else 120).print(rows_table(title, found))
        print(f"table: {out / 'table.md'}")
    page = None if options.no_report else write_bench_report(out, chosen, everything, options.imports)
    print(json.dumps(everything, indent=2)) if options.json else print(f"report: {page}" if page else f"rows: {out}")


def _names(text: str | None) -> list[str]:
    """Names with commas between them.

    Example:
        >>> _names("baseline, free bits")
        ['baseline', 'free bits']
    """
    return [name.strip() for name in (text or "").split(",") if name.strip()]


class Watch:
    """What is said of rows while they are trained: how far they are, a collapse that lasts, and how they ended.

    The remedies are told of a table's first row, once: the other rows are remedies themselves.

    Args:
        bench: The tables.
        quiet: Whether nothing is said.
    """

    def __init__(self, bench: Bench, quiet: bool = False):
        self.firsts = {(title, next(iter(table.rows))) for title, table in bench.tables.items()}
        self.quiet = quiet

    def __call__(self, title: str, row: str, recipe: Recipe) -> Iterable[Observer]:
        """Look on while a row is trained."""
        self._say(f"{marked(title)}/{marked(row)}: {recipe.training.steps:,} steps")
        return [partial(self._look, title, row)]

    def ended(self, title: str, row: str, found: Found) -> None:
        """Say how a row ended."""
        self._say(f"{marked(title)}/{marked(row)}: {outcome(found)}", *cures(self._cures(title, row, found)))

    def _look(self, title: str, row: str, line: Line) -> None:
        """Say a line of the log that is not of the training alone."""
        if line["kind"] == "warning":
            line = {**line, "remedies": self._cures(title, row, line)}
        if line["kind"] != "train":
            self._say(*told(line))

    def _cures(self, title: str, row: str, found: dict[str, Any]) -> list[str]:
        """The remedies that were not told yet."""
        if (title, row) not in self.firsts or not found.get("remedies"):
            return []
        self.firsts.remove((title, row))
        return found["remedies"]

    def _say(self, *lines: str) -> None:
        for line in () if self.quiet else lines:
            console.print(line, highlight=False, soft_wrap=True)
