"""Binarisation and dequantisation: their means, their ranges, and what they are functions of."""

import numpy as np
import pytest
import torch

from uncollapse import noise
from uncollapse.data import from_arrays, load, stochastic
from uncollapse.data.stochastic import binarized, dequantized


def test_dynamic_binarisation_has_the_mean_of_the_greys():
    """64 pixels over 4000 draws at 6 standard errors: failure rate 64 * 2e-9."""
    source = load("digits", binarize="dynamic").train
    grey = load("digits").train.batch(torch.tensor([7])).x
    noise.seed_step(0, 0)
    mean = source.batch(torch.full((4000,), 7)).x.mean(0)
    assert ((mean - grey[0]).abs() <= 6 * (grey[0] * (1 - grey[0]) / 4000).sqrt() + 1e-6).all()


def test_dynamic_binarisation_is_a_function_of_the_step():
    source, index = load("digits", binarize="dynamic").train, torch.arange(100)
    noise.seed_step(5, 17)
    first = source.batch(index).x
    assert (source.batch(index).x != first).any()
    noise.seed_step(5, 17)
    assert (source.batch(index).x == first).all()


def test_two_processes_draw_what_one_draws():
    source, index = load("digits", binarize="dynamic").train, torch.arange(10)
    noise.seed_step(0, 1)
    whole = source.batch(index).x
    noise.seed_step(0, 1)
    with noise.sharing(noise.Rows(5, 10, 10)):
        assert (source.batch(index[5:]).x == whole[5:]).all()


@pytest.mark.parametrize("how", ["static", "dynamic"])
def test_bits_are_bits_and_held_out_ones_stay(how):
    data = load("digits", binarize=how)
    assert data.levels == 2
    for source in (data.train, data.valid, data.test):
        assert set(source.all().unique().tolist()) == {0.0, 1.0}
    assert (data.test.all() == load("digits", binarize=how).test.all()).all()
    assert (data.valid.labels == load("digits").valid.labels).all()


def test_seed_moves_static_bits_and_leaves_dynamic_evaluation_alone():
    assert (
        load("digits", binarize="static", seed=0).train.all() != load("digits", binarize="static", seed=1).train.all()
    ).any()
    assert (
        load("digits", binarize="dynamic", seed=0).test.all() == load("digits", binarize="dynamic", seed=1).test.all()
    ).all()


def test_dequantised_data_lie_in_their_cells():
    grey, data = load("digits"), load("digits", dequantize=True)
    assert (data.levels, data.dequantized) == (None, 17)
    for split in ("train", "valid", "test"):
        x = data.split(split).all()
        assert ((x * 17).floor() == (grey.split(split).all() * 16).round()).all()
    assert (data.test.all() == load("digits", dequantize=True).test.all()).all()
    assert (data.train.all() != data.train.all()).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dequantised_white_stays_below_one(dtype):
    """255 + u rounds to 256 for the largest u in float32."""
    x = stochastic.spread(torch.ones(3, dtype=dtype), torch.full((3,), 1 - 1e-9, dtype=torch.float64).to(dtype), levels=256)
    assert (x.float() < 1).all()


def test_noise_is_the_same_in_memory_and_in_a_memory_map(monkeypatch, tmp_path):
    np.save(tmp_path / "grey.npy", np.random.default_rng(0).integers(0, 256, (60, 5, 5), np.uint8))
    for change in (lambda data: binarized(data, "static", 3), lambda data: binarized(data, "dynamic"), dequantized):
        monkeypatch.delenv("UNCOLLAPSE_MEMORY", raising=False)
        held = change(load(str(tmp_path / "grey.npy")))
        monkeypatch.setenv("UNCOLLAPSE_MEMORY", "100")
        mapped = change(load(str(tmp_path / "grey.npy")))
        assert held.test.in_memory and not mapped.test.in_memory
        for dtype in (torch.float32, torch.float64):
            assert torch.allclose(held.test.to("cpu", dtype).all(), mapped.test.to("cpu", dtype).all(), atol=1e-7)
        noise.seed_step(0, 0)
        x = held.train.all()
        noise.seed_step(0, 0)
        assert (mapped.train.all() == x).all()


def test_noise_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"expected values in \[0, 1\] to binarize, came -.* in the train split of ring"):
        load("ring", binarize="dynamic")
    with pytest.raises(ValueError, match="expected discrete data to dequantize, came the real numbers of ring"):
        load("ring", dequantize=True)
    with pytest.raises(ValueError, match="came both"):
        load("digits", binarize="static", dequantize=True)
    with pytest.raises(ValueError, match="expected binarize to be none, static or dynamic, came 'yes'"):
        load("digits", binarize="yes")


def test_greys_that_are_floats_can_be_binarised():
    data = binarized(from_arrays(np.full((50, 4), 0.25, np.float32)), "static")
    assert data.levels == 2 and 0 < data.train.all().mean() < 0.5
