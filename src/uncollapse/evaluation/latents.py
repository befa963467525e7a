"""What a model's encoder is worth: reconstructions, latents inferred from draws, and a linear probe of the labels."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from uncollapse import noise
from uncollapse.data import Batch, Data, Source
from uncollapse.distributions import LatentVariableModel, likelihoods
from uncollapse.distributions.ascending import Ascending
from uncollapse.distributions.fields import LevelsField
from uncollapse.distributions.latent import posterior_mean
from uncollapse.distributions.still import evaluating
from uncollapse.evaluation.probe import linear_probe, principal_components
from uncollapse.networks.recurrent import END

ROWS = 5000  # observations that are reconstructed, and as many draws whose latents are inferred
TRAINED = 10_000  # training rows that a probe learns from, and a mean is of
SLOW_ROWS, SLOW_TRAINED = 200, 1000  # where the encoder is an optimisation, or draws are made a number at a time
CLASSES = 100  # labels of more kinds are not probed: there are too few rows of each
PCA_SIZE = 4096  # numbers of an observation beyond which its principal components are not probed
_CHUNK = 500  # rows that are encoded or decoded together


@torch.no_grad()
def evaluate_latents(
    model: LatentVariableModel,
    data: Data,
    split: str = "test",
    examples: int | None = None,
    code: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    r"""Reconstructions, inferred latents and a linear probe of a model with an encoder, by the names of summary.json.

    .. math:: \mathrm{reconstruction\ error} = \frac1D\, \mathbb E_{p_d(x)} \lVert x - \hat x(x) \rVert^2, \quad
              \mathrm{latent\ error} = \frac{\mathbb E_{p(z)\, p_\theta(x \mid z)} \lVert \mathbb E_q[z \mid x] - z \rVert^2}
              {\mathbb E_{p(z)} \lVert z - \mathbb E[z] \rVert^2}

    The reconstruction :math:`\hat x` is the mean of p(x|z) at the posterior mean; where it is not known (PixelCNN), two draws
    estimate its error without bias, :math:`\mathbb E[(x - x_1)(x - x_2)] = (x - \hat x)^2`. The latent error is 0 where an
    encoder finds each latent again, 1 where it knows no more than the prior's mean; with the exact posterior it is the expected
    posterior variance by that of the prior, and no encoder has less.

    Tokens and levels without an order (`Recurrent`, `Categorical`) have an error rate in place of the squared error: the share
    that the reconstruction gets wrong, up to the end of each sequence. Its tokens are the likeliest ones, or a draw.

    The probe is a logistic regression on standardised posterior means, learned on the training split; of `train` and `all` on
    rows of the split that it isn't judged by. It is left out without labels, and where these are of more than 100 kinds.

    Args:
        model: What to evaluate: a VAE, or an implicit model with an encoder.
        data: Where the observations come from.
        split: train, valid, test or all.
        examples: Only so many of the split, at most 5,000, drawn at random and always the same ones.
        code: How many latents the encoder infers, the first ones (`InfoGAN`); None: all. An encoder of fewer has no
            reconstructions, its latent error and its probe are of these alone.
        seed: Of all draws; the caller's random state is left as it was.

    Returns:
        Plain values, over `latents_n` observations and as many draws, with standard errors; nothing of a model without an
        encoder. `reconstruction_error` beside that of the training mean (`_of_mean`), or `token_error_rate` beside
        that of the training split's commonest token at each place (`_of_mode`); `latent_error`; `probe_accuracy`, of
        `probe_n` codes by a probe of `probe_train_n`, beside that of the commonest label (`_chance`) and that of a probe of as
        many principal components of the data (`_pca`).

    Example:
        >>> from uncollapse.data import load
        >>> from uncollapse.distributions import Normal, likelihoods, posteriors
        >>> from uncollapse.networks import Bias
        >>> data = load("two-moons")
        >>> model = LatentVariableModel(Normal(2), likelihoods.Gaussian(2, (2,), Bias), posteriors.Gaussian(2, (2,), Bias))
        >>> found = evaluate_latents(model, data)
        >>> round(found["latent_error"], 1), round(found["reconstruction_error"], 1), found["probe_accuracy_pca"] > 0.8
        (1.0, 1.0, True)
    """
    if model.posterior is None:
        return {}
    like = model.like
    source, train = (some.to(like.device, like.dtype) for some in (data.split(split), data.train))
    rows, trained = _sizes(model)
    index, learned = source.some(examples)[:rows], train.some(trained)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), evaluating(model):
        noise.seed_step(seed, 2)
        whole = code is None or code == model.prior.features
        found = _reconstruction(model, source, index, train, learned) if whole else {}
        found |= {**_latent_error(model, len(index), code), "latents_n": len(index)}
        noise.seed_step(seed, 3)
        if split in ("train", "all"):  # a split that holds the training rows is halved
            order, cut = source.some(), min(len(index), len(source) // 2)
            train, learned, index = source, order[cut:][:trained], index[:cut]
        return found | _probe(model, (train, learned), (source, index), code, seed)


def _sizes(model: LatentVariableModel) -> tuple[int, int]:
    """How many observations to measure on, and how many training rows to look at."""
    ascends = isinstance(model.posterior, Ascending)
    rows = SLOW_ROWS if ascends or isinstance(model.likelihood, likelihoods.PixelCNN) else ROWS
    return rows, SLOW_TRAINED if ascends else TRAINED


def _tokens(model: LatentVariableModel) -> bool:
    """Whether the data are levels without an order."""
    return isinstance(model.likelihood, (likelihoods.Categorical, likelihoods.Recurrent))


def _reconstruction(
    model: LatentVariableModel, source: Source, index: Tensor, train: Source, learned: Tensor
) -> dict[str, float | None]:
    """The error of reconstructions, beside that of the best constant."""
    if _tokens(model):
        return _error_rate(model, source, index, train, learned)
    mean = torch.stack([batch.x.double().sum(0) for batch in train.batches(_CHUNK, learned)]).sum(0) / len(learned)
    errors, constant = [], []
    for batch in source.batches(_CHUNK, index):
        x = batch.x
        errors.append(_square(model, batch).flatten(1).mean(1))
        constant.append((x.double() - mean).square().flatten(1).mean(1))
    each = torch.cat(errors)
    found = _ratio("reconstruction_error", each, torch.ones_like(each))
    return found | {"reconstruction_error_of_mean": float(torch.cat(constant).mean())}


def _square(model: LatentVariableModel, batch: Batch) -> Tensor:
    """The square of x less the mean of p(x|z) at the posterior mean, or an unbiased estimate of it: [B, *shape]."""
    x, p = batch.x, model.observe(model.encode(batch), batch)
    try:
        return (x.double() - p.mean).square()
    except NotImplementedError:
        return (x.double() - p.sample()) * (x.double() - p.sample())


def _error_rate(
    model: LatentVariableModel, source: Source, index: Tensor, train: Source, learned: Tensor
) -> dict[str, float | None]:
    """The share of tokens that reconstructions get wrong, beside that of the commonest token at each place."""
    levels, ends = int(model.likelihood.levels or 0), bool(getattr(model.likelihood, "ends", False))
    mode = _modes(model.likelihood.numbers(train.batch(learned).x).flatten(1), levels, ends)
    wrong, constant, real = [], [], []
    for batch in source.batches(_CHUNK, index):
        k = model.likelihood.numbers(batch.x).flatten(1)
        inside = _inside(k, ends)
        wrong.append(((_reconstructed(model, batch) != k) & inside).sum(1).double())
        constant.append(((mode != k) & inside).sum(1).double())
        real.append(inside.sum(1).double())
    tokens = torch.cat(real)
    of_mode = float(torch.cat(constant).sum() / tokens.sum())
    return _ratio("token_error_rate", torch.cat(wrong), tokens) | {"token_error_rate_of_mode": of_mode}


def _reconstructed(model: LatentVariableModel, batch: Batch) -> Tensor:
    """The likeliest tokens at the posterior mean where they are independent, else a draw of all: [B, T]."""
    p = model.observe(model.encode(batch), batch)
    if isinstance(p, LevelsField):
        return p.log_p.argmax(p.axis).flatten(1)
    found: Tensor = model.likelihood.numbers(p.sample())
    return found.flatten(1)


def _modes(k: Tensor, levels: int, ends: bool) -> Tensor:
    """The commonest token at each place, of sequences that reach it: tokens [N, T] to [T]."""
    counts = torch.zeros(k.shape[1], levels, dtype=torch.double, device=k.device)
    return counts.scatter_add_(1, k.T, _inside(k, ends).T.double()).argmax(1)


def _inside(k: Tensor, ends: bool) -> Tensor:
    """Whether a place belongs to the sequence, its first end among them: tokens [N, T] to [N, T]."""
    if not ends:
        return torch.ones_like(k, dtype=torch.bool)
    return F.pad((k != END)[:, :-1].cummin(1).values, (1, 0), value=True)


def _latent_error(model: LatentVariableModel, n: int, code: int | None) -> dict[str, Any]:
    """How far the posterior mean of a draw is from the latent that it was made of, by the prior's variance."""
    drawn, inferred = [], []
    for start in range(0, n, _CHUNK):
        z, batch = model.simulate(min(_CHUNK, n - start))
        drawn.append(z[:, :code].double())
        inferred.append(posterior_mean(model.infer(batch))[:, :code].double())
    z = torch.cat(drawn)
    errors = (torch.cat(inferred) - z).square().sum(1)
    return _ratio("latent_error", errors, (z - z.mean(0)).square().sum(1))


