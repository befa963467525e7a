"""Figures of several runs in one: curves that are named where they end, and differences with their errors."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uncollapse.diagnosis.posterior_verdict import Thresholds
from uncollapse.evaluation.metric_catalog import CATALOG, verdict_style
from uncollapse.report.curves import Rows, Series, by_kind, limits, over_steps, series, thinned, verdicts
from uncollapse.report.style import CLASSES, COLORS, MUTED, NotDrawn, panel, styled

FEW = 4  # points of a validation curve below which the training's own is drawn


def gathered(runs: dict[str, Rows], name: str) -> tuple[dict[str, Series], str]:
    """The curve of this name of each run by its lines of metrics.jsonl, and which data it is of.

    It is of the validation data where every run that has it was looked at often enough, else of the training.

    Example:
        >>> lines = [{"kind": "train", "step": t, "kl": 1.0} for t in range(5)] + [{"kind": "valid", "step": 4, "kl": 2.0}]
        >>> gathered({"baseline": lines}, "kl")
        ({'baseline': (array([0., 1., 2., 3., 4.]), array([1., 1., 1., 1., 1.]))}, 'training')
    """
    train, valid = ({run: series(by_kind(rows)[i], name) for run, rows in runs.items()} for i in (0, 1))
    often = all(len(steps) >= FEW or not len(train[run][0]) for run, (steps, _) in valid.items())
    chosen = valid if often else {run: thinned(*train[run]) if len(train[run][0]) else valid[run] for run in runs}
    return {run: curve for run, curve in chosen.items() if len(curve[0])}, "validation" if often else "training"


@styled
def information(runs: dict[str, Rows], name: str, thresholds: Thresholds = Thresholds()) -> Figure:
    """KL or mutual information of several runs over the steps, in nats on a square-root scale, where the verdicts lie below."""
    curves, of = gathered(runs, name)
    if not curves:
        raise NotDrawn(f"No run's metrics.jsonl holds {CATALOG[name].label}.")
    late = [values[steps >= steps[-1] / 10] for steps, values in curves.values()]
    figure, ax = _panel(len(curves))
    verdicts(ax, max(2.5 * thresholds.partly, 1.08 * max(float(values.max()) for values in late)), thresholds, named=False)
    _drawn(ax, curves, next(iter(runs)))
    over_steps(ax, f"{CATALOG[name].label}, {of} (nats)")
    _named(figure, ax, curves, next(iter(runs)))
    return figure


@styled
def shares(runs: dict[str, Rows], name: str) -> Figure:
    """A share of several runs over the steps, from 0 to 1."""
    curves, of = gathered(runs, name)
    if not curves:
        raise NotDrawn(f"No run's metrics.jsonl holds {CATALOG[name].label}.")
    figure, ax = _panel(len(curves))
    ax.set_ylim(0, 1.03)
    _drawn(ax, curves, next(iter(runs)))
    over_steps(ax, f"{CATALOG[name].label}, {of}")
    _named(figure, ax, curves, next(iter(runs)))
    return figure


@styled
def bound(runs: dict[str, Rows]) -> Figure:
    """The ELBO of several runs over the steps, in nats for each observation."""
    curves, of = gathered(runs, "elbo")
    if not curves:
        raise NotDrawn("No run's metrics.jsonl holds an ELBO.")
    figure, ax = _panel(len(curves))
    _drawn(ax, curves, next(iter(runs)))
    ax.set_ylim(limits(*curves.values(), since=0.3))
    over_steps(ax, f"ELBO, {of} (nats)")
    _named(figure, ax, curves, next(iter(runs)))
    return figure


@styled
def differences(found: dict[str, dict[str, float | str]]) -> Figure:
    """What each row's nll is above or below that of the first row: a dot, two standard errors to each side, by its verdict."""
    rows = [row for row in found if found[row].get("difference") is not None]
    if not rows:
        raise NotDrawn("There is nothing to hold against the first row yet.")
    values = np.array([found[row]["difference"] for row in rows], float)
    errors = np.array([found[row].get("difference_standard_error") or 0.0 for row in rows], float)
    figure, ax = _panel(len(rows))
    ax.axvline(0, color=MUTED, linewidth=1)
    for place, row in enumerate(rows):
        color = COLORS[verdict_style(found[row].get("verdict")).tone.color]
        ax.errorbar(values[place], place, xerr=2 * errors[place], fmt="o", color=color, markersize=4.5, linewidth=1.4)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(False, axis="y")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(f"nll less that of {next(iter(found))} (nats)")
    return figure


def _panel(runs: int) -> tuple[Figure, Axes]:
    """A figure high enough to name so many runs at its right."""
    return panel(height=max(3.1, 0.7 + 0.165 * runs))


def _colours(runs: Iterable[str], first: str) -> dict[str, tuple[str, str]]:
    """Colour and dashes of each run: the first one's grey, the others' by turns, dashed from the eleventh on."""
    others = [run for run in runs if run != first]
    styles = [(CLASSES[i % len(CLASSES)], "-" if i < len(CLASSES) else "--") for i in range(len(others))]
    return {first: (MUTED, "-"), **dict(zip(others, styles, strict=True))}


def _drawn(ax: Axes, curves: dict[str, Series], first: str) -> None:
    """All curves, the first run's broader and beneath."""
    for run, (colour, dashes) in _colours(curves, first).items():
        if run in curves:
            width, mark = 2.6 if run == first else 1.4, "o" if len(curves[run][0]) == 1 else ""
            ax.plot(*curves[run], color=colour, linestyle=dashes, linewidth=width, marker=mark)


def _named(figure: Figure, ax: Axes, curves: dict[str, Series], first: str) -> None:
    """Name each curve at the right, at the height where it ends, or as near as there is room."""
    ends = {run: _height(ax, float(values[-1])) for run, (_, values) in curves.items()}
    order = sorted(ends, key=lambda run: ends[run])
    inches = figure.get_size_inches()[1] - 0.55
    colours = _colours(curves, first)
    for run, place in zip(order, spread_out([ends[run] for run in order], 0.15 / inches), strict=True):
        colour = colours[run][0]
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
        ax.annotate(
            run,
            (1, ends[run]),
            (1.05, place),
            "axes fraction",
            color=colour,
            va="center",
            weight="bold" if run == first else "normal",
            arrowprops={**line, "relpos": (0, 0.5)},
            annotation_clip=False,
        )


def _height(ax: Axes, value: float) -> float:
    """Where a value lies on the ordinate, from 0 at the bottom to 1 at the top, or the nearer of these."""
    return float(np.clip(ax.transLimits.transform(ax.transScale.transform((1.0, value)))[1], 0, 1))


def spread_out(places: list[float], gap: float) -> list[float]:
    """Sorted places in [0, 1] moved apart to at least this gap, those that are far enough left where they are.

    Where there is no room for all, they lie at even gaps.

    Example:
        >>> [round(place, 2) for place in spread_out([0.1, 0.1, 0.5, 1.0, 1.0], 0.2)]
        [0.1, 0.3, 0.5, 0.8, 1.0]
        >>> spread_out([0.0, 0.0, 0.0], 0.9)
        [0.0, 0.5, 1.0]
    """
    gap = min(gap, 1 / max(len(places) - 1, 1))
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + gap) if found else place)
    ceiling = 1.0
    for i in reversed(range(len(found))):
        found[i] = min(found[i], ceiling)
        ceiling = found[i] - gap
    return found
