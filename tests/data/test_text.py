"""Sentences and synthetic sequences: vocabulary, splits, room, and an oracle whose masses are exact."""

import gzip
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from uncollapse.data import Space, from_sentences, load, sentences
from uncollapse.data.rows import read_rows
from uncollapse.data.sequences import Oracle
from uncollapse.distributions import Bernoulli, Normal, Recurrent, posteriors
from uncollapse.networks import MLP, Bias
from uncollapse.training.fit import admit
from uncollapse.vae import VAE


def test_vocabulary_is_that_of_the_train_split() -> None:
    """The most frequent first, ties by the alphabet; other words are unknown; the rest of a row is the end."""
    data = from_sentences(["b a", "b c", "b"], ["a d"], ["c b a b"])
    assert data.words == ("<end>", "<unknown>", "b", "a", "c") and data.levels == 5
    assert (data.valid.values[0].tolist(), data.test.values[0].tolist()) == ([3, 1, 0, 0, 0], [4, 2, 3, 2, 0])
    assert sentences(data.test.all(), data.words) == ["c b a b"]
    assert from_sentences(["b a", "b c", "b"], ["a"], ["a"], words=1).words == ("<end>", "<unknown>", "b")


@pytest.mark.parametrize("ending", [".txt", ".txt.gz"])
def test_files_are_split_by_the_seed(tmp_path: Path, ending: str) -> None:
    """A sentence a line; a tenth each for valid and test; every sentence in one split; the blank line left out."""
    written = [f"word{i} is number {i}" for i in range(50)]
    content = "\n".join([*written, "", " "]).encode()
    path = tmp_path / f"own{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    data = load(str(path))
    assert (data.name, [len(s) for s in (data.train, data.valid, data.test)]) == ("own", [40, 5, 5])
    assert set(sentences(data.train.all(), data.words)) < set(written)
    assert sentences(data.valid.all(), data.words)[0] == "<unknown> is number <unknown>"
    again = load(str(path), seed=1)
    assert set(sentences(again.train.all(), again.words)) != set(sentences(data.train.all(), data.words))


def test_length_makes_room_or_refuses(tmp_path: Path) -> None:
    """Room for so many words and the end; a longer sentence is told with its length and split, other data at all."""
    path = tmp_path / "own.txt"
    path.write_text("a b c\n" * 10)
    assert load(str(path)).shape == (4,) and load(str(path), length=7).shape == (8,)
    assert load(str(path), length=3).shape == (4,)
    with pytest.raises(ValueError, match="at most 2 words in own, came one of 3 in the train split: write length 3"):
        load(str(path), length=2)
    with pytest.raises(ValueError, match="expected sentences where a length is stated, came digits"):
        load("digits", length=5)


