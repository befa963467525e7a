"""The user's own folders of images and tables: what is read, what is kept beside them, what is refused."""

import os
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from uncollapse.data import load

RNG = np.random.default_rng(0)


def test_folder_of_images_has_channels_and_labels(photos):
    data = load(str(photos))
    assert (data.name, data.shape, data.levels) == ("photos", (3, 6, 4), 256)
    assert (len(data.train), len(data.valid), len(data.test)) == (10, 1, 1)
    assert data.train.labels.bincount().sum() == 10
    expected = {np.asarray(Image.open(path)).tobytes(): int(path.parent.name == "dogs") for path in photos.rglob("*.png")}
    for x, label in zip(data.train.all(), data.train.labels, strict=True):
        assert expected[(x * 255).round().byte().permute(1, 2, 0).contiguous().numpy().tobytes()] == label


def test_grey_images_have_one_channel(tmp_path):
    for i in range(5):
        Image.new("L", (4, 6), i * 9).save(tmp_path / f"{i}.jpg")
    data = load(str(tmp_path))
    assert data.shape == (1, 6, 4) and data.train.labels is None


def test_sub_folders_can_be_the_splits(tmp_path):
    for split, n in (("train", 6), ("valid", 2), ("test", 3)):
        (tmp_path / split).mkdir()
        for i in range(n):
            Image.new("RGB", (2, 2), (i, 7, 9)).save(tmp_path / split / f"{i}.bmp")
    data = load(str(tmp_path))
    assert (len(data.train), len(data.valid), len(data.test)) == (6, 2, 3)


def test_large_folder_is_converted_once(photos, monkeypatch):
    held = load(str(photos))
    monkeypatch.setenv("UNCOLLAPSE_MEMORY", "400")
    mapped = load(str(photos))
    assert not mapped.train.in_memory
    assert torch.equal(mapped.train.all(), held.train.all()) and torch.equal(mapped.test.labels, held.test.labels)
    kept = photos.with_name("photos.uncollapse") / "images-3" / "values.npy"
    made = kept.stat().st_mtime_ns
    load(str(photos))
    assert kept.stat().st_mtime_ns == made
    Image.new("RGB", (4, 6)).save(photos / "cats" / "new.png")
    assert len(load(str(photos)).train) == 11 and kept.stat().st_mtime_ns != made
    assert [path.name for path in kept.parent.parent.iterdir()] == ["images-3"]


def test_conversion_that_fails_leaves_nothing(photos, monkeypatch):
    monkeypatch.setenv("UNCOLLAPSE_MEMORY", "400")
    monkeypatch.setattr("uncollapse.data.folders._CHUNK", 1)
    path = sorted((photos / "dogs").iterdir())[-1]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"10.png is a broken image"):
        load(str(photos))
    assert list(photos.with_name("photos.uncollapse").iterdir()) == []


def test_folder_that_cannot_be_written_uses_the_cache(photos, small_memory, monkeypatch, tmp_path):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    photos.with_name("photos.uncollapse").write_text("a file in the way")
    monkeypatch.setenv("UNCOLLAPSE_MEMORY", "400")
    assert not load(str(photos)).train.in_memory
    assert len(list((tmp_path / "cache" / "converted").iterdir())) == 1


def test_image_that_is_text_is_refused(photos):
    (photos / "cats" / "bad.png").write_text("hello")
    with pytest.raises(ValueError, match=r"bad.png is a broken image: save it again or remove it"):
        load(str(photos))


def test_images_of_two_sizes_are_refused(photos):
    Image.new("RGB", (9, 9)).save(photos / "cats" / "large.png")
    with pytest.raises(ValueError, match=r"came 4 x 6 pixels in .* and 9 x 9 pixels in .*large.png: resize them first"):
        load(str(photos))


@pytest.mark.parametrize("side", [5_000, 12_000, 60_000])
def test_gigantic_image_is_refused_by_its_header(photos, side):
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (photos / "cats" / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + bytes(4))
    with pytest.raises(ValueError, match=r"bomb.png is gigantic .* expected at most 4096 x 4096 pixels"):
        load(str(photos))


def test_images_of_16_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 60000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"expected 8-bit images, came .*deep.png"):
        load(str(tmp_path))


def test_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected images .* came none"):
        load(str(tmp_path))


@pytest.fixture
def table(tmp_path):
    frame = pd.DataFrame(RNG.normal(size=(50, 3)), columns=["a", "b", "c"])
    frame["label"] = np.where(frame["a"] > 0, "warm", "cold")
    return frame


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("memory", ["400", "400000000"])
def test_tables_are_data(tmp_path, table, ending, memory, monkeypatch):
    monkeypatch.setenv("UNCOLLAPSE_MEMORY", memory)
    monkeypatch.setattr("uncollapse.data.tables._ROWS", 16)
    path = tmp_path / f"table.{ending}"
    table.to_csv(path, index=False) if ending == "csv" else table.to_parquet(path)
    for _ in range(2):
        data = load(str(path))
        assert (data.shape, data.levels, len(data.train)) == ((3,), None, 40)
        assert data.train.in_memory == (memory != "400")
        assert ((data.train.all()[:, 0] > 0) == data.train.labels).all()


