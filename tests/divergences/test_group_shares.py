"""Groups of rows: neither where the data lie, nor how far off a sample is, changes what falls where."""

import pytest
import torch

from uncollapse.divergences.group_shares import group_shares


@pytest.mark.parametrize("offset", [0.0, 1e9, -1e12])
def test_groups_do_not_know_where_the_origin_is(offset: float) -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.0, -3.0]]).double()
    real, fake = (centres[torch.arange(600) % k] + 0.3 * torch.randn(600, 2).double() for k in (4, 2))
    found = group_shares(real + offset, fake + offset)
    assert 0.4 < found.misplaced_mass < 0.55


@pytest.mark.parametrize("far", [1e6, 1e25, 1e60])
def test_samples_however_far_off_are_groups_of_their_own(far: float) -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(2, 400, 3).double()
    found = group_shares(real, fake * far)
    assert found.misplaced_mass > 0.9
