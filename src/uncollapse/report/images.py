"""Observations as one image, and as files."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Size, Tensor

from uncollapse.atomic_write import atomic_write
from uncollapse.data.text import sentences

ENDINGS = (".png", ".npz", ".npy", ".txt")


def kind(shape: Size) -> str:
    """What observations of this shape are drawn as: image, points (in the plane) or vector.

    Example:
        >>> kind(Size((3, 32, 32))), kind(Size((28, 28))), kind(Size((2,))), kind(Size((500,)))
        ('image', 'image', 'points', 'vector')
    """
    if len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3)):
        return "image"
    return "points" if shape == (2,) else "vector"


def image_grid(x: Tensor, columns: int | None = None) -> np.ndarray:
    """Images side by side, one black pixel between them.

    Args:
        x: Grey images [N, H, W] or [N, 1, H, W], or colour images [N, 3, H, W], in [0, 1]; what lies outside is clipped.
        columns: Images in a row; by default as many as make the grid about square.

    Returns:
        uint8 [rows (H + 1) - 1, columns (W + 1) - 1], with a last dimension of 3 for colour images.

    Raises:
        ValueError: If these are no images.

    Example:
        >>> image_grid(torch.ones(3, 1, 2, 2), columns=2)
        array([[255, 255,   0, 255, 255],
               [255, 255,   0, 255, 255],
               [  0,   0,   0,   0,   0],
               [255, 255,   0,   0,   0],
               [255, 255,   0,   0,   0]], dtype=uint8)
    """
    if x.dim() < 3 or kind(x.shape[1:]) != "image" or not x.numel():
        raise ValueError(
            f"expected images [N, H, W], [N, 1, H, W] or [N, 3, H, W], came {list(x.shape)}; write .npz for other data"
        )
    x = x.detach().cpu().float().reshape(len(x), -1, *x.shape[-2:]).nan_to_num(0.0).clamp(0, 1)
    n, channels, height, width = x.shape
    columns = min(columns or math.ceil(math.sqrt(n)), n)
    rows = math.ceil(n / columns)
    grid = torch.zeros(rows * columns, channels, height + 1, width + 1)
    grid[:n, :, :height, :width] = x
    grid = grid.reshape(rows, columns, channels, height + 1, width + 1).permute(0, 3, 1, 4, 2)
    pixels = grid.reshape(rows * (height + 1), columns * (width + 1), channels)[:-1, :-1]
    return (255 * pixels).round().to(torch.uint8).numpy().squeeze(-1 if channels == 1 else ())


def save_samples(path: str | Path, x: Tensor, columns: int | None = None, words: Sequence[str] | None = None) -> None:
    """Write observations [N, *shape] to a file, by its ending, whole or not at all.

    ``.png``: a grid of images, a scatter plot of points in the plane, or line plots of other vectors; ``.npy`` and ``.npz``
    (named ``samples``): the numbers; ``.txt``: a line an observation, its numbers in row-major order, or its words.

    Args:
        path: The file.
        x: Observations.
        columns: Images in a row.
        words: The vocabulary, where observations are sentences.

    Raises:
        ValueError: If the ending is none of these.
        OSError: If the file cannot be written; what was there before stays then.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "points.txt"
        >>> save_samples(file, torch.tensor([[0.5, 1.0]]))
        >>> file.read_text()
        '0.5 1\\n'
    """
    path, values = Path(path), x.detach().cpu()
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(
            f"expected a file that ends in {', '.join(ENDINGS)}, came {path.name!r}; write samples.png or samples.npz"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as stream:
        match path.suffix.lower():
            case ".npy":
                np.save(stream, values.numpy())
            case ".npz":
                np.savez_compressed(stream, samples=values.numpy())
            case ".txt" if words is not None:
                stream.writelines(f"{line}\n".encode() for line in sentences(values.flatten(0, -2), words))
            case ".txt":
                np.savetxt(stream, values.reshape(len(values), -1).numpy(), fmt="%.7g")
            case _:
                _save_png(stream, values, columns)


def _save_png(stream: BinaryIO, x: Tensor, columns: int | None) -> None:
    if kind(x.shape[1:]) != "image":
        from uncollapse.report.pictures import pictured

        pictured(x).savefig(stream, dpi=160, facecolor="white", format="png")
        return
    from PIL import Image

    grid = image_grid(x, columns)
    zoom = max(1, 512 // grid.shape[1])
    Image.fromarray(grid.repeat(zoom, 0).repeat(zoom, 1)).save(stream, "PNG")
