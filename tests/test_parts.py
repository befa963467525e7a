"""Every part of the list is written down and built again; every exported part has a row in the list."""

import copy
import inspect
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Size, nn

from laws.parts import KINDS, given
from uncollapse import distributions, divergences, gan, learning, networks, schedules, vae
from uncollapse.distributions import Bernoulli, Likelihood, Posterior, Prior, Sigma, likelihoods, posteriors
from uncollapse.networks import MLP, Network
from uncollapse.parts import Part, build
from uncollapse.schedules import Linear, Schedule

ROWS = [(kind, name) for kind, (rows, _) in KINDS.items() for name in rows]


def rebuilt(configuration: dict[str, Any], kind: str) -> Any:
    """What the command line makes of a configuration: a part, or the factory of one."""

    def take(part: Any) -> Any:
        return part

    take.__annotations__ = {"part": KINDS[kind][1], "return": Any}
    return build({"part": configuration}, take)


def make(kind: str, name: str) -> Part:
    """The part of a row."""
    return KINDS[kind][0][name](*given(kind, name))


def keeps(new: Any, old: Any) -> bool:
    """Whether all that was written in old stands in new; defaults may have been filled in."""
    if isinstance(old, dict):
        return all(name in new and keeps(new[name], value) for name, value in old.items())
    return bool(new == old)


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_written_down_and_built_again(kind: str, name: str) -> None:
    """Through JSON, what was built again keeps all that was written (its defaults are filled in), class and shapes of weights;
    built a third time, the configuration no longer changes."""
    part = make(kind, name)

    def again(part: Part) -> Part:
        product = rebuilt(json.loads(json.dumps(part.configuration())), kind)
        return product if kind == "schedule" else product(*given(kind, name))

    second = again(part)
    assert type(second) is type(part) and keeps(second.configuration(), part.configuration())
    assert again(second).configuration() == second.configuration()
    if isinstance(part, nn.Module):
        assert {k: v.shape for k, v in second.state_dict().items()} == {k: v.shape for k, v in part.state_dict().items()}


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_copies_keep_their_configuration(kind: str, name: str) -> None:
    """A deep copy can be written down too, and its weights are its own."""
    part = make(kind, name)
    other = copy.deepcopy(part)
    assert other.configuration() == part.configuration()
    if isinstance(part, nn.Module):
        shared = {p.data_ptr() for p in part.parameters()} & {p.data_ptr() for p in other.parameters()}
        assert not shared


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "schedule"])
def test_what_the_house_hands_over_is_not_written(kind: str) -> None:
    """Sizes and models are stated once, elsewhere."""
    for name in KINDS[kind][0]:
        part = make(kind, name)
        assert not set(part.given) & set(part.configuration()["init_args"])


@pytest.mark.parametrize(
    "room", [distributions, likelihoods, posteriors, distributions.priors, divergences, gan, learning, networks, schedules, vae]
)
def test_every_exported_part_has_a_row(room: Any) -> None:
    """Three places: class, name in the room's `__init__`, row in the list. The third is this one."""
    listed = {type(make(kind, name)) for kind, name in ROWS}
    names = getattr(room, "__all__", vars(room))
    exported = {value for value in (vars(room)[n] for n in names) if isinstance(value, type) and issubclass(value, Part)}
    abstract = {Network, Prior, Likelihood, Posterior, Sigma, Schedule, Part}
    missing = {part.__name__ for part in exported - listed - abstract if not inspect.isabstract(part)}
    assert not missing, f"write a row in tests/laws/parts.py for {sorted(missing)}"


def test_short_paths() -> None:
    """A part is named by the shortest path that exports it; two of the same name keep their files."""
    assert make("posterior", "FullGaussian").configuration()["class_path"] == "uncollapse.distributions.FullGaussian"
    assert make("posterior", "Gaussian").configuration()["class_path"] == "uncollapse.distributions.posteriors.Gaussian"
    assert (
        make("likelihood", "Gaussian-FixedSigma").configuration()["class_path"]
        == "uncollapse.distributions.likelihoods.Gaussian"
    )


def test_factories_are_written_by_their_product() -> None:
    """A lambda, a partial and a class give the same configuration; nested factories are written down within each other."""
    for network in (partial(MLP, hidden=[4]), lambda i, o: MLP(i, o, hidden=[4])):
        written = Bernoulli(2, Size((3,)), network).configuration()["init_args"]
        assert written == {"network": {"class_path": "uncollapse.networks.MLP", "init_args": {"hidden": [4]}}}
    free = make("posterior", "Free").configuration()["init_args"]
    assert free["family"]["init_args"]["network"]["init_args"] == {"hidden": []}
    sigma = make("likelihood", "Gaussian-OptimalSigma").configuration()["init_args"]["sigma"]
    assert sigma == {"class_path": "uncollapse.distributions.OptimalSigma", "init_args": {"momentum": 0.1}}


def test_a_product_that_is_no_part_cannot_be_written() -> None:
    """A plain torch module as network: the message names the class, the parameter and what would do."""
    part = Bernoulli(2, Size((3,)), lambda i, o: nn.Linear(2, 3))
    with pytest.raises(TypeError, match=r"Bernoulli\(network=\.\.\.\) cannot be saved: .* kept as self.network"):
        part.configuration()


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("schedule", {"class_path": "uncollapse.schedules.Linear", "init_args": {"stop": 1.0}}),
        ("schedule", {"class_path": "uncollapse.schedules.Linear", "init_args": {"start": "soon"}}),
        ("network", {"class_path": "uncollapse.networks.MLP", "init_args": {"hiden": [3]}}),
        ("network", {"class_path": "uncollapse.schedules.Linear", "init_args": {}}),
        ("prior", {"class_path": "uncollapse.distributions.Nomal", "init_args": {}}),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, wrong: dict[str, Any]) -> None:
    """An unknown parameter, a value of another type, a part of another kind, a class that is not there."""
    with pytest.raises(ValueError, match="the configuration does not fit"):
        rebuilt(wrong, kind)


def test_an_unknown_parameter_is_named() -> None:
    """The typo itself stands in the message."""
    with pytest.raises(ValueError, match="hiden"):
        rebuilt({"class_path": "uncollapse.networks.MLP", "init_args": {"hiden": [3]}}, "network")


def test_positional_and_named_arguments_are_the_same() -> None:
    """How an argument was passed is not part of the configuration."""
    by_position, by_name = Linear(0.0, 2.0, 5).configuration(), Linear(start=0.0, end=2.0, steps=5).configuration()
    assert (
        by_position
        == by_name
        == {"class_path": "uncollapse.schedules.Linear", "init_args": {"start": 0.0, "end": 2.0, "steps": 5}}
    )


def test_built_parts_compute_the_same(float64: None) -> None:
    """A factory that was built again, with the same seed, gives the same network."""
    factory: Callable[[Size, Size], Network] = rebuilt(make("network", "MLP").configuration(), "network")
    x = torch.randn(4, 3)
    torch.manual_seed(1)
    ours = make("network", "MLP")(x)
    torch.manual_seed(1)
    assert torch.equal(factory(Size((3,)), Size((2, 2)))(x), ours)
