"""A split: batches by index, in memory and in a memory map, on a device."""

import numpy as np
import pytest
import torch

from uncollapse.data import Source, from_arrays, load


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(50, 3)))
    return np.load(tmp_path / "x.npy", mmap_mode="r")


def test_batch_of_a_memory_map_is_the_batch_of_memory(mapped):
    index = torch.tensor([49, 3, 3, 0])
    expected = Source(torch.from_numpy(np.array(mapped)), scale=2.0).to("cpu", torch.float64)
    assert (Source(mapped, scale=2.0).to("cpu", torch.float64).batch(index).x == expected.batch(index).x).all()


def test_batches_cover_the_split_in_order(mapped):
    pieces = [part.x for part in Source(mapped).batches(16)]
    assert [len(x) for x in pieces] == [16, 16, 16, 2]
    assert torch.equal(torch.cat(pieces), torch.from_numpy(np.array(mapped)).float())
    assert torch.equal(Source(mapped).all(), torch.cat(pieces))


def test_move_scales_once_and_keeps_labels():
    data = load("digits").to("cpu", torch.float64)
    assert data.train.values.dtype == torch.float64 and data.train.scale == 1.0
    assert data.train.labels.dtype == torch.int64
    assert torch.allclose(data.train.all(), load("digits").train.all().double(), atol=1e-7)


def test_index_past_the_end_is_an_error(mapped):
    for source in (Source(mapped), Source(torch.zeros(50, 3))):
        with pytest.raises(IndexError):
            source.batch(torch.tensor([50]))


def test_empty_index_gives_an_empty_batch(mapped):
    assert Source(mapped).batch(torch.tensor([], dtype=torch.int64)).x.shape == (0, 3)
    assert load("digits", binarize="static").test.batch(torch.tensor([], dtype=torch.int64)).x.shape == (0, 1, 8, 8)


def test_labels_must_match():
    with pytest.raises(ValueError, match="expected one label for each of 3 observations, came 2 labels"):
        Source(torch.zeros(3, 1), torch.zeros(2, dtype=torch.int64))


def test_split_is_named():
    data = from_arrays(np.eye(10))
    assert data.split("valid") is data.valid
    with pytest.raises(ValueError, match="expected a split out of train, valid, test, all, came 'dev'"):
        data.split("dev")


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_batches_lie_on_the_device(mapped, device):
    for source in (Source(mapped), Source(torch.zeros(50, 3))):
        batch = source.to(device, torch.float64).batch(torch.tensor([1])).x
        assert batch.device.type == device and batch.dtype == torch.float64


def test_some_is_the_beginning_of_one_permutation(mapped):
    source = Source(mapped)
    assert torch.equal(source.some().sort().values, torch.arange(50))
    assert torch.equal(source.some(7), source.some()[:7])
    assert len(source.some(70)) == 50
    assert torch.equal(torch.cat([part.x for part in source.batches(16, source.some(20))]), source.batch(source.some(20)).x)
