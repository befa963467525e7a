"""What a training keeps of itself: the best weights, and all that going on needs; in memory and in the run folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from uncollapse.atomic_write import remove_staged
from uncollapse.distributions import LatentVariableModel
from uncollapse.learning import Procedure
from uncollapse.tensor_files import check_state, check_weights, read_tensors
from uncollapse.training.checkpoint import (
    CheckpointError,
    read_state,
    replacing,
    settle,
    standing,
    steadily,
    verify,
    write_state,
)
from uncollapse.training.documents import CONFIG, RECORD, RECORDED, SUMMARY
from uncollapse.training.log import Meter
from uncollapse.training.update import Update


class Kept:
    """The checkpoints of one training: `best`, the weights of the best validation, and `last`, with all that going on needs.

    Args:
        out: Run folder; None: the best weights stay in memory, and nothing is written.
        main: Whether this process is the one that writes.
        model: What is trained.
        procedure: What trains it, for the state of its own.
        updates: Its updates, one a player, the model's first.
        meter: The values since the last line of the log.
    """

    def __init__(
        self, out: Path | None, main: bool, model: nn.Module, procedure: Procedure, updates: Sequence[Update], meter: Meter
    ):
        self.folder, self.main = None if out is None else out / "checkpoints", main
        self.model, self.procedure, self.updates, self.meter = model, procedure, updates, meter
        self.best: dict[str, Tensor] | None = None

    def keep_best(self, values: dict[str, Any]) -> None:
        """The weights as they are, in memory and, with these values, as `best`."""
        self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        if self.folder is not None and self.main:
            keep(self.model, self.folder / "best", {}, values | self._recorded())

    def take_best(self) -> None:
        """Put the best weights into the model: those in memory, of a resumed run those of the folder."""
        best = self.folder and self.folder / "best"
        if self.best is None and best and standing(best).exists():
            self.best = steadily(best, lambda place: read_tensors(place / "model.safetensors"))
        if self.best is not None:
            take(self.model, self.best, best or "the best validation")

    def save(self, values: dict[str, Any], metered: dict[str, Tensor]) -> None:
        """Weights, values and every other state, as `last`, with the meter's as several processes have it together."""
        if self.folder is None or not self.main:
            return
        values = {
            **values,
            **self._recorded(),
            "meter": list(self.meter.means),
        }  # the order of the log's names, which tensors do not keep
        tensors = {**metered, **{f"procedure.{name}": value for name, value in self.procedure.state().items()}}
        for i, update in enumerate(self.updates):
            tensors |= {_name(i, name): value for name, value in update.state().items()}
        keep(self.model, self.folder / "last", tensors, values)

    def _recorded(self) -> dict[str, Any]:
        """Whether the run's documents are recorded, so that a record that is taken away is missed."""
        return {} if self.folder is None else {RECORDED: (self.folder.parent / RECORD).exists()}

    def resume(self) -> dict[str, Any] | None:
        """Take over what `save` kept; returns its values, or None where a run was killed before it first did.

        Raises:
            ValueError: If there is no run folder, or it holds another model.
            CheckpointError: If there is no run, or its checkpoint is damaged.
        """
        if self.folder is None:
            raise ValueError("expected a run folder to resume from, came none; write out=... (--out on the command line)")
        last = self.folder / "last"
        if not standing(last).exists() and any((self.folder.parent / name).exists() for name in ("metrics.jsonl", CONFIG)):
            self._check_never_saved()
            return None
        tensors, values = read_state(last)
        _check_values(values, last)
        take(self.model, read_tensors(standing(last) / "model.safetensors"), last)
        try:
            self._restore(tensors, values)
        except ValueError as error:
            raise CheckpointError(f"{last} is damaged: {error}; train again") from error
        except (KeyError, TypeError, IndexError, RuntimeError) as error:
            raise CheckpointError(
                f"{last} is damaged: it lacks what this recipe needs to go on ({type(error).__name__}: {error}); train again"
            ) from error
        return values

    def _check_never_saved(self) -> None:
        """Refuse a run that ended well and has no checkpoint: it was not killed before its first.

        Raises:
            CheckpointError: If it did.
        """
        assert self.folder is not None
        if (self.folder.parent / SUMMARY).exists():
            raise CheckpointError(
                f"{self.folder / 'last'} is gone; take a copy of it, or train anew without --resume and with another --out"
            )

    def _restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take over the states of a checkpoint."""
        device = next(self.model.parameters()).device
        restore_procedure(self.procedure, tensors)
        for i, update in enumerate(self.updates):
            update.restore({k.removeprefix(_name(i, "")): v for k, v in tensors.items() if k.startswith(_name(i, ""))})
        self.meter.restore({k: v.to(device) for k, v in tensors.items()}, values.get("meter", ()))

    def tidy(self) -> None:
        """Put right what a kill left half written; for the one process that writes."""
        if self.folder is None or not self.main:
            return
        for name in ("best", "last"):
            settle(self.folder / name)
        for folder in (self.folder, self.folder.parent):
            remove_staged(folder)

    def forget_best(self) -> None:
        """Remove `best`, which is of an earlier stage; for the one process that writes."""
        if self.folder is None or not self.main:
            return
        aside = self.folder / ".best.new"
        if (self.folder / "best").exists():
            (self.folder / "best").rename(aside)
            settle(self.folder / "best")

    def left(self) -> str:
        """What a run that had to stop leaves, in words."""
        return "nothing was to be written." if self.folder is None else left(self.folder)


def left(folder: Path) -> str:
    """What there is to go on from in a run's folder of checkpoints, in words."""
    last = folder / "last"
    if not standing(last).exists():
        return "there is no checkpoint yet."
    try:
        step = verify(last)["step"]
    except (OSError, CheckpointError, KeyError):
        return f"the last checkpoint in {folder} is damaged."
    return f"the checkpoint of step {step} in {folder} is whole."


