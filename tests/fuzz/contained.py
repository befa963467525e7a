"""One case in a process of its own, with limits: how it ended, and whether that is well."""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CPU_SECONDS = 10  # of a training, an evaluation or a refusal
WALL_SECONDS = 60  # on a machine that may be busy; what waits for ever is found too
MEMORY = 6 << 30  # bytes of its own


@dataclass(frozen=True)
class Ending:
    """How a process ended."""

    status: int | None  # its exit status; None: it was stopped at a limit
    out: str
    err: str
    seconds: float

    @property
    def bad(self) -> str | None:
        """What is wrong with it, in a word; None: carried out, or refused in one line."""
        if self.status is None:
            return "hang"
        if "Traceback (most recent call last)" in self.err + self.out:
            return "traceback"
        if self.status not in (0, 1, 2):
            return f"status {self.status}"
        refusals = [line for line in self.err.splitlines() if line.startswith("error:")]
        if self.status and len(refusals) != 1:
            return f"status {self.status} with {len(refusals)} lines of error"
        return None

    @property
    def last(self) -> str:
        """The last line it printed of an error, or at all."""
        lines = (self.err if self.status else self.out + self.err).strip().splitlines()
        return lines[-1] if lines else ""


def contained(case: Callable[[], int], folder: Path, cpu_seconds: int = CPU_SECONDS) -> Ending:
    """Call a function in a forked process whose folder and home are the given one; what it prints is kept."""
    files = [folder / ".out", folder / ".err"]
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _in_child(case, folder, files, cpu_seconds)
    status = _waited(child, start + WALL_SECONDS)
    out, err = (file.read_text(encoding="utf-8", errors="replace") if file.exists() else "" for file in files)
    for file in files:
        file.unlink(missing_ok=True)
    return Ending(status, out, err, time.monotonic() - start)


def _in_child(case: Callable[[], int], folder: Path, files: list[Path], cpu_seconds: int) -> None:
    """The child's whole life."""
    status = 70
    try:
        os.setsid()
        os.chdir(folder)
        os.environ["HOME"] = str(folder)
        for number, file in zip((1, 2), files, strict=True):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 2))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        status = case()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def _waited(child: int, until: float) -> int | None:
    """The status of a process; None where it had to be stopped, or spent its seconds."""
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            break
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.005)
    code = os.waitstatus_to_exitcode(status)
    return None if code == -signal.SIGXCPU else code
