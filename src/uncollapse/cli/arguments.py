"""The verbs and their options; nothing here imports torch."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn


@dataclass(frozen=True)
class Verb:
    """A verb of the command line: its line of help, the function that carries it out, and what adds its options."""

    help: str
    function: str
    options: Callable[[ArgumentParser], object] = field(default=lambda parser: None)
    epilog: str = ""
    names: str | None = None  # what its first argument names, beside which options of a recipe's parts may stand


class Parser(ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


MOST = 10_000_000
"""The largest number of samples, draws or examples of a verb: of as many, the error is 0.0003 standard deviations."""


def positive(text: str) -> int:
    """A whole number of at least 1.

    Example:
        >>> positive("64")
        64
    """
    return _whole(text, 1, 10**18)


def counted(text: str) -> int:
    """A whole number from 1 to `MOST`.

    Example:
        >>> counted("64")
        64
    """
    return _whole(text, 1, MOST)


def several(text: str) -> int:
    """A whole number of at least 2, so that there is a standard error.

    Example:
        >>> several("2")
        2
    """
    if counted(text) < 2:
        raise ArgumentTypeError(f"expected at least 2, for a standard error, came {text}")
    return counted(text)


def none_or_counted(text: str) -> int:
    """A whole number from 0 to `MOST`.

    Example:
        >>> none_or_counted("0")
        0
    """
    return _whole(text, 0, MOST)


def seeds(text: str) -> int:
    """A whole number from 1 to 10,000: as many trainings follow.

    Example:
        >>> seeds("5")
        5
    """
    return _whole(text, 1, 10_000)


def seed(text: str) -> int:
    """A whole number from 0 to 2⁶³ - 1.

    Example:
        >>> seed("0")
        0
    """
    return _whole(text, 0, 2**63 - 1)


def _whole(text: str, least: int, most: int) -> int:
    """A whole number of this range.

    Example:
        >>> _whole("-3", 0, 9)
        Traceback (most recent call last):
        argparse.ArgumentTypeError: expected a whole number of at least 0, came -3
    """
    digits = text[1:] if text[:1] in ("+", "-") else text
    number = int(text) if digits.isdecimal() and len(digits) < 100 else None
    if (number is None and not digits.isdecimal()) or (number is not None and number < least):
        raise ArgumentTypeError(f"expected a whole number of at least {least}, came {text:.40}")
    if number is None or number > most:
        raise ArgumentTypeError(f"expected a whole number of at most {most:,}, came {text:.40}")
    return number


def factor(text: str) -> float:
    """A real number from 0.01 to 100.

    Example:
        >>> factor("1.2")
        1.2
    """
    return _real(text, 0.01, 100.0)


def deviation(text: str) -> float:
    """A real number from 10⁻⁶ to 10⁶, whose square float32 tells from 0.

    Example:
        >>> deviation("0.1")
        0.1
    """
    return _real(text, 1e-6, 1e6)


def _real(text: str, least: float, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise ArgumentTypeError(f"expected a number from {least:g} to {most:g}, came {text:.40}")
    return number


def place(text: str) -> Path:
    """The path of a file or folder to write.

    Example:
        >>> place("")
        Traceback (most recent call last):
        argparse.ArgumentTypeError: expected a path, came ''
    """
    if not text.strip() or "\0" in text:
        raise ArgumentTypeError(f"expected a path, came {text!r:.40}")
    return Path(text)


def check_out(out: Path | None) -> None:
    """Refuse to write where the folder above is missing: `--out` makes at most what it names, and `runs`, where runs are kept.

    Raises:
        FileNotFoundError: If the folder above is not there, or is none.
    """
    if out is not None and out.parent != Path("runs") and not out.absolute().parent.is_dir():
        raise FileNotFoundError(f"expected --out in a folder that is there, got {out}; make {out.parent} first")


def _imports(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="FILE.py",
        help="import a file, or an installed module, with parts of your own: its classes may be named then, no others",
    )


def _run(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder that `uncollapse train` wrote")
    _imports(parser)
    parser.add_argument(
        "--device", default="auto", metavar="D", help="auto (an accelerator if there is one), cpu, cuda, cuda:1, mps"
    )


def _split(parser: ArgumentParser, split: str = "test") -> None:
    parser.add_argument("--data", metavar="D", help="other data: a name or a file (default: the run's own)")
    parser.add_argument(
        "--split",
        choices=["train", "valid", "test", "all"],
        help=f"all: every row, in the order of the file (default: {split}; all of other data that come unsplit)",
    )
    parser.set_defaults(held_out=split)


def _json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


FEATURES = ["pixels", "digits", "inception"]  # the names of evaluation/extractors.py, which takes long to import


def _evaluate(parser: ArgumentParser) -> None:
    """Defaults that are None here are filled in by cli/kinds.py: it refuses what is given and means nothing."""
    _run(parser)
    _split(parser)
    parser.add_argument(
        "--samples", type=counted, metavar="K", help="importance samples each (default: 1000 of a VAE, no likelihood of a GAN)"
    )
    parser.add_argument(
        "--proposal",
        choices=["posterior", "widened", "prior", "matched"],
        help="where they come from (default: posterior; matched, a Gaussian with its moments, where it has no density), or "
        "where annealed chains start (default: prior)",
    )
    parser.add_argument("--widen", type=factor, metavar="F", help="factor of a widened or matched one (default: 1.2)")
    parser.add_argument(
        "--examples",
        type=positive,
        metavar="N",
        help="only N of the split, at random and always the same ones (default: all; 100 with --annealed and of a GAN)",
    )
    parser.add_argument(
        "--draws", type=counted, metavar="N", help="quality and diversity of N draws (default: 2500 of a GAN, none of a VAE)"
    )
    parser.add_argument(
        "--features",
        choices=FEATURES,
        help="what FID, recall and the like are taken over: pixels, this project's classifier of digits, Inception-v3 "
        "(default: pixels)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the samples (default: %(default)s)")
    _chains(parser)
    _json(parser)


def _chains(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--annealed", action="store_true", help="log p(x) by annealed importance sampling instead, of a VAE or a GAN"
    )
    parser.add_argument("--chains", type=counted, metavar="K", help="annealed chains for each observation (default: 16)")
    parser.add_argument("--temperatures", type=counted, metavar="T", help="temperatures of a chain (default: 1000)")
    parser.add_argument(
        "--simulated", type=several, metavar="N", help="also bounds from both sides, on N observations that the model makes"
    )
    parser.add_argument(
        "--observation-noise",
        type=deviation,
        metavar="S",
        help="standard deviation that gives a generator a density (default: chosen on the validation split)",
    )


def _diagnose(parser: ArgumentParser) -> None:
    _run(parser)
    _split(parser, "valid")
    _json(parser)


def _judge(parser: ArgumentParser) -> None:
    parser.add_argument("fakes", metavar="FAKES", help="samples of any generator: " + READ)
    parser.add_argument(
        "--against", required=True, metavar="REALS", help="real rows that it was not trained on, a few hundred or more"
    )
    parser.add_argument("--train", metavar="TRAIN", help="all rows that it was trained on, to tell copies of them")
    parser.add_argument(
        "--features",
        default="pixels",
        metavar="F",
        help="what distances are taken over: pixels (the numbers themselves), digits, inception, or FILE.npz of your own "
        "features: arrays fakes, reals and, with --train, train, rows in order (default: pixels)",
    )
    parser.add_argument(
        "--standardize",
        action=BooleanOptionalAction,
        help="each column in units of the real rows' standard deviation (default: of .csv and .parquet)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the rows that are chosen (default: %(default)s)")
    parser.add_argument("--out", type=place, metavar="PAGE.html", help="write a page with pictures")
    _json(parser)


READ = "a folder of images, a .npy, .npz, .csv or .parquet file, FILE.npz:ARRAY, or a data set's name, NAME:SPLIT"


def _out(parser: ArgumentParser, what: str) -> None:
    parser.add_argument("--out", type=place, required=True, metavar="FILE", help=what)


def _sample(parser: ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("--n", type=positive, default=64, help="how many (default: %(default)s)")
    parser.add_argument(
        "--source",
        choices=["prior", "mixture"],
        default="prior",
        help="draw latents from the prior, or from the mixture fitted to the aggregated posterior",
    )
    parser.add_argument(
        "--condition",
        metavar="C",
        help="of a conditional model: a class, or all, for --n of each; default: the training data's",
    )
    parser.add_argument("--mean", action="store_true", help="the mean of p(x|z) in place of a draw, for pictures without noise")
    parser.add_argument("--seed", type=seed, default=0, help="default: %(default)s")
    _out(parser, ".png, .npz, .npy or .txt (sentences are written as words)")


def _encode(parser: ArgumentParser) -> None:
    _run(parser)
    _split(parser)
    _out(parser, "latents [N, L]: .npz, .npy or .txt")


def _reconstruct(parser: ArgumentParser) -> None:
    _run(parser)
    _split(parser)
    parser.add_argument("--n", type=positive, default=16, help="how many, from the first (default: %(default)s)")
    _out(parser, ".png, .npz, .npy or .txt (sentences are written as words)")


def _interpolate(parser: ArgumentParser) -> None:
    _run(parser)
    _split(parser)
    parser.add_argument("--between", type=int, nargs=2, default=[0, 1], metavar=("A", "B"), help="numbers of two observations")
    parser.add_argument("--steps", type=positive, default=10, help="default: %(default)s")
    _out(parser, ".png, .npz, .npy or .txt (sentences are written as words)")


def _compare(parser: ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders")
    _json(parser)


def _train(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=place, metavar="DIR", help="run folder (default: runs/RECIPE)")
    parser.add_argument("--resume", action="store_true", help="go on from the run folder's last checkpoint")
    parser.add_argument("--seeds", type=seeds, default=1, metavar="N", help="train N times, with seed, seed + 1, ...")
    parser.add_argument("--no-report", action="store_true", help="write no report.html")
    parser.add_argument("--options", action="store_true", help="list every option of every part, and end")
    _imports(parser)
    _json(parser)


def _bench(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=place, metavar="DIR", help="folder of all run folders (default: runs/bench-NAME)")
    parser.add_argument("--table", metavar="TABLES", help="some tables, with commas between them")
    parser.add_argument("--only", metavar="ROWS", help="some rows, ROW or TABLE/ROW, with commas between them")
    parser.add_argument("--samples", type=counted, metavar="K", help="importance samples each (default: the table's, or 500)")
    parser.add_argument(
        "--examples", type=positive, metavar="N", help="only N test observations, at random and always the same ones"
    )
    parser.add_argument(
        "--draws", type=none_or_counted, metavar="N", help="draws of each row for the FID, 0: none (default: the table's)"
    )
    parser.add_argument("--fid-features", choices=FEATURES, help="what it is over (default: the table's, or pixels)")
    _imports(parser)
    parser.add_argument("--no-report", action="store_true", help="write no report.html")
    _json(parser)


BENCH = """BENCH is a name (without one, they are listed) or a .yaml file. Options of the recipe, such as --steps, --seed and
--data, stand in every row. A row that is done is not done again; an interrupted one goes on. Several processes with different
rows may fill one folder, OUT/TABLE/ROW; its table.md holds all that are done.