def test_sentences_too_few_to_split_stay_whole() -> None:
    data = from_sentences(["a cat", "a dog"])
    assert [len(s) for s in (data.train, data.valid, data.test)] == [2, 0, 0]
    assert sentences(data.split("all").all(), data.words) == ["a cat", "a dog"]


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, a broken archive, another archive, and no sentences at all."""
    for name, content, message in (
        ("a.txt", b"\xff\xfe\xff", "cannot be read as text"),
        ("a.txt.gz", b"plain", "cannot be read as text"),
        ("a.tar.gz", b"plain", "expected a .txt or .txt.gz file"),
        ("b.txt", b"\n\n", "expected sentences in each split of b"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load(str(tmp_path / name))


def test_captions_are_found(data_directory: Path) -> None:
    """9,000, 1,000 and 10,000 captions, none with an unknown word in the train split."""
    data = load("coco-captions")
    assert [len(s) for s in (data.train, data.valid, data.test)] == [9_000, 1_000, 10_000]
    assert int((data.train.values == 1).sum()) == 0 < int((data.test.values == 1).sum())
    assert sentences(data.test.batch(torch.tensor([0])).x, data.words) == ["a brown and white dog lays on a bed"]


def test_oracle_sums_to_one_and_draws_what_it_says() -> None:
    """All 27 sequences of length 3 over 3 words at one z: masses sum to 1, and 20000 draws have them at 6 standard errors."""
    oracle = Oracle(words=3, length=3, hidden=4)
    every = np.array(list(product((1, 2, 3), repeat=3)))
    k, z = oracle.sample(np.random.default_rng(0), 20_000)
    assert np.exp(oracle.log_prob(every, z[:1].repeat(27, 0))).sum() == pytest.approx(1.0, abs=1e-12)
    for sequence in every:
        p = np.exp(oracle.log_prob(sequence[None].repeat(len(z), 0), z))
        draws = (k == sequence).all(1) - p
        assert abs(draws.mean()) < 6 * draws.std() / len(z) ** 0.5


def test_synthetic_sequences_know_their_latent() -> None:
    """The same by the same seed; no end before the last; z tells about x: log p(x|z) lies more than a nat above the mean over
    other latents."""
    data = load("sequences")
    again, _ = Oracle().sample(np.random.default_rng([0, 2]), 2_000)
    assert torch.equal(data.test.values, torch.from_numpy(again).int())
    assert (data.shape, data.levels, int(data.train.values.min()), int(data.train.values.max())) == ((10,), 201, 1, 200)
    oracle = Oracle()
    k, z = oracle.sample(np.random.default_rng(3), 30)
    pairs = oracle.log_prob(k.repeat(30, 0), np.tile(z, (30, 1))).reshape(30, 30)
    information = (np.diag(pairs) - np.log(np.exp(pairs).mean(1))).mean()
    assert 1.0 < information < np.log(30)


def test_a_vocabulary_of_the_most_frequent_words(tmp_path: Path) -> None:
    """The rest becomes unknown, levels follow; more words than there are, and other data, are refused."""
    path = tmp_path / "own.txt"
    path.write_text("a b\na b\na c\n" * 20)
    whole, data = load(str(path)), load(str(path), words=2)
    assert (whole.levels, data.levels, data.words) == (5, 4, ("<end>", "<unknown>", "a", "b"))
    assert set(sentences(data.train.all(), data.words)) == {"a b", "a <unknown>"}
    assert data.train.all().max() == 3 and data.train.all().dtype == torch.int64
    for words in (0, 4):
        with pytest.raises(ValueError, match=f"expected 1 to 3 words, as many as own has, came {words}"):
            load(str(path), words=words)
    with pytest.raises(ValueError, match="expected sentences where a number of words is stated, came digits"):
        load("digits", words=5)


def test_own_arrays_are_tokens_where_that_is_said(tmp_path: Path) -> None:
    """Whole numbers of any type become int64 in every split and in the file's order, on any device and in any precision; the
    same file is numbers where it is not said. Fractions, numbers beyond the vocabulary and noise are refused by name."""
    k = np.random.default_rng(0).integers(0, 7, (40, 5))
    for kind in (np.int64, np.uint8, np.int16):
        np.save(tmp_path / "own.npy", k.astype(kind))
        data = load(str(tmp_path / "own.npy"), tokens=7).to("cpu", torch.float16)
        assert (data.space, data.levels) == (Space(torch.Size((5,)), "tokens", 7), 7)
        for split in ("train", "valid", "test", "all"):
            assert data.split(split).batch(torch.arange(2)).x.dtype == torch.int64
        assert torch.equal(data.split("all").all(), torch.from_numpy(k))
        assert load(str(tmp_path / "own.npy")).train.all().is_floating_point()
    with pytest.raises(
        ValueError, match=r"expected tokens from 0 to 5 in own \((train|valid|test)\), got \d to 6; use --data.tokens"
    ):
        load(str(tmp_path / "own.npy"), tokens=6)
    with pytest.raises(
        ValueError, match=r"expected numbers to dequantize, got the tokens of own; leave --data\.dequantize out"
    ):
        load(str(tmp_path / "own.npy"), tokens=7, dequantize=True)
    with pytest.raises(ValueError, match="expected numbers to binarize, got the tokens of sequences; leave"):
        load("sequences", binarize="static")
    np.save(tmp_path / "own.npy", k / 7)
    with pytest.raises(ValueError, match=r"expected whole numbers for tokens in own \(train\), got float64; use array.astype"):
        load(str(tmp_path / "own.npy"), tokens=7)
    with pytest.raises(ValueError, match="expected an array of whole numbers to take for tokens, got the tokens of sequences"):
        load("sequences", tokens=201)


def test_tokens_and_numbers_do_not_take_each_others_place() -> None:
    """A likelihood of one refuses data of the other by name, and so do a network of numbers and a distance between draws."""
    data, digits = load("sequences"), load("digits")
    with pytest.raises(ValueError, match="Bernoulli expects numbers, got sequences with tokens; write --likelihood Recurrent"):
        admit(VAE(Normal(2), Bernoulli(2, data.shape, Bias), posteriors.Gaussian(2, data.shape, Bias)), data)
    model = VAE(Normal(2), Recurrent(2, digits.shape, 17), posteriors.Gaussian(2, digits.shape, Bias))
    with pytest.raises(
        ValueError, match=r"Recurrent expects tokens, got digits with numbers; write --data\.tokens N for a file"
    ):
        admit(model, digits)
    with pytest.raises(ValueError, match="MLP reads real numbers, got int64 tokens; use RecurrentEncoder"):
        MLP(data.shape, data.shape)(data.train.batch(torch.arange(3)).x)
    with pytest.raises(ValueError, match="expected images or numbers, got the sequences sequences; embed them first"):
        read_rows("sequences")
    with pytest.raises(ValueError, match=r"expected int64 tokens, got torch\.float32; use the numbers of the words"):
        sentences(torch.zeros(1, 2), ["<end>", "a"])
