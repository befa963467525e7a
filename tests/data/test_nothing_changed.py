"""Own data are read as they are: what a viewer shows, every column and every row, or they are refused by name."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from uncollapse.data import from_arrays, from_dataset, from_sentences, load, sentences
from uncollapse.data.rows import read_rows
from uncollapse.data.text import in_vocabulary, of_length, of_words

RNG = np.random.default_rng(0)

TURNS = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x),
    99: lambda x: x,
}
"""What a viewer shows of stored rows and columns, by the number of their EXIF orientation: where its row 0 and column 0 lie."""


def oriented(path: Path, pixels: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, **({"lossless": True} if path.suffix == ".webp" else {}))


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("orientation", TURNS)
def test_images_are_turned_as_viewers_turn_them(tmp_path: Path, ending: str, orientation: int) -> None:
    """Blocks of 8 by 8 pixels in one colour, which JPEG keeps to a few levels."""
    pixels = np.kron(RNG.integers(0, 256, (2, 3, 1), np.uint8), np.ones((8, 8, 3), np.uint8))
    for i in range(4):
        oriented(tmp_path / f"{i}.{ending}", pixels, orientation)
    expected = TURNS[orientation](pixels).transpose(2, 0, 1)
    for seen in (load(str(tmp_path)).train.all()[0].numpy() * 255, read_rows(tmp_path).take(torch.tensor([3]))[0].numpy()):
        assert seen.shape == expected.shape and np.abs(seen - expected).max() < 6


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_an_orientation_behind_the_pixels_of_a_png(tmp_path: Path) -> None:
    """It is known only when the pixels are read: where it does not change the size it is applied, else the size is refused."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 6)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[:-12] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + content[-12:])
    with pytest.raises(ValueError, match=r"images of one size, came 4 x 6 pixels in its header and 6 x 4 pixels in .*a.png"):
        load(str(tmp_path))


