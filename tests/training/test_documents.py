"""The documents of a run are what was written, or are refused; a kill at any moment refuses nothing."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import yaml

from uncollapse.training import CheckpointError, documents
from uncollapse.training.checkpoint import hash_of
from uncollapse.training.documents import CONFIG, NAMES, RECORD, SUMMARY, WORDS, check, clear, put

BEFORE = {CONFIG: "# recipe vae\ntraining: {steps: 60, seed: 0}\noptimizer: {init_args: {lr: 0.001}}\n", WORDS: "a\nb\n"}
AFTER = {CONFIG: BEFORE[CONFIG].replace("60", "90")}
ENDED = {SUMMARY: '{"nll": 26.884}'}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    put(tmp_path / "run", BEFORE)
    put(tmp_path / "run", ENDED)
    return tmp_path / "run"


def test_what_was_written_is_read(run: Path) -> None:
    check(run)
    assert {name: (run / name).read_text() for name in NAMES} == BEFORE | ENDED
    put(run, AFTER)
    check(run)
    assert (run / CONFIG).read_text() == AFTER[CONFIG]


@pytest.mark.parametrize("name", [*NAMES, RECORD])
def test_a_flipped_bit_is_refused(name: str, run: Path) -> None:
    """Every byte of a document; of the record, whose layout tells nothing, all that is read is what was written, or nothing."""
    whole, refused = (run / name).read_bytes(), 0
    places = range(0, len(whole), 1 if name in NAMES else 5)
    for place in places:
        (run / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            check(run)
            assert {n: (run / n).read_text() for n in NAMES} == BEFORE | ENDED
        except CheckpointError as error:
            refused += 1
            assert name in str(error) and "\n" not in str(error)
    assert refused == len(places) if name in NAMES else refused > 0.7 * len(places)


@pytest.mark.parametrize("name", NAMES)
def test_a_removed_document_is_refused(name: str, run: Path) -> None:
    (run / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is gone; take a copy of it, or write it anew"):
        check(run)


def test_a_document_that_the_run_never_wrote_is_refused(tmp_path: Path) -> None:
    put(tmp_path, AFTER)
    (tmp_path / WORDS).write_text("a\n")
    with pytest.raises(CheckpointError, match=r"words.txt was altered"):
        check(tmp_path)


def test_altered_values_are_named(run: Path) -> None:
    values = yaml.safe_load(BEFORE[CONFIG])
    values["optimizer"]["init_args"]["lr"], values["training"]["seed"] = 0.009, 8
    (run / CONFIG).write_text(yaml.safe_dump(values))
    said = r"--optimizer.lr was 0.001, is 0.009, --training.seed was 0, is 8; .*uncollapse train .*config.yaml --out NEW$"
    with pytest.raises(CheckpointError, match=said):
        check(run, CONFIG, resuming=True)


def test_another_layout_is_refused_but_resumes(run: Path) -> None:
    (run / CONFIG).write_text(BEFORE[CONFIG] + "# mine\n")
    with pytest.raises(CheckpointError, match="write it anew: uncollapse train --resume"):
        check(run, CONFIG)
    check(run, CONFIG, resuming=True)
    put(run, BEFORE)
    check(run)


@pytest.mark.parametrize("text", ["a: [b", "\0", "- 1", "a: " + "[" * 1000, "".join(
    f"x{i}: &x{i} {{a: {before}, b: {before}, c: {before}, d: {before}}}\n"
    for i, before in enumerate(["1", *(f"*x{i}" for i in range(30))])
)])  # fmt: skip
def test_what_cannot_be_compared_is_refused_at_once(text: str, run: Path) -> None:
    (run / CONFIG).write_text(text)
    with pytest.raises(CheckpointError, match=r"config.yaml was altered") as raised:
        check(run, CONFIG, resuming=True)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("begun", [False, True])
def test_a_kill_between_any_two_writes_refuses_nothing(begun: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the n-th file takes its place: all can be read, and writing goes on as if nothing had been."""
    replace, left = Path.replace, [0]

    def dying(self: Path, target: Path) -> Path:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dying)
    killed = True
    for n in range(10):
        run, left[0] = tmp_path / str(n), 100
        if begun:
            put(run, BEFORE)
        left[0] = n
        try:
            put(run, AFTER)
            killed = False
        except KeyboardInterrupt:
            check(run)
        left[0] = 100
        put(run, AFTER)
        check(run)
        assert (run / CONFIG).read_text() == AFTER[CONFIG]
        (run / CONFIG).write_text(BEFORE[CONFIG])  # what it was is accepted no longer
        with pytest.raises(CheckpointError, match=r"--training.steps was 90, is 60"):
            check(run)
        if not killed:
            break
    assert not killed and n == 3


