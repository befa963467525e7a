"""The page of samples that were judged: one HTML file that needs nothing beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup
from matplotlib.figure import Figure
from torch import Tensor

from uncollapse import __version__
from uncollapse.atomic_write import write_text
from uncollapse.diagnosis.mode_collapse import Group
from uncollapse.diagnosis.mode_verdict import MEANINGS
from uncollapse.evaluation.judge import JudgedSamples
from uncollapse.evaluation.metric_catalog import verdict_style
from uncollapse.report import judged_figures as figures
from uncollapse.report.judged_words import advice, compared, copy_lines, example, measure_lines, percent
from uncollapse.report.page import template
from uncollapse.report.style import NotDrawn, subscript, svg

GROUPS = 8  # groups of a table, and columns in which they differ most
COLUMNS = 4

Item = tuple[str, str, Callable[[], Figure], str]
"""Name, title, what draws it, and how to read it."""


def write_judge_page(path: str | Path, judged: JudgedSamples) -> Path:
    """Write the verdict, all measures and pictures of the rows that they come from to one HTML file.

    Args:
        path: The file.
        judged: What `evaluation.judged_samples` gives.

    Returns:
        The path of the page.
    """
    diagnosis, page = judged.diagnosis, Path(path)
    tone, sign = verdict_style(diagnosis.verdict)
    text = template("judge.html").render(
        name=f"{judged.fakes.where} against {judged.reals.where}",
        tone=tone.name,
        sign=sign,
        headline=diagnosis.verdict.capitalize(),
        meaning=f"{MEANINGS[diagnosis.verdict]}.",
        reason=diagnosis.reason,
        advice=advice(judged),
        measures=measure_lines(judged),
        facts=[*compared(judged), ("Seed", str(judged.seed)), ("uncollapse", __version__)],
        notes=judged.notes,
        copies=copy_lines(judged),
        sections={heading: [_drawn(item) for item in items] for heading, items in _sections(judged).items()},
        tables=[] if figures.pictured(judged.reals) else [_group_table(judged, side) for side in ("missing", "overdone")],
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, text)
    return page


def _sections(judged: JudgedSamples) -> dict[str, list[Item]]:
    if not figures.pictured(judged.reals):
        return {"Samples and real rows": _maps(judged)}
    off = [*_off(judged), *_maps(judged)]
    return {"Samples and real rows": _side_by_side(judged), "Missing and overdone": off, "Twins": _twins(judged)}


def _maps(judged: JudgedSamples) -> list[Item]:
    return [
        (
            "map",
            "Where they lie",
            lambda: figures.mapped(judged),
            "A dot is a row. Grey without blue is what the samples miss, blue without grey is what they make up. Of more than "
            "two numbers a row this is a projection: what lies apart is apart, what lies together may not be.",
        ),
        (
            "off",
            "What is missing, what is overdone",
            lambda: figures.mapped_groups(judged),
            "The same map: real rows in groups with fewer than half their share of samples, and samples in groups with more "
            "than twice theirs.",
        ),
    ]


def _side_by_side(judged: JudgedSamples) -> list[Item]:
    return [
        ("fakes", "Samples", lambda: figures.some(judged, "fakes"), "None picked. Look for variety as much as for sharpness."),
        ("reals", "Real rows", lambda: figures.some(judged, "reals"), "As many, none picked."),
    ]


def _off(judged: JudgedSamples) -> list[Item]:
    return [
        (
            "missing",
            "Missing: real rows without samples",
            lambda: figures.groups(judged, "missing"),
            "A row of pictures is a group of real rows that are alike, those in its middle first, with fewer than half its "
            "share of samples.",
        ),
        (
            "overdone",
            "Overdone: samples beyond their share",
            lambda: figures.groups(judged, "overdone"),
            "A row of pictures is a group of samples that are alike, with more than twice its share.",
        ),
    ]


def _twins(judged: JudgedSamples) -> list[Item]:
    return [
        (
            "repeats",
            "The nearest pairs among the samples",
            lambda: figures.repeats(judged, "fakes"),
            "Each above its twin. The same picture twice, where the real rows have none such, is a lack of variety.",
        ),
        (
            "real-repeats",
            "The nearest pairs among the real rows",
            lambda: figures.repeats(judged, "reals"),
            "To compare with: how alike two real rows are.",
        ),
        (
            "copies",
            "Near copies of training rows",
            lambda: figures.copies(judged),
            "A sample above the training row that it is much nearer to than to any other. A few are chance; the share that "
            "real rows have as well is taken off the measure.",
        ),
    ]


def _drawn(item: Item) -> dict[str, Any]:
    """A figure for the template: its picture and caption, or the line that stands in its place."""
    name, title, draw, caption = item
    shown: dict[str, Any] = {"name": name, "title": title, "picture": None}
    try:
        return {**shown, "picture": Markup(svg(draw(), name)), "caption": caption}
    except NotDrawn as reason:
        return {**shown, "caption": str(reason)}


def _group_table(judged: JudgedSamples, side: str) -> dict[str, Any]:
    """Groups of rows of numbers: their shares, a row of each, and the columns in which they differ most from all real rows."""
    groups: list[Group] = getattr(judged.diagnosis, side)[:GROUPS]
    titles = {"missing": "Missing: groups of real rows without samples", "overdone": "Overdone: groups with too many samples"}
    cells = [_group_cells(judged, group, side) for group in groups]
    return {"name": side, "title": titles[side], "none": figures.NONE[side], "rows": cells}


def _group_cells(judged: JudgedSamples, group: Group, side: str) -> list[Any]:
    everything = judged.reals.take(judged.real_rows).flatten(1).double()
    names = judged.reals.columns or [subscript(i, "x") for i in range(everything.shape[1])]
    rows, index = (judged.reals, group.real_rows) if side == "missing" else (judged.fakes, group.fake_rows)
    x = rows.take(torch.tensor(index)).flatten(1).double()
    columns = [f"{names[j]} {_moments(x[:, j])} ({_moments(everything[:, j])})" for j in _most_different(x, everything)]
    return [percent(group.data), percent(group.samples), example(judged, group, side), columns]


def _most_different(x: Tensor, everything: Tensor) -> list[int]:
    """The columns in which the mean of a group is the most standard deviations from that of all rows."""
    scale = everything.std(0)
    away = (x.mean(0) - everything.mean(0)).abs() / torch.where(scale > 0, scale, torch.ones_like(scale))
    return sorted(away.topk(min(COLUMNS, len(away))).indices.tolist())


def _moments(column: Tensor) -> str:
    mean, deviation = float(column.mean()), float(column.std()) if len(column) > 1 else 0.0
    deviation = 0.0 if deviation <= 1e-12 * abs(mean) else deviation  # of equal numbers it is rounding
    return f"{_short(mean)} ± {_short(deviation)}".replace("-", "−")


def _short(value: float) -> str:
    """Three digits, or all before the point.

    Example:
        >>> _short(17123.4), _short(0.012345), _short(-4.5678)
        ('17,123', '0.0123', '-4.57')
    """
    return f"{value:,.0f}" if 100 <= abs(value) < 1e7 else f"{value:.3g}"
