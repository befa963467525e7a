"""Figures of the training over time, from the lines of metrics.jsonl."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from uncollapse.diagnosis.posterior_verdict import Thresholds
from uncollapse.evaluation.metric_catalog import CATALOG, VERDICTS
from uncollapse.evaluation.numbers import number
from uncollapse.report.style import BLUE, COLORS, INK, LINE, MUTED, ORANGE, NotDrawn, color_of, legend, panel, styled, subscript

Rows = list[dict[str, Any]]
Series = tuple[np.ndarray, np.ndarray]

BOUNDS = (("iwae", "bound"), ("elbo", "elbo"), ("elbo", "bound"), ("log_likelihood", "log_likelihood"), ("bound", "bound"))
"""What the training and the validation call the same bound, the one that was maximised first."""

UNUSED = 0.01  # nats below which a unit's divergence is drawn as unused


def by_kind(rows: Rows) -> tuple[Rows, Rows]:
    """The lines of the training, and those of the validation data: validations and the early looks at the posterior.

    Example:
        >>> [len(lines) for lines in by_kind([{"kind": "train"}, {"kind": "look"}, {"kind": "valid"}, {"kind": "warning"}])]
        [1, 2]
    """
    return [row for row in rows if row.get("kind") == "train"], [row for row in rows if row.get("kind") in ("look", "valid")]


def series(rows: Rows, name: str) -> Series:
    """Steps and values of what has this name, finite numbers alone.

    Example:
        >>> series([{"step": 1, "kl": 2.0}, {"step": 2}, {"step": 3, "kl": float("nan")}], "kl")
        (array([1.]), array([2.]))
    """
    pairs = [(row["step"], row[name]) for row in rows if isinstance(row.get(name), int | float) and "step" in row]
    both = np.array([pair for pair in pairs if np.isfinite(pair[1])], float).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def thinned(steps: np.ndarray, values: np.ndarray, most: int = 300) -> Series:
    """At most this many points, each the mean of its neighbours."""
    parts = min(most, len(steps))
    if parts == len(steps):
        return steps, values
    means = [[part.mean() for part in np.array_split(column, parts)] for column in (steps, values)]
    return np.array(means[0]), np.array(means[1])


def limits(*curves: Series, since: float = 0.1) -> tuple[float, float] | None:
    """Where to look: the range of what comes after this share of the steps, outliers left out; None for no limits.

    Example:
        >>> steps = np.arange(100.0)
        >>> low, high = limits((steps, np.where(steps < 5, -1e9, -100 + steps / 100)))
        >>> round(low), round(high)
        (-100, -99)
    """
    end = max((steps[-1] for steps, _ in curves if len(steps)), default=0.0)
    late = [values[steps >= min(since * end, steps[-1])] for steps, values in curves if len(steps)]
    if not late or sum(map(len, late)) < 3:
        return None
    low = min(np.quantile(values, 0.02) for values in late)
    high = max(np.quantile(values, 0.995) for values in late)
    margin = 0.06 * (high - low) + 1e-3 * abs(high) + 1e-9
    return float(low - margin), float(high + margin)


def stages(rows: Rows) -> list[tuple[float, str]]:
    """The stages of a training that has several: the first step of each in these lines, and its name.

    Example:
        >>> stages([{"step": 5, "stage": "a"}, {"step": 10, "stage": "a"}, {"step": 15, "stage": "b"}])
        [(5, 'a'), (15, 'b')]
    """
    first: dict[str, float] = {}
    for row in rows:
        if "stage" in row:
            first.setdefault(row["stage"], row["step"])
    return [(step, name) for name, step in first.items()]


def last_stage(rows: Rows) -> Rows:
    """The lines of the last stage; all where there is one."""
    return [row for row in rows if row.get("stage") == rows[-1].get("stage")]


@styled
def bound(train: Rows, valid: Rows) -> Figure:
    """The bound of training and validation, per example, over the steps; the best validation of the last stage is marked."""
    end, end_valid = last_stage(train), last_stage(valid)
    found = [(t, v) for t, v in BOUNDS if len(series(end, t)[0])] or [
        ("bound", v) for _, v in BOUNDS if len(series(end_valid, v)[0])
    ]
    if not found:
        raise NotDrawn("metrics.jsonl holds no bound yet.")
    ours, theirs = next(((t, v) for t, v in found if len(series(end_valid, v)[0])), found[0])
    learned, checked = thinned(*series(train, ours)), series(valid, theirs)
    figure, ax = panel()
    ax.plot(*learned, color=BLUE, alpha=0.55, linewidth=1.2, label="training")
    ax.plot(*checked, color=ORANGE, label="validation")
    last = series(end_valid, theirs)
    if len(last[0]):
        best = last[1].argmax()
        ax.plot(
            last[0][best],
            last[1][best],
            "o",
            color=ORANGE,
            markersize=4.5,
            clip_on=False,
            label=f"best, {number(float(last[1][best]))} nats",
        )
    ax.set_ylim(limits(learned, checked))
    over_steps(ax, f"{CATALOG[ours].label} (nats per example)", train)
    legend(figure, ax)
    return figure


@styled
def information(train: Rows, valid: Rows, thresholds: Thresholds = Thresholds()) -> Figure:
    """KL and mutual information over the steps in nats, on a square-root scale, with the thresholds of the verdict."""
    kl, checked, told = thinned(*series(train, "kl")), series(valid, "kl"), series(valid, "mutual_information")
    if not len(kl[0]) and not len(told[0]):
        raise NotDrawn("There is no KL divergence: the model has no posterior.")
    top = max(2.5 * thresholds.partly, 1.08 * max(float(v.max()) for _, v in (checked, told, _settled(kl)) if len(v)))
    figure, ax = panel()
    verdicts(ax, top, thresholds)
    ax.plot(*kl, color=color_of("kl"), alpha=0.4, linewidth=1, label=f"{CATALOG['kl'].short}, training")
    for name, curve in (("kl", checked), ("mutual_information", told)):
        ax.plot(*curve, color=color_of(name), label=CATALOG[name].short)
    over_steps(ax, "nats per example (square-root scale)", train)
    legend(figure, ax)
    return figure


def verdicts(ax: Axes, top: float, thresholds: Thresholds = Thresholds(), named: bool = True) -> None:
    """An ordinate in nats on a square-root scale from 0 to top, with where the verdicts lie, and their names if wanted."""
    ax.set_yscale("function", functions=(lambda y: np.sqrt(np.clip(y, 0, None)), np.square))
    _band(ax, 0, thresholds.collapsed, "collapsed", named)
    _band(ax, thresholds.collapsed, thresholds.partly, "partly collapsed", named)
    ticks = [0, thresholds.collapsed, thresholds.partly, 5, 10, 20, 40, 70, 100, 200, 400, 700, 1000, 2000, 5000, 10000]
    ax.set_yticks([tick for tick in ticks if tick <= top], [f"{tick:g}" for tick in ticks if tick <= top])
    ax.minorticks_off()
    ax.set_ylim(0, top)


def _band(ax: Axes, low: float, high: float, verdict: str, named: bool) -> None:
    """Where a verdict lies, its threshold dashed."""
    colour, name = COLORS[VERDICTS[verdict].tone.color], verdict if named else ""
    ax.axhspan(low, high, color=colour, alpha=0.13, linewidth=0)
    ax.axhline(high, color=colour, linewidth=1, linestyle=(0, (4, 3)))
    ax.annotate(
        name, (1, high), (-4, -3), ("axes fraction", "data"), textcoords="offset points", ha="right", va="top", color=colour
    )


def _settled(curve: Series) -> Series:
    """A curve without its first tenth."""
    steps, values = curve
    late = steps >= (steps[-1] / 10 if len(steps) else 0)
    return steps[late], values[late]


def _unit_rows(valid: Rows) -> Rows:
    """The validations that hold the divergence of each unit."""
    rows = [row for row in valid if row.get("kl_units") and "step" in row]
    if not rows:
        raise NotDrawn("There is no KL divergence per unit in metrics.jsonl.")
    if len(rows[-1]["kl_units"]) == 1 and rows[-1].get("latent_units", 2) != 1:
        raise NotDrawn("Prior or posterior does not factorise, so KL has no parts by unit.")
    return [row for row in rows if len(row["kl_units"]) == len(rows[-1]["kl_units"])]


@styled
def unit_history(valid: Rows) -> Figure:
    """KL of each unit over the steps as a heat map in nats, the units sorted by their last value, the largest on top."""
    rows = _unit_rows(valid)
    if len(rows) < 2:
        raise NotDrawn("There was one validation only: the bars show it.")
    values = np.nan_to_num(np.array([row["kl_units"] for row in rows], float).T, posinf=0.0).clip(min=0)
    order = np.argsort(-values[:, -1], kind="stable")
    figure, ax = panel()
    mesh = ax.pcolormesh(
        _edges(np.array([row["step"] for row in rows], float)),
        np.arange(len(order) + 1) - 0.5,
        values[order],
        norm=PowerNorm(0.5, vmin=0, vmax=max(float(values.max()), 0.1)),
        cmap="cividis",
        rasterized=True,
    )
    ax.grid(False)
    ax.invert_yaxis()
    _units_on(ax.yaxis, order)
    over_steps(ax, "latent unit, sorted", valid)
    bar = figure.colorbar(mesh, ax=ax, pad=0.02, aspect=28)
    bar.set_label("KL (nats)")
    bar.outline.set_visible(False)
    return figure


@styled
def unit_bars(valid: Rows) -> Figure:
    """KL of each unit at the last validation as bars in nats, sorted."""
    row = _unit_rows(valid)[-1]
    values = np.nan_to_num(np.array(row["kl_units"], float), posinf=0.0)
    order = np.argsort(-values, kind="stable")
    figure, ax = panel()
    ax.bar(range(len(order)), values[order], color=[BLUE if values[j] > UNUSED else MUTED for j in order], width=0.78)
    ax.set_ylim(0, max(1.05 * float(values.max()), 0.1))
    ax.set_xlim(-0.6, max(len(order), 5) - 0.4)
    ax.grid(False, axis="x")
    _units_on(ax.xaxis, order)
    ax.set_xlabel("latent unit, sorted")
    ax.set_ylabel("KL (nats)")
    ax.annotate(f"{number(float(values.sum()))} nats in all", (1, 1), xycoords="axes fraction", ha="right", va="top", color=INK)
    return figure


def _units_on(axis: Any, order: np.ndarray, most: int = 16) -> None:
    """Name sorted units on an axis, as many as there is room for."""
    places = range(0, len(order), -(-len(order) // most))
    axis.set_ticks(list(places), [subscript(int(order[k])) for k in places])


def _edges(steps: np.ndarray) -> np.ndarray:
    """Edges of cells around increasing steps: [N] to [N + 1]."""
    middles = (steps[1:] + steps[:-1]) / 2
    return np.concatenate(([2 * steps[0] - middles[0]], middles, [2 * steps[-1] - middles[-1]]))


def over_steps(ax: Axes, label: str, rows: Rows = ()) -> None:  # type: ignore[assignment]
    """Axes whose abscissa is the training step and whose ordinate is this; lines of the log tell where its stages begin."""
    ax.set_xlabel("training step")
    ax.set_ylabel(label)
    ax.grid(False, axis="x")
    ax.spines["left"].set_color(LINE)
    left, right = max(0.0, ax.dataLim.x0), ax.dataLim.x1
    ax.set_xlim(left if left < right else 0.0, max(right, 1.0))
    ax.xaxis.set_major_locator(_few())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    for step, name in stages(rows):
        ax.axvline(step, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
        ax.annotate(name, (step, 1), (3, -3), ("data", "axes fraction"), textcoords="offset points", va="top", color=MUTED)


def _few() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(6, integer=True)