examples:
  uncollapse bench collapse --table pixelcnn --steps 1000
  uncollapse bench collapse --only 'baseline,pixelcnn/free bits' --json
"""

JUDGE = """No run is needed: FAKES and REALS are rows of one kind, in the order of the file, or of the paths in a folder; they
are numbered from 0. The exit status is 0 whatever the verdict, 2 where the rows cannot be compared.

examples:
  uncollapse judge generated/ --against held-out/ --out page.html
  uncollapse judge fakes.npy --against reals.npy --train train.npy --features inception
  uncollapse judge fakes.csv --against reals.csv --json
  uncollapse judge all.npz:fakes --against all.npz:reals --features features.npz
"""

TRAIN = """RECIPE is a name (see `uncollapse recipes`, default: vae) or a .yaml file.

options of the recipe, shortest names first:
  --data NAME            a data set (see `uncollapse data`), or a file: .npy, .npz, .csv, .parquet, .txt, a folder of images
  --steps N              updates in all
  --seed N               everything random follows from it
  --batch N              observations in a batch, over all processes
  --latent N             size of the latent
  --device auto          auto, cpu, cuda, cuda:1, mps
  --precision no         no, bf16
  --compile              compile the objective
  --tracker NAME         tensorboard, mlflow, wandb, trackio
  --prior NAME           Normal, Mixture, VampPrior, CouplingPrior, ChainPrior ...       --prior.components 50
  --likelihood NAME      Bernoulli, Gaussian, PixelCNN, Recurrent, Generator ...         --likelihood.network GatedMLP
  --posterior NAME       Gaussian, FullGaussian, Flow, Hierarchical, Refined, Free ...   --posterior.network.hidden '[300,300]'
  --objective NAME       ELBO, IWAE, Capacity, InfoVAE, ReweightedEM ...                 --objective.beta Linear
                         GAN, ALI, VEEGAN, InfoGAN               --objective.critic.pack 2 --objective.game Hinge
  --procedure NAME       Amortized, VariationalEM, Lagging, MonteCarloEM; of games: Alternating, OptimalCritic, Unrolled
  --optimizer NAME       Adam, AdamW, SGD                             --optimizer.lr 0.0005
  --data.binarize HOW    none, static, dynamic                        --data.dequantize true
  --training.ema D       also: clip, patience, schedule, validate_every, log_every

