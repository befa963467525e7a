"""Figures of samples that were judged: side by side, the groups that are off, copies, repeats, and a map of all."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Size, Tensor

from uncollapse.data.rows import Rows
from uncollapse.diagnosis.mode_collapse import Group
from uncollapse.divergences.duplicates import duplicates
from uncollapse.evaluation.judge import JudgedSamples
from uncollapse.report import pictures
from uncollapse.report.images import kind
from uncollapse.report.judged_words import percent
from uncollapse.report.style import BLUE, MUTED, ORANGE, RED, NotDrawn, legend, panel, styled, subscript

SIDE = 96  # pixels to which larger pictures are shrunk on the page
COLUMNS, ROWS = 8, 6  # pictures of a grid
PAIRS = 2 * COLUMNS
MAPPED = 2500  # dots of each


def pictured(rows: Rows) -> bool:
    """Whether rows are drawn as pictures."""
    return kind(Size(rows.shape)) == "image"


def images(judged: JudgedSamples, rows: Rows, index: Sequence[int]) -> Tensor:
    """Rows as small images [n, C, H, W] in [0, 1]; where the reals lie beyond, 0 and 1 are their least and largest number."""
    low, high = (judged.reals.scale * bound for bound in judged.reals.bounds())
    low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    x = (rows.take(torch.tensor(list(index), dtype=torch.long)).float() - low) / max(high - low, 1e-12)
    x = x.reshape(len(x), -1, *x.shape[-2:]).clamp(0, 1)
    if max(x.shape[-2:]) <= SIDE:
        return x
    scale = SIDE / max(x.shape[-2:])
    size = [max(1, round(scale * side)) for side in x.shape[-2:]]
    return F.interpolate(x.nan_to_num(0.0), size, mode="bilinear", antialias=True)


def some(judged: JudgedSamples, which: str) -> Figure:
    """Fakes, or reals, none picked."""
    rows, index = (judged.fakes, judged.fake_rows) if which == "fakes" else (judged.reals, judged.real_rows)
    return pictures.grid(images(judged, rows, index[: COLUMNS * ROWS].tolist()), COLUMNS)


def groups(judged: JudgedSamples, side: str) -> Figure:
    """Groups without samples by real rows, those with too many by samples: a row a group, nearest to its middle first."""
    found: list[Group] = getattr(judged.diagnosis, side)[:ROWS]
    if not found:
        raise NotDrawn(NONE[side])
    rows = judged.reals if side == "missing" else judged.fakes
    members = [(group.real_rows if side == "missing" else group.fake_rows)[:COLUMNS] for group in found]
    x = [images(judged, rows, index) for index in members]
    gaps = [COLUMNS - len(index) for index in members]
    padded = torch.cat([F.pad(some_, (0,) * 7 + (gap,)) for some_, gap in zip(x, gaps, strict=True)])
    present = torch.tensor([[i < len(index) for i in range(COLUMNS)] for index in members]).flatten()
    names = [f"{percent(group.data)} of reals\n{percent(group.samples)} of fakes" for group in found]
    return pictures.grid(padded, COLUMNS, rows=names, left=0.95, present=present)


NONE = {
    "missing": "None: no group of real rows has fewer than half its share of samples, beyond chance.",
    "overdone": "None: no group of rows has more than twice its share of samples, beyond chance.",
}
"""What stands in the place of groups where there are none."""


def copies(judged: JudgedSamples) -> Figure:
    """The nearest copies, each above its training row."""
    if judged.train is None:
        raise NotDrawn("Left out: no training rows were given, so nothing is told of copies (--train).")
    if judged.copied is None:
        raise NotDrawn("Left out: nothing is told of copies; see the note under what was compared.")
    pairs = judged.copied.pairs[:PAIRS]
    if not len(pairs):
        raise NotDrawn("None: no sample is much nearer to one training row than to all others.")
    return _paired(
        images(judged, judged.fakes, pairs[:, 0].tolist()), images(judged, judged.train, pairs[:, 1].tolist()), "train"
    )


def repeats(judged: JudgedSamples, which: str) -> Figure:
    """The nearest pairs among fakes, or reals."""
    of_fakes = which == "fakes"
    x, index, rows = (
        (judged.fake, judged.fake_rows, judged.fakes) if of_fakes else (judged.real, judged.real_rows, judged.reals)
    )
    if x is None:
        raise NotDrawn("Left out: nothing was measured.")
    first, second = (index[duplicates(x.cpu(), nearest=PAIRS).pairs.T]).tolist()
    return _paired(images(judged, rows, first), images(judged, rows, second), "nearest")


def _paired(above: Tensor, below: Tensor, name: str) -> Figure:
    """Images above others, in bands of a grid."""
    bands = [torch.cat(pair) for pair in zip(above.split(COLUMNS), below.split(COLUMNS), strict=True)]
    full = [band for band in bands if len(band) == 2 * COLUMNS] or bands[:1]
    return pictures.grid(torch.cat(full), len(full[0]) // 2, rows=("fakes" if name == "train" else "row", name) * len(full))


@styled
def mapped(judged: JudgedSamples) -> Figure:
    """Reals and, over them, fakes: one or two columns as they are, others along the first two principal axes of the reals."""
    real, fake, names = _flat(judged)
    return _histogram(real, fake, names[0]) if real.shape[1] == 1 else _scatter(real[:MAPPED], fake[:MAPPED], names)


@styled
def mapped_groups(judged: JudgedSamples) -> Figure:
    """The same map with the real rows of missing groups, and the samples of overdone ones."""
    missing, overdone = judged.diagnosis.missing, judged.diagnosis.overdone
    if not (missing or overdone):
        raise NotDrawn("None: no group of rows is missing or overdone, beyond chance.")
    real, fake, names = _flat(judged)
    if real.shape[1] == 1:
        raise NotDrawn("Left out: see the map beside.")
    off = _members(judged.real_rows, [group.real_rows for group in missing])
    figure, ax = _framed(real, fake, names)
    pictures.points(ax, real[~off], MUTED, "other reals", alpha=0.25)
    if missing:
        pictures.points(ax, real[off], RED, "missing")
    if overdone:
        pictures.points(ax, fake[_members(judged.fake_rows, [group.fake_rows for group in overdone])], ORANGE, "overdone")
    legend(figure, ax, markerscale=2.5)
    return figure


def _members(rows: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Which rows are in one of the groups: [n]."""
    return torch.isin(rows, torch.tensor([row for group in groups for row in group], dtype=torch.long))


