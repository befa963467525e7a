"""Samplers that are right, good enough or broken by construction, and how often the verdict on them is right.

    python tests/diagnosis/sample_zoo.py --data ring digits --n 100 500 --seeds 20 --out zoo.jsonl

prints a table of verdicts in Markdown. Fashion-MNIST is read from the directory that UNCOLLAPSE_DATA names.
"""

import json
import math
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator

from uncollapse.diagnosis import diagnose_samples

Array = np.ndarray[Any, Any]
DATA = ["ring", "normal-2", "normal-10", "normal-50", "normal-784", "digits", "fashion"]
TRAIN = 4  # training rows, as a multiple of n; as many as there are of digits


@dataclass
class Rows:
    """Rows that a sampler may use, which the judge never sees: n and more of one data set, with labels."""

    name: str
    x: Array
    y: Array

    @property
    def images(self) -> bool:
        return self.name in ("digits", "fashion")

    @property
    def scale(self) -> float:
        return float(self.x.std())

    def some(self, g: Generator, n: int, of: Array | None = None) -> Array:
        """n rows, or n of those that a mask names; each once where there are enough."""
        rows = np.arange(len(self.x)) if of is None else np.flatnonzero(of)
        return self.x[g.choice(rows, n, replace=len(rows) < n)]

    def by_class(self, g: Generator, n: int, shares: Array) -> Array:
        counts = np.bincount(g.choice(len(shares), n, p=shares), minlength=len(shares))
        return np.concatenate([self.some(g, count, self.y == k) for k, count in enumerate(counts) if count])

    @property
    def shares(self) -> Array:
        return np.bincount(self.y) / len(self.y)


@cache
def _known(name: str) -> tuple[Array, Array]:
    if name == "digits":
        from sklearn.datasets import load_digits

        found = load_digits()
        return found.data / 16, found.target
    from uncollapse.data import load

    split = load("fashion-mnist").train
    index = torch.arange(20_000)
    labels = split.labels
    assert labels is not None
    return split.batch(index).x.flatten(1).double().numpy(), labels[index].numpy()


def drawn(name: str, g: Generator, n: int) -> Rows:
    """n rows of a data set."""
    if name in ("digits", "fashion"):
        x, y = _known(name)
        chosen = g.permutation(len(x))[:n]
        return Rows(name, x[chosen], y[chosen])
    if name == "ring":
        y = g.integers(8, size=n)
        x = np.stack((np.cos(y * math.pi / 4), np.sin(y * math.pi / 4)), 1) + 0.05 * g.standard_normal((n, 2))
        return Rows(name, x, y)
    x = g.standard_normal((n, int(name.partition("-")[2])))
    return Rows(name, x, 2 * (x[:, 0] > 0) + (x[:, 1] > 0))


Sampler = Callable[[Rows, Generator, int], Array]


def foreign(share: float, kind: str) -> Sampler:
    """Real rows, some of them replaced: by uniform noise, one bright constant, or rows that lie far off (negative images)."""

    def sample(rows: Rows, g: Generator, n: int) -> Array:
        x, k = rows.some(g, n), round(share * n)
        low, high = float(rows.x.min()), float(rows.x.max())
        if kind == "noise":
            wide = rows.x.mean(0) + 4 * rows.scale * g.standard_normal((k, x.shape[1]))
            x[:k] = g.uniform(low, high, (k, x.shape[1])) if rows.images else wide
        elif kind == "constant":
            x[:k] = high if rows.images else 2 * high
        else:
            x[:k] = low + high - x[:k] if rows.images else x[:k] + 100 * rows.scale
        return x

    return sample


def scaled(factor: float) -> Sampler:
    return lambda rows, g, n: rows.x.mean(0) + factor * (rows.some(g, n) - rows.x.mean(0))


def noisy(share: float, each: bool = False) -> Sampler:
    """Noise of a share of the data's scale, or of each coordinate's own."""

    def sample(rows: Rows, g: Generator, n: int) -> Array:
        scale = rows.x.std(0) if each else rows.scale
        return rows.some(g, n) + share * scale * g.standard_normal((n, rows.x.shape[1]))

    return sample


def over_and_over(k: int, noise: float = 0.0) -> Sampler:
    def sample(rows: Rows, g: Generator, n: int) -> Array:
        few = rows.some(g, k)
        return few[g.integers(k, size=n)] + noise * rows.scale * g.standard_normal((n, few.shape[1]))

    return sample


