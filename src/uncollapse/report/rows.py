"""The rows of a bench in text: cells, what the rows of a table have in common, and all of it in Markdown."""

import shlex
from collections.abc import Collection, Iterable
from typing import Any

from uncollapse.evaluation.metric_catalog import CATALOG
from uncollapse.evaluation.numbers import unit
from uncollapse.report.markdown import code, escaped
from uncollapse.training.bench import Bench, Found
from uncollapse.training.named import named

HEADS = {"difference": "to the first row", "verdict": "verdict"}
"""The heads of what is no metric."""

COLUMNS = (
    "nll",
    "difference",
    "elbo",
    "kl",
    "mutual_information",
    "decoder_gain",
    "active_units",
    "fid",
    "seconds",
    "verdict",
)
"""What a table of VAEs states of each row; nats, but for active units, FID and seconds."""

GAME_COLUMNS = (
    "modes",
    "high_quality",
    "reverse_kl",
    "coverage",
    "precision",
    "energy_coefficient",
    "fid",
    "seconds",
    "verdict",
)
"""The same of implicit models; shares, but for modes, nats of reverse KL, FID and seconds."""

LEGEND = (
    "Nats, mean ± standard error over the test observations. *To the first row*: nll less that of the first row, paired: its "
    "error is that of the differences of each observation. Below zero is better. *Gain by z*: log p(x|z) less that with the "
    "code of another observation. *FID*: of draws and as many test observations."
)
GAME_LEGEND = (
    "*In modes*: share of draws within 3 standard deviations of a known mode. *Reverse KL*: of draws over known modes, nats. "
    "*Coverage*: share of test observations with a draw near, 0.97 between equal distributions; *precision*: share of draws "
    "near an observation. *FID*: of draws and as many test observations."
)


def of_games(rows: dict[str, Found]) -> bool:
    """Whether the rows of a table are implicit models."""
    return any("coverage" in found or "not_finite" in found for found in rows.values())


def columns(rows: dict[str, Found]) -> dict[str, str]:
    """What a table states of its rows: name in summary.json, and what it is called there.

    Example:
        >>> list(columns({"plain": {"coverage": 0.5}}))[0], list(columns({"baseline": {"nll": 80.0}}))[0]
        ('modes', 'nll')
    """
    drawn = of_games(rows) or any("fid" in found for found in rows.values())
    names = GAME_COLUMNS if of_games(rows) else COLUMNS
    return {name: HEADS.get(name) or CATALOG[name].short for name in names if drawn or name != "fid"}


def legend(rows: dict[str, Found]) -> str:
    """How to read a table."""
    return GAME_LEGEND if of_games(rows) else LEGEND


