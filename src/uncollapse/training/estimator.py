"""scikit-learn's conventions: fit, transform and score on arrays."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from torch import Tensor

from uncollapse import noise
from uncollapse.data import from_arrays
from uncollapse.evaluation import log_likelihood
from uncollapse.training.fit import fit
from uncollapse.training.recipe import Recipe


class Estimator(TransformerMixin, BaseEstimator):
    """A VAE as a scikit-learn transformer: arrays in, latents out.

    Args:
        recipe: Name or path of the recipe; its data are not used.
        options: More options as on the command line, ``("--likelihood", "Gaussian")``.
        steps: Updates in all; None: the recipe's.
        seed: Everything random follows from it.

    Attributes:
        model_: The trained `VAE`.

    Example:
        >>> x = (np.random.default_rng(0).random((400, 16)) < 0.5).astype(np.float32)
        >>> vae = Estimator(options=["--features", "2"], steps=50).fit(x)
        >>> vae.transform(x).shape, bool(vae.score(x) < 0)
        ((400, 2), True)
    """

    def __init__(self, recipe: str = "vae", options: Sequence[str] = (), steps: int | None = None, seed: int = 0):
        self.recipe, self.options, self.steps, self.seed = recipe, options, steps, seed

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train on observations X [N, ...]; a tenth of them chooses the best weights."""
        length = [] if self.steps is None else ["--steps", str(self.steps)]
        recipe = Recipe.read(self.recipe, [*self.options, *length, "--seed", str(self.seed)])
        data = from_arrays(np.asarray(X), seed=self.seed)
        self.model_ = recipe.model(data.shape)
        fit(recipe.procedure(self.model_), data, recipe.training, recipe.optimizer, recipe.machine)
        self.n_features_in_ = int(np.prod(data.shape))
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Posterior means: X [N, ...] to [N, L]."""
        return self.model_.encode(self._observations(X)).cpu().numpy()

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """Means of p(x|z): Z [N, L] to [N, ...]."""
        return self.model_.decode(self._tensor(Z)).cpu().numpy()

    def score(self, X: ArrayLike, y: Any = None, samples: int = 100) -> float:
        """Mean log p(x) in nats, by this many importance samples; higher is better."""
        return float(self.score_samples(X, samples).mean())

    def score_samples(self, X: ArrayLike, samples: int = 100) -> np.ndarray:
        """log p(x) of each observation in nats: X [N, ...] to [N]."""
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            noise.seed_step(self.seed, 0)
            return log_likelihood(self.model_, self._observations(X), samples).log_likelihoods.cpu().numpy()

    def sample(self, n: int = 1) -> np.ndarray:
        """n observations from the model: [n, ...]."""
        return self.model_.sample(n).cpu().numpy()

    def _observations(self, X: ArrayLike) -> Tensor:
        x = self._tensor(X)
        self.model_.likelihood.check(x)
        return x

    def _tensor(self, X: ArrayLike) -> Tensor:
        like = next(self.model_.parameters())
        return torch.as_tensor(np.asarray(X)).to(like)
