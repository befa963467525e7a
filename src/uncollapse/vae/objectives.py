"""Objectives of a VAE: the bounds on log p(x)."""

import math
from typing import ClassVar

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse.data import Batch, Data, as_batch
from uncollapse.distributions import BatchNormalized, Density, VampPrior, block_terms, draw_scored
from uncollapse.distributions.draws import Scored, score, start
from uncollapse.divergences import kl_units
from uncollapse.learning import Logged, Objective
from uncollapse.processes import gathered
from uncollapse.schedules import Schedule, nonnegative
from uncollapse.vae.model import VAE, Terms


class LogLikelihood(Objective):
    """The objective of maximum likelihood: the exact log p(x) in nats of a tractable density, `Location` or `Mixture`.

    Example:
        >>> from uncollapse.distributions import Location
        >>> bound, logged = LogLikelihood(Location(1))(torch.zeros(2, 1), torch.tensor(0))
        >>> [round(v, 4) for v in bound.tolist()]
        [-0.9189, -0.9189]
    """

    selects: ClassVar[str] = "log_likelihood"

    def forward(self, batch: Tensor | Batch, t: Tensor, parameters: Tensor | None = None) -> tuple[Tensor, Logged]:
        log_likelihood = self.model().log_prob(as_batch(batch).x)
        return log_likelihood, {"log_likelihood": log_likelihood}


class OfVAE(Objective):
    """An objective of a VAE."""

    learns: ClassVar[type] = VAE

    def meet(self, data: Data, batch: int) -> None:
        for part in self.model.modules():
            if isinstance(part, VampPrior):
                part.check(data.train.batch(data.train.some(min(1000, len(data.train)))).x)
            if isinstance(part, BatchNormalized) and batch < 2:
                raise ValueError("BatchNormalized normalises over a batch, came one observation; write --batch 2 or more")


class Bound(OfVAE):
    """A bound on log p(x) by K draws from the posterior.

    Args:
        model: The model and posterior whose bound it is.
        k: Monte Carlo samples K per observation.

    Raises:
        ValueError: If k is not positive, or the posterior's density is not what a bound needs.
    """

    def __init__(self, model: VAE, k: int = 1):
        super().__init__(model)
        if k < 1 or k % 1:
            raise ValueError(f"expected k as a whole number of at least 1 sample, came {k}")
        if not model.posterior.density.weighs:
            raise ValueError(
                f"{type(self).__name__} needs log q(z|x), {type(model.posterior).__name__} gives "
                f"{model.posterior.density.value}; write --objective AdversarialVariationalBayes --objective.network MLP "
                "--procedure Alternating"
            )
        self.k = k

    def infer(self, batch: Tensor | Batch, parameters: Tensor | None) -> Distribution:
        """q(z|x), or the member of its family with these parameters."""
        model: VAE = self.model
        return model.infer(batch) if parameters is None else model.posterior.at(parameters)

    def draws(self, q: Distribution) -> Tensor:
        """K draws [K, B, L], or the one draw [B, L]: no layer has to carry a dimension of size 1."""
        return q.rsample(Size((self.k,)) if self.k > 1 else Size())

    def scored_draws(self, q: Distribution, p: Distribution) -> Scored:
        """The same draws with log q(z|x), or what takes its place, and log p(z): [K, B], or [B] where there is one draw."""
        return draw_scored(q, p, Size((self.k,)) if self.k > 1 else Size())

    def over_draws(self, values: Tensor) -> Tensor:
        """The mean over the draws of values [K, B], or [B] where there is one: [B]."""
        return values.mean(0) if self.k > 1 else values


