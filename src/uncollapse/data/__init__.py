"""Named data sets and the user's own files: one way in, three splits out."""

from uncollapse.data.arrays import from_arrays
from uncollapse.data.batch import Batch, as_batch
from uncollapse.data.dataset import Data
from uncollapse.data.from_torch import from_dataset
from uncollapse.data.modes import Modes
from uncollapse.data.registry import load, names
from uncollapse.data.source import Source
from uncollapse.data.space import Column, Space
from uncollapse.data.text import from_sentences, sentences

__all__ = [
    "Batch",
    "Column",
    "Data",
    "Modes",
    "Source",
    "Space",
    "as_batch",
    "from_arrays",
    "from_dataset",
    "from_sentences",
    "load",
    "names",
    "sentences",
]
