"""The verdict on samplers that are right, good enough or broken by construction; `sample_zoo.py` says how often it is right."""

import pytest

from diagnosis.sample_zoo import COPIES, allowed, judged, samplers
from uncollapse.diagnosis.mode_verdict import MEANINGS

N = 300  # samples, and as many data rows


@pytest.mark.parametrize("data", ["ring", "normal-2", "normal-50", "digits"])
def test_every_sampler_of_the_zoo(data: str) -> None:
    """No broken one is healthy, none that is right or good enough is called anything but healthy or, of so few, too few."""
    found = {name: judged(data, name, sampler, N, seed=0) for name, sampler in samplers(data)}
    for name, seen in found.items():
        assert seen.verdict in MEANINGS and seen.reason
        if allowed(name):
            assert seen.verdict in allowed(name), (name, seen.reason)
        else:
            assert seen.verdict != "healthy", (name, str(seen))
    assert found["other real rows"].verdict == "healthy" or data == "normal-50"
    assert all(found[name].verdict == "copies the data" for name in COPIES)
    assert all(found[name].verdict == "collapsed" for name in ("one row", "the mean", "20 rows over and over"))
    assert len(found) > 30