class ELBO(Bound):
    r"""The evidence lower bound, regularised by the KL divergence, with β and free bits.

    .. math:: \mathbb E_{q}[\log p(x \mid z)] - \beta \, \mathrm{KL}(q(z \mid x) \,\|\, p(z)) \le \log p(x), \quad \beta \ge 1

    The divergence is in closed form where there is one, else the same samples estimate it. With free bits λ, the batch mean of
    each unit counts as λ wherever it is below; a block of a chain is one group, and so are all units where prior or posterior
    do not factorise.

    Args:
        model: The model and posterior whose bound it is.
        k: Monte Carlo samples K per observation.
        beta: Weight β of the divergence, a number or a schedule (1: the ELBO itself).
        free_bits: λ in nats per latent unit, or group of them (0: none).

    Raises:
        ValueError: If beta, an end of its schedule, or free_bits is negative, infinite or no number.

    References:
        Kingma and Welling (2014), equation 7; β: Higgins et al. (2017); its warm-up: Bowman et al. (2016);
        free bits: Kingma et al. (2016), equation 15.

    Example:
        >>> from uncollapse.networks import Bias
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), Bias), posteriors.Gaussian(2, (4,), Bias))
        >>> bound, logged = ELBO(vae)(torch.ones(3, 4), torch.tensor(0))
        >>> [round(v, 4) for v in bound.tolist()], sorted(logged)
        ([-2.7726, -2.7726, -2.7726], ['elbo', 'kl', 'log_likelihood'])
    """

    def __init__(self, model: VAE, k: int = 1, beta: float | Schedule = 1.0, free_bits: float = 0.0):
        super().__init__(model, k)
        if not 0 <= free_bits < math.inf:
            raise ValueError(f"expected finite free_bits of at least 0 nats, came {free_bits}; write 0 for none")
        self.beta, self.free_bits = nonnegative("beta", beta, "write 1 for the ELBO, 0 for no divergence"), free_bits

    def forward(self, batch: Tensor | Batch, t: Tensor, parameters: Tensor | None = None) -> tuple[Tensor, Logged]:
        model = self.model
        q = self.infer(batch, parameters)
        p = model.prior_for(batch)
        units = kl_units(q, p)
        if units is None:
            z, log_q, log_p = self.scored_draws(q, p)
            blocks = block_terms(q, p, z)
            units = self.over_draws((log_q - log_p).unsqueeze(-1) if blocks is None else blocks)
        else:
            z = self.draws(q)
        log_likelihood = self.over_draws(model.log_likelihood(z, batch))
        kl = units.sum(-1)
        bound = log_likelihood - self.beta(t) * (self.floored(units) if self.free_bits else kl)
        return bound, {"elbo": log_likelihood - kl, "log_likelihood": log_likelihood, "kl": kl}

    def floored(self, units: Tensor) -> Tensor:
        """Σ_j max(λ, mean over the batch of KL_j), spread over the batch: [B, G] to [B]."""
        return torch.where(gathered(units).mean(0) > self.free_bits, units, self.free_bits).sum(-1)


class EntropyELBO(Bound):
    r"""The ELBO, regularised by the entropy of the posterior.

    .. math:: \mathbb E_{q}[\log p(x, z)] + \mathbb H[q(z \mid x)]

    The entropy is in closed form where there is one, else the same samples estimate it.

    References:
        Jordan et al. (1999), An Introduction to Variational Methods for Graphical Models; Blei, Kucukelbir and McAuliffe
        (2017), Variational Inference, equation 13.

    Example:
        >>> from uncollapse.networks import Bias
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), Bias), posteriors.Gaussian(2, (4,), Bias))
        >>> sorted(EntropyELBO(vae)(torch.ones(3, 4), torch.tensor(0))[1])
        ['elbo', 'entropy', 'log_joint']
    """

    def forward(self, batch: Tensor | Batch, t: Tensor, parameters: Tensor | None = None) -> tuple[Tensor, Logged]:
        model = self.model
        q = self.infer(batch, parameters)
        p = model.prior_for(batch)
        try:
            entropy, z = q.entropy(), self.draws(q)
            log_p = p.log_prob(z)
        except NotImplementedError:
            z, log_q, log_p = self.scored_draws(q, p)
            entropy = -self.over_draws(log_q)
        log_joint = self.over_draws(model.log_likelihood(z, batch) + log_p)
        elbo = log_joint + entropy
        return elbo, {"elbo": elbo, "log_joint": log_joint, "entropy": entropy}


