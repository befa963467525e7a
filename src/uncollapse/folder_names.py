"""Names from files and options that become names of folders: one level, within the folder that they are meant for."""

import re
from collections.abc import Iterable

LONGEST = 150
"""Bytes of a name: what is written beside a folder under its name has some more, and file systems end at 255."""

NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f-\x9f/\\:\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What separates folders or drives somewhere, ends a line, turns its direction round, or is no character."""


def check_folder_name(name: str, what: str, taken: Iterable[str] = ()) -> None:
    """Refuse a name that would lead out of a folder, or cannot stand in it.

    Args:
        name: The name.
        what: What has it, for the error.
        taken: Names of files that stand in the same folder.

    Raises:
        ValueError: If it is empty, too long, begins with a dot, ends in a dot or blank, holds a separator of folders or
            drives or a control character, or is taken.

    Example:
        >>> check_folder_name("free bits", "row")
        >>> check_folder_name("../../x", "row")
        Traceback (most recent call last):
        ValueError: expected a plain name for the row, got '../../x': its folder has that name; use letters, digits and blanks
    """
    ends = name.startswith((".", " ")) or name.endswith((".", " "))
    if not name or ends or NOT_IN_NAMES.search(name) or len(name.encode()) > LONGEST or name in taken:
        shown = name if len(name) < 60 else name[:60] + "..."
        raise ValueError(
            f"expected a plain name for the {what}, got {shown!r}: its folder has that name; use letters, digits and blanks"
        )
