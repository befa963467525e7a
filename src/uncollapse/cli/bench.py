"""The verb `bench`."""

import json
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from uncollapse.cli.tables import by_row
from uncollapse.training.bench import COLUMNS, Bench, carry_out, markdown
from uncollapse.training.checkpoint import write
from uncollapse.training.log import Line, Observer
from uncollapse.training.named import named
from uncollapse.training.recipe import Recipe

console = Console(stderr=True)


def bench(options: Namespace) -> None:
    """One table: a model that collapses, and each remedy, at an equal budget of steps."""
    if options.bench is None:
        for name, line in named("benches").items():
            print(f"{name:18} {line}")
        return
    chosen = Bench.read(options.bench)
    if options.only:
        chosen = chosen.only(options.only.split(","))
    out = options.out or Path("runs") / f"bench-{chosen.name}"
    rows = {}
    for row, found in carry_out(chosen, out, options.parts, options.samples, options.examples, _watching):
        rows[row] = found
        write(out / "table.md", markdown(rows) + "\n")
        if not options.json:
            console.print(f"{row:24} {found.get('error') or found['verdict']}", highlight=False)
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    Console().print(by_row(rows, COLUMNS))
    print(f"table: {out / 'table.md'}")


def _watching(row: str, recipe: Recipe) -> Iterable[Observer]:
    """Say on the terminal how far a row is, at each look at the validation data."""

    def look(line: Line) -> None:
        if line["kind"] == "valid" and console.is_terminal:
            where = f"step {line['step']} of {recipe.training.steps}"
            console.print(f"{row:24} {where}   KL {line.get('kl') or 0.0:7.3f}   {line.get('verdict', '')}", highlight=False)

    return [look]
