"""A run: a recipe carried out in a folder, and that folder read again."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

import uncollapse
from uncollapse import noise
from uncollapse.data import Data, load
from uncollapse.data.text import in_vocabulary
from uncollapse.distributions import LatentVariableModel
from uncollapse.distributions.saved import described
from uncollapse.evaluation import evaluate, evaluate_samples, width, with_modes
from uncollapse.gan import ImplicitModel
from uncollapse.launch import launch
from uncollapse.training.checkpoint import CheckpointError, standing, steadily, verify, write
from uncollapse.training.collapse_monitor import remedies
from uncollapse.training.fit import fit
from uncollapse.training.game import load_game
from uncollapse.training.kept import keep
from uncollapse.training.log import Observer, plain
from uncollapse.training.loop import Fitted
from uncollapse.training.recipe import Recipe
from uncollapse.vae import VAE

GLANCE = 10**9  # numbers that the decoder may give for the summary after training; `evaluate` takes as many as it is told

WORDS = "words.txt"
"""The vocabulary of a run on sentences, a word a line, in the order of its tokens."""

KINDS: dict[str, Any] = {"VAE": VAE, "ImplicitModel": ImplicitModel}
"""The models that a run folder may hold, by the name in model.json."""

FREE = {"training.steps", "training.patience", "training.log_every", "training.validate_every", "training.validate_on"}
"""Options that a resumed run may change, beside those of the machine."""


def train(recipe: Recipe, out: Path, resume: bool = False, observers: Iterable[Observer] = ()) -> tuple[Fitted, dict[str, Any]]:
    """Carry out a recipe in a folder: config.yaml, metrics.jsonl, checkpoints and, when it ended well, summary.json.

    Args:
        recipe: What to do.
        out: Run folder.
        resume: Go on from its last checkpoint; what may be changed then is `FREE`, and config.yaml is written anew.
        observers: Called with every line of the log.

    Returns:
        What the training left, and the summary (of the validation split; empty where a signal stopped the run).

    Raises:
        ValueError: If a resumed run's recipe is another than it was begun with.
    """
    data = with_modes(recipe.data())
    procedure = recipe.procedure(recipe.model(data.shape))
    if resume:
        check_resumable(recipe, out)
    config = f"# uncollapse {uncollapse.__version__}, recipe {recipe.name}\n" + yaml.safe_dump(
        {"recipe": recipe.name, **recipe.values}, sort_keys=False
    )
    documents = {"config.yaml": config}
    if data.words is not None:
        documents[WORDS] = "".join(f"{word}\n" for word in data.words)
    fitted = fit(procedure, data, recipe.training, recipe.optimizer, recipe.machine, out, resume, observers, documents)
    if fitted.signal is not None or not launch().first:
        return fitted, {}
    summary = summarise(fitted, data, recipe, out)
    if isinstance(fitted.model, VAE):
        _fit_aggregate(fitted.model, data, out / "checkpoints" / "best")
    write(out / "summary.json", json.dumps(plain(summary), indent=2))
    return fitted, summary


def check_resumable(recipe: Recipe, out: Path) -> None:
    """Refuse to go on with a run by another recipe than it was begun with.

    Raises:
        FileNotFoundError: If the folder is not a run.
        ValueError: If an option was changed that would make another run of it.
    """
    read_config(out)
    before, now = (_flat(r.values) for r in (Recipe.read(str(out / "config.yaml")), recipe))
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name) and name not in FREE and not name.startswith("machine."):
            option = name.replace(".init_args", "").removesuffix(".class_path")
            raise ValueError(
                f"{out} was begun with --{option} {before.get(name)}, came {now.get(name)}; leave it out, or train anew "
                "without --resume and with another --out"
            )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by their dotted names.

    Example:
        >>> _flat({"features": 2, "prior": {"class_path": "Normal"}})
        {'features': 2, 'prior.class_path': 'Normal'}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def _fit_aggregate(model: VAE, data: Data, best: Path) -> None:
    """Fit the mixture that `sample --source mixture` draws from to some of the training split; keep it with the weights."""
    like = model.like
    noise.seed_step(0, 0)
    model.fit_aggregate(data.train.to(like.device, like.dtype).batch(data.train.some(5000)))
    values = {name: value for name, value in verify(best).items() if name not in ("format", "sha256")}
    keep(model, best, {}, values)


def summarise(fitted: Fitted, data: Data, recipe: Recipe, out: Path) -> dict[str, Any]:
    """The numbers of summary.json: the diagnosis and a first look at the held-out likelihood, on the validation split."""
    model = fitted.model
    again = str(out / "config.yaml")
    seen: dict[str, Any] = {}
    if isinstance(model, VAE):
        samples, examples = glance(model)
        seen = evaluate(model, data, "valid", samples, examples=examples, recipe=again)
        if seen.get("remedies"):
            seen["remedies"] = remedies(recipe.procedure(model), again, seen, recipe.training)
    elif isinstance(model, LatentVariableModel):
        looks = [line for line in fitted.lines if line["kind"] == "valid"]
        seen = evaluate_samples(model, data, "valid", looks=looks, quick=True, game=load_game(out, model))
        seen["remedies"] = remedies(recipe.procedure(model), again, seen, recipe.training)
    return {
        **seen,
        "steps": fitted.step,
        "seconds": round(fitted.seconds, 2),
        "ms_per_step": round(fitted.ms_per_step, 4),
        "seed": recipe.training.seed,
        "parameters": sum(p.numel() for p in model.parameters()),
        "recipe": recipe.name,
        "device": str(model.like.device),
        "version": uncollapse.__version__,
    }


def glance(model: VAE) -> tuple[int, int]:
    """How much the summary after training looks at: 100 samples for 1,000 observations, fewer where the decoder is large.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> glance(VAE(Normal(2), Bernoulli(2, (784,), MLP), posteriors.Gaussian(2, (784,), MLP)))
        (100, 1000)
    """
    rows = GLANCE // width(model)
    samples = min(100, max(10, rows // 1000))
    return samples, min(1000, max(100, rows // samples))


def new_folder(name: str, root: Path = Path("runs")) -> Path:
    """Make a folder for a new run: runs/NAME, or runs/NAME-2 and so on where that is taken, by another training too.

    Raises:
        CheckpointError: If it cannot be made.
    """
    for i in range(1, 10_000):
        folder = root / (name if i == 1 else f"{name}-{i}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise CheckpointError(
                f"cannot make the run folder {folder}: {error.strerror}; write elsewhere with --out"
            ) from error
        return folder
    raise CheckpointError(f"there are 9999 runs of {name} in {root}; write elsewhere with --out")


def load_model(run: str | Path) -> Any:
    """The trained model of a run folder, its best weights, checked against their hash; or of a `save_pretrained` folder.

    Raises:
        FileNotFoundError: If the folder holds no model.
        CheckpointError: If its files are damaged.
    """
    run = Path(run)
    if (run / "model.json").exists() and not (run / "state.json").exists():
        return from_folder(run)
    for name in ("best", "last"):
        directory = run / "checkpoints" / name
        if standing(directory).exists():
            return steadily(directory, from_folder)
    raise FileNotFoundError(f"{run} is not a run folder: expected {run}/checkpoints; give one that `uncollapse train` wrote")


def from_folder(directory: Path) -> Any:
    """The model that `save_pretrained` wrote, of whichever kind: a `VAE` or an `ImplicitModel`.

    Raises:
        ValueError: If it is of a kind that this version does not know.
    """
    kind = described(directory)["model"]
    if kind not in KINDS:
        raise ValueError(f"{directory}/model.json holds a {kind}, this version knows {', '.join(KINDS)}; train it again")
    return KINDS[kind].from_pretrained(directory)


def read_config(run: Path) -> dict[str, Any]:
    """config.yaml of a run folder.

    Raises:
        FileNotFoundError: If the folder is not one.
    """
    file = run / "config.yaml"
    if not file.exists():
        raise FileNotFoundError(f"{run} is not a run folder: it has no config.yaml; give one that `uncollapse train` wrote")
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or "data" not in found:
        raise ValueError(f"{file} is damaged: expected a recipe with its data; train again")
    return found


def read_words(run: Path) -> list[str] | None:
    """The vocabulary of a run folder; None where its data are no sentences."""
    file = run / WORDS
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else None


def read_summary(run: Path) -> dict[str, Any]:
    """summary.json of a run folder that ended well."""
    if not (run / "summary.json").exists():
        read_config(run)
        raise FileNotFoundError(f"{run} has no summary.json: its training has not ended; go on with it by --resume")
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


def load_data(run: Path, name: str | None = None, length: int | None = None) -> Data:
    """The data that a run was trained on, or other data with the same options; other sentences in the run's own vocabulary.

    Args:
        run: The run folder.
        name: Other data; None: its own.
        length: Of other sentences, how many words the model has room for.
    """
    options, words = read_config(run)["data"], read_words(run)
    if name is None or words is None:
        return with_modes(load(**(options if name is None else options | {"name": name})))
    return in_vocabulary(load(**options | {"name": name, "words": None, "length": length}), words)
