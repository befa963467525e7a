"""Text from data, recipes and folders within Markdown: shown as it is, whatever stands in it."""

import re

SIGNS = re.compile(r"([\\`*_{}\[\]#|~$!])")
"""What Markdown reads as markup."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
"""Control characters, ends of lines, changes of direction, and halves of characters."""

TAGS = re.compile(r"<(?! )|(?<! )>|&(?=[#\w])")
"""What begins or ends a tag of HTML, or a character by its name; signs between blanks are neither."""

HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escaped(text: object) -> str:
    r"""Text in a line or a cell of a table.

    Example:
        >>> print(escaped("a | <b> [c](d)"))
        a \| &lt;b&gt; \[c\](d)
    """
    line = CONTROL.sub(" ", str(text))
    return TAGS.sub(lambda found: HTML[found[0]], SIGNS.sub(r"\\\1", line))


def code(text: object, cell: bool = False) -> str:
    """Text as code in a line, between as many backticks as it takes.

    Args:
        text: The text.
        cell: Whether it stands in a table, where | ends a cell even within code.

    Example:
        >>> print(code("--out x"), code("a`b"))
        `--out x` ``a`b``
    """
    line = CONTROL.sub(" ", str(text)).strip() or " "
    line = line.replace("|", "\\|") if cell else line
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    blank = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{blank}{line}{blank}{ticks}"


def block(text: str, language: str = "") -> str:
    """Lines of code, behind a fence that none of them closes.

    Example:
        >>> print(block("a = 1", "python"))
        ```python
        a = 1
        ```
    """
    lines = "\n".join(CONTROL.sub(" ", line) for line in text.split("\n"))
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", lines)), default=0))
    return f"{fence}{language}\n{lines}\n{fence}"