def test_csv_without_names_loses_no_row(tmp_path):
    np.savetxt(tmp_path / "plain.csv", RNG.random((10, 2)), delimiter=",")
    data = load(str(tmp_path / "plain.csv"))
    assert len(data.train) + len(data.valid) + len(data.test) == 10


@pytest.mark.parametrize("columns", [1, 2, 3, 11])
def test_names_that_count_the_columns_are_no_observation(tmp_path, columns):
    values = RNG.random((10, columns)).astype(np.float32)
    pd.DataFrame(values).to_csv(tmp_path / "mine.csv", index=False)
    assert np.array_equal(load(str(tmp_path / "mine.csv")).split("all").all(), values)


def test_three_columns_of_integers_below_their_numbers(tmp_path):
    pd.DataFrame(np.arange(30).reshape(10, 3)).to_csv(tmp_path / "mine.csv", index=False)
    assert load(str(tmp_path / "mine.csv")).split("all").all().tolist() == np.arange(30).reshape(10, 3).tolist()


@pytest.mark.parametrize("first", ["0,1,3", "0.0,1.0,2.0", "1,2,3"])
def test_a_first_line_of_other_numbers_is_an_observation(tmp_path, first):
    (tmp_path / "mine.csv").write_text(f"{first}\n4,5,6\n7,8,9\n")
    assert load(str(tmp_path / "mine.csv")).split("all").all().tolist()[0] == [float(cell) for cell in first.split(",")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,x\n5,6\n", r"expected numbers in column 'b' of .*mine.csv, came 'x' in row 2: mend it, drop the column"),
        ("a,b\n1,2\n3,4\n5,\n", "column 'b' of .* came NaN in row 3"),
        ("a,b\n1,inf\n3,4\n5,6\n", "column 'b' of .* came inf in row 1"),
        ("a,b\n1,2\n1,2,3\n", "mine.csv cannot be read as a table .*Expected 2 fields in line 3, saw 3"),
        ("a,label\n1,2\n3,\n", "expected a label in each row of .* came none in row 2"),
        ("a,b\n1,2,3\n4,5,6\n", "came 2, then 3: mend its lines"),
        ("a,b\n", "expected at least one observation"),
        (",a,b\n0,1.5,2.5\n1,3.5,4.5\n2,3.5,4.5\n", r"came none above column 1: name it, .*to_csv\(path, index=False\)"),
        (",0,1\n0,1.5,2.5\n1,3.5,4.5\n", "came none above column 1"),
        ("Unnamed: 0,a\n0,1.5\n1,3.5\n", "came none above column 1"),
        (" ,a\n0,1.5\n1,3.5\n", "came none above column 1"),
        ("a,b,\n1,2,\n3,4,\n", "came none above column 3"),
        ("0,1\n1,0\n1,1\n0,0\n", "came 0,1, which may be either: write a line of names such as x0,x1 above the numbers"),
        ("0\n1\n5\n-2\n", "came 0, which may be either"),
        ("9" * 200_000 + "\n1\n2\n", "mine.csv cannot be read as a table .*field larger than field limit"),
        ("", "came an empty file"),
    ],
)
def test_bad_csv_is_refused(tmp_path, text, message):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "mine.csv"))


def test_text_far_down_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("uncollapse.data.tables._ROWS", 16)
    (tmp_path / "mine.csv").write_text("a\n" + "1\n" * 40 + "oops\n")
    with pytest.raises(ValueError, match=r"column 'a' of .* came 'oops' in row 41"):
        load(str(tmp_path / "mine.csv"))


def test_bad_parquet_is_refused(tmp_path):
    (tmp_path / "mine.parquet").write_bytes(b"not parquet")
    with pytest.raises(ValueError, match=r"mine.parquet cannot be read as a table"):
        load(str(tmp_path / "mine.parquet"))
    pd.DataFrame({"when": pd.to_datetime(["2020-01-01"] * 5)}).to_parquet(tmp_path / "dates.parquet")
    with pytest.raises(ValueError, match="expected numbers in column 'when'"):
        load(str(tmp_path / "dates.parquet"))


def test_tables_say_what_they_need(tmp_path, table, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    (tmp_path / "mine.csv").write_text("a\n1\n2\n3\n")
    with pytest.raises(ValueError, match=r"needs pandas: pip install 'uncollapse\[tables\]'"):
        load(str(tmp_path / "mine.csv"))


def test_memory_must_be_a_number(monkeypatch, tmp_path):
    monkeypatch.setenv("UNCOLLAPSE_MEMORY", "2GB")
    np.save(tmp_path / "mine.npy", np.eye(9))
    with pytest.raises(ValueError, match="expected a number of bytes in UNCOLLAPSE_MEMORY, came '2GB'"):
        load(str(tmp_path / "mine.npy"))


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux to state the memory in use")
def test_memory_stays_constant(tmp_path, monkeypatch):
    """160 MB are checked and read through in batches; never are more than 80 MB more in use."""

    def in_use():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    monkeypatch.setenv("UNCOLLAPSE_MEMORY", str(2**20))
    np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.float32, (40_000, 1_000))[:] = 0.5
    before = in_use()
    data, peak = load(str(tmp_path / "large.npy")), 0
    for x in (part.x for part in data.train.batches(500)):
        assert x.mean() == 0.5
        peak = max(peak, in_use())
    assert peak - before < 80e6
