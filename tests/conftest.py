"""What all tests share: a seed, OMP_NUM_THREADS threads or one, float64 on request, hypothesis without a clock or database."""

import os
from collections.abc import Iterator

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("house", deadline=None, database=None, derandomize=True, max_examples=30)
hypothesis.settings.load_profile("house")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same seed, so that a failure can be had again."""
    torch.manual_seed(0)


@pytest.fixture
def float64() -> Iterator[None]:
    """Parts built within are float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
