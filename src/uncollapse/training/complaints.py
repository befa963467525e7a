"""What was wrong with a recipe or option, in one line: what came, which names are valid, and which one was meant."""

import inspect
import re
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import pairwise

from jsonargparse import ArgumentParser
from torch.optim import Optimizer

from uncollapse.distributions import Likelihood, Posterior, Prior, Sigma
from uncollapse.distributions.flows import Transforms
from uncollapse.divergences import Critic, Game, Kernel, Penalty
from uncollapse.gan import Augmentation, Entropy
from uncollapse.learning import Objective, Procedure
from uncollapse.networks import Network
from uncollapse.schedules import Schedule

ROLES: dict[str, type] = {
    "prior": Prior,
    "likelihood": Likelihood,
    "posterior": Posterior,
    "family": Posterior,
    "network": Network,
    "sigma": Sigma,
    "objective": Objective,
    "procedure": Procedure,
    "schedule": Schedule,
    "beta": Schedule,
    "gamma": Schedule,
    "capacity": Schedule,
    "kernel": Kernel,
    "game": Game,
    "penalties": Penalty,
    "augmentation": Augmentation,
    "noise": Schedule,
    "transform": Transforms,
    "optimizer": Optimizer,
}
"""The base class of the parts that each key of a recipe takes."""


def complaint(message: str, parser: ArgumentParser, short: Iterable[str] = ()) -> str:
    """jsonargparse's message as one line.

    Args:
        message: What it said, of one or more lines.
        parser: The parser that said it, for the names of its options.
        short: Names that options have beside those.
    """
    unknown = re.search(r"(?:[Uu]nrecognized arguments|Key|Unknown).*?(--?[\w.]+)", message)
    if unknown and "rgument" in message and "Parser key" not in message:
        options = [o for action in parser._actions for o in action.option_strings]
        return f"unknown option {unknown[1]}{suggestion(unknown[1], [*options, *short])}; see uncollapse train --help"
    key = re.search(r'Parser key "([\w.]+)"', message)
    role = key[1].rpartition(".")[2] if key else ""
    option = re.search(r"(?:Option '|unrecognized arguments: --)(\w+).*?class_path='([\w.]+)'", message, re.DOTALL)
    if option:
        return _wrong_argument(option[1], option[2])
    path = [key[1], *re.findall(r'Parser key "([\w.]+)"', message)[1:]] if key else []
    nested = _nested(message, path)
    if nested:
        return nested
    named = re.search(r"import path string: *([^\s]+)", message)
    if role in ROLES and named:
        names = [cls.__name__ for cls in subclasses(ROLES[role])]
        return f"unknown {role} {named[1]!r}{suggestion(named[1], names)}; there are {', '.join(names)}"
    return _of_other_kind(message, path) or " ".join(line.strip() for line in message.splitlines() if line.strip())


def _nested(message: str, path: list[str]) -> str | None:
    """What is missing from a part, or wrong about one of its numbers; None: neither.

    Args:
        message: What jsonargparse said.
        path: The keys from the recipe's own down to the part's that it names.
    """
    missing = re.search(r"the following arguments are required: (\w+)", message)
    if missing and path:
        option = ".".join([*path, missing[1]])
        usual = {"family": f"Gaussian --{option}.network MLP", "network": "MLP"}.get(missing[1], "VALUE")
        return f"--{option} is missing: {path[-1]} has no {missing[1]} to fall back on; write --{option} {usual}"
    own = re.search(r"^ *- (expected .* came .*)$", message, re.MULTILINE)
    if own:
        return own[1]
    number = re.search(r"Expected a <class '(float|int|bool)'>", message)
    came = re.search(r"[Vv]alue: ([\w.+-]+?)\.?(?:\s|$)", message)
    if number and came and len(path) > 1:
        kinds = {"float": "a finite number", "int": "a whole number", "bool": "true or false"}
        return f"expected {kinds[number[1]]} as --{'.'.join(path)}, came {came[1]}"
    return None


KINDS = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "text",
    "tuple": "a list such as [0.9, 0.999]",
    "NoneType": "null",
}
"""What the types of options are called."""


