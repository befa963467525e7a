"""The user's own arrays and torch data sets: what their numbers mean, how they are split, what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from uncollapse.data import from_arrays, from_dataset, load

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "shape", "levels"),
    [
        (RNG.integers(0, 256, (20, 6, 4), np.uint8), (1, 6, 4), 256),
        (RNG.integers(0, 256, (20, 6, 4, 3), np.uint8), (3, 6, 4), 256),
        (RNG.integers(0, 256, (20, 3, 6, 4), np.uint8), (3, 6, 4), 256),
        (RNG.random((20, 7)) > 0.5, (7,), 2),
        ((RNG.random((20, 7)) > 0.5).astype(np.float64), (7,), 2),
        (RNG.integers(0, 9, (20, 7)), (7,), None),
        (RNG.random((20, 7)).astype(">f4"), (7,), None),
        (RNG.integers(0, 60000, (20, 2), np.uint16), (2,), None),
        (RNG.random(20), (1,), None),
        (torch.rand(20, 3, dtype=torch.bfloat16), (3,), None),
    ],
)
def test_numbers_mean_what_their_type_says(values, shape, levels):
    data = from_arrays(values)
    assert (data.shape, data.levels) == (shape, levels)
    assert data.train.all().dtype == torch.get_default_dtype()
    low, high = data.train.limits()
    assert levels is None or (low >= 0 and high <= 1)


def test_colour_images_keep_their_pixels():
    values = RNG.integers(0, 256, (9, 6, 4, 3), np.uint8)
    data = from_arrays(values, values, values)
    assert torch.allclose(data.test.all() * 255, torch.from_numpy(values).permute(0, 3, 1, 2).float(), atol=1e-4)


def test_split_depends_on_the_seed_and_loses_nothing():
    values = np.arange(103.0)
    data = from_arrays(values, labels=np.arange(103))
    assert [len(source) for source in (data.train, data.valid, data.test)] == [83, 10, 10]
    seen = torch.cat([data.train.all(), data.valid.all(), data.test.all()])
    assert seen.flatten().sort().values.tolist() == values.tolist()
    assert (data.test.labels == data.test.all().flatten()).all()
    assert torch.equal(from_arrays(values).test.all(), data.test.all())
    assert not torch.equal(from_arrays(values, seed=1).test.all(), data.test.all())


def test_only_missing_splits_are_drawn():
    data = from_arrays(np.arange(100.0), test=np.arange(5.0))
    assert [len(source) for source in (data.train, data.valid, data.test)] == [90, 10, 5]


@pytest.mark.parametrize("binarize", ["none", "static", "dynamic"])
@pytest.mark.parametrize("n", [1, 2])
def test_rows_too_few_to_split_stay_whole(tmp_path, n, binarize):
    np.save(tmp_path / "few.npy", np.eye(4)[:n])
    data = load(str(tmp_path / "few.npy"), binarize=binarize)
    assert [len(source) for source in (data.train, data.valid, data.test)] == [n, 0, 0]
    assert torch.equal(data.to("cpu", torch.float64).split("all").all(), torch.eye(4, dtype=torch.float64)[:n])
    with pytest.raises(ValueError, match=f"expected at least 3 observations of few to draw the split valid, came {n}: give"):
        data.split("valid")
    assert len(from_arrays(np.eye(4)[:n], valid=np.eye(4), test=np.eye(4)).train) == n


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"train": np.zeros((0, 3))},
            r"expected at least one observation in arrays \(train\), came an array of shape \(0, 3\)",
        ),
        ({"train": np.array(["a", "b", "c"])}, r"expected numbers in arrays \(train\), came <U1"),
        ({"train": np.array([{}, {}, {}])}, "expected numbers .* came object"),
        ({"train": np.array([1j, 2, 3])}, "expected numbers .* came complex128"),
        ({"train": [[1, 2], [3]]}, "came rows of several lengths"),
        ({"train": np.array([[0.0], [np.nan], [1.0]])}, "came NaN or infinity in row 1"),
        ({"train": np.array([[0.0], [1e200], [1.0]])}, r"expected numbers up to 3.4e38 .*, came 1e\+200 in row 1: rescale"),
        ({"train": np.eye(5), "test": np.eye(4)}, r"expected observations of one shape .* train \(5,\), test \(4,\)"),
        (
            {"train": np.full((5, 2), 9, np.uint8), "test": np.ones((5, 2))},
            "expected one type in all splits of arrays, came train uint8, test float64",
        ),
        ({"train": np.eye(5), "labels": [1, 2]}, r"expected one label for each of the 5 observations .* shape \(2,\)"),
    ],
)
def test_bad_arrays_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(**arguments)


def test_npz_with_splits_and_labels(tmp_path):
    splits = {"train": RNG.random((30, 4)), "valid": RNG.random((5, 4)), "test": RNG.random((6, 4))}
    np.savez(tmp_path / "mine.npz", **splits, train_labels=np.arange(30), test_labels=np.arange(6))
    data = load(str(tmp_path / "mine.npz"))
    assert (data.name, len(data.train), len(data.valid), len(data.test)) == ("mine", 30, 5, 6)
    assert data.valid.labels is None and data.test.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert np.allclose(data.valid.all().numpy(), splits["valid"])


@pytest.mark.parametrize("key", ["train", "images"])
def test_npz_with_one_array_is_split(tmp_path, key):
    np.savez(tmp_path / "mine.npz", **{key: RNG.random((30, 4))}, labels=np.arange(30))
    data = load(str(tmp_path / "mine.npz"))
    assert (len(data.train), len(data.train.labels)) == (24, 24)


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_large_arrays_are_read_from_the_disk(tmp_path, monkeypatch, ending):
    values, path = RNG.integers(0, 256, (100, 5, 5), np.uint8), tmp_path / f"mine.{ending}"
    np.save(path, values) if ending == "npy" else np.savez_compressed(path, train=values)
    held = load(str(path))
    monkeypatch.setenv("UNCOLLAPSE_MEMORY", "4000")
    for _ in range(2):
        mapped = load(str(path))
        assert not mapped.train.in_memory and mapped.levels == 256
        for split in ("train", "valid", "test"):
            assert torch.equal(held.split(split).all(), mapped.split(split).all())


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00"])
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_broken_array_files_are_refused(tmp_path, ending, content):
    (tmp_path / f"mine.{ending}").write_bytes(content)
    with pytest.raises(ValueError, match=rf"mine.{ending} cannot be read \(.*\): write numbers to it again with np.save"):
        load(str(tmp_path / f"mine.{ending}"))


def test_array_files_cut_short_are_refused(tmp_path):
    np.save(tmp_path / "mine.npy", np.zeros(1000))
    np.savez(tmp_path / "mine.npz", train=np.zeros(1000))
    for path in (tmp_path / "mine.npy", tmp_path / "mine.npz"):
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(ValueError, match="cannot be read"):
            load(str(path))


def test_pickles_are_never_read(tmp_path):
    np.save(tmp_path / "mine.npy", np.array([{}, None]), allow_pickle=True)
    np.savez(tmp_path / "mine.npz", train=np.array([{}, None]))
    for name in ("mine.npy", "mine.npz"):
        with pytest.raises(ValueError, match="holds Python objects, which are never unpickled"):
            load(str(tmp_path / name))


def test_npz_with_other_names_is_refused(tmp_path):
    np.savez(tmp_path / "mine.npz", train=np.eye(5), val=np.eye(5))
    with pytest.raises(ValueError, match=r"expected the arrays train, valid and test .* came train, val: name them so"):
        load(str(tmp_path / "mine.npz"))


def test_missing_and_unknown_files_are_refused(tmp_path):
    (tmp_path / "notes.doc").write_text("hello")
    with pytest.raises(ValueError, match=r"expected a folder of images or a file ending in .npy, .npz, .csv"):
        load(str(tmp_path / "notes.doc"))
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder .*mine.npy: check the path"):
        load(str(tmp_path / "mine.npy"))


class Pictures(Dataset):
    """Items as an old-fashioned vision data set gives them."""

    def __len__(self):
        return 40

    def __getitem__(self, i):
        return Image.fromarray(np.full((5, 4, 3), i, np.uint8)), i % 3


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.rand(25, 2))


@pytest.mark.parametrize("memory", ["4000", "400000000"])
def test_torch_data_sets_are_data(monkeypatch, memory):
    monkeypatch.setenv("UNCOLLAPSE_MEMORY", memory)
    data = from_dataset(Pictures(), name="pictures")
    assert (data.shape, data.levels, len(data.train)) == ((3, 5, 4), 256, 32)
    assert data.train.in_memory == (memory != "4000")
    x = (data.test.all() * 255).round()[:, 0, 0, 0]
    assert (x % 3 == data.test.labels).all()


def test_other_torch_data_sets():
    assert len(from_dataset(Stream()).train) == 21
    data = from_dataset(TensorDataset(torch.rand(20, 3), torch.rand(20)), test=TensorDataset(torch.rand(4, 3)))
    assert data.train.labels is None and len(data.test) == 4
    with pytest.raises(
        ValueError, match=r"expected items of one shape and type .* float32 \(2,\) first and float32 \(3,\) in item 1"
    ):
        from_dataset([torch.zeros(2), torch.zeros(3)])
    with pytest.raises(ValueError, match=r"expected items x or .* came x of dict"):
        from_dataset([{"x": 1}])
