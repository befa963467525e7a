"""Devices, precision and processes, by accelerate; interruptions by signal."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Self

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from uncollapse.launch import INSTEAD, launch
from uncollapse.networks.base import hand_over_float32
from uncollapse.noise import Rows
from uncollapse.training.meeting import meet
from uncollapse.training.settings import Machine

KINDS = ("cpu", "cuda", "mps", "xpu")
TWICE = 2.0  # seconds within which a launcher may pass on the Ctrl-C that its processes have had themselves


def place(name: str = "auto") -> torch.device:
    """The device of this name, which must be there; auto: an accelerator if there is one.

    Raises:
        ValueError: If there is none of that name.

    Example:
        >>> place("cpu")
        device(type='cpu')
        >>> place("gpu")
        Traceback (most recent call last):
        ValueError: expected a device auto, cpu, cuda, mps or xpu, or cuda:1 and so on, came 'gpu'
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None else found
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in KINDS:
        raise ValueError(f"expected a device auto, cpu, cuda, mps or xpu, or cuda:1 and so on, came {name!r}")
    there = getattr(torch, device.type).device_count()
    if device.type != "cpu" and (device.index or 0) >= there:
        raise ValueError(f"expected a device that is there, came {name!r}, where {there} {device.type} are; write auto or cpu")
    return device


def accelerator(machine: Machine, folder: Path | None) -> Accelerator:
    """An accelerator for this machine, or for this process of several that share a training under `torchrun`.

    Raises:
        ValueError: If the device is not there, the tracker is not installed, or the precision is not supported.
        PartnerError: If the other processes do not come.
    """
    device = place(machine.device)
    meet(device)
    if device.type != "cpu" and device.index is not None:
        torch.accelerator.set_device_index(device.index)
    AcceleratorState._reset_state(reset_partial_state=True)  # each training states its own device and precision
    found = _accelerator(machine, device, folder)
    if found.num_processes != launch().world:
        raise ValueError(f"expected {launch().world} processes, came together {found.num_processes}; {INSTEAD}")
    return found


def _accelerator(machine: Machine, device: torch.device, folder: Path | None) -> Accelerator:
    """An accelerator, its refusals in this project's words."""
    try:
        return Accelerator(
            cpu=device.type == "cpu",
            mixed_precision=machine.precision,
            log_with=_tracker(machine.tracker, folder),
            project_dir=None if folder is None else str(folder),
        )
    except (ImportError, ValueError) as error:
        if machine.tracker is not None and machine.tracker in str(error):
            raise ValueError(f"tracker {machine.tracker}: {error}") from error
        raise ValueError(f"cannot train with precision {machine.precision} on {machine.device}: {error}") from error


def _tracker(name: str | None, folder: Path | None) -> list[str] | None:
    """The tracker as accelerate takes it; without this check it leaves out one that is not installed, silently."""
    if name is None:
        return None
    if find_spec(name) is None:
        raise ValueError(f"tracker {name} is not installed; write pip install {name}, or 'uncollapse[trackers]'")
    if name == "tensorboard" and folder is None:
        raise ValueError("tracker tensorboard writes into the run folder, came none; write out=... (--out on the command line)")
    return [name]


def wrapper(accelerator: Accelerator, machine: Machine) -> Callable[[nn.Module], nn.Module]:
    """What is done to the module that is differentiated: moved, compiled, and shared between processes."""

    def wrap(module: nn.Module) -> nn.Module:
        module.to(accelerator.device)
        if machine.precision != "no":
            hand_over_float32(module)
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
    """Whether SIGTERM or Ctrl-C asked the run to stop; a second Ctrl-C stops it at once.

    A launcher of several processes passes a Ctrl-C on to those that the terminal has told already: that is no second one.

    Args:
        several: Whether there is such a launcher.
    """

    def __init__(self, several: bool = False) -> None:
        self.signal: int | None = None
        self.apart, self.since = TWICE if several else 0.0, -math.inf

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.since = now
        elif number == signal.SIGINT and now - self.since >= self.apart:
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
