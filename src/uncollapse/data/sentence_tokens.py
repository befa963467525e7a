"""Sentences as numbers while they are read: a few bytes a word, however long the file is."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from uncollapse.data import store

_WORD = 120  # bytes that a different word takes beside its letters
_CHECKED = 10_000  # sentences between two looks at the memory


class Numbered(dict[str, int]):
    """Each different word, and its number, from 0 in the order in which the words came.

    Attributes:
        letters: Of all words.
    """

    letters = 0

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        self.letters += len(word)
        return number


@dataclass
class SentenceTokens:
    """Sentences of several files, each a run of numbers of words.

    Attributes:
        words: The number of each word.
        tokens: The numbers of all sentences, one after another.
        ends: For each sentence, where in `tokens` it ends.
    """

    words: Numbered = field(default_factory=Numbered)
    tokens: array = field(default_factory=lambda: array("i"))
    ends: array = field(default_factory=lambda: array("q"))

    def add(self, lines: Iterable[str], name: str) -> int:
        """Read more sentences, words between blanks; those without a word are left out. How many there were.

        Raises:
            ValueError: If they take more memory than `store.budget` allows.

        Example:
            >>> read = SentenceTokens()
            >>> read.add(["b a", " ", "b"], "mine"), read.words, read.tokens.tolist(), read.ends.tolist()
            (2, {'b': 0, 'a': 1}, [0, 1, 0], [2, 3])
        """
        before, number = len(self.ends), self.words.__getitem__
        for line in lines:
            words = line.split()
            if not words:
                continue
            self.tokens.extend(map(number, words))
            self.ends.append(len(self.tokens))
            if not len(self.ends) % _CHECKED or len(words) > _CHECKED:
                self._check_memory(name)
        self._check_memory(name)
        return len(self.ends) - before

    def _check_memory(self, name: str) -> None:
        held = 4 * len(self.tokens) + 8 * len(self.ends) + _WORD * len(self.words) + 4 * self.words.letters
        if held > store.budget():
            raise ValueError(
                f"expected sentences that fit in {store.budget() / 2**30:.3g} GiB of memory, got {len(self.tokens):,} words, "
                f"{len(self.words):,} of them different, and more in {name}: take fewer, or set UNCOLLAPSE_MEMORY"
            )

    def lengths(self) -> np.ndarray:
        """Words of each sentence."""
        return np.diff(np.frombuffer(self.ends, np.int64), prepend=0)

    def counts(self, rows: np.ndarray) -> np.ndarray:
        """How often each word comes in these sentences."""
        found = np.zeros(len(self.words), np.int64)
        for some in np.array_split(rows, 1 + len(rows) // _CHECKED):
            found += np.bincount(self._of(some), minlength=len(self.words))
        return found

    def padded(self, rows: np.ndarray, room: int, token: np.ndarray) -> np.ndarray:
        """These sentences [n, room] with other numbers of the words, 0 behind the last word of each.

        Example:
            >>> read = SentenceTokens()
            >>> _ = read.add(["b a", "b"], "mine")
            >>> read.padded(np.array([1, 0]), 3, np.array([2, 3])).tolist()
            [[2, 0, 0], [2, 3, 0]]
        """
        found = np.zeros((len(rows), room), np.int32)
        lengths = self.lengths()[rows]
        for start in range(0, len(rows), _CHECKED):
            some = slice(start, start + _CHECKED)
            found[some][np.arange(room) < lengths[some, None]] = token[self._of(rows[some])]
        return found

    def _of(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of these sentences' words, one sentence after another."""
        ends = np.frombuffer(self.ends, np.int64)[rows]
        lengths = ends - np.where(rows, np.frombuffer(self.ends, np.int64)[rows - 1], 0)
        place = np.arange(lengths.sum()) + np.repeat(ends - np.cumsum(lengths), lengths)
        return np.frombuffer(self.tokens, np.int32)[place]
