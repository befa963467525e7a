"""Held-out likelihoods of trained decoders, VAEs and GANs alike, in one table: the AIS bound and how far it may be off.

    python benchmarks/likelihoods.py RUN [RUN ...] [--images 100] [--chains 16] [--temperatures 1000] [--device cuda]

Every decoder is seen through Gaussian noise that is chosen on validation images (`choose_noise`); one that has a density of its
own is measured by that too. The gap between the bounds from both sides is of images that the model made. Last stands the
kernel density of draws, its bandwidth chosen on validation images: the baseline that misleads.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from uncollapse.data import Data
from uncollapse.distributions import LatentVariableModel
from uncollapse.evaluation import Annealing, choose_noise, evaluate_annealed, kde, observed
from uncollapse.training.run import load_data, load_model

VALIDATION = 50  # images that a noise is chosen by
DRAWS = 10_000  # of the kernel density


def seen(model: LatentVariableModel, data: Data) -> Iterator[tuple[str, LatentVariableModel]]:
    """The model by its own density, if it has one, and through the noise that suits it best."""
    if model.likelihood.density.weighs:
        yield "its own", model
    x = data.valid.batch(data.valid.some(VALIDATION)).to(model.like)
    sigma = choose_noise(model, x).sigma
    yield f"{sigma:.3f}", observed(model, sigma)


def parzen(model: LatentVariableModel, data: Data, images: int) -> float:
    """The mean kernel density of test images, nats."""
    like = model.like
    x, validation = (source.batch(source.some(images)).to(like) for source in (data.test, data.valid))
    with torch.no_grad():
        draws = torch.cat([model.likelihood(model.prior().sample(torch.Size((1000,)))).mean for _ in range(DRAWS // 1000)])
    return float(kde(draws, x, validation=validation).log_likelihood.mean())


def row(name: str, noise: str, found: dict[str, Any], density: float, seconds: float) -> str:
    """A line of the table."""
    numbers = [f"{found[key]:.1f} ± {found[f'{key}_standard_error']:.1f}" for key in ("ais", "bracket_gap")]
    spread = f"{found['acceptance']:.2f} | {found['effective_chains']:.1f}"
    return f"| {name} | {noise} | {' | '.join(numbers)} | {spread} | {density:.1f} | {seconds:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--temperatures", type=int, default=1000)
    options = parser.parse_args()
    annealing = Annealing(options.temperatures)
    print(f"torch {torch.__version__}, {options.device}, {options.chains} chains of {options.temperatures} temperatures")
    print("| run | noise | AIS, nats | BDMC gap | acceptance | effective chains | kernel density | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for run in options.runs:
        model, data = load_model(run).to(options.device).eval(), load_data(run)
        density = parzen(model, data, options.images)
        for noise, view in seen(model, data):
            since = time.perf_counter()
            found = evaluate_annealed(view, data, "test", options.images, options.chains, annealing, simulated=options.images)
            print(row(run.name, noise, found, density, time.perf_counter() - since), flush=True)


if __name__ == "__main__":
    main()
