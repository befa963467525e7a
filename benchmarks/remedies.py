"""What remedies cost: the VampPrior against pythae's, and what lagging and semi-amortised inference add to a plain VAE.

    pip install 'uncollapse[benchmarks]' -c constraints.txt
    python benchmarks/remedies.py [--rounds 20] [--images 3]

Gated 784-300-300-40, batch 100, 500 pseudo-inputs, as in `train_step.py`, whose race this is. A step of lagging inference is
one of the decoder with the encoder steps before it, as long as training is aggressive; over a whole training, which is
aggressive at first alone, see the seconds of `uncollapse bench collapse`.
"""

import argparse
import statistics
from functools import partial
from typing import Any

import torch
from held_out import ours as scored
from held_out import race as score_race
from torch import Tensor
from train_step import Make, Steps, loop_of, pythae_parts, race, trained_by_pythae

from uncollapse.distributions import Bernoulli, Normal, Refined, VampPrior, posteriors
from uncollapse.networks import GatedMLP
from uncollapse.vae import ELBO, VAE, Amortized, Lagging, MonteCarloEM

GATED = partial(GatedMLP, hidden=[300, 300])
family = partial(posteriors.Gaussian, network=GATED)


def model(kind: str) -> VAE:
    """The VAE of a kind: plain, vamp or refined."""
    torch.manual_seed(0)
    likelihood = Bernoulli(40, (784,), GATED)
    if kind == "refined":
        return VAE(Normal(40), likelihood, Refined(40, (784,), family, steps=10))
    return VAE(VampPrior(40) if kind == "vamp" else Normal(40), likelihood, family(40, (784,)))


def amortized(kind: str, x: Tensor, compiled: bool) -> Steps:
    return loop_of(Amortized(ELBO(model(kind))), x, compiled)


def lagging(x: Tensor, compiled: bool) -> Steps:
    return loop_of(Lagging(ELBO(model("plain"))), x, compiled)


def monte_carlo(x: Tensor, compiled: bool) -> Steps:
    return loop_of(MonteCarloEM(ELBO(model("plain"))), x, compiled)


def peer_of(mine: VAE) -> Any:
    """pythae's VAE with a VampPrior, by the same networks."""
    from pythae.models import VAMP, VAMPConfig

    config = VAMPConfig(input_dim=(784,), latent_dim=40, reconstruction_loss="bce", number_components=500)
    return VAMP(config, **pythae_parts(mine))


def pythae(x: Tensor, compiled: bool) -> Steps:
    return trained_by_pythae(peer_of(model("vamp")), x)


STEPS: dict[str, Make] = {
    "plain": partial(amortized, "plain"),
    "VampPrior": partial(amortized, "vamp"),
    "VampPrior, pythae": pythae,
    "semi-amortised, 10 steps": partial(amortized, "refined"),
    "lagging, aggressive": lagging,
    "Monte Carlo EM": monte_carlo,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--block", type=int, default=5, help="steps in a block")
    parser.add_argument("--images", type=int, default=3, help="scored in each round, by 5,000 samples each")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads")
    times = race(STEPS, options)
    for who, values in times.items():
        ratio = statistics.median(a / b for a, b in zip(values, times["plain"], strict=True))
        print(f"{who:26} {statistics.median(values):9.2f} ms/step   {ratio:6.2f} x plain", flush=True)
    ahead = statistics.median(a / b for a, b in zip(times["VampPrior, pythae"], times["VampPrior"], strict=True))
    print(f"VampPrior step: {ahead:.2f} times as fast as pythae's")
    mine = model("vamp").eval()
    peer, x = peer_of(mine).eval(), (torch.rand(options.images, 784) < 0.3).float()
    found = score_race(
        {"uncollapse": scored(mine, 5000, None), "pythae": lambda x: -float(peer.get_nll(x, n_samples=5000))}, x, rounds=3
    )
    (own, _), (theirs, _) = found["uncollapse"], found["pythae"]
    ahead = statistics.median(b / a for a, b in zip(own, theirs, strict=True))
    print(f"VampPrior nll, 5,000 samples: {statistics.median(own):.1f} ms an image, {ahead:.1f} times as fast as pythae's")


if __name__ == "__main__":
    main()
