"""Feature extractors by the names that the command line and a bench give them."""

from collections.abc import Callable

from uncollapse.evaluation.classifier import DigitFeatures, digit_classifier
from uncollapse.evaluation.features import Extractor, FeatureNetwork, Inception, Pixels

EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "pixels": Pixels,
    "digits": lambda: FeatureNetwork(DigitFeatures(digit_classifier()), "the classifier of digits"),
    "inception": Inception,
}
"""What each name makes."""


def extractor_of(name: str) -> Extractor:
    """The feature extractor of a name.

    Args:
        name: pixels, digits (this project's classifier of digits) or inception.

    Raises:
        ValueError: If there is none of this name, or its weights are not what they should be.
        FileNotFoundError: If its weights or data are nowhere, and cannot be downloaded.

    Example:
        >>> extractor_of("pixels").name
        'pixels'
    """
    if name not in EXTRACTORS:
        raise ValueError(f"expected features {', '.join(EXTRACTORS)}, came {name!r}")
    return EXTRACTORS[name]()
