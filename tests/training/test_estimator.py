"""The estimator keeps to scikit-learn's conventions, and says what to write in Python."""

from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from uncollapse.training import Estimator, estimator

RNG = np.random.default_rng(0)
BITS = (RNG.random((40, 6)) < 0.5).astype(np.float32)
SMALL = ["--features", "2", "--likelihood.network.hidden", "[8]", "--posterior.network.hidden", "[8]"]


@pytest.fixture(scope="module")
def fitted() -> Estimator:
    return Estimator(options=SMALL, steps=20).fit(BITS)


def test_latents_go_back_to_means_of_the_data(fitted: Estimator) -> None:
    z = fitted.transform(BITS)
    means = fitted.inverse_transform(z)
    assert z.shape == (40, 2) and means.shape == BITS.shape and ((means > 0) & (means < 1)).all()
    x = fitted.model_.decode(fitted.model_.encode(fitted._tensor(BITS)))
    assert np.allclose(means, x.numpy(), atol=1e-6)


def test_one_tenth_is_put_aside_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(estimator, "fit", lambda procedure, data, *rest: seen.append(data))
    Estimator(options=SMALL).fit(BITS)
    assert (len(seen[0].train), len(seen[0].valid)) == (36, 4)
    rows = np.concatenate([seen[0].train.all().numpy(), seen[0].valid.all().numpy()])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, BITS))


@pytest.mark.parametrize("use", ["transform", "inverse_transform", "score", "score_samples"])
def test_use_before_fit_is_scikit_learns_error(use: str) -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(Estimator(), use)(BITS)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        Estimator().sample()


def test_advice_is_python(fitted: Estimator) -> None:
    for use in (Estimator(options=SMALL).fit, fitted.transform):
        with pytest.raises(
            ValueError, match=r'write Estimator\(options=\["--likelihood", "Gaussian"\]\).* or give X > 0.5'
        ) as error:
            use(BITS - 0.3)
        assert "--data" not in str(error.value)
    with pytest.raises(ValueError, match="expected at least 2 observations to fit, came 1"):
        Estimator().fit(BITS[:1])
