"""A checkpoint that is damaged, or of something else, is refused; one that cannot be written leaves the last good one."""

import errno
import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from uncollapse.training import CheckpointError, Fitted, checkpoint, load
from uncollapse.training.checkpoint import replacing, steadily, verify
from uncollapse.training.kept import left
from uncollapse.vae import VAE


@pytest.fixture
def trained(run: Callable[..., Fitted], tmp_path: Path) -> Path:
    run(tmp_path / "run", steps=20)
    return tmp_path / "run"


def flip(file: Path, place: int = -5) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "model.json"])
def test_a_flipped_byte_is_refused(name: str, trained: Path, run: Callable[..., Fitted]) -> None:
    flip(trained / "checkpoints" / "last" / name)
    with pytest.raises(CheckpointError, match=rf"{name} is damaged.*best may be whole"):
        run(trained, resume=True)


def test_a_truncated_file_is_refused(trained: Path) -> None:
    file = trained / "checkpoints" / "best" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is damaged"):
        load(trained)


def test_a_cut_state_is_refused(trained: Path) -> None:
    file = trained / "checkpoints" / "best" / "state.json"
    file.write_text(file.read_text()[:40])
    with pytest.raises(CheckpointError, match="is damaged"):
        load(trained)


def test_another_format_is_refused(trained: Path, run: Callable[..., Fitted]) -> None:
    file = trained / "checkpoints" / "last" / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        run(trained, resume=True)


def test_another_models_shape_is_refused(trained: Path) -> None:
    model = load(trained)
    wider = {name: torch.zeros(*(n + 1 for n in v.shape)) for name, v in model.state_dict().items()}
    with pytest.raises(ValueError, match="holds another model"):
        model.load_weights(wider, "there")


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a run folder"):
        load(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_cannot_be_written_leaves_the_last_good_checkpoint(
    number: int, trained: Path, run: Callable[..., Fitted], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(number, "No space left on device" if number == errno.ENOSPC else "Read-only file system")

    before = verify(trained / "checkpoints" / "last")
    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(CheckpointError, match="the last good checkpoint is untouched"):
        run(trained, steps=40, resume=True)
    assert verify(trained / "checkpoints" / "last") == before
    assert [f.name for f in (trained / "checkpoints").iterdir() if f.name.startswith(".")] == []


def test_a_disk_that_fills_while_weights_are_written_leaves_the_last_good_checkpoint(
    trained: Path, run: Callable[..., Fitted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What safetensors itself raises where it cannot write is no OSError; here a limit on file sizes makes it raise that."""
    write_all = checkpoint.save_file

    def limited(*args: Any) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            write_all(*args)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    before = verify(trained / "checkpoints" / "last")
    monkeypatch.setattr(checkpoint, "save_file", limited)
    with pytest.raises(CheckpointError, match=r"cannot write .*last: .*; the last good checkpoint is untouched"):
        run(trained, steps=40, resume=True)
    assert verify(trained / "checkpoints" / "last") == before
    assert [f.name for f in (trained / "checkpoints").iterdir() if f.name.startswith(".")] == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, TypeError])
def test_no_staging_folder_is_left_by_any_error(error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error), replacing(tmp_path / "last"):
        raise error
    assert not list(tmp_path.iterdir())


def test_a_first_checkpoint_that_cannot_be_written_promises_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is none yet"), replacing(tmp_path / "last"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_checkpoint_that_is_gone_or_damaged_is_not_said_to_stand(tmp_path: Path) -> None:
    last = tmp_path / "last"
    for said in ("the one that was there is damaged", "the checkpoint that was there is gone"):
        with replacing(last) as staging:
            checkpoint.write_state(staging, {}, {"step": 1})
        with pytest.raises(CheckpointError, match=said), replacing(last):
            shutil.rmtree(last) if "gone" in said else flip(last / "state.json")
            raise OSError(errno.ENOENT, "No such file or directory")
    assert left(tmp_path) == "there is no checkpoint yet."
    with replacing(last) as staging:
        checkpoint.write_state(staging, {}, {"step": 1})
    assert left(tmp_path) == f"the checkpoint of step 1 in {tmp_path} is whole."
    flip(last / "state.json")
    assert left(tmp_path) == f"the last checkpoint in {tmp_path} is damaged."


def test_a_flipped_bit_of_the_state_is_refused_or_harmless(tmp_path: Path) -> None:
    """Any bit of state.json: the step, the best bound, a name, a hash. What is read is what was written, or nothing."""
    with replacing(tmp_path / "last") as staging:
        checkpoint.write_state(staging, {}, {"step": 1, "best": -71.25, "stale": 0})
    file = tmp_path / "last" / "state.json"
    whole, written = file.read_bytes(), verify(tmp_path / "last")
    refused = 0
    for place in range(8 * len(whole)):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        file.write_bytes(bytes(data))
        try:
            assert verify(tmp_path / "last") == written
        except CheckpointError:
            refused += 1
    assert refused > 6 * len(whole)


def test_readers_move_nothing(trained: Path) -> None:
    """A training that renames its checkpoint finds it where it put it, whoever reads beside it."""
    best = trained / "checkpoints" / "best"
    best.rename(best.with_name(".best.old"))
    staging = best.with_name(".best.new")
    staging.mkdir()
    assert isinstance(load(trained), VAE)
    assert verify(best)["step"] == 20
    assert sorted(f.name for f in best.parent.iterdir()) == [".best.new", ".best.old", "last"]


def test_a_reader_reads_again_what_a_training_replaced_meanwhile(tmp_path: Path) -> None:
    def put(step: int) -> None:
        with replacing(tmp_path / "last") as staging:
            checkpoint.write_state(staging, {"w": torch.full((3,), float(step))}, {"step": step})

    put(1)
    seen = []

    def read(place: Path) -> int:
        seen.append(json.loads((place / "state.json").read_text())["step"])
        if len(seen) == 1:
            put(2)  # beside it, the training goes on
            raise FileNotFoundError(place)
        return seen[-1]

    assert steadily(tmp_path / "last", read) == 2
    assert seen == [1, 2]


def test_a_kill_between_two_renames_loses_nothing(tmp_path: Path) -> None:
    """The old folder aside, the new one not yet in place: the old one is put back."""
    with replacing(tmp_path / "last") as staging:
        checkpoint.write_state(staging, {}, {"step": 1})
    (tmp_path / "last").rename(tmp_path / ".last.old")
    assert verify(tmp_path / "last")["step"] == 1


def test_a_staging_folder_left_by_a_kill_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".last.new").mkdir()
    (tmp_path / ".last.new" / "half").write_text("written")
    with replacing(tmp_path / "last") as staging:
        checkpoint.write_state(staging, {}, {"step": 2})
    assert sorted(f.name for f in (tmp_path / "last").iterdir()) == ["state.json", "state.safetensors"]


def test_an_error_within_leaves_the_old_one(tmp_path: Path) -> None:
    with replacing(tmp_path / "last") as staging:
        checkpoint.write_state(staging, {}, {"step": 1})
    with pytest.raises(CheckpointError), replacing(tmp_path / "last") as staging:
        raise OSError(errno.ENOSPC, "No space left on device")
    assert verify(tmp_path / "last")["step"] == 1


def test_the_best_weights_are_the_averaged_ones_that_validation_saw(trained: Path, digits: object) -> None:
    """`best` is what was validated: the model that comes back has the bound that was logged."""
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    best = max(line["bound"] for line in lines if line["kind"] == "valid")
    assert json.loads((trained / "checkpoints/best/state.json").read_text())["bound"] == best
    assert isinstance(load(trained), VAE)
