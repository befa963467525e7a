"""Reweighted expectation maximisation: both gradients from self-normalised importance weights."""

import math
from contextlib import AbstractContextManager, nullcontext

from torch import Size, Tensor

from uncollapse.data import Batch
from uncollapse.distributions import Density, VampPrior
from uncollapse.distributions.draws import score, start
from uncollapse.distributions.still import frozen
from uncollapse.learning import Logged
from uncollapse.vae.model import VAE
from uncollapse.vae.objectives import Bound


class ReweightedEM(Bound):
    r"""Reweighted EM: θ climbs the expected complete log-likelihood, q follows p(z|x), under the same weights.

    .. math:: \tilde w_k = \frac{w_k}{\sum_j w_j}, \quad w_k = \frac{p(x, z_k)}{q(z_k \mid x)}, \qquad
              \nabla_\theta = \sum_k \tilde w_k \nabla_\theta \log p_\theta(x, z_k), \quad
              \nabla_\phi = \sum_k \tilde w_k \nabla_\phi \log q_\phi(z_k \mid x), \quad z_k \sim q

    The first goes to :math:`\nabla_\theta \log p(x)` as K grows, whatever q; the second to
    :math:`-\nabla_\phi \mathrm{KL}(p(z \mid x) \,\|\, q)`, the divergence that covers mass. No gradient goes through a draw.
    Beside a `VampPrior`, whose density has φ in it, log p(z) moves the pseudo-inputs alone, so that φ's gradient is as stated.
    The value is the importance-weighted bound of the same draws, `iwae`; the gradient of θ is that bound's too, φ's is not.

    Args:
        model: The model and the posterior that proposes.
        k: Importance samples K per observation.

    Raises:
        ValueError: If k is below 2, log q(z|x) is not exact, or the posterior is refined through the model itself.

    References:
        Dieng and Paisley (2019), Reweighted Expectation Maximization; the two wake phases: Bornschein and Bengio (2015),
        Reweighted Wake-Sleep, equations 5 and 9.

    Example:
        >>> import torch
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import Bias
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), Bias), posteriors.Gaussian(2, (4,), Bias))
        >>> bound, logged = ReweightedEM(vae, k=5)(torch.ones(3, 4), torch.tensor(0))
        >>> [round(v, 4) for v in bound.tolist()], sorted(logged)
        ([-2.7726, -2.7726, -2.7726], ['elbo', 'iwae', 'kl', 'log_likelihood'])
    """

    selects = "iwae"

    def __init__(self, model: VAE, k: int = 50):
        super().__init__(model, k)
        if k < 2:
            raise ValueError(f"ReweightedEM weighs at least 2 samples against each other, came k={k}; write k=50, or ELBO")
        if model.posterior.density is not Density.EXACT:
            raise ValueError(
                f"ReweightedEM needs the exact log q(z|x), {type(model.posterior).__name__} gives "
                f"{model.posterior.density.value}; write IWAE with it"
            )
        if hasattr(model.posterior, "attach") and any(p.requires_grad for p in model.posterior.parameters()):
            raise ValueError(
                f"ReweightedEM holds its samples of q fixed, {type(model.posterior).__name__} learns through the model; write "
                "IWAE with it, or --posterior Gaussian"
            )

    def encoder_frozen(self) -> AbstractContextManager[None]:
        """Within it a prior that encodes with the posterior (`VampPrior`) hands φ no gradient: log p(z) is θ's alone."""
        mixes = any(isinstance(part, VampPrior) for part in self.model.prior.modules())
        return frozen(self.model.posterior.parameters()) if mixes else nullcontext()

    def forward(self, batch: Tensor | Batch, t: Tensor, parameters: Tensor | None = None) -> tuple[Tensor, Logged]:
        model, q = self.model, self.infer(batch, parameters)
        with self.encoder_frozen():
            p = model.prior_for(batch)
        z, log_q, log_prior = score(q, p, start(q, Size((self.k,))).detach())
        log_likelihood = model.log_likelihood(z, batch)
        log_joint = log_likelihood + log_prior
        log_w = (log_joint - log_q).detach()
        iwae = log_w.logsumexp(0) - math.log(self.k)
        signal = (log_w.softmax(0) * (log_joint + log_q)).sum(0)
        kl = (log_q - log_prior).mean(0)
        logged = {"iwae": iwae, "elbo": log_w.mean(0), "log_likelihood": log_likelihood.mean(0), "kl": kl}
        return iwae + (signal - signal.detach()), logged
