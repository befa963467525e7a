"""Names from data, recipes and folders in Markdown and on a terminal: shown as text, whatever they hold."""

import io
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from uncollapse.cli.printable import marked, printable
from uncollapse.cli.tables import rows_table, show, side_by_side
from uncollapse.report import comparisons
from uncollapse.report.card import write_model_card
from uncollapse.report.markdown import block, code, escaped
from uncollapse.report.rows import markdown
from uncollapse.report.style import svg
from uncollapse.training.bench import Bench, Table

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "a | b",
    "[x](javascript:alert(1))",
    "![x](http://e.com/i.png)",
    "`code` ``` fence",
    "*bold* _it_ ~~gone~~",
    "back\\slash \\| \\`",
    "&lt;b&gt; &#60;",
    "# head",
    "-->",
]
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def inline(text: str) -> list[tuple[str, str]]:
    """What Markdown reads in a line: kind and content of each piece, neighbours of one kind joined."""
    found: list[tuple[str, str]] = []
    for token in READER.parseInline(text)[0].children or []:
        kind = "text" if token.type == "text_special" else token.type
        if found and found[-1][0] == kind == "text":
            found[-1] = (kind, found[-1][1] + token.content)
        elif kind != "text" or token.content:
            found.append((kind, token.content))
    return found


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_read_as_itself(text: str) -> None:
    assert inline(escaped(text)) == [("text", text)]
    assert inline(code(text)) == [("code_inline", text.strip())]
    tokens = READER.parse(block(text + "\n```\n<b>", "yaml"))
    assert [(token.type, token.content) for token in tokens] == [("fence", text + "\n```\n<b>\n")]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_of_a_table_is_read_as_itself(text: str) -> None:
    tokens = READER.parse(f"| a | b |\n|---|---|\n| {escaped(text)} | {code(text, cell=True)} |")
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4 and inline(cells[2].content)[0][0] == "text"
    assert cells[3].children[0].type == "code_inline"


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31mb", "a\u2028b", "a\u202eb", "a\x00b", "a\ud800b"])
def test_control_characters_stay_in_their_line(text: str) -> None:
    assert {escaped(text).replace("\\", ""), code(text).strip("`")} <= {"a b", "a [31mb"}
    assert printable(text).isprintable() and printable(text)[0] == "a" and printable(text)[-1] == "b"


def structure(page: str) -> list[str]:
    """What Markdown reads in a page, without its words: headings, lists, tables, emphasis, code and links."""
    tokens = [inner for token in READER.parse(page) for inner in (token, *(token.children or []))]
    return [f"{token.type} {token.attrGet('href') or ''}" for token in tokens if not token.type.startswith("text")]


def pages(name: str, folder: Path) -> list[str]:
    """A card and the table of a bench, in which everything that has a name has this one."""
    folder.mkdir()
    summary = dict.fromkeys(("data", "recipe", "verdict", "reason", "split"), name)
    write_model_card(folder, {**summary, "kl": 1.0, "remedies": [name]}, {"data": {"name": name}, "note": "```"})
    bench = Bench(name, {name: Table(name, {name: [name], "wrong": []})})
    found = {name: {name: {"nll": 1.0, "verdict": name}, "wrong": {"error": name}}}
    return [(folder / "README.md").read_text(), markdown(bench, found)]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_card_and_a_table_are_the_same_whatever_the_names(text: str, tmp_path: Path) -> None:
    plain, hostile = pages("plain", tmp_path / "plain"), pages(text, tmp_path / text.replace("/", ""))
    for page, other in zip(plain, hostile, strict=True):
        assert structure(page) == structure(other)


@pytest.mark.parametrize("text", ["[red]cat[/]", "\x1b[2J", "[link=http://e.com]x[/link]", "[/]", "a\nb"])
def test_a_terminal_shows_names_as_they_are(text: str) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=400, color_system=None)
    summary = {
        "verdict": text,
        "reason": text,
        "nll": 1.0,
        "density_of": text,
        "notes": [text],
        "remedies": [f"{text}  {text}"],
    }
    show(console, summary)
    console.print(side_by_side({text: summary}))
    console.print(rows_table(text, {text: {"nll": 1.0, "verdict": text}, "b": {"error": text}}))
    shown = stream.getvalue()
    assert "\x1b[2J" not in shown and "\x1b]8" not in shown
    assert shown.count(printable(text)) >= 9
    assert Console(file=io.StringIO()).render_str(marked(text)).plain == printable(text)


@pytest.mark.parametrize("name", ["$^^$", "$\\bad{$", "a_$b$"])
def test_a_name_in_a_figure_is_no_formula(name: str) -> None:
    """matplotlib refuses formulas that it cannot read, and a page with them."""
    looks = [{"kind": "valid", "step": t, "coverage": 0.5} for t in range(3)]
    assert name in svg(comparisons.shares({name: looks, "other": looks}, "coverage"), "x")
