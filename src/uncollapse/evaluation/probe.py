"""A linear probe: how much of the labels a linear classifier reads off a representation."""

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

ITERATIONS = 200  # of L-BFGS; what has not converged by then is used as it is


class Probe(NamedTuple):
    """How well the labels of test rows are predicted."""

    accuracy: float
    standard_error: float  # binomial, over the test rows
    chance: float  # accuracy of the commonest training label for every row


def linear_probe(train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor) -> Probe:
    """Logistic regression on standardised columns, learned on the training rows and judged by the test rows.

    The weights have scikit-learn's usual penalty (C = 1). Means and scales are those of the training rows. Nothing is random.

    Args:
        train: Representations [N, L] to learn from.
        labels: Their labels [N], integers.
        test: Representations [M, L] to judge by.
        test_labels: Their labels [M]; one that no training row has is always predicted wrongly.

    Raises:
        ValueError: If rows and labels differ in number, there are no test rows, or all training labels are equal.

    References:
        Alain and Bengio (2017), Understanding intermediate layers using linear classifier probes.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> labels = torch.arange(200) % 2
        >>> linear_probe(labels[:, None] + 0.01 * torch.randn(200, 1), labels, labels[:50, None], labels[:50])
        Probe(accuracy=1.0, standard_error=0.0, chance=0.5)
    """
    if len(train) != len(labels) or len(test) != len(test_labels) or not len(test):
        raise ValueError(
            f"expected a label for each row, and at least 1 test row, got {len(labels)} labels of {len(train)} training rows "
            f"and {len(test_labels)} of {len(test)} test rows"
        )
    classes, counts = labels.unique(return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"expected training labels of at least 2 classes, got {len(classes)}; use more rows")
    right = (_predicted(train, labels, test) == test_labels.cpu()).double()
    accuracy = float(right.mean())
    chance = float((test_labels == classes[counts.argmax()]).double().mean())
    return Probe(accuracy, (accuracy * (1 - accuracy) / len(right)) ** 0.5, chance)


def _predicted(train: Tensor, labels: Tensor, test: Tensor) -> Tensor:
    """The labels that a logistic regression predicts for the test rows."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ITERATIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(train.detach().double().cpu().numpy(), labels.cpu().numpy())
    return torch.from_numpy(classifier.predict(test.detach().double().cpu().numpy()))


def principal_components(train: Tensor, test: Tensor, components: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The scores of both on the first principal components of the training rows: [N, D] and [M, D] to [N, C] and [M, C].

    Args:
        train: Rows that the components are of.
        test: Other rows.
        components: Their number C; fewer where the rows or the columns are fewer.
        seed: Of the randomised decomposition.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.1]])
        >>> a, b = principal_components(x, x[:1], 1)
        >>> a.abs().round(decimals=1).flatten().tolist(), b.shape
        ([2.0, 0.0, 2.0], torch.Size([1, 1]))
    """
    from sklearn.decomposition import PCA

    decomposition = PCA(min(components, *train.shape), random_state=seed)
    scores = decomposition.fit_transform(train.detach().cpu().numpy())
    return torch.from_numpy(scores), torch.from_numpy(decomposition.transform(test.detach().cpu().numpy()))
