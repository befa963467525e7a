"""The report of a bench: its tables and what their rows learned, side by side, in one HTML file on its own."""

import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from markupsafe import Markup
from matplotlib.figure import Figure
from torch import Tensor

import uncollapse
from uncollapse.atomic_write import write_text
from uncollapse.data import Batch
from uncollapse.evaluation.metric_catalog import CATALOG, VERDICTS, verdict_style
from uncollapse.own_modules import Named
from uncollapse.report import comparisons, pictures
from uncollapse.report.curves import Rows
from uncollapse.report.figures import on, steady
from uncollapse.report.images import kind
from uncollapse.report.page import read_metrics, template
from uncollapse.report.rows import cells, columns, legend, of_games, terms
from uncollapse.report.sections import THRESHOLDS
from uncollapse.report.style import NotDrawn, svg
from uncollapse.training.bench import Bench, Found
from uncollapse.training.machine import place
from uncollapse.training.run import load_data, load_model, read_config
from uncollapse.vae import VAE

BEST = {"lower": min, "higher": max}
"""The better one of several values of a measure."""

DRAWS = 16  # whose average stands for the mean of p(x|z) where that has none

Item = dict[str, Any]
Drawing = tuple[str, str, Callable[[], Figure], str]
"""Id and title of a figure, how it is drawn, and its caption."""


def write_bench_report(out: Path, bench: Bench, found: dict[str, dict[str, Found]], parts: Iterable[Named] = ()) -> Path:
    """Write report.html into the folder of a bench.

    A table has its numbers, KL, mutual information and ELBO of all rows over the steps, the differences of nll, and of images
    what each row makes. Rows are named where their curves end, so that twenty can be told apart; the first one's is grey.

    Args:
        out: The folder, which holds the run folder of each row as TABLE/ROW.
        bench: Its tables.
        found: The rows that are done, as `uncollapse.training.bench.results` gives them.
        parts: What holds classes of your own that their models are made of: classes, modules, or paths of .py files.

    Returns:
        The path of the page.
    """
    out = Path(out)
    tables = [_table(out, bench, title, rows, f"t{i}", parts) for i, (title, rows) in enumerate(found.items())]
    text = template("bench.html").render(
        name=bench.name,
        tables=tables,
        draws=DRAWS,
        version=uncollapse.__version__,
    )
    page = out / "report.html"
    write_text(page, text, out)
    return page


def _table(out: Path, bench: Bench, title: str, rows: dict[str, Found], name: str, parts: Iterable[Named]) -> Item:
    """A table for the template; ids of what stands on it begin with `name`."""
    first = next(iter(bench.tables[title].rows))
    verdict = rows.get(first, {}).get("verdict") or ""
    tone, sign = verdict_style(verdict)
    return {
        "title": title,
        "terms": terms(bench, title, rows),
        "tone": tone.name,
        "sign": sign,
        "headline": verdict.capitalize() or "No verdict",
        "reason": rows.get(first, {}).get("reason") or "",
        "first": first,
        "heads": list(columns(rows).values()),
        "legend": legend(rows).replace("*", ""),
        "others": story(rows, first),
        "rows": [_line(out / title / row, bench.tables[title].rows[row], rows, row) for row in rows],
        "figures": list(_figures(out / title, rows, name)),
        "made": list(_made(out / title, rows, name, parts)),
    }


def story(rows: dict[str, Found], first: str) -> str:
    """What became of the other rows of a table, in a sentence or two.

    Example:
        >>> annealed = {"verdict": "healthy", "nll": 22.8}
        >>> story({"baseline": {"verdict": "collapsed"}, "annealed": annealed, "wrong": {"error": "no such data"}}, "baseline")
        'Of 2 other rows 1 is healthy (annealed), 1 failed. Lowest nll: annealed, 22.80.'
    """
    others = {row: found for row, found in rows.items() if row != first}
    parts = []
    for verdict in VERDICTS:
        names = [row for row, found in others.items() if found.get("verdict") == verdict]
        if names:
            parts.append(f"{len(names)} {'is' if len(names) == 1 else 'are'} {verdict} ({', '.join(names)})")
    failed = sum("error" in found for found in others.values())
    parts += [f"{failed} failed"] if failed else []
    told = f"Of {len(others)} other rows {', '.join(parts)}. " if parts else ""
    if len(others) == 1:
        row, found = next(iter(others.items()))
        told = f"{row} {'failed' if 'error' in found else 'is ' + (found.get('verdict') or 'not judged')}. "
    measure = "energy_coefficient" if of_games(rows) else "nll"
    best = _best(rows, measure)
    if best is None:
        return told.strip()
    if of_games(rows):
        return f"{told}Nearest to the data by the energy coefficient: {best}, {rows[best][measure]:.3f}."
    nll, less = _cells(rows[best], rows)[:2]
    return f"{told}Lowest nll: {best}, {nll}{f' ({less} to {first})' if less else ''}."


def _best(rows: dict[str, Found], name: str) -> str | None:
    """The row with the best value of a measure; None where no value is better than another."""
    better = CATALOG[name].better if name in CATALOG else ""
    values = {row: found[name] for row, found in rows.items() if found.get(name) is not None and found.get("verdict")}
    return BEST[better](values, key=lambda row: values[row]) if values and better else None


