"""A remedy as a value: options of a training, and why they may help."""

from typing import Any, NamedTuple

Option = tuple[str, Any]
"""The dotted name of an option of a recipe and its value: a number, a text, the name of a class, or a list of these."""


class Remedy(NamedTuple):
    """Options of a training that may mend a collapse.

    Example:
        >>> print(Remedy((("objective.beta", "Linear"), ("objective.k", 5)), "anneal the weight of the KL"))
        objective.beta=Linear, objective.k=5: anneal the weight of the KL
    """

    options: tuple[Option, ...]
    why: str

    def __str__(self) -> str:
        """The options and the reason, in a line."""
        return f"{', '.join(f'{name}={value}' for name, value in self.options)}: {self.why}"
