"""The user's own folder of images, all of one size; sub-folders are labels, or the splits."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from uncollapse.data import store
from uncollapse.data.arrays import from_arrays
from uncollapse.data.dataset import SPLITS, Data
from uncollapse.data.file_checks import check_regular, files_below, one_line
from uncollapse.data.orientation import oriented, oriented_size

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Endings of the files of a folder that are read; the others are left alone."""

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""What is read, whatever the ending: formats of pixels, none of programs, and none that starts one."""

PIXELS = 4096 * 4096
"""The largest image that is read: larger ones are a mistake, or an attack on the memory."""

OTHERS = 100_000
"""Files of other endings after which a folder is none of images, unless a tenth of its files are."""

_GREY, _COLOUR = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
_CHUNK = 2**22  # numbers that are read at a time
T = TypeVar("T")


def images(path: Path, seed: int) -> Data:
    """8-bit images [C, H, W] from all files below a folder: C is 1 if all are grey, else 3; transparency is left out.

    With a sub-folder `train`, the sub-folders `train`, `valid` and `test` are the splits. Other sub-folders are labels,
    numbered in the order of their names. Hidden files and folders are left out. Images are turned as their EXIF orientation
    says.

    Raises:
        ValueError: If there are no images, or one is broken, gigantic, animated, of more than 8 bits, or of another size.
    """
    split_up = (path / "train").is_dir()
    roots = {split: path / split for split in SPLITS if (path / split).is_dir()} if split_up else {"train": path}
    files = {split: _files(root) for split, root in roots.items()}
    channels = _channels([file for listed in files.values() for file in listed])
    read = {split: _gathered(root, files[split], channels) for split, root in roots.items()}
    values = {split: chunk[0] for split, chunk in read.items()}
    labels = {"labels" if split == "train" else f"{split}_labels": chunk[1] for split, chunk in read.items()}
    return from_arrays(**values, **labels, name=path.resolve().name, seed=seed)


class ImageFiles:
    """The images of a folder and its sub-folders, in the order of their paths, each decoded when it is read.

    Args:
        path: The folder; sub-folders of any name but those of splits are of one sample.

    Raises:
        ValueError: As for `images`, or if the folder holds splits.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path):
        splits = [split for split in SPLITS if (path / split).is_dir()]
        if splits:
            held = ", ".join(splits)
            raise ValueError(f"expected one set of images in {path}, got the splits {held}; name one, {path / splits[-1]}")
        self.paths = _files(path)
        self.names = tuple(str(file.relative_to(path)) for file in self.paths)
        width, height = _checked(self.paths[0], _header)[0]
        self.shape = (len(self.paths), _channels(self.paths), height, width)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        return np.stack([_pixels(self.paths[row], self.shape[1:]) for row in rows])


def _files(root: Path) -> list[Path]:
    files: list[Path] = []
    others = 0
    for path in files_below(root):
        if path.suffix.lower() in ENDINGS:
            files.append(path)
        elif (others := others + 1) > OTHERS + 10 * len(files):
            raise ValueError(
                f"expected a folder of images, got more than {OTHERS:,} other files in {root}: name the images' own"
            )
    if not files:
        raise ValueError(f"expected images ({', '.join(ENDINGS)}) in the folder {root}, came none: name a folder of images")
    return sorted(files)


def _channels(files: list[Path]) -> int:
    """Look at each file's header: one size, not gigantic, 8 bits. How many channels they have together."""
    first, colour = _checked(files[0], _header), False
    for file in files:
        size, mode, bits = _checked(file, _header)
        _check_size(size, first[0], file, files[0])
        if mode not in _GREY + _COLOUR:
            raise ValueError(f"expected 8-bit images, came {file} in Pillow's mode {mode}: convert it to 8 bits first")
        if bits > 8:
            raise ValueError(f"expected 8-bit images, came {file} of {bits} bits a colour: convert it to 8 bits first")
        colour = colour or mode in _COLOUR
    return 3 if colour else 1


def _check_size(size: tuple[int, int], expected: tuple[int, int], file: Path, first: Path | None = None) -> None:
    if size != expected:
        where = "its header" if first is None else first
        raise ValueError(
            f"expected images of one size, came {_times(expected)} in {where} and {_times(size)} in {file}: resize them first"
        )


def _gathered(root: Path, files: list[Path], channels: int) -> store.Chunk:
    return store.gathered(partial(_chunks, root, files, channels), root, f"images-{channels}")


def _chunks(root: Path, files: list[Path], channels: int) -> Iterator[store.Chunk]:
    kinds = [path.relative_to(root).parts[0] if path.parent != root else "" for path in files]
    number = {kind: i for i, kind in enumerate(sorted(set(kinds)))}
    width, height = _checked(files[0], _header)[0]
    step = max(1, _CHUNK // (channels * width * height))
    for start in range(0, len(files), step):
        values = np.stack([_pixels(file, (channels, height, width)) for file in files[start : start + step]])
        labels = np.array([number[kind] for kind in kinds[start : start + step]])
        yield values, labels if len(number) > 1 else None


def _header(image: Image.Image) -> tuple[tuple[int, int], str, int]:
    """Size as it is seen, Pillow's mode, and bits a colour."""
    return oriented_size(image), image.mode, _bits(image)


def _bits(image: Image.Image) -> int:
    """Bits a colour of the file: Pillow cuts colours of 16 bits to 8 and calls them RGB too."""
    if image.format == "PNG":
        return 16 if any(str(tile.args).endswith(";16B") for tile in image.tile) else 8  # type: ignore[attr-defined]
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (8,)))  # type: ignore[attr-defined]
    return 8


def _pixels(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The image as [C, H, W], which must be of that shape."""
    channels, height, width = shape
    values = _checked(file, partial(_decoded, mode="L" if channels == 1 else "RGB"))
    _check_size((values.shape[1], values.shape[0]), (width, height), file)
    return values.reshape(height, width, channels).transpose(2, 0, 1)


def _decoded(image: Image.Image, mode: str) -> np.ndarray:
    return np.asarray(oriented(image).convert(mode))


def _checked(path: Path, look: Callable[[Image.Image], T]) -> T:
    """Open an image of a sensible size, and one only, and look at it; of several in one photograph the first."""
    check_regular(path)
    with one_line(partial(_unreadable, path)), Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > PIXELS:
            raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
        if image.format == "MPO" or not getattr(image, "is_animated", False):
            return look(image)
    raise ValueError(f"expected one image in each file, got several frames or pages in {path}: save each as its own file")


def _unreadable(path: Path, reason: str) -> ValueError:
    kind, _, size = reason.partition(": ")
    if kind == "DecompressionBombError":
        return ValueError(f"{path} is gigantic ({size}), expected at most 4096 x 4096 pixels: resize or remove it")
    return ValueError(f"{path} is a broken image: save it again or remove it")


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels"
