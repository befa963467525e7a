"""Benches: tables of one model and what is done to it, a row each, at an equal budget of steps."""

import io
import json
import math
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from uncollapse.allowlist import NotAllowedError
from uncollapse.data import Data
from uncollapse.data.files import array
from uncollapse.diagnosis import kind_of
from uncollapse.evaluation import Extractor, evaluate, evaluate_samples, extractor_of, fid_of_draws, with_modes
from uncollapse.evaluation.extractors import EXTRACTORS
from uncollapse.evaluation.numbers import checked_summary
from uncollapse.evaluation.samples import DRAWN
from uncollapse.folder_names import check_folder_name
from uncollapse.own_modules import Named
from uncollapse.plain_files import read_json, read_yaml
from uncollapse.training.checkpoint import CheckpointError
from uncollapse.training.collapse_monitor import remedies
from uncollapse.training.documents import EACH, ROW, check, put
from uncollapse.training.lock import sole_writer
from uncollapse.training.log import Observer, plain
from uncollapse.training.named import located
from uncollapse.training.recipe import Recipe, checked
from uncollapse.training.run import check_resumable, read_config, train
from uncollapse.vae import VAE

Found = dict[str, Any]
"""The numbers of a row by the names of summary.json, or its `error`."""

MOST = 10_000_000
"""Importance samples, or draws, that a table may ask for."""


COUNTED = ("difference", "seconds", "steps", "seed", "n_examples", "n_samples", "modes", "known_modes", "latent_units")
"""Names in row.json that stand for numbers, beside those of summary.json."""


@dataclass(frozen=True)
class Table:
    """A recipe, and rows that change it.

    Args:
        recipe: Name or path of the recipe.
        rows: Options of each row as on the command line; the first row is what the others are held against.
        samples: Importance samples for each test observation.
        draws: Draws that the FID is of; 0: none of a VAE, 2,500 of an implicit model.
        features: What the FID is over: pixels, digits or inception.
    """

    recipe: str
    rows: dict[str, list[str]]
    samples: int = 500
    draws: int = 0
    features: str = "pixels"


@dataclass(frozen=True)
class Bench:
    """Tables by their names.

    Example:
        >>> bench = Bench.read("collapse")
        >>> next(iter(bench.tables["pixelcnn"].rows))
        'baseline'
    """

    name: str
    tables: dict[str, Table]

    @classmethod
    def read(cls, name: str) -> Self:
        """Read a bench by its name, or by the path of a .yaml file.

        Raises:
            ValueError: If there is none of this name, or the file is no bench.
        """
        file = located("bench", "benches", name)
        tables = read_yaml(file).get("tables")
        if not isinstance(tables, dict) or not tables:
            raise ValueError(f"{name} is no bench: expected tables: {{TABLE: {{recipe: NAME, rows: {{ROW: OPTIONS}}}}}}")
        check_folder_name(file.stem, "bench")
        for title in map(str, tables):
            check_folder_name(title, f"table of {name}", ("table.md", "report.html"))
        return cls(file.stem, {str(title): _table(f"table {title} of {name}", told) for title, told in tables.items()})

    def only(self, rows: Iterable[str] = (), tables: Iterable[str] = ()) -> Self:
        """Some of the rows, in the bench's order.

        Args:
            rows: Their names, or TABLE/ROW for that of one table; none: all.
            tables: Names of tables; none: all.

        Raises:
            ValueError: If it has no row or table of that name.

        Example:
            >>> bench = Bench("small", {"a": Table("vae", {"x": [], "y": []}), "b": Table("vae", {"x": []})})
            >>> [f"{title}/{row}" for title, table in bench.only(["a/y", "x"]).tables.items() for row in table.rows]
            ['a/x', 'a/y', 'b/x']
        """
        chosen, wanted = list(tables), list(rows)
        for title in chosen:
            if title not in self.tables:
                raise ValueError(f"{self.name} has no table {title!r}; there are {', '.join(self.tables)}")
        names = [f"{title}/{row}" for title in chosen or self.tables for row in self.tables[title].rows]
        for row in wanted:
            if row not in names and not any(name.endswith(f"/{row}") for name in names):
                raise ValueError(f"{self.name} has no row {row!r}; there are {', '.join(names)}")
        kept: dict[str, Table] = {}
        for title in chosen or self.tables:
            table = self.tables[title]
            some = {row: o for row, o in table.rows.items() if not wanted or {row, f"{title}/{row}"} & {*wanted}}
            kept |= {title: replace(table, rows=some)} if some else {}
        return type(self)(self.name, kept)


