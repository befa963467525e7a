"""Sizes that were asked for, held against the memory that there is, before anything is tried."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

GIB = 2**30

TENSORS = 5_000
"""Parameters, as tensors, that a model may have: a residual network of a thousand layers has some thousands."""

WORDS_OF_TORCH = (
    "can't allocate memory",
    "Storage size calculation overflowed",
    "integer multiplication overflow",
    "out of memory",
)
"""What torch says where memory is short."""


def free_memory() -> int | None:
    """Bytes that this process can still have: of the machine, and of its control group; None where the system does not tell.

    Example:
        >>> free = free_memory()
        >>> free is None or free > 0
        True
    """
    found = [_meminfo(), _control_group()]
    return min((n for n in found if n is not None), default=None)


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    kib = sum(int(values[name].split()[0]) for name in ("MemAvailable", "SwapFree") if name in values)
    return kib * 1024 or None


def _control_group() -> int | None:
    top = Path("/sys/fs/cgroup")
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        try:
            return max(int((top / limit).read_text()) - int((top / used).read_text()), 0)
        except (OSError, ValueError):
            continue
    return None


def gib(n: int) -> str:
    """Bytes in words.

    Example:
        >>> gib(3 * 2**30), gib(10**30)
        ('3.0 GiB', '931,322,574,615,478,515,625 GiB')
    """
    return f"{n / GIB:,.1f} GiB" if n < 10**15 else f"{n // GIB:,} GiB"


def check_room(needed: int, option: str, copies: str = "") -> None:
    """Refuse a size that needs more memory than is free.

    Args:
        needed: Bytes that it takes.
        option: What asks for it, as the user wrote it.
        copies: What these bytes hold, for the error.

    Raises:
        ValueError: If there are not as many.

    Example:
        >>> check_room(10**18, "--n 1000000000000000")
        Traceback (most recent call last):
        ValueError: --n 1000000000000000 takes 931,322,574 GiB of memory, and ... free; use a smaller number
    """
    free = free_memory()
    if free is not None and needed > free:
        held = f" for {copies}" if copies else ""
        raise ValueError(f"{option} takes {gib(needed)} of memory{held}, and {gib(free)} are free; use a smaller number")


@contextmanager
def bounded() -> Iterator[None]:
    """Within it, this process is refused memory that the machine does not have, in place of being killed for it.

    It is the limit on data segments (getrlimit(2), RLIMIT_DATA): memory maps of files do not count. Where there is an
    accelerator, whose driver reserves addresses, or no such limit, nothing is done.
    """
    free = free_memory()
    if free is None or not sys.platform.startswith("linux") or torch.accelerator.is_available():
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _held() + free
    if any(n != resource.RLIM_INFINITY and n < limit for n in (soft, hard)):
        yield
        return
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _held() -> int:
    """Bytes of data that this process has, touched or not."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def short_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short.

    Example:
        >>> short_of_memory(MemoryError()), short_of_memory(RuntimeError("shapes differ"))
        (True, False)
    """
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS_OF_TORCH)
    )


FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
"""What makes a tensor of a size that is given as numbers."""


class _Sized(TorchFunctionMode):
    """Within it, no tensor is made that needs more memory than is free.

    Args:
        what: What asks for it, for the error.
        copies: How many numbers each of its numbers takes.
    """

    def __init__(self, what: str, copies: int):
        super().__init__()
        self.what, self.copies, self.free = what, copies, free_memory()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FACTORIES and self.free is not None:
            size = kwargs.get("size", args[0] if args and isinstance(args[0], list | tuple) else args)
            n = prod(int(length) for length in size if isinstance(length, int))
            if 4 * n * self.copies > self.free:
                check_room(4 * n * self.copies, f"the model of {self.what}", "one tensor" if self.copies == 1 else UPDATED)
        return func(*args, **kwargs)


UPDATED = "weights and their updates"


@contextmanager
def building(what: str, copies: int = 1) -> Iterator[None]:
    """Within it, a model is built from numbers that anyone may have written; one that cannot be built is a ValueError.

    Args:
        what: What describes the model, for the error.
        copies: How many numbers each weight takes, the gradient and the optimiser's averages among them.

    Raises:
        ValueError: If it has more than `TENSORS` parameters, needs more memory than is free, or a part refuses its arguments.

    Example:
        >>> with building("the recipe"):
        ...     nn.Linear(-1, 2)
        Traceback (most recent call last):
        ValueError: the recipe describes no model that can be built: Trying to create tensor with negative dimension -1: [2, -1]
    """
    seen = [0, 0]

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is None or type(parameter) is not nn.Parameter:
            return
        seen[0], seen[1] = seen[0] + 1, seen[1] + parameter.numel() * parameter.element_size()
        if seen[0] > TENSORS:
            raise ValueError(f"expected a model of at most {TENSORS:,} tensors, got more by {what}; use smaller numbers")
        if parameter.numel() > 10**6:
            check_room(copies * seen[1], f"the model of {what}", "its weights" if copies == 1 else UPDATED)

    hook = nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        with _Sized(what, copies):
            yield
    except (RuntimeError, TypeError, OverflowError, ZeroDivisionError, MemoryError, RecursionError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        if short_of_memory(error) or "Overflow when unpacking" in str(error):
            raise ValueError(f"the model of {what} takes more memory than is free; use smaller numbers") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{what} describes no model that can be built: {reason}") from error
    finally:
        hook.remove()
