"""Objectives whose divergence a critic estimates, and the procedure that trains both."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Size, Tensor, nn

from uncollapse.distributions import Posterior
from uncollapse.divergences.critics import Critic, DensityRatio, Game, NonSaturating
from uncollapse.networks import Factory
from uncollapse.vae.inference import Procedure, Update
from uncollapse.vae.model import VAE
from uncollapse.vae.objectives import Logged, Objective


class Adversarial(Objective):
    """The reconstruction less a divergence from the prior, estimated by a critic of draws of both: no density of q is needed.

    The critic's logit is positive for the prior's draws. Its estimate is right at the optimal critic only, and no bound before.

    Args:
        model: The model and posterior.
        network: Factory of the critic's network.
        game: What the posterior minimises.
        shapes: Shapes of what the critic sees.

    Raises:
        ValueError: If the prior is learned: the objective holds no log p(z) that would train it.
    """

    selects: ClassVar[str] = "objective"

    def __init__(self, model: VAE, network: Factory, game: Game, shapes: list[Size]):
        super().__init__(model)
        if any(p.requires_grad for p in model.prior.parameters()):
            raise ValueError(
                f"{type(self).__name__} never sees log p(z), so nothing would train {type(model.prior).__name__}; write "
                "--prior Normal, or an objective with the divergence itself (ELBO, InfoVAE)"
            )
        self.critic, self.game = Critic(shapes, network), game
        self.network = self.critic.network

    @abstractmethod
    def seen(self, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        """What of a pair x [B, *shape], z [B, L] the critic sees."""

    def posterior_draws(self, x: Tensor, parameters: Tensor | None = None) -> Tensor:
        """One z of q(z|x) for each observation, [B, L]."""
        posterior: Posterior = self.model.posterior
        return (posterior(x) if parameters is None else posterior.at(parameters)).rsample()

    def forward(self, x: Tensor, t: Tensor, parameters: Tensor | None = None) -> tuple[Tensor, Logged]:
        z = self.posterior_draws(x, parameters)
        log_likelihood = self.model.likelihood(z).log_prob(x)
        logit = self.critic(*self.seen(x, z))
        bound = log_likelihood - self.game.generator(logit)
        estimate = -logit.detach()
        return bound, {"objective": log_likelihood + logit.detach(), "log_likelihood": log_likelihood, "divergence": estimate}


class AdversarialAutoencoder(Adversarial):
    r"""The adversarial autoencoder: the aggregated posterior q(z) plays the prior before a critic of z.

    .. math:: \mathbb E_q[\log p(x \mid z)] - \mathbb E_{q(z)}[g(a(z))], \qquad
              a^*(z) = \log \frac{p(z)}{q(z)}, \quad q(z) = \mathbb E_{p_d}[q(z \mid x)]

    with the game's g; with `DensityRatio` and the optimal critic it is
    :math:`\mathbb E_q[\log p(x \mid z)] - \mathrm{KL}(q(z) \,\|\, p(z))`, the ELBO plus the mutual information of x and z. So
    it is no bound on log p(x). What it logs as `objective` has that divergence, whatever the game is.

    Args:
        model: The model and posterior, which may be any that can be sampled with a gradient.
        network: Factory of the critic's network, called with the latent's shape and (1,).
        game: `NonSaturating` as in the paper, `Saturating` or `DensityRatio`.

    References:
        Makhzani et al. (2016), Adversarial Autoencoders, section 2.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), MLP), posteriors.Gaussian(2, (4,), MLP))
        >>> bound, logged = AdversarialAutoencoder(vae, MLP)(torch.ones(3, 4), torch.tensor(0))
        >>> bound.shape, sorted(logged)
        (torch.Size([3]), ['divergence', 'log_likelihood', 'objective'])
    """

    def __init__(self, model: VAE, network: Factory, game: Game = NonSaturating()):
        super().__init__(model, network, game, [Size((model.prior.features,))])

    def seen(self, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
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
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), MLP), posteriors.Gaussian(2, (4,), MLP))
        >>> AdversarialVariationalBayes(vae, MLP)(torch.ones(3, 4), torch.tensor(0))[0].shape
        torch.Size([3])
    """

    def __init__(self, model: VAE, network: Factory):
        super().__init__(model, network, DensityRatio(), [model.likelihood.shape, Size((model.prior.features,))])

    def seen(self, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        return x, z


class Judgement(nn.Module):
    """The critic's side of an adversarial objective: minus its loss, for each observation."""

    def __init__(self, critic: Critic, game: Game):
        super().__init__()
        self.critic, self.game = critic, game

    def forward(self, real: tuple[Tensor, ...], fake: tuple[Tensor, ...]) -> Tensor:
        return -self.game.critic(self.critic(*real), self.critic(*fake))


class Alternating(Procedure):
    r"""Alternating steps: a critic learns to tell the posterior's draws from the prior's, then θ and φ climb by its word.

    .. math:: \psi \leftarrow \psi - \eta \, \nabla_\psi \tfrac1B \sum_i \ell_\psi(x_i, z_i, \tilde z_i), \qquad
              (\theta, \phi) \leftarrow (\theta, \phi) + \eta \, \nabla_{\theta, \phi} \tfrac1B \sum_i \mathcal L(x_i)

    The critic has an update, so an optimiser, of its own.

    Args:
        objective: `AdversarialAutoencoder` or `AdversarialVariationalBayes`.
        steps: Steps of the critic for one of the model, on the same batch with new draws.

    Raises:
        ValueError: If the objective has no critic, or steps is not positive.

    References:
        Makhzani et al. (2016), section 2; Mescheder et al. (2017), algorithm 1.

    Example:
        >>> import uncollapse as uc
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> _ = torch.manual_seed(0)
        >>> data = uc.data.from_arrays(torch.arange(100).remainder(2)[:, None].repeat(1, 4))
        >>> vae = VAE(Normal(1), Bernoulli(1, (4,), MLP), posteriors.Gaussian(1, (4,), MLP))
        >>> fitted = uc.fit(Alternating(AdversarialAutoencoder(vae, MLP)), data, uc.Training(steps=20, batch_size=20))
        >>> 1.0 < fitted.lines[0]["critic_loss"] < 1.5  # near 2 log 2 = 1.39, of a critic that cannot tell
        True
    """

    plays: ClassVar[bool] = True

    def __init__(self, objective: Objective, steps: int = 1):
        super().__init__(objective)
        if not isinstance(objective, Adversarial):
            raise ValueError(
                f"Alternating expects an objective with a critic, came {type(objective).__name__}; write --objective "
                "AdversarialAutoencoder, or --procedure Amortized"
            )
        if steps < 1:
            raise ValueError(f"expected at least 1 step of the critic, came {steps}")
        self.steps, self.adversarial = steps, objective
        self.judgement: nn.Module = Judgement(objective.critic, objective.game)
        self.criticise: Update | None = None

    def connect(self, wrap: Callable[[nn.Module], nn.Module], update: Callable[[Iterable[nn.Parameter]], Update]) -> None:
        critic = self.adversarial.critic
        self.judgement = wrap(self.judgement)
        critic.requires_grad_(False)  # so that the model's side does not wait for gradients of the critic
        super().connect(wrap, update)
        critic.requires_grad_(True)
        self.criticise = update(critic.parameters())

    def parameters(self) -> list[nn.Parameter]:
        held = {id(p) for p in self.adversarial.critic.parameters()}
        return [p for p in super().parameters() if id(p) not in held]

    def state(self) -> dict[str, Tensor]:
        return {f"critic.{name}": value for name, value in self.adversarial.critic.state_dict().items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        critic = {name.removeprefix("critic."): v for name, v in state.items() if name.startswith("critic.")}
        self.adversarial.critic.load_state_dict(critic)

    def step(self, x: Tensor, t: Tensor) -> Logged:
        losses = [self.judge(x) for _ in range(self.steps)]
        critic = self.adversarial.critic.requires_grad_(False)
        bound, logged = self.forward(x, t)
        self.ascend(bound)
        critic.requires_grad_(True)
        return {name: value.detach() for name, value in logged.items()} | {"critic_loss": losses[-1]}

    def judge(self, x: Tensor) -> Tensor:
        """One step of the critic; returns its loss [B] before it, 2 log 2 nats where it cannot tell."""
        objective = self.adversarial
        with torch.no_grad():
            z, prior = objective.posterior_draws(x), self.objective.model.prior().sample(Size((len(x),)))
        judged = self.judgement(objective.seen(x, prior), objective.seen(x, z))
        if self.criticise is None:
            raise RuntimeError("a procedure learns within fit(procedure, data); call that")
        self.criticise(-judged.mean())
        return -judged.detach()