def _table(what: str, told: Any) -> Table:
    """A table as YAML tells it.

    Raises:
        ValueError: If it is none: it lacks its recipe or rows, or a value is of another kind.
    """
    if not isinstance(told, dict) or not {"recipe", "rows"} <= told.keys() <= {field.name for field in fields(Table)}:
        raise ValueError(
            f"{what} is none: expected recipe: NAME, rows: {{ROW: OPTIONS}} and, if wanted, samples: NUMBER, draws: NUMBER, "
            "features: NAME"
        )
    if not isinstance(told["rows"], dict) or not told["rows"]:
        raise ValueError(f"{what} has no rows: expected rows: {{ROW: OPTIONS}}, the baseline first, with options or none")
    rows = {str(row): _options(f"row {row!r} of {what}", options) for row, options in told["rows"].items()}
    for row in rows:
        check_folder_name(row, f"row of {what}")
    if not isinstance(told["recipe"], str):
        raise ValueError(f"expected the name of a recipe in {what}, got {told['recipe']!r:.80}")
    for name, least in (("samples", 1), ("draws", 0)):
        value = told.get(name, least)
        if type(value) is not int or not least <= value <= MOST:
            raise ValueError(f"expected {name} of {what} from {least} to {MOST:,}, got {value!r:.80}")
    if (features := told.get("features", "pixels")) not in list(EXTRACTORS):
        raise ValueError(f"expected features of {what} as {', '.join(EXTRACTORS)}, got {features!r:.80}")
    return Table(**{**told, "rows": rows})


def _options(what: str, told: Any) -> list[str]:
    """The options of a row as on the command line.

    Raises:
        ValueError: If they are no text, or a quotation mark in it has no other.
    """
    if told is not None and not isinstance(told, str):
        raise ValueError(f"expected options as text, such as --objective.beta 0.5, for {what}, got {told!r:.80}")
    try:
        return shlex.split(told or "")
    except ValueError as error:
        raise ValueError(f"expected options as on the command line for {what}, got {told!r:.80}: {error}") from error


@dataclass(frozen=True)
class Asked:
    """What a row was asked for: a row that is done stands for this alone.

    Args:
        recipe: Name or path of the recipe.
        options: Of every row, as on the command line.
        own: The row's own, which stand behind those.
        samples: Importance samples for each test observation.
        examples: How many test observations; None: all.
        draws: Draws that the FID is of; 0: none of a VAE.
        features: What the FID is over.
    """

    recipe: str
    options: str
    own: str
    samples: int
    examples: int | None
    draws: int = 0
    features: str = "pixels"

    def check(self, parts: Iterable[Named] = ()) -> None:
        """Refuse a recipe or options that name a class which is not allowed; what else is wrong with them, their row will say.

        Raises:
            NotAllowedError: If they do.
        """
        try:
            checked(located("recipe", "recipes", self.recipe), shlex.split(f"{self.options} {self.own}"), parts)
        except NotAllowedError:
            raise
        except (ValueError, OSError):
            return

    def read(self, parts: Iterable[Named] = ()) -> Recipe:
        """The recipe with all options."""
        return Recipe.read(self.recipe, shlex.split(f"{self.options} {self.own}"), parts)


