"""The verbs that look at a trained model."""

import json
from argparse import Namespace
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from uncollapse import noise
from uncollapse.cli.kinds import by_chains, by_samples, proposal, settle
from uncollapse.cli.printable import printable
from uncollapse.cli.tables import show, side_by_side
from uncollapse.cli.train import report as write_run
from uncollapse.data import Data
from uncollapse.data import names as data_names
from uncollapse.diagnosis import diagnose as diagnosis
from uncollapse.diagnosis import kind_of
from uncollapse.diagnosis.reference_codes import training_rows
from uncollapse.distributions import LatentVariableModel
from uncollapse.evaluation import evaluate as evaluation
from uncollapse.evaluation import evaluate_samples, extractor_of, width
from uncollapse.evaluation.samples import DRAWN
from uncollapse.report import save_samples
from uncollapse.report.page import read_metrics
from uncollapse.sizes import check_room
from uncollapse.training.collapse_monitor import remedies
from uncollapse.training.fit import admit
from uncollapse.training.game import load_game
from uncollapse.training.log import plain
from uncollapse.training.machine import place
from uncollapse.training.named import named
from uncollapse.training.recipe import Recipe
from uncollapse.training.run import load_data, load_model, read_summary, read_words

console = Console()


def evaluate(options: Namespace) -> None:
    """Held-out log-likelihood with its standard error, ELBO and diagnosis; by annealed chains where asked for."""
    model, data = _opened(options)
    settle(options, model)
    if options.annealed:
        _print(options, by_chains(options, model, data))
        return
    if kind_of(model).measured_by != "likelihood":
        sampled = options.samples is not None
        _print(options, by_samples(options, model, data) if sampled else _by_draws(options, model, data))
        return
    found = evaluation(model, data, options.split, options.samples, proposal(options), options.examples, options.seed)
    if found.get("remedies"):
        found["remedies"] = _cures(options, model, found)
    if options.draws is not None:
        seen = _by_draws(options, model, data)
        found |= {name: value for name, value in seen.items() if name not in found}
        found |= {"draws_verdict": seen["verdict"], "draws_reason": seen["reason"]}
    _print(options, found)


def diagnose(options: Namespace) -> None:
    """Did it collapse: the verdict, the evidence, and the remedies to try."""
    model, data = _opened(options)
    noise.seed_step(0, 1)
    source = data.split(options.split)
    if kind_of(model).measured_by != "likelihood":
        _print(options, _by_draws(options, model, data, quick=True))
        return
    x = source.batch(source.some(2000))
    found = diagnosis(model, x, training_rows(data, model.like))
    values = found.as_dict()
    cures = _cures(options, model, values) if found.remedies else []
    if options.json:
        print(json.dumps(plain(values | {"remedies": cures}), indent=2))
    else:
        print(_printable("\n".join([str(replace(found, remedies=[])), *(f"{'try':<20} {command}" for command in cures)])))


def sample(options: Namespace) -> None:
    """Draw from the model."""
    model = _model(options)
    aggregate = getattr(model, "aggregate", None)
    if options.source == "mixture" and aggregate is None:
        raise ValueError(f"{options.run} has no mixture fitted to its aggregated posterior; write --source prior")
    conditions, columns = _conditions(options, model)
    n = options.n if conditions is None else len(conditions)
    check_room(4 * n * width(model), f"--n {options.n}")
    noise.seed_step(options.seed, 0)
    source = aggregate() if options.source == "mixture" and aggregate is not None else None
    if conditions is None and model.condition_examples is not None:
        print(f"conditions: drawn from {len(model.condition_examples)} of the training data's; --condition C states one")
    _save(options, model.sample(n, source, options.mean, conditions), columns)


def _conditions(options: Namespace, model: LatentVariableModel) -> tuple[torch.Tensor | None, int | None]:
    """The condition of each draw that --condition states, None where it is not given, and how many stand in a row.

    Raises:
        ValueError: If the model takes none, or another kind.
    """
    if options.condition is None:
        return None, None
    if model.condition is None:
        raise ValueError(f"{options.run} was trained without a condition; leave --condition out")
    classes = model.condition.space.size
    if model.condition.space.kind != "label" or classes is None:
        raise ValueError(f"--condition states a class, {options.run} is conditioned on {model.condition.space}; leave it out")
    if options.condition == "all":
        return torch.arange(classes).repeat_interleave(options.n), options.n
    if not options.condition.isdecimal() or int(options.condition) >= classes:
        raise ValueError(f"expected a class from 0 to {classes - 1}, or all, as --condition, got {options.condition}")
    return torch.full((options.n,), int(options.condition)), None


def encode(options: Namespace) -> None:
    """The posterior means of a split, of the latents that the encoder infers."""
    model, data = _opened(options)
    source, code = data.split(options.split), _code(options, model)
    _save(options, torch.cat([model.encode(batch)[:, :code] for batch in source.batches(1000)]))


