"""What the numbers of an observation or of a condition are."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Size

Kind = Literal["real", "grid", "tokens", "counts", "label", "table"]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: Its name.
        kind: real, grid or label.
        size: How many levels or classes it has; None for real numbers.
        unit: What its numbers are counted in, for tables that people read.
    """

    name: str
    kind: Kind = "real"
    size: int | None = None
    unit: str = ""


@dataclass(frozen=True)
class Space:
    """The space that observations or conditions lie in.

    Args:
        shape: Shape of one of them; () for a label.
        kind: real: real numbers. grid: `size` levels k / (size - 1) in [0, 1]. tokens: int64 numbers of words, `size` of them.
            counts: how often each of `size` words occurs. label: one of `size` classes, int64. table: `columns`.
        size: Levels, vocabulary or classes; None for real numbers.
        columns: Of a table, one for each of its numbers.

    Raises:
        ValueError: If the kind is unknown, or its size is missing.

    Example:
        >>> Space(Size(()), "label", 10)
        Space(shape=torch.Size([]), kind='label', size=10, columns=())
    """

    shape: Size
    kind: Kind = "real"
    size: int | None = None
    columns: tuple[Column, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", Size(self.shape))
        if self.kind not in get_args(Kind):
            raise ValueError(f"expected a kind out of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if (self.size is None) != (self.kind in ("real", "table")):
            wanted = "no size" if self.size is not None else "a size"
            raise ValueError(f"expected {wanted} of a space of kind {self.kind}, got {self.size}")

    def as_dict(self) -> dict[str, Any]:
        """As plain values, which `of` takes."""
        return {"shape": list(self.shape), "kind": self.kind, "size": self.size}

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Space":
        """The space that `as_dict` wrote.

        Example:
            >>> Space.of(Space(Size((3,))).as_dict())
            Space(shape=torch.Size([3]), kind='real', size=None, columns=())
        """
        return cls(Size(values["shape"]), values["kind"], values["size"])