def test_a_run_of_a_version_without_records_is_taken_as_it_is(tmp_path: Path) -> None:
    for name, text in (BEFORE | ENDED).items():
        (tmp_path / name).write_text(text)
    check(tmp_path)
    put(tmp_path, AFTER)
    check(tmp_path)
    (tmp_path / SUMMARY).write_text("{}")
    with pytest.raises(CheckpointError, match=r"summary.json was altered"):
        check(tmp_path)


def test_a_reader_sees_no_alteration_in_what_a_training_writes_meanwhile(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = documents._content

    def late(file: Path) -> bytes | None:
        if file.name == CONFIG:  # the record was read before, the document is after
            monkeypatch.setattr(documents, "_content", content)
            put(run, AFTER)
        return content(file)

    monkeypatch.setattr(documents, "_content", late)
    check(run, CONFIG)
    assert (run / CONFIG).read_text() == AFTER[CONFIG]


def test_a_run_that_never_began_is_cleared_of_what_it_wrote_alone(run: Path) -> None:
    (run / WORDS).write_text("mine")
    clear(run)
    assert [file.name for file in run.iterdir() if file.is_file()] == [WORDS]
    put(run, AFTER)
    assert json.loads((run / RECORD).read_text())["config"] == AFTER[CONFIG]


def forge(run: Path, **values: object) -> None:
    """Change the record and hash it anew, as anyone can who shares a folder."""
    before = json.loads((run / RECORD).read_text())
    told = {"accepted": before["accepted"] | values.pop("accepted", {}), "config": before["config"], **values}  # type: ignore[operator]
    (run / RECORD).write_text(json.dumps({**told, "sha256": hash_of(told)}))


@pytest.mark.parametrize("absolute", [True, False])
def test_a_record_that_names_another_file_removes_nothing(absolute: bool, run: Path) -> None:
    victim = run.parent / "victim.txt"
    victim.write_text("precious")
    name = str(victim) if absolute else "../victim.txt"
    forge(run, accepted={name: [hashlib.sha256(victim.read_bytes()).hexdigest()]})
    with pytest.raises(CheckpointError, match=r"documents.json is damaged"):
        clear(run)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("values", [
    {"accepted": {CONFIG: 5}}, {"accepted": {CONFIG: None}}, {"accepted": {CONFIG: "x"}}, {"accepted": {CONFIG: [1]}},
    {"config": 5}, {"config": ["x"]},
])  # fmt: skip
def test_a_record_of_other_kinds_is_refused(values: dict[str, object], run: Path) -> None:
    forge(run, **values)
    with pytest.raises(CheckpointError, match=r"documents.json is damaged"):
        check(run)


@pytest.mark.parametrize("link", [CONFIG, SUMMARY, RECORD, "checkpoints"])
def test_a_link_leads_no_document_elsewhere(link: str, run: Path) -> None:
    outside = run.parent / "outside"
    (run / link).rename(outside)
    (run / link).symlink_to(outside)
    before = outside.read_bytes() if outside.is_file() else (outside / "documents.json").read_bytes()
    with pytest.raises(CheckpointError, match=r"got .*, a symbolic link; .* write elsewhere with --out"):
        put(run, AFTER | {SUMMARY: "{}"})
    assert before == (outside.read_bytes() if outside.is_file() else (outside / "documents.json").read_bytes())


@pytest.mark.parametrize("name", [CONFIG, SUMMARY, WORDS, RECORD])
def test_a_document_without_end_is_refused_before_it_is_read(name: str, run: Path) -> None:
    os.truncate(run / name, 2**40)
    with pytest.raises(
        CheckpointError, match=rf"expected at most [\d,]+ bytes in .*{name}, got 1,099,511,627,776; take a copy"
    ):
        check(run)


def test_a_recorded_configuration_without_end_is_not_parsed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "".join(f"k{i}: {{a: [1, 2, 3]}}\n" for i in range(60_000))
    forge(run, config=long)
    (run / CONFIG).write_text("a: 1\n" + long[: len(long) // 2])
    monkeypatch.setattr(yaml, "load", None)
    with pytest.raises(CheckpointError, match="cannot be compared with what it was"):
        check(run, CONFIG)


def test_a_pipe_in_the_place_of_the_record_is_no_run_without_one(run: Path) -> None:
    (run / "checkpoints/last").mkdir()
    (run / "checkpoints/last/state.json").write_text('{"documents": true}')
    (run / RECORD).unlink()
    os.mkfifo(run / RECORD)
    with pytest.raises(CheckpointError, match=r"documents.json is gone"):
        check(run)
