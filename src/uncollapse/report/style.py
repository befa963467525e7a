"""How every figure looks, and how one becomes a piece of the page that follows its reader's light or dark scheme."""

import io
import re
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uncollapse.evaluation.metric_catalog import CATALOG

INK, MUTED, LINE = "#1f2a35", "#5a6875", "#dce2e8"
BLUE, ORANGE, RED, AMBER = "#0f6cb0", "#d4691e", "#bb3a41", "#9a6b00"
CLASSES = ("#4477aa", "#ee7733", "#44aa99", "#cc6677", "#9970ab", "#999933", "#66b8dd", "#b05a8a", "#6a9a4a", "#9a9a9a")
"""Ten colours that are told apart with every common colour vision, on white and on black (after Tol, 2021)."""

VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", BLUE: "blue", ORANGE: "orange", RED: "red", AMBER: "amber"}
"""Colours that the page's style sheet replaces in the dark scheme, and the variables that hold them there."""

COLORS = {variable: colour for colour, variable in VARIABLES.items()}
"""Colours by their names in the catalogue of metrics."""

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 8.5,
    "text.color": INK,
    "text.usetex": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "savefig.facecolor": "auto",
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of rows and groups are no formulas
    "svg.hashsalt": "uncollapse",
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
}

styled = matplotlib.rc_context(STYLE)
"""Decorator of a function that draws: the house's style within it, the caller's own settings untouched after it."""


class NotDrawn(Exception):
    """A figure that cannot be drawn; its message is the line that stands in the figure's place."""


def color_of(metric: str) -> str:
    """The colour of a metric's curve.

    Example:
        >>> color_of("kl") == BLUE, color_of("mutual_information") == ORANGE
        (True, True)
    """
    return COLORS[CATALOG[metric].color]


def panel(height: float = 3.1, width: float = 4.8) -> tuple[Figure, Axes]:
    """An empty figure of this size in inches and its one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def legend(figure: Figure, ax: Axes, columns: int = 3, **options: Any) -> None:
    """Name what is drawn above the axes, where it hides nothing."""
    if ax.get_legend_handles_labels()[0]:
        figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=columns, columnspacing=1.4, **options)


def subscript(n: int, of: str = "z") -> str:
    """The name of a latent unit, or of a feature of x.

    Example:
        >>> subscript(12), subscript(0, "x")
        ('z₁₂', 'x₀')
    """
    return of + str(n).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


@styled
def svg(figure: Figure, name: str) -> str:
    """The figure as an inline SVG element that stands alone; names within it start with `name`, so that figures do not clash.

    Example:
        >>> figure, ax = panel()
        >>> svg(figure, "empty")[:4], "http" in svg(figure, "empty")
        ('<svg', False)
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=160, metadata={"Date": None})
    text = buffer.getvalue().decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\s(?:xmlns(?::\w+)?|width|height|version)="[^"]*"', "", text[: text.index(">")]) + text[text.index(">") :]
    for mark in ('id="', "url(#", 'href="#'):
        text = text.replace(mark, f"{mark}{name}-")
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text
