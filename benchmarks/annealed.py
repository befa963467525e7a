"""Annealed importance sampling of all images together against a loop over images, in one run: time an image, and the ratio.

    python benchmarks/annealed.py [--images 64] [--temperatures 20] [--device cuda]

The decoder is 50-1024-1024-784 with a Gaussian observation model; its weights are random, the work is that of a trained one.
Both make the same number of transitions; the contestants take turns.
"""

import argparse
import statistics
import time
from functools import partial

import torch
from torch import Tensor

from uncollapse.distributions import FixedSigma, LatentVariableModel, Normal, likelihoods
from uncollapse.evaluation import Annealing, ais
from uncollapse.networks import MLP

SHAPE = torch.Size((784,))


def decoder(latent: int, hidden: int) -> LatentVariableModel:
    """p(z) p(x|z) with σ = 0.1."""
    network = partial(MLP, hidden=[hidden, hidden])
    return LatentVariableModel(Normal(latent), likelihoods.Gaussian(latent, SHAPE, network, partial(FixedSigma, value=0.1)))


def timed(model: LatentVariableModel, images: list[Tensor], chains: int, annealing: Annealing, budget: int) -> float:
    """Milliseconds an image, for images that come in these batches."""
    since = time.perf_counter()
    for x in images:
        ais(model, x, chains, annealing, budget=budget).log_likelihood.sum().item()
    return 1000 * (time.perf_counter() - since) / sum(map(len, images))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--temperatures", type=int, default=20)
    parser.add_argument("--latent", type=int, default=50)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = decoder(options.latent, options.hidden).to(options.device).eval()
    x = model.sample(options.images)
    annealing = Annealing(options.temperatures, adapt="never")
    ways = {"together": [x], "one by one": list(x.split(1))}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds + 1):
        for name, images in ways.items():
            spent = timed(model, images, options.chains, annealing, 2**40)
            if turn:  # the first round warms up
                times[name].append(spent)
    print(
        f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads, {options.temperatures} temperatures"
    )
    ratio = statistics.median(b / a for a, b in zip(times["together"], times["one by one"], strict=True))
    for name, spent in times.items():
        print(f"{name:12} {statistics.median(spent):9.2f} ms/image")
    print(f"together is {ratio:.2f} times as fast as one by one")


if __name__ == "__main__":
    main()
