"""Recipes: one YAML file a published experiment, checked against the signatures of the parts that it names."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from torch import Size, nn
from torch.optim import Optimizer

from uncollapse.data import Data, Space, load
from uncollapse.distributions import LatentVariableModel, Likelihood, Posterior, Prior
from uncollapse.folder_names import check_folder_name
from uncollapse.learning import Objective, Procedure
from uncollapse.networks import ConditionEncoder
from uncollapse.own_modules import Named
from uncollapse.parts import allowlist
from uncollapse.plain_files import read_yaml, register
from uncollapse.sizes import building
from uncollapse.training.complaints import check_finite, complaint
from uncollapse.training.named import located
from uncollapse.training.recipe_values import check_values, largest
from uncollapse.training.settings import Machine, Training

SHORT = {
    "--data": "--data.name",
    "--steps": "--training.steps",
    "--seed": "--training.seed",
    "--batch": "--training.batch_size",
    "--device": "--machine.device",
    "--precision": "--machine.precision",
    "--compile": "--machine.compile",
    "--tracker": "--machine.tracker",
    "--latent": "--features",
}
"""Options that have a short name on the command line."""

PLAIN = ("recipe", "data", "machine")
"""Keys of a recipe whose values are texts and numbers: they name no class."""

GROUPS = ("data", "training", "machine")
"""Keys of a recipe that hold a mapping of options."""


COPIES = 4
"""Numbers that a weight takes in a training: its own, its gradient, and the averages of Adam."""


def model_parts(
    features: int,
    prior: Callable[[int], Prior],
    likelihood: Callable[[int, Size], Likelihood],
    objective: Callable[[LatentVariableModel], Objective],
    procedure: Callable[[Objective], Procedure],
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    posterior: Callable[[int, Size], Posterior] | None = None,
    condition: Callable[[Space], ConditionEncoder] | None = None,
) -> None:
    """The parts of a recipe.

    Args:
        features: Size of the latent; every part that needs it is told.
        prior: p(z).
        likelihood: p(x|z), with the network that decodes.
        objective: What is maximised.
        procedure: The algorithm.
        optimizer: A torch optimiser with a fused form.
        posterior: q(z|x), with the network that encodes; a GAN may have none.
        condition: Encoder of what the model is conditioned on, `data.condition`; None: nothing.
    """


def parser() -> ArgumentParser:
    """The parser of everything that a recipe holds; its options are the constructors' parameters."""
    parser = ArgumentParser(
        prog="uncollapse train", exit_on_error=False, add_help=False, allow_abbrev=False, parser_mode=register()
    )
    parser.add_argument("--config", action="config", help="a recipe")
    parser.add_argument("--recipe", type=str, default="", help="name of the recipe, kept in config.yaml")
    parser.add_function_arguments(model_parts)
    parser.add_function_arguments(load, "data")
    parser.add_class_arguments(Training, "training")
    parser.add_class_arguments(Machine, "machine")
    parser.set_defaults({"training.schedule": {"class_path": "uncollapse.schedules.Constant"}})  # as text, so that it is kept
    return parser


