"""Models with latent variables: a prior and a likelihood."""

import torch
from torch import Tensor, nn

from uncollapse.distributions.conditional import Likelihood, Prior


class LatentVariableModel(nn.Module):
    r"""The prescribed model :math:`p_\theta(x, z) = p(z)\, p_\theta(x \mid z)`.

    Args:
        prior: p(z).
        likelihood: p(x|z).

    Raises:
        ValueError: If the two disagree about the latent's size.
    """

    def __init__(self, prior: Prior, likelihood: Likelihood):
        super().__init__()
        if prior.features != likelihood.features:
            raise ValueError(
                f"the prior has {prior.features} latents, the likelihood expects {likelihood.features}; make them equal"
            )
        self.prior, self.likelihood = prior, likelihood

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) = log p(x|z) + log p(z) in nats, constants included: x [B, *shape] and z [K, B, L] to [K, B]."""
        return self.likelihood(z).log_prob(x) + self.prior().log_prob(z)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """n observations, z ~ p(z) and x ~ p(x|z): [n, *shape]."""
        return self.likelihood(self.prior().sample((n,))).sample()