def _of_other_kind(message: str, path: list[str]) -> str | None:
    """Which values an option takes, where another one came; None where jsonargparse did not say so.

    Example:
        >>> _of_other_kind("Expected a typing.Literal['no', 'bf16']. Got value: fp8", ["machine", "precision"])
        "expected no or bf16 as --machine.precision, got 'fp8'"
    """
    kinds = re.findall(r"Expected a (?:<class '(\w+)'>|typing\.Literal\[([^\]]*)\])", message)
    came = re.search(r"(?:Given value|Got value): ?(.*?)(?:\. Got value|$)", message, re.DOTALL)
    if (
        not path
        or not kinds
        or came is None
        or "valid subclass" in message
        or any(kind and kind not in KINDS for kind, _ in kinds)
    ):
        return None
    names = [name for kind, literal in kinds for name in ([KINDS[kind]] if kind else literal.replace("'", "").split(", "))]
    return f"expected {' or '.join(dict.fromkeys(names))} as --{'.'.join(path)}, got {came[1].strip()!r:.80}"


NUMBERS = {"learning rate": "lr", "beta parameter at index": "betas", "epsilon value": "eps", "momentum value": "momentum"}
"""What torch calls numbers of its optimisers, by the name of their option where that is another."""


def optimizer_complaint(message: str) -> str:
    """What torch says of a number of an optimiser, with its option.

    Example:
        >>> optimizer_complaint("Invalid beta parameter at index 0: 2.0")
        'expected another number as --optimizer.betas, got 2.0 (invalid beta parameter at index 0)'
    """
    told = re.fullmatch(r"Invalid (.*?)(?: value)?: (\S+)", " ".join(message.split()))
    if told is None:
        return message
    name = next((name for words, name in NUMBERS.items() if told[1].startswith(words.removesuffix(" value"))), told[1])
    return f"expected another number as --optimizer.{name}, got {told[2]} (invalid {told[1]})"


def check_finite(options: Iterable[str]) -> None:
    """Refuse numbers that are not finite, before anything is built.

    Args:
        options: As on the command line, ``--optimizer.lr 0.001`` among them.

    Raises:
        ValueError: If one is not.

    Example:
        >>> check_finite(["--optimizer.lr", "nan"])
        Traceback (most recent call last):
        ValueError: expected a finite number, or a name, as --optimizer.lr, came nan
    """
    given = [text for option in options for text in option.split("=", 1)]
    for key, value in pairwise(given):
        if value.lower() in ("nan", "inf", "-inf"):
            raise ValueError(f"expected a finite number, or a name, as {key}, came {value}")


def _wrong_argument(name: str, path: str) -> str:
    """An argument that a part does not take."""
    cls_name = path.rpartition(".")[2]
    exact = [cls for kinds in _kinds() for cls in kinds if path == f"{cls.__module__}.{cls_name}"]
    for kinds in (exact, *_kinds()):
        for cls in kinds:
            if cls.__name__ == cls_name and path.startswith(cls.__module__.rpartition(".")[0]):
                given = {"self", *cls.given}  # type: ignore[attr-defined]
                names = [n for n in inspect.signature(cls.__init__).parameters if n not in given]  # type: ignore[misc]
                return f"{cls_name} has no {name!r}{suggestion(name, names)}; it takes {', '.join(names) or 'nothing'}"
    return f"{cls_name} has no {name!r}"


def _kinds() -> list[list[type]]:
    """All that a recipe can build, by kind."""
    return [[Critic, Entropy], *map(subclasses, dict.fromkeys(ROLES.values()))]


def suggestion(name: str, names: Iterable[str]) -> str:
    """Did you mean, if something is near.

    Example:
        >>> suggestion("Gausian", ["Gaussian", "Uniform"])
        ' (did you mean Gaussian?)'
    """
    near = get_close_matches(name, list(names), 1)
    return f" (did you mean {near[0]}?)" if near else ""


def subclasses(base: type) -> list[type]:
    """All classes below a base that a recipe can build, by name: those of `evaluation` are put around trained models."""
    found: dict[str, type] = {}
    waiting = [base]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        hidden = cls.__name__.startswith("_") or cls.__module__.startswith("uncollapse.evaluation")
        if cls is not base and not inspect.isabstract(cls) and not hidden:
            found[cls.__name__] = cls
    return [found[name] for name in sorted(found)]
