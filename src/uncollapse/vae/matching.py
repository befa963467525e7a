"""Objectives that match the aggregated posterior q(z) to the prior, beside or in place of each q(z|x)."""

from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse.data import Batch
from uncollapse.divergences import InverseMultiquadric, Kernel, kl_units
from uncollapse.divergences.mmd import mmd
from uncollapse.learning import Logged
from uncollapse.processes import gathered
from uncollapse.vae.model import VAE
from uncollapse.vae.objectives import Bound


class InfoVAE(Bound):
    r"""The InfoVAE: less of the divergence of each q(z|x), so that z may tell x apart, and more of the one of q(z).

    .. math:: \mathbb E_{q}[\log p(x \mid z)] - (1 - \alpha)\, \mathrm{KL}(q(z \mid x) \,\|\, p(z))
              - (\alpha + \lambda - 1)\, \mathrm{MMD}^2(q(z), p(z)), \quad q(z) = \mathbb E_{p_d}[q(z \mid x)]

    It is maximised. :math:`\alpha = 0, \lambda = 1` is the ELBO, :math:`\alpha = 1` the Wasserstein autoencoder with MMD, of
    weight λ. α spares information: with the KL divergence in the MMD's place, the formula is
    :math:`\mathbb E_q[\log p(x \mid z)] - (1 - \alpha)\, I_q(x; z) - \lambda\, \mathrm{KL}(q(z) \,\|\, p(z))`. It is no bound
    on log p(x) unless it is the ELBO; the ELBO is logged.

    The MMD is a number of the whole batch, and every observation is charged all of it, so the mean of the objective is exact.
    It is that of one draw for each observation of the global batch against as many of the prior; with K > 1 draws, the mean of
    K of these, since draws for one observation are not independent draws of q(z).

    Args:
        model: The model and posterior.
        k: Monte Carlo samples K per observation.
        alpha: α, from 0 to 1: the weight of the information.
        lam: λ, at least 1 - α. One MMD² is at most 2 and no nats, so λ is large where reconstructions cost hundreds of nats.
        kernel: Of the MMD; its bandwidths follow the latent's size.
        unbiased: The MMD's U-statistic; else its V-statistic, which is never negative.

    Raises:
        ValueError: If alpha is outside [0, 1], or alpha + lam below 1 (the divergence of q(z) would be rewarded); or if
            nothing would train the prior.

    References:
        Zhao, Song and Ermon (2019), InfoVAE, equation 6; Tolstikhin et al. (2018), Wasserstein Auto-Encoders, algorithm 2.

    Example:
        >>> import torch
        >>> from uncollapse.networks import Bias
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), Bias), posteriors.Gaussian(2, (4,), Bias))
        >>> bound, logged = InfoVAE(vae, alpha=0.5, lam=10.0)(torch.ones(64, 4), torch.tensor(0))
        >>> bound.shape, sorted(logged)
        (torch.Size([64]), ['elbo', 'kl', 'log_likelihood', 'mmd'])
    """

    def __init__(
        self,
        model: VAE,
        k: int = 1,
        alpha: float = 0.0,
        lam: float = 1000.0,
        kernel: Kernel = InverseMultiquadric(),
        unbiased: bool = True,
    ):
        super().__init__(model, k)
        if alpha > 1:
            raise ValueError(f"expected alpha of at most 1, came {alpha}: above it every q(z|x) is pushed away from the prior")
        if alpha < 0:
            raise ValueError(
                f"expected alpha of at least 0, got {alpha}: below it information is taxed twice; write the ELBO with "
                f"beta={1 - alpha:g}"
            )
        if alpha + lam < 1:
            raise ValueError(
                f"expected alpha + lam of at least 1, came {alpha} + {lam}: below it q(z) is pushed away from the prior; write "
                f"lam={1 - alpha:g} for no MMD, or the ELBO with beta={1 - alpha:g}"
            )
        if alpha == 1 and any(p.requires_grad for p in model.prior.parameters()) and not model.prior().has_rsample:
            raise ValueError(
                f"alpha = 1 leaves only the MMD, which trains a prior by its draws; those of {type(model.prior).__name__} "
                "carry no gradient: write --prior Normal, or an alpha below 1"
            )
        self.alpha, self.lam, self.kernel, self.unbiased = alpha, lam, kernel, unbiased

    def forward(self, batch: Tensor | Batch, t: Tensor, parameters: Tensor | None = None) -> tuple[Tensor, Logged]:
        model = self.model
        q = self.infer(batch, parameters)
        p = model.prior_for(batch)
        units = kl_units(q, p)
        if units is None:
            z, log_q, log_p = self.scored_draws(q, p)
            kl = self.over_draws(log_q - log_p)
        else:
            z, kl = self.draws(q), units.sum(-1)
        log_likelihood = self.over_draws(model.log_likelihood(z, batch))
        bound = log_likelihood - (1 - self.alpha) * kl
        logged = {"elbo": log_likelihood - kl, "log_likelihood": log_likelihood, "kl": kl}
        weight = self.alpha + self.lam - 1
        if weight == 0:
            return bound, logged
        distance = self.discrepancy(z, p)
        return bound - weight * distance, logged | {"mmd": distance.detach().expand_as(bound)}

    def discrepancy(self, z: Tensor, p: Distribution) -> Tensor:
        """MMD² of q(z) and p(z), a 0-d tensor, by draws z [K, B, L] or [B, L] of the posterior.

        Of a single observation, where there is no U-statistic, it is the V-statistic.
        """
        shape = Size(z.shape[:-1])
        y = p.rsample(shape) if p.has_rsample else p.sample(shape)
        z, y = gathered(z, -2), gathered(y, -2)
        return mmd(z, y, self.kernel, self.unbiased and z.shape[-2] > 1).mean()
