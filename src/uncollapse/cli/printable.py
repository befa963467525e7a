"""Text from data, recipes and folders as a terminal may show it: nothing in it moves the cursor or changes a colour."""

import re

from rich.markup import escape

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, ends of lines, changes of direction, and halves of characters."""


def printable(text: str) -> str:
    r"""The text with what is not to be shown written as its code.

    Example:
        >>> print(printable("a\x1b[2Jb"))
        a\x1b[2Jb
    """
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def marked(text: object) -> str:
    r"""The same for rich, to which brackets are colours.

    Example:
        >>> print(marked("[red]cat"))
        \[red]cat
    """
    return escape(printable(str(text)))