def carry_out(
    bench: Bench,
    out: Path,
    options: Iterable[str] = (),
    samples: int | None = None,
    examples: int | None = None,
    rows: Iterable[str] = (),
    tables: Iterable[str] = (),
    draws: int | None = None,
    features: str | None = None,
    watching: Callable[[str, str, Recipe], Iterable[Observer]] = lambda title, row, recipe: (),
    parts: Iterable[Named] = (),
) -> Iterator[tuple[str, str, Found]]:
    """Train and evaluate row after row, each in a run folder of its own, OUT/TABLE/ROW; rows that are done are read again.

    So several processes with different rows may fill one folder. A row that cannot be trained stays, with its error.

    Args:
        bench: The tables.
        out: The folder of all run folders.
        options: Of every row, as on the command line, before the row's own.
        samples: Importance samples for each test observation; None: each table's own number.
        examples: How many test observations; None: all.
        rows: Names of the rows to do, or TABLE/ROW; none: all.
        tables: Names of the tables to do; none: all.
        draws: Draws that the FID is of, 0 for none; None: each table's own number.
        features: What it is over; None: each table's own.
        watching: What looks on while a row of a table is trained.
        parts: What holds classes of your own that recipes and rows name: classes, modules, or paths of .py files.

    Yields:
        The name of a table, that of a row, and its numbers, or its `error`.

    Raises:
        ValueError: If there is no such row or table, the folder holds rows that were asked for otherwise, or one names a class
            that is neither the library's nor in `parts`.
        FolderInUse: If something else writes to the folder of a row.
        CheckpointError: If what a row holds was altered since it was written.
    """
    own = {"samples": samples, "draws": draws, "features": features}
    given: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
    bench = replace(bench, tables={title: replace(table, **given) for title, table in bench.tables.items()})
    asked = _asked(bench, shlex.join(options), examples)
    chosen = bench.only(rows, tables)
    for title, row in _places(bench):
        _check_alike(out / title / row, asked[title, row])
    for place in _places(chosen):
        asked[place].check(parts)
    for title, row in _places(chosen):
        folder, what = out / title / row, asked[title, row]
        if not (folder / ROW).exists():
            with sole_writer(folder, out):
                _carry_out_row(what, folder, partial(watching, title, row), parts)
        yield title, row, _done(folder)


def _carry_out_row(
    asked: Asked, folder: Path, watching: Callable[[Recipe], Iterable[Observer]], parts: Iterable[Named]
) -> None:
    """Train and evaluate a row and keep its numbers, or the error that it ended with; none that is done by now."""
    if (folder / ROW).exists():
        return
    if (folder / "metrics.jsonl").exists():
        check_resumable(asked.read(parts), folder)
    each: dict[str, bytes] = {}
    try:
        found, each = _row(asked, folder, watching, parts)
    except (CheckpointError, NotAllowedError):
        raise
    except (ValueError, RuntimeError, OSError) as error:
        found = {"error": " ".join(str(error).split())}
    put(folder, each | {ROW: json.dumps(plain({**found, "asked": asdict(asked)}), indent=2)})


def _asked(bench: Bench, options: str, examples: int | None) -> dict[tuple[str, str], Asked]:
    """What each row is asked for."""
    return {
        (title, row): Asked(table.recipe, options, shlex.join(own), table.samples, examples, table.draws, table.features)
        for title, table in bench.tables.items()
        for row, own in table.rows.items()
    }


def _places(bench: Bench) -> Iterator[tuple[str, str]]:
    """Table and name of each row."""
    return ((title, row) for title, table in bench.tables.items() for row in table.rows)


def _check_alike(folder: Path, asked: Asked) -> None:
    """Refuse a row that was done otherwise than it is asked for now: the rows of a table share all but their own options.

    Raises:
        ValueError: If it was.
    """
    before = _done(folder).get("asked") if (folder / ROW).exists() else asdict(asked)
    for name, now in asdict(asked).items():
        was = None if before is None else before.get(name, getattr(Asked, name, None))  # a row of an earlier version lacks some
        if before is None or was != now:
            was = "otherwise" if before is None else f"with {name} {was!r}"
            raise ValueError(
                f"{folder} was done {was}, came {name} {now!r}; write elsewhere with --out, or take that folder away"
            )


def _done(folder: Path) -> Found:
    check(folder, ROW)
    found = checked_summary(read_json(folder / ROW), folder / ROW)
    if not isinstance(found.get("asked", {}), dict) or not isinstance(found.get("error", ""), str):
        raise ValueError(f"{folder / ROW} is damaged: expected what was asked for, and an error as text; remove it")
    for name, value in found.items():
        counted = name in COUNTED or name.endswith("_standard_error")
        if counted and (isinstance(value, bool) or not isinstance(value, int | float | None)):
            raise ValueError(f"{folder / ROW} is damaged: expected a number as {name}, got {value!r:.80}; remove it")
    return found


