"""Here everything is float64."""

import pytest


@pytest.fixture(autouse=True)
def _float64(float64: None) -> None:
    """The default precision of every part that a test of this folder builds."""
