"""The command line: one verb a module function, imported when it is called, so that --help answers at once."""

import re
import sys
from contextlib import suppress
from itertools import pairwise

from uncollapse.cli.arguments import VERBS, check_out, parse
from uncollapse.launch import launch

LONGEST = 1000
"""Characters of a line that says what went wrong: what was given may be long."""


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns its exit status: 0, 1 for a run that went wrong, 2 for what was asked wrongly, 130 for Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    verb, options = parse(argv)
    if verb is None:
        return 0 if options is None else 2
    return _carried_out(verb, options, argv)


def _carried_out(verb: str, options: object, argv: list[str]) -> int:
    """Call the verb's function; what users can mend comes out as one line."""
    import importlib

    module, function = VERBS[verb].function.rsplit(".", 1)
    try:
        if not _has_part(verb):
            return 0
        check_out(getattr(options, "out", None))
        called = getattr(importlib.import_module(module), function)
        from uncollapse.sizes import bounded

        with bounded():
            return int(called(options) or 0)
    except KeyboardInterrupt:
        print("" if _follows() else "stopped\n", end="", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except (ValueError, OSError) as error:
        return _complain(error, 2)
    except (RuntimeError, MemoryError) as error:
        from uncollapse.sizes import short_of_memory
        from uncollapse.training import CheckpointError, PartnerError, TrainingError

        if isinstance(error, (CheckpointError, PartnerError, TrainingError)):
            return _complain(error, 1, by_all=isinstance(error, PartnerError))
        if short_of_memory(error):
            return _complain(ValueError(_short_of_memory(error, argv)), 2)
        raise


def _short_of_memory(error: Exception, argv: list[str]) -> str:
    """How much more was asked for, and the largest number among the options.

    Example:
        >>> print(_short_of_memory(MemoryError(), ["train", "--objective.k", "1000000000", "--steps", "9"]))
        not enough memory; use smaller numbers: --objective.k 1000000000 is the largest
    """
    found = re.search(r"tried to allocate ([\d.]+ ?\w+)", str(error))
    bytes_ = found[1].removesuffix(" bytes") if found else ""
    more = f" for {int(bytes_) / 2**30:,.1f} GiB more" if bytes_.isdigit() else f" for {bytes_} more" if bytes_ else ""
    words = [word for text in argv for word in text.split("=", 1)]
    pairs = [(int(value), f"{name} {value}") for name, value in pairwise(words) if value.isdecimal() and len(value) < 100]
    hint = f": {max(pairs)[1]} is the largest" if pairs else ""
    return f"not enough memory{more}; use smaller numbers{hint}"


def _has_part(verb: str) -> bool:
    """Whether this process of several has a part in it: they share a training; all else the first one does alone.

    Raises:
        ValueError: If what a launcher told makes no sense, or of a bench.
    """
    here = launch()
    if verb == "bench" and here.world > 1:
        raise ValueError(
            f"bench trains its rows in one process, came {here.world}; write uncollapse bench without torchrun, several times "
            "with other --only to share out the rows"
        )
    return here.first or verb == "train"


def _complain(error: Exception, status: int, by_all: bool = False) -> int:
    """Say what went wrong, of several processes that stumble over the same the first one of each machine, or all of them."""
    from uncollapse.cli.printable import printable

    if not by_all and _follows():
        return status
    text = str(error)
    if isinstance(error, OSError) and error.strerror is not None:
        text = error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    line = printable(" ".join(text.split()))
    print("error: " + (line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."), file=sys.stderr)
    return status


def _follows() -> bool:
    """Whether another process of this machine speaks for this one."""
    with suppress(ValueError):
        return launch().local_rank > 0
    return False