def _probe(
    model: LatentVariableModel, train: tuple[Source, Tensor], test: tuple[Source, Tensor], code: int | None, seed: int
) -> dict[str, float]:
    """The accuracy of a probe on posterior means, and on as many principal components; nothing where labels lack."""
    labels, test_labels = _labels(*train), _labels(*test)
    if labels is None or test_labels is None or not len(test_labels) or not 2 <= labels.unique().numel() <= CLASSES:
        return {}
    a, b = (
        torch.cat([model.encode(batch)[:, :code] for batch in source.batches(_CHUNK, rows)]) for source, rows in (train, test)
    )
    if not (a.isfinite().all() and b.isfinite().all()):
        return {}
    probe = linear_probe(a, labels, b, test_labels)
    found = {
        "probe_accuracy": probe.accuracy,
        "probe_accuracy_standard_error": probe.standard_error,
        "probe_accuracy_chance": probe.chance,
        "probe_n": len(b),
        "probe_train_n": len(a),
    }
    if _tokens(model) or model.likelihood.shape.numel() > PCA_SIZE:
        return found
    x, y = (source.batch(rows).x.flatten(1) for source, rows in (train, test))
    components = principal_components(x, y, a.shape[1], seed)
    return found | {"probe_accuracy_pca": linear_probe(components[0], labels, components[1], test_labels).accuracy}


def _labels(source: Source, rows: Tensor) -> Tensor | None:
    """The labels of these rows; None where there are none."""
    return None if source.labels is None else source.labels.cpu()[rows]


def _ratio(name: str, errors: Tensor, sizes: Tensor) -> dict[str, float | None]:
    """Σ errors / Σ sizes of N independent rows, and its standard error by the delta method; None of a single row."""
    ratio, n = errors.sum() / sizes.sum(), len(errors)
    error = float((errors - ratio * sizes).std() / sizes.mean() / n**0.5) if n > 1 else None
    return {name: float(ratio), f"{name}_standard_error": error}
