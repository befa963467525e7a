"""Trainings that are killed at an event of the file system, and go on: bit for bit what one leaves that was not."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from fuzz.contained import Ending, contained
from fuzz.run_folders import _left
from fuzz.world import TRAINED, command, wrong

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.truncate")


def killed_at(number: int, argv: list[str]) -> Callable[[], int]:
    """The command line, killed without a word before its n-th change of a file or folder in the current folder."""

    def run() -> int:
        here, seen = os.getcwd(), 0

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            if event not in EVENTS or not _changes(event, arguments, here):
                return
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

        import uncollapse.cli.train  # noqa: F401

        sys.addaudithook(watch)
        status = command(argv)()
        print(f"{seen} events")
        return status

    return run


def _changes(event: str, arguments: tuple[Any, ...], here: str) -> bool:
    """Whether an event changes something below a folder."""
    try:
        path = os.path.abspath(os.fsdecode(arguments[0]))
    except (TypeError, ValueError):
        return False
    if not path.startswith(here + os.sep) or os.path.basename(path) in (".out", ".err"):
        return False
    writing = (
        len(arguments) > 2 and isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    )
    return event != "open" or writing


def cases(world: Path, folder: Path, n: int, seed: int) -> Iterator[tuple[str, dict[str, Any] | None, bool]]:
    """Each case in words, what is wrong with its end, and whether it was carried out."""
    del world
    whole: dict[str, tuple[int, Any, set[str]]] = {}
    for i in range(n):
        chance = Random(f"kill {seed} {i}")
        name = chance.choice(["vae", "vae", "gan"])
        argv = [*TRAINED[name], "--steps", "6", "--batch", "10", "--training.log_every", "1", "--training.validate_every", "2"]
        start = ["train", *argv, "--device", "cpu", "--no-report", "--out", name]
        if name not in whole:
            ending = contained(killed_at(0, start), _empty(folder / "case"))
            events = int(ending.out.split(" events")[0].split()[-1])
            whole[name] = events, _left(ending, folder / "case", name, "resume"), _names(folder / "case")
        events, expected, names = whole[name]
        at = chance.randint(1, events)
        case = _empty(folder / "case")
        contained(killed_at(at, start), case)
        ending = contained(command(["train", "--resume", "--out", name, "--no-report", "--device", "cpu"]), case)
        again = ending.status == 2 and not (case / name / "config.yaml").exists()
        if again:  # nothing had been written that could be gone on with
            ending = contained(command(start), case)
        yield f"{name}, killed before event {at} of {events}", _judged(ending, expected, names, case, name), ending.status == 0


def _judged(ending: Ending, expected: Any, names: set[str], case: Path, name: str) -> dict[str, Any] | None:
    if ending.status:
        return wrong(ending, "did not go on")
    also = None if _left(ending, case, name, "resume") == expected else "other weights or metrics"
    left = _names(case) ^ names
    return wrong(ending, also or (f"files {sorted(left)} differ" if left else None))


def _names(case: Path) -> set[str]:
    """All files of a case."""
    return {str(file.relative_to(case)) for file in case.rglob("*") if file.is_file()}


def _empty(folder: Path) -> Path:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