def deep(path: Path, colours: int) -> None:
    """A picture of 16 bits a colour, which Pillow reads and does not write."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[colours]
    rows = b"".join(b"\0" + RNG.bytes(2 * 4 * colours) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, kind, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


@pytest.mark.parametrize("colours", [1, 2, 3, 4])
def test_png_of_16_bits(tmp_path: Path, colours: int) -> None:
    deep(tmp_path / "deep.png", colours)
    for read in (load, read_rows):
        with pytest.raises(ValueError, match=r"expected 8-bit images, came .*deep.png"):
            read(str(tmp_path))


def test_tiff_of_16_bits_and_more(tmp_path: Path) -> None:
    """RGB of 16 bits, without compression: a header, the pixels, and one directory of ten entries."""
    entries = [(256, 3, 1, 4), (257, 3, 1, 4), (258, 3, 3, 200), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8)]
    entries += [(277, 3, 1, 3), (278, 3, 1, 4), (279, 4, 1, 96), (284, 3, 1, 1)]
    tags = b"".join(struct.pack("<HHI", *entry[:3]) + struct.pack("<I", entry[3]) for entry in entries)
    content = b"II*\0" + struct.pack("<I", 104) + RNG.bytes(96) + struct.pack("<H", 10) + tags + bytes(4)
    (tmp_path / "deep.tif").write_bytes(content.ljust(200, b"\0")[:200] if len(content) <= 200 else content)
    content = content.replace(struct.pack("<HHII", 258, 3, 3, 200), struct.pack("<HHII", 258, 3, 3, len(content)))
    (tmp_path / "deep.tif").write_bytes(content + struct.pack("<HHH", 16, 16, 16))
    with Image.open(tmp_path / "deep.tif") as image:
        assert image.mode == "RGB"
    with pytest.raises(ValueError, match=r"expected 8-bit images, came .*deep.tif of 16 bits a colour"):
        load(str(tmp_path))


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_several_frames_are_not_one(tmp_path: Path, ending: str) -> None:
    frames = [Image.fromarray(RNG.integers(0, 256, (4, 6, 3), np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
    for read in (load, read_rows):
        with pytest.raises(ValueError, match=rf"expected one image in each file, got several frames or pages in .*a.{ending}"):
            read(str(tmp_path))


@pytest.mark.parametrize("name", [".cache", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "cats/.thumbnails"])
def test_hidden_folders_are_left_out(photos: Path, name: str) -> None:
    (photos / name).mkdir()
    Image.new("RGB", (9, 9)).save(photos / name / "a.png")
    (photos / ".b.png").write_bytes(b"")
    data = load(str(photos))
    assert len(data.split("all")) == len(read_rows(photos)) == 12
    assert data.split("all").labels.tolist() == [0] * 6 + [1] * 6


def test_a_folder_behind_a_link_is_read(tmp_path: Path, photos: Path) -> None:
    (photos / "dogs").rename(tmp_path / "elsewhere")
    (photos / "dogs").symlink_to(tmp_path / "elsewhere")
    assert load(str(photos)).split("all").labels.tolist() == [0] * 6 + [1] * 6


def test_an_index_of_pandas_is_a_column(tmp_path: Path) -> None:
    frame = pd.DataFrame(RNG.normal(size=(20, 4)), columns=list("abcd"))
    path = tmp_path / "mine.parquet"
    frame.set_index("a").to_parquet(path)
    assert read_rows(path).columns == ("b", "c", "d", "a")
    assert np.allclose(load(str(path)).split("all").all(), frame[list("bcda")])
    frame.set_index(["a", "b"]).to_parquet(path)
    assert load(str(path)).shape == (4,)
    frame.to_parquet(path)
    assert load(str(path)).shape == (4,)
    frame.set_index(RNG.permutation(20)).to_parquet(path)
    with pytest.raises(ValueError, match=r"none above column 5: name it, .*without it, frame.to_parquet\(path, index=False\)"):
        load(str(path))


def test_images_with_transparency_last_are_no_channels() -> None:
    for shape in ((60, 8, 8, 4), (9, 8, 6, 2)):
        with pytest.raises(ValueError, match=r"got \(.*\), which seem to have transparency: write array"):
            from_arrays(RNG.integers(0, 256, shape, np.uint8))
    assert from_arrays(RNG.integers(0, 256, (9, 4, 8, 8), np.uint8)).shape == (4, 8, 8)
    with pytest.raises(ValueError, match="which seem to have transparency"):
        from_dataset([Image.new("RGBA", (8, 8), (i, 0, 0, 0)) for i in range(9)])


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 1, np.nan, 1]),
        np.array([0, 1, np.inf, 1]),
        np.array(["a", "b", None, "a"], object),
        np.array(["a", "b", float("nan"), "a"], object),
        np.array(["a", "b", pd.NA, "a"], object),
        np.array(["2020", "2021", "NaT", "2020"], "M8[D]"),
    ],
)
def test_a_missing_label_is_no_class(labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected a label for each observation of arrays .* in row 2: fill it"):
        from_arrays(np.eye(4), labels=labels)


def test_labels_are_told_apart_whatever_their_size() -> None:
    for labels in (np.array([2**63, 5, 2**63 + 1, 5], np.uint64), np.array([1e300, 5, 2e300, 5])):
        found = from_arrays(np.eye(4), labels=labels).split("all").labels.tolist()
        assert len(set(found)) == 3 and found[1] == found[3] and min(found) >= 0


def test_numbers_beyond_the_precision_are_called_large() -> None:
    """Not NaN, and not infinite; whole numbers beyond 64 bits do not turn negative."""
    values = np.ones((6, 2))
    values[4, 1] = -1e200
    with pytest.raises(ValueError, match=r"expected numbers up to 3.4e38 in arrays .train., came -1e.200 in row 4"):
        from_arrays(values)
    with pytest.raises(
        ValueError, match=r"expected whole numbers up to 9,223,372,036,854,775,807 .* came 18,446,744,073,709,551,615"
    ):
        from_arrays(np.full((6, 2), 2**64 - 1, np.uint64))
    with pytest.raises(ValueError, match="came NaN or infinity in row 3"):
        from_arrays(np.array([0, 1, 2, np.inf, 1], np.float16))
    assert from_arrays(np.full((6, 2), 10**18)).train.all()[0, 0] == torch.tensor(10.0**18)


def test_sentences_keep_their_order_and_their_splits() -> None:
    """Split by split or all together, in a smaller or in another vocabulary, with more room."""
    written = [f"word{i % 7} is number {i}" for i in range(30)]
    data = from_sentences(written)
    assert data.own == ("train",) and from_sentences(written, ["a"], ["b"]).own == ("train", "valid", "test")
    for found in (data, of_words(data, 3), of_length(data, 9), in_vocabulary(data, data.words[:9])):
        told = sentences(found.split("all").all(), found.words)
        expected = [" ".join(word if word in found.words else "<unknown>" for word in line.split()) for line in written]
        assert told == expected and found.own == ("train",)


def test_too_few_sentences_are_counted_rightly(tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("a cat\na dog\n")
    with pytest.raises(ValueError, match="expected at least 3 observations of two to draw the split valid, came 2"):
        load(str(tmp_path / "two.txt")).split("valid")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_lines_do(tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a piece of the file ends."""
    written = [f"a{i} größe" for i in range(40)]
    (tmp_path / "own.txt").write_bytes(("\ufeff" + end.join(written) + end).encode())
    for piece in (1, 7, 2**20):
        monkeypatch.setattr("uncollapse.data.text._PIECE", piece)
        data = load(str(tmp_path / "own.txt"))
        assert len(data.split("all")) == 40 and "größe" in data.words and not any("\ufeff" in word for word in data.words)
