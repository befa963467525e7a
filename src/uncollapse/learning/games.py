"""Games between a model and a critic: the objective that holds both sides, and the lecture's algorithms 3 and 4."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from uncollapse.data import Batch
from uncollapse.divergences import Critic, Game, Judged, Penalty, Things
from uncollapse.learning.objective import Logged, Objective
from uncollapse.learning.procedure import MakeUpdate, Procedure, Update
from uncollapse.processes import mean_over_processes
from uncollapse.schedules import Schedule


class Judgement(nn.Module):
    """The critic's side of a game: minus its loss and its penalties, for each logit.

    Args:
        critic: The critic.
        game: What it minimises.
        penalties: What is added to that: of the gradient with respect to the things themselves, before they are augmented.
        augmented: What the things go through before the critic; None: nothing.
    """

    def __init__(
        self,
        critic: Critic,
        game: Game,
        penalties: Sequence[Penalty] = (),
        augmented: Callable[[Things], Things] | None = None,
    ):
        super().__init__()
        self.critic, self.game, self.penalties, self.augmented = critic, game, list(penalties), augmented

    def logits(self, things: Things, t: Tensor) -> Tensor:
        """The critic's logits of things [B, *shape], augmented first: [B / m] with packs of m."""
        return self.critic(*(things if self.augmented is None else self.augmented(things)), t=t)

    def forward(self, real: Things, fake: Things, t: Tensor) -> tuple[Tensor, Logged]:
        """What the critic maximises, and what to log of it: things [B, *shape] each to [B / m] with packs of m."""
        if self.penalties:
            return self._penalised(real, fake, t)
        return self._scored(self.logits(real, t), self.logits(fake, t))

    def _penalised(self, real: Things, fake: Things, t: Tensor) -> tuple[Tensor, Logged]:
        n = len(real) - self.critic.conditions  # a row's condition is the same of real and fake

        def judge(things: Things) -> Tensor:
            return self.logits((*things, *real[n:]), t)

        a, b = Judged.by(judge, real[:n]), Judged.by(judge, fake[:n])
        bound, logged = self._scored(a.logits, b.logits)
        penalty = torch.stack([penalty(judge, a, b, t) for penalty in self.penalties]).sum(0)
        return bound - penalty, logged | {"penalty": penalty}

    def _scored(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Logged]:
        loss = self.game.critic(real, fake)
        return -loss, {"critic_loss": loss, "critic_real": real, "critic_fake": fake}


class TwoPlayer(Objective):
    """An objective whose distance a critic estimates. Its forward is the model's side, `judgement` the critic's.

    Args:
        model: The model whose objective it is.
        critic: The critic; its network is what is written down.
        game: What both players minimise.
        penalties: What the critic's loss is raised by.
    """

    def __init__(self, model: nn.Module, critic: Critic, game: Game, penalties: Sequence[Penalty] = ()):
        super().__init__(model)
        # which alone holds the critic: its weights have one name
        self.judgement = Judgement(critic, game, penalties, self.augmented)
        self.game, self.penalties = game, self.judgement.penalties

    @property
    def critic(self) -> Critic:
        """The critic."""
        return self.judgement.critic

    @property
    def network(self) -> nn.Module:
        """The critic's network."""
        return self.critic.network

    @abstractmethod
    def pairs(self, batch: Tensor | Batch) -> tuple[Things, Things]:
        """What the critic is to tell apart, of a batch: the real things and the fakes, not yet augmented."""

    def augmented(self, things: Things) -> Things:
        """The things as the critic sees them: as they are, unless a subclass has an augmentation."""
        return things

    def passes(self, batch: Batch, t: Tensor) -> None:
        for things in self.pairs(batch):
            self.judgement.logits(things, t)
        super().passes(batch, t)

    def schedules(self) -> Iterator[Schedule]:
        yield from super().schedules()
        yield self.critic.noise
        for penalty in self.penalties:
            yield from (value for value in vars(penalty).values() if isinstance(value, Schedule))

    def charges(self) -> Iterator[Schedule]:
        return iter(())  # a game is diagnosed while its noise fades

    def after_critic(self, logged: Logged) -> None:
        """Called after each step of the critic, with what was logged of it."""
        self.critic.constrain()


