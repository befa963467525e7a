"""Devices, precision and processes, by accelerate; interruptions by signal."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Self

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from uncollapse.noise import Rows
from uncollapse.training.settings import Machine


def accelerator(machine: Machine, folder: Path | None) -> Accelerator:
    """An accelerator for this machine, or for this process of several under `accelerate launch`.

    Raises:
        ValueError: If the device is not there, or the tracker is not installed.
    """
    if machine.device not in ("auto", "cpu") and not getattr(torch, machine.device.split(":")[0], torch.cpu).is_available():
        raise ValueError(f"expected a device that is there, came --machine.device {machine.device}; write auto or cpu")
    if "RANK" not in os.environ:
        AcceleratorState._reset_state(reset_partial_state=True)  # each training states its own device and precision
    trackers = None if machine.tracker is None else [machine.tracker]
    try:
        return Accelerator(
            cpu=machine.device == "cpu",
            mixed_precision=machine.precision,
            log_with=trackers,
            project_dir=None if folder is None else str(folder),
        )
    except (ImportError, ValueError) as error:
        raise ValueError(f"tracker {machine.tracker}: {error}; install it with pip install 'uncollapse[trackers]'") from error


def wrapper(accelerator: Accelerator, machine: Machine) -> Callable[[nn.Module], nn.Module]:
    """What is done to the module that is differentiated: moved, compiled, and shared between processes."""

    def wrap(module: nn.Module) -> nn.Module:
        module.to(accelerator.device)
        if accelerator.num_processes == 1 and machine.precision == "no":
            return torch.compile(module) if machine.compile else module  # type: ignore[return-value]
        prepared = accelerator.prepare(module)
        return torch.compile(prepared) if machine.compile else prepared  # type: ignore[return-value]

    return wrap


def rows(accelerator: Accelerator, batch: int) -> Rows | None:
    """Which rows of the global batch are this process's; None where there is one process.

    Raises:
        ValueError: If the batch cannot be shared evenly.
    """
    n = accelerator.num_processes
    if n == 1:
        return None
    if batch % n:
        raise ValueError(f"expected a batch size that {n} processes share evenly, came {batch}; write a multiple of {n}")
    own = batch // n
    return Rows(accelerator.process_index * own, (accelerator.process_index + 1) * own, batch)


class Interruption:
    """Whether SIGTERM or Ctrl-C asked the run to stop; a second Ctrl-C stops it at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    @contextmanager
    def watching(self) -> Iterator[Self]:
        """Within it, the first signal is only noted. Outside the main thread, where signals cannot be watched, nothing is."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        try:
            before = [signal.signal(number, self._note) for number in numbers]
        except ValueError:
            yield self
            return
        try:
            yield self
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
