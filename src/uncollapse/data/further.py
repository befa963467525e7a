"""Further observations, read as `from_arrays` read the first ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from uncollapse.data import admission
from uncollapse.data.lazy import tensorable
from uncollapse.data.source import Source


@dataclass(frozen=True)
class Further:
    """What `from_arrays` did to an array, done to others: the same scale and the same channels, whatever their numbers are.

    Attributes:
        levels: Of the first array, as in `Data`: 256 levels are scaled to [0, 1].
        eight: Whether it held 8-bit integers, whose images get a channel.

    Example:
        >>> black = np.zeros((2, 3, 3), np.uint8)
        >>> Further(levels=256, eight=True).source(black + 51).all()[0, 0, 0]
        tensor([0.2000, 0.2000, 0.2000])
    """

    levels: int | None
    eight: bool

    def source(self, values: Any, name: str = "X") -> Source:
        """An array or a tensor [N, ...] as a split.

        Args:
            values: Observations.
            name: What to call them in errors.

        Raises:
            ValueError: If they are 8-bit integers and the first ones were not, or the other way round (0 and 1 may be of any
                type), or are no finite numbers.
        """
        array = admission.admitted(values, name, self.eight)
        fits = (array.dtype == np.uint8) == self.eight and not (self.eight and self.levels == 2)
        if not fits and not (self.levels == 2 and admission.binary(array)):
            raise ValueError(self._complaint(name, array.dtype))
        return Source(torch.from_numpy(tensorable(array)), scale=admission.scale(self.levels))

    def _complaint(self, name: str, came: np.dtype) -> str:
        if self.levels == 2:
            middle = 127 if came == np.uint8 else 0.5
            return (
                f"expected 0 and 1 in {name}, as the model was fitted to, came other numbers ({came}): write {name} > {middle}"
            )
        if self.eight:
            return (
                f"expected 8-bit integers from 0 to 255 in {name}, as the model was fitted to, came {came}: convert it to "
                "np.uint8, or fit to such numbers"
            )
        return (
            f"expected numbers in {name} as the model was fitted to, which were no 8-bit integers, came {came}: write "
            f"{name}.astype(float), or {name} / 255 if those were scaled so"
        )
