"""Sentences in a figure: what a language model writes, and what it makes of held-out sentences."""

from collections.abc import Sequence
from textwrap import wrap

from matplotlib.figure import Figure
from torch import Tensor

from uncollapse.data import Batch, as_batch
from uncollapse.data.text import sentences
from uncollapse.distributions import LatentVariableModel
from uncollapse.report.figures import on, spread, steady
from uncollapse.report.style import BLUE, INK, MUTED, styled

WIDTH = 62  # characters of a line


@styled
def written(lines: Sequence[tuple[str, str]]) -> Figure:
    """Sentences one under another, each in its colour; long ones run on, an empty one leaves a gap.

    Example:
        >>> [text.get_text() for text in written([("a cat", MUTED), ("", MUTED), ("a dog", BLUE)]).texts]
        ['a cat', '', 'a dog']
    """
    rows = [(part, colour) for line, colour in lines for part in wrap(line, WIDTH, subsequent_indent="   ") or [""]]
    height = 0.19 * len(rows) + 0.1
    figure = Figure(figsize=(4.8, height))
    for i, (part, colour) in enumerate(rows):
        figure.text(
            0.01, 1 - (0.19 * (i + 0.8)) / height, part, color=colour, family="monospace", fontsize=7.5, parse_math=False
        )
    return figure


def samples(model: LatentVariableModel, words: Sequence[str], n: int = 16, seed: int = 0) -> Figure:
    """Sentences [n] drawn from the model."""
    with steady(model, seed):
        found = sentences(model.sample(n).cpu(), words)
    return written([(line or "(an empty sentence)", INK) for line in found])


def reconstructions(model: LatentVariableModel, x: Tensor | Batch, words: Sequence[str], n: int = 8, seed: int = 0) -> Figure:
    """Held-out sentences of x [N, T], each above what the model writes at its code."""
    batch = spread(as_batch(x), n)
    with steady(model, seed):
        again = sentences(model.reconstruct(on(batch, model)).cpu(), words)
    lines: list[tuple[str, str]] = []
    for original, model_line in zip(sentences(batch.x.cpu(), words), again, strict=True):
        lines += [(original, MUTED), (model_line or "(an empty sentence)", BLUE), ("", MUTED)]
    return written(lines[:-1])