examples:
  uncollapse train                                        a VAE on digits, in seconds
  uncollapse train vae --data pictures/ --likelihood Gaussian --out runs/mine
  uncollapse train vae-mnist-static --seeds 5
  uncollapse train --resume --out runs/mine
  torchrun --nproc-per-node 2 -m uncollapse train vae-mnist-static      two processes share each batch
"""

VERBS = {
    "train": Verb("train a model", "uncollapse.cli.train.train", _train, TRAIN, "recipe"),
    "bench": Verb("tables of a model and its remedies, side by side", "uncollapse.cli.bench.bench", _bench, BENCH, "bench"),
    "evaluate": Verb("held-out likelihood, quality of draws, diagnosis", "uncollapse.cli.verbs.evaluate", _evaluate),
    "diagnose": Verb("did it collapse: verdict, evidence, remedies", "uncollapse.cli.verbs.diagnose", _diagnose),
    "judge": Verb("samples of any generator beside real rows: did it drop modes?", "uncollapse.cli.judge.judge", _judge, JUDGE),
    "sample": Verb("draw from a trained model", "uncollapse.cli.verbs.sample", _sample),
    "encode": Verb("the latents of data", "uncollapse.cli.verbs.encode", _encode),
    "reconstruct": Verb("data and their reconstructions", "uncollapse.cli.verbs.reconstruct", _reconstruct),
    "interpolate": Verb("the path between two observations", "uncollapse.cli.verbs.interpolate", _interpolate),
    "compare": Verb("runs side by side", "uncollapse.cli.verbs.compare", _compare),
    "report": Verb("write report.html of a run", "uncollapse.cli.verbs.report", _run),
    "recipes": Verb("what recipes there are", "uncollapse.cli.verbs.recipes", _json),
    "data": Verb("what data sets there are", "uncollapse.cli.verbs.data", _json),
}


def overview() -> str:
    """What `uncollapse --help` prints."""
    lines = [f"  {name:12} {verb.help}" for name, verb in VERBS.items()]
    head = "uncollapse: train, diagnose, cure and evaluate deep generative models\n\nusage: uncollapse VERB [options]\n"
    return "\n".join([head, *lines, "\nuncollapse VERB --help tells a verb's options; uncollapse --version the version."])


def parse(argv: list[str]) -> tuple[str | None, Namespace | None]:
    """The verb and its options. No verb: (None, None) when help was printed, (None, an empty namespace) after an error."""
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return None, None
    if argv[0] == "--version":
        from uncollapse import __version__

        print(f"uncollapse {__version__}")
        return None, None
    if argv[0] not in VERBS:
        near = get_close_matches(argv[0], VERBS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(VERBS)}"
        print(f"error: unknown verb {argv[0]!r}; {hint}", file=sys.stderr)
        return None, Namespace()
    return argv[0], _options(argv[0], argv[1:])


def _options(name: str, argv: list[str]) -> Namespace:
    """The options of one verb; those of a recipe's parts are left, as `parts`, for the recipe's own parser."""
    verb = VERBS[name]
    usage = None if verb.names is None else f"uncollapse {name} [{verb.names.upper()}] [options]"
    parser = Parser(
        prog=f"uncollapse {name}",
        usage=usage,
        description=verb.help,
        epilog=verb.epilog,
        allow_abbrev=False,
        formatter_class=RawDescriptionHelpFormatter,
    )
    verb.options(parser)
    if verb.names is None:
        return parser.parse_args(argv)
    named = bool(argv) and not argv[0].startswith("-")
    options, options_of_parts = parser.parse_known_args(argv[1:] if named else argv)
    setattr(options, verb.names, argv[0] if named else None)
    options.parts = options_of_parts
    return options
