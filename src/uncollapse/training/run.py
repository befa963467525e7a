"""A run: a recipe carried out in a folder, and that folder read again."""

import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import yaml

import uncollapse
from uncollapse import noise
from uncollapse.data import Data, load
from uncollapse.data.text import in_vocabulary
from uncollapse.diagnosis import kind_of
from uncollapse.diagnosis.model_kinds import KINDS
from uncollapse.distributions.saved import described
from uncollapse.evaluation import evaluate, evaluate_samples, width, with_modes
from uncollapse.evaluation.numbers import checked_summary
from uncollapse.launch import launch
from uncollapse.own_modules import Named
from uncollapse.parts import build
from uncollapse.plain_files import read_json, read_text, read_yaml
from uncollapse.training.checkpoint import CheckpointError, standing, steadily, values_of, verify
from uncollapse.training.collapse_monitor import remedies
from uncollapse.training.documents import CONFIG, LARGEST, SUMMARY, WORDS, check, differences, option, put
from uncollapse.training.fit import fit
from uncollapse.training.game import load_game
from uncollapse.training.kept import keep
from uncollapse.training.lock import sole_writer
from uncollapse.training.log import Observer, plain
from uncollapse.training.loop import Fitted
from uncollapse.training.recipe import Recipe
from uncollapse.vae import VAE