class JointELBO(Bound):
    r"""Joint matching: minus the divergence of q(z, x) = p_d(x) q(z|x) from p(x, z), which is the ELBO plus the data's entropy.

    .. math:: -\mathrm{KL}(q(z, x) \,\|\, p(x, z)) = \mathbb E_{p_d}\left[\mathbb E_{q}[\log p(x, z) - \log q(z \mid x)]\right]
              + \mathbb H[p_d]

    Args:
        model: The model and posterior.
        k: Monte Carlo samples K per observation.
        data_entropy: :math:`\mathbb H[p_d]` in nats, log N for N different observations. It moves the value, never a gradient.

    References:
        Zhao, Song and Ermon (2019), InfoVAE, section 2; Hoffman and Johnson (2016), ELBO surgery.

    Example:
        >>> from uncollapse.networks import Bias
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), Bias), posteriors.Gaussian(2, (4,), Bias))
        >>> round(JointELBO(vae, data_entropy=math.log(10))(torch.ones(3, 4), torch.tensor(0))[0][0].item(), 4)
        -0.47
    """

    def __init__(self, model: VAE, k: int = 1, data_entropy: float = 0.0):
        super().__init__(model, k)
        self.data_entropy = data_entropy

    def forward(self, batch: Tensor | Batch, t: Tensor, parameters: Tensor | None = None) -> tuple[Tensor, Logged]:
        terms = self.model.terms(batch, self.k, self.infer(batch, parameters))
        elbo = terms.log_w.mean(0)
        kl = (terms.log_posterior - terms.log_prior).mean(0)
        logged = {"elbo": elbo, "log_likelihood": terms.log_likelihood.mean(0), "kl": kl}
        return elbo + self.data_entropy, logged


class IWAE(Bound):
    r"""The importance-weighted bound, tighter than the ELBO for K > 1.

    .. math:: \mathbb E\left[\log \frac1K \sum_{k=1}^K w_k\right], \quad w_k = \frac{p(x, z_k)}{q(z_k \mid x)}

    Args:
        model: The model and posterior whose bound it is.
        k: Importance samples K per observation.
        doubly_reparameterized: Take for the encoder the gradient with :math:`\tilde w_k^2` as weights on the path through
            :math:`z_k`, whose signal does not vanish as K grows; the bound and the decoder's gradient are the same.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, equations 8 and 14; the gradient: Tucker et
        al. (2019), Doubly Reparameterized Gradient Estimators, equation 8.

    Example:
        >>> from uncollapse.networks import Bias
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), Bias), posteriors.Gaussian(2, (4,), Bias))
        >>> bound, logged = IWAE(vae, k=5)(torch.ones(3, 4), torch.tensor(0))
        >>> round(bound[0].item(), 4), bool((bound >= logged["elbo"]).all())
        (-2.7726, True)
    """

    selects: ClassVar[str] = "iwae"

    def __init__(self, model: VAE, k: int = 50, doubly_reparameterized: bool = False):
        super().__init__(model, k)
        if doubly_reparameterized and model.posterior.density is not Density.EXACT:
            raise ValueError("doubly_reparameterized needs an exact log q(z|x); leave it false with this posterior")
        if doubly_reparameterized and not model.posterior.self_contained:
            raise ValueError(
                "doubly_reparameterized needs a q(z|x) whose parameters are all given by the encoder, this one has weights of "
                "its own beside them; leave it false, or write --posterior.transform Planar or Radial"
            )
        self.doubly_reparameterized = doubly_reparameterized

    def forward(self, batch: Tensor | Batch, t: Tensor, parameters: Tensor | None = None) -> tuple[Tensor, Logged]:
        if self.doubly_reparameterized:
            terms, surrogate = self._doubly_reparameterized(batch, parameters)
        else:
            terms, surrogate = self.model.terms(batch, self.k, self.infer(batch, parameters)), None
        bound = terms.log_w.logsumexp(0) - math.log(self.k)
        kl = (terms.log_posterior - terms.log_prior).mean(0)
        logged = {"iwae": bound, "elbo": terms.log_w.mean(0), "log_likelihood": terms.log_likelihood.mean(0), "kl": kl}
        return bound if surrogate is None else surrogate - surrogate.detach() + bound.detach(), logged

    def _doubly_reparameterized(self, batch: Tensor | Batch, parameters: Tensor | None) -> tuple[Terms, Tensor]:
        """The terms, and a surrogate [B] whose gradient is Tucker et al.'s for the encoder and the usual one for the model.

        The density of q is taken at stopped parameters; a hook on the draws turns the weights of the path through them from
        w̃ to w̃².
        """
        posterior = self.model.posterior
        parameters = self.model.encode_parameters(batch) if parameters is None else parameters
        drawn = start(posterior.at(parameters), Size((self.k,)))
        z, log_q, log_p = score(posterior.at(parameters.detach()), self.model.prior_for(batch), drawn)
        terms = Terms(self.model.log_likelihood(z, batch), log_p, log_q, z)
        weights = terms.log_w.detach().softmax(0)
        if drawn.requires_grad:
            drawn.register_hook(lambda gradient: weights.unsqueeze(-1) * gradient)
        return terms, (weights * terms.log_w).sum(0)
