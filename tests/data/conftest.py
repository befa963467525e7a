"""What the tests of the data share: the directory of published files, and a place without any."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def data_directory() -> Path:
    """The directory of published data files; the test is skipped where there is none."""
    stated = os.environ.get("UNCOLLAPSE_DATA")
    if not stated:
        pytest.skip("needs published data files: set UNCOLLAPSE_DATA to a directory that holds mnist/, mnist_static/ ...")
    return Path(stated)


@pytest.fixture
def offline(monkeypatch, tmp_path) -> Path:
    """An empty data directory and an empty cache, and no network."""

    def refused(*args, **kwargs):
        raise ConnectionError("no network in tests")

    monkeypatch.setattr("pooch.retrieve", refused)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    directory = tmp_path / "published"
    directory.mkdir()
    monkeypatch.setenv("UNCOLLAPSE_DATA", str(directory))
    return directory


@pytest.fixture
def small_memory(monkeypatch):
    """A memory so small that arrays of more than 1000 numbers are memory maps."""
    monkeypatch.setenv("UNCOLLAPSE_MEMORY", "4000")


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of 12 colour images of 6 by 4 pixels in the sub-folders cats and dogs."""
    rng = np.random.default_rng(0)
    for i in range(12):
        folder = tmp_path / "photos" / ("cats" if i % 2 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 4, 3), np.uint8)).save(folder / f"{i:02}.png")
    return tmp_path / "photos"