GLANCE = 10**9  # numbers that the decoder may give for the summary after training; `evaluate` takes as many as it is told

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
        CheckpointError: If its config.yaml was altered, or a file cannot be written.
        FolderInUse: If something else writes to the folder.
    """
    with sole_writer(out):
        return _train(recipe, out, resume, observers)


def _train(recipe: Recipe, out: Path, resume: bool, observers: Iterable[Observer]) -> tuple[Fitted, dict[str, Any]]:
    """What `train` gives, its folder locked."""
    if resume:
        check_resumable(recipe, out)
    data = with_modes(recipe.data())
    stages = recipe.stages(recipe.model(data.shape, data.condition_space))
    config = f"# uncollapse {uncollapse.__version__}, recipe {recipe.name}\n" + yaml.safe_dump(
        {"recipe": recipe.name, **recipe.values}, sort_keys=False
    )
    documents = {CONFIG: config}
    if data.words is not None:
        documents[WORDS] = "".join(f"{word}\n" for word in data.words)
    fitted = fit(stages, data, machine=recipe.machine, out=out, resume=resume, observers=observers, documents=documents)
    if fitted.signal is not None or not launch().first:
        return fitted, {}
    summary = summarise(fitted, data, recipe, out)
    if kind_of(fitted.model).measured_by == "likelihood":
        _fit_aggregate(cast(VAE, fitted.model), data, out / "checkpoints" / "best")
    put(out, {SUMMARY: json.dumps(plain(summary), indent=2)})
    return fitted, summary


def check_resumable(recipe: Recipe, out: Path) -> None:
    """Refuse to go on with a run by another recipe than it was begun with.

    Raises:
        FileNotFoundError: If the folder is not a run.
        ValueError: If an option was changed that would make another run of it.
        CheckpointError: If its config.yaml was altered since it was written.
    """
    read_config(out, resuming=True)
    begun = Recipe.read(str(out / CONFIG), parts=recipe.own)
    before, after = ([stage.name for stage in one.by_stage] for one in (begun, recipe))
    if before != after:
        raise ValueError(
            f"{out} was begun with stages {', '.join(before) or 'none'}, got {', '.join(after) or 'none'}; keep them"
        )
    ended = before[: before.index(now)] if (now := values_of(out / "checkpoints" / "last").get("stage")) in before else []
    for name, was, now in differences(begun.effective, recipe.effective):
        stage, own = name.split(".", 2)[1:] if name.startswith("stages.") else ("", name)
        if stage in ended:
            raise ValueError(f"stage {stage} of {out} has ended, with {option(name)} {was}, got {now}; change a stage after it")
        if own not in FREE and not own.startswith("machine."):
            raise ValueError(
                f"{out} was begun with {option(name)} {was}, came {now}; leave it out, or train anew without --resume and with "
                "another --out"
            )


def _fit_aggregate(model: VAE, data: Data, best: Path) -> None:
    """Fit the mixture that `sample --source mixture` draws from to some of the training split; keep it with the weights."""
    like = model.like
    noise.seed_step(0, 0)
    model.fit_aggregate(data.train.to(like.device, like.dtype).batch(data.train.some(5000)))
    values = {name: value for name, value in verify(best).items() if name not in ("format", "sha256")}
    keep(model, best, {}, values)


def summarise(fitted: Fitted, data: Data, recipe: Recipe, out: Path) -> dict[str, Any]:
    """The numbers of summary.json: the diagnosis and a first look at the held-out likelihood, on the validation split."""
    model: Any = fitted.model
    again = str(out / "config.yaml")
    seen: dict[str, Any] = {}
    measured_by = kind_of(model).measured_by
    if measured_by == "likelihood":
        samples, examples = glance(model)
        seen = evaluate(model, data, "valid", samples, examples=examples)
        if seen.get("remedies"):
            seen["remedies"] = remedies(recipe.procedure(model), again, seen, recipe.last.training, recipe.last_stage)
    elif measured_by == "draws":
        looks = [line for line in fitted.lines if line["kind"] == "valid" and line.get("stage") == recipe.last_stage]
        seen = evaluate_samples(model, data, "valid", looks=looks, quick=True, game=load_game(out, model, recipe.own))
        seen["remedies"] = remedies(recipe.procedure(model), again, seen, recipe.last.training, recipe.last_stage)
    return {
        **seen,
        "steps": fitted.step,
        "seconds": round(fitted.seconds, 2),
        "ms_per_step": round(fitted.ms_per_step, 4),
        "seed": recipe.training.seed,
        "parameters": sum(p.numel() for name, p in model.named_parameters() if not name.startswith("aggregate.")),
        "recipe": recipe.name,
        **({"stages": ", ".join(stage.name for stage in recipe.by_stage)} if len(recipe.by_stage) > 1 else {}),
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


def load_model(run: str | Path, parts: Iterable[Named] = ()) -> Any:
    """The trained model of a run folder, its best weights, checked against their hash; or of a `save_pretrained` folder.

    Args:
        run: The folder.
        parts: What holds classes of your own that the model is made of: classes, modules, or paths of .py files, which are
            imported. A model that names others is refused, and nothing of it is run.

    Raises:
        FileNotFoundError: If the folder holds no model.
        CheckpointError: If its files are damaged, or its documents were altered since they were written.
        ValueError: If the model names a class that is neither the library's nor in `parts`.
    """
    run = Path(run)
    if (run / "model.json").exists() and not (run / "state.json").exists():
        return from_folder(run, parts)
    check(run)
    for name in ("best", "last"):
        directory = run / "checkpoints" / name
        if standing(directory).exists():
            return steadily(directory, lambda place: from_folder(place, parts))
    raise FileNotFoundError(f"{run} is not a run folder: expected {run}/checkpoints; give one that `uncollapse train` wrote")


def from_folder(directory: Path, parts: Iterable[Named] = ()) -> Any:
    """The model that `save_pretrained` wrote, of whichever kind: a `VAE` or an `ImplicitModel`.

    Raises:
        ValueError: If it is of a kind that this version does not know.
    """
    kind, known = described(directory)["model"], {model.__name__: model for model in KINDS}
    if not isinstance(kind, str) or kind not in known:
        raise ValueError(f"{directory}/model.json holds a {kind!r:.80}, this version knows {', '.join(known)}; train it again")
    saved: Any = known[kind]
    return saved.from_pretrained(directory, parts)


def read_config(run: Path, resuming: bool = False) -> dict[str, Any]:
    """config.yaml of a run folder; of one that is resumed, its layout may be another than it was written with.

    Raises:
        FileNotFoundError: If the folder is not one.
        CheckpointError: If it was altered since it was written.
    """
    file = run / "config.yaml"
    if not file.exists():
        raise FileNotFoundError(f"{run} is not a run folder: it has no config.yaml; give one that `uncollapse train` wrote")
    check(run, CONFIG, resuming=resuming)
    found = read_yaml(file)
    data = found.get("data")
    if not isinstance(data, dict) or not data.keys() <= inspect.signature(load).parameters.keys():
        raise ValueError(f"{file} is damaged: expected a recipe with its data, got data {data!r:.80}; train again")
    return found


def read_words(run: Path) -> list[str] | None:
    """The vocabulary of a run folder; None where its data are no sentences.

    Raises:
        CheckpointError: If it was altered since it was written.
    """
    check(run, WORDS)
    file = run / WORDS
    return read_text(file, LARGEST[WORDS]).splitlines() if file.exists() else None


def read_summary(run: Path) -> dict[str, Any]:
    """summary.json of a run folder that ended well.

    Raises:
        FileNotFoundError: If it did not.
        CheckpointError: If a document of it was altered since it was written.
    """
    check(run)
    if not (run / "summary.json").exists():
        read_config(run)
        raise FileNotFoundError(f"{run} has no summary.json: its training has not ended; go on with it by --resume")
    return checked_summary(read_json(run / "summary.json"), run / "summary.json")


def load_data(run: Path, name: str | None = None, length: int | None = None) -> Data:
    """The data that a run was trained on, or other data with the same options; other sentences in the run's own vocabulary.

    Args:
        run: The run folder.
        name: Other data; None: its own.
        length: Of other sentences, how many words the model has room for.
    """
    options, words = read_config(run)["data"], read_words(run)
    if name is None or words is None:
        return with_modes(build(options if name is None else options | {"name": name}, load))
    return in_vocabulary(build(options | {"name": name, "words": None, "length": length}, load), words)
