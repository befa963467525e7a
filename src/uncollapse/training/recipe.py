"""Recipes: one YAML file a published experiment, checked against the signatures of the parts that it names."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from torch import Size, nn
from torch.optim import Optimizer

from uncollapse.allowlist import Allowlist
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
from uncollapse.training.recipe_stages import PARTS, check_shared, check_stages, divide, filled, merged, naming, stated
from uncollapse.training.recipe_values import check_values, largest
from uncollapse.training.settings import Machine, Training
from uncollapse.training.stage import Stage, check_trains, freezing

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


UNKNOWN = ("--config", "--print_config", "--print_shtab", "--print_completion", "--help", "-h")
"""Options that jsonargparse has of its own."""

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
    """A model, its objective, procedure, data and training, or several of these in stages, read from YAML and options.

    Example:
        >>> recipe = Recipe.read("vae", ["--features", "3", "--steps", "10"])
        >>> recipe.training.steps, recipe.values["features"]
        (10, 3)
    """

    name: str
    values: dict[str, Any]
    parts: Namespace
    own: tuple[Named, ...] = ()
    by_stage: tuple["StageRecipe", ...] = ()

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
        stages = told.pop("stages", [])
        given, given_stages = divide(given, [stage["name"] for stage in stages])
        if stages:
            check_shared(given, stages)
        whole = cls._parsed(filled(told, stages), given, own, file.stem)
        found = []
        for stage in stages:
            given = lengthen(given_stages[stage["name"]])
            with naming(stage["name"]):
                trains, start = (_option(given, key, stage.get(key)) for key in ("trains", "start"))
                part = cls._parsed(merged(whole.values, stage), given, own, whole.name)
            own_values = stated(stage | {"trains": trains, "start": start}, given, part.values)
            found.append(StageRecipe(stage["name"], part, trains, start, own_values))
        if not found:
            return whole
        return replace(whole, values=whole.values | {"stages": [stage.stated for stage in found]}, by_stage=tuple(found))

    @classmethod
    def _parsed(cls, told: dict[str, Any], given: list[str], own: tuple[Named, ...], stem: str) -> Self:
        """A recipe without stages, of its values and options."""
        reader = parser()
        try:
            found = reader.parse_args(["--config", yaml.safe_dump(told, sort_keys=False), *given], env=False)
        except ArgumentError as error:
            raise ValueError(complaint(str(error), reader, SHORT)) from error
        values = yaml.safe_load(reader.dump(found))
        check_values(values)
        name = values.pop("recipe") or stem
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

    @property
    def steps(self) -> int:
        """Steps in all, over its stages."""
        return sum(stage.recipe.training.steps for stage in self.by_stage) or self.training.steps

    @property
    def last(self) -> "Recipe":
        """What the last stage does; of a recipe without stages, the recipe."""
        return self.by_stage[-1].recipe if self.by_stage else self

    @property
    def last_stage(self) -> str | None:
        """The name of the last stage; None of a recipe without stages."""
        return self.by_stage[-1].name if self.by_stage else None

    @property
    def effective(self) -> dict[str, Any]:
        """The values that have a say: with stages, those of each stage by its name."""
        if not self.by_stage:
            return self.values
        whole = {key: value for key, value in self.values.items() if key not in (*PARTS, "training", "stages")}
        return whole | {"stages": {stage.name: stage.effective for stage in self.by_stage}}

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
        """The class of its model.

        Raises:
            ValueError: If an objective is none that it may name, or stages learn models of different classes.
        """
        if not self.by_stage:
            return self._learns
        found = [stage.recipe._learns for stage in self.by_stage]
        for stage, learns in zip(self.by_stage, found, strict=True):
            if learns is not found[0]:
                first = self.by_stage[0].name
                raise ValueError(
                    f"expected stages that learn one model, got {found[0].__name__} in {first} and {learns.__name__} in "
                    f"{stage.name}"
                )
        return found[0]

    @property
    def _learns(self) -> Any:
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
        """The procedure that learns a model; the last stage's where there are several."""
        with building(self._told, COPIES):
            if self.by_stage:
                return self.by_stage[-1].stage(model).procedure
            procedure: Procedure = self.parts.procedure(self.parts.objective(model))
        procedure.parts = self.own
        return procedure

    def stages(self, model: LatentVariableModel) -> list[Stage]:
        """The stages that learn a model, in their order; one without a name where the recipe states none."""
        with building(self._told, COPIES):
            if self.by_stage:
                return [stage.stage(model) for stage in self.by_stage]
            return [Stage.of(self.procedure(model), self.training, self.optimizer)]


@dataclass
class StageRecipe:
    """A stage of a recipe.

    Args:
        name: Its name.
        recipe: All that it does, as a recipe without stages.
        trains: Which parts of the model learn; None: all that the procedure moves.
        start: Which weights of the stage before it starts from.
        stated: What it states for itself, for config.yaml.
    """

    name: str
    recipe: Recipe
    trains: list[str] | None
    start: str | None
    stated: dict[str, Any]

    @property
    def effective(self) -> dict[str, Any]:
        """The values of the stage that are not of the model or its data."""
        values = {key: self.recipe.values[key] for key in (*PARTS, "training")}
        return values | {"trains": self.trains, "start": self.start or "last"}

    def stage(self, model: LatentVariableModel) -> Stage:
        """The stage, of a model."""
        parts, start = self.recipe.parts, self.start or "last"
        with naming(self.name):
            trains = None if self.trains is None else check_trains(model, self.trains)
            with freezing(model, trains):  # a part that does not learn need not suit the objective
                objective = parts.objective(model)
                made = Stage(self.name, objective, parts.procedure, parts.optimizer, parts.training, trains, start)  # type: ignore[arg-type]
                made.procedure.parts = self.recipe.own
                return made


def _option(given: list[str], key: str, told: Any) -> Any:
    """The value of an option that a stage has beside those of a recipe, taken out of what is given; else what it states."""
    for i, option in enumerate(given):
        name, equals, value = option.partition("=")
        if name == f"--{key}":
            taken = given[i : i + (1 if equals else 2)]
            del given[i : i + len(taken)]
            return yaml.safe_load(value if equals else taken[-1])
    return told


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
        if name in UNKNOWN or name in [f"--{key}" for key in GROUPS]:
            raise ValueError(f"unknown option {name}: a recipe is the first argument, its options are written one by one")
    if "stages" in told:
        check_stages(told["stages"], str(file))
    values = {
        key: value if key in PLAIN else allowed.check({key: value})[key] for key, value in told.items() if key != "stages"
    }
    if "stages" in told:
        values["stages"] = [_checked_stage(stage, allowed) for stage in told["stages"]]
    return values, allowed.check_options(given, PLAIN)


def _checked_stage(stage: dict[str, Any], allowed: Allowlist) -> dict[str, Any]:
    """The values of a stage, none of which names a class that is not allowed; names of parts of the model are none."""
    plain = {key: value for key, value in stage.items() if key in ("name", "trains", "start")}
    parts = {key: value for key, value in stage.items() if key not in plain}
    found: dict[str, Any] = allowed.check({"stages": [parts]})["stages"][0]
    return plain | found


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
