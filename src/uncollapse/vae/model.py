"""The variational autoencoder: a prescribed model and a posterior beside it."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from uncollapse.data import Batch, Space, as_batch
from uncollapse.distributions import LatentVariableModel, Likelihood, Mixture, Posterior, Prior, draw_scored
from uncollapse.distributions.latent import conditioned
from uncollapse.networks import ConditionEncoder


class Terms(NamedTuple):
    """What an objective is made of: K draws for each of B observations, in nats, unreduced, nothing negated."""

    log_likelihood: Tensor  # log p(x|z)   [K, B]
    log_prior: Tensor  # log p(z)     [K, B]
    log_posterior: Tensor  # log q(z|x)   [K, B]
    z: Tensor  # the draws    [K, B, L]

    @property
    def log_w(self) -> Tensor:
        """log p(x, z) - log q(z|x), the log importance weight [K, B]."""
        return self.log_likelihood + self.log_prior - self.log_posterior


class VAE(LatentVariableModel):
    r"""A prescribed model p(z) p(x|z) with a posterior q(z|x).

    Args:
        prior: p(z).
        likelihood: p(x|z).
        posterior: q(z|x), on the same support as the prior.
        condition: Encoder of what the model is conditioned on; None: nothing.

    Raises:
        ValueError: If the parts disagree about sizes, or the posterior's support is not the prior's.

    References:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes; Rezende, Mohamed and Wierstra (2014).

    Example:
        >>> from uncollapse.networks import MLP
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> vae = VAE(Normal(2), Bernoulli(2, (1, 8, 8), MLP), posteriors.Gaussian(2, (1, 8, 8), MLP))
        >>> vae.terms(torch.zeros(5, 1, 8, 8), k=3).log_w.shape
        torch.Size([3, 5])
    """

    def __init__(self, prior: Prior, likelihood: Likelihood, posterior: Posterior, condition: ConditionEncoder | None = None):
        super().__init__(prior, likelihood, posterior, condition)
        self.aggregate: Mixture | None = None
        prior.attach(likelihood, posterior)
        self._check()
        attach = getattr(posterior, "attach", None)
        if attach is not None:
            attach(self.log_joint_of_input)

    def _check(self) -> None:
        q, p = self.posterior, self.prior
        if not self.likelihood.density.weighs:
            raise ValueError(
                f"a VAE needs log p(x|z), {type(self.likelihood).__name__} gives {self.likelihood.density.value}; write "
                "--likelihood Gaussian, or --objective GAN"
            )
        if _interval(q.support) != _interval(p.support):
            raise ValueError(
                f"the prior {type(p).__name__} lives on {_interval(p.support)}, the posterior {type(q).__name__} on "
                f"{_interval(q.support)}; write LogitNormal with the same low and high beside Uniform, Gaussian beside Normal"
            )

    @classmethod
    def of(
        cls,
        features: int,
        shape: list[int],
        prior: Callable[[int], Prior],
        likelihood: Callable[[int, Size], Likelihood],
        posterior: Callable[[int, Size], Posterior] | None,
        condition: Callable[[Space], ConditionEncoder] | None = None,
        condition_space: dict[str, Any] | None = None,
    ) -> Self:
        """Build a model from factories of its parts, each size stated once.

        Raises:
            ValueError: If there is no posterior, or a condition is encoded and the data have none.
        """
        if posterior is None:
            raise ValueError("a VAE has a posterior, came none; write --posterior Gaussian, or --objective GAN")
        encoder, decoded, encoded = conditioned(features, Size(shape), condition, condition_space)
        return cls(prior(features), likelihood(decoded, Size(shape)), posterior(features, encoded), encoder)

    def terms(self, batch: Tensor | Batch, k: int = 1, q: Distribution | None = None) -> Terms:
        """Draw k latents for each observation and score them.

        Args:
            batch: Observations [B, *shape].
            k: Draws K.
            q: Where they come from: by default the posterior; or another member of its family, or the prior.
        """
        q = self.infer(batch) if q is None else q
        shape = Size((k,)) if q.batch_shape else Size((k, as_batch(batch).n))
        z, log_q, log_p = draw_scored(q, self.prior_for(batch), shape)
        return Terms(self.log_likelihood(z, batch), log_p, log_q, z)

    def fit_aggregate(self, batch: Tensor | Batch, components: int = 10) -> None:
        """Fit a Gaussian mixture to draws of the aggregated posterior, kept and saved with the model."""
        with torch.no_grad():
            self.aggregate = Mixture.fitted(self.infer(batch).sample(), components)

    def load_weights(self, weights: dict[str, Tensor], where: str) -> None:
        """Take over weights by name; refuse those of another model."""
        if "aggregate.loc" in weights:
            self.aggregate = Mixture(self.prior.features, len(weights["aggregate.loc"]))
        super().load_weights(weights, where)


def _interval(support: constraints.Constraint) -> str:
    """A support in words."""
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    return "the real line" if low is None else f"({low:g}, {high:g})"
