"""Sentences as sequences of tokens: text files, a sentence a line, its words between blanks."""

import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uncollapse.data import fetch, store
from uncollapse.data.arrays import shared_out
from uncollapse.data.dataset import SPLITS, Data
from uncollapse.data.file_checks import check_regular, one_line
from uncollapse.data.reading import Reading
from uncollapse.data.sentence_tokens import SentenceTokens
from uncollapse.data.source import Source

_PIECE, _LINE = 2**20, 2**20  # characters that are read at a time, and that a line may have
_PACKED, _RATIO = 2**22, 100  # characters, and how many times the packed size, from which on a packed file is an attack

END, UNKNOWN = "<end>", "<unknown>"
"""The words of tokens 0, which ends a sentence and fills what is left of its length, and 1."""


def from_sentences(
    train: Iterable[str],
    valid: Iterable[str] | None = None,
    test: Iterable[str] | None = None,
    words: int | None = None,
    name: str = "sentences",
    seed: int = 0,
) -> Data:
    """Data from sentences, words between blanks, as int64 tokens.

    The vocabulary is that of the train split, the most frequent words first; any other word is unknown. A split that is not
    given is drawn as in `from_arrays`. A sequence has room for the longest sentence and its end.

    Args:
        train: Sentences to learn from; those without a word are left out.
        valid: Sentences to choose by.
        test: Sentences to report on.
        words: How many words to know at most; None: all of the train split.
        name: What to call the data set.
        seed: Of the splits that are not given.

    Raises:
        ValueError: If a split has no sentences, or all together do not fit in memory.

    Example:
        >>> data = from_sentences(["a cat", "a dog", "a"], ["a bird"], ["the dog barks"])
        >>> data.words, data.shape
        (('<end>', '<unknown>', 'a', 'cat', 'dog'), torch.Size([4]))
        >>> sentences(data.test.all(), data.words)
        ['<unknown> dog <unknown>']
    """
    came = {"train": train, "valid": valid, "test": test}
    read = SentenceTokens()
    sizes = {split: read.add(lines, name) for split, lines in came.items() if lines is not None}
    rows, order = _completed(sizes, name, seed)
    known, token = _vocabulary(read, rows["train"], words)
    room = _room(read, name)
    sources: dict[str, Any] = {s: Source(torch.from_numpy(read.padded(rows[s], room, token)), tokens=True) for s in SPLITS}
    return Data(name, **sources, levels=len(known), words=known, own=tuple(sizes), order=order)


def _vocabulary(read: SentenceTokens, train: np.ndarray, words: int | None) -> tuple[tuple[str, ...], np.ndarray]:
    """The words that are known, and for each word that was read, its token."""
    counts = read.counts(train)
    spelled = list(read.words)
    kept = sorted(np.flatnonzero(counts).tolist(), key=lambda i: (-counts[i], spelled[i]))[:words]
    token = np.ones(len(spelled), np.int32)
    token[kept] = 2 + np.arange(len(kept))
    return (END, UNKNOWN, *(spelled[i] for i in kept)), token


def _room(read: SentenceTokens, name: str) -> int:
    """The longest sentence and its end, which every sentence gets room for."""
    lengths = read.lengths()
    room = 1 + int(lengths.max())
    if not store.fits((len(lengths), room)):
        raise ValueError(
            f"expected sentences that fit in {store.budget() / 2**30:.3g} GiB of memory, got {len(lengths):,} in {name}, each "
            f"with room for {room - 1:,} words, as many as sentence {int(lengths.argmax()) + 1:,} has: shorten it, take fewer, "
            "or set UNCOLLAPSE_MEMORY"
        )
    return room


def sentences(x: Tensor, words: Sequence[str]) -> list[str]:
    """Sequences [N, T] of int64 tokens as text, each up to its end.

    Raises:
        ValueError: If they are of another type.

    Example:
        >>> sentences(torch.tensor([[2, 1, 0], [3, 2, 3]]), [END, UNKNOWN, "a", "cat"])
        ['a <unknown>', 'cat a cat']
    """
    if x.dtype != torch.int64:
        raise ValueError(f"expected int64 tokens, got {x.dtype}; use the numbers of the words")
    return [" ".join(words[token] for token in row[: [*row, 0].index(0)]) for row in x.tolist()]


def of_length(data: Data, length: int) -> Data:
    """Sentences with room for so many words and the end.

    Raises:
        ValueError: If the data are no sentences, or one of them is longer.

    Example:
        >>> data = from_sentences(["a cat", "a dog"], ["a"], ["a"])
        >>> of_length(data, 5).shape
        torch.Size([6])
    """
    if data.words is None:
        raise ValueError(f"expected sentences where a length is stated, came {data.name}: leave length out")
    longest = {split: _longest(getattr(data, split)) for split in SPLITS}
    if (most := max(longest.values())) > length:
        split = max(longest, key=lambda split: longest[split])
        raise ValueError(
            f"expected sentences of at most {length} words in {data.name}, came one of {most} in the {split} split: write "
            f"length {most} or leave it out, or shorten it"
        )
    room = length + 1 - data.shape[0]
    return data.mapped(lambda split, source: source.with_values(F.pad(_held(source), (0, room))))


