"""A remedy as a value, and the command that tries it."""

from collections.abc import Iterable
from shlex import quote
from typing import NamedTuple


class Remedy(NamedTuple):
    """Options of a training that may mend a collapse.

    Example:
        >>> Remedy("--likelihood.skip true", "let z reach every layer of the decoder").command("vae")
        'uncollapse train vae --likelihood.skip true      let z reach every layer of the decoder'
    """

    options: str  # as the command line reads them
    why: str

    def command(self, recipe: str) -> str:
        """The command that trains a recipe with these options, and why, in one line.

        Args:
            recipe: The name of a recipe, or the path of a run's config.yaml.
        """
        return f"{f'uncollapse train {quote(recipe)} {self.options}':90}  {self.why}"


def commands(remedies: Iterable[Remedy], recipe: str) -> list[str]:
    """The commands of several remedies, a line each."""
    return [remedy.command(recipe) for remedy in remedies]
