"""Models that are written down with their weights and built again."""

import json
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Self

from safetensors.torch import save
from torch import Tensor, nn

from uncollapse.atomic_write import atomic_write
from uncollapse.own_modules import Named
from uncollapse.parts import Part, build
from uncollapse.plain_files import check_lists, read_json
from uncollapse.sizes import building
from uncollapse.tensor_files import check_header, check_weights, tensors_of

FORMAT = 2


class Saved(nn.Module):
    """A model made of parts, which `of` builds from factories of them.

    Attributes:
        parts: The names of its parts; one may be None.
    """

    parts: ClassVar[tuple[str, ...]]
    of: ClassVar[Callable[..., Any]]

    def sizes(self) -> dict[str, Any]:
        """What `of` takes beside the parts, as plain values."""
        raise NotImplementedError

    def configuration(self) -> dict[str, Any]:
        """What `of` needs to build this model again, as plain values."""
        held: dict[str, Part | None] = {name: getattr(self, name) for name in self.parts}
        return {**self.sizes(), **{name: None if part is None else part.configuration() for name, part in held.items()}}

    def save_pretrained(self, directory: str | Path) -> None:
        """Write model.json and model.safetensors into a directory, each whole or not at all.

        Raises:
            OSError: If they cannot be written.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        weights = save({k: v.contiguous() for k, v in self.state_dict().items()})
        document = {
            "format": FORMAT,
            "model": type(self).__name__,
            "sha256": sha256(weights).hexdigest(),
            **self.configuration(),
        }
        for name, content in (("model.safetensors", weights), ("model.json", json.dumps(document, indent=2).encode())):
            with atomic_write(directory / name) as stream:
                stream.write(content)

    @classmethod
    def from_pretrained(cls, directory: str | Path, parts: Iterable[Named] = ()) -> Self:
        """Build the model that `save_pretrained` wrote.

        Args:
            directory: The folder.
            parts: What holds classes of your own that it is made of: classes, modules, or paths of .py files, which are
                imported. A model that names others is refused, and nothing of it is run.

        Raises:
            FileNotFoundError: If the directory holds no model.
            ValueError: If it is another kind of model, was written in another format, is damaged, names a class that is
                neither the library's nor in `parts`, or its weights have other shapes than its description.
        """
        directory = Path(directory)
        document = described(directory)
        kind = document.pop("model")
        if kind != cls.__name__:
            raise ValueError(f"{directory}/model.json holds a {kind}, expected a {cls.__name__}; write {kind}.from_pretrained")
        file, expected = directory / "model.safetensors", document.pop("sha256", None)
        if file.is_file():
            check_header(file)
        weights = file.read_bytes() if file.is_file() else b""
        if sha256(weights).hexdigest() != expected:
            raise ValueError(f"{file} is damaged: its bytes are not those that were saved; take a copy of it, or train again")
        with building(f"{directory}/model.json"):
            model: Self = build(document, cls.of, parts)
        model.load_weights(tensors_of(weights, file), str(directory))
        return model.eval()

    def load_weights(self, weights: dict[str, Tensor], where: str) -> None:
        """Take over weights by name; refuse those of another model."""
        check_weights(weights, self.state_dict(), where)
        real = next((v.dtype for v in weights.values() if v.is_floating_point()), None)
        self.to(dtype=real).load_state_dict(weights)


def described(directory: Path) -> dict[str, Any]:
    """model.json of a folder that `save_pretrained` wrote: which `model` it is, and all that builds it again.

    Raises:
        FileNotFoundError: If the directory holds no model.
        ValueError: If it was written in another format.
    """
    if not (directory / "model.json").exists():
        raise FileNotFoundError(f"{directory} holds no model.json; expected a folder that save_pretrained wrote")
    document = read_json(directory / "model.json")
    check_lists(document, f"{directory}/model.json")
    if document.pop("format", None) != FORMAT or "model" not in document:
        raise ValueError(f"{directory}/model.json is of another format than {FORMAT}, which this version reads; train it again")
    return document
