"""The implicit model: a prior and a generator, with an encoder beside them where a game has one."""

from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from torch import Size, Tensor

from uncollapse.distributions import LatentVariableModel, Likelihood, Posterior, Prior


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

    Raises:
        ValueError: If the parts disagree about sizes, or the likelihood's draws have no gradient.

    References:
        Mohamed and Lakshminarayanan (2016), Learning in Implicit Generative Models; Goodfellow et al. (2014).

    Example:
        >>> from uncollapse.distributions import Generator, Normal
        >>> from uncollapse.networks import MLP
        >>> model = ImplicitModel(Normal(2), Generator(2, (5,), MLP))
        >>> model.draws(3, torch.zeros(())).x.shape
        torch.Size([3, 5])
    """

    def __init__(self, prior: Prior, likelihood: Likelihood, posterior: Posterior | None = None):
        super().__init__(prior, likelihood, posterior)
        with torch.no_grad():
            differentiable = likelihood(torch.zeros(2, prior.features)).has_rsample
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
    ) -> Self:
        """Build a model from factories of its parts, each size stated once."""
        event = Size(shape)
        beside = None if posterior is None else posterior(features, event)
        return cls(prior(features), likelihood(features, event), beside)

    def draws(self, n: int, like: Tensor) -> Drawn:
        """n fakes and their latents, with a gradient for the generator, in the type and place of `like`."""
        p = self.prior()
        z = (p.rsample(Size((n,))) if p.has_rsample else p.sample(Size((n,)))).to(like)
        return Drawn(self.likelihood(z).rsample(), z)
