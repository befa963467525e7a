"""What a launcher of several processes told this one; nothing here imports torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
INSTEAD = "write torchrun --nproc-per-node 2 -m uncollapse train ..."


@dataclass(frozen=True)
class Launch:
    """Which process this is, and of how many; the same among those of its own machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and prints."""
        return self.rank == 0


def launch(environment: Mapping[str, str] | None = None) -> Launch:
    """What torchrun told this process by its environment; the only process where it was started by none.

    Args:
        environment: What to read; None: the process's own.

    Raises:
        ValueError: If it names partners that nothing says how to meet, or another launcher started several processes.

    Example:
        >>> launch({})
        Launch(rank=0, world=1, local_rank=0, local_world=1)
        >>> launch({"RANK": "1"})
        Traceback (most recent call last):
        ValueError: RANK=1 is set without WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT, ...or unset RANK
    """
    found = os.environ if environment is None else environment
    told = [name for name in NAMES[:3] if name in found]
    if not told:
        _refuse_other_launchers(found)
        return Launch()
    numbers = {name: _number(name, found[name]) for name in NUMBERS if name in found}
    if numbers.get("WORLD_SIZE") == 1 and not numbers.get("RANK") and "LOCAL_RANK" not in found:
        return Launch()
    missing = [name for name in NAMES if not found.get(name)]
    if missing:
        given = ", ".join(f"{name}={found[name]}" for name in told)
        raise ValueError(
            f"{given} is set without {', '.join(missing)}, of a launcher of several processes; {INSTEAD}, or unset "
            f"{', '.join(told)}"
        )
    if not numbers["RANK"] < numbers["WORLD_SIZE"]:
        raise ValueError(f"expected RANK below WORLD_SIZE={found['WORLD_SIZE']}, came {found['RANK']}; {INSTEAD}")
    local = max(numbers["LOCAL_RANK"] + 1, numbers.get("LOCAL_WORLD_SIZE", 1))
    return Launch(numbers["RANK"], numbers["WORLD_SIZE"], numbers["LOCAL_RANK"], local)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"expected {name} as a launcher of several processes sets it, a whole number, came {text!r}; unset it")
    return int(text)


def _refuse_other_launchers(found: Mapping[str, str]) -> None:
    """Refuse launchers that start processes which know nothing of each other, or one process in the place of several."""
    for name in MPI:
        if _number(name, found.get(name, "1")) > 1:
            raise ValueError(f"MPI started {found[name]} processes, which would each train alone; {INSTEAD}")
    if "ACCELERATE_USE_CPU" in found and "MASTER_ADDR" in found:
        raise ValueError(
            "accelerate launch was asked for several processes and started one, as it does without several GPUs; "
            f"{INSTEAD}, or accelerate launch --num_processes 1"
        )
