"""Figures of what a model makes: samples, reconstructions and a map of its latent space."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from uncollapse.data import Batch, as_batch
from uncollapse.diagnosis.posterior_verdict import Thresholds
from uncollapse.distributions import LatentVariableModel
from uncollapse.report import pictures
from uncollapse.report.images import kind
from uncollapse.report.style import BLUE, CLASSES, MUTED, NotDrawn, legend, styled, subscript

MAPPED = 2000  # most observations on the map


@contextmanager
def steady(model: LatentVariableModel, seed: int = 0) -> Iterator[torch.device]:
    """Within it the model is in eval mode and draws follow from the seed; both are as before after it. Gives its device."""
    device, training = model.like.device, model.training
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(seed)
        model.eval()
        try:
            yield device
        finally:
            model.train(training)


Rows = TypeVar("Rows", Tensor, Batch)


def spread(x: Rows, n: int) -> Rows:
    """n of the observations [N, ...], evenly spaced, or all if there are no more.

    Example:
        >>> spread(torch.arange(10), 4)
        tensor([0, 3, 6, 9])
    """
    total = as_batch(x).n
    if total <= n:
        return x
    chosen = torch.linspace(0, total - 1, n).round().long()
    return x.rows(chosen) if isinstance(x, Batch) else x[chosen]


def on(x: Tensor | Batch, model: LatentVariableModel) -> Batch:
    """Observations on the model's device, in its type, with what is known beside them."""
    batch = as_batch(x).on(model.like.device)
    return batch._replace(x=model.cast(batch.x))