def of_words(data: Data, words: int) -> Data:
    """Sentences in a vocabulary of the most frequent `words` words; any other word is unknown.

    Raises:
        ValueError: If the data are no sentences, or have fewer words.

    Example:
        >>> data = of_words(from_sentences(["a cat", "a dog"], ["a cat"], ["a dog"]), 1)
        >>> data.levels, sentences(data.test.all(), data.words)
        (3, ['a <unknown>'])
    """
    if data.words is None:
        raise ValueError(f"expected sentences where a number of words is stated, came {data.name}: leave words out")
    known = len(data.words) - 2
    if not 1 <= words <= known:
        raise ValueError(f"expected 1 to {known} words, as many as {data.name} has, came {words}: write one of those")

    def cut(split: str, source: Source) -> Source:
        k = _held(source)
        return source.with_values(torch.where(k < words + 2, k, 1))

    return replace(data.mapped(cut), levels=words + 2, words=data.words[: words + 2])


def in_vocabulary(data: Data, words: Sequence[str]) -> Data:
    """Sentences in another vocabulary, such as that of a trained model; a word that it does not hold is unknown.

    Raises:
        ValueError: If the data are no sentences.

    Example:
        >>> data = in_vocabulary(from_sentences(["a cat", "a dog"], ["a cat"], ["a dog"]), ["<end>", "<unknown>", "dog", "a"])
        >>> data.levels, sentences(data.test.all(), data.words)
        (4, ['a dog'])
    """
    if data.words is None:
        raise ValueError(f"expected sentences for a language model, came {data.name}: give a .txt file, a sentence a line")
    number = {word: k for k, word in enumerate(words)}
    new = torch.tensor([number.get(word, 1) for word in data.words], dtype=torch.int32)

    def turned(split: str, source: Source) -> Source:
        return source.with_values(new[_held(source).long()])

    return replace(data.mapped(turned), levels=len(words), words=tuple(words))


def lines(path: Path, seed: int) -> Data:
    """Sentences from a .txt or .txt.gz file, one a line."""
    return from_sentences(_read(path), name=path.name.removesuffix(".gz").removesuffix(".txt"), seed=seed)


def coco_captions(seed: int = 0) -> Data:
    """10,000 captions of images, a tenth of which is the valid split, and 10,000 for testing: a benchmark of text generation.

    References:
        Chen et al. (2015), Microsoft COCO Captions; in this selection Zhu et al. (2018), Texygen.
    """
    found = [fetch.found("text", f"coco_captions.{split}.txt.gz") for split in ("train", "test")]
    if None in found:
        looked = ", ".join(map(str, fetch.directories()))
        raise FileNotFoundError(
            f"coco_captions.train.txt.gz and coco_captions.test.txt.gz are not in {looked}: UNCOLLAPSE_DATA can name a "
            "directory that holds them in its folder text"
        )
    train, test = (_read(path) for path in found if path is not None)
    return replace(from_sentences(train, test=test, seed=0), name="coco-captions")


def _longest(source: Source) -> int:
    return max((_held(source) != 0).sum(1).tolist(), default=0)


def _held(source: Source) -> Tensor:
    assert isinstance(source.values, Tensor)
    return source.values


def _completed(sizes: dict[str, int], name: str, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Which sentences each split takes, a missing one drawn from the train split, and what puts all back into their order."""
    if not all(sizes.values()):
        came = ", ".join(f"{s} {n}" for s, n in sizes.items())
        raise ValueError(f"expected sentences in each split of {name}, came {came}: leave an empty one out")
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]), strict=False))
    rows = {s: starts[s] + np.arange(n) for s, n in sizes.items()}
    missing = [s for s in SPLITS if s not in sizes]
    if missing:
        rows |= dict(zip([*missing, "train"], shared_out(sizes["train"], len(missing), seed), strict=True))
    return rows, np.argsort(np.concatenate([rows[s] for s in SPLITS])) if missing else None


def _read(path: Path) -> Iterator[str]:
    """The lines of a text file, read in pieces."""
    if not path.name.lower().endswith((".txt", ".txt.gz")):
        raise ValueError(f"expected a .txt or .txt.gz file with a sentence a line, came {path}: convert it first")
    check_regular(path)
    told = lambda reason: ValueError(f"{path} cannot be read as text ({reason}): write it again in UTF-8, a sentence a line")  # noqa: E731
    packed = path.suffix.lower() == ".gz"
    report = Reading(path)
    with gzip.open(path) if packed else open(path, "rb") as raw, io.TextIOWrapper(raw, "utf-8-sig") as file:
        begun, size = "", 0
        while True:
            with one_line(told):
                piece = file.read(_PIECE)
                size += len(piece)
                if packed and size > _PACKED and size > _RATIO * path.stat().st_size:
                    raise ValueError(f"it is packed to less than a {_RATIO}th of its size, as no text is")
                if len(begun) > _LINE:
                    raise ValueError(f"it has a line of more than {_LINE:,} characters")
            if not piece:
                break
            *whole, begun = (begun + piece).split("\n")
            report(len(whole))
            yield from filter(None, whole)
        yield begun
    report.end()
