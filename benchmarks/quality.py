"""Fréchet distance, from features to a number, against torchmetrics in one run: seconds, ratio, and how far they are apart.

    pip install 'uncollapse[test]' -c constraints.txt
    python benchmarks/quality.py [--vectors 10000] [--size 2048] [--batch 500] [--device cuda] [--rounds 3]

Both are handed the same batches of float32 features, correlated and with a spectrum that falls as 1/i, as that of a network's
features does. The contestants take turns.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from uncollapse.evaluation import Moments, fid

Score = Callable[[Tensor, Tensor], float]


def ours(batch: int) -> Score:
    """The library's."""

    def score(real: Tensor, fake: Tensor) -> float:
        moments = [Moments(x.shape[1], x.device) for x in (real, fake)]
        for sums, x in zip(moments, (real, fake), strict=True):
            for rows in x.split(batch):
                sums.update(rows)
        return fid(*moments)

    return score


def torchmetrics(batch: int) -> Score:
    """Theirs, with features in place of images."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Given(nn.Identity):
        def __init__(self, size: int):
            super().__init__()
            self.num_features = size

    def score(real: Tensor, fake: Tensor) -> float:
        metric = FrechetInceptionDistance(Given(real.shape[1])).to(real.device)
        for x, is_real in ((real, True), (fake, False)):
            for rows in x.split(batch):
                metric.update(rows, real=is_real)
        return float(metric.compute())

    return score


def features(n: int, size: int, seed: int, device: str) -> Tensor:
    """Correlated features; their mean and scale depend on the seed a little."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(size, size, generator=generator) / torch.arange(1, size + 1).sqrt()[:, None]
    draws = torch.randn(n, size, generator=generator.manual_seed(seed))
    return ((1 + 0.1 * seed) * draws @ mixing / size**0.5 + 0.1 * seed).relu().to(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=10_000, help="of each sample")
    parser.add_argument("--size", type=int, default=2048, help="numbers a vector")
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    real, fake = (features(options.vectors, options.size, seed, options.device) for seed in (1, 2))
    contestants = {"uncollapse": ours(options.batch), "torchmetrics": torchmetrics(options.batch)}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    values: dict[str, float] = {}
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads, {tuple(real.shape)} each")
    for _ in range(options.rounds):
        for name, score in contestants.items():
            since = time.perf_counter()
            values[name] = score(real, fake)
            times[name].append(time.perf_counter() - since)
    for name, found in times.items():
        ratio = statistics.median(b / a for a, b in zip(found, times["torchmetrics"], strict=True))
        apart = values[name] / values["torchmetrics"] - 1
        print(f"{name:12} {statistics.median(found):8.3f} s   {ratio:6.2f} x as fast as torchmetrics   {apart:+.1e} apart")


if __name__ == "__main__":
    main()
