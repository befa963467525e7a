"""Figures of a game over time: what its players lose, what the critic says, and how much of the data the draws cover."""

from matplotlib.figure import Figure

from uncollapse.evaluation.metric_catalog import CATALOG
from uncollapse.report.curves import Rows, limits, over_steps, series, thinned
from uncollapse.report.style import NotDrawn, color_of, legend, panel, styled


@styled
def losses(train: Rows) -> Figure:
    """The losses of critic and generator over the steps."""
    return _two(train, ("critic_loss", "generator_loss"), "loss")


@styled
def logits(train: Rows) -> Figure:
    """The critic's mean logit of observations and of draws over the steps."""
    return _two(train, ("critic_real", "critic_fake"), "the critic's logit")


def _two(train: Rows, drawn: tuple[str, str], label: str) -> Figure:
    """The curves of two metrics over the steps."""
    curves = {name: thinned(*series(train, name)) for name in drawn}
    if not all(len(steps) for steps, _ in curves.values()):
        raise NotDrawn(f"metrics.jsonl holds no {label} yet.")
    figure, ax = panel()
    for name, curve in curves.items():
        ax.plot(*curve, color=color_of(name), label=CATALOG[name].short)
    ax.set_ylim(limits(*curves.values()))
    over_steps(ax, label, train)
    legend(figure, ax)
    return figure


@styled
def gradients(valid: Rows) -> Figure:
    """The mean norm of the critic's gradient at observations and at draws over the steps."""
    return _two(valid, ("critic_gradient_real", "critic_gradient_fake"), "gradient of the critic")


@styled
def coverage(valid: Rows) -> Figure:
    """Shares over the steps: of known modes or of observations that draws come near, and of draws near observations."""
    near, precise, recalled = (series(valid, name) for name in ("coverage", "precision", "recall"))
    if not len(near[0]):
        raise NotDrawn("metrics.jsonl holds no coverage yet.")
    figure, ax = panel()
    modes = [row | {"share": row["modes"] / row["known_modes"]} for row in valid if row.get("modes") is not None]
    if modes:
        ax.plot(*series(modes, "share"), color=color_of("modes"), label=CATALOG["modes"].label.lower())
    for name, curve in (("coverage", near), ("precision", precise), ("recall", recalled)):
        if len(curve[0]):
            ax.plot(*curve, color=color_of(name), linestyle="dashed" if name == "recall" else "-", label=CATALOG[name].short)
    ax.set_ylim(0, 1.03)
    over_steps(ax, "share", valid)
    legend(figure, ax)
    return figure
