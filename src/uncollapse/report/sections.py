"""What stands on the page, in which order, and the line under each figure that tells how to read it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from matplotlib.figure import Figure
from torch import Tensor

from uncollapse.data import Batch, as_batch
from uncollapse.diagnosis import kind_of
from uncollapse.diagnosis.posterior_verdict import Thresholds
from uncollapse.distributions import LatentVariableModel
from uncollapse.report import curves, figures, game, texts
from uncollapse.report.images import kind
from uncollapse.report.style import NotDrawn
from uncollapse.report.traversals import traversals

THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Evidence:
    """What there is to draw from: lines of metrics.jsonl, and a model with observations [N, *shape] and labels [N]."""

    train: curves.Rows
    valid: curves.Rows
    model: LatentVariableModel | None = None
    x: Tensor | Batch | None = None
    labels: Tensor | None = None
    words: Sequence[str] | None = None  # the vocabulary, where observations are sentences

    @property
    def kind(self) -> str:
        """What observations are drawn as: image, points, vector or text."""
        if self.words:
            return "text"
        return "image" if self.model is None else kind(self.model.likelihood.shape)

    def needed(self) -> LatentVariableModel:
        """The model, or the reason why a figure is left out."""
        if self.model is None:
            raise NotDrawn("Left out: this figure needs a model with latent variables, and the run has none at hand.")
        return self.model

    def both(self) -> tuple[LatentVariableModel, Tensor | Batch]:
        """Model and observations, or the reason why a figure is left out."""
        model = self.needed()
        if self.x is None or as_batch(self.x).n < 2:
            raise NotDrawn("Left out: this figure needs held-out observations, and the report was written without them.")
        return model, self.x


def _samples(e: Evidence) -> Figure:
    return texts.samples(e.needed(), e.words) if e.words else figures.samples(e.needed(), e.x)


def _reconstructions(e: Evidence) -> Figure:
    return texts.reconstructions(*e.both(), e.words) if e.words else figures.reconstructions(*e.both())


def _traversals(e: Evidence) -> Figure:
    if e.words:
        raise NotDrawn("Left out: sentences have no mean to move; see `uncollapse interpolate RUN --out path.txt`.")
    return traversals(*e.both())


class Item(NamedTuple):
    """One figure of the page: its captions are by what observations are drawn as, or one for all."""

    name: str
    title: str
    draw: Callable[[Evidence], Figure]
    captions: dict[str, str] | str

    def caption(self, what: str) -> str:
        return self.captions if isinstance(self.captions, str) else self.captions[what]


TRAINING = [
    Item(
        "bound",
        "The bound over time",
        lambda e: curves.bound(e.train, e.valid),
        "Higher is better. A validation curve that falls while the training curve rises is overfitting. The first steps may "
        "lie below the picture.",
    ),
    Item(
        "information",
        "Is the code used?",
        lambda e: curves.information(e.train, e.valid),
        "Mutual information, I(x;z), is what z tells about x. "
        f"Below {THRESHOLDS.collapsed:g} nats (red) the posterior has collapsed, below {THRESHOLDS.partly:g} nats (amber) in "
        "part, unless there was less to tell; above them it has if the decoder does not listen. A KL far above the mutual "
        "information is spent on codes that do not match the prior.",
    ),
]

LATENT = [
    Item(
        "unit-history",
        "KL of each unit over time",
        lambda e: curves.unit_history(e.valid),
        "A row is a latent unit: bright is in use, dark tells nothing. Units that go dark early are the usual "
        "start of a collapse.",
    ),
    Item(
        "unit-bars",
        "KL of each unit at the end",
        lambda e: curves.unit_bars(e.valid),
        "Unused units beside used ones are no collapse: a healthy model uses as many as its data need. Units are numbered "
        "from 0, the columns of model.encode(x).",
    ),
    Item(
        "latent-map",
        "Map of the latent space",
        lambda e: figures.latent_map(*e.both(), e.labels),
        "A dot is the posterior mean of one held-out observation, its colour is its label. Islands are kinds that the model "
        "found by itself; one small blob in the middle is a collapse. Of more than two latents, this is a projection.",
    ),
    Item(
        "traversals",
        "What each unit does",
        _traversals,
        {
            "image": "A row moves one unit, the others stay at the code of one observation; the most active first, with its KL "
            "in nats. The columns are standard deviations of the prior from its mean, or values where it lives on an interval. "
            "A row that never changes belongs to a unit the decoder ignores.",
            "points": "A path moves one unit across the prior, up to its largest dot, the others stay at the code of one "
            "observation; the number is its KL in nats. A path that is one dot belongs to a unit the decoder ignores.",
            "vector": "A plot moves one unit, the others stay at the code of one observation; above it is its KL in nats. A "
            "line is a feature of x, real numbers in standard deviations of the data from their mean. Flat lines belong to a "
            "unit the decoder ignores.",
        },
    ),
]

OBSERVATIONS = [
    Item(
        "samples",
        "Samples",
        _samples,
        {
            "image": "Means of p(x|z) at codes drawn from the prior, none picked. Look for variety as much as for sharpness.",
            "points": "Draws of the model over held-out data. Grey without blue is what the model misses, blue without grey "
            "is what it makes up.",
            "vector": "Means of p(x|z) at codes drawn from the prior, each a line of value against index.",
            "text": "Sentences that the model writes, none picked.",
        },
    ),
    Item(
        "reconstructions",
        "Reconstructions",
        _reconstructions,
        {
            "image": "A held-out observation above what the model makes of its code. The same picture under every original is "
            "a collapse.",
            "points": "A held-out point, joined to what the model makes of its code. All lines to one place is a collapse.",
            "vector": "A held-out observation (grey) and what the model makes of its code (blue), value against index.",
            "text": "A held-out sentence (grey) above what the model writes at its code (blue). Sentences that have nothing "
            "to do with those above them are a collapse.",
        },
    ),
]

GAME = [
    Item(
        "losses",
        "The game over time",
        lambda e: game.losses(e.train),
        "Neither loss tells how good the draws are: look for balance. A critic that never loses has nothing left to teach.",
    ),
    Item(
        "logits",
        "What the critic says",
        lambda e: game.logits(e.train),
        "Mean logit of observations and of draws. Close together: it cannot tell them apart. Far apart: it sees every fake.",
    ),
    Item(
        "gradients",
        "Has the critic something to teach?",
        lambda e: game.gradients(e.valid),
        "Mean norm of the critic's gradient, by which the generator moves. Near 0 at the draws it teaches nothing; where it "
        "grows without end, penalties would smooth the critic.",
    ),
    Item(
        "coverage",
        "Are modes missing?",
        lambda e: game.coverage(e.valid),
        "Coverage is the share of held-out observations that samples come near (0.97 between equal distributions); precision "
        "the share of samples near an observation; recall the share of observations within reach of the samples. High "
        "precision with low recall or coverage is mode collapse.",
    ),
]

VAE_SECTIONS = {"Training": TRAINING, "Samples and reconstructions": OBSERVATIONS, "The latent space": LATENT}
GAME_SECTIONS = {"Training": GAME, "Samples": OBSERVATIONS[:1]}
INFERENCE = {"Training": GAME, "Samples and reconstructions": OBSERVATIONS, "The latent space": [LATENT[2]]}


def sections(model: LatentVariableModel | None) -> dict[str, list[Item]]:
    """Headings of the page and the figures under each: those of a VAE, of a game, or of a game with an encoder."""
    if model is None or kind_of(model).measured_by == "likelihood":
        return VAE_SECTIONS
    return GAME_SECTIONS if model.posterior is None else INFERENCE