@dataclass
class Recipe:
    """A model, its objective, procedure, data and training, read from YAML and options.

    Example:
        >>> recipe = Recipe.read("vae", ["--features", "3", "--steps", "10"])
        >>> recipe.training.steps, recipe.values["features"]
        (10, 3)
    """

    name: str
    values: dict[str, Any]
    parts: Namespace
    own: tuple[Named, ...] = ()

    @classmethod
    def read(cls, recipe: str = "vae", options: Iterable[str] = (), parts: Iterable[Named] = ()) -> Self:
        """Read a recipe by name or path, with options as on the command line.

        Args:
            recipe: Its name, or the path of a .yaml file.
            options: As on the command line.
            parts: What holds classes of your own that it may name: classes, modules, or paths of .py files, which are
                imported. A recipe that names others is refused, and nothing of it is run.

        Raises:
            ValueError: If a name or value does not fit; says which ones do.
        """
        own = (parts,) if isinstance(parts, Named) else tuple(parts)
        file = located("recipe", "recipes", recipe)
        told, given = checked(file, options, own)
        check_values(told)
        check_values({name.lstrip("-"): value for name, value in pairwise([*given, ""]) if name.startswith("--")})
        reader = parser()
        try:
            found = reader.parse_args(["--config", yaml.safe_dump(told, sort_keys=False), *given], env=False)
        except ArgumentError as error:
            raise ValueError(complaint(str(error), reader, SHORT)) from error
        values = yaml.safe_load(reader.dump(found))
        check_values(values)
        name = values.pop("recipe") or file.stem
        check_folder_name(name, "recipe")
        try:
            with building(f"the recipe {name}"):
                return cls(name, values, reader.instantiate(found), own)
        except ValueError as error:  # of a part, which says so itself unless jsonargparse put its words around it
            if "\n" not in str(error):
                raise
            raise ValueError(complaint(str(error), reader, SHORT)) from error

    @property
    def training(self) -> Training:
        """How long, how fast and how carefully."""
        return self.parts.training

    @property
    def machine(self) -> Machine:
        """Where."""
        return self.parts.machine

    @property
    def optimizer(self) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
        """Factory of the optimiser."""
        return self.parts.optimizer

    def data(self) -> Data:
        """Load the data."""
        return load(**self.values["data"])

    def model(self, shape: Size, condition: Space | None = None) -> Any:
        """Build the model for observations of this shape, its weights drawn from the seed.

        Args:
            shape: Shape of one observation.
            condition: The space of what it is conditioned on; None: nothing.
        """
        torch.manual_seed(self.training.seed)
        p = self.parts
        if p.features < 1:
            raise ValueError(f"expected --latent of at least 1, came {p.features}")
        with building(self._told, COPIES):
            parts = (p.prior, p.likelihood, p.posterior)
            if condition is None and p.condition is None:
                return self.learns.of(p.features, list(shape), *parts)
            space = None if condition is None else condition.as_dict()
            return self.learns.of(p.features, list(shape), *parts, p.condition, space)

    @property
    def learns(self) -> Any:
        """The class of its model."""
        path = self.values["objective"]["class_path"]
        objective: Any = allowlist(self.own).find(path)
        if objective is None:
            raise ValueError(f"{path} is no objective that this recipe may name; give its class in parts=[...]")
        return objective.learns

    @property
    def _told(self) -> str:
        """What builds the model, for errors."""
        number = largest(self.values)
        return f"the recipe {self.name}" + (f" (its largest number: {number})" if number else "")

    def procedure(self, model: LatentVariableModel) -> Procedure:
        """The procedure that learns a model."""
        with building(self._told, COPIES):
            procedure: Procedure = self.parts.procedure(self.parts.objective(model))
        procedure.parts = self.own
        return procedure


def checked(file: Path, options: Iterable[str] = (), parts: Iterable[Named] = ()) -> tuple[dict[str, Any], list[str]]:
    """The values of a recipe's file, and the options beside it, none of which names a class that is not allowed.

    Raises:
        ValueError: If one does, or the file is no recipe.
    """
    given = lengthen(options)
    check_finite(given)
    allowed = allowlist(parts, model_parts, Training)
    told = read_yaml(file)
    if not isinstance(told, dict) or "config" in told:
        raise ValueError(f"{file} is no recipe: expected the keys that `uncollapse train --options` lists, each with its value")
    for key in GROUPS:
        if not isinstance(told.get(key, {}), dict):
            raise ValueError(f"expected {key} of {file} to be a mapping of options, got {told[key]!r}")
    for option in given:
        name = option.partition("=")[0]
        if name == "--config" or name in [f"--{key}" for key in GROUPS]:
            raise ValueError(f"unknown option {name}: a recipe is the first argument, its options are written one by one")
    values = {key: value if key in PLAIN else allowed.check({key: value})[key] for key, value in told.items()}
    return values, allowed.check_options(given, PLAIN)


def lengthen(options: Iterable[str]) -> list[str]:
    """Replace the short names of options by their long ones; `--compile` alone means true.

    Example:
        >>> lengthen(["--steps", "10", "--data=mnist", "--compile"])
        ['--training.steps', '10', '--data.name=mnist', '--machine.compile', 'true']
    """
    found: list[str] = []
    given = list(options)
    for i, option in enumerate(given):
        name, equals, value = option.partition("=")
        found.append(SHORT.get(name, name) + equals + value)
        bare = i + 1 == len(given) or given[i + 1].startswith("--")
        if name == "--compile" and not equals and bare:
            found.append("true")
    return found
