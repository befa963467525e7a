"""Draws beside observations: which measures the data allow, of how many, and what they say of draws that are known."""

import pytest
import torch
from torch import Tensor, nn

from uncollapse.evaluation import FeatureNetwork, Pixels, diversity_ms_ssim, inception_score, kid_interval
from uncollapse.evaluation.compared import compared
from uncollapse.evaluation.metric_catalog import MEASURES, QUANTITIES
from uncollapse.evaluation.numbers import measures

FEW = {"kid", "kid_standard_error", "kid_n"}
IMAGES = {"ms_ssim", "ms_ssim_standard_error", "ms_ssim_data", "ms_ssim_pairs"}
CLASSES = {"inception_score", "inception_score_data"}


class Classifier(nn.Module):
    """Takes an image for one of four classes by its brightest quarter."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images, 8).flatten(1)

    def classes(self, features: Tensor) -> Tensor:
        return (100 * features).softmax(-1)


def images(n: int, seed: int) -> Tensor:
    """One quarter of each is bright, each as often."""
    x = 0.1 * torch.rand(n, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    for i in range(n):
        x[i, 0, 8 * (i % 2) :, 8 * (i // 2 % 2) :][:8, :8] += 0.8
    return x


def test_what_is_said_of_points() -> None:
    """Draws of the same distribution pass the tests, shifted ones fail; each figure has its n, and a name with words."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 600, 3)
    same, moved = compared(x, y, Pixels(), 0), compared(x, y + 0.5, Pixels(), 0)
    assert same["mmd_p"] > 0.01 and same["classifier_p"] > 0.01 and moved["mmd_p"] == 0.002 and moved["classifier_p"] < 0.01
    assert (same["kid_n"], same["mmd_n"], same["classifier_n"], same["vendi_n"]) == (600, 600, 600, 300)
    assert (same["kid"], same["kid_standard_error"]) == kid_interval(x, y, size=60)
    assert abs(moved["kid"]) > 3 * moved["kid_standard_error"] and not same.keys() & (IMAGES | CLASSES)
    assert same.keys() - {"features"} <= QUANTITIES.keys()
    assert compared(x, y, Pixels(), 0) == same


def test_what_is_said_of_images() -> None:
    """Pairs of copies are alike, pairs of data less so; draws outside [0, 1] count as its ends."""
    x, y = images(80, 0), images(80, 1)
    found, copies = compared(x, y, Pixels(), 0), compared(x, y[:1].expand(80, -1, -1, -1), Pixels(), 0)
    assert found.keys() > IMAGES and not CLASSES & found.keys()
    assert (found["ms_ssim"], found["ms_ssim_standard_error"]) == diversity_ms_ssim(y, 500)
    assert copies["ms_ssim"] == pytest.approx(1) and copies["ms_ssim_data"] == found["ms_ssim_data"] < 0.9
    assert 0 <= compared(x, 3 * y, Pixels(), 0)["ms_ssim"] <= 1
    assert not IMAGES & compared(2 * x, y, Pixels(), 0).keys()


def test_an_inception_score_where_features_are_a_classifiers() -> None:
    """Four classes, each as often and told surely: 4 of the data, 1 of copies."""
    x, extractor = images(200, 0), FeatureNetwork(Classifier(), "quarters")
    found = compared(x, x[:1].expand(200, -1, -1, -1), extractor, 0)
    assert found["inception_score"] == pytest.approx(1) and found["inception_score_data"] == pytest.approx(4, rel=0.01)
    p = extractor.classes(extractor(x))
    assert p is not None and found["inception_score_data"] == inception_score(p).mean
    assert FeatureNetwork(nn.Flatten(), "flat").classes(x) is None


def test_few_observations_allow_less() -> None:
    found = compared(torch.randn(12, 2), torch.randn(12, 2), Pixels(), 0)
    assert not FEW & found.keys() and found["mmd_n"] == 12


def test_errors_and_p_values_stand_in_the_line_of_their_figure() -> None:
    lines = measures(
        {"kid": 0.01234, "kid_standard_error": 0.0021, "mmd": 0.5, "mmd_p": 0.002, "ms_ssim": 0.3, "ms_ssim_data": 0.2}
    )
    assert [line.label for line in lines] == [MEASURES[name].label for name in ("kid", "ms_ssim", "mmd")]
    assert lines[0].value == "0.0123 ± 0.0021" and "of as many observations: 0.2000" in lines[1].meaning
    assert lines[2].meaning.endswith("(p-value: 0.0020)")
