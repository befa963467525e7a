"""The stages of a recipe: partial recipes in its file, and options of one stage on the command line."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

PARTS = ("objective", "procedure", "optimizer")
"""Parts that a stage may state for itself."""

KEYS = ("name", *PARTS, "training", "trains", "start")
"""What a stage may state; all else is the recipe's."""

PREFIX = "--stages."

Values = dict[str, Any]


def check_stages(told: Any, where: str) -> list[Values]:
    """The stages of a recipe as they are written down.

    Raises:
        ValueError: If they are no list of partial recipes, each with a name.

    Example:
        >>> check_stages([{"name": "first", "prior": "Normal"}], "mine.yaml")
        Traceback (most recent call last):
        ValueError: expected no prior in stage first of mine.yaml, where ...
    """
    if not isinstance(told, list) or not told:
        raise ValueError(f"expected stages of {where} as a list of partial recipes, each with a name, got {told!r:.80}")
    for stage in told:
        name = stage.get("name") if isinstance(stage, dict) else None
        if not isinstance(name, str) or not name:
            raise ValueError(f"expected each of the stages of {where} with a name, got {stage!r:.80}")
        if not stage.keys() <= set(KEYS):
            more = ", ".join(str(key) for key in stage if key not in KEYS)
            raise ValueError(
                f"expected no {more} in stage {name} of {where}, where the model and its data are the recipe's; use some of "
                f"{', '.join(KEYS)}"
            )
        training = stage.get("training", {})
        if not isinstance(training, dict) or "seed" in training:
            got = "a seed" if isinstance(training, dict) else repr(training)
            raise ValueError(
                f"expected training of stage {name} as a mapping of options without a seed, which is the recipe's, got {got}"
            )
    names = [stage["name"] for stage in told]
    if len(set(names)) < len(names):
        raise ValueError(f"expected stages of {where} with names of their own, got {', '.join(names)}")
    return told


def divide(options: Iterable[str], names: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The options of the recipe, and those of each of its stages as options of a recipe.

    Raises:
        ValueError: If there is no stage of a name.

    Example:
        >>> divide(["--seed", "3", "--stages.tune.training.steps", "9"], ["tune"])
        (['--seed', '3'], {'tune': ['--training.steps', '9']})
    """
    rest: list[str] = []
    found: dict[str, list[str]] = {name: [] for name in names}
    into = rest
    for option in options:
        into = rest if option.startswith("--") and not option.startswith(PREFIX) else into
        if option.startswith(PREFIX):
            name, _, own = option.removeprefix(PREFIX).partition(".")
            if name not in found or own.partition("=")[0].partition(".")[0] not in (*KEYS[1:], "steps", "batch"):
                there = f"write --stages.NAME.OPTION with a NAME of {', '.join(names)}" if names else "the recipe has no stages"
                raise ValueError(f"unknown option {option.partition('=')[0]}; {there}, and an option of {', '.join(KEYS[1:])}")
            into, option = found[name], f"--{own}"
        into.append(option)
    return rest, found


def check_shared(options: Iterable[str], stages: Sequence[Values]) -> None:
    """Refuse an option of the recipe that no stage would take, and steps that several would.

    Args:
        options: Of the recipe, by their long names.
        stages: What each stage states.

    Raises:
        ValueError: With the options to write in its place.

    Example:
        >>> check_shared(["--training.steps", "9"], [{"name": "a"}, {"name": "b"}])
        Traceback (most recent call last):
        ValueError: --training.steps could be of stage a or b; write --stages.a.training.steps or --stages.b.training.steps
    """
    for option in options:
        name = option.partition("=")[0].removeprefix("--")
        path = name.split(".")
        if not option.startswith("--") or path[0] not in (*PARTS, "training") or name == "training.seed":
            continue
        takers = [stage["name"] for stage in stages if not _states(stage, path)]
        several = name == "training.steps" and len(takers) > 1
        if takers and not several:
            continue
        named = takers or [stage["name"] for stage in stages]
        why = f"could be of stage {' or '.join(takers)}" if several else "is stated by each stage for itself"
        raise ValueError(f"--{name} {why}; write {' or '.join(f'{PREFIX}{one}.{name}' for one in named)}")


def _states(stage: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Whether a stage states what an option of this path sets."""
    if path[0] != "training":
        return path[0] in stage
    return len(path) > 1 and path[1] in stage.get("training", {})


def filled(told: Values, stages: Sequence[Values]) -> Values:
    """A recipe that states all parts: those that each stage states for itself are the first stage's."""
    return told | {key: stages[0][key] for key in PARTS if key not in told and stages and all(key in stage for stage in stages)}


def merged(recipe: Values, stage: Values) -> Values:
    """The whole recipe of a stage: what it does not state is the recipe's."""
    parts = {key: stage[key] for key in PARTS if key in stage}
    return recipe | parts | {"training": recipe.get("training", {}) | stage.get("training", {})}


def stated(stage: Values, options: Iterable[str], values: Values) -> Values:
    """What a stage states, with options of its own, in full.

    Args:
        stage: What its recipe's file states.
        options: Its own options, by their long names.
        values: All values of the stage.
    """
    given = [option.partition("=")[0].removeprefix("--").split(".") for option in options if option.startswith("--")]
    parts = [key for key in PARTS if key in stage or any(path[0] == key for path in given)]
    own = {path[1] for path in given if path[0] == "training" and len(path) > 1} | stage.get("training", {}).keys()
    training = {key: value for key, value in values["training"].items() if key in own}
    return (
        {"name": stage["name"]}
        | {key: values[key] for key in parts}
        | ({"training": training} if training else {})
        | {key: stage[key] for key in ("trains", "start") if stage.get(key) is not None}
    )


def of_stage(options: str, stage: str) -> str:
    """Options on the command line, those of an objective, a procedure, an optimiser or the training as options of a stage.

    Example:
        >>> of_stage("--objective.beta Linear --prior VampPrior --steps 9", "tune")
        '--stages.tune.objective.beta Linear --prior VampPrior --stages.tune.steps 9'
    """
    return re.sub(rf"(^|\s)--(?=({'|'.join((*PARTS, 'training', 'steps', 'batch'))})\b)", rf"\1{PREFIX}{stage}.", options)


def option_of_stage(name: str, stage: str) -> str:
    """The dotted name of a recipe's option, as that of a stage where it is one of an objective, a procedure or the training.

    Example:
        >>> option_of_stage("objective.beta", "tune"), option_of_stage("prior", "tune")
        ('stages.tune.objective.beta', 'prior')
    """
    return f"{PREFIX.removeprefix('--')}{stage}.{name}" if name.split(".")[0] in (*PARTS, "training") else name


@contextmanager
def naming(stage: str) -> Iterator[None]:
    """Within it, what is refused is said of a stage, in options of that stage."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"stage {stage}: {of_stage(str(error), stage)}") from error
