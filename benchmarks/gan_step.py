"""A DCGAN step against a bare hand-written loop, and in bf16 against float32, in one run: medians and ratios.

    python benchmarks/gan_step.py [--device cuda] [--bf16] [--rounds 20] [--block 2]

Images of 3 x 32 x 32, batch 64, latents of 64, networks of width 64; the same networks and fused Adam for the bare loop, which
takes the same alternating steps: fakes drawn anew for each player, and no gradient of the critic in the generator's turn. Each
contestant is a process of its own and they take turns, as in `train_step.py`. The first line tells what the processor has for
bf16: without AMX there is nothing to win.
"""

import argparse
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Size, Tensor
from train_step import Make, Steps, race

from uncollapse.data import from_arrays
from uncollapse.distributions import Generator, Normal
from uncollapse.divergences import Critic
from uncollapse.gan import GAN, ImplicitModel
from uncollapse.learning import Alternating
from uncollapse.networks import DCGANCritic, DCGANGenerator
from uncollapse.training import Machine, Training
from uncollapse.training.loop import Loop
from uncollapse.training.session import Session
from uncollapse.training.stage import Stage

BATCH, N, LATENT, SHAPE = 64, 2000, 64, Size((3, 32, 32))
network = partial(DCGANGenerator, width=64)
critic_network = partial(DCGANCritic, width=64)


def adam(parameters: Any) -> torch.optim.Optimizer:
    """That of Radford, Metz and Chintala (2016)."""
    return torch.optim.Adam(parameters, lr=2e-4, betas=(0.5, 0.999), fused=True)


def bare(like: Tensor, compiled: bool) -> Steps:
    """The loop that one writes by hand."""
    torch.manual_seed(0)
    x, device = torch.rand(N, *SHAPE).to(like.device), like.device
    generator, critic = network(Size((LATENT,)), SHAPE).to(device), critic_network(SHAPE, Size((1,))).to(device)
    players = adam(generator.parameters()), adam(critic.parameters())

    def fakes() -> Tensor:
        return generator(torch.randn(BATCH, LATENT, device=device))

    def descend(loss: Tensor, player: torch.optim.Optimizer) -> None:
        player.zero_grad()
        loss.backward()
        player.step()

    def steps(n: int) -> None:
        for _ in range(n):
            real = x[torch.randint(len(x), (BATCH,), device=device)]
            with torch.no_grad():
                fake = fakes()
            descend(F.softplus(-critic(real)).mean() + F.softplus(critic(fake)).mean(), players[1])
            critic.requires_grad_(False)
            descend(F.softplus(-critic(fakes())).mean(), players[0])
            critic.requires_grad_(True)

    return steps


def ours(precision: Any, like: Tensor, compiled: bool) -> Steps:
    """The library's loop, with its guard against NaN and its log."""
    torch.manual_seed(0)
    model = ImplicitModel(Normal(LATENT), Generator(LATENT, SHAPE, network))
    procedure = Alternating(GAN(model, partial(Critic, network=critic_network)))
    training, machine = Training(steps=10**9, batch_size=BATCH), Machine(device=like.device.type, precision=precision)
    stage = Stage.of(procedure, training, adam)
    loop = Loop(stage, Session([stage], from_arrays(torch.rand(N, *SHAPE)), machine))

    def steps(n: int) -> None:
        for _ in range(n):
            loop.advance()

    return steps


def instructions() -> str:
    """What the processor computes with."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return f"{torch.backends.cpu.get_cpu_capability()}, {'with' if 'amx_bf16' in flags else 'without'} AMX"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="precision bf16 too")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--block", type=int, default=2, help="steps in a block")
    parser.set_defaults(compile=False)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads, {instructions()}")
    makers: dict[str, Make] = {"bare loop": bare, "uncollapse": partial(ours, "no")}
    times = race(makers | ({"uncollapse, bf16": partial(ours, "bf16")} if options.bf16 else {}), options)
    for who, values in times.items():
        print(f"{who:17} {statistics.median(values):9.2f} ms/step", flush=True)
    dearer = statistics.median(a / b for a, b in zip(times["uncollapse"], times["bare loop"], strict=True))
    print(f"uncollapse: {dearer:.3f} times a bare step")
    if options.bf16:
        ahead = statistics.median(a / b for a, b in zip(times["uncollapse"], times["uncollapse, bf16"], strict=True))
        print(f"bf16: {ahead:.2f} times as fast as float32")


if __name__ == "__main__":
    main()