def markdown(bench: Bench, found: dict[str, dict[str, Found]]) -> str:
    """The tables of a bench in Markdown, each with what it was asked for and the command that does it again.

    Args:
        bench: The tables.
        found: Their rows, as `results` gives them; a row that is not there is not done yet.

    Example:
        >>> from uncollapse.training.bench import Table
        >>> bench = Bench("small", {"digits": Table("vae", {"baseline": [], "wrong": ["--data", "nothing"]})})
        >>> done = {"nll": 80.0, "nll_standard_error": 0.25, "kl": 0.1, "verdict": "collapsed"}
        >>> text = markdown(bench, {"digits": {"baseline": done, "wrong": {"error": "no such data"}}})
        >>> print(text.partition("| row ")[2])
        | nll | to the first row | ELBO | KL | I(x;z) | gain by z | active units | seconds | verdict | options |
        |---|---|---|---|---|---|---|---|---|---|---|
        | baseline | 80.00 ± 0.25 |  |  | 0.10 |  |  |  |  | collapsed |  |
        | wrong | failed: no such data |  |  |  |  |  |  |  |  | `--data nothing` |
    """
    parts = [f"# {escaped(bench.name)}"]
    for title, rows in found.items():
        heads = columns(rows)
        parts += [f"## {escaped(title)}", legend(rows), "\n".join(f"- {_inline(line)}" for line in terms(bench, title, rows))]
        lines = [f"| row | {' | '.join([*heads.values(), 'options'])} |", "|---" * (len(heads) + 2) + "|"]
        for row, numbers in rows.items():
            own = shlex.join(bench.tables[title].rows[row])
            told = [escaped(row), *map(escaped, cells(numbers, heads)), code(own, cell=True) if own else ""]
            lines.append(f"| {' | '.join(told)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _inline(line: list[str]) -> str:
    """Words and code in turn, in Markdown."""
    return "".join(code(part) if i % 2 else escaped(part) for i, part in enumerate(line))


def terms(bench: Bench, title: str, rows: dict[str, Found]) -> list[list[str]]:
    """What the rows of a table have in common: the command that does them again, recipe, steps, seed and measurement.

    Returns:
        Lines, each of words and code in turn, words first.

    Example:
        >>> from uncollapse.training.bench import Table
        >>> bench = Bench("small", {"digits": Table("vae", {"baseline": []})})
        >>> asked = {"recipe": "vae", "options": "--steps 9", "own": "", "samples": 100, "examples": None}
        >>> for line in terms(bench, "digits", {"baseline": {"asked": asked, "steps": 9, "seed": 0, "n_examples": 179}}):
        ...     print(line)
        ['', 'uncollapse bench small.yaml --table digits --steps 9 --samples 100']
        ['recipe ', 'vae', ': A VAE on handwritten digits, 8 x 8: seconds on a laptop (Kingma and Welling, 2014)']
        ['9 steps, seed 0, 179 test observations, 100 importance samples each']
    """
    table, all_found = bench.tables[title], list(rows.values())
    asked: dict[str, Any] = next((found["asked"] for found in all_found if "asked" in found), {})
    name = bench.name if bench.name in named("benches") else f"{bench.name}.yaml"
    command = ["uncollapse bench", shlex.quote(name), "--table", shlex.quote(title), str(asked.get("options", ""))]
    command += [f"--samples {asked['samples']}"] if asked.get("samples") else []
    command += [f"--examples {asked['examples']}"] if asked.get("examples") else []
    command += [f"--draws {asked['draws']}"] if asked.get("draws", table.draws) != table.draws else []
    command += [f"--fid-features {asked['features']}"] if asked.get("features", table.features) != table.features else []
    about = named("recipes").get(table.recipe)
    facts = [
        _span(all_found, "steps", "{} steps"),
        _span(all_found, "seed", "seed {}"),
        _span(all_found, "n_examples", "{} test observations"),
        _span(all_found, "n_samples", "{} draws each"),
        next((f"FID over {found['features']}" for found in all_found if "features" in found), ""),
        f"{asked['samples']} importance samples each" if asked.get("samples") and not of_games(rows) else "",
    ]
    recipe = ["recipe ", table.recipe, *([f": {about}"] if about else [])]
    return [["", " ".join(filter(None, command))], recipe, [", ".join(filter(None, facts))]]


def _span(rows: Iterable[Found], name: str, words: str) -> str:
    """What the rows have of a number, in words: one value, or the smallest and the largest."""
    values = sorted({found[name] for found in rows if found.get(name) is not None})
    shown = [str(value) if name == "seed" else f"{value:,}" for value in values[:1] + values[1:][-1:]]
    return words.format(" to ".join(shown)) if shown else ""


def cells(found: Found, columns: Collection[str] = COLUMNS) -> list[str]:
    """A row as text, one cell a column; of one that failed, its error in the first.

    Example:
        >>> cells({"nll": 23.04, "nll_standard_error": 0.25, "difference": -0.2, "active_units": 7, "latent_units": 8})[:2]
        ['23.04 ± 0.25', '-0.20']
    """
    if "error" in found:
        return ["failed: " + found["error"], *[""] * (len(columns) - 1)]
    return [_cell(name, found) for name in columns]


def _cell(name: str, found: Found) -> str:
    value, error = found.get(name), found.get(f"{name}_standard_error")
    if value is None or isinstance(value, str):
        return value or ""
    if name in CATALOG and CATALOG[name].out_of:
        return f"{value} {unit(name, found)}" if found.get(CATALOG[name].out_of) is not None else str(value)
    match name:
        case "reverse_kl" | "energy_coefficient" | "high_quality":
            return f"{value:.3f}"
        case "seconds":
            return f"{value:.1f}"
    sign = "+" if name == "difference" else ""
    return f"{value:{sign}.2f}" + (f" ± {error:.2f}" if error is not None else "")
