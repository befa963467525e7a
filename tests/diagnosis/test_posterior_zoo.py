"""No model that is known to be bad is healthy, and none that is known to be good is called collapsed, or worse than no code."""

import pytest

from diagnosis.vaes import BAD, GOOD
from uncollapse.diagnosis import diagnose
from uncollapse.diagnosis.posterior_verdict import MEANINGS

N = 250  # observations of each model
UNCERTAIN = {
    "pPCA, information 0.02 nats": "the standard error of so few observations is as large as the information",
}
"""Good models of which this many observations may not say that they are, and why."""


@pytest.mark.parametrize("name", GOOD)
def test_a_good_model_is_healthy(name: str) -> None:
    case = GOOD[name](N)
    seen = diagnose(case.model, case.x, case.train[:400])
    assert seen.verdict == "healthy" or (seen.verdict == "unknown" and name in UNCERTAIN), seen.reason


@pytest.mark.parametrize("name", BAD)
def test_a_bad_model_is_not_healthy(name: str) -> None:
    case = BAD[name](N)
    seen = diagnose(case.model, case.x, case.train[:400])
    assert seen.verdict in MEANINGS.keys() - {"healthy", "unknown"}, seen.reason


@pytest.mark.parametrize(
    ("name", "verdict", "words"),
    [
        ("dead decoder", "collapsed", "the decoder ignores z"),
        ("decoder of NaN", "broken", "log p(x|z) of 250 in 250"),
        ("last layer times 100", "worse than no code", "below that of the data's averages"),
        ("last layer turned round", "worse than no code", "the code of another observation serves x better"),
        ("posterior is the prior", "collapsed", "the posterior is the prior"),
        ("posterior far from the prior, the same for all", "collapsed", "z tells nothing about x"),
        ("sigma too small", "worse than no code", "would fit, and gain"),
        ("sigma infinite", "broken", "log p(x|z)"),
    ],
)
def test_it_says_what_is_wrong(name: str, verdict: str, words: str) -> None:
    case = BAD[name](N)
    seen = diagnose(case.model, case.x, case.train[:400])
    assert seen.verdict == verdict and words in seen.reason and seen.remedies


@pytest.mark.parametrize("name", ["pPCA, information 0.25 nats", "trained, Bernoulli", "one bit as a picture"])
def test_halves_of_the_observations_serve_in_the_place_of_training_rows(name: str) -> None:
    case = GOOD[name](N)
    assert diagnose(case.model, case.x).verdict == "healthy"


@pytest.mark.parametrize("name", ["dead decoder", "last layer times 10", "sigma too large", "codes hardly heard"])
def test_nor_is_a_bad_model_healthy_without_training_rows(name: str) -> None:
    case = BAD[name](N)
    assert diagnose(case.model, case.x).verdict != "healthy"


def test_there_are_enough_of_them() -> None:
    assert len(BAD) >= 20 and len(GOOD) >= 20
