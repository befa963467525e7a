"""Objectives of a VAE whose divergence a critic estimates; `Alternating` trains both."""

from abc import abstractmethod
from typing import ClassVar

from torch import Size, Tensor

from uncollapse.data import Batch, as_batch
from uncollapse.divergences import Critic, DensityRatio, Game, NonSaturating, Saturating, Things
from uncollapse.learning import Logged, TwoPlayer
from uncollapse.networks import Factory
from uncollapse.vae.model import VAE
from uncollapse.vae.objectives import OfVAE


class Adversarial(OfVAE, TwoPlayer):
    """The reconstruction less a divergence from the prior, estimated by a critic of draws of both: no density of q is needed.

    The critic's logit is positive for the prior's draws. Its estimate is right at the optimal critic only, and no bound before.

    Args:
        model: The model and posterior.
        network: Factory of the critic's network.
        game: What the posterior minimises.
        shapes: Shapes of what the critic sees.
        lam: Weight λ of the game beside the reconstruction.

    Raises:
        ValueError: If the prior is learned: the objective holds no log p(z) that would train it. If the posterior does not
            learn, or the critic's logit would be no log density ratio.
    """

    selects: ClassVar[str] = "objective"

    def __init__(self, model: VAE, network: Factory, game: Game, shapes: list[Size], lam: float = 1.0):
        super().__init__(model, Critic(shapes, network), game)
        if not lam > 0:
            raise ValueError(f"expected lam above 0, came {lam}; 1 weighs the game like a divergence in nats")
        self.lam = lam
        if not isinstance(game, (NonSaturating, Saturating, DensityRatio)):
            raise ValueError(
                f"{type(self).__name__} reads its divergence off a critic whose logit is a log density ratio, that of "
                f"{type(game).__name__} is none; write --objective.game NonSaturating"
            )
        if any(p.requires_grad for p in model.prior.parameters()):
            raise ValueError(
                f"{type(self).__name__} never sees log p(z), so nothing would train {type(model.prior).__name__}; write "
                "--prior Normal, or an objective with the divergence itself (ELBO, InfoVAE)"
            )
        if not any(p.requires_grad for p in model.posterior.parameters()):
            raise ValueError(
                f"{type(self).__name__} plays against an encoder, {type(model.posterior).__name__} has none that learns; write "
                "--posterior Gaussian"
            )

    @abstractmethod
    def seen(self, batch: Tensor | Batch, z: Tensor) -> Things:
        """What of pairs of x [B, *shape] and z [B, L] the critic sees."""

    def posterior_draws(self, batch: Tensor | Batch, parameters: Tensor | None = None) -> Tensor:
        """One z of q(z|x) for each observation, [B, L]."""
        model: VAE = self.model
        return (model.infer(batch) if parameters is None else model.posterior.at(parameters)).rsample()

    def pairs(self, batch: Tensor | Batch) -> tuple[Things, Things]:
        z = self.posterior_draws(batch)
        return self.seen(batch, self.model.prior_for(batch).sample(Size((as_batch(batch).n,)))), self.seen(batch, z)

    def forward(self, batch: Tensor | Batch, t: Tensor, parameters: Tensor | None = None) -> tuple[Tensor, Logged]:
        z = self.posterior_draws(batch, parameters)
        log_likelihood = self.model.log_likelihood(z, batch)
        logit = self.critic(*self.seen(batch, z), t=t)
        bound = log_likelihood - self.lam * self.game.generator(logit)
        estimate = -logit.detach()
        objective = log_likelihood + self.lam * logit.detach()
        return bound, {"objective": objective, "log_likelihood": log_likelihood, "divergence": estimate}


class AdversarialAutoencoder(Adversarial):
    r"""The adversarial autoencoder: the aggregated posterior q(z) plays the prior before a critic of z.

    .. math:: \mathbb E_q[\log p(x \mid z)] - \lambda\, \mathbb E_{q(z)}[g(a(z))], \qquad
              a^*(z) = \log \frac{p(z)}{q(z)}, \quad q(z) = \mathbb E_{p_d}[q(z \mid x)]

    with the game's g; with `DensityRatio`, λ = 1 and the optimal critic it is
    :math:`\mathbb E_q[\log p(x \mid z)] - \mathrm{KL}(q(z) \,\|\, p(z))`, the ELBO plus the mutual information of x and z. So
    it is no bound on log p(x). What it logs as `objective` has that divergence, whatever the game is. The paper gives
    reconstruction and game an update each, whose optimiser makes them equally strong; here they share one, and λ weighs them.

    Args:
        model: The model and posterior, which may be any that can be sampled with a gradient.
        network: Factory of the critic's network, called with the latent's shape and (1,).
        game: `NonSaturating` as in the paper, `Saturating` or `DensityRatio`.
        lam: Weight λ of the game; above 1 where reconstructions cost hundreds of nats.

    References:
        Makhzani et al. (2016), Adversarial Autoencoders, section 2; λ: Tolstikhin et al. (2018), Wasserstein Auto-Encoders,
        algorithm 1.

    Example:
        >>> import torch
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), MLP), posteriors.Gaussian(2, (4,), MLP))
        >>> bound, logged = AdversarialAutoencoder(vae, MLP)(torch.ones(3, 4), torch.tensor(0))
        >>> bound.shape, sorted(logged)
        (torch.Size([3]), ['divergence', 'log_likelihood', 'objective'])
    """

    def __init__(self, model: VAE, network: Factory, game: Game = NonSaturating(), lam: float = 1.0):
        super().__init__(model, network, game, [Size((model.prior.features,))], lam)

    def seen(self, batch: Tensor | Batch, z: Tensor) -> Things:
        return (z,)


class AdversarialVariationalBayes(Adversarial):
    r"""Adversarial variational Bayes: a critic of pairs (x, z) estimates log q(z|x) - log p(z), so q needs no density.

    .. math:: \mathbb E_q[\log p(x \mid z) + a(x, z)], \qquad a^*(x, z) = \log \frac{p(z)}{q(z \mid x)}

    The critic tells pairs of q(z|x) p_d(x) from pairs of p(z) p_d(x). At the optimal critic it is the ELBO, and its gradient
    for the posterior is the ELBO's too, since the mean of the critic's own change is zero there.

    Args:
        model: The model and posterior, which may be any that can be sampled with a gradient.
        network: Factory of the critic's network, called with the number of features of x and z together, and (1,).

    References:
        Mescheder, Nowozin and Geiger (2017), Adversarial Variational Bayes, equations 3.3 to 3.7 and proposition 2. Their T is
        minus this logit.

    Example:
        >>> import torch
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), MLP), posteriors.Gaussian(2, (4,), MLP))
        >>> AdversarialVariationalBayes(vae, MLP)(torch.ones(3, 4), torch.tensor(0))[0].shape
        torch.Size([3])
    """

    def __init__(self, model: VAE, network: Factory):
        super().__init__(model, network, DensityRatio(), [model.likelihood.shape, Size((model.prior.features,))])

    def seen(self, batch: Tensor | Batch, z: Tensor) -> Things:
        return as_batch(batch).x, z
