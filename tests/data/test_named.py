"""Named sets: splits as published, hashes that are checked, and files that are missing."""

import gzip
import hashlib

import numpy as np
import pytest
import torch

from uncollapse.data import fetch, load, names
from uncollapse.data.toys import GRID, GRID_SIGMA, RING, RING_SIGMA


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_mnist_is_split_as_published(data_directory, name):
    data = load(name)
    assert [len(source) for source in (data.train, data.valid, data.test)] == [50_000, 10_000, 10_000]
    assert (data.shape, data.levels, data.dequantized) == ((1, 28, 28), 256, None)
    assert data.train.limits() == (0.0, 1.0)
    assert data.test.labels.bincount().min() > 800


def test_mnist_rows_are_in_their_published_order(data_directory):
    """The first labels of the published files are 5 0 4 1 9, and 7 2 1 0 4 for the test set."""
    data = load("mnist")
    assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.train.all().mean() == pytest.approx(0.13, abs=0.002)


def test_static_mnist_has_bits(data_directory):
    data = load("mnist-static")
    assert [len(source) for source in (data.train, data.valid, data.test)] == [50_000, 10_000, 10_000]
    assert (data.shape, data.levels, data.train.labels) == ((1, 28, 28), 2, None)
    assert data.test.all().mean() == pytest.approx(0.132512, abs=1e-5)


def test_published_text_gives_the_same_bits(data_directory, offline):
    packed = np.load(data_directory / "mnist_static" / "binarized_mnist_packbits.npz", allow_pickle=False)
    for split in ("train", "valid", "test"):
        bits = np.unpackbits(packed[split], axis=1)[:, :784] + np.uint8(ord("0"))
        text = np.full((len(bits), 2 * 784), ord(" "), np.uint8)
        text[:, ::2] = bits
        text[:, -1] = ord("\n")
        (offline / f"binarized_mnist_{split}.amat").write_bytes(text.tobytes())
    assert load("mnist-static").valid.all().mean() == pytest.approx(0.131127, abs=1e-5)


def test_flipped_byte_is_refused(data_directory, offline):
    folder = offline / "mnist"
    folder.mkdir()
    for path in (data_directory / "mnist").iterdir():
        (folder / path.name).symlink_to(path)
    labels = folder / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(labels.read_bytes()))
    content[100] ^= 1
    labels.unlink()
    labels.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(
        ValueError, match=r"t10k-labels.* expected sha256 ff7bcfd416de, came .*: delete it to download it again"
    ):
        load("mnist")


def test_file_cut_short_is_refused(offline):
    (offline / "mnist").mkdir()
    (offline / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(1000))[:20])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz is broken .*: delete it to download it again"):
        load("mnist")


def test_flat_file_of_another_set_is_passed_over(offline):
    """Two sets share a name: each takes the file whose hash is its own, wherever it lies."""
    clothes, digits = (
        fetch.Remote(f, "x.gz", "http://x/", hashlib.sha256(f.encode()).hexdigest()) for f in ("clothes", "digits")
    )
    (offline / "x.gz").write_bytes(gzip.compress(b"digits"))
    assert fetch.content(digits) == b"digits"
    with pytest.raises(FileNotFoundError, match=rf"{offline}/x.gz is broken, or of another set\), and cannot be downloaded"):
        fetch.content(clothes)
    (fetch.cache() / "clothes").mkdir(parents=True)
    (fetch.cache() / "clothes" / "x").write_bytes(b"clothes")
    assert fetch.content(clothes) == b"clothes" and fetch.content(digits) == b"digits"


def test_flat_file_cut_short_is_passed_over(offline):
    (offline / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(1000))[:20])
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte.gz is broken, or of another set"):
        load("fashion-mnist")


@pytest.mark.parametrize("name", ["mnist", "mnist-static", "fashion-mnist"])
def test_missing_file_says_where_it_was_looked_for(offline, name):
    with pytest.raises(
        FileNotFoundError, match=f"is not in {offline}, .*cannot be downloaded from http.*UNCOLLAPSE_DATA can name"
    ):
        load(name)


