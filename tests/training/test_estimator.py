"""The estimator keeps to scikit-learn's conventions, and says what to write in Python."""

from typing import Any

import numpy as np
import pytest
import torch
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
    x = fitted.model_.decode(fitted.model_.encode(torch.from_numpy(BITS)))
    assert np.allclose(means, x.numpy(), atol=1e-6)


def test_one_tenth_is_put_aside_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(estimator, "fit", lambda procedure, data, *rest, **more: seen.append(data))
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


IMAGES = RNG.integers(0, 256, (40, 4, 4), np.uint8)
GAUSSIAN = [*SMALL, "--likelihood", "uncollapse.distributions.likelihoods.Gaussian", "--likelihood.network", "MLP"]


def test_images_are_scaled_wherever_they_come() -> None:
    """As at fit, whatever the batch holds: a dark one is no binary data."""
    vae = Estimator(options=GAUSSIAN, steps=20).fit(IMAGES)
    x = torch.from_numpy(IMAGES).float()[:, None] / 255
    assert np.allclose(vae.transform(IMAGES), vae.model_.encode(x).numpy(), atol=1e-6)
    assert np.allclose(
        vae.transform(IMAGES % 2), vae.model_.encode(x * 0 + torch.from_numpy(IMAGES % 2)[:, None] / 255).numpy()
    )
    assert vae.score_samples(IMAGES[:3]).shape == (3,) and vae.inverse_transform(vae.transform(IMAGES)).shape == (40, 1, 4, 4)
    with pytest.raises(ValueError, match=r"expected 8-bit integers from 0 to 255 in X, .* came float64: convert"):
        vae.transform(IMAGES / 255)


def test_numbers_that_were_no_images_stay_none() -> None:
    vae = Estimator(options=GAUSSIAN, steps=20).fit(IMAGES.reshape(40, 16) / 255)
    for use in (vae.transform, vae.score):
        with pytest.raises(ValueError, match=r"no 8-bit integers, came uint8: write X.astype\(float\), or X / 255"):
            use(IMAGES.reshape(40, 16))


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float64])
def test_bits_are_bits_in_any_type(dtype: Any) -> None:
    bits = IMAGES > 127
    vae = Estimator(options=SMALL, steps=20).fit(bits.astype(dtype))
    expected = vae.transform(bits.astype(dtype))
    for other in (np.uint8, bool, np.int64, np.float32):
        assert (vae.transform(bits.astype(other)) == expected).all()
    with pytest.raises(ValueError, match=r"X > 0\.5|X > 127|8-bit") as error:
        vae.transform(IMAGES)
    assert "\n" not in str(error.value)


def test_one_column_is_a_table_at_every_use() -> None:
    vae = Estimator(options=GAUSSIAN, steps=20).fit(RNG.random(30))
    assert vae.transform(RNG.random(5)).shape == (5, 2) and vae.transform(RNG.random((5, 1))).shape == (5, 2)
