"""Recipes, run folders, saved models, benches and options of a stranger are opened, and nothing that they name is run."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from laws.parts import KINDS
from uncollapse.allowlist import NotAllowedError
from uncollapse.cli import main
from uncollapse.distributions import Bernoulli, Normal, Posterior, Prior, posteriors
from uncollapse.networks import MLP
from uncollapse.parts import Part, allowlist, build
from uncollapse.training import Estimator, Recipe, load
from uncollapse.training.checkpoint import write_state
from uncollapse.training.game import load_game
from uncollapse.vae import VAE

SHELL = "touch PWNED"
CALL = {"class_path": "os.system", "init_args": {"command": SHELL}}

EVIL = """
from pathlib import Path
from uncollapse.distributions import Normal
Path("PWNED").touch()
class Planted(Normal):
    pass
"""

OWN = """
import torch
from torch.distributions import Distribution
from uncollapse.distributions import Normal
from uncollapse.networks import MLP

class {name}(Normal):
    def __init__(self, features: int, scale: float = 2.0, title: str = "a.b"):
        super().__init__(features)

class Thin(MLP):
    def __init__(self, input: torch.Size, output: torch.Size, hidden: list[int] = [3]):
        super().__init__(input, output, hidden)
"""

VALUES: dict[str, Any] = {
    "call": CALL,
    "name alone": "os.system",
    "another module": {"class_path": "subprocess.Popen", "init_args": {"args": SHELL, "shell": True}},
    "through the library": {**CALL, "class_path": "uncollapse.training.run.os.system"},
    "through the library's own name": {**CALL, "class_path": "uncollapse.training.checkpoint.shutil.os.system"},
    "through torch": {**CALL, "class_path": "torch.os.system"},
    "through an optimiser's module": {**CALL, "class_path": "torch.optim.adam.Adam.__init__"},
    "function of the library": {"class_path": "uncollapse.parts.build", "init_args": {"configuration": {}, "function": CALL}},
    "class of the library that is no part": {"class_path": "uncollapse.training.Estimator"},
    "foreign class that the library imports": {"class_path": "uncollapse.training.run.Path", "init_args": {"args": "x"}},
    "module that is run": {"class_path": "uncollapse.__main__.main"},
    "module that is importable": "planted.Planted",
    "module that is importable, with arguments": {"class_path": "planted.Planted", "init_args": {}},
    "class in memory": "Lurking",
    "class in memory, by its path": {"class_path": "lurking.Lurking"},
    "text within a text": json.dumps(json.dumps(CALL)),
    "escaped text": '"os\\x2esystem"',
    "text of a mapping": "{class_path: os.system, init_args: {command: touch PWNED}}",
    "argument of a part": {"class_path": "Mixture", "init_args": {"components": CALL}},
    "argument without a name": {"class_path": "Mixture", "dict_kwargs": {"components": CALL}},
    "list": [CALL],
    "list of lists": {"class_path": "Mixture", "init_args": {"components": [[CALL]]}},
    "class path that is no text": {"class_path": CALL},
    "file": "planted.yaml",
    "file in a folder": "./folder/planted.yaml",
    "lookalike": {**CALL, "class_path": "ｏs.system"},
    "lookalike of the library": {**CALL, "class_path": "unсollapse.distributions.Normal"},
    "path in a path": "uncollapse.../planted",
    "builtin": {"class_path": "builtins.eval", "init_args": {"source": "__import__('os').system('touch PWNED')"}},
    "jsonargparse's own": {"class_path": "jsonargparse.CLI", "init_args": {}},
    "python tag": "!!python/object/apply:os.system ['touch PWNED']",
    "keys with dots": {"class_path": "Mixture", "init_args.components.class_path": "os.system"},
    "default": {"__default__": CALL},
    "aliases": "&a [*a, *a]",
}
"""What may stand where a part is expected, and must not be run."""

KEYS = ["prior", "likelihood", "posterior", "objective", "procedure", "optimizer"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with traps: a module that can be imported, a class in memory, files with the names of parts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "planted.py").write_text(EVIL)
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "small.npy", (np.random.default_rng(0).random((60, 4)) < 0.5).astype(np.float32))
    for name in ("planted.yaml", "folder/planted.yaml", "Normal", "MLP", "uncollapse.distributions.Normal", "vae"):
        (tmp_path / name).write_text(yaml.safe_dump(CALL))
    lurking = ModuleType("lurking")
    exec("from pathlib import Path\nfrom uncollapse.distributions import Prior", vars(lurking))
    exec("class Lurking(Prior):\n    def __init__(self, features: int):\n        Path('PWNED').touch()", vars(lurking))
    monkeypatch.setitem(sys.modules, "lurking", lurking)
    yield tmp_path
    sys.modules.pop("planted", None)


@pytest.fixture
def unharmed(folder: Path) -> Iterator[None]:
    """Nothing was run, and no trap was imported."""
    yield
    assert not list(folder.rglob("PWNED")) and "planted" not in sys.modules


def recipe(**changed: Any) -> dict[str, Any]:
    """The recipe of a tiny VAE, some of its values changed."""
    network = {"class_path": "MLP", "init_args": {"hidden": [4]}}
    return {
        "features": 2,
        "prior": "Normal",
        "likelihood": {"class_path": "Bernoulli", "init_args": {"network": network}},
        "posterior": {"class_path": "uncollapse.distributions.posteriors.Gaussian", "init_args": {"network": network}},
        "objective": "ELBO",
        "procedure": "Amortized",
        "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-3}},
        "data": {"name": "small.npy"},
        "training": {"steps": 2, "validate_every": 2},
    } | changed


def written(values: dict[str, Any], file: str = "mine.yaml") -> str:
    Path(file).write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def run_folder(honest: Prior | None = None, **changed: Any) -> Path:
    """A run folder whose saved model was changed, its hashes right."""
    model = VAE(
        honest or Normal(2),
        Bernoulli(2, (4,), lambda i, o: MLP(i, o, hidden=[4])),
        posteriors.Gaussian(2, (4,), lambda i, o: MLP(i, o, hidden=[4])),
    )
    for name in ("best", "last"):
        place = Path("run") / "checkpoints" / name
        model.save_pretrained(place)
        document = json.loads((place / "model.json").read_text()) | changed
        (place / "model.json").write_text(json.dumps(document))
        write_state(place, {"nothing": torch.zeros(1)}, {"step": 2})
    written(recipe(), "run/config.yaml")
    return Path("run")


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line in which the command line refuses."""
    assert main(argv) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("error: ") and told.err.count("\n") == 1, told
    return told.err


