"""Command lines: options that mean something, and values that do not."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import yaml

from fuzz.contained import CPU_SECONDS, contained
from fuzz.world import command, copied, wrong

ODD = [
    *("", " ", "-1", "0", "1", "-0", "nan", "inf", "-inf", "1e300", "1e-300", "1.5", "2147483648", "9223372036854775807"),
    *(
        "99999999999999999999",
        "1e18",
        "x",
        "[]",
        "{}",
        "[1,2",
        "null",
        "true",
        "~",
        "../../x",
        "/abs",
        "é",
        "\u202e",
        "a" * 3000,
    ),
    *("-", "--", "@rows.npy", "%s", "os.system", "{class_path: os.system, init_args: {command: touch PWNED}}", "*a", "&a [*a]"),
    *("!!python/object/apply:os.system [touch PWNED]", "rows.npy", "vae", "images", "lines.txt", ".", "..", "\x1b[31m", "a\nb"),
]
"""Values that an option rarely expects."""

NUMBERS = ["1", "2", "3", "5", "10"]
DATA = ["digits", "ring", "rows.npy", "rows.npz", "rows.csv", "rows.parquet", "pictures.npy", "images"]
TRAIN = {
    "--seed": ["0", "1", "7"],
    "--batch": ["2", "8", "16"],
    "--latent": ["1", "2", "4"],
    "--prior": ["Normal", "Mixture", "VampPrior", "CouplingPrior"],
    "--posterior": ["Gaussian", "FullGaussian"],
    "--likelihood": ["Bernoulli", "Gaussian"],
    "--likelihood.network.hidden": ["[8]", "[4,4]"],
    "--objective": ["ELBO", "IWAE", "Capacity", "InfoVAE"],
    "--objective.beta": ["Linear", "Constant", "0.5"],
    "--objective.k": NUMBERS,
    "--objective.free_bits": ["0.1", "1.0"],
    "--procedure": ["Amortized", "Lagging"],
    "--optimizer": ["Adam", "AdamW", "SGD"],
    "--optimizer.lr": ["0.001", "0.01"],
    "--optimizer.weight_decay": ["0.0", "0.01"],
    "--training.ema": ["0.9", "0.5"],
    "--training.clip": ["1.0", "10"],
    "--training.patience": NUMBERS,
    "--training.log_every": NUMBERS,
    "--training.validate_every": NUMBERS,
    "--data.binarize": ["none", "static", "dynamic"],
    "--data.dequantize": ["true", "false"],
    "--data": DATA,
    "--device": ["cpu", "auto"],
    "--precision": ["no"],
    "--seeds": ["1", "2"],
}
FLAGS = {"train": ["--json", "--no-report", "--resume", "--options"], "evaluate": ["--json"], "diagnose": ["--json"]}
READING = {"--split": ["train", "valid", "test", "all"], "--device": ["cpu"], "--data": ["digits", "ring", "rows.npy"]}
OPTIONS: dict[str, dict[str, list[str]]] = {
    "train": TRAIN,
    "evaluate": {
        **READING,
        "--samples": NUMBERS,
        "--examples": NUMBERS,
        "--draws": ["20", "50"],
        "--proposal": ["posterior", "widened", "prior", "matched"],
        "--widen": ["1.2", "2"],
        "--seed": NUMBERS,
        "--features": ["pixels"],
        "--chains": ["2"],
        "--temperatures": ["5"],
        "--observation-noise": ["0.1"],
    },
    "diagnose": READING,
    "judge": {"--train": ["rows.npz"], "--features": ["pixels"], "--seed": NUMBERS, "--out": ["page.html"]},
    "sample": {"--n": NUMBERS, "--seed": NUMBERS, "--source": ["prior", "mixture"], "--device": ["cpu"]},
    "encode": READING,
    "reconstruct": {**READING, "--n": NUMBERS},
    "interpolate": {**READING, "--steps": NUMBERS},
    "compare": {},
    "report": {"--device": ["cpu"]},
    "recipes": {},
    "data": {},
    "bench": {
        "--table": ["small"],
        "--only": ["baseline"],
        "--samples": NUMBERS,
        "--draws": ["0", "20"],
        "--steps": ["1", "2"],
    },
}
OUT = {"sample", "encode", "reconstruct", "interpolate"}


def drawn(chance: Random) -> list[str]:
    """One command line."""
    verb = chance.choice(["train"] * 6 + ["evaluate"] * 2 + list(OPTIONS))
    argv = [verb, *_first(verb, chance)]
    for name in chance.sample(list(OPTIONS[verb]), min(chance.randint(0, 3), len(OPTIONS[verb]))):
        argv += [name, chance.choice(OPTIONS[verb][name])]
    if chance.random() < 0.3:
        argv.append(chance.choice(FLAGS.get(verb, ["--json"])))
    if verb in OUT:
        argv += ["--out", chance.choice(["x.npy", "x.npz", "x.png", "x.txt"])]
    return _spoiled(argv, chance) if chance.random() < 0.5 else argv


def _first(verb: str, chance: Random) -> list[str]:
    """What a verb is about."""
    run = chance.choice(["vae", "vae", "gan"])
    match verb:
        case "train":
            return [chance.choice(["vae", "vae", "vae", "gan-ring"]), "--steps", chance.choice(["1", "2", "3"])]
        case "judge":
            return ["rows.npy", "--against", "rows.npy"]
        case "bench":
            return ["bench.yaml", "--steps", "1"]
        case "compare":
            return ["vae", "gan"]
        case "recipes" | "data":
            return []
    return [run]


def _spoiled(argv: list[str], chance: Random) -> list[str]:
    """One or two of its words made odd, lost, repeated, misspelt or swapped."""
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(1, len(argv)) if len(argv) > 1 else 0
        match chance.choice(["odd", "odd", "odd", "lost", "repeated", "misspelt", "swapped", "unknown"]):
            case "odd":
                argv[at] = chance.choice(ODD)
            case "lost":
                argv = argv[:at] + argv[at + 1 :] or ["train"]
            case "repeated":
                argv = [*argv[:at], argv[at], *argv[at:]]
            case "misspelt" if argv[at]:
                place = chance.randrange(len(argv[at]))
                argv[at] = argv[at][:place] + argv[at][place + 1 :]
            case "swapped":
                other = chance.randrange(len(argv))
                argv[at], argv[other] = argv[other], argv[at]
            case _:
                argv = [*argv, "--" + chance.choice(["x", "prior.y", "objective.zz", "training"]), chance.choice(ODD)]
    return argv


def cases(world: Path, folder: Path, n: int, seed: int) -> Iterator[tuple[str, dict[str, Any] | None, bool]]:
    """Each case in words, what is wrong with its end, and whether it was carried out.

    A training that lost its number of steps is at work for minutes: it is stopped, and counts as carried out.
    """
    for i in range(n):
        argv = drawn(Random(f"command {seed} {i}"))
        case = copied(world, folder / "case")
        outside = set(folder.iterdir())
        ending = contained(command(argv), case, CPU_SECONDS * (2 if "--seeds" in argv else 1))
        also = "a command was executed" if (case / "PWNED").exists() else None
        also = also or (f"written outside: {set(folder.iterdir()) - outside}" if set(folder.iterdir()) != outside else None)
        also = also or (_altered(argv, case) if ending.status == 0 else None)
        at_work = ending.status is None and argv[0] == "train" and "--steps" not in argv and "step " in ending.out + ending.err
        yield " ".join(map(repr, argv)), None if at_work else wrong(ending, also), ending.status == 0 or at_work


def _altered(argv: list[str], case: Path) -> str | None:
    """An option of the training that config.yaml does not hold as it was given."""
    file = case / "runs" / argv[1] / "config.yaml" if argv[0] == "train" and len(argv) > 1 else None
    if file is None or not file.exists() or "--options" in argv:
        return None
    held = _flat(yaml.safe_load(file.read_text(encoding="utf-8")))
    short = {"--steps": "training.steps", "--seed": "training.seed", "--batch": "training.batch_size", "--latent": "features"}
    given = {short.get(name, name[2:]): value for name, value in itertools.pairwise(argv) if name in TRAIN or name in short}
    for key, value in given.items():
        if key in held and not _same(value, held[key]):
            return f"--{key} {value} became {held[key]!r}"
    return None


def _same(given: str, held: object) -> bool:
    try:
        read = yaml.safe_load(given)
        return bool(read == held or float(read) == float(held))  # type: ignore[arg-type]
    except (ValueError, TypeError, yaml.YAMLError):
        return given == str(held) or given == str(held).rpartition(".")[2]


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    """Nested values by their dotted names, without `init_args` and `class_path`."""
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, object] = {}
    for name, inner in value.items():
        own = prefix if name in ("init_args", "class_path") else f"{prefix}.{name}".lstrip(".")
        found |= _flat(inner, own)
    return found