def _check_values(values: dict[str, Any], last: Path) -> None:
    """Refuse a state whose numbers are none.

    Raises:
        CheckpointError: If one is missing, or of another kind.
    """
    for name, kinds in STATE.items():
        value = values.get(name)
        if name not in values and name == "stage_step":
            continue
        possible = value is None or (isinstance(value, kinds) and type(value) is not bool and _possible(name, value))
        if name not in values or not isinstance(value, kinds) or not possible:
            kind = "a finite number" if name == "best" else f"a number from 0 to {MOST:g}"
            raise CheckpointError(
                f"{last / 'state.json'} is damaged: expected {kind} as {name}, got {value!r:.80}; train again"
            )


def _possible(name: str, value: Any) -> bool:
    return abs(value) < 1e300 if name == "best" else 0 <= value <= MOST


MOST = 1e12
"""The largest number of steps or seconds in a checkpoint."""

STATE: dict[str, tuple[type, ...]] = {
    "step": (int,),
    "stage_step": (int,),
    "stale": (int,),
    "training_seconds": (int, float),
    "seconds": (int, float),
    "best": (int, float, type(None)),
}
"""The values of a checkpoint that going on needs, and their kinds."""


def keep(model: nn.Module, directory: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write a model and a state beside it as a checkpoint, whole or not at all."""
    with replacing(directory) as staging:
        if isinstance(model, LatentVariableModel):
            model.save_pretrained(staging)
        else:
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, staging / "model.safetensors")
        write_state(staging, tensors, values)


def restore_procedure(procedure: Procedure, tensors: dict[str, Tensor]) -> None:
    """Take over the state of a procedure from those of a checkpoint.

    Raises:
        ValueError: If a tensor has another shape or type than the procedure's own.
    """
    state = {name.removeprefix("procedure."): value for name, value in tensors.items() if name.startswith("procedure.")}
    check_state(state, procedure.state())
    procedure.restore(state)


def take(model: nn.Module, weights: dict[str, Tensor], where: Path | str) -> None:
    """Load weights into a model of either kind, a mixture fitted to a VAE's aggregated posterior among them.

    Raises:
        ValueError: If they are another model's.
    """
    device = next(model.parameters()).device
    if isinstance(model, LatentVariableModel):
        model.load_weights(weights, str(where))
    else:
        check_weights(weights, model.state_dict(), str(where))
        model.load_state_dict(weights)
    model.to(device)


def _name(i: int, name: str) -> str:
    """The name in a checkpoint of a value of the i-th update; those of the first, the only one of most procedures, are bare."""
    return f"player{i}.{name}" if i else name
