"""YAML and JSON from anyone: plain values within the limits, or one line; never long, deep or twice."""

import json
import os
from pathlib import Path

import pytest
import yaml

from uncollapse import plain_files
from uncollapse.plain_files import DEEPEST, Damaged, check_yaml, read_json, read_yaml


def bomb(width: int, depth: int) -> str:
    """`depth` lists, each of `width` times the one before; the first one of `width` values."""
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, depth)]
    return "\n".join(lines)


@pytest.mark.parametrize(("width", "depth"), [(2, 3), (9, 1), (3, 4)])
def test_aliases_count_as_often_as_they_are_repeated(width: int, depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The i-th list has w + w² + ... + w^(i+1) values beside itself; each has a name, and all stand in a mapping."""
    sizes = [1 + sum(width**j for j in range(1, i + 2)) for i in range(depth)]
    values = sum(sizes) + depth + 2  # names; the document and its mapping
    monkeypatch.setattr(plain_files, "MOST", values)
    check_yaml(bomb(width, depth))
    monkeypatch.setattr(plain_files, "MOST", values - 1)
    with pytest.raises(ValueError, match="values"):
        check_yaml(bomb(width, depth))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("data: {a", "did not find"),
        ("data: \0", "#x0000"),
        (bomb(9, 40), "values"),
        ("a: &a [*a]", "not complete"),
        ("a: " + "[" * 3000 + "]" * 3000, "levels"),
        ("\n".join(" " * i + "a:" for i in range(300)), "levels"),
        ("lr: 0.1\nlr: 0.2", "'lr' twice"),
        ("a: {b: 1, 'b': 2}", "'b' twice"),
        ("a: !!python/object/apply:os.system [x]", "plain values"),
        ("a: !!binary x", "plain values"),
        ("? [1]\n: 2", "a name"),
        ("a: [" + "1, " * 501 + "]", "values in a list"),
        ("true: 1", "names"),
        ("a: " + "9" * 5000, "digits"),
        ("[1]", "names and values"),
        ("", "names and values"),
        ("a: " + "x" * 2**20, "bytes"),
    ],
)
def test_damaged_yaml_is_refused_in_a_line(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(Damaged, match=reason) as error:
        read_yaml(tmp_path / "config.yaml")
    assert "config.yaml" in str(error.value) and "\n" not in str(error.value)


def test_plain_yaml_is_what_the_safe_loader_reads(tmp_path: Path) -> None:
    text = "a: &a {x: 1, y: [1.5, null, true]}\nb: *a\nc: {<<: *a, z: text}\n3: !!str 4\n"
    (tmp_path / "config.yaml").write_text(text)
    assert read_yaml(tmp_path / "config.yaml") == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{", "3", "[" * 10**5, '{"a": ' * 60 + "1" + "}" * 60, '{"a": 1, "a": 2}', '{"a": ' + "9" * 5000 + "}", "\0"],
)
def test_damaged_json_is_refused_in_a_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(Damaged, match=r"state\.json is damaged"):
        read_json(tmp_path / "state.json")


def test_json_may_be_as_deep_as_the_limit(tmp_path: Path) -> None:
    text = '{"a": ' * DEEPEST + "1" + "}" * DEEPEST
    (tmp_path / "state.json").write_text(text)
    assert read_json(tmp_path / "state.json") == json.loads(text)


@pytest.mark.parametrize("read", [read_yaml, read_json])
def test_pipes_and_bytes_that_are_no_text_are_refused(read, tmp_path: Path) -> None:
    """A pipe without a writer would be waited for without end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Damaged, match="plain file"):
        read(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"a: \xff")
    with pytest.raises(Damaged, match=r"UTF-8.*0xff"):
        read(tmp_path / "bytes")
