"""Draws beside as many observations: the measures of quality and diversity that the data allow, in some seconds."""

from typing import Any

from torch import Tensor

from uncollapse.divergences import RBF, prdc
from uncollapse.divergences.two_sample_tests import classifier_test, mmd_test
from uncollapse.evaluation.diversity import Estimate, diversity_ms_ssim, vendi_interval
from uncollapse.evaluation.features import Extractor, Pixels
from uncollapse.evaluation.frechet import fid
from uncollapse.evaluation.quality import inception_score, kid_interval

VENDI, RESAMPLES = 500, 20  # draws that a Vendi score is of, the same for data and draws, and how often they are chosen
KID_BLOCK = 250  # draws of each of the ten blocks of the kernel distance
TESTED = 1000  # draws, and observations, that the two-sample tests see
PERMUTATIONS = 499  # of the MMD's test: p-values down to 0.002
PAIRS = 500  # of images whose likeness is looked at


def compared(real: Tensor, fake: Tensor, extractor: Extractor, seed: int) -> dict[str, Any]:
    """Quality and diversity of draws beside as many observations, and what the features are.

    Args:
        real: Observations [n, *shape] in random order.
        fake: Draws.
        extractor: What makes the features; draws are clamped to [0, 1] before it unless it is `Pixels`.
        seed: Of subsets, permutations and pairs.

    Returns:
        Plain values by the names of summary.json; what n or the data do not allow is left out.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> x, y = torch.randn(2, 400, 3)
        >>> found = compared(x, y, Pixels(), seed=0)
        >>> found["kid_n"], found["mmd_n"], found["classifier_n"], found["mmd_p"] > 0.01, "ms_ssim" in found
        (400, 400, 400, True, False)
    """
    a, b, words = featured(real, fake, extractor)
    found = _distances(a, b, seed) | _diversity(a, b, seed) | _tests(a, b, seed) | _likeness(real, fake, seed)
    return found | _classes(extractor, a, b) | {"features": words}


def featured(real: Tensor, fake: Tensor, extractor: Extractor) -> tuple[Tensor, Tensor, str]:
    """The features [n, D] of observations and of draws, and what they are in words."""
    within = (lambda x: x) if isinstance(extractor, Pixels) else (lambda x: x.clamp(0, 1))  # what is no image has no features
    a, b = extractor(within(real)), extractor(within(fake))
    told = extractor.describe(b)
    return a, b, ", ".join(str(part) for part in (told.name, f"{told.size} numbers", told.resize, told.sha256) if part)


def _distances(a: Tensor, b: Tensor, seed: int) -> dict[str, Any]:
    """FID; and KID with its error, over blocks that share no row."""
    size = min(KID_BLOCK, len(a) // 10)
    if size < 2:
        return {"fid": fid(a, b)}
    near = kid_interval(a, b, size, seed=seed)
    return {"fid": fid(a, b), **_stated("kid", near), "kid_n": 10 * size}


def _diversity(a: Tensor, b: Tensor, seed: int) -> dict[str, Any]:
    """Density, and the Vendi scores of draws and data."""
    near, n = prdc(a, b), min(VENDI, len(a) // 2)
    scale = a.double().std().clamp_min(1e-12)  # so that the kernel's width is that of the data
    score = lambda x: vendi_interval(x / scale, n, resamples=RESAMPLES, seed=seed, kernel=RBF()).mean  # noqa: E731
    return {"density": near.density, "vendi": score(b), "vendi_data": score(a), "vendi_n": n}


def _tests(a: Tensor, b: Tensor, seed: int) -> dict[str, Any]:
    """Are they of one distribution: by the MMD and by a classifier, of `TESTED` rows of each."""
    x, y = a[:TESTED], b[:TESTED]
    kernel, classifier = mmd_test(x, y, permutations=PERMUTATIONS, seed=seed), classifier_test(x, y, seed=seed)
    return {
        "mmd": kernel.mmd,
        "mmd_p": kernel.p_value,
        "mmd_n": len(x),
        "classifier_accuracy": classifier.accuracy,
        "classifier_p": classifier.p_value,
        "classifier_n": classifier.n_test,
    }


def _likeness(real: Tensor, fake: Tensor, seed: int) -> dict[str, Any]:
    """The multi-scale structural similarity of pairs of draws, and of pairs of observations; of images in [0, 1] alone."""
    low, high = (float(bound) for bound in real.aminmax())
    if real.dim() != 4 or min(real.shape[-2:]) < 2 or low < 0 or high > 1:
        return {}
    draws, data = (diversity_ms_ssim(x.clamp(0, 1), PAIRS, seed) for x in (fake, real))
    return {**_stated("ms_ssim", draws), "ms_ssim_data": data.mean, "ms_ssim_pairs": PAIRS}


def _classes(extractor: Extractor, a: Tensor, b: Tensor) -> dict[str, Any]:
    """The inception scores of draws and of data, where the features are a classifier's."""
    p, q = extractor.classes(a), extractor.classes(b)
    if p is None or q is None or len(q) < 10:
        return {}
    return {"inception_score": inception_score(q).mean, "inception_score_data": inception_score(p).mean}


def _stated(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.mean, f"{name}_standard_error": found.standard_error}
