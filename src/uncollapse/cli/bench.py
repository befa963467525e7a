"""The verb `bench`."""

import json
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from uncollapse.cli.tables import rows_table
from uncollapse.training.bench import Bench, carry_out, markdown, results
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
    done = carry_out(chosen, out, options.parts, options.samples, options.examples, rows, tables, _watching)
    for title, row, found in done:
        write(out / "table.md", markdown(chosen, results(chosen, out)) + "\n")
        if not options.json:
            console.print(f"{title}/{row:24} {found.get('error') or found['verdict']}", highlight=False)
    everything = results(chosen, out)
    if options.json:
        print(json.dumps(everything, indent=2))
        return
    for title, found in everything.items():
        Console(width=None if console.is_terminal else 120).print(rows_table(title, found))
    print(f"table: {out / 'table.md'}")


def _names(text: str | None) -> list[str]:
    """Names with commas between them.

    Example:
        >>> _names("baseline, free bits")
        ['baseline', 'free bits']
    """
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _watching(title: str, row: str, recipe: Recipe) -> Iterable[Observer]:
    """Say on the terminal how far a row is, at each look at the validation data."""

    def look(line: Line) -> None:
        if line["kind"] == "valid" and console.is_terminal:
            where = f"step {line['step']} of {recipe.training.steps}"
            console.print(f"{row:24} {where}   KL {line.get('kl') or 0.0:7.3f}   {line.get('verdict', '')}", highlight=False)

    return [look]