def _flat(judged: JudgedSamples) -> tuple[Tensor, Tensor, list[str]]:
    """Reals and fakes in the plane, or on a line, and what its axes are."""
    if judged.fake is None or judged.real is None:
        raise NotDrawn("Left out: nothing was measured.")
    numbers = len(judged.reals.shape) == 1
    if numbers and judged.reals.shape[0] <= 2 and judged.features == "pixels":
        real, fake = (
            rows.take(index).double() for rows, index in ((judged.reals, judged.real_rows), (judged.fakes, judged.fake_rows))
        )
        names = [judged.reals.columns[i] if judged.reals.columns else subscript(i, "x") for i in range(real.shape[1])]
    else:
        real, fake, names = _along_axes(judged.real.cpu().double(), judged.fake.cpu().double())
    return real, fake, names


def _along_axes(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, list[str]]:
    mean = real.mean(0)
    _, scale, axes = torch.linalg.svd(real - mean, full_matrices=False)
    axes = axes[:2] * axes[:2].sum(1, keepdim=True).sign()
    shares = (scale.square() / scale.square().sum().clamp(min=1e-300))[:2].tolist()
    names = [f"principal axis {i} of the reals ({share:.0%})" for i, share in enumerate(shares, 1)]
    return (real - mean) @ axes.T, (fake - mean) @ axes.T, names


def _scatter(real: Tensor, fake: Tensor, names: Sequence[str]) -> Figure:
    figure, ax = _framed(real, fake, names)
    pictures.points(ax, real, MUTED, "reals")
    pictures.points(ax, fake, BLUE, "fakes")
    legend(figure, ax, markerscale=2.5)
    return figure


def _framed(real: Tensor, fake: Tensor, names: Sequence[str]) -> tuple[Figure, Axes]:
    figure, ax = panel(height=4.0)
    pictures.frame(ax, torch.cat((real, _within(fake, real))), margin=0.08)
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    return figure, ax


def _within(fake: Tensor, real: Tensor) -> Tensor:
    """The fakes within twice the reals' extent, so that a few stray ones do not shrink the picture."""
    low, high = real.amin(0), real.amax(0)
    gap = (high - low).clamp(min=1e-6) / 2
    return fake[((fake >= low - gap) & (fake <= high + gap)).all(1)]


def _histogram(real: Tensor, fake: Tensor, name: str) -> Figure:
    figure, ax = panel(height=3.0)
    low, high = float(real.min()), float(real.max())
    gap = max(high - low, 1e-6) / 4
    bins = torch.linspace(low - gap, high + gap, 61).tolist()
    ax.hist(real[:, 0].numpy(), bins=bins, color=MUTED, alpha=0.6, label="reals")
    ax.hist(fake[:, 0].numpy(), bins=bins, color=BLUE, histtype="step", linewidth=1.6, label="fakes")
    ax.set_xlabel(name)
    ax.set_ylabel("rows")
    legend(figure, ax)
    return figure