class Alternating(Procedure):
    r"""Algorithm 4, alternating steps: the critic learns to tell fakes from real, then θ (and φ) move by its word.

    .. math:: \psi \leftarrow \psi - \eta_\psi \, \nabla_\psi \tfrac1B \sum_i \ell_\psi(x_i, \tilde x_i), \qquad
              (\theta, \phi) \leftarrow (\theta, \phi) + \eta \, \nabla_{\theta, \phi} \tfrac1B \sum_i \mathcal L(x_i)

    The critic has an update, so an optimiser, of its own. Each of its steps sees another batch.

    Args:
        objective: One with a critic: of a GAN, or adversarial of a VAE.
        steps: Steps K of the critic for each turn of the model.
        model_steps: Steps of the model in its turn, with new draws.
        critic_rate: Learning rate of the critic in units of the model's: two time scales.

    Raises:
        ValueError: If the objective has no critic, or a number is out of range.

    References:
        Goodfellow et al. (2014), algorithm 1; Heusel et al. (2017), GANs Trained by a Two Time-Scale Update Rule; for a VAE,
        Makhzani et al. (2016), section 2, and Mescheder et al. (2017), algorithm 1.

    Example:
        >>> import uncollapse as uc
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> from uncollapse.vae import VAE, AdversarialAutoencoder
        >>> _ = torch.manual_seed(0)
        >>> data = uc.data.from_arrays(torch.arange(100).remainder(2)[:, None].repeat(1, 4))
        >>> vae = VAE(Normal(1), Bernoulli(1, (4,), MLP), posteriors.Gaussian(1, (4,), MLP))
        >>> fitted = uc.fit(Alternating(AdversarialAutoencoder(vae, MLP)), data, uc.Training(steps=20, batch_size=20))
        >>> 1.0 < fitted.lines[0]["critic_loss"] < 1.5  # near 2 log 2 = 1.39, of a critic that cannot tell
        True
    """

    plays: ClassVar[bool] = True

    def __init__(self, objective: Objective, steps: int = 1, model_steps: int = 1, critic_rate: float = 1.0):
        super().__init__(objective)
        if not isinstance(objective, TwoPlayer):
            raise ValueError(
                f"{type(self).__name__} expects an objective with a critic, came {type(objective).__name__}; write --objective "
                "AdversarialAutoencoder, or --procedure Amortized"
            )
        if steps < 1 or model_steps < 1 or critic_rate <= 0:
            raise ValueError(
                f"expected at least 1 step of the critic and of the model and a critic_rate above 0, came steps={steps}, "
                f"model_steps={model_steps}, critic_rate={critic_rate}"
            )
        self.steps, self.model_steps, self.critic_rate, self.players = steps, model_steps, critic_rate, objective
        self.judgement: nn.Module = objective.judgement
        self.criticise: Update | None = None

    def connect(self, wrap: Callable[[nn.Module], nn.Module], update: MakeUpdate) -> None:
        critic = self.players.critic
        self.judgement = wrap(self.judgement)
        critic.requires_grad_(False)  # so that the model's side does not wait for gradients of the critic
        super().connect(wrap, update)
        critic.requires_grad_(True)
        self.criticise = update(critic.parameters(), self.critic_rate)

    def parameters(self) -> list[nn.Parameter]:
        held = {id(p) for p in self.players.critic.parameters()}
        return [p for p in super().parameters() if id(p) not in held]

    def state(self) -> dict[str, Tensor]:
        model = {f"model.{name}" for name in self.players.model.state_dict()}
        return {f"game.{name}": value for name, value in self.players.state_dict().items() if name not in model}

    def restore(self, state: dict[str, Tensor]) -> None:
        mine = {name.removeprefix("game."): v for name, v in state.items() if name.startswith("game.")}
        self.players.load_state_dict(mine, strict=False)

    def step(self, batch: Batch, t: Tensor) -> Logged:
        logged = self.judge(batch, t)
        for _ in range(1, self.steps):
            logged = self.judge(self.further(), t)
        return logged | self.turn(batch, t)

    def turn(self, batch: Batch, t: Tensor) -> Logged:
        """The model's turn: its steps by the critic's word."""
        critic = self.players.critic.requires_grad_(False)
        for _ in range(self.model_steps):
            bound, logged = self.forward(batch, t)
            self.ascend(bound)
        critic.requires_grad_(True)
        return {name: value.detach() for name, value in logged.items()}

    def judge(self, batch: Batch, t: Tensor) -> Logged:
        """One step of the critic; returns what it said before it."""
        if self.criticise is None:
            raise RuntimeError("a procedure learns within fit(procedure, data); call that")
        with torch.no_grad(), self.autocast():
            real, fake = self.players.pairs(batch)
        bound, logged = self.judgement(real, fake, t)
        self.criticise(-bound.mean())
        logged = {name: value.detach() for name, value in logged.items()}
        self.players.after_critic(logged)
        return logged


class OptimalCritic(Alternating):
    r"""Algorithm 3: before each step of the model the critic is trained until it is optimal.

    Optimal means here that it stopped improving: the mean of its loss over `window` steps is not lower than that of the window
    before by more than `tolerance` nats. That is looked at once a window, which waits for the device.

    Where the supports hardly overlap the optimal critic's word has no gradient, and trained on a fixed set it overfits: the
    lecture's two reasons for algorithm 4, and for `--objective.noise`.

    Args:
        objective: One with a critic.
        tolerance: Smallest improvement that counts, in nats.
        window: Steps of the critic whose losses are averaged.
        most: Largest number of steps before one of the model.
        critic_rate: Learning rate of the critic in units of the model's.

    References:
        Goodfellow et al. (2014), section 4; Arjovsky and Bottou (2017), Towards Principled Methods for Training Generative
        Adversarial Networks, theorem 2.4.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> from uncollapse.vae import VAE, AdversarialAutoencoder
        >>> vae = VAE(Normal(1), Bernoulli(1, (4,), MLP), posteriors.Gaussian(1, (4,), MLP))
        >>> OptimalCritic(AdversarialAutoencoder(vae, MLP), tolerance=1e-3).most
        200
    """

    def __init__(
        self, objective: Objective, tolerance: float = 1e-2, window: int = 10, most: int = 200, critic_rate: float = 1.0
    ):
        super().__init__(objective, critic_rate=critic_rate)
        if tolerance < 0 or window < 1 or most < window:
            raise ValueError(
                f"expected tolerance >= 0 and most >= window >= 1, came tolerance={tolerance}, window={window}, most={most}"
            )
        self.tolerance, self.window, self.most = tolerance, window, most

    def step(self, batch: Batch, t: Tensor) -> Logged:
        before, taken, logged = float("inf"), 0, {}
        while taken < self.most:
            losses = []
            for _ in range(min(self.window, self.most - taken)):
                logged = self.judge(self.further() if taken else batch, t)
                losses.append(logged["critic_loss"].mean())
                taken += 1
            now = float(mean_over_processes(torch.stack(losses).mean()))  # so that all processes stop together
            if not before - now > self.tolerance:
                break
            before = now
        return logged | self.turn(batch, t) | {"critic_steps": torch.full((1,), float(taken), device=t.device)}
