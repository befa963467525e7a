"""Parzen windows against scikit-learn, and the ranking that makes them the known-bad baseline."""

import math

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.neighbors import KernelDensity
from torch import Tensor

from uncollapse.evaluation import kde

BANDWIDTHS = [0.1, 0.3, 0.6, 1.5]


def theirs(samples: Tensor, x: Tensor, h: float) -> Tensor:
    """One leaf for all samples: the sums over a tree of them lose the tails."""
    peer = KernelDensity(bandwidth=h, leaf_size=len(samples)).fit(samples.flatten(1).numpy())
    return torch.from_numpy(peer.score_samples(x.flatten(1).numpy()))


@pytest.fixture
def data() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(200, 2, 3).double(), torch.randn(30, 2, 3).double(), torch.randn(40, 2, 3).double()


@pytest.mark.parametrize("h", BANDWIDTHS)
@pytest.mark.parametrize("budget", [1, 1000, 2**22])
def test_it_is_scikit_learns(data: tuple[Tensor, Tensor, Tensor], h: float, budget: int) -> None:
    samples, x, _ = data
    found = kde(samples + 100, x + 100, [h], budget=budget)
    assert torch.allclose(found.log_likelihood, theirs(samples, x, h), rtol=0, atol=1e-7)
    assert (found.bandwidth, found.validation) == (h, None)


def test_the_bandwidth_is_the_best_on_validation_data(data: tuple[Tensor, Tensor, Tensor]) -> None:
    samples, x, validation = data
    found = kde(samples, x, BANDWIDTHS, validation)
    scores = torch.stack([theirs(samples, validation, h).mean() for h in BANDWIDTHS])
    assert found.validation is not None and torch.allclose(found.validation, scores, rtol=0, atol=1e-7)
    assert found.bandwidth == BANDWIDTHS[int(scores.argmax())] not in (0.1, 1.5)
    assert torch.allclose(found.log_likelihood, theirs(samples, x, found.bandwidth), rtol=0, atol=1e-7)


def test_far_points_are_finite() -> None:
    found = kde(torch.zeros(5, 3), torch.full((1, 3), 1e3), [0.1])
    assert found.log_likelihood.item() == pytest.approx(-1.5e8, rel=1e-3)


def test_prototypes_beat_the_data_themselves() -> None:
    """What is wrong with it: in 50 dimensions 100 draws of the data's own distribution score below 100 centroids of k-means."""
    train, validation, x = (torch.randn(n, 50, dtype=torch.double) for n in (2000, 200, 500))
    centroids = torch.from_numpy(KMeans(100, n_init=1, random_state=0).fit(train.numpy()).cluster_centers_)
    wide = [0.5, 0.7, 0.85, 1.0, 1.2]
    own, prototypes = (kde(s, x, wide, validation).log_likelihood.mean() for s in (train[:100], centroids))
    truth = -0.5 * (x.square().sum(-1) + 50 * torch.tensor(2 * torch.pi).log()).mean()
    assert own < prototypes < truth


def test_it_says_what_is_missing() -> None:
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="validation data to choose among 10 bandwidths"):
        kde(x, x)
    with pytest.raises(ValueError, match=r"all finite and above 0, came \[0.0\]"):
        kde(x, x, [0.0])
    with pytest.raises(ValueError, match="of one shape"):
        kde(x, torch.zeros(3, 4), [1.0])
    for h in (math.nan, math.inf):
        with pytest.raises(ValueError, match="all finite and above 0"):
            kde(x, x, [h])
    bad = torch.tensor([[0.0, math.inf], [0.0, 0.0], [math.nan, math.nan]])
    with pytest.raises(ValueError, match="NaN or infinity in 2 rows of samples"):
        kde(bad, x, [1.0])
    with pytest.raises(ValueError, match="2 rows of x, 2 rows of validation"):
        kde(x, bad, [1.0], validation=-bad)
    with pytest.raises(ValueError, match="came 0 samples"):
        kde(x[:0], x, [1.0])
