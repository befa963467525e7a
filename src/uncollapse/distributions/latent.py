"""Models with latent variables: a prior, a likelihood, and maybe a posterior beside them."""

from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse.data import Batch, as_batch
from uncollapse.distributions.conditional import Likelihood, Posterior, Prior
from uncollapse.distributions.saved import Saved
from uncollapse.distributions.still import evaluating


class LatentVariableModel(Saved):
    r"""The model :math:`p_\theta(x, z) = p(z)\, p_\theta(x \mid z)`, with a posterior beside it if there is one.

    Args:
        prior: p(z).
        likelihood: p(x|z).
        posterior: q(z|x), or None.

    Raises:
        ValueError: If the parts disagree about sizes.
    """

    parts: ClassVar[tuple[str, ...]] = ("prior", "likelihood", "posterior")

    def __init__(self, prior: Prior, likelihood: Likelihood, posterior: Posterior | None = None):
        super().__init__()
        if prior.features != likelihood.features:
            raise ValueError(
                f"the prior has {prior.features} latents, the likelihood expects {likelihood.features}; make them equal"
            )
        if posterior is not None and (posterior.features, posterior.shape) != (prior.features, likelihood.shape):
            raise ValueError(
                f"the posterior maps {tuple(posterior.shape)} to {posterior.features} latents, the model has {prior.features} "
                f"latents and data of shape {tuple(likelihood.shape)}; make them equal"
            )
        self.prior, self.likelihood = prior, likelihood
        self.posterior: Any = posterior

    def sizes(self) -> dict[str, Any]:
        return {"features": self.prior.features, "shape": list(self.likelihood.shape)}

    @property
    def like(self) -> Tensor:
        """A tensor of the model's own type and device."""
        return next(chain(self.parameters(), self.buffers()), torch.empty(()))

    def admit(self, x: Any) -> Tensor:
        """Observations, a tensor or an array [B, *shape], as the model takes them.

        Raises:
            ValueError: If the likelihood gives them no density.
        """
        x = torch.as_tensor(x).to(self.like)
        self.likelihood.check(x)
        return x

    def prior_for(self, batch: Tensor | Batch) -> Distribution:
        """p(z)."""
        p: Distribution = self.prior()
        return p

    def infer(self, batch: Tensor | Batch) -> Distribution:
        """q(z|x) for each observation of a batch: batch shape [B], event shape [L].

        Raises:
            ValueError: If the model has no posterior.
        """
        if self.posterior is None:
            raise ValueError(
                f"{type(self).__name__} encodes by its posterior, and has none; train one with --posterior Gaussian"
            )
        q: Distribution = self.posterior(as_batch(batch).x)
        return q

    def encode_parameters(self, batch: Tensor | Batch) -> Tensor:
        """The variational parameters of each observation, [B, P]: `posterior.at` makes q(z|x) of them."""
        parameters: Tensor = self.posterior.encode(as_batch(batch).x)
        return parameters

    def log_likelihood(self, z: Tensor, batch: Tensor | Batch) -> Tensor:
        """log p(x|z) in nats, constants included: z [K, B, L] to [K, B]."""
        return self.observe(z, batch).log_prob(as_batch(batch).x)

    def observe(self, z: Tensor, batch: Tensor | Batch) -> Distribution:
        """p(x|z) for each of these latents: z [..., B, L] to batch shape [..., B]."""
        p: Distribution = self.likelihood(z)
        return p

    def log_joint(self, batch: Tensor | Batch, z: Tensor) -> Tensor:
        """log p(x, z) = log p(x|z) + log p(z) in nats, constants included: x [B, *shape] and z [K, B, L] to [K, B]."""
        return self.log_likelihood(z, batch) + self.prior_for(batch).log_prob(z)

    @torch.no_grad()
    def sample(self, n: int, source: Distribution | None = None, mean: bool = False) -> Tensor:
        """n observations [n, *shape], x ~ p(x|z) with z from the prior or from another distribution over the latent.

        Args:
            n: How many.
            source: Where the latents come from; None: the prior.
            mean: The mean of p(x|z) in place of a draw: pictures without the noise of the likelihood.

        Raises:
            ValueError: If n is below 0.
        """
        if n < 0:
            raise ValueError(f"expected how many observations to draw, came {n}; write 0 or more")
        with evaluating(self):
            z = (self.prior() if source is None else source).sample(Size((n,)))
            return self.decode(z) if mean else self.likelihood(z).sample()

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """The mean of p(x|z), or a draw where it has none: z [..., L] to [..., *shape]."""
        with evaluating(self):
            p = self.likelihood(z)
            try:
                return p.mean
            except NotImplementedError:
                return p.sample()

    @torch.no_grad()
    def encode(self, x: Tensor | Batch) -> Tensor:
        """The posterior mean of each observation: x [B, *shape] to [B, L].

        Raises:
            ValueError: If the model has no posterior.
        """
        with evaluating(self):
            return posterior_mean(self.infer(x))

    @torch.no_grad()
    def reconstruct(self, x: Tensor | Batch) -> Tensor:
        """The mean of p(x|z) at the posterior mean, or a draw where the likelihood has no mean: [B, *shape]."""
        return self.decode(self.encode(x))

    def interpolate(self, a: Tensor | Batch, b: Tensor | Batch, steps: int = 8) -> Tensor:
        """Decode the straight path from the code of a to the code of b: two [B, *shape] to [steps, B, *shape]."""
        like = as_batch(a).x
        s = torch.linspace(0, 1, steps, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)
        return self.decode(torch.lerp(self.encode(a), self.encode(b), s))


def posterior_mean(q: Distribution, draws: int = 64) -> Tensor:
    """E_q[z], [B, L]: exact where the distribution states its mean, else the average of this many draws."""
    try:
        return q.mean
    except NotImplementedError:
        return q.sample(Size((draws,))).mean(0)
