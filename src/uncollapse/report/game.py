"""Figures of a game over time: what its players lose, what the critic says, and how much of the data the draws cover."""

from matplotlib.figure import Figure

from uncollapse.report.curves import Rows, limits, over_steps, series, thinned
from uncollapse.report.style import BLUE, MUTED, ORANGE, NotDrawn, legend, panel, styled


@styled
def losses(train: Rows) -> Figure:
    """The losses of critic and generator over the steps."""
    critic, generator = (thinned(*series(train, name)) for name in ("critic_loss", "generator_loss"))
    if not len(critic[0]):
        raise NotDrawn("metrics.jsonl holds no losses of a game yet.")
    figure, ax = panel()
    ax.plot(*critic, color=BLUE, label="critic")
    ax.plot(*generator, color=ORANGE, label="generator")
    ax.set_ylim(limits(critic, generator))
    over_steps(ax, "loss")
    legend(figure, ax)
    return figure


@styled
def logits(train: Rows) -> Figure:
    """The critic's mean logit of observations and of draws over the steps."""
    real, fake = (thinned(*series(train, name)) for name in ("critic_real", "critic_fake"))
    if not len(real[0]):
        raise NotDrawn("metrics.jsonl holds no word of a critic yet.")
    figure, ax = panel()
    ax.plot(*real, color=MUTED, label="observations")
    ax.plot(*fake, color=BLUE, label="draws")
    ax.set_ylim(limits(real, fake))
    over_steps(ax, "the critic's logit")
    legend(figure, ax)
    return figure


@styled
def coverage(valid: Rows) -> Figure:
    """Shares over the steps: of known modes or of observations that draws come near, and of draws near observations."""
    near, precise = series(valid, "coverage"), series(valid, "precision")
    if not len(near[0]):
        raise NotDrawn("metrics.jsonl holds no coverage yet.")
    figure, ax = panel()
    modes = [row | {"share": row["modes"] / row["known_modes"]} for row in valid if row.get("modes") is not None]
    if modes:
        ax.plot(*series(modes, "share"), color=ORANGE, label="modes captured")
    ax.plot(*near, color=BLUE, label="coverage")
    ax.plot(*precise, color=MUTED, label="precision")
    ax.set_ylim(0, 1.03)
    over_steps(ax, "share")
    legend(figure, ax)
    return figure
