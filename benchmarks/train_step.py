"""A training step against a bare hand-written loop and against pythae, in one run: medians and ratios.

    pip install 'uncollapse[benchmarks]' -c constraints.txt
    python benchmarks/train_step.py [--device cuda] [--compile] [--peer]

The same network, batch 100, 784 binary inputs; fused Adam and index batches for the bare loop; for pythae its trainer's own
`train_step` without its progress bar, its default networks where ours are the same. Each contestant is a process of its own,
with its own memory and threads. They take turns in short blocks, so that what else the machine does falls on all alike; a ratio
is the median of the ratios of neighbouring blocks.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse.data import from_arrays
from uncollapse.distributions import Bernoulli, Normal, posteriors
from uncollapse.learning import Procedure
from uncollapse.networks import MLP, Factory, GatedMLP
from uncollapse.training import Machine, Training
from uncollapse.training.loop import Loop
from uncollapse.training.session import Session
from uncollapse.training.stage import Stage
from uncollapse.vae import ELBO, VAE, Amortized

BATCH, N = 100, 10_000
Steps = Callable[[int], None]
"""Takes so many training steps."""

Make = Callable[[Tensor, bool], Steps]
"""A contestant, made from the data and whether to compile; a function that a new process can import."""


class Setting(NamedTuple):
    """A network to race on."""

    latent: int
    network: Factory
    default_of_pythae: bool = False


SETTINGS = {
    "gated 300-300, z 40": Setting(40, partial(GatedMLP, hidden=[300, 300])),
    "mlp 512, z 16": Setting(16, partial(MLP, hidden=[512]), default_of_pythae=True),
}


def vae(setting: Setting) -> VAE:
    """A VAE on 784 binary inputs."""
    torch.manual_seed(0)
    latent, network, _ = setting
    return VAE(Normal(latent), Bernoulli(latent, (784,), network), posteriors.Gaussian(latent, (784,), network))


def bare(setting: Setting, x: Tensor, compiled: bool) -> Steps:
    """The loop that one writes by hand."""
    model = vae(setting).to(x.device)
    encoder, decoder = model.posterior.network, model.likelihood.network
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def loss(b: Tensor) -> Tensor:
        mu, log_sigma = encoder(b).chunk(2, -1)
        z = mu + torch.randn_like(mu) * log_sigma.exp()
        reconstruction = F.binary_cross_entropy_with_logits(decoder(z), b, reduction="sum")
        kl = 0.5 * (mu.square() + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum()
        return (reconstruction + kl) / len(b)

    objective = torch.compile(loss) if compiled else loss

    def batches() -> Iterator[Tensor]:
        while True:
            yield from torch.randperm(len(x), device=x.device).split(BATCH)

    order = batches()

    def steps(n: int) -> None:
        for index in islice(order, n):
            value = objective(x[index])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()

    return steps


def ours(setting: Setting, x: Tensor, compiled: bool) -> Steps:
    """The library's loop, with its guard against NaN and its log."""
    return loop_of(Amortized(ELBO(vae(setting))), x, compiled)


def loop_of(procedure: Procedure, x: Tensor, compiled: bool) -> Steps:
    """The library's loop on a procedure."""
    data = from_arrays(x.cpu().bool().numpy())
    machine = Machine(device=x.device.type, compile=compiled)
    stage = Stage.of(procedure, Training(steps=10**9, batch_size=BATCH), _adam)
    loop = Loop(stage, Session([stage], data, machine))

    def steps(n: int) -> None:
        for _ in range(n):
            loop.advance()

    return steps


def _adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=1e-3)


def pythae(setting: Setting, x: Tensor, compiled: bool) -> Steps:
    """The training step of pythae's trainer."""
    from pythae.models import VAE as Peer
    from pythae.models import VAEConfig

    torch.manual_seed(0)
    parts = {} if setting.default_of_pythae else pythae_parts(vae(setting))
    return trained_by_pythae(
        Peer(VAEConfig(input_dim=(784,), latent_dim=setting.latent, reconstruction_loss="bce"), **parts), x
    )


def trained_by_pythae(peer: Any, x: Tensor) -> Steps:
    """The steps of pythae's trainer on a model of its own."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    config = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(),
        num_epochs=1,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-3,
        no_cuda=x.device.type == "cpu",
    )
    trainer = BaseTrainer(peer, BaseDataset(x.cpu(), torch.ones(len(x))), training_config=config)
    trainer.prepare_training()
    trainer.callback_handler.callbacks = []
    loader = trainer.train_loader

    class Some:
        """The next batches of the loader, as many as are asked for: what the trainer takes for an epoch."""

        dataset, n = loader.dataset, 1

        def __init__(self) -> None:
            self.batches = self._forever()

        def _forever(self) -> Iterator[Any]:
            while True:
                yield from loader

        def __len__(self) -> int:
            return self.n

        def __iter__(self) -> Iterator[Any]:
            return islice(self.batches, self.n)

    trainer.train_loader = some = Some()

    def steps(n: int) -> None:
        some.n = n
        trainer.train_step(epoch=1)

    return steps


def pythae_parts(model: VAE) -> dict[str, nn.Module]:
    """The networks of ours as pythae's encoder and decoder, the same model."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.posterior = model.posterior

        def forward(self, x: Tensor) -> ModelOutput:
            q = self.posterior(x)
            return ModelOutput(embedding=q.loc, log_covariance=2 * q.log_scale)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = model.likelihood.network

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))

    return {"encoder": Encoder(), "decoder": Decoder()}


CONTESTANTS = {"bare loop": bare, "uncollapse": ours, "pythae": pythae}


def contestant(make: Make, options: argparse.Namespace, wire: Connection) -> None:
    """The process of one contestant: told a number of steps, it takes them and answers with milliseconds a step."""
    torch.manual_seed(0)
    x = (torch.rand(N, 784, device=options.device) < 0.3).float()
    steps = make(x, options.compile)
    steps(options.block)
    while n := wire.recv():
        since = time.perf_counter()
        steps(n)
        if options.device == "cuda":
            torch.cuda.synchronize()
        wire.send(1000 * (time.perf_counter() - since) / n)


def race(contestants: dict[str, Make], options: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds a step, one number a round, in blocks that take turns."""
    context, wires, processes = get_context("spawn"), {}, []
    for who, make in contestants.items():
        wires[who], theirs = context.Pipe()
        processes.append(context.Process(target=contestant, args=(make, options, theirs), daemon=True))
        processes[-1].start()
    times: dict[str, list[float]] = {who: [] for who in contestants}
    for turn in range(options.rounds + 2):
        for who, wire in wires.items():
            wire.send(options.block)
            elapsed = wire.recv()
            time.sleep(0.02)  # its threads go to sleep
            if turn > 1:  # the first rounds warm up
                times[who].append(elapsed)
    for wire, process in zip(wires.values(), processes, strict=True):
        wire.send(0)
        process.join()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--peer", action="store_true", help="pythae too")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--block", type=int, default=10, help="steps in a block")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads, compile {options.compile}")
    for name, setting in SETTINGS.items():
        names = [who for who in CONTESTANTS if options.peer or who != "pythae"]
        times = race({who: partial(CONTESTANTS[who], setting) for who in names}, options)
        for who, values in times.items():
            ratio = statistics.median(a / b for a, b in zip(values, times["uncollapse"], strict=True))
            print(f"{name:22} {who:12} {statistics.median(values):8.3f} ms/step   {ratio:5.2f} x uncollapse", flush=True)


if __name__ == "__main__":
    main()
