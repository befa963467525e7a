"""scikit-learn's conventions: fit, transform and score on arrays."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from uncollapse import noise
from uncollapse.data import as_batch, from_arrays
from uncollapse.data.counter import permutation
from uncollapse.data.further import Further
from uncollapse.distributions import Likelihood
from uncollapse.evaluation import log_likelihood
from uncollapse.own_modules import Named
from uncollapse.training.fit import fit
from uncollapse.training.recipe import Recipe


class Estimator(TransformerMixin, BaseEstimator):
    """A VAE as a scikit-learn transformer: arrays in, latents out.

    Arrays mean what `uncollapse.data.from_arrays` says of those that it was fitted to: 8-bit integers are images, scaled to
    [0, 1], and those that come later are treated as they were.

    Args:
        recipe: Name or path of the recipe; its data are not used.
        options: More options as on the command line, ``("--likelihood", "Gaussian")``.
        steps: Updates in all; None: the recipe's.
        seed: Everything random follows from it.
        parts: What holds classes of your own that the recipe or the options name: classes, modules, or paths of .py files.

    Attributes:
        model_: The trained `VAE`.
        further_: How later arrays are read, as the fitted ones were.

    Example:
        >>> x = (np.random.default_rng(0).random((400, 16)) < 0.5).astype(np.float32)
        >>> vae = Estimator(options=["--features", "2"], steps=50).fit(x)
        >>> vae.transform(x).shape, bool(vae.score(x) < 0)
        ((400, 2), True)
    """

    def __init__(
        self,
        recipe: str = "vae",
        options: Sequence[str] = (),
        steps: int | None = None,
        seed: int = 0,
        parts: Sequence[Named] = (),
    ):
        self.recipe, self.options, self.steps, self.seed, self.parts = recipe, options, steps, seed, parts

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train on nine tenths of the observations X [N, ...]; the other tenth, drawn by the seed, chooses the best weights.

        Raises:
            ValueError: If there are fewer than two, or the likelihood gives no density to them.
        """
        length = [] if self.steps is None else ["--steps", str(self.steps)]
        recipe = Recipe.read(self.recipe, [*self.options, *length, "--seed", str(self.seed)], self.parts)
        x = np.atleast_1d(np.asarray(X))
        if len(x) < 2:
            raise ValueError(f"expected at least 2 observations to fit, came {len(x)}: give more, a tenth is for validation")
        chosen, rest = np.split(permutation(len(x), self.seed), [max(1, len(x) // 10)])
        data = from_arrays(x[rest], valid=x[chosen], test=x[chosen], name="X")
        model = recipe.model(data.shape)
        with _advising(model.likelihood):
            fit(recipe.stages(model), data, machine=recipe.machine)
        self.model_, self.further_ = model, Further(data.levels, x.dtype == np.uint8)
        self.n_features_in_ = int(np.prod(data.shape))
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Posterior means: X [N, ...] to [N, L].

        Raises:
            ValueError: If X is not what the model was fitted to: 8-bit integers or other numbers, their shape and their range.
        """
        check_is_fitted(self)
        return self.model_.encode(self._observations(X)).cpu().numpy()

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """Means of p(x|z): Z [N, L] to [N, *shape], 8-bit images in [0, 1]."""
        check_is_fitted(self)
        like = next(self.model_.parameters())
        return self.model_.decode(torch.as_tensor(np.asarray(Z)).to(like)).cpu().numpy()

    def score(self, X: ArrayLike, y: Any = None, samples: int = 100) -> float:
        """Mean log p(x) in nats, by this many importance samples; higher is better."""
        return float(self.score_samples(X, samples).mean())

    def score_samples(self, X: ArrayLike, samples: int = 100) -> np.ndarray:
        """log p(x) of each observation in nats: X [N, ...] to [N]."""
        check_is_fitted(self)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            noise.seed_step(self.seed, 0)
            return log_likelihood(self.model_, self._observations(X), samples).log_likelihoods.cpu().numpy()

    def sample(self, n: int = 1) -> np.ndarray:
        """n observations from the model: [n, *shape], 8-bit images in [0, 1]."""
        check_is_fitted(self)
        return self.model_.sample(n).cpu().numpy()

    def _observations(self, X: ArrayLike) -> Tensor:
        like = next(self.model_.parameters())
        x = as_batch(self.further_.source(X).to(like.device, like.dtype).all()).x
        with _advising(self.model_.likelihood):
            self.model_.likelihood.check(x)
        return x


@contextmanager
def _advising(likelihood: Likelihood) -> Iterator[None]:
    """Within it, data that do not fit are refused with what to write in Python: options on data have no say over an array."""
    try:
        yield
    except ValueError as error:
        instead = 'Estimator(options=["--likelihood", "Gaussian"]) for real numbers'
        if likelihood.levels == 2:
            instead += ", or give X > 0.5, which is binary"
        if likelihood.instead not in str(error):
            raise
        raise ValueError(str(error).replace(likelihood.instead, instead)) from error
