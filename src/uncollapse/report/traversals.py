"""What each latent unit does: the decoded mean while one unit moves and the others stay."""

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from uncollapse.data import Batch, as_batch
from uncollapse.distributions import LatentVariableModel
from uncollapse.divergences import kl_units
from uncollapse.report import pictures
from uncollapse.report.figures import MAPPED, moments, on, spread, steady
from uncollapse.report.images import kind
from uncollapse.report.style import CLASSES, MUTED, NotDrawn, legend, styled, subscript

PLACES = {"image": 11, "points": 61, "vector": 61}  # of a unit, on its way
REACH = 3.0  # standard deviations of the prior on either side of its mean


class Moved(NamedTuple):
    """What the decoder makes of U units at S places each."""

    units: list[str]  # their names, with their KL in nats where it has parts
    places: Tensor  # of a unit [S]: standard deviations from the prior's mean, or values where the prior lives on an interval
    made: Tensor  # means of p(x|z) [U, S, *shape]


@styled
def traversals(
    model: LatentVariableModel, x: Tensor | Batch, units: int = 8, steps: int | None = None, seed: int = 0
) -> Figure:
    """What each of the most active units does: rows of images, paths in the plane, or a line for each feature.

    Args:
        model: The model.
        x: Observations [N, *shape]; the units that stay, stay at the code of the first.
        units: How many units at most; six of vectors.
        steps: Places of a unit on its way; None: a few for images, many for paths and lines.
        seed: Of the draws, where a posterior or a prior states no moments.

    Raises:
        NotDrawn: If p(x|z) of vectors has no mean, or what is decoded is not finite.
    """
    what = kind(model.likelihood.shape)
    with steady(model, seed):
        if what == "vector":
            _check_mean(model)
        batch = on(spread(as_batch(x), MAPPED), model)
        moved = move(model, batch, min(units, 6) if what == "vector" else units, steps or PLACES[what])
    if what == "image":
        heads = [f"{round(float(v), 2) + 0.0:.2g}".replace("-", "−") for v in moved.places]
        return pictures.grid(moved.made.flatten(0, 1), len(heads), moved.units, heads)
    x = as_batch(x).x
    if not moved.made.isfinite().all():
        raise NotDrawn("What is decoded is not finite: the model is broken.")
    return _paths(x, moved) if what == "points" else _lines(model, x, moved)


def move(model: LatentVariableModel, x: Tensor | Batch, units: int, steps: int) -> Moved:
    """Move the units with the largest KL on x [N, *shape], or the largest variance of the mean where KL has no parts.

    A unit goes three standard deviations of the prior to either side of its mean, or across the prior's interval; the others
    stay at the code of the first observation.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import Bias
        >>> from uncollapse.vae import VAE
        >>> vae = VAE(Normal(3), Bernoulli(3, (4,), Bias), posteriors.Gaussian(3, (4,), Bias))
        >>> moved = move(vae, torch.ones(5, 4), units=2, steps=3)
        >>> moved.places.tolist(), moved.made.shape
        ([-3.0, 0.0, 3.0], torch.Size([2, 3, 4]))
    """
    with torch.no_grad():
        code, by_unit = model.encode(x), kl_units(model.infer(x), model.prior_for(x))
        kl = None if by_unit is None or by_unit.shape[-1] != code.shape[-1] else by_unit.mean(0)
        weight = code.var(0) if kl is None else kl
        chosen = weight.nan_to_num().argsort(descending=True, stable=True)[:units]
        places, values = _ways(model, steps, code)
        z = code[0].repeat(len(chosen), steps, 1)
        z[torch.arange(len(chosen)), :, chosen] = values[:, chosen].T
        made = model.decode(z, as_batch(x).rows(slice(1))).cpu()
    names = [subscript(int(j)) + ("" if kl is None else f"  {float(kl[j]):.2f}") for j in chosen]
    return Moved(names, places, made)


def _ways(model: LatentVariableModel, steps: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The places of every unit [S], and its values there [S, L]."""
    low, high = getattr(model.prior.support, "lower_bound", None), getattr(model.prior.support, "upper_bound", None)
    if low is not None and high is not None:
        edge = 0.005 * (high - low)  # a sigmoid never reaches the ends
        places = torch.linspace(float(low + edge), float(high - edge), steps).to(like)
        return places, places[:, None].expand(steps, like.shape[-1])
    mean, deviation = moments(model)
    places = torch.linspace(-REACH, REACH, steps).to(like)
    return places, mean + deviation * places[:, None]


def _check_mean(model: LatentVariableModel) -> None:
    """Refuse a likelihood that has draws alone: lines would show their noise."""
    try:
        _ = model.observe(*model.simulate(1)).mean
    except NotImplementedError:
        raise NotDrawn("Left out: p(x|z) has draws but no mean, so nothing moves smoothly with a unit.") from None


def _paths(x: Tensor, moved: Moved) -> Figure:
    """Paths through the plane over data [N, 2], a dot at each standard deviation of the prior, the largest at the end."""
    figure, ax = pictures.plane()
    pictures.points(ax, spread(x, MAPPED), MUTED, "data")
    for path, name, colour in zip(moved.made, moved.units, CLASSES, strict=False):
        ax.plot(*path.T.numpy(), "o-", color=colour, markersize=3, markevery=max(1, len(path) // 6), label=name)
        ax.plot(*path[-1].numpy(), "o", color=colour, markersize=6)
    legend(figure, ax, 4)
    return figure


def _lines(model: LatentVariableModel, x: Tensor, moved: Moved) -> Figure:
    """A small plot a unit, with a line for each feature; those that move most have colours and names.

    Real numbers are drawn in standard deviations of the data from their mean: columns of a table have scales of their own.
    """
    made, up = moved.made.flatten(2), "mean"
    if model.likelihood.levels is None:
        seen = x.flatten(1).to(made)
        deviation = seen.std(0)
        made = (made - seen.mean(0)) / torch.where(deviation > 0, deviation, 1.0)
        up = "standardised mean"
    most = (made.amax(1) - made.amin(1)).amax(0).argsort(descending=True, stable=True)[: len(CLASSES)]
    named = dict(zip(sorted(most.tolist()), CLASSES, strict=False))
    across = "unit" if hasattr(model.prior.support, "lower_bound") else "unit, in standard deviations of the prior"
    figure, axes = pictures.panels(len(made), across, up, moved.units, each=1.0)
    places = moved.places.cpu()
    for ax, lines in zip(axes, made.unbind(), strict=True):
        for j in sorted(set(range(lines.shape[1])) - set(named)):
            ax.plot(places, lines[:, j], color=MUTED, linewidth=0.5, alpha=0.4)
        for j, colour in named.items():
            ax.plot(places, lines[:, j], color=colour, linewidth=1.3, label=subscript(j, "x"))
    pictures.key(figure, axes[0])
    return figure
