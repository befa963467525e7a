"""YAML files that come with the library, each known by its name."""

from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path


def named(folder: str) -> dict[str, str]:
    """The names in a folder of the library, each with the first line of its file.

    Example:
        >>> "vae" in named("recipes"), "collapse" in named("benches")
        (True, True)
    """
    found = sorted((files("uncollapse") / folder).iterdir(), key=lambda file: file.name)
    return {
        f.name.removesuffix(".yaml"): f.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        for f in found
        if f.name.endswith(".yaml")
    }


def located(kind: str, folder: str, name: str) -> Path:
    """The file of this name in a folder of the library, or the user's own by its path.

    Args:
        kind: What it is, for the error.
        folder: Of the library.
        name: A name, or the path of a .yaml file.

    Raises:
        ValueError: If there is none.
    """
    if name.endswith((".yaml", ".yml")):
        if not Path(name).exists():
            raise ValueError(f"there is no {kind} file {name}")
        return Path(name)
    known = named(folder)
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"unknown {kind} {name!r}; {hint}there are {', '.join(known)}, or write the path of a .yaml file")
    return Path(str(files("uncollapse") / folder / f"{name}.yaml"))