def centres(k: int) -> Sampler:
    """The centres of k groups of the rows, over and over."""

    def sample(rows: Rows, g: Generator, n: int) -> Array:
        from sklearn.cluster import KMeans

        found = KMeans(k, n_init=1, max_iter=20, random_state=0).fit(rows.x[:2000]).cluster_centers_
        return found[g.integers(k, size=n)]

    return sample


def class_means(noise: float) -> Sampler:
    def sample(rows: Rows, g: Generator, n: int) -> Array:
        means = np.stack([rows.x[rows.y == k].mean(0) for k in np.unique(rows.y)])
        return means[g.integers(len(means), size=n)] + noise * rows.scale * g.standard_normal((n, rows.x.shape[1]))

    return sample


def classes(share: float) -> Sampler:
    """Real rows of the first classes alone."""
    return lambda rows, g, n: rows.some(g, n, rows.y < max(1, round(share * (rows.y.max() + 1))))


def leaning(moved: float) -> Sampler:
    """Real rows, some mass moved to the first class."""
    return lambda rows, g, n: rows.by_class(g, n, (1 - moved) * rows.shares + moved * (np.arange(len(rows.shares)) == 0))


def off_by_a_tenth(rows: Rows, g: Generator, n: int) -> Array:
    """Real rows, half of the classes a tenth too rare, the others a tenth too frequent."""
    k = len(rows.shares)
    shares = rows.shares * np.where(np.arange(k) < k // 2, 0.9, 1.1)
    return rows.by_class(g, n, shares / shares.sum())


def shuffled_columns(rows: Rows, g: Generator, n: int) -> Array:
    return np.stack([g.permutation(column) for column in rows.some(g, n).T], 1)


def copies(share: float, noise: float = 0.0) -> Sampler:
    """Training rows, moved by a share of the distance to the nearest other one, and other real rows."""

    def sample(rows: Rows, g: Generator, n: int) -> Array:
        train, k = training(rows), round(share * n)
        copied = train[g.choice(len(train), k, replace=False)]
        if noise:
            near = torch.cdist(torch.as_tensor(copied), torch.as_tensor(train)).topk(2, largest=False).values[:, 1].median()
            copied = copied + noise * float(near) / math.sqrt(copied.shape[1]) * g.standard_normal(copied.shape)
        return np.concatenate((copied, fresh(rows).some(g, n - k)))

    return sample


def training(rows: Rows) -> Array:
    """The second half of the rows is what the generator was trained on."""
    return rows.x[len(rows.x) // 2 :]


def fresh(rows: Rows) -> Rows:
    half = len(rows.x) // 2
    return Rows(rows.name, rows.x[:half], rows.y[:half])


PERFECT: dict[str, Sampler] = {"other real rows": lambda rows, g, n: rows.some(g, n)}
GOOD: dict[str, Sampler] = {
    "noise of 3 % of the scale": noisy(0.03),
    "noise of 3 % of each coordinate": noisy(0.03, each=True),
    "2 % uniform noise": foreign(0.02, "noise"),
    "2 % one constant": foreign(0.02, "constant"),
    "2 % far off": foreign(0.02, "far"),
    "shifted by 3 % of the scale": lambda rows, g, n: rows.some(g, n) + 0.03 * rows.scale,
    "proportions off by a tenth": off_by_a_tenth,
    "a tenth of the mass in another class": leaning(0.1),
}
HALF = "half of the classes"
BROKEN: dict[str, Sampler] = {
    "one row": over_and_over(1),
    "the mean": lambda rows, g, n: np.tile(rows.x.mean(0), (n, 1)),
    "the classes' means": class_means(0.0),
    "the classes' means, noise of 3 %": class_means(0.03),
    "10 k-means centres": centres(10),
    "50 k-means centres": centres(50),
    "8 rows over and over": over_and_over(8),
    "20 rows over and over": over_and_over(20),
    "100 rows over and over": over_and_over(100),
    "50 rows over and over, noise of 3 %": over_and_over(50, 0.03),
    "one class": lambda rows, g, n: rows.some(g, n, rows.y == 0),
    HALF: classes(0.5),
    "seven tenths of the classes": classes(0.7),
    "one class at half of all samples": leaning(0.45),
    "scale 0.5": scaled(0.5),
    "scale 1.5": scaled(1.5),
    "averages of pairs": lambda rows, g, n: (rows.some(g, n) + rows.some(g, n)) / 2,
    "shuffled columns": shuffled_columns,
    "20 % uniform noise": foreign(0.2, "noise"),
    "20 % one constant": foreign(0.2, "constant"),
    "20 % far off": foreign(0.2, "far"),
    "40 % uniform noise": foreign(0.4, "noise"),
    "40 % one constant": foreign(0.4, "constant"),
    "70 % far off": foreign(0.7, "far"),
    "70 % uniform noise": foreign(0.7, "noise"),
    "noise of the scale": noisy(1.0),
    "shifted by half the scale": lambda rows, g, n: rows.some(g, n) + 0.5 * rows.scale,
}
COPIES: dict[str, Sampler] = {
    "copies": copies(1.0),
    "copies, moved by 1 % of the nearest distance": copies(1.0, 0.01),
    "half copies": copies(0.5),
}


def samplers(data: str) -> Iterator[tuple[str, Sampler]]:
    """What applies to a data set: no classes and no columns that depend on each other in a normal distribution.

    A normal distribution in the plane has its quadrants for classes; half of its classes in more dimensions is one side of its
    first axis.
    """
    for name, sampler in (PERFECT | GOOD | BROKEN | COPIES).items():
        plain = data.startswith("normal")
        classless = plain and data != "normal-2" and ("class" in name or "proportions" in name) and name != HALF
        if not classless and not (plain and name == "shuffled columns"):
            yield name, sampler


def allowed(name: str) -> tuple[str, ...]:
    """What a sampler may be called."""
    return ("healthy", "too few") if name in PERFECT | GOOD else ()


def judged(data: str, name: str, sampler: Sampler, n: int, seed: int) -> Any:
    """The diagnosis of n samples beside n real rows."""
    g = np.random.default_rng([seed, n, DATA.index(data)])
    rows = drawn(data, g, 1797 if data == "digits" else (2 + TRAIN) * n)
    real, rest = rows.x[:n], Rows(data, rows.x[n:], rows.y[n:])
    trained = name in COPIES | PERFECT
    fake = sampler(fresh(rest) if name in PERFECT else rest, g, n)
    copied = torch.as_tensor(training(rest)) if trained else None
    return diagnose_samples(torch.as_tensor(fake), torch.as_tensor(real), train=copied, seed=seed)


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=DATA, choices=DATA)
    parser.add_argument("--n", nargs="+", type=int, default=[100, 500])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True, help="a line of JSON a diagnosis; what is there is not done again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    known = {(line["data"], line["sampler"], line["n"], line["seed"]) for line in done}
    with options.out.open("a") as out:
        for n in options.n:
            for data in options.data:
                for name, sampler in samplers(data):
                    for seed in range(options.seeds):
                        if (data, name, n, seed) not in known:
                            seen = judged(data, name, sampler, n, seed)
                            line = {"data": data, "sampler": name, "n": n, "seed": seed, "verdict": seen.verdict}
                            values = {k: list(v) for k, v in seen.measures.items()}
                            print(json.dumps(line | {"reason": seen.reason, "measures": values}), file=out, flush=True)
                            done.append(line)
    print(table([line for line in done if line["n"] in options.n and line["data"] in options.data]))


def table(lines: list[dict[str, Any]]) -> str:
    """Verdicts in Markdown: a row each sampler, a column each data set, for each n; wrong ones in bold."""
    text = []
    for n in sorted({line["n"] for line in lines}):
        columns = [data for data in DATA if any(line["n"] == n and line["data"] == data for line in lines)]
        text += [f"\nn = {n}\n", "| sampler | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for name in PERFECT | GOOD | BROKEN | COPIES:
            found = [[x["verdict"] for x in lines if (x["n"], x["data"], x["sampler"]) == (n, data, name)] for data in columns]
            cells = [Counter(verdicts) for verdicts in found]
            text.append(f"| {name} | " + " | ".join(_cell(name, cell) for cell in cells) + " |")
    return "\n".join(text)


def _cell(name: str, verdicts: Counter[str]) -> str:
    good = name in PERFECT | GOOD
    wrong = lambda verdict: verdict not in ("healthy", "too few") if good else verdict == "healthy"  # noqa: E731
    return ", ".join(f"**{v} {k}**" if wrong(v) else f"{v} {k}" for v, k in verdicts.most_common())


if __name__ == "__main__":
    sys.exit(main())
