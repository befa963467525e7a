"""The command line: one verb a module function, imported when it is called, so that --help answers at once."""

import sys

from uncollapse.cli.arguments import VERBS, parse


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
        return int(getattr(importlib.import_module(module), function)(options) or 0)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except (ValueError, OSError) as error:
        return _complain(error, 2)
    except RuntimeError as error:
        from uncollapse.training import CheckpointError, TrainingError

        if isinstance(error, (CheckpointError, TrainingError)):
            return _complain(error, 1)
        raise


def _complain(error: Exception, status: int) -> int:
    text = str(error)
    if isinstance(error, OSError) and error.strerror is not None:
        text = error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    print("error: " + " ".join(text.split()), file=sys.stderr)
    return status
