"""Held-out likelihoods of trained decoders, VAEs and GANs alike, in one table: the AIS bound and how far it may be off.

    python benchmarks/likelihoods.py RUN [RUN ...] [--images 100] [--chains 16] [--temperatures 1000] [--device cuda]

Every decoder is seen through Gaussian noise that is chosen on validation images (`choose_noise`), whatever its own density.
The gap between the bounds from both sides is of images that the model made. Last stands the kernel density of noiseless draws,
its bandwidth chosen on validation images: the baseline that misleads.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from uncollapse.data import Data
from uncollapse.distributions import LatentVariableModel
from uncollapse.evaluation import Annealing, choose_noise, evaluate_annealed, kde, observed
from uncollapse.training.run import load_data, load_model

VALIDATION = 50  # images that a noise is chosen by
DRAWS = 10_000  # of the kernel density


def parzen(model: LatentVariableModel, data: Data, images: int) -> float:
    """The mean kernel density of test images, nats."""
    x, validation = (source.batch(source.some(images)).x.to(model.like) for source in (data.test, data.valid))
    with torch.no_grad():
        draws = torch.cat([model.likelihood(model.prior().sample(torch.Size((1000,)))).mean for _ in range(DRAWS // 1000)])
    return float(kde(draws, x, validation=validation).log_likelihood.mean())


def row(name: str, sigma: float, found: dict[str, Any], density: float, seconds: float) -> str:
    """A line of the table."""
    numbers = [f"{found[key]:.2f} ± {found[f'{key}_standard_error']:.2f}" for key in ("ais", "bracket_gap")]
    spread = f"{found['acceptance']:.2f} | {found['effective_chains']:.1f}"
    return f"| {name} | {sigma:.3f} | {' | '.join(numbers)} | {spread} | {density:.1f} | {seconds:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--temperatures", type=int, default=1000)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {options.device}, {options.chains} chains of {options.temperatures} temperatures")
    print("| run | noise | AIS, nats | BDMC gap | acceptance | effective chains | kernel density | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for run in options.runs:
        model, data = load_model(run).to(options.device).eval(), load_data(run)
        x = data.valid.batch(data.valid.some(VALIDATION)).x.to(model.like)
        since = time.perf_counter()
        sigma = choose_noise(model, x).sigma
        sizes = options.images, options.chains, Annealing(options.temperatures)
        found = evaluate_annealed(observed(model, sigma), data, "test", *sizes, simulated=options.images)
        spent = time.perf_counter() - since
        print(row(run.name, sigma, found, parzen(model, data, options.images), spent), flush=True)


if __name__ == "__main__":
    main()