def _row(
    asked: Asked, out: Path, watching: Callable[[Recipe], Iterable[Observer]], parts: Iterable[Named] = ()
) -> tuple[Found, dict[str, bytes]]:
    """One row's numbers, and the file of those of each observation, if there are any."""
    recipe = asked.read(parts)
    extractor = _extractor(asked, recipe)
    fitted, _ = train(recipe, out, (out / "metrics.jsonl").exists(), watching(recipe))
    if fitted.signal is not None:
        raise KeyboardInterrupt
    model: Any = fitted.model
    found = _evaluated(model, asked, with_modes(recipe.data()), extractor)
    if found.get("remedies"):
        found["remedies"] = remedies(recipe.procedure(model), str(out / "config.yaml"), found, recipe.training)
    each = {EACH: _npy(found.pop("log_likelihoods"))} if "log_likelihoods" in found else {}
    return {**found, "seconds": round(fitted.seconds, 1), "steps": fitted.step, "seed": recipe.training.seed}, each


def _npy(values: list[float]) -> bytes:
    """The numbers as a .npy file."""
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def _extractor(asked: Asked, recipe: Recipe) -> Extractor:
    """The feature network, tried on observations before anything is trained; of a VAE whose draws nobody asked for, pixels."""
    extractor = extractor_of(asked.features if asked.draws or recipe.learns is not VAE else "pixels")
    try:
        extractor(recipe.data().test.batch(torch.arange(2)).x.float())
    except ValueError as error:
        raise ValueError(f"{error}; of a bench: features: pixels in its file, or --fid-features pixels") from None
    return extractor


def _evaluated(model: Any, asked: Asked, data: Data, extractor: Extractor) -> Found:
    """What is measured of a row's model on the test split: likelihoods of a VAE, draws of an implicit model."""
    extractor = extractor.to(model.like.device)
    measured_by = kind_of(model).measured_by
    if measured_by == "likelihood":
        found = evaluate(model, data, "test", asked.samples, examples=asked.examples, each=True)
        return found | (fid_of_draws(model, data, asked.draws, extractor) if asked.draws else {})
    if measured_by == "draws":
        return evaluate_samples(model, data, draws=asked.examples or asked.draws or DRAWN, extractor=extractor)
    raise ValueError(f"a bench compares models with latent variables, {asked.recipe} trains a {type(model).__name__}")


def results(bench: Bench, out: Path) -> dict[str, dict[str, Found]]:
    """All rows that are done in a folder, whoever did them, by table and name.

    Returns:
        Their numbers, with `difference`, nll less that of the table's first row in nats, and `difference_standard_error`, both
        over the same test observations; without them where the first row is not done or the data are others.
    """
    found: dict[str, dict[str, Found]] = {}
    for title, table in bench.tables.items():
        first = out / title / next(iter(table.rows))
        for row in table.rows:
            folder = out / title / row
            if (folder / ROW).exists():
                found.setdefault(title, {})[row] = _done(folder) | _difference(folder, first)
    return found


def _each(file: Path) -> np.ndarray:
    """The numbers of each test observation, [N] as float64.

    Raises:
        ValueError: If the file holds something else.
    """
    values = array(file)
    if values.dtype != np.float64 or values.ndim != 1 or not len(values):
        kind = f"{values.dtype} of shape {values.shape}"
        raise ValueError(f"expected float64 numbers in {file}, one an observation, got {kind}; take {file.parent} away")
    return np.asarray(values)


def _difference(folder: Path, first: Path) -> dict[str, float]:
    """nll less that of the first row, paired over test observations, and the standard error of that."""
    if folder == first or not all((place / EACH).exists() for place in (folder, first)):
        return {}
    if read_config(folder)["data"] != read_config(first)["data"]:
        return {}
    for place in (first, folder):
        check(place, EACH)
    one, other = (_each(place / EACH) for place in (first, folder))
    if len(one) != len(other):
        raise ValueError(
            f"expected {len(one)} numbers in {folder / EACH}, as many as {first} has, got {len(other)}; take {folder} away"
        )
    if not (np.isfinite(one).all() and np.isfinite(other).all()):  # of a model that gives an observation no density
        return {}
    less = one - other
    error = float(less.std(ddof=1)) / math.sqrt(len(less)) if len(less) > 1 else math.nan
    return plain({"difference": float(less.mean()), "difference_standard_error": error})
