"""All that can be said in numbers of a model by its draws: for an implicit model, which has no density."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from uncollapse import noise
from uncollapse.data import Batch, Data
from uncollapse.diagnosis import CriticEvidence, Measure, SampleDiagnosis, diagnose_samples, game_evidence, kind_of
from uncollapse.diagnosis.condition_use import IGNORED, condition_effect
from uncollapse.diagnosis.game_course import with_course
from uncollapse.diagnosis.mode_verdict import LEAST
from uncollapse.distributions import LatentVariableModel
from uncollapse.divergences.copying import copying
from uncollapse.evaluation.compared import compared, featured
from uncollapse.evaluation.features import Extractor, Pixels
from uncollapse.evaluation.frechet import fid
from uncollapse.evaluation.latents import evaluate_latents
from uncollapse.gan import GAN

DRAWN = 2500  # draws and observations, of PacGAN's protocol
HEARD = 2000  # observations, and as many draws, that the critic is asked about
COPIED = 1000  # samples, and held-out rows, of which copies of training rows are looked for


@torch.no_grad()
def evaluate_samples(
    model: LatentVariableModel,
    data: Data,
    split: str = "test",
    draws: int = DRAWN,
    extractor: Extractor | None = None,
    seed: int = 0,
    looks: Sequence[dict[str, Any]] = (),
    quick: bool = False,
    game: GAN | None = None,
    code: int | None = None,
) -> dict[str, Any]:
    """Quality and diversity of a model's draws, beside as many held-out observations, by the names of summary.json.

    Args:
        model: What to evaluate: any model that can be sampled.
        data: Where the observations come from.
        split: train, valid, test or all.
        draws: How many draws, and as many observations; fewer of both where the split has fewer.
        extractor: The feature network of FID, KID, precision, recall, density, coverage, Vendi, the two-sample tests and, where
            it is a classifier, the inception score, draws clamped to [0, 1] before it; None: the numbers themselves. The
            verdict is over the same features, or over those of the modes where they are known; copies are of the numbers.
        seed: Of all draws; the caller's random state is left as it was.
        looks: Those of its training, in order: of samples that still come nearer to the data the verdict is too early.
        quick: The diagnosis alone.
        game: The game that the model was trained in, whose critic adds evidence on observations of the split.
        code: How many latents the encoder infers, the first ones (`InfoGAN`); None: those of the game, or all.

    Returns:
        Plain values, of `n_samples` draws over `features` where no `_n` or `_pairs` beside says otherwise; `_data` are the
        same of as many observations.

    Example:
        >>> from uncollapse.data import load
        >>> from uncollapse.distributions import Generator, Normal
        >>> from uncollapse.gan import ImplicitModel
        >>> from uncollapse.networks import Bias
        >>> model = ImplicitModel(Normal(2), Generator(2, (2,), Bias))
        >>> found = evaluate_samples(model, load("ring"), draws=200)
        >>> found["verdict"], found["n_samples"]
        ('collapsed', 200)
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        real, fake = beside(model, data, split, draws, seed)
        held_out = Batch(real) if model.condition is None else _batch(model, data, split, draws)
        critic = None if game is None else game_evidence(game, held_out.rows(slice(HEARD)), train=_rows(data, HEARD, real))
        seen = _diagnosed(real, fake, data, split, extractor, critic, seed)
        found = {k: v for k, v in with_course(seen.as_dict(), looks).items() if k != "n"} | {"n_samples": len(fake)}
        if held_out.condition is not None:
            found |= _of_condition(model, held_out.condition, found.get("notes", []))
        whole = not quick and bool(fake.isfinite().all())
        if whole:
            noise.seed_step(seed, 1)
            found |= compared(real, fake, extractor or Pixels(), seed)
    if whole and kind_of(model).measured_by != "likelihood":  # of a VAE, `evaluate` measures them
        found |= evaluate_latents(model, data, split, code=code or getattr(game, "code", None), seed=seed)
    return found | {"split": split, "data": data.name}


def _diagnosed(
    real: Tensor,
    fake: Tensor,
    data: Data,
    split: str,
    extractor: Extractor | None,
    critic: CriticEvidence | None,
    seed: int,
) -> SampleDiagnosis:
    """The verdict over features of choice; copies are of the numbers themselves, and of rows that are held out."""
    further = {}
    if split in ("valid", "test") and fake.isfinite().all() and min(len(real), len(fake), len(data.train)) >= LEAST:
        train = data.train.to(real.device, real.dtype)
        found = copying(fake[:COPIED], (batch.x for batch in train.batches(10_000)), real[:COPIED])
        further["copies"] = Measure(found.share, found.standard_error, 0.0)
    if extractor is not None and data.modes is None and fake.isfinite().all():
        real, fake, _ = featured(real, fake, extractor)
    return diagnose_samples(fake, real, None, data.modes, critic, further=further, seed=seed)


@torch.no_grad()
def fid_of_draws(model: LatentVariableModel, data: Data, draws: int, extractor: Extractor) -> dict[str, Any]:
    """The Fréchet distance alone, as `evaluate_samples` has it, with what it is over and of how many draws.

    Args:
        model: What to evaluate.
        data: Where the observations come from.
        draws: How many draws, and as many observations of the test split.
        extractor: What makes the features.

    Example:
        >>> from uncollapse.data import load
        >>> from uncollapse.distributions import Generator, Normal
        >>> from uncollapse.networks import Bias
        >>> found = fid_of_draws(LatentVariableModel(Normal(2), Generator(2, (2,), Bias)), load("ring"), 200, Pixels())
        >>> sorted(found), found["n_samples"]
        (['features', 'fid', 'n_samples'], 200)
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        real, fake = beside(model, data, "test", draws, seed=0)
        a, b, words = featured(real, fake, extractor)
        return {"fid": fid(a, b), "features": words, "n_samples": len(fake)}


def _of_condition(model: LatentVariableModel, condition: Tensor, notes: list[str]) -> dict[str, Any]:
    """How far the condition moves what is generated, and a note where it does not."""
    effect = condition_effect(model, condition)
    ignored = effect is not None and effect < IGNORED
    note = "the condition is ignored: another one hardly changes what is generated"
    return {"condition_effect": effect} | ({"notes": [*notes, note]} if ignored else {})


def beside(model: LatentVariableModel, data: Data, split: str, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """Observations of a split, at random, and as many draws."""
    noise.seed_step(seed, 0)
    if data.space.kind in ("tokens", "counts"):
        raise ValueError(
            f"expected images or numbers to compare draws with, got the {data.space.kind} of {data.name}, between which no "
            "distance is known; leave the draws out"
        )
    real = _batch(model, data, split, draws).x
    return real, drawn(model, len(real))


def _batch(model: LatentVariableModel, data: Data, split: str, n: int) -> Batch:
    """At most n observations of a split, at random and always the same ones, with their conditions."""
    source = data.split(split).to(model.like.device, model.like.dtype)
    return source.batch(source.some(min(n, len(source))))


def drawn(model: LatentVariableModel, n: int, chunk: int = 1000) -> Tensor:
    """n draws [n, *shape], some at a time."""
    return torch.cat([model.sample(min(chunk, n - i)) for i in range(0, n, chunk)])


def _rows(data: Data, n: int, like: Tensor) -> Batch:
    """Random rows of the training split, at most n."""
    train = data.train.to(like.device, like.dtype)
    return train.batch(train.some(min(n, len(train))))
