"""The report of a run: one HTML file that needs nothing beside it."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup
from torch import Tensor

from uncollapse.atomic_write import write_text
from uncollapse.data import Batch
from uncollapse.distributions import LatentVariableModel
from uncollapse.evaluation.metric_catalog import verdict_style
from uncollapse.evaluation.numbers import Summary, checked_summary, facts, meaning, measures
from uncollapse.plain_files import read_json, read_text
from uncollapse.report.curves import by_kind
from uncollapse.report.sections import Evidence, Item, sections
from uncollapse.report.style import NotDrawn, svg
from uncollapse.training.documents import check
from uncollapse.training.log import check_log, read_lines
from uncollapse.training.run import read_words

MOST = 20_000
"""Lines of the log that figures are drawn of, about; of more, some are left out."""

UNKNOWN = "This run holds no diagnosis: its model has no posterior, or it was not diagnosed."


def write_report(run: Path, model: LatentVariableModel | None, x: Tensor | Batch | None, labels: Tensor | None) -> Path:
    """Write report.html into a run folder, from metrics.jsonl, summary.json, config.yaml and the model, each if it is there.

    Args:
        run: The run folder.
        model: The trained model; None leaves out the figures that need one.
        x: Held-out observations [N, *shape]; None leaves out the figures that need them. 2000 at most are looked at.
        labels: Their labels [N], for the colours of the map.

    Returns:
        The path of the page.

    Raises:
        CheckpointError: If one of these files was altered since it was written.
    """
    run = Path(run)
    check(run)
    rows = read_metrics(run / "metrics.jsonl")
    train, valid = by_kind(rows)
    told = _told(run, valid)
    evidence = Evidence(train, valid, model, x, labels, read_words(run))
    config = run / "config.yaml"
    text = template("run.html").render(
        name=run.resolve().name,
        sections={heading: [_drawn(item, evidence) for item in items] for heading, items in sections(model).items()},
        config=read_text(config) if config.exists() else "",
        **told,
    )
    page = run / "report.html"
    write_text(page, text, run)
    return page


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, of very many some; a last line that was cut off by the end of the process is left out.

    Example:
        >>> read_metrics(Path("no such file"))
        []

    Raises:
        CheckpointError: If lines were altered since they were written.
        ValueError: If a line is damaged.
    """
    if not path.exists():
        return []
    check_log(path)
    return read_lines(path, MOST)


def _told(run: Path, valid: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page says in words and numbers, from summary.json; before there is one, from the last validation."""
    path = run / "summary.json"
    summary: Summary = checked_summary(read_json(path), path) if path.exists() else {}
    summary = summary or {"split": "valid", **(checked_summary(valid[-1], run / "metrics.jsonl") if valid else {})}
    summary.setdefault("verdict", valid[-1].get("verdict") if valid else None)
    verdict = str(summary["verdict"])
    tone, sign = verdict_style(verdict)
    return {
        "tone": tone.name,
        "sign": sign,
        "headline": verdict.capitalize() if meaning(summary) else "No verdict",
        "meaning": f"{meaning(summary)}." if meaning(summary) else UNKNOWN,
        "reason": summary.get("reason", ""),
        "remedies": [split_remedy(remedy) for remedy in summary.get("remedies") or []],
        "measures": measures(summary),
        "facts": facts(summary),
        "subtitle": " · ".join(str(summary[name]) for name in ("recipe", "data") if summary.get(name)),
        "version": summary.get("version", ""),
    }


def split_remedy(remedy: str) -> tuple[str, str]:
    """A remedy's command and what it does, which two spaces or more keep apart.

    Example:
        >>> split_remedy("uncollapse train vae --objective.beta 0.5     weigh the KL less")
        ('uncollapse train vae --objective.beta 0.5', 'weigh the KL less')
    """
    command, _, why = remedy.partition("  ")
    return command.strip(), why.strip()


def _drawn(item: Item, evidence: Evidence) -> dict[str, Any]:
    """A figure for the template: its picture and caption, or the line that stands in its place."""
    shown: dict[str, Any] = {"name": item.name, "title": item.title, "picture": None}
    try:
        picture = svg(item.draw(evidence), item.name)
    except NotDrawn as reason:
        return {**shown, "caption": str(reason)}
    return {**shown, "picture": Markup(picture), "caption": item.caption(evidence.kind)}


@cache
def template(name: str) -> Template:
    """A page of this folder to be filled in; what is missing in what it is given is an error, and all of it is escaped."""
    loader = FunctionLoader(lambda name: files("uncollapse.report").joinpath(name).read_text(encoding="utf-8"))
    settings: dict[str, Any] = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    return Environment(loader=loader, **settings).get_template(name)
