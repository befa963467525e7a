"""The implicit model: a prior and a generator, with an encoder beside them where a game has one."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
from torch import Size, Tensor

from uncollapse.data import Batch, Space
from uncollapse.distributions import LatentVariableModel, Likelihood, Posterior, Prior
from uncollapse.distributions.latent import conditioned
from uncollapse.networks import ConditionEncoder


class Drawn(NamedTuple):
    """Fakes and the latents that they were made of."""

    x: Tensor  # [B, *shape], with a gradient for the generator
    z: Tensor  # [B, L], with a gradient for a prior that learns


class ImplicitModel(LatentVariableModel):
    r"""A model by its draws, :math:`z \sim p(z), \; x \sim p_\theta(x \mid z)`, whose p(x|z) need have no density.

    With a `Generator` x is a function of z; with a `Gaussian` likelihood noise is added to it, and p(x) exists (PresGAN). The
    posterior is the encoder of a game with pairs (ALI, VEEGAN) or codes (InfoGAN).

    Args:
        prior: p(z).
        likelihood: `Generator`, or another likelihood whose draws have a gradient.
        posterior: q(z|x), or None.
        condition: Encoder of what the model is conditioned on; None: nothing.

    Raises:
        ValueError: If the parts disagree about sizes, or the likelihood's draws have no gradient.

    References:
        Mohamed and Lakshminarayanan (2016), Learning in Implicit Generative Models; Goodfellow et al. (2014).

    Example:
        >>> from uncollapse.distributions import Generator, Normal
        >>> from uncollapse.networks import MLP
        >>> model = ImplicitModel(Normal(2), Generator(2, (5,), MLP))
        >>> model.draws(torch.zeros(3, 5)).x.shape
        torch.Size([3, 5])
    """

    def __init__(
        self,
        prior: Prior,
        likelihood: Likelihood,
        posterior: Posterior | None = None,
        condition: ConditionEncoder | None = None,
    ):
        super().__init__(prior, likelihood, posterior, condition)
        with torch.no_grad():
            differentiable = likelihood(torch.zeros(2, likelihood.features)).has_rsample
        if not differentiable:
            raise ValueError(
                f"a generator learns through its draws, those of {type(likelihood).__name__} have no gradient; write "
                "--likelihood Generator, or Gaussian"
            )

    @classmethod
    def of(
        cls,
        features: int,
        shape: list[int],
        prior: Callable[[int], Prior],
        likelihood: Callable[[int, Size], Likelihood],
        posterior: Callable[[int, Size], Posterior] | None = None,
        condition: Callable[[Space], ConditionEncoder] | None = None,
        condition_space: dict[str, Any] | None = None,
    ) -> Self:
        """Build a model from factories of its parts, each size stated once.

        Raises:
            ValueError: If a condition is encoded and the data have none, or the other way round.
        """
        encoder, decoded, encoded = conditioned(features, Size(shape), condition, condition_space)
        inferred = None if posterior is None else posterior(features, encoded)
        return cls(prior(features), likelihood(decoded, Size(shape)), inferred, encoder)

    def draws(self, batch: Tensor | Batch) -> Drawn:
        """Fakes and their latents, as many as the batch has and of its conditions, in the type and on the device of its x.

        They have a gradient for the generator, and for a prior that learns.
        """
        batch = self.embed(batch)
        p = self.prior_for(batch)
        shape = Size() if p.batch_shape else Size((batch.n,))
        z = (p.rsample(shape) if p.has_rsample else p.sample(shape)).to(batch.x)
        return Drawn(self.observe(z, batch).rsample(), z)
