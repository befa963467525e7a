"""The one way in: named data sets and the user's own files."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from uncollapse.data import files, folders, images, sequences, stacked, stochastic, tables, text, toys
from uncollapse.data.condition import conditioned_on_labels
from uncollapse.data.dataset import Data
from uncollapse.data.file_checks import user_path
from uncollapse.data.tokens import as_tokens

NAMED: dict[str, tuple[Callable[[int], Data], str]] = {
    "digits": (images.digits, "1,797 handwritten digits, 8 x 8 in 17 levels; ships with scikit-learn"),
    "mnist": (images.mnist, "70,000 handwritten digits, 28 x 28 in 256 levels"),
    "mnist-static": (images.mnist_static, "MNIST in Larochelle's fixed binarisation, 50,000 / 10,000 / 10,000, without labels"),
    "fashion-mnist": (images.fashion_mnist, "70,000 pieces of clothing, 28 x 28 in 256 levels"),
    "stacked-mnist": (stacked.stacked_mnist, "128,000 images of three digits, one a colour, 28 x 28 in 256 levels"),
    "ring": (toys.ring, "8 Gaussians on a circle in the plane"),
    "grid": (toys.grid, "25 Gaussians on a grid in the plane"),
    "pacgan-ring": (toys.pacgan_ring, "100,000 points of 8 Gaussians on a circle of radius 1, as PacGAN was tested"),
    "pacgan-grid": (toys.pacgan_grid, "100,000 points of 25 Gaussians on a grid, as PacGAN was tested"),
    "two-moons": (toys.two_moons, "two half circles that interlock in the plane"),
    "swiss-roll": (toys.swiss_roll, "a spiral in the plane"),
    "sequences": (sequences.sequences, "14,000 sequences of 10 out of 200 words, by an LSTM with a known latent in the plane"),
    "coco-captions": (text.coco_captions, "20,000 captions of images, words between blanks"),
}
"""Named data sets: from the seed to the data, and what they are."""

READERS: dict[str, Callable[[Path, int], Data]] = {
    ".npy": files.npy,
    ".npz": files.npz,
    ".csv": tables.csv,
    ".parquet": tables.parquet,
    ".txt": text.lines,
    ".gz": text.lines,
}
"""Files by their ending."""


def names() -> dict[str, str]:
    """The named data sets, and what each is in one line.

    Example:
        >>> names()["ring"]
        '8 Gaussians on a circle in the plane'
    """
    return {name: about for name, (_, about) in NAMED.items()}


def load(
    name: str = "digits",
    binarize: Literal["none", "static", "dynamic"] = "none",
    dequantize: bool = False,
    seed: int = 0,
    length: int | None = None,
    words: int | None = None,
    condition: Literal["labels"] | None = None,
    tokens: int | None = None,
) -> Data:
    """Load a data set.

    Args:
        name: A named data set (`names` lists them), or the path of a folder of images, a .npy, .npz, .csv, .parquet, .txt or
            .txt.gz file (a sentence a line).
        binarize: How to make bits of values in [0, 1]: "none"; "static", once, from the seed; "dynamic", the train split at
            each reading anew, valid and test once, from a seed that never changes.
        dequantize: Whether to add uniform noise to discrete values, so that they are real numbers.
        seed: Of toy densities, of static binarisation, and of the splits of the user's own files.
        length: Of sentences, how many words there is room for; a longer one is refused. None: as many as the longest has.
        words: Of sentences, how many words the vocabulary holds, the most frequent ones; any other is unknown. None: all.
        condition: What a model is conditioned on: "labels", those of the observations; None: nothing.
        tokens: Of a .npy or .npz file of whole numbers [N, T], how many tokens 0 ... n - 1 they are; None: they are numbers.

    Raises:
        FileNotFoundError: If a file is missing, or cannot be downloaded.
        ValueError: If the name is unknown, the file is not what it should be, or binarize or dequantize do not fit the data.

    Example:
        >>> load("digits", binarize="dynamic").levels, load("digits", dequantize=True).dequantized
        (2, 17)
    """
    if binarize not in ("none", "static", "dynamic"):
        raise ValueError(f"expected binarize to be none, static or dynamic, came {binarize!r}")
    if binarize != "none" and dequantize:
        raise ValueError("expected binarize or dequantize, came both: choose bits or real numbers")
    data = NAMED[name][0](seed) if name in NAMED else _own(name, seed)
    if tokens is not None:
        data = as_tokens(data, tokens)
    if length is not None:
        data = text.of_length(data, length)
    if words is not None:
        data = text.of_words(data, words)
    if condition is not None:
        if condition != "labels":
            raise ValueError(f"expected condition to be labels, or none, got {condition!r}")
        data = conditioned_on_labels(data)
    if binarize != "none":
        return stochastic.binarized(data, binarize, seed)
    return stochastic.dequantized(data) if dequantize else data


def _own(name: str, seed: int) -> Data:
    path = user_path(name)
    reader = folders.images if path.is_dir() else READERS.get(path.suffix.lower())
    if path.exists() and reader:
        try:
            return reader(path, seed)
        except MemoryError as error:
            raise ValueError(f"{name} does not fit in memory: take fewer rows, or write it as .npy, read as needed") from error
    if path.exists():
        raise ValueError(f"expected a folder of images or a file ending in {', '.join(READERS)}, came {name}: convert it first")
    if reader or len(path.parts) > 1:
        raise FileNotFoundError(f"there is no file or folder {name}: check the path, or name one of {', '.join(NAMED)}")
    raise ValueError(f"unknown data set {name!r}{_meant(name)}: expected {', '.join(NAMED)}, or the path of a file or folder")


def _meant(name: str) -> str:
    near = get_close_matches(name.lower().replace("_", "-"), NAMED, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