def moments(model: LatentVariableModel, draws: int = 4000) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the prior [L]: exact where it states them, else of this many draws."""
    if model.prior.conditional:
        z, _ = model.simulate(draws)
        return z.mean(0), z.std(0)
    p = model.prior()
    try:
        return p.mean, p.stddev
    except NotImplementedError:
        z = p.sample((draws,))
        return z.mean(0), z.std(0)


@styled
def samples(model: LatentVariableModel, x: Tensor | Batch | None = None, n: int = 64, seed: int = 0) -> Figure:
    """What the model makes of draws from its prior: a grid of images, points over those of x [N, 2], or lines."""
    shape = kind(model.likelihood.shape)
    with steady(model, seed):
        if shape != "points":
            x = model.sample(n if shape == "image" else 12, mean=True)
            return pictures.grid(x) if shape == "image" else pictures.lines(x)
        drawn = model.sample(MAPPED)
    figure, ax = pictures.plane()
    if x is not None:
        x = as_batch(x).x
        pictures.points(ax, spread(x, MAPPED), MUTED, "data")
        pictures.frame(ax, x)
    pictures.points(ax, drawn, BLUE, "samples")
    legend(figure, ax, markerscale=2.2)
    return figure


@styled
def reconstructions(model: LatentVariableModel, x: Tensor | Batch, n: int = 32, columns: int = 8, seed: int = 0) -> Figure:
    """Observations [N, *shape] above what the model makes of their codes; points joined to it, lines under it."""
    shape = kind(model.likelihood.shape)
    batch = spread(as_batch(x), {"image": n, "points": 200, "vector": 12}[shape])
    x = batch.x
    with steady(model, seed):
        again = model.reconstruct(on(batch, model)).to(x)
    if shape == "image":
        return _pairs(x, again, columns)
    if shape == "vector":
        return pictures.lines(x, again, ("original", "reconstruction"))
    figure, ax = pictures.plane()
    ax.plot(*torch.stack([x, again], 1).permute(2, 1, 0).cpu().numpy(), color=MUTED, linewidth=0.5, alpha=0.6)
    pictures.points(ax, x, MUTED, "original", size=12)
    pictures.points(ax, again, BLUE, "reconstruction", size=12)
    legend(figure, ax, markerscale=2.2)
    return figure


def _pairs(x: Tensor, again: Tensor, columns: int) -> Figure:
    """Rows of originals, each above the row of its reconstructions; only full rows."""
    columns = min(columns, len(x))
    full = len(x) // columns * columns
    pairs = [row for both in zip(x[:full].split(columns), again[:full].split(columns), strict=True) for row in both]
    return pictures.grid(torch.cat(pairs), columns, rows=["original", "model"] * (full // columns))


@styled
def latent_map(model: LatentVariableModel, x: Tensor | Batch, labels: Tensor | None = None, seed: int = 0) -> Figure:
    """Posterior means of x [N, *shape] in the plane, coloured by label [N].

    Two latents are shown as they are; of more, the first two principal components of the means of the active units. The
    axes reach to at least one standard deviation of the prior, so a collapsed posterior looks like the dot that it is.
    """
    with steady(model, seed):
        code = model.encode(on(spread(as_batch(x), MAPPED), model)).double().cpu()
        deviations = moments(model)[1].double().cpu()
    if not code.isfinite().all():
        raise NotDrawn("The codes are not finite: the posterior is broken.")
    flat, (xlabel, ylabel), centre = _projected(code, deviations.square())
    figure, ax = pictures.plane(xlabel, ylabel)
    reach = max(float(deviations.mean()), 1.08 * float((flat - centre).abs().max()))
    _coloured(figure, ax, flat, None if labels is None else spread(labels, MAPPED).cpu(), reach)
    ax.set_ylim(float(centre[1]) - reach, float(centre[1]) + reach)
    ax.set_xlim(float(centre[0]) - reach, float(centre[0]) + reach)
    return figure


def _projected(code: Tensor, prior: Tensor) -> tuple[Tensor, tuple[str, str], Tensor]:
    """Codes [N, L] in the plane [N, 2], the names of its axes, and its middle [2]; by the prior's variance [L]."""
    if code.shape[1] == 1:
        height = torch.rand(len(code), generator=torch.Generator().manual_seed(0), dtype=code.dtype) - 0.5
        flat = torch.stack([code[:, 0], height * code.std().clamp(min=0.5)], 1)
        return flat, (f"mean of {subscript(0)}", "at random, to tell dots apart"), flat.mean(0)
    if code.shape[1] == 2:
        return code, (f"mean of {subscript(0)}", f"mean of {subscript(1)}"), code.mean(0)
    variance = code.var(0)
    active = variance > Thresholds().active * prior
    kept = active if int(active.sum()) >= 2 else variance >= variance.sort(descending=True).values[1]
    centred = code[:, kept] - code[:, kept].mean(0)
    _, scale, axes = torch.linalg.svd(centred, full_matrices=False)
    share = (scale.square() / scale.square().sum().clamp(min=1e-300))[:2].tolist()
    flat = centred @ (axes[:2] * axes[:2].sum(1, keepdim=True).sign()).T
    of = f"{int(active.sum())} active units" if int(active.sum()) >= 2 else "the two widest units"
    return flat, (f"principal component 1 of {of} ({share[0]:.0%})", f"principal component 2 ({share[1]:.0%})"), torch.zeros(2)


def _coloured(figure: Figure, ax: Axes, flat: Tensor, labels: Tensor | None, reach: float) -> None:
    """Dots coloured by label: ten classes or fewer each with its name at its middle (unless all are one), more by a scale."""
    if labels is None or labels.dim() != 1:
        pictures.points(ax, flat, BLUE, size=12)
        return
    classes = labels.unique()
    if len(classes) > len(CLASSES):
        across, up = flat.T.numpy()
        dots = ax.scatter(across, up, c=labels.numpy(), s=12, cmap="viridis", linewidths=0, alpha=0.8, rasterized=True)
        figure.colorbar(dots, ax=ax, label="label", pad=0.02, aspect=28)
        return
    for value, colour in zip(classes, CLASSES, strict=False):
        pictures.points(ax, flat[labels == value], colour, size=13, alpha=0.8)
    if float(flat.std(0).max()) < 0.05 * reach:
        return
    for value, colour in zip(classes, CLASSES, strict=False):
        across, up = flat[labels == value].median(0).values.tolist()
        box = {"boxstyle": "round,pad=0.22", "facecolor": "white", "edgecolor": colour, "linewidth": 1.3, "alpha": 0.92}
        ax.annotate(f"{float(value):g}", (across, up), ha="center", va="center", color="#111111", weight="bold", bbox=box)