def _code(options: Namespace, model: LatentVariableModel) -> int | None:
    """How many latents the encoder infers, the first ones (InfoGAN); None: all."""
    if kind_of(model).measured_by != "draws" or model.posterior is None:
        return None
    return getattr(load_game(options.run, model, options.imports), "code", None)


def _check_whole(options: Namespace, model: LatentVariableModel) -> None:
    """Refuse to rebuild observations by an encoder that infers a part of the latent.

    Raises:
        ValueError: If it does.
    """
    code = _code(options, model)
    if code is not None and code < model.prior.features:
        raise ValueError(
            f"expected an encoder of all {model.prior.features} latents, {options.run} has one of the first {code} alone "
            f"(InfoGAN); encode gives those, and with ALI or VEEGAN as --objective all are inferred"
        )


def reconstruct(options: Namespace) -> None:
    """Observations and, below each, its reconstruction."""
    model, data = _opened(options)
    _check_whole(options, model)
    source = data.split(options.split)
    batch = source.batch(torch.arange(min(options.n, len(source))))
    x = batch.x
    pairs = torch.stack((x, model.reconstruct(batch)), 0 if options.out.suffix == ".png" else 1)
    _save(options, pairs.flatten(0, 1) if options.out.suffix == ".png" else pairs, columns=len(x))


def interpolate(options: Namespace) -> None:
    """The straight path between the codes of two observations, decoded."""
    model, data = _opened(options)
    _check_whole(options, model)
    source = data.split(options.split)
    for number in options.between:
        if not 0 <= number < len(source):
            raise ValueError(f"expected numbers of observations from 0 to {len(source) - 1}, came {number}")
    check_room(4 * options.steps * width(model), f"--steps {options.steps}")
    ends = source.batch(torch.tensor(options.between))
    a, b = ends.rows(slice(1)), ends.rows(slice(1, 2))
    _save(options, model.interpolate(a, b, options.steps).squeeze(1), columns=options.steps)


def compare(options: Namespace) -> None:
    """Runs side by side."""
    summaries = {str(run): read_summary(run) for run in options.runs}
    print(json.dumps(summaries, indent=2)) if options.json else console.print(side_by_side(summaries))


def report(options: Namespace) -> None:
    """Write the report of a run anew."""
    print(f"report: {printable(str(write_run(options.run, _model(options))))}")


def recipes(options: Namespace) -> None:
    """What recipes there are."""
    _list(options, named("recipes"))


def data(options: Namespace) -> None:
    """What data sets there are."""
    _list(options, data_names())


def _cures(options: Namespace, model: LatentVariableModel, seen: dict[str, Any]) -> list[str]:
    """What to try, as commands that train the run's recipe otherwise."""
    file = options.run / "config.yaml"
    recipe = Recipe.read(str(file), parts=options.imports)
    return remedies(recipe.procedure(model), str(file), seen, recipe.last.training, recipe.last_stage)


def _by_draws(options: Namespace, model: LatentVariableModel, data: Data, quick: bool = False) -> dict[str, Any]:
    """What can be said of a model by its draws, and the remedies for the recipe that it was trained with."""
    trained = load_game(options.run, model, options.imports)
    game = None if options.data else trained  # on other data its critic is no evidence
    lines = [] if options.data else read_metrics(options.run / "metrics.jsonl")
    looks = [line for line in lines if line.get("kind") == "valid"]
    if quick:
        found = evaluate_samples(model, data, options.split, looks=looks, quick=True, game=game)
    else:
        extractor = extractor_of(options.features).to(model.like.device)
        sizes = (options.draws or DRAWN, extractor, options.seed, looks)
        found = evaluate_samples(model, data, options.split, *sizes, game=game, code=getattr(trained, "code", None))
    return found if kind_of(model).measured_by == "likelihood" else found | {"remedies": _cures(options, model, found)}


def _model(options: Namespace) -> LatentVariableModel:
    """The model of a run on the device that was asked for."""
    return load_model(options.run, options.imports).to(place(options.device))


def _opened(options: Namespace) -> tuple[Any, Data]:
    """The model of a run, and its data or other data, which must fit it; settles which split is meant, and the noise of it."""
    model = _model(options)
    like = model.like
    room = model.likelihood.shape.numel() - 1
    found = load_data(options.run, options.data, room).to(like.device, like.dtype)
    admit(model, found)
    options.split = options.split or ("all" if options.data and found.own == ("train",) else options.held_out)
    noise.seed_step(0, 0)
    return model, found


def _save(options: Namespace, x: Tensor, columns: int | None = None) -> None:
    save_samples(options.out, x, columns, read_words(options.run))
    print(f"wrote {printable(str(options.out))}: {tuple(x.shape)}")


def _print(options: Namespace, found: dict[str, Any]) -> None:
    print(json.dumps(plain(found), indent=2)) if options.json else show(console, found)


def _printable(text: str) -> str:
    """Several lines, each as a terminal may show it."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _list(options: Namespace, names: dict[str, str]) -> None:
    if options.json:
        print(json.dumps(names, indent=2))
        return
    for name, line in names.items():
        print(f"{name:18} {line}")
