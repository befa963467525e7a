"""Damaged and malicious files of data: each is refused in one line that names it, at once and in little memory."""

import gzip
import os
import socket
import time
import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from uncollapse.data import file_checks, load
from uncollapse.data.rows import read_rows

RNG = np.random.default_rng(0)


def refused(path: Path, match: str, read=load) -> None:
    """Expect one printable line, of sensible length, that names the file or the data."""
    with pytest.raises((ValueError, OSError), match=match) as found:
        read(str(path))
    words = str(found.value)
    assert words.isprintable() and len(words) < 500 + 2 * len(str(path)) and path.name.partition(".")[0] in words


def header(shape: str, descr: str = "'<f8'", version: bytes = b"\x01\x00", length: int | None = None) -> bytes:
    """The start of an array file."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    size = len(text) if length is None else length
    return b"\x93NUMPY" + version + size.to_bytes(2 if version == b"\x01\x00" else 4, "little") + text


HEADERS = {
    "more numbers than there are": (
        header("(1000000000000,)"),
        "states float64 of shape .* 8,000,000,000,000 bytes, but 64 bytes",
    ),
    "fewer numbers than there are": (header("(3,)"), "24 bytes, but 64 bytes follow"),
    "a negative size": (header("(-1, 8)"), "shape .-1, 8."),
    "two negative sizes": (header("(-2, -4)"), "shape .-2, -4."),
    "a size of many digits": (header(f"({'9' * 4000}, {'9' * 4000})"), "cannot be read"),
    "no end of a bracket": (header("((((8,)"), "cannot be read"),
    "many brackets": (header("(" * 3000 + ")" * 3000), "cannot be read"),
    "a string without end": (header("(8,)", "'<f8"), "cannot be read"),
    "a warning of Python's": (header("(8,)", "'\\\\d' if 1is 1 else 2"), "cannot be read"),
    "another type of key": (header("(8,), 1: 2"), "cannot be read"),
    "a long header": (header("(8,)", version=b"\x02\x00", length=2**32 - 1), "header is longer than 10,000 bytes"),
    "an unknown version": (header("(8,)", version=b"\x09\x09"), "not an array file"),
    "Python objects": (header("(8,)", "'|O'"), "Python objects, which are never unpickled"),
    "columns of several types": (header("(4,)", "[('a\\x1b', '<f8'), ('b', '<f8')]"), "expected numbers in"),
    "dates": (header("(8,)", "'<M8[s]'"), "expected numbers in"),
    "nothing in each": (header("(8,)", "'|S0'"), "8 bytes|0 bytes"),
    "one number alone": (header("()", "'|V64'"), "expected numbers in"),
}


@pytest.mark.parametrize("case", HEADERS)
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_headers_of_arrays_that_lie(tmp_path: Path, case: str, ending: str) -> None:
    content, message = HEADERS[case]
    path = tmp_path / f"mine.{ending}"
    if ending == "npy":
        path.write_bytes(content + bytes(64))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("train.npy", content + bytes(64))
    refused(path, message)
    refused(path, message, read_rows)


def test_one_number_and_no_rows_are_no_data(tmp_path: Path) -> None:
    for name, values in (("a", np.float64(3)), ("b", np.zeros((0, 4))), ("c", np.zeros((4, 0)))):
        np.save(tmp_path / f"{name}.npy", values)
        refused(tmp_path / f"{name}.npy", "expected at least one observation")


def test_arrays_of_every_order_version_and_byte_order_are_read(tmp_path: Path) -> None:
    values = RNG.normal(size=(20, 3))
    np.save(tmp_path / "fortran.npy", np.asfortranarray(values))
    np.save(tmp_path / "big.npy", values.astype(">f8"))
    np.savez_compressed(tmp_path / "fortran.npz", np.asfortranarray(values))
    for version in ((2, 0), (3, 0)):
        with open(tmp_path / f"{version[0]}.npy", "wb") as file:
            np.lib.format.write_array(file, values, version)
    for path in tmp_path.iterdir():
        assert np.allclose(load(str(path)).split("all").all().numpy(), values), path.name


def zipped(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def saved(values: np.ndarray) -> bytes:
    file = BytesIO()
    np.save(file, values)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_hold_something_else(tmp_path: Path) -> None:
    array = saved(RNG.normal(size=(9, 2)))
    np.savez(tmp_path / "empty.npz")
    refused(tmp_path / "empty.npz", "expected the arrays train, valid and test .* got nothing")
    refused(tmp_path / "empty.npz", "expected one array in .* got nothing", read_rows)
    refused(zipped(tmp_path / "a.npz", [("train.npy", array), ("notes.txt", b"")]), "expected arrays in .* got notes.txt")
    refused(zipped(tmp_path / "b.npz", [("train.npy", array), ("train.npy", array)]), "each under its own name, got train.npy")
    refused(zipped(tmp_path / "c.npz", [(f"{i}\x1b[2J\n.npy", array) for i in range(2000)]), "and 1992 more")


def test_encrypted_archives(tmp_path: Path) -> None:
    path = zipped(tmp_path / "mine.npz", [("train.npy", saved(np.eye(3)))])
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1  # the flag of an encrypted member
    path.write_bytes(content)
    refused(path, "it is encrypted")


def test_damaged_numbers_of_an_archive_are_told_by_its_checksum(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", train=np.arange(100.0))
    content = bytearray((tmp_path / "mine.npz").read_bytes())
    content[400] ^= 1
    (tmp_path / "mine.npz").write_bytes(content)
    refused(tmp_path / "mine.npz", "Bad CRC-32")


def test_an_archive_cannot_name_the_folder_that_it_is_converted_to(tmp_path: Path, small_memory: None) -> None:
    (tmp_path / "in").mkdir()
    for name in ("../../escaped", str(tmp_path / "escaped"), "a" * 300):
        path = zipped(tmp_path / "in" / "mine.npz", [(f"{name}.npy", saved(np.arange(5000.0)))])
        assert len(load(str(path)).split("all")) == 5000
    assert {p.name for p in tmp_path.iterdir()} == {"in"}
    assert {p.name for p in (tmp_path / "in").iterdir()} == {"mine.npz", "mine.npz.uncollapse"}


def test_arrays_that_no_disk_has_room_for(tmp_path: Path, small_memory: None, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "mine.npz", [("train.npy", saved(np.zeros(10**6)))])
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=7_999_999))
    refused(path, "expected room for 0.0 GiB of .* make room")


def test_a_damaged_conversion_is_made_again(tmp_path: Path, small_memory: None) -> None:
    np.savez(tmp_path / "mine.npz", train=np.arange(5000.0))
    before = load(str(tmp_path / "mine.npz")).split("all").all()
    kept = tmp_path / "mine.npz.uncollapse" / "train" / "values.npy"
    for content in (kept.read_bytes()[:-8], b"", b"\x93NUMPY\x01\x00\x10\x00((((((((((((((("):
        kept.write_bytes(content)
        assert load(str(tmp_path / "mine.npz")).split("all").all().equal(before)


@pytest.mark.parametrize("ending", ["npy", "npz", "csv", "parquet", "txt", "txt.gz"])
def test_what_is_no_regular_file(tmp_path: Path, ending: str) -> None:
    """A pipe would be waited for without end, and a device be read without end."""
    read = [load] if ending.startswith("txt") else [load, read_rows]
    os.mkfifo(tmp_path / f"pipe.{ending}")
    (tmp_path / f"device.{ending}").symlink_to("/dev/zero")
    (tmp_path / f"loop.{ending}").symlink_to(tmp_path / f"loop.{ending}")
    for one in read:
        refused(tmp_path / f"pipe.{ending}", "expected a regular file, got a named pipe", one)
        refused(tmp_path / f"device.{ending}", "expected a regular file, got a device", one)
        refused(tmp_path / f"loop.{ending}", "there is no file", one)


def test_a_folder_with_what_is_no_image_file(photos: Path) -> None:
    odd = photos / "cats" / "zz.png"
    os.mkfifo(odd)
    refused(odd.parent, "got a named pipe, .*zz.png")
    odd.unlink()
    odd.symlink_to("/dev/zero")
    refused(odd.parent, "got a device, .*zz.png")
    odd.unlink()
    odd.symlink_to("nowhere")
    refused(odd, "zz.png", lambda _: load(str(photos)))
    odd.unlink()
    with socket.socket(socket.AF_UNIX) as found:
        here = os.getcwd()
        os.chdir(odd.parent)  # the path of a socket must be short
        found.bind(odd.name)
        os.chdir(here)
        refused(odd.parent, "got a socket, .*zz.png")
    odd.unlink()
    (photos / "cats" / "again").symlink_to(photos)
    refused(photos, "expected each folder once in .*, got .*again, which is .* again; remove the link", read_rows)


def test_a_folder_of_other_files_is_left_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uncollapse.data.folders.OTHERS", 20)
    for i in range(30):
        (tmp_path / f"{i}.json").touch()
    refused(tmp_path, "expected a folder of images, got more than 20 other files")


def test_programs_are_no_images(photos: Path) -> None:
    """Pillow would start Ghostscript for PostScript, whatever the file is called."""
    Image.new("RGB", (4, 6)).save(photos / "cats" / "a.png", "EPS")
    refused(photos / "cats" / "a.png", "a.png is a broken image", lambda _: load(str(photos)))


@pytest.mark.parametrize("name", ["", "  ", "~nobody-of-this-name/x.npy", "a\0b.npy"])
def test_paths_that_are_none(name: str) -> None:
    for read in (load, read_rows):
        with pytest.raises(
            (ValueError, FileNotFoundError), match=r"expected the name of a data set|there is no file|null byte"
        ):
            read(name)


LINES = {
    "a line without end": (b"a,b\n1,2\n" + b"1" * 2**22, "it has a line of more than 1,048,576 bytes"),
    "a first line without end": (b"1" * 2**22, "it has a line of more than 1,048,576 bytes|field larger"),
    "a million columns": (
        b"1," * 200_000 + b"1\n" + b"1," * 200_000 + b"1\n",
        "expected at most 131,072 columns .* came 200,001",
    ),
    "NUL": (b"a,b\n1,2\n1\x003,4\n5,6\n", "it holds NUL characters"),
    "NUL in names": (b"a\x00,b\n1,2\n", "it holds NUL characters"),
    "UTF-16": ("a,b\n1,2\n3,4\n5,6\n".encode("utf-16"), "it is UTF-16, not UTF-8"),
    "Latin-1": ("größe,b\n1,2\n3,4\n".encode("latin-1"), "cannot be read as a table .*utf-8"),
    "a quote without end": (b'a,b\n1,2\n"3,4\n5,6\n', "cannot be read as a table"),
    "a short row": (b"a,b\n1,2\n3\n5,6\n", "column 'b' .* came NaN in row 2"),
    "a long row": (b"a,b\n1,2\n3,4\n5,6,7\n", "cannot be read as a table .*line 4"),
    "a number beyond float64": (b"a,b\n1,2\n1e400,4\n5,6\n", "column 'a' .* came inf in row 2, or a number beyond 1.8e.308"),
    "a number beyond float32": (
        b"a,b\n1,2\n1e200,4\n5,6\n",
        "expected numbers up to 3.403e.38 in column 'a' .* came 1e.200 in row 2",
    ),
    "an integer of many digits": (b"a,b\n1,2\n" + b"9" * 5000 + b",4\n5,6\n", "column 'a' .* row 2"),
    "escapes": (b"a,b\n1,2\n\x1b[2Jx,4\n5,6\n", r"came '\\x1b\[2Jx' in row 2"),
    "a cell of many letters": (b"a,b\n1,2\n" + b"x" * 5000 + b",4\n5,6\n", r"came 'x+\.\.\. in row 2"),
}


@pytest.mark.parametrize("case", LINES)
def test_tables_of_odd_lines(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uncollapse.data.csv_bytes.LINE", 2**20)
    content, message = LINES[case]
    (tmp_path / "mine.csv").write_bytes(content)
    refused(tmp_path / "mine.csv", message)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_bytes(b"\xef\xbb\xbfa,label\n1,u\n2,v\n3,u\n4,v\n")
    rows = read_rows(tmp_path / "mine.csv")
    assert rows.columns == ("a",) and load(str(tmp_path / "mine.csv")).split("all").all().flatten().tolist() == [1, 2, 3, 4]


def test_columns_of_parquet_that_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    for values, message in (
        (pd.array([1, None, 3, 4], "Int64"), "column 'b' .* came NaN in row 2"),
        ([[1, 2], [3, 4], [5], []], "expected numbers in column 'b' .* came list<"),
        ([{"x": 1}, {"x": 2}, {"x": 3}, {"x": 4}], "expected numbers in column 'b' .* came struct<"),
        ([None] * 4, "expected numbers in column 'b' .* came null"),
        ([b"1"] * 4, "expected numbers in column 'b' .* came binary"),
        (pd.Categorical(["u", "v", "u", "v"]), "expected numbers in column 'b' .* came dictionary"),
    ):
        pd.DataFrame({"a": [1.0, 2, 3, 4], "b": values}).to_parquet(path, index=False)
        refused(path, message)
        refused(path, message, read_rows)


def test_parquet_cut_short(tmp_path: Path) -> None:
    pd.DataFrame({"a": np.arange(1000.0)}).to_parquet(tmp_path / "mine.parquet", index=False)
    content = (tmp_path / "mine.parquet").read_bytes()
    for n in (0, 4, 12, len(content) // 2, len(content) - 1):
        (tmp_path / "mine.parquet").write_bytes(content[:n])
        refused(tmp_path / "mine.parquet", "cannot be read as a table")


@pytest.mark.parametrize("case", ["repeated", "plain", "one", "csv"])
def test_labels_without_end_are_never_repeated(case: str, tmp_path: Path) -> None:
    from pyarrow import DictionaryArray, array, parquet, table

    long, n = "x" * 3_000_000, 200
    kinds = {
        "repeated": lambda: DictionaryArray.from_arrays(array(np.zeros(n, np.int32)), array([long])),
        "plain": lambda: array([long] * 20 + ["b"] * (n - 20)),
        "one": lambda: array([long] + ["b"] * (n - 1)),
    }
    path = tmp_path / ("mine.csv" if case == "csv" else "mine.parquet")
    if case == "csv":
        path.write_text("a,label\n" + f"1,{long[:100_000]}\n" + "2,b\n" * n)
    else:
        columns = table({"a": np.arange(float(n)), "label": kinds[case]()})
        parquet.write_table(columns, path, compression="zstd", store_schema=case == "repeated")
    start = time.process_time()
    refused(path, r"labels of (at most 1,000 characters|[\d,]+ bytes for 200 rows)")
    assert time.process_time() - start < 2


def test_labels_of_every_kind_are_read(tmp_path: Path) -> None:
    from pyarrow import array, parquet, table

    for labels in (array(["b", "a"] * 20), array(["b", "a"] * 20).dictionary_encode(), array([1, 0] * 20)):
        parquet.write_table(table({"a": np.arange(40.0), "label": labels}), tmp_path / "mine.parquet")
        found = load(str(tmp_path / "mine.parquet")).split("all")
        assert found.labels.tolist() == [1, 0] * 20


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_numbers_that_are_packed_too_densely(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow import parquet, table

    monkeypatch.setattr(file_checks, "PACKED", 2**20)
    path, values = tmp_path / f"mine.{ending}", np.zeros((2**21, 1), np.float32)
    if ending == "npz":
        np.savez_compressed(path, values)
    else:
        parquet.write_table(table({"a": values[:, 0]}), path)
    refused(path, r"packed to less than a 500th of its size; write such numbers as .npy")
    np.save(tmp_path / "mine.npy", values[:1000])
    assert len(load(str(tmp_path / "mine.npy")).train) == 800


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    from pyarrow import array, parquet, table

    parquet.write_table(table([array([1.0, 2.0])] * 2, names=["a", "a"]), tmp_path / "mine.parquet")
    refused(tmp_path / "mine.parquet", "expected each name once .* came 'a' twice")


@pytest.mark.parametrize("unit", [b"\n", b"a ", b"a\n"])
def test_packed_text_that_grows_without_end(tmp_path: Path, unit: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """12 MB in 12 kB: refused by the length of a line, or by how small it is packed."""
    monkeypatch.setattr("uncollapse.data.text._PACKED", 2**19)
    monkeypatch.setattr("uncollapse.data.text._PIECE", 2**18)
    with gzip.open(tmp_path / "mine.txt.gz", "wb") as file:
        for _ in range(12):
            file.write(unit * (2**20 // len(unit)))
    refused(tmp_path / "mine.txt.gz", "it has a line of more than 1,048,576 characters|packed to less than a 100th")


def test_a_line_without_end_is_never_held(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "mine.txt.gz", "wb") as file:
        for _ in range(40):
            file.write(b"a" * 2**20)
    tracemalloc.start()
    refused(tmp_path / "mine.txt.gz", "it has a line of more than 1,048,576 characters")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**20 * 16


def test_text_is_read_within_the_memory_that_is_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many words, too many different ones, and one long sentence that all others would be filled up to."""
    monkeypatch.setenv("UNCOLLAPSE_MEMORY", "1000000")
    path = tmp_path / "mine.txt"
    path.write_text("a cat sees a dog and a dog\n" * 40_000)
    refused(path, "expected sentences that fit in 0.000931 GiB of memory, got .* words, 5 of them different, and more in mine")
    path.write_text("".join(f"word{i}\n" for i in range(20_000)))
    refused(path, "words, .* of them different, and more in mine: take fewer, or set UNCOLLAPSE_MEMORY")
    path.write_text("a cat\n" * 2_000 + "a cat " * 1_000 + "\n" + "a dog\n" * 10)
    refused(path, "got 2,011 in mine, each with room for 2,000 words, as many as sentence 2,001 has")


def test_long_reading_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter(range(0, 10_000, 3))
    monkeypatch.setattr("uncollapse.data.reading.time.monotonic", lambda: next(clock))
    (tmp_path / "mine.txt").write_text("a cat\n" * 5)
    load(str(tmp_path / "mine.txt"))
    told = capsys.readouterr().err.splitlines()
    assert told[0].endswith("mine.txt: 5 lines") and told[0].startswith("reading") and told[-1].startswith("read ")


def test_published_files_that_grow_without_end(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uncollapse.data.fetch.LARGEST", 2**20)
    (offline / "mnist").mkdir()
    with gzip.open(offline / "mnist" / "train-images-idx3-ubyte.gz", "wb", compresslevel=1) as file:
        file.write(bytes(2**20 + 1))
    with pytest.raises(ValueError, match="it holds more than 1,048,576 bytes, as none that was published does"):
        load("mnist")