def test_data_directory_must_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("UNCOLLAPSE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"expected a directory in UNCOLLAPSE_DATA, came .*nowhere"):
        load("mnist")


def test_digits_do_not_depend_on_the_seed():
    a, b = load("digits", seed=0), load("digits", seed=1)
    assert (a.test.all() == b.test.all()).all()
    assert [len(source) for source in (a.train, a.valid, a.test)] == [1439, 179, 179]
    assert (a.train.all() * 16 == (a.train.all() * 16).round()).all()
    assert a.train.limits() == (0.0, 1.0)


@pytest.mark.parametrize(("name", "centres", "sigma"), [("ring", RING, RING_SIGMA), ("grid", GRID, GRID_SIGMA)])
def test_toys_lie_around_their_modes(name, centres, sigma):
    """Each mode's spread over about 400 points or more, at 6 standard errors of a standard deviation."""
    data = load(name)
    away = data.train.all() - torch.from_numpy(centres).float()[data.train.labels]
    for mode in range(len(centres)):
        here = away[data.train.labels == mode]
        assert here.std() == pytest.approx(sigma, rel=6 / (4 * len(here)) ** 0.5)
    assert data.levels is None


@pytest.mark.parametrize("name", ["ring", "grid", "two-moons", "swiss-roll"])
def test_toys_follow_the_seed(name):
    assert (load(name, seed=3).train.all() == load(name, seed=3).train.all()).all()
    assert (load(name, seed=3).train.all() != load(name, seed=4).train.all()).any()
    assert (load(name).valid.all() != load(name).test.all()).any()
    assert load(name).train.all().abs().max() < 5


def test_every_name_has_a_line():
    assert {"digits", "mnist", "mnist-static", "fashion-mnist", "ring"} <= set(names())
    assert all("\n" not in about and about for about in names().values())


def test_unknown_name_is_met_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown data set 'MNITS' \(did you mean 'mnist'\?\): expected digits, mnist"):
        load("MNITS")
    with pytest.raises(ValueError, match=r"unknown data set 'fashion_mnist' \(did you mean 'fashion-mnist'\?\)"):
        load("fashion_mnist")


def _sent(monkeypatch, tmp_path, content: bytes) -> None:
    """Every download brings this content, into an empty cache."""

    def retrieve(url, known_hash, fname, path, downloader):
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(content)
        return str(path / fname)

    monkeypatch.delenv("UNCOLLAPSE_DATA", raising=False)
    monkeypatch.setattr(fetch, "cache", lambda: tmp_path)
    monkeypatch.setattr("pooch.retrieve", retrieve)


def test_a_download_with_another_hash_is_refused_and_removed(monkeypatch, tmp_path):
    right = b"what was published"
    remote = fetch.Remote("set", "file", "https://example.org/", hashlib.sha256(right).hexdigest())
    _sent(monkeypatch, tmp_path, b"something else")
    with pytest.raises(ValueError, match="not what was published, and was removed"):
        fetch.content(remote)
    assert not (tmp_path / "set" / "file").exists()
    _sent(monkeypatch, tmp_path, right)
    assert fetch.content(remote) == right and (tmp_path / "set" / "file").exists()


def test_published_bits_that_are_others_are_removed(monkeypatch, tmp_path):
    _sent(monkeypatch, tmp_path, b"0 1 0 1\n")
    with pytest.raises(ValueError, match="not what was published, and was removed"):
        load("mnist-static")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_every_download_is_by_https():
    from uncollapse.data import images
    from uncollapse.evaluation.features import WEIGHTS

    assert all(url.startswith("https://") for url in (images._MNIST, images._FASHION, images._STATIC, WEIGHTS.url))


@pytest.mark.parametrize("to", ["http://example.org/x", "file:///etc/passwd", "ftp://example.org/x", "//x:80"])
def test_an_answer_that_leads_away_from_https_is_refused(to):
    import requests

    response = requests.Response()
    response.url, response.headers["location"] = "https://example.org/", to
    if to.startswith("//"):
        fetch.https(response)
        return
    with pytest.raises(ValueError, match="by https"):
        fetch.https(response)
