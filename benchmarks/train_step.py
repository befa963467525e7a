"""A training step against a bare hand-written loop and against pythae, in one run: medians and ratios.

    pip install 'uncollapse[benchmarks]' -c constraints.txt
    python benchmarks/train_step.py [--device cuda] [--compile] [--peer]

The same network, batch 100, 784 inputs, fused Adam and index batches for the bare loop; pythae with its own trainer's loop. The
contestants take turns, so that what else the machine does falls on all alike.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uncollapse.data import from_arrays
from uncollapse.distributions import Bernoulli, Normal, posteriors
from uncollapse.networks import MLP, GatedMLP
from uncollapse.training import Machine, Training
from uncollapse.training.fit import Loop
from uncollapse.vae import ELBO, VAE, Amortized

NETWORKS = {
    "gated 300-300, z 40": (40, partial(GatedMLP, hidden=[300, 300])),
    "mlp 512, z 16": (16, partial(MLP, hidden=[512])),
}
BATCH, N = 100, 10_000


def model(latent: int, network: Callable) -> VAE:
    """A VAE on 784 binary inputs."""
    torch.manual_seed(0)
    return VAE(Normal(latent), Bernoulli(latent, (784,), network), posteriors.Gaussian(latent, (784,), network))


def bare(latent: int, network: Callable, x: Tensor, compiled: bool) -> Iterator[None]:
    """The loop that one writes by hand; each `next` is a step."""
    vae = model(latent, network).to(x.device)
    encoder, decoder = vae.posterior.network, vae.likelihood.network
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)

    def loss(b: Tensor) -> Tensor:
        mu, log_sigma = encoder(b).chunk(2, -1)
        z = mu + torch.randn_like(mu) * log_sigma.exp()
        reconstruction = F.binary_cross_entropy_with_logits(decoder(z), b, reduction="sum")
        kl = 0.5 * (mu.square() + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum()
        return (reconstruction + kl) / len(b)

    objective = torch.compile(loss) if compiled else loss
    while True:
        for index in torch.randperm(len(x), device=x.device).split(BATCH):
            value = objective(x[index])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            yield


def ours(latent: int, network: Callable, x: Tensor, compiled: bool) -> Iterator[None]:
    """The library's loop, with its guard against NaN and its log."""
    data = from_arrays(x.cpu().bool().numpy())
    objective = ELBO(model(latent, network))
    machine = Machine(device=x.device.type, compile=compiled)
    loop = Loop(Amortized(objective), data, Training(steps=10**9), _adam, machine, None, [])
    while True:
        loop._learn()
        loop.step += 1
        if loop.step % loop.training.log_every == 0:
            loop._report()
        yield


def _adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=1e-3)


def pythae(latent: int, network: Callable, x: Tensor, compiled: bool) -> Iterator[None]:
    """pythae's training epoch, entered a step at a time through its data loader."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE as Peer
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = network((784,), (2 * latent,))

        def forward(self, b: Tensor) -> ModelOutput:
            mu, log_covariance = self.network(b).chunk(2, -1)
            return ModelOutput(embedding=mu, log_covariance=log_covariance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = network((latent,), (784,))

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))

    torch.manual_seed(0)
    default = "mlp" in _name(latent)
    parts = {} if default else {"encoder": Encoder(), "decoder": Decoder()}
    peer = Peer(VAEConfig(input_dim=(784,), latent_dim=latent, reconstruction_loss="bce"), **parts)
    config = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(),
        num_epochs=1,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-3,
        no_cuda=x.device.type == "cpu",
    )
    labels = torch.ones(len(x))
    trainer = BaseTrainer(peer, BaseDataset(x.cpu(), labels), training_config=config)
    trainer.prepare_training()
    return _stepped(trainer)


def _stepped(trainer: object) -> Iterator[None]:
    """One `next` a batch: the trainer's own epoch, its loader wrapped so that each batch waits for its turn."""
    import threading

    turn, done = threading.Semaphore(0), threading.Semaphore(0)
    loader = trainer.train_loader  # type: ignore[attr-defined]

    class Gate:
        dataset, batch_size = loader.dataset, loader.batch_size

        def __len__(self) -> int:
            return len(loader)

        def __iter__(self) -> Iterator:
            first = True
            for batch in loader:
                if not first:
                    done.release()
                    turn.acquire()
                first = False
                yield batch

    trainer.train_loader = Gate()  # type: ignore[attr-defined]

    def run() -> None:
        turn.acquire()
        while True:
            trainer.train_step(epoch=1)  # type: ignore[attr-defined]

    threading.Thread(target=run, daemon=True).start()
    while True:
        turn.release()
        done.acquire()
        yield


def _name(latent: int) -> str:
    return next(name for name, (size, _) in NETWORKS.items() if size == latent)


def race(runners: dict[str, Iterator[None]], rounds: int, block: int, device: str) -> dict[str, list[float]]:
    """Milliseconds a step, one number a round, in blocks that take turns."""
    times: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(rounds + 1):
        for name, runner in runners.items():
            _wait(device)
            since = time.perf_counter()
            for _ in range(block):
                next(runner)
            _wait(device)
            if turn:  # the first round warms up
                times[name].append(1000 * (time.perf_counter() - since) / block)
    return times


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--peer", action="store_true", help="pythae too")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--block", type=int, default=60)
    options = parser.parse_args()
    torch.manual_seed(0)
    x = (torch.rand(N, 784, device=options.device) < 0.3).float()
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads, compile {options.compile}")
    for name, (latent, network) in NETWORKS.items():
        contestants = {"bare loop": bare, "uncollapse": ours, **({"pythae": pythae} if options.peer else {})}
        runners = {who: start(latent, network, x, options.compile) for who, start in contestants.items()}
        times = race(runners, options.rounds, options.block, options.device)
        for who, values in times.items():
            ratio = statistics.median(a / b for a, b in zip(values, times["uncollapse"], strict=True))
            print(f"{name:22} {who:12} {statistics.median(values):8.3f} ms/step   {ratio:5.2f} x uncollapse")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