@pytest.mark.parametrize("what", VALUES)
def test_a_recipe_runs_nothing(what: str, unharmed: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever stands as the prior; the other keys take the same check."""
    refused(["train", written(recipe(prior=VALUES[what])), "--out", "o", "--no-report"], capsys)
    assert not Path("o").exists()


@pytest.mark.parametrize("key", [*KEYS, "training", "machine", "data", "features", "config", "print_config", "__path__"])
def test_no_key_of_a_recipe_runs_anything(key: str, unharmed: None) -> None:
    """A call, or a file with one, under every key, and beside the keys that there are."""
    for value in (CALL, "planted.yaml", {"schedule": CALL, "name": CALL}):
        with pytest.raises(ValueError):
            Recipe.read(written(recipe(**{key: value})))


@pytest.mark.parametrize("what", VALUES)
def test_an_option_runs_nothing(what: str, unharmed: None) -> None:
    """As the prior, as a network within a part, and for the short form of both."""
    value = VALUES[what] if isinstance(VALUES[what], str) else json.dumps(VALUES[what])
    for options in (["--prior", value], [f"--likelihood.network={value}"]) if what == "call" else (["--prior", value],):
        with pytest.raises(ValueError) as found:
            Recipe.read(written(recipe()), options)
        assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "options",
    [
        ["--prior.class_path", "os.system", "--prior.init_args.command", SHELL],
        ["--prior.class_path=os.system", f"--prior.command={SHELL}"],
        ["--prior.help", "planted.Planted"],
        ["--prior.help=os.system"],
        ["--objective.beta", json.dumps(CALL)],
        ["--training.schedule", "planted.Planted"],
        ["--training", "planted.yaml"],
        ["--training", json.dumps({"schedule": CALL})],
        ["--machine=planted.yaml"],
        ["--config", "planted.yaml"],
        ["--conf", "planted.yaml"],
        ["--conf=./folder/planted.yaml"],
        ["--train", "./folder/planted.yaml"],
        ["--likelihood.network.activation", "planted.Planted"],
        ["--likelihood.network.hidden", json.dumps([CALL])],
        ["--optimizer", "planted.Planted"],
        ["--optimizer.lr", json.dumps(CALL)],
        ["--optimizer+", json.dumps(CALL)],
        ["--features", json.dumps(CALL)],
        ["--prior.init_args", json.dumps({"components": CALL})],
    ],
)
def test_no_form_of_an_option_runs_anything(options: list[str], unharmed: None) -> None:
    with pytest.raises(ValueError):
        Recipe.read(written(recipe()), options)


def test_the_environment_names_no_part(unharmed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """jsonargparse reads options from environment variables where it is told to."""
    monkeypatch.setenv("JSONARGPARSE_DEFAULT_ENV", "true")
    for name in ("UNCOLLAPSE_TRAIN_PRIOR", "UNCOLLAPSE_TRAIN__PRIOR", "UNCOLLAPSE TRAIN_PRIOR", "PRIOR", "SCHEDULE"):
        monkeypatch.setenv(name, json.dumps(CALL))
    monkeypatch.setenv("UNCOLLAPSE_TRAIN_CONFIG", "planted.yaml")
    assert Recipe.read(written(recipe())).values["prior"]["class_path"] == "uncollapse.distributions.Normal"


@pytest.mark.parametrize("verb", ["sample", "evaluate", "diagnose", "report"])
def test_a_saved_model_runs_nothing(verb: str, unharmed: None, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_folder(prior=CALL)
    where = ["--out", "s.npy"] if verb == "sample" else []
    assert "os.system" in refused([verb, str(run), *where], capsys)


@pytest.mark.parametrize("what", VALUES)
def test_no_part_of_a_saved_model_runs_anything(what: str, unharmed: None) -> None:
    """In Python, as the prior; the likelihood and the posterior of a run folder and of a `save_pretrained` folder."""
    run = run_folder(prior=VALUES[what])
    with pytest.raises(ValueError, match="does not fit"):
        VAE.from_pretrained(run / "checkpoints" / "best")
    for key in ("likelihood", "posterior") if what == "call" else ():
        with pytest.raises(ValueError, match="does not fit"):
            load(run_folder(**{key: VALUES[what]}))


def test_a_runs_recipe_runs_nothing(unharmed: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The configuration of a run folder, where its model is honest."""
    run = run_folder()
    written(recipe(objective=CALL), "run/config.yaml")
    with pytest.raises(NotAllowedError):
        load_game(run, load(run))
    assert "os.system" in refused(["train", "--resume", "--out", str(run)], capsys)


@pytest.mark.parametrize("told", [{"recipe": "mine.yaml", "rows": {"a": ""}}, {"recipe": "vae", "rows": {"a": "--prior os.s"}}])
def test_a_bench_runs_nothing(told: dict[str, Any], unharmed: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Its recipe and its rows, before any row is trained."""
    written(recipe(prior=CALL))
    honest = {"recipe": "vae", "rows": {"first": "--steps 1"}}
    assert "os.s" in refused(["bench", written({"tables": {"honest": honest, "t": told}}, "b.yaml"), "--out", "o"], capsys)
    assert not Path("o").exists()


def test_an_estimator_runs_nothing(unharmed: None) -> None:
    with pytest.raises(NotAllowedError):
        Estimator(options=["--prior", json.dumps(CALL)]).fit(torch.zeros(20, 4).numpy())


@pytest.mark.parametrize(
    ("key", "name", "said"),
    [
        ("activation", "torch.nn.LSTM", "expected one of torch.nn's .*ReLU.* as activation, got 'torch.nn.LSTM'"),
        ("activation", "torch.nn.Linear", "expected one of torch.nn's .*ReLU"),
        ("activation", "torch.nn.functional.relu", "expected one of torch.nn's .*ReLU"),
        ("cell", "torch.nn.RNN", "expected one of torch.nn's GRU, LSTM as cell"),
        ("optimizer", "torch.optim.lr_scheduler.StepLR", "expected an optimizer of torch.optim as optimizer"),
        ("optimizer", "torch.optim.Optimizer", "expected an optimizer of torch.optim"),
        ("prior", "torch.nn.LSTM", "expected a part of uncollapse as prior"),
        ("prior", "uncollapse.distributions.Nomal", "did you mean uncollapse.distributions.Normal"),
        ("prior", "my_parts.Wide", "use --import FILE.py, or parts="),
    ],
)
def test_a_refusal_says_what_to_write(key: str, name: str, said: str) -> None:
    """What came, what was expected, what to write instead."""
    from uncollapse.training.recipe import model_parts

    with pytest.raises(NotAllowedError, match=said):
        allowlist((), model_parts).check({key: {"class_path": name}})


def test_every_own_part_may_be_named() -> None:
    """By the path that is written down, for every part of the list of laws, and by that of the file that defines it."""
    from laws.parts import given

    allowed = allowlist()
    for kind, (rows, _) in KINDS.items():
        for name in rows:
            cls = type(rows[name](*given(kind, name)))
            path = rows[name](*given(kind, name)).configuration()["class_path"]
            assert allowed.find(path) is cls is allowed.find(f"{cls.__module__}.{cls.__name__}")


def own_file(name: str, part: str = "Wide") -> str:
    """A file with a prior of this name and a network; its name is that of no other module."""
    Path(f"{name}.py").write_text(OWN.format(name=part))
    return f"{name}.py"


def test_a_run_with_parts_of_an_imported_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Named by the bare name or by the module's, trained, and opened again with the file; without it refused by name."""
    file = own_file("parts_of_a_run")
    argv = ["--import", file, "--prior", "Wide", "--prior.title", "c.d", "--likelihood.network", "parts_of_a_run.Thin"]
    assert main(["train", written(recipe()), *argv, "--out", "run", "--no-report"]) == 0
    kept = yaml.safe_load(Path("run/config.yaml").read_text())
    assert kept["prior"] == {"class_path": "parts_of_a_run.Wide", "init_args": {"scale": 2.0, "title": "c.d"}}
    assert main(["sample", "run", "--import", file, "--out", "s.npy", "--n", "4"]) == 0
    assert main(["train", "--resume", "--out", "run", "--import", file, "--no-report"]) == 0
    capsys.readouterr()
    for verb in (["sample", "run", "--out", "s.npy"], ["train", "--resume", "--out", "run"]):
        said = refused(verb, capsys)
        assert "parts_of_a_run.Wide" in said and "--import" in said
    for parts in ([file], [Path(file)], ["parts_of_a_run"], [sys.modules["parts_of_a_run"]], file):
        assert type(load("run", parts=parts).prior).__name__ == "Wide"


def test_classes_that_the_program_passes_in() -> None:
    """A class of the program's own, also where it was saved by a script; what is no part is refused."""
    run = run_folder(Passed(2))
    with pytest.raises(ValueError, match=r"got '.*Passed'"):
        load(run)
    assert isinstance(load(run, parts=[Passed]).prior, Passed)
    run = run_folder(prior={"class_path": "__main__.Passed", "init_args": {}})
    assert isinstance(VAE.from_pretrained(run / "checkpoints" / "best", [Passed]).prior, Passed)
    for wrong in (Path, int):
        with pytest.raises(ValueError, match="expected parts="):
            load(run, parts=[wrong])


class Passed(Normal):
    """A prior of this module."""


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.py", None, "there is no file missing.py"),
        ("my-parts.py", "", "expected a .py file whose name is a Python name, got my-parts.py"),
        ("raises_a_key_error.py", "{}['a']", "cannot import raises_a_key_error.py: KeyError: 'a'"),
        ("leaves.py", "raise SystemExit(3)", "cannot import leaves.py: SystemExit: 3"),
        ("not_python.py", "a b", "cannot import not_python.py: SyntaxError"),
        ("json.py", "", "there is another module json"),
        ("folder/tabnanny.py", "", "there is another module tabnanny"),
        ("nothing_in_it.py", "from os import system", "nothing_in_it.py defines no part"),
        ("no_such_module", None, "cannot import no_such_module: ModuleNotFoundError"),
    ],
)
def test_files_that_cannot_be_imported(name: str, content: str | None, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each."""
    if content is not None:
        Path(name).write_text(content)
    assert said in refused(["train", "vae", "--import", name, "--out", "o"], capsys)


def test_an_imported_file_allows_its_own_classes_alone(unharmed: None) -> None:
    """Not what it imports, nor functions in it."""
    file = Path("parts_that_import.py")
    file.write_text("import os\nfrom os import system\nfrom torch.nn import LSTM\n" + OWN.format(name="Wide"))
    for value in (
        {**CALL, "class_path": "parts_that_import.os.system"},
        {**CALL, "class_path": "parts_that_import.system"},
        CALL,
    ):
        with pytest.raises(NotAllowedError):
            Recipe.read(written(recipe(prior=value)), parts=[file])
    with pytest.raises(NotAllowedError):
        allowlist([file]).check({"activation": "parts_that_import.LSTM"})


def test_honest_names_still_work() -> None:
    """Bare names, paths, nested parts, a tuple's entries, optimisers and activations by either name."""
    options = ["--prior", "Mixture", "--prior.components", "3", "--likelihood.network.activation", "torch.nn.SiLU"]
    more = [
        "--posterior",
        "uncollapse.distributions.FullGaussian",
        "--optimizer",
        "torch.optim.AdamW",
        "--optimizer.lr",
        "1e-4",
    ]
    found = Recipe.read(written(recipe()), [*options, *more, "--objective.beta", "{class_path: Linear, init_args: {steps: 5}}"])
    assert found.values["prior"]["init_args"]["components"] == 3 and found.values["optimizer"]["init_args"]["lr"] == 1e-4
    assert found.values["likelihood"]["init_args"]["network"]["init_args"]["activation"] == "torch.nn.SiLU"
    bare = Recipe.read(written(recipe()), ["--likelihood.network.activation", "Tanh", "--posterior", "Gaussian"])
    assert bare.values["likelihood"]["init_args"]["network"]["init_args"]["activation"] == "torch.nn.Tanh"


def test_too_deep_a_configuration() -> None:
    nested: Any = CALL
    for _ in range(200):
        nested = [nested]
    with pytest.raises(ValueError, match="nested too deeply"):
        allowlist().check(nested)


def test_build_takes_classes_passed_in() -> None:
    """`build` itself, for a part that it may not name otherwise."""

    def take(part: Prior) -> Prior:
        return part

    def made(features: int, prior: Callable[[int], Prior]) -> Any:
        return prior(features)

    told = {"features": 2, "prior": {"class_path": f"{Passed.__module__}.Passed"}}
    assert isinstance(build(told, made, [Passed]), Passed)
    with pytest.raises(ValueError, match="Passed"):
        build(told, made)
    assert issubclass(Posterior, Part) and take(Normal(1)).features == 1
