"""What two processes do for test_processes.py, each started by torchrun: sharing.py FOLDER."""

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path

import torch
from tests.training.conftest import small_vae
from torch import Size
from torch import distributed as dist

from uncollapse.cli import main
from uncollapse.cli.train import console
from uncollapse.data import load
from uncollapse.distributions import BatchNormalized, Bernoulli, Generator, Normal, OptimalSigma, likelihoods, posteriors
from uncollapse.divergences import R1, Critic
from uncollapse.gan import GAN, ImplicitModel
from uncollapse.learning import OptimalCritic, Procedure
from uncollapse.networks import MLP, BatchNormMLP
from uncollapse.training import Training, fit
from uncollapse.training.loop import Loop
from uncollapse.vae import ELBO, VAE, Amortized

SHAPE = Size((1, 8, 8))
plain, normalised = partial(MLP, hidden=[16]), partial(BatchNormMLP, hidden=[16])


def statistics() -> Procedure:
    """Statistics of the batch: its RMSE, and the mean divergence of each unit."""
    likelihood = likelihoods.Gaussian(3, SHAPE, plain, OptimalSigma)
    return Amortized(ELBO(VAE(Normal(3), likelihood, posteriors.Gaussian(3, SHAPE, plain)), free_bits=0.5))


def game() -> Procedure:
    """Each process takes as many steps of the critic as the other."""
    critic = partial(Critic, network=normalised, noise=0.1, pack=5)
    model = ImplicitModel(Normal(3), Generator(3, SHAPE, normalised))
    return OptimalCritic(GAN(model, critic, penalties=[R1(0.1)]), tolerance=0.02, window=2, most=8)


PROCEDURES: dict[str, Callable[[], Procedure]] = {
    "binary": lambda: Amortized(ELBO(small_vae(), k=3)),
    "statistics": statistics,
    "normalised": lambda: Amortized(ELBO(VAE(Normal(3), Bernoulli(3, SHAPE, plain), BatchNormalized(3, SHAPE, plain)))),
    "game": game,
}


def train_all(out: Path) -> None:
    """Train by each procedure in float64, in this process alone or in all that a launcher started."""
    torch.set_default_dtype(torch.float64)
    try:
        for name, make in PROCEDURES.items():
            with torch.random.fork_rng():
                torch.manual_seed(0)
                data = load("digits", binarize="none" if name in ("statistics", "game") else "dynamic")
                training = Training(steps=30, batch_size=50, log_every=10, validate_every=30, ema=0.9, clip=5.0)
                fit(make(), data, training, out=out / name)
    finally:
        torch.set_default_dtype(torch.float32)


def command(out: Path) -> list[str]:
    """A training by the command line."""
    networks = [f"--{part}.network.hidden=[16]" for part in ("posterior", "likelihood")]
    settings = ["--batch", "50", "--training.log_every", "10", "--training.validate_every", "20", "--no-report"]
    return ["train", "vae", *networks, *settings, "--steps", "60", "--out", str(out)]


def train_by_command(out: Path, number: int, step: int, *more: str) -> dict[str, object]:
    """Such a training, the second process sending itself this signal at this step; the status and what was said."""
    advance = Loop.advance

    def signalled(loop: Loop) -> None:
        if loop.step == step and dist.get_rank() == 1:
            os.kill(os.getpid(), number)
        advance(loop)

    Loop.advance = signalled  # type: ignore[method-assign]
    with redirect_stderr(StringIO()) as said:
        console.file = said
        status = main([*command(out / "cli"), *more])
    Loop.advance = advance  # type: ignore[method-assign]
    return {"status": status, "said": said.getvalue()}


class Both(Loop):
    """A loop of two processes and of no other number."""

    def advance(self) -> None:
        assert dist.is_initialized() and dist.get_world_size() == self.accelerator.num_processes == 2
        super().advance()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    sys.modules["uncollapse.training.fit"].Loop = Both  # type: ignore[attr-defined]
    train_all(folder)
    sys.modules["uncollapse.training.fit"].Loop = Loop  # type: ignore[attr-defined]
    sys.modules["uncollapse.training.loop"].AGREE = 1e-9  # type: ignore[attr-defined]  # at every step
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's, which may come before the last line
    for name, number, step, more in (
        ("stopped", signal.SIGTERM, 25, ()),
        ("killed", signal.SIGKILL, 45, ("--resume",)),
    ):
        found = train_by_command(folder, number, step, *more)
        if os.environ["RANK"] == "0":
            (folder / f"{name}.json").write_text(json.dumps(found))
    os._exit(1)
