"""Numbers with their units, as tables for the console."""

import math
import statistics
from collections.abc import Iterable
from typing import Any

from rich.table import Table

from uncollapse.evaluation.numbers import QUANTITIES
from uncollapse.training.bench import COLUMNS, Found, cells

COLORS = {"healthy": "green", "partly collapsed": "yellow", "collapsed": "red"}


def shown(value: Any) -> str:
    """A value as text: three decimals, whole numbers as they are.

    Example:
        >>> shown(88.12345), shown(40), shown(None)
        ('88.123', '40', '')
    """
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def numbers(summary: dict[str, Any]) -> Table:
    """One summary: the verdict, its reason and remedies, and every number with its unit."""
    table = Table(show_header=False, box=None, pad_edge=False)
    if "verdict" in summary:
        color = COLORS.get(summary["verdict"], "white")
        table.add_row("verdict", f"[bold {color}]{summary['verdict']}[/]: {summary['reason']}")
    for name, quantity in QUANTITIES.items():
        if summary.get(name) is not None:
            table.add_row(name, f"{shown(summary[name])} {quantity.unit}".rstrip())
    for remedy in summary.get("remedies", ()):
        table.add_row("try", remedy)
    return table


def side_by_side(summaries: dict[str, dict[str, Any]]) -> Table:
    """Several summaries, one column a run."""
    table = Table("", *summaries, box=None, pad_edge=False)
    table.add_row("verdict", *(_colored(s.get("verdict", "")) for s in summaries.values()))
    for name, quantity in QUANTITIES.items():
        if any(s.get(name) is not None for s in summaries.values()):
            label = f"{name} ({quantity.unit})" if quantity.unit else name
            table.add_row(label, *(shown(s.get(name)) for s in summaries.values()))
    return table


def rows_table(title: str, rows: dict[str, Found]) -> Table:
    """The rows of a bench's table, a line each, in nats but for units and seconds; one that failed says why."""
    table = Table("", *COLUMNS.values(), title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for row, found in rows.items():
        text = cells(found)
        table.add_row(row, *text[:-1], _colored(text[-1]))
    return table


def _colored(verdict: str) -> str:
    return f"[{COLORS.get(verdict, 'white')}]{verdict}[/]"


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