def _line(folder: Path, own: list[str], rows: dict[str, Found], row: str) -> Item:
    """A row of the table of numbers."""
    found = rows[row]
    report = folder / "report.html"
    return {
        "name": row,
        "own": shlex.join(own),
        "link": quote(f"{folder.parent.name}/{folder.name}/report.html") if report.exists() else "",
        "error": found.get("error", ""),
        "cells": [] if "error" in found else _cells(found, rows),
        "tone": verdict_style(found.get("verdict")).tone.name,
        "best": [i for i, name in enumerate(columns(rows)) if _best(rows, name) == row],
    }


def _cells(found: Found, rows: dict[str, Found]) -> list[str]:
    return [cell.replace("-", "−") for cell in cells(found, columns(rows))]


def _figures(folder: Path, rows: dict[str, Found], name: str) -> Iterator[Item]:
    """What all rows of a table are drawn in together."""
    runs: dict[str, Rows] = {row: read_metrics(folder / row / "metrics.jsonl") for row in rows}
    drawn = _of_draws(runs) if of_games(rows) else _of_likelihoods(runs, rows)
    for what, title, draw, caption in drawn:
        shown: Item = {"name": f"{name}-{what}", "title": title, "picture": None, "caption": caption}
        try:
            yield shown | {"picture": Markup(svg(draw(), shown["name"]))}
        except NotDrawn as reason:
            yield shown | {"caption": str(reason)}


def _of_draws(runs: dict[str, Rows]) -> list[Drawing]:
    """The figures of implicit models."""
    return [
        (
            "coverage",
            "Coverage over time",
            lambda: comparisons.shares(runs, "coverage"),
            "Share of held-out observations that draws come near; 0.97 between equal distributions.",
        ),
        (
            "precision",
            "Precision over time",
            lambda: comparisons.shares(runs, "precision"),
            "Share of draws that lie near an observation: high without coverage is mode collapse.",
        ),
    ]


def _of_likelihoods(runs: dict[str, Rows], rows: dict[str, Found]) -> list[Drawing]:
    """The figures of VAEs."""
    return [
        (
            "kl",
            "KL over time",
            lambda: comparisons.information(runs, "kl"),
            f"Square-root scale. Below {THRESHOLDS.collapsed:g} nats (red) a row has collapsed, below {THRESHOLDS.partly:g} "
            "nats (amber) in part.",
        ),
        (
            "information",
            "What the code tells over time",
            lambda: comparisons.information(runs, "mutual_information"),
            "A KL far above the mutual information is spent on codes that do not match the prior.",
        ),
        (
            "elbo",
            "ELBO over time",
            lambda: comparisons.bound(runs),
            "Higher is better. An objective that is not the ELBO may give some of it away for a code that is used.",
        ),
        (
            "difference",
            "Likelihood against the first row",
            lambda: comparisons.differences(rows),
            "Two standard errors to each side; left is better. Blue is healthy, amber partly collapsed, red a failure.",
        ),
    ]


def _made(folder: Path, rows: dict[str, Found], name: str, parts: Iterable[Named]) -> Iterator[Item]:
    """Samples and reconstructions of each row whose data are images, where anything is left of it."""
    x: dict[str, Batch] = {}
    for i, (row, found) in enumerate(rows.items()):
        if "error" in found:
            continue
        shown: Item = {"name": f"{name}-row{i}", "title": row, "verdict": found.get("verdict") or "", "pictures": []}
        shown["tone"] = verdict_style(shown["verdict"]).tone.name
        try:
            drawn = _pictures(folder / row, x, parts)
        except (OSError, ValueError, RuntimeError) as error:
            yield shown | {"caption": f"Left out: {error}"}
            continue
        if drawn:
            yield shown | {"pictures": [Markup(svg(one, f"{shown['name']}-{j}")) for j, one in enumerate(drawn)]}


def _pictures(run: Path, known: dict[str, Batch], parts: Iterable[Named] = (), n: int = 8) -> list[Figure]:
    """Samples and reconstructions of a run's model, n in a line; none of data that are no images.

    Args:
        run: The run folder.
        known: Held-out observations that were loaded already, by the options of their data.
        parts: What holds classes of your own that its model is made of.
        n: Images in a line.
    """
    model = load_model(run, parts).to(place())
    if kind(model.likelihood.shape) != "image":
        return []
    options = str(read_config(run)["data"])
    if options not in known:
        test = load_data(run).test
        known[options] = test.batch(test.some(n))
    with steady(model):
        batch = on(known[options], model)
        x = batch.x
        n = min(n, len(x))
        made = model.sample(3 * n, mean=True)
        if model.posterior is None:
            return [pictures.grid(made.cpu(), n, ["samples", "", ""])]
        pairs = torch.cat([x, _mean(model, batch)]).cpu()
    lines = [["samples", "", ""], ["original", "model"]]
    return [pictures.grid(both, n, rows) for both, rows in zip((made.cpu(), pairs), lines, strict=True)]


def _mean(model: VAE, batch: Batch) -> Tensor:
    """The mean of p(x|z) at the posterior mean, or of draws where it states none: one draw tells little of what z does."""
    p = model.observe(model.encode(batch), batch)
    try:
        return p.mean
    except NotImplementedError:
        return p.sample(torch.Size((DRAWS,))).mean(0)
