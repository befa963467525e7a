"""The verb `judge`: anyone's samples beside real rows."""

import json
import os
import sys
from argparse import Namespace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from uncollapse.cli.printable import marked, printable
from uncollapse.data.rows import Rows, read_rows
from uncollapse.diagnosis.mode_verdict import MEANINGS
from uncollapse.evaluation.judge import JudgedSamples, judged_samples
from uncollapse.evaluation.metric_catalog import verdict_style
from uncollapse.report.judge_page import write_judge_page
from uncollapse.report.judged_words import advice, compared, copy_lines, group_lines, measure_lines
from uncollapse.training.log import plain

WIDE = 160  # columns from which on measures are explained in their line
console, aside = Console(), Console(stderr=True)


def judge(options: Namespace) -> None:
    """Read both samples, judge one beside the other, and print the verdict with all that it rests on."""
    _check_out(options.out)
    with aside.status("reading") as status:
        samples = _read(options)
        status.update("comparing")
        judged = judged_samples(samples, options.features, options.standardize, seed=options.seed)
    for note in judged.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    print(json.dumps(plain(judged.as_dict()), indent=2)) if options.json else _show(judged)
    if options.out is not None:
        print(f"page: {write_judge_page(options.out, judged)}", file=sys.stderr)


def _read(options: Namespace) -> dict[str, Rows]:
    names = {"fakes": options.fakes, "reals": options.against} | ({"train": options.train} if options.train else {})
    return {name: read_rows(where, finite=name != "fakes") for name, where in names.items()}


def _check_out(out: Path | None) -> None:
    """Refuse what no page can be written to before the work is done."""
    if out is None:
        return
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"expected a page that ends in .html, got {out}; write --out {out.with_suffix('.html')}")
    if out.is_dir():
        raise IsADirectoryError(f"expected a page to write, got the folder {out}; write --out {out / 'page.html'}")
    if not all(os.access(place, os.W_OK) for place in (out, out.parent) if place.exists()):
        raise PermissionError(f"expected a place to write a page to, got {out}; write --out with another folder")


def _show(judged: JudgedSamples) -> None:
    verdict, reason = judged.diagnosis.verdict, judged.diagnosis.reason
    _say(f"[bold {verdict_style(verdict).tone.console}]{verdict}[/]: {marked(reason)}")
    _say(f"{MEANINGS[verdict]}\n")
    if judged.diagnosis.measures:
        page = console if console.is_terminal else Console(width=WIDE)
        page.print(_measures(judged, page.width >= WIDE), highlight=False)
        _say("")
    lines = {side: group_lines(judged, side) for side in ("missing", "overdone")} | {"copies": copy_lines(judged)}
    for head, found in lines.items():
        for line in found:
            _say(marked(line if line.startswith(" ") else f"{head}: {line}"))
    for label, value in [*compared(judged), *(("to try", line) for line in advice(judged))]:
        _say(f"{label.lower()}: {marked(value)}")


def _say(line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)


def _measures(judged: JudgedSamples, wide: bool) -> Table:
    """Each measure in a line; where there is no room, without the words of how to read it."""
    table = Table("measure", box=None, pad_edge=False)
    for head in ("value", "other real rows", "sample size"):
        table.add_column(head, justify="right", no_wrap=True)
    if wide:
        table.add_column("how to read it", no_wrap=True)
    for line in measure_lines(judged):
        table.add_row(*map(marked, line if wide else line[:4]))
    return table
