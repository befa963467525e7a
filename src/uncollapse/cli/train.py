"""The verb `train`."""

import json
import shlex
from argparse import Namespace
from pathlib import Path
from typing import Any

from rich.console import Console

from uncollapse.cli.progress import Progress
from uncollapse.cli.tables import numbers, seeds_table
from uncollapse.report import write_model_card, write_report
from uncollapse.training import Fitted, Recipe
from uncollapse.training import train as carry_out
from uncollapse.training.checkpoint import write
from uncollapse.training.log import plain
from uncollapse.training.recipe import parser
from uncollapse.training.run import load_data, new_folder, read_config
from uncollapse.vae import VAE

console = Console(stderr=True)


def train(options: Namespace) -> int:
    """Train once, or with several seeds; print the verdict and where the report is."""
    if options.options:
        print(parser().format_help())
        return 0
    if options.seeds > 1:
        return _with_seeds(options)
    recipe, out = _recipe(options, options.parts)
    status, summary = _once(recipe, out, options)
    if options.json and summary:
        print(json.dumps(plain({"run": str(out), **summary})))
    return status


def _recipe(options: Namespace, parts: list[str]) -> tuple[Recipe, Path]:
    """What to train, and where: a resumed run's own configuration, with what was asked beside it."""
    name = options.recipe or "vae"
    if not options.resume:
        recipe = Recipe.read(name, parts)
        return recipe, options.out or new_folder(recipe.name)
    out = options.out or Path("runs") / Path(name).stem
    read_config(out)
    return Recipe.read(str(out / "config.yaml"), parts), out


def _once(recipe: Recipe, out: Path, options: Namespace) -> tuple[int, dict[str, Any]]:
    """One training, its report, and what to say of it."""
    with Progress(console, recipe.training.steps, recipe.name) as progress:
        fitted, summary = carry_out(recipe, out, options.resume, [progress])
    if fitted.signal is not None:
        console.print(
            f"stopped by signal {fitted.signal} after step {fitted.step}, all saved; go on with\n  "
            f"uncollapse train --resume --out {shlex.quote(str(out))}",
            highlight=False,
        )
        return 128 + fitted.signal, {}
    if summary:
        _show(fitted, out, summary, options)
    return 0, summary


def _show(fitted: Fitted, out: Path, summary: dict[str, Any], options: Namespace) -> None:
    write_model_card(out, summary, read_config(out))
    console.print(numbers(summary))
    if not options.no_report and isinstance(fitted.model, VAE):
        print(f"report: {report(out, fitted.model)}")
    else:
        print(f"run: {out}")


def report(out: Path, model: VAE) -> Path:
    """Write the report of a run on some of the test split."""
    source = load_data(out).test
    like = next(model.parameters())
    index = source.some(2000)
    labels = None if source.labels is None else source.labels[index]
    return write_report(out, model, source.to(like.device, like.dtype).batch(index), labels)


def _with_seeds(options: Namespace) -> int:
    """Train with several seeds in one folder, and give mean and standard error of every number."""
    first, folder = _recipe(options, options.parts)
    summaries = []
    for seed in range(first.training.seed, first.training.seed + options.seeds):
        recipe, _ = _recipe(options, [*options.parts, "--seed", str(seed)])
        status, summary = _once(recipe, folder / f"seed-{seed}", options)
        if status:
            return status
        summaries.append(summary)
    table, values = seeds_table(summaries)
    write(folder / "summary.json", json.dumps(plain(values), indent=2))
    print(json.dumps(plain(values))) if options.json else console.print(table)
    return 0
