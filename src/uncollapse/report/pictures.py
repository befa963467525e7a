"""Observations in a figure: images in a grid, points in the plane, vectors as lines."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from uncollapse.report.images import image_grid, kind
from uncollapse.report.style import BLUE, LINE, MUTED, NotDrawn, panel, styled, subscript


@styled
def pictured(x: Tensor) -> Figure:
    """Observations [N, *shape] by themselves: images, points or vectors.

    Example:
        >>> len(pictured(torch.zeros(5, 2)).axes), len(pictured(torch.zeros(5, 7)).axes)
        (1, 5)
    """
    match kind(x.shape[1:]):
        case "image":
            return grid(x)
        case "points":
            figure, ax = plane()
            points(ax, x, BLUE)
            return figure
    return lines(x)


@styled
def grid(
    x: Tensor,
    columns: int | None = None,
    rows: Sequence[str] = (),
    heads: Sequence[str] = (),
    left: float = 0.62,
    present: Tensor | None = None,
) -> Figure:
    """Images [N, *shape] in a grid, pixel by pixel, the gaps transparent.

    Args:
        x: The images.
        columns: Images in a row.
        rows: Names of the rows.
        heads: Names of the columns.
        left: Inches that the names of the rows take.
        present: Which images are drawn [N]; the others are gaps. None: all.
    """
    colours = image_grid(x, columns)
    colours = colours[..., None].repeat(3, -1) if colours.ndim == 2 else colours
    drawn = torch.ones(len(x)) if present is None else present.float()
    shown = image_grid(drawn.reshape(-1, 1, 1).expand(-1, *x.shape[-2:]), columns)
    height, width = shown.shape
    left, top = left * bool(rows), 0.2 * bool(heads)
    figure = Figure(figsize=(4.8, top + (4.8 - left) * height / width))
    ax = figure.add_axes((left / 4.8, 0, 1 - left / 4.8, 1 - top / figure.get_figheight()))
    ax.imshow(np.dstack([colours, shown]), interpolation="none", aspect="auto")
    ax.set_axis_off()
    for names, place in ((rows, _row), (heads, _head)):
        for k, name in enumerate(names):
            place(ax, name, (k + 0.5) / len(names))
    return figure


def _row(ax: Axes, name: str, at: float) -> None:
    ax.annotate(name, (0, 1 - at), (-5, 0), "axes fraction", textcoords="offset points", ha="right", va="center", color=MUTED)


def _head(ax: Axes, name: str, at: float) -> None:
    ax.annotate(name, (at, 1), (0, 3), "axes fraction", textcoords="offset points", ha="center", va="bottom", color=MUTED)


@styled
def plane(xlabel: str = subscript(0, "x"), ylabel: str = subscript(1, "x")) -> tuple[Figure, Axes]:
    """An empty plane whose axes have the same scale."""
    figure, ax = panel(height=4.0)
    ax.set_aspect("equal", adjustable="box")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return figure, ax


def points(ax: Axes, x: Tensor, colour: str, label: str = "", size: float = 6, alpha: float = 0.55) -> None:
    """Points [N, 2] of one colour, as pixels so that thousands stay small."""
    if not x.isfinite().all():
        raise NotDrawn("There are numbers that are not finite: the model is broken.")
    across, up = x.cpu().T.numpy()
    ax.scatter(across, up, s=size, color=colour, alpha=alpha, linewidths=0, label=label or None, rasterized=True)


def frame(ax: Axes, x: Tensor, margin: float = 0.25) -> None:
    """Look at where points [N, 2] lie, so that a stray sample does not shrink the picture."""
    low, high = x.amin(0).cpu(), x.amax(0).cpu()
    gap = margin * (high - low).clamp(min=1e-6)
    (left, bottom), (right, top) = (low - gap).tolist(), (high + gap).tolist()
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)


@styled
def lines(x: Tensor, beside: Tensor | None = None, labels: tuple[str, str] = ("", ""), most: int = 12) -> Figure:
    """Vectors [N, *shape] as small line plots of value against index, each with another one laid over it if there is one."""
    both = [v.flatten(1)[:most].cpu().numpy() for v in (x, beside) if v is not None]
    figure, axes = panels(len(both[0]), "index", "value")
    for ax, *values in zip(axes, *both, strict=True):
        _steps(ax, values, labels)
    if labels[0]:
        key(figure, axes[0])
    return figure


def panels(n: int, across: str, up: str, heads: Sequence[str] = (), each: float = 0.6) -> tuple[Figure, list[Axes]]:
    """n small plots with the same axes, three in a row, `each` so high in inches; what the axes are, and names of the plots."""
    rows, gap = -(-n // 3), 0.15 + 0.25 * bool(heads)
    top, bottom = 0.25 + 0.2 * bool(heads), 0.45
    height = top + bottom + rows * each + (rows - 1) * gap
    space = {"hspace": gap / each, "wspace": 0.1}
    margins = {"left": 0.12, "right": 0.99, "bottom": bottom / height, "top": 1 - top / height, **space}
    figure = Figure(figsize=(4.8, height))
    axes = figure.subplots(rows, 3, sharex=True, sharey=True, squeeze=False, gridspec_kw=margins).ravel().tolist()
    for ax in axes[n:]:
        ax.remove()
    for ax in axes[:n]:
        ax.spines["bottom"].set_color(LINE)
        ax.locator_params(nbins=3)
    for ax in axes[max(0, n - 3) : n]:
        ax.tick_params(labelbottom=True)  # also where the row below is not full
    for ax, name in zip(axes, heads, strict=False):
        ax.set_title(name, color=MUTED, size=8.5, pad=3)
    figure.text(0.555, 0.08 / height, across, color=MUTED, ha="center")
    figure.text(0.01, 0.5, up, color=MUTED, va="center", rotation=90)
    return figure, axes[:n]


def key(figure: Figure, ax: Axes) -> None:
    """Name what is drawn in one of the small plots, in a line above all of them."""
    handles, names = ax.get_legend_handles_labels()
    close = {"handlelength": 0.8, "handletextpad": 0.4, "columnspacing": 0.9} if len(names) > 5 else {}
    figure.legend(handles, names, loc="upper left", ncols=len(names), borderaxespad=0, **close)


def _steps(ax: Axes, vectors: Sequence[np.ndarray], labels: tuple[str, str]) -> None:
    """One or two vectors [D] in one small plot, the second one blue."""
    for values, colour, label, width in zip(vectors, (MUTED, BLUE), labels, (1.6, 1.0), strict=False):
        ax.plot(values, color=colour, linewidth=width, label=label or None, drawstyle="steps-mid")
