"""What the options of `evaluate` mean for which kind of model, and likelihoods of models that need no encoder."""

import sys
from argparse import Namespace
from typing import Any

from uncollapse.data import Data
from uncollapse.diagnosis import kind_of
from uncollapse.distributions import LatentVariableModel
from uncollapse.evaluation import (
    Annealing,
    FromPosterior,
    FromPrior,
    Matched,
    Proposal,
    Widened,
    decoder_evaluations,
    evaluate_annealed,
    evaluate_located,
    located_evaluations,
    observed,
)

SAMPLED = {"samples": 1000, "proposal": None, "widen": 1.2, "examples": None}
DRAWN = {"draws": None, "features": "pixels"}
CHAINED = {"chains": 16, "temperatures": 1000, "simulated": None, "observation_noise": None}
DEFAULTS: dict[str, Any] = SAMPLED | DRAWN | CHAINED
"""Options that mean something for some kind of model alone, and what they are where they are not given."""

ENDLESS = 10**12
"""Evaluations of the decoder that are refused: at a million a second they take eleven days."""

LONG = 100_000  # evaluations of the decoder that are announced: a convolutional one makes some thousands a second


def settle(options: Namespace, model: LatentVariableModel) -> None:
    """Refuse options that mean nothing for this kind of model, and fill in the defaults of the others.

    Raises:
        ValueError: If one was given that would be passed over.

    Example:
        >>> from uncollapse.distributions import Generator, Normal
        >>> from uncollapse.gan import ImplicitModel
        >>> from uncollapse.networks import MLP
        >>> gan = ImplicitModel(Normal(2), Generator(2, (5,), MLP))
        >>> settle(Namespace(**(dict.fromkeys(DEFAULTS) | {"annealed": False, "examples": 50})), gan)
        Traceback (most recent call last):
            ...
        ValueError: --examples means nothing for a GAN, which is judged by its draws; write --draws N for their number, or ...
    """
    for name, why in _idle(options, model).items():
        if getattr(options, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} means nothing {why}")
    for name, default in _defaults(options, model).items():
        if getattr(options, name) is None:
            setattr(options, name, default)


def _defaults(options: Namespace, model: LatentVariableModel) -> dict[str, Any]:
    if kind_of(model).measured_by == "likelihood":
        return DEFAULTS | {"examples": 100} if options.annealed else DEFAULTS
    return DEFAULTS | {"examples": 100, "samples": None}


def _idle(options: Namespace, model: LatentVariableModel) -> dict[str, str]:
    """The options that are of no use, and why."""
    vae, dense = kind_of(model).measured_by == "likelihood", model.likelihood.density.weighs
    if options.annealed:
        idle = dict.fromkeys(DRAWN, "with --annealed, which looks at no draws; leave one of them out")
        idle["samples"] = "with --annealed; write --chains K and --temperatures T"
        idle |= {} if vae else dict.fromkeys(("proposal", "widen"), "for a GAN, whose chains start at the prior; leave it out")
    else:
        idle = dict.fromkeys(CHAINED, "without annealed chains; write --annealed beside it")
        if not vae:
            del idle["observation_noise"]
            idle |= _idle_of_gans(options)
        elif options.draws is None:
            idle["features"] = "where nothing is drawn; write --draws N beside it"
    if dense and (options.annealed or not vae):
        name = type(model.likelihood).__name__
        idle["observation_noise"] = f"for a {name} likelihood, which has a density of its own; leave it out"
    return idle


def _idle_of_gans(options: Namespace) -> dict[str, str]:
    """Those of a model by its draws, or, with --samples, by its likelihood around modes."""
    if options.samples is None:
        instead = "write --draws N for their number, or --annealed or --samples K for log p(x)"
        idle = dict.fromkeys(("proposal", "widen", "examples"), f"for a GAN, which is judged by its draws; {instead}")
        return idle | {"observation_noise": "without a likelihood; write --annealed or --samples K beside it"}
    idle = dict.fromkeys(DRAWN, "with --samples, which looks at no draws of a GAN; leave one of them out")
    idle["proposal"] = "for a GAN, whose samples lie around a mode; leave it out"
    return idle | dict.fromkeys(("chains", "temperatures", "simulated"), "with --samples; write --annealed in its place")


def proposal(options: Namespace) -> Proposal | None:
    """The proposal of this name; None: the one that suits."""
    named: dict[str | None, Proposal | None] = {
        None: None,
        "posterior": FromPosterior(),
        "widened": Widened(options.widen),
        "prior": FromPrior(),
        "matched": Matched(options.widen),
    }
    return named[options.proposal]


def by_samples(options: Namespace, model: LatentVariableModel, data: Data) -> dict[str, Any]:
    """The likelihood of a model without an encoder, by importance samples around modes; announced as `by_chains` is."""
    n, choosing = _images(options, model, data)
    evaluations = located_evaluations(model.prior.features, n, options.samples, choosing)
    _announce(evaluations, f"{options.samples:,} samples around a mode that chains find for {n:,} observations", choosing)
    sizes = (options.samples, options.examples, options.widen)
    return evaluate_located(model, data, options.split, *sizes, options.observation_noise, options.seed)


def by_chains(options: Namespace, model: LatentVariableModel, data: Data) -> dict[str, Any]:
    """The likelihood by annealed chains; what will take long is announced on stderr."""
    n, choosing = _images(options, model, data)
    annealing = Annealing(options.temperatures)
    simulated = f", and both ways for {options.simulated:,} simulated ones" if options.simulated else ""
    what = f"{options.chains:,} chains of {options.temperatures:,} temperatures for {n:,} observations{simulated}"
    _announce(decoder_evaluations(options.chains, annealing, n, options.simulated, choosing), what, choosing)
    sizes = (options.examples, options.chains, annealing, proposal(options), options.simulated)
    return evaluate_annealed(model, data, options.split, *sizes, options.observation_noise, options.seed)


def _images(options: Namespace, model: LatentVariableModel, data: Data) -> tuple[int, bool]:
    """How many images are measured, and whether a noise is chosen; one that is no noise is refused before anything is said."""
    if options.observation_noise is not None:
        observed(model, options.observation_noise)
    examples, available = options.examples, len(data.split(options.split))
    choosing = options.observation_noise is None and not model.likelihood.density.weighs
    return available if examples is None else min(examples, available), choosing


def _announce(evaluations: int, what: str, choosing: bool) -> None:
    if evaluations > ENDLESS:
        raise ValueError(f"expected at most {ENDLESS:,} evaluations of the decoder, got {evaluations:,}: {what}; use fewer")
    if evaluations >= LONG:
        first = ", the noise chosen first" if choosing else ""
        said = f"{evaluations:,} evaluations of the decoder, with gradients: {what}{first}"
        print(said, file=sys.stderr, flush=True)
