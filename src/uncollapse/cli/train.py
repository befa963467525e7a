"""The verb `train`."""

import json
import shlex
import sys
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from uncollapse.cli.printable import marked, printable
from uncollapse.cli.progress import Progress
from uncollapse.cli.tables import seeds_table, show
from uncollapse.diagnosis import kind_of
from uncollapse.distributions import LatentVariableModel
from uncollapse.launch import launch
from uncollapse.report import write_model_card, write_report
from uncollapse.training import Fitted, Recipe
from uncollapse.training import train as carry_out
from uncollapse.training.checkpoint import write
from uncollapse.training.kept import left
from uncollapse.training.lock import sole_writer
from uncollapse.training.log import plain
from uncollapse.training.machine import place
from uncollapse.training.meeting import from_first, meet
from uncollapse.training.recipe import parser
from uncollapse.training.run import load_data, new_folder, read_config, read_summary

console = Console(stderr=True, quiet=not launch().first)  # of several processes the first one prints


def train(options: Namespace) -> int:
    """Train once, or with several seeds; print the verdict and where the report is."""
    if options.options and not launch().first:
        return 0
    if options.options:
        print(parser().format_help())
        return 0
    if options.seeds > 1:
        return _with_seeds(options)
    recipe, out = _recipe(options)
    try:
        status, summary = _once(recipe, out, options, options.resume)
    finally:
        _discard(out, options)
    if options.json and summary:
        print(json.dumps(plain({"run": str(out), **summary})))
    return status


def _recipe(options: Namespace) -> tuple[Recipe, Path]:
    """What to train, and where: a resumed run's own configuration, with what was asked beside it."""
    name = options.recipe or "vae"
    if not options.resume:
        recipe = Recipe.read(name, options.parts, options.imports)
        meet(place(recipe.machine.device))
        return recipe, options.out or from_first(lambda: new_folder(recipe.name))
    out = options.out or Path("runs") / Path(name).stem
    begun = out if options.seeds == 1 else _first_seed(out)
    read_config(begun, resuming=True)
    return Recipe.read(str(begun / "config.yaml"), options.parts, options.imports), out


def _discard(out: Path, options: Namespace) -> None:
    """Take away the folder that was made for a run that wrote nothing."""
    if options.out is None and not options.resume and launch().first:
        with suppress(OSError):
            out.rmdir()


def _once(recipe: Recipe, out: Path, options: Namespace, resume: bool, sweep: Path | None = None) -> tuple[int, dict[str, Any]]:
    """One training, alone or of a sweep, its report, and what to say of it; nothing else writes to its folder meanwhile."""
    with sole_writer(out, sweep):
        return _carried_out(recipe, out, options, resume)


def _carried_out(recipe: Recipe, out: Path, options: Namespace, resume: bool) -> tuple[int, dict[str, Any]]:
    with Progress(console, recipe.steps, recipe.name) as progress:
        fitted, summary = carry_out(recipe, out, resume, [progress])
    if fitted.signal is not None:
        saved = "all saved" if fitted.saved else f"not saved, a number was not finite: {left(out / 'checkpoints').rstrip('.')}"
        again = f"--seeds {options.seeds} --resume --out {shlex.quote(str(options.out or out.parent))}"
        if options.seeds == 1:
            again = f"--resume --out {shlex.quote(str(out))}"
        again = " ".join([*(f"--import {shlex.quote(file)}" for file in options.imports), again])
        stopped = f"stopped by signal {fitted.signal} after step {fitted.step}, {saved}"
        console.print(f"{stopped}; go on with\n  uncollapse train {marked(again)}", highlight=False)
        return 128 + fitted.signal, {}
    if summary:
        _show(fitted, out, summary, options)
    return 0, summary


def _show(fitted: Fitted, out: Path, summary: dict[str, Any], options: Namespace) -> None:
    write_model_card(out, summary, read_config(out))
    show(console, summary)
    if not options.no_report and kind_of(fitted.model).measured_by:
        print(f"report: {printable(str(report(out, cast(LatentVariableModel, fitted.model))))}", file=sys.stderr)
    else:
        print(f"run: {printable(str(out))}", file=sys.stderr)


def report(out: Path, model: LatentVariableModel) -> Path:
    """Write the report of a run on some of the test split."""
    source = load_data(out).test
    like = model.like
    index = source.some(2000)
    labels = None if source.labels is None else source.labels[index]
    return write_report(out, model, source.to(like.device, like.dtype).batch(index), labels)


def _with_seeds(options: Namespace) -> int:
    """Train with several seeds in one folder, and give mean and standard error of every number.

    A sweep that is resumed takes the seeds that are done as they are, and goes on with the others.
    """
    first, folder = _recipe(options)
    summaries = []
    try:
        for recipe, out, done, begun in [_seed(options, first, folder, i) for i in range(options.seeds)]:
            status, summary = (0, read_summary(out)) if done else _once(recipe, out, options, begun, folder)
            if status:
                return status
            summaries.append(summary)
    finally:
        _discard(folder, options)
    if not launch().first:
        return 0
    table, values = seeds_table(summaries)
    write(folder / "summary.json", json.dumps(plain(values), indent=2))
    print(json.dumps(plain(values))) if options.json else console.print(table)
    return 0


def _seed(options: Namespace, first: Recipe, folder: Path, i: int) -> tuple[Recipe, Path, bool, bool]:
    """One seed of a sweep: its recipe and folder, whether it is done by this very recipe, and whether it was begun."""
    seed = first.training.seed + i
    out = folder / f"seed-{seed}"
    source = str(_first_seed(folder) / "config.yaml") if options.resume else options.recipe or "vae"
    recipe = Recipe.read(source, [*options.parts, "--seed", str(seed)], options.imports)
    begun = options.resume and (out / "config.yaml").exists()
    done = begun and (out / "summary.json").exists()
    done = done and Recipe.read(str(out / "config.yaml"), parts=options.imports).values == recipe.values
    return recipe, out, done, begun


def _first_seed(folder: Path) -> Path:
    """The folder of a sweep's first seed.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = [(int(number), run) for run in folder.glob("seed-*") if (number := run.name[5:]).isdecimal()]
    if not found:
        raise FileNotFoundError(f"{folder} holds no seeds to go on with; leave out --resume, or give the folder of a sweep")
    return min(found)[1]
