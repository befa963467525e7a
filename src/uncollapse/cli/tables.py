"""Numbers with their units, as tables for the console."""

import math
import statistics
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from uncollapse.cli.printable import marked
from uncollapse.evaluation.metric_catalog import QUANTITIES, verdict_style
from uncollapse.evaluation.numbers import FAR_FROM_PRIOR, TEXTS, far_from_prior
from uncollapse.report import split_remedy
from uncollapse.report.rows import cells, columns
from uncollapse.training.bench import Found

ERROR = "_standard_error"  # behind the name of a number whose line tells it


def shown(value: Any) -> str:
    """A value as text: three decimals, whole numbers as they are.

    Example:
        >>> shown(88.12345), shown(40), shown(None)
        ('88.123', '40', '')
    """
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def show(console: Console, summary: dict[str, Any]) -> None:
    """Print one summary: the verdict, its reason, every number with its unit, and the remedies."""
    console.print(numbers(summary))
    for note in summary.get("notes", ()):
        console.print(f"note: {marked(note)}", highlight=False, soft_wrap=True)
    for line in cures(summary.get("remedies", ())):
        console.print(line, highlight=False, soft_wrap=True)


def numbers(summary: dict[str, Any]) -> Table:
    """One summary: the verdict, its reason, and every number with its unit."""
    table = Table(show_header=False, box=None, pad_edge=False)
    if "verdict" in summary:
        color = verdict_style(summary["verdict"]).tone.console
        table.add_row("verdict", f"[bold {color}]{marked(summary['verdict'])}[/]: {marked(summary.get('reason', ''))}")
    for name, quantity in QUANTITIES.items():
        if summary.get(name) is not None and not (name.endswith(ERROR) and summary.get(name.removesuffix(ERROR)) is not None):
            error = "" if summary.get(name + ERROR) is None else f" ± {shown(summary[name + ERROR])}"
            table.add_row(
                name, f"{shown(summary[name])}{error} {marked(summary.get(quantity.unit_from, quantity.unit))}".rstrip()
            )
    if far_from_prior(summary):
        table.add_row("", f"[yellow]{FAR_FROM_PRIOR}[/]")
    for name in TEXTS:
        if summary.get(name) is not None:
            table.add_row(name, marked(summary[name]))
    return table


def cures(remedies: Iterable[str]) -> list[str]:
    """Remedies in lines for the console: what each does and, below it, its command, whole.

    Example:
        >>> cures(["uncollapse train vae --procedure Lagging      let the encoder catch up"])
        ['to try: let the encoder catch up', '  uncollapse train vae --procedure Lagging']
    """
    pairs = [split_remedy(remedy) for remedy in remedies]
    return [marked(line) for command, why in pairs for line in (f"to try: {why}", f"  {command}")]


def side_by_side(summaries: dict[str, dict[str, Any]]) -> Table:
    """Several summaries, one column a run."""
    table = Table("", *map(marked, summaries), box=None, pad_edge=False)
    table.add_row("verdict", *(colored(s.get("verdict", "")) for s in summaries.values()))
    for name, quantity in QUANTITIES.items():
        if any(s.get(name) is not None for s in summaries.values()):
            label = f"{name} ({quantity.unit})" if quantity.unit else name
            table.add_row(label, *(shown(s.get(name)) for s in summaries.values()))
    return table


def rows_table(title: str, rows: dict[str, Found]) -> Table:
    """The rows of a bench's table, a line each; one that failed says so."""
    heads = columns(rows)
    table = Table("", *heads.values(), title=marked(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for row, found in rows.items():
        text = ["failed"] if "error" in found else cells(found, heads)
        table.add_row(marked(row), *map(marked, text[:-1]), colored(text[-1]))
    return table


def colored(verdict: str) -> str:
    """A verdict in its colour, for the console."""
    return f"[{verdict_style(verdict).tone.console}]{marked(verdict)}[/]"


def outcome(found: Found) -> str:
    """How a row of a bench ended, in a line for the console: its verdict and the reason, or why it failed.

    Example:
        >>> outcome({"verdict": "collapsed", "reason": "the posterior is the prior"})
        '[red]collapsed[/]: the posterior is the prior'
    """
    if "error" in found:
        return f"failed: {marked(found['error'])}"
    return f"{colored(found.get('verdict') or '')}: {marked(found.get('reason') or '')}"


def seeds_table(summaries: list[dict[str, Any]]) -> tuple[Table, dict[str, Any]]:
    """Mean and standard error over seeds of every number, as a table and as plain values.

    Example:
        >>> seeds_table([{"nll": 1.0, "verdict": "healthy"}, {"nll": 3.0, "verdict": "healthy"}])[1]
        {'seeds': 2, 'verdicts': {'healthy': 2}, 'nll': 2.0, 'nll_standard_error_over_seeds': 1.0}
    """
    verdicts = [s.get("verdict", "") for s in summaries]
    values: dict[str, Any] = {"seeds": len(summaries), "verdicts": {v: verdicts.count(v) for v in sorted(set(verdicts))}}
    table = Table("", "mean", "standard error", "", box=None, pad_edge=False)
    for name, quantity in QUANTITIES.items():
        column = [s[name] for s in summaries if s.get(name) is not None]
        if len(column) == len(summaries):
            mean, error = statistics.fmean(column), _standard_error(column)
            values |= {name: mean, f"{name}_standard_error_over_seeds": error}
            table.add_row(name, shown(mean), shown(error), quantity.unit)
    table.add_row("verdicts", ", ".join(f"{n} {v}" for v, n in values["verdicts"].items()))
    return table, values


def _standard_error(column: Iterable[float]) -> float:
    values = list(column)
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
