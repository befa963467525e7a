"""Here everything is float64."""

import pytest

from laws.ppca import PPCA


@pytest.fixture(autouse=True)
def _float64(float64: None) -> None:
    """The default precision of every part that a test of this folder builds."""


@pytest.fixture
def ppca(float64: None) -> PPCA:
    """A linear-Gaussian VAE with four data dimensions, two latents and an encoder that is not yet the exact posterior."""
    return PPCA()
