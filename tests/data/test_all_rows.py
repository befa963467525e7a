"""The split `all`: every row once, in the order that the rows came in."""

import numpy as np
import pytest
import torch

from uncollapse import noise
from uncollapse.data import from_arrays, load

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("memory", ["400", "400000000"])
@pytest.mark.parametrize("ending", ["npy", "csv"])
def test_rows_of_a_file_come_in_its_order(tmp_path, monkeypatch, ending, memory):
    monkeypatch.setenv("UNCOLLAPSE_MEMORY", memory)
    values = RNG.random((103, 3)).astype(np.float32)
    path = tmp_path / f"mine.{ending}"
    np.save(path, values) if ending == "npy" else np.savetxt(path, values, delimiter=",", fmt="%.9g")
    data = load(str(path))
    whole = data.split("all")
    assert data.own == ("train",) and len(whole) == 103 and not whole.in_memory
    assert torch.equal(whole.all(), torch.from_numpy(values))
    assert torch.equal(whole.batch(torch.tensor([102, 0, 7])).x, torch.from_numpy(values[[102, 0, 7]]))
    assert data.train.in_memory == (memory != "400")


def test_splits_that_were_given_follow_one_another():
    train, test = np.arange(20.0), np.arange(100.0, 105.0)
    data = from_arrays(train, test=test, labels=np.arange(20), test_labels=np.arange(5))
    assert data.own == ("train", "test")
    assert data.split("all").all().flatten().tolist() == [*train, *test]
    assert data.split("all").labels.tolist() == [*range(20), *range(5)]
    digits = load("digits")
    assert digits.own == ("train", "valid", "test")
    assert torch.equal(digits.split("all").all(), torch.cat([digits.train.all(), digits.valid.all(), digits.test.all()]))


def test_labels_of_one_split_alone_are_left_out():
    assert from_arrays(np.arange(9.0), test=np.arange(3.0), labels=np.arange(9)).split("all").labels is None


def test_rows_have_the_type_and_the_noise_of_their_splits():
    data = from_arrays(RNG.integers(0, 256, (40, 5), np.uint8)).to("cpu", torch.float64)
    assert data.split("all").all().dtype == torch.float64 and data.split("all").to("cpu", torch.float32).all().max() <= 1
    bits = load("digits", binarize="dynamic")
    noise.seed_step(0, 0)
    first = bits.split("all").all()
    noise.seed_step(0, 0)
    assert torch.equal(bits.split("all").all(), first) and set(first.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(first[-179:], bits.test.all())


def test_an_index_past_the_end_is_an_error():
    with pytest.raises(IndexError):
        from_arrays(np.arange(9.0)).split("all").batch(torch.tensor([9]))
