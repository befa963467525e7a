"""Anyone's samples beside data: the verdict, and every measure with its standard error."""

from typing import Any

import torch
from torch import Tensor

from uncollapse.diagnosis import Measure, ModeCollapseThresholds, SampleDiagnosis, diagnose_samples
from uncollapse.diagnosis.mode_verdict import LEAST
from uncollapse.divergences.two_sample_tests import classifier_test
from uncollapse.evaluation.extractors import extractor_of
from uncollapse.evaluation.features import Extractor, Pixels

TESTED = 1000  # samples, and data rows, that the classifier sees


@torch.no_grad()
def judge(
    fakes: Any,
    reals: Any,
    train: Any = None,
    features: str | Extractor = "pixels",
    thresholds: ModeCollapseThresholds = ModeCollapseThresholds(),
    seed: int = 0,
) -> SampleDiagnosis:
    """Are samples of any generator as good as other real rows? No model and no run is needed.

    Args:
        fakes: Samples [n, *shape], a tensor or an array: images, rows of a table, or features of either.
        reals: Data [m, *shape] that the generator was not trained on, a few hundred or more; the larger of both is cut to the
            other's size, at random.
        train: All the rows that it was trained on, to tell copies of them.
        features: What distances are taken over: pixels (the numbers themselves), digits, inception, or an extractor.
        thresholds: How far samples may be from the data.
        seed: Of the rows that are chosen, groups and tests.

    Returns:
        The diagnosis: `.verdict`, `.reason`, `.measures`, `.missing` and `.overdone` groups; `print` shows it whole.

    Raises:
        ValueError: If the three do not have one shape, data or training rows are not finite, or the extractor refuses them.

    References:
        See `diagnosis.diagnose_samples`; the classifier: Lopez-Paz and Oquab (2017), Revisiting Classifier Two-Sample Tests.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(3, 500, 5)
        >>> judge(x[0], x[1]).verdict, judge(x[0], x[1], train=torch.cat((x[2], x[0]))).verdict
        ('healthy', 'copies the data')
    """
    fake, real, rows = torch.as_tensor(fakes), torch.as_tensor(reals), None if train is None else torch.as_tensor(train)
    _check(fake, real, rows)
    further: dict[str, Measure] = {}
    extractor = extractor_of(features) if isinstance(features, str) else features
    if not isinstance(extractor, Pixels):
        fake, real, rows = extractor(fake), extractor(real), None if rows is None else extractor(rows)
    if min(len(fake), len(real)) >= LEAST and fake.isfinite().all():
        test = classifier_test(fake[:TESTED], real[:TESTED], seed=seed)
        further["classifier_accuracy"] = Measure(test.accuracy, 0.5 / test.n_test**0.5, 0.5)
    return diagnose_samples(fake, real, rows, thresholds=thresholds, further=further, seed=seed)


def _check(fake: Tensor, real: Tensor, train: Tensor | None) -> None:
    named = {"fakes": fake, "reals": real} | ({} if train is None else {"train": train})
    if len({tuple(x.shape[1:]) for x in named.values()}) > 1 or any(x.dim() < 2 or not len(x) for x in named.values()):
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in named.items())
        raise ValueError(f"expected rows of one shape [n, *shape], got {shapes}; resize or flatten one of them")
    for name, x in named.items():
        if name != "fakes" and not x.isfinite().all():
            raise ValueError(f"expected finite {name}, got NaN or infinity; drop such rows")
