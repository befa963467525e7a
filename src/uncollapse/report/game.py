"""Figures of a game over time: what its players lose, what the critic says, and how much of the data the draws cover."""

from matplotlib.figure import Figure

from uncollapse.report.curves import Rows, limits, over_steps, series, thinned
from uncollapse.report.style import BLUE, MUTED, ORANGE, NotDrawn, legend, panel, styled


@styled
def losses(train: Rows) -> Figure:
    """The losses of critic and generator over the steps."""
    return _two(train, {"critic_loss": ("critic", BLUE), "generator_loss": ("generator", ORANGE)}, "loss")


@styled
def logits(train: Rows) -> Figure:
    """The critic's mean logit of observations and of draws over the steps."""
    return _two(train, {"critic_real": ("observations", MUTED), "critic_fake": ("draws", BLUE)}, "the critic's logit")


def _two(train: Rows, drawn: dict[str, tuple[str, str]], label: str) -> Figure:
    """Curves over the steps: of each its name in the log, what it is called and its colour."""
    curves = {name: thinned(*series(train, name)) for name in drawn}
    if not all(len(steps) for steps, _ in curves.values()):
        raise NotDrawn(f"metrics.jsonl holds no {label} yet.")
    figure, ax = panel()
    for name, (called, colour) in drawn.items():
        ax.plot(*curves[name], color=colour, label=called)
    ax.set_ylim(limits(*curves.values()))
    over_steps(ax, label, train)
    legend(figure, ax)
    return figure


@styled
def gradients(valid: Rows) -> Figure:
    """The mean norm of the critic's gradient at observations and at draws over the steps."""
    drawn = {"critic_gradient_real": ("at observations", MUTED), "critic_gradient_fake": ("at draws", BLUE)}
    return _two(valid, drawn, "gradient of the critic")


@styled
def coverage(valid: Rows) -> Figure:
    """Shares over the steps: of known modes or of observations that draws come near, and of draws near observations."""
    near, precise, recalled = (series(valid, name) for name in ("coverage", "precision", "recall"))
    if not len(near[0]):
        raise NotDrawn("metrics.jsonl holds no coverage yet.")
    figure, ax = panel()
    modes = [row | {"share": row["modes"] / row["known_modes"]} for row in valid if row.get("modes") is not None]
    if modes:
        ax.plot(*series(modes, "share"), color=ORANGE, label="modes captured")
    ax.plot(*near, color=BLUE, label="coverage")
    ax.plot(*precise, color=MUTED, label="precision")
    if len(recalled[0]):
        ax.plot(*recalled, color=MUTED, linestyle="dashed", label="recall")
    ax.set_ylim(0, 1.03)
    over_steps(ax, "share", valid)
    legend(figure, ax)
    return figure
