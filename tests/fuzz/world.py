"""What a case finds in its folder: a small VAE and a GAN that were trained, data of each kind, and a bench."""

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzz.contained import Ending, contained

TRAINED = {
    "vae": ["vae", "--latent", "2", "--likelihood.network.hidden", "[8]", "--posterior.network.hidden", "[8]"],
    "gan": ["gan-ring", "--training.ema", "0.9"],
}
BENCH = """tables:
  small:
    recipe: vae
    samples: 10
    rows:
      baseline:
      KL annealing: --objective.beta Linear
"""


def command(argv: list[str]) -> Callable[[], int]:
    """The command line in this process."""

    def run() -> int:
        from uncollapse.cli import main

        return main(argv)

    return run


def built(folder: Path) -> Path:
    """Train the models and write the data of the world.

    Raises:
        RuntimeError: If a training fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, argv in TRAINED.items():
        short = ["--steps", "4", "--batch", "10", "--training.log_every", "1", "--no-report", "--device", "cpu"]
        ended = contained(command(["train", *argv, *short, "--out", name]), folder)
        if ended.status:
            raise RuntimeError(f"the {name} of the world failed: {ended.err}")
    write_data(folder)
    (folder / "bench.yaml").write_text(BENCH, encoding="utf-8")
    return folder


def write_data(folder: Path) -> None:
    """Thirty to sixty rows of each kind of file."""
    import pandas as pd
    from PIL import Image

    g = np.random.default_rng(0)
    rows, pictures = g.normal(size=(60, 3)).astype("f4"), g.integers(0, 256, (30, 8, 8), dtype=np.uint8)
    np.save(folder / "rows.npy", rows)
    np.save(folder / "pictures.npy", pictures)
    np.savez(folder / "rows.npz", train=rows[:40], valid=rows[40:50], test=rows[50:])
    table = pd.DataFrame(rows, columns=["a", "b", "c"])
    table.to_csv(folder / "rows.csv", index=False)
    table.to_parquet(folder / "rows.parquet", index=False)
    words = ["a", "small", "model", "learns", "what", "large", "data", "hide"]
    lines = [" ".join(g.choice(words, int(g.integers(3, 8)))) for _ in range(60)]
    (folder / "lines.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "images").mkdir(exist_ok=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / "images" / f"{i:02}.png")


def copied(world: Path, folder: Path, names: list[str] | None = None) -> Path:
    """A copy of the world, or of some of its names, for one case."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in names or [entry.name for entry in world.iterdir()]:
        source = world / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy2(source, folder / name)
    return folder


def damaged(content: bytes, chance: Random) -> tuple[bytes, str]:
    """A file's bytes with one place changed, and how."""
    at = chance.randrange(max(len(content), 1))
    match chance.choice(["flip", "flip", "flip", "cut", "drop", "insert", "repeat", "empty", "zeros"]):
        case "flip" if content:
            bit = 1 << chance.randrange(8)
            return content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :], f"bit {bit} of byte {at} flipped"
        case "cut":
            return content[:at], f"cut at {at}"
        case "drop":
            n = chance.randint(1, 16)
            return content[:at] + content[at + n :], f"{n} bytes dropped at {at}"
        case "insert":
            new = chance.randbytes(chance.randint(1, 16))
            return content[:at] + new + content[at:], f"{len(new)} bytes inserted at {at}"
        case "repeat":
            return content + content[at:], f"all from byte {at} repeated"
        case "zeros":
            n = chance.randint(1, 64)
            return content[:at] + bytes(n) + content[at + n :], f"{n} zeros at {at}"
    return b"", "emptied"


def wrong(ending: Ending, also: str | None = None) -> dict[str, Any] | None:
    """What is to be told of a case that ended badly; None: it ended well."""
    why = ending.bad or also
    return None if why is None else {"why": why, "status": ending.status, "last": ending.last[-300:], "err": ending.err[-3000:]}
