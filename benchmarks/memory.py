"""Peak memory at two sizes: training steps, importance samples, scored images, and images streamed from a file.

    python benchmarks/memory.py

Each row is a process of its own on Linux. Its peak is the largest of its own memory (RssAnon), looked at every five
milliseconds: pages of a mapped file, which the system takes back when it needs them, do not count.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from threading import Thread

import numpy as np
import torch

from uncollapse.data import from_arrays, load
from uncollapse.distributions import Bernoulli, Normal, posteriors
from uncollapse.evaluation import log_likelihood
from uncollapse.networks import GatedMLP
from uncollapse.training import Training, fit
from uncollapse.vae import ELBO, VAE, Amortized

SHAPE = (784,)


def vae() -> VAE:
    """784-300-300-40, gated."""
    return VAE(Normal(40), Bernoulli(40, SHAPE, GatedMLP), posteriors.Gaussian(40, SHAPE, GatedMLP))


def steps(n: int) -> None:
    """n training steps."""
    data = from_arrays(np.random.default_rng(0).random((5000, *SHAPE)) < 0.3)
    fit(Amortized(ELBO(vae())), data, Training(steps=n, batch_size=100, log_every=200, validate_every=1000))


def samples(n: int) -> None:
    """n importance samples for each of 20 images."""
    log_likelihood(vae(), torch.bernoulli(torch.full((20, *SHAPE), 0.3)), n)


def images(n: int) -> None:
    """5,000 importance samples for each of n images, which come in batches."""
    log_likelihood(vae(), (torch.bernoulli(torch.full((100, *SHAPE), 0.3)) for _ in range(n // 100)), 5000)


def streamed(n: int) -> None:
    """A hundred training steps on n images of a file, all larger than the 100 MB that may lie in memory."""
    os.environ["UNCOLLAPSE_MEMORY"] = str(10**8)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.npy"
        mapped = np.lib.format.open_memmap(file, "w+", np.float32, (n, *SHAPE))
        for part in np.array_split(np.arange(n), max(1, n // 10_000)):
            mapped[part] = (np.random.default_rng(0).random((len(part), *SHAPE)) < 0.3).astype(np.float32)
        del mapped
        fit(Amortized(ELBO(vae())), load(str(file)), Training(steps=100, batch_size=100, validate_every=1000))


SIZES: dict[Callable[[int], None], tuple[int, int]] = {
    steps: (1000, 8000),
    samples: (500, 50_000),
    images: (200, 1600),
    streamed: (50_000, 200_000),
}


def peak(work: Callable[[int], None], n: int, answer) -> None:  # type: ignore[no-untyped-def]
    """The process of one row."""
    torch.manual_seed(0)
    seen = [0.0]

    def watch() -> None:
        while True:
            line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
            seen[0] = max(seen[0], int(line.split()[1]) / 1024)
            time.sleep(0.005)

    Thread(target=watch, daemon=True).start()
    work(n)
    answer.put(seen[0])


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    context = get_context("spawn")
    for work, sizes in SIZES.items():
        for n in sizes:
            answer = context.Queue()
            process = context.Process(target=peak, args=(work, n, answer))
            process.start()
            print(f"{work.__name__:10} {n:8}   {answer.get():7.0f} MiB", flush=True)
            process.join()


if __name__ == "__main__":
    main()
