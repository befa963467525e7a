"""What a data set is to the rest of the house: three splits, and what their numbers mean."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Size

from uncollapse.data.joined import joined
from uncollapse.data.source import Source
from uncollapse.data.space import Space

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Data:
    """Three splits of one kind of observation.

    Attributes:
        name: What the data set is called in tables.
        train: Observations to learn from.
        valid: Observations to choose by.
        test: Observations to report on.
        levels: Of discrete data, how many values there are on the grid k / (levels - 1) in [0, 1]: 2 for binary data, 256 for
            8-bit images; of tokens, how many there are; None for real numbers.
        dequantized: How many levels the data had before uniform noise was added, so that bits per dimension can be stated;
            `levels` is None then.
        own: The splits that the data came with; the others were drawn from the train split, or are empty where that has too
            few rows.
        order: Where splits were drawn, how to put all rows back into the order that they came in: for each, its number among
            the rows of train, valid and test, one split after another. None: that is their order.
        words: Of sentences, the word of each token, the end and the unknown word first; None for other data.
        condition_space: The space of what a model is conditioned on, one for each observation; None: nothing.
        modes: Of data whose modes are known, `Modes` or what tells them as it does; None for other data.

    Example:
        >>> from uncollapse.data import load
        >>> digits = load("digits")
        >>> len(digits.train), len(digits.valid), len(digits.test), digits.shape, digits.levels
        (1439, 179, 179, torch.Size([1, 8, 8]), 17)
    """

    name: str
    train: Source
    valid: Source
    test: Source
    levels: int | None
    dequantized: int | None = None
    own: tuple[str, ...] = SPLITS
    order: np.ndarray | None = field(default=None, repr=False, compare=False)
    words: tuple[str, ...] | None = None
    condition_space: Space | None = None
    modes: Any = field(default=None, repr=False, compare=False)

    @property
    def shape(self) -> Size:
        """Shape of one observation."""
        return self.train.shape

    @property
    def space(self) -> Space:
        """The space of the observations."""
        if self.train.tokens:
            return Space(self.shape, "tokens", self.levels)
        return Space(self.shape) if self.levels is None else Space(self.shape, "grid", self.levels)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Data":
        """All three splits, and the modes, on a device, in one floating type."""
        moved = self.mapped(lambda split, source: source.to(device, dtype))
        return moved if self.modes is None else replace(moved, modes=self.modes.to(device, dtype))

    def fingerprint(self) -> dict[str, list[float]]:
        """That of each split, `Source.fingerprint`, by which a training finds that it is resumed on other data."""
        return {split: getattr(self, split).fingerprint() for split in SPLITS}

    def split(self, name: str) -> Source:
        """The split of this name: train, valid or test; all: every row, in the order that the rows came in.

        Raises:
            ValueError: If there is no such split, or the data have too few rows to have drawn it.

        Example:
            >>> from uncollapse.data import from_arrays
            >>> from_arrays(np.arange(5.0)).split("all").all().flatten().tolist()
            [0.0, 1.0, 2.0, 3.0, 4.0]
        """
        if name == "all":
            return joined([getattr(self, split) for split in SPLITS], self.order)
        if name not in SPLITS:
            raise ValueError(f"expected a split out of {', '.join((*SPLITS, 'all'))}, came {name!r}")
        source: Source = getattr(self, name)
        if not len(source):
            least = len(SPLITS) + 1 - len(self.own)
            raise ValueError(
                f"expected at least {least} observations of {self.name} to draw the split {name}, came {len(self.train)}: give "
                "more, or all three splits; to look at a trained model, --split all takes every row"
            )
        return source

    def mapped(self, change: Callable[[str, Source], Source]) -> "Data":
        """The same data with each split changed; `change` is given the split's name and its source."""
        changed: dict[str, Any] = {split: change(split, getattr(self, split)) for split in SPLITS}
        return replace(self, **changed)
