"""The user's own folder of images, all of one size; sub-folders are labels, or the splits."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from uncollapse.data import store
from uncollapse.data.arrays import from_arrays
from uncollapse.data.dataset import SPLITS, Data

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Endings of the files of a folder that are read; the others are left alone."""

PIXELS = 4096 * 4096
"""The largest image that is read: larger ones are a mistake, or an attack on the memory."""

_GREY, _COLOUR = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
_CHUNK = 2**22  # numbers that are read at a time
T = TypeVar("T")


def images(path: Path, seed: int) -> Data:
    """8-bit images [C, H, W] from all files below a folder: C is 1 if all are grey, else 3; transparency is left out.

    With a sub-folder `train`, the sub-folders `train`, `valid` and `test` are the splits. Other sub-folders are labels,
    numbered in the order of their names.

    Raises:
        ValueError: If there are no images, or one is broken, gigantic, of more than 8 bits, or of another size.
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
        read = partial(_pixels, channels=self.shape[1])
        return np.stack([_checked(self.paths[row], read) for row in rows])


def _files(root: Path) -> list[Path]:
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in ENDINGS and not path.name.startswith("."))
    if not files:
        raise ValueError(f"expected images ({', '.join(ENDINGS)}) in the folder {root}, came none: name a folder of images")
    return files


def _channels(files: list[Path]) -> int:
    """Look at each file's header: one size, not gigantic, 8 bits. How many channels they have together."""
    first, colour = _checked(files[0], _header), False
    for file in files:
        size, mode = _checked(file, _header)
        if size != first[0]:
            raise ValueError(
                f"expected images of one size, came {_times(first[0])} in {files[0]} and {_times(size)} in {file}: "
                "resize them first"
            )
        if mode not in _GREY + _COLOUR:
            raise ValueError(f"expected 8-bit images, came {file} in Pillow's mode {mode}: convert it to 8 bits first")
        colour = colour or mode in _COLOUR
    return 3 if colour else 1


def _gathered(root: Path, files: list[Path], channels: int) -> store.Chunk:
    return store.gathered(partial(_chunks, root, files, channels), root, f"images-{channels}")


def _chunks(root: Path, files: list[Path], channels: int) -> Iterator[store.Chunk]:
    kinds = [path.relative_to(root).parts[0] if path.parent != root else "" for path in files]
    number = {kind: i for i, kind in enumerate(sorted(set(kinds)))}
    width, height = _checked(files[0], _header)[0]
    step = max(1, _CHUNK // (channels * width * height))
    for start in range(0, len(files), step):
        values = np.stack([_checked(file, partial(_pixels, channels=channels)) for file in files[start : start + step]])
        labels = np.array([number[kind] for kind in kinds[start : start + step]])
        yield values, labels if len(number) > 1 else None


def _header(image: Image.Image) -> tuple[tuple[int, int], str]:
    return image.size, image.mode


def _pixels(image: Image.Image, channels: int) -> np.ndarray:
    values = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return values.reshape(*values.shape[:2], channels).transpose(2, 0, 1)


def _checked(path: Path, look: Callable[[Image.Image], T]) -> T:
    """Open an image of a sensible size and look at it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > PIXELS:
                    raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
                return look(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path} is gigantic ({error}), expected at most 4096 x 4096 pixels: resize or remove it") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        raise ValueError(f"{path} is a broken image: save it again or remove it") from error


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels"
