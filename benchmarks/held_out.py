"""Held-out log-likelihood by importance sampling against pythae's `get_nll`, in one run: time an image, ratios, nats apart.

    pip install 'uncollapse[benchmarks]' -c constraints.txt
    python benchmarks/held_out.py RUN [--images 10] [--samples 5000] [--bf16] [--device cuda]

Both score the same test images under the weights of a run on binary data, such as `uncollapse train vae-mnist-static`. pythae
takes its default of 100 samples at a time and encodes the image for each. The contestants take turns.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from train_step import pythae_parts

from uncollapse.evaluation import log_likelihood
from uncollapse.training.run import load_data, load_model
from uncollapse.vae import VAE

Score = Callable[[Tensor], float]
"""The negative log-likelihood in nats, the mean over observations."""


def ours(model: VAE, k: int, autocast: torch.dtype | None) -> Score:
    """The library's estimate."""
    return lambda x: log_likelihood(model, x, k, autocast=autocast).nll


def pythae(model: VAE, k: int) -> Score:
    """pythae's, by the same networks."""
    from pythae.models import VAE as Peer
    from pythae.models import VAEConfig

    shape = tuple(model.likelihood.shape)
    config = VAEConfig(input_dim=shape, latent_dim=model.prior.features, reconstruction_loss="bce")
    peer = Peer(config, **pythae_parts(model)).to(next(model.parameters()).device).eval()

    def score(x: Tensor) -> float:
        with torch.no_grad():
            return -float(peer.get_nll(x, n_samples=k))

    return score


def race(contestants: dict[str, Score], x: Tensor, rounds: int) -> dict[str, tuple[list[float], float]]:
    """Milliseconds an image, one number a round, and the mean of the estimates."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    nll: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, score in contestants.items():
            since = time.perf_counter()
            found = score(x)
            if turn:  # the first round warms up
                times[name].append(1000 * (time.perf_counter() - since) / len(x))
                nll[name].append(found)
    return {name: (times[name], statistics.mean(nll[name])) for name in contestants}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder of a model of binary data")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=10, help="scored in each round")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bf16", action="store_true", help="ours with its decoder in bf16 too")
    options = parser.parse_args()
    model, source = load_model(options.run).to(options.device).eval(), load_data(options.run).test
    x = source.batch(source.some(options.images)).x.to(options.device)
    contestants = {"uncollapse": ours(model, options.samples, None), "pythae": pythae(model, options.samples)}
    if options.bf16:
        contestants["uncollapse bf16"] = ours(model, options.samples, torch.bfloat16)
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads, {options.samples} samples")
    found = race(contestants, x, options.rounds)
    theirs, nll = found["pythae"]
    for name, (times, mean) in found.items():
        ratio = statistics.median(b / a for a, b in zip(times, theirs, strict=True))
        print(f"{name:16} {statistics.median(times):9.2f} ms/image   {ratio:5.2f} x as fast as pythae   {mean - nll:+.4f} nats")


if __name__ == "__main__":
    main()
