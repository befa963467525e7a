"""A checkpoint that is damaged, or of something else, is refused; one that cannot be written leaves the last good one."""

import errno
import json
import math
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from uncollapse.training import CheckpointError, Fitted, Training, checkpoint, load
from uncollapse.training.checkpoint import replacing, steadily, verify
from uncollapse.training.kept import left
from uncollapse.training.update import Update
from uncollapse.vae import VAE


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run is that each test has a copy of."""
    return tmp_path_factory.mktemp("once") / "run"


@pytest.fixture
def trained(once: Path, run: Callable[..., Fitted], tmp_path: Path) -> Path:
    if not once.exists():
        run(once, steps=20)
    return shutil.copytree(once, tmp_path / "run")


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


def rehash(directory: Path, **values: Any) -> None:
    """Change values of state.json, and hash them and the files anew, as anyone can who shares a folder."""
    document = json.loads((directory / "state.json").read_text()) | values
    hashes = {file.name: checkpoint._sha256(file) for file in directory.iterdir() if file.name != "state.json"}
    document.pop("sha256")
    document["sha256"] = hashes | {"state.json": checkpoint.hash_of(document)}
    (directory / "state.json").write_text(json.dumps(document))
    if (directory / "model.json").exists() and "sha256" not in values:
        model = json.loads((directory / "model.json").read_text())
        if model["sha256"] != hashes["model.safetensors"]:
            (directory / "model.json").write_text(json.dumps(model | {"sha256": hashes["model.safetensors"]}))
            rehash(directory, **values)


def forge(file: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change every tensor of a file, and hash it anew."""
    save_file({name: change(value).contiguous() for name, value in load_file(file).items()}, file)
    rehash(file.parent)


@pytest.mark.parametrize("change", [
    lambda v: v[:1] if v.dim() else v, lambda v: v.flatten(), lambda v: v.reshape(-1, 1) if v.dim() == 1 else v,
    lambda v: v.double(), lambda v: v.long(), lambda v: v.half(), lambda v: torch.stack([v, v]),
], ids=["cut", "flat", "column", "double", "int", "half", "twice"])  # fmt: skip
def test_a_state_of_other_shapes_or_types_is_refused(
    change: Callable[[torch.Tensor], torch.Tensor], trained: Path, run: Callable[..., Fitted]
) -> None:
    """What a fused optimiser is given of a smaller shape it reads beyond its end."""
    forge(trained / "checkpoints/last/state.safetensors", change)
    with pytest.raises(CheckpointError, match=r"last is damaged: .*expected (average|optimizer|meter).* as .*, got "):
        run(trained, resume=True, steps=22)


@pytest.mark.parametrize("kind", ["SGD", "Adagrad", "AdamW"])
def test_the_state_of_every_optimiser_is_checked(kind: str) -> None:
    def update() -> Update:
        weights = [torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(4))]
        options = {"momentum": 0.9} if kind == "SGD" else {}
        return Update(weights, lambda p: getattr(torch.optim, kind)(p, lr=0.1, **options), Training(), Accelerator(cpu=True))

    first, second = update(), update()
    first(sum((p**2).sum() for p in first.parameters))  # type: ignore[arg-type]
    state = {name: value for name, value in first.state().items() if value is not None}
    second.restore(state)
    assert all(bool((value == second.state()[name]).all()) for name, value in state.items())
    for name, value in state.items():
        if value.dim():
            with pytest.raises(ValueError, match=rf"expected {name} as float32 .*, got float32 \[1"):
                second.restore(state | {name: value[:1]})


@pytest.mark.parametrize("change", [torch.Tensor.long, torch.Tensor.half, lambda v: v.to(torch.float8_e4m3fn)])
@pytest.mark.parametrize("name", ["best", "last"])
def test_weights_that_nothing_computes_with_are_refused(
    name: str, change: Callable[[torch.Tensor], torch.Tensor], trained: Path, run: Callable[..., Fitted]
) -> None:
    forge(trained / "checkpoints" / name / "model.safetensors", change)
    with pytest.raises(ValueError, match=r"expected .* as float32, float64 or bfloat16, got .*; train again"):
        load(trained) if name == "best" else run(trained, resume=True, steps=22)


@pytest.mark.parametrize("name", ["best/model.safetensors", "last/model.safetensors", "last/state.safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage" * 10, (10**6).to_bytes(8, "little") + b"{}", "sparse"])
def test_a_file_that_holds_no_tensors_is_refused_before_it_is_hashed(
    name: str, content: bytes | str, trained: Path, run: Callable[..., Fitted]
) -> None:
    file = trained / "checkpoints" / name
    if isinstance(content, bytes):
        file.write_bytes(content)
        rehash(file.parent)
    else:
        os.truncate(file, 2**40)
    with pytest.raises(CheckpointError, match=rf"{file.name} is damaged"):
        load(trained) if "best" in name else run(trained, resume=True, steps=22)


@pytest.mark.parametrize("values", [
    {"step": 10**400}, {"step": 10**18}, {"seconds": 10**400}, {"training_seconds": math.nan}, {"best": math.nan},
    {"best": 10**400}, {"stale": 10**30}, {"stale": True}, {"seconds": math.inf}, {"step": -1},
])  # fmt: skip
def test_numbers_that_no_training_reaches_are_refused(
    values: dict[str, Any], trained: Path, run: Callable[..., Fitted]
) -> None:
    rehash(trained / "checkpoints/last", **values)
    with pytest.raises(CheckpointError, match=rf"expected a .*number.* as {next(iter(values))}, got"):
        run(trained, resume=True, steps=22)


@pytest.mark.parametrize("values", [{"sha256": [["a", 1]]}, {"sha256": [[1, 2]]}, {"meter": 5}, {"log": {"bytes": "x"}}])
def test_values_of_other_kinds_are_refused(values: dict[str, Any], trained: Path, run: Callable[..., Fitted]) -> None:
    last = trained / "checkpoints/last"
    if "sha256" in values:
        (last / "state.json").write_text(json.dumps(json.loads((last / "state.json").read_text()) | values))
    else:
        rehash(last, **values)
    with pytest.raises(CheckpointError, match=r"damaged|expected the bytes of"):
        run(trained, resume=True, steps=22)
