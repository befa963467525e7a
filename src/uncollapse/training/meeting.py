"""Several processes that share a training: how they meet, and what is said of one that is lost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from uncollapse.launch import INSTEAD, launch

SHARED = ("cpu", "cuda", "xpu")  # devices whose processes torch can bring together
WAIT = 60  # seconds that a process waits for the others to come
SIGNS = ("gloo", "nccl", "closed by peer", "reset by peer", "broken pipe", "socket")  # of a lost connection, in its message
T = TypeVar("T")

_store: Any = None  # where they meet, for every training of this process
_meetings = 0


class PartnerError(RuntimeError):
    """Another process of the same training ended or never came; says what is left."""


def meet(device: torch.device) -> None:
    """Come together with the other processes that a launcher started, those on accelerators each with one of its own.

    Nothing happens where there is one process, or where they are together already.

    Raises:
        ValueError: If there are not as many devices, or processes cannot share a training on them.
        PartnerError: If the others do not come.
    """
    global _meetings
    here = launch()
    if here.world == 1 or not dist.is_available() or dist.is_initialized():
        return
    if device.type not in SHARED:
        raise ValueError(f"several processes share a training on {', '.join(SHARED)}, came {device.type}; write --device cpu")
    if device.type != "cpu":
        _take_device(device, here.local_rank, here.local_world)
    backend = dist.get_default_backend_for_device(device.type)
    with partners(lambda: f"the others did not come within {WAIT} seconds; {INSTEAD}, which starts them all"):
        store = PrefixStore(f"training {_meetings}", _meeting_place())
        dist.init_process_group(backend, store=store, rank=here.rank, world_size=here.world)
    _meetings += 1


def _take_device(device: torch.device, number: int, needed: int) -> None:
    """Make the process's own device the current one."""
    there = getattr(torch, device.type).device_count()
    if device.index is not None and needed > 1:
        raise ValueError(f"several processes share out the devices, came {device}; write {device.type}")
    if needed > there:
        raise ValueError(
            f"expected a {device.type} device for each of {needed} processes, there are {there}; write "
            f"--nproc-per-node {there}, or --device cpu"
        )
    torch.accelerator.set_device_index(number)


def _meeting_place() -> Any:
    """The store that the launcher's address leads to; a second training meets there again."""
    global _store
    if _store is None:
        here = launch()
        found = rendezvous("env://", here.rank, here.world, timeout=timedelta(seconds=WAIT))
        _store = next(found)[0]
    return _store


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes, told to all of them; each makes its own where there is one.

    Example:
        >>> from_first(lambda: 3)
        3
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return make()
    told = [make() if dist.get_rank() == 0 else None]
    with partners():
        dist.broadcast_object_list(told, 0)
    return told[0]  # type: ignore[return-value]


@contextmanager
def partners(left: Callable[[], str] = lambda: "another process ended before the training began") -> Iterator[None]:
    """Within it, an error of the connection between processes says what is the matter, and what is left.

    Raises:
        PartnerError: In the place of torch's own error.
    """
    try:
        yield
    except RuntimeError as error:
        here = launch()
        if here.world == 1 or not _of_connection(error):
            raise
        raise PartnerError(f"process {here.rank} of {here.world}: {left()}") from error


def _of_connection(error: RuntimeError) -> bool:
    """Whether it is an error of the connection between processes: gloo's are known by their words alone."""
    return isinstance(error, dist.DistError) or any(sign in str(error).lower() for sign in SIGNS)
