"""What a critic says of observations and draws that it was not trained on: evidence for the diagnosis of mode collapse."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from uncollapse.data import Batch, as_batch
from uncollapse.distributions.still import evaluating
from uncollapse.divergences import Critic, Game, Judged, Things
from uncollapse.gan import GAN
from uncollapse.gan.model import Drawn

SLOPES = 256  # observations, and draws, at which the critic's gradient is looked at


@dataclass(frozen=True)
class CriticEvidence:
    """A critic's numbers; None where there are none of the kind."""

    accuracy: float  # how often it ranks an observation above a draw
    gradient_real: float  # mean norm of its gradient for an observation
    gradient_fake: float  # for a draw
    divergence: float  # the game's lower bound of it, in the mean
    divergence_of: str  # which divergence that is, p the data and q the draws
    overfit: float | None = None  # how often it ranks a training observation above a held-out one, less a half
    probability_real: float | None = None  # mean D(x), where its number is the logit of a probability
    probability_fake: float | None = None  # mean D(G(z))
    real: float | None = None  # mean of its number at observations, where that is no logit
    fake: float | None = None  # at draws

    def as_dict(self) -> dict[str, Any]:
        """As plain values, each name behind `critic_`; what there is not is left out."""
        return {f"critic_{name}": value for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        """Two lines to read."""
        means = f"mean {self.real or 0:.2f} at data, {self.fake or 0:.2f} at draws"
        if self.probability_real is not None:
            means = f"D(x) {self.probability_real:.2f}, D(G(z)) {self.probability_fake:.2f}"
        return (
            f"critic               ranks data above draws {100 * self.accuracy:.0f} % of the time (50 %: it cannot tell)\n"
            f"                     {means}; gradient {self.gradient_real:.3g} at data, {self.gradient_fake:.3g} at draws; "
            f"{self.divergence_of} at least {self.divergence:.3f}"
        )


def critic_evidence(critic: Critic, game: Game, real: Things, fake: Things, train: Things | None = None) -> CriticEvidence:
    r"""What a critic says of things that it was not trained on, and what that tells of the game.

    Accuracy is the area under the ROC curve. D is :math:`\sigma(a)` of its number a where a is the logit of a probability. The
    gradient is :math:`\mathbb E \lVert \nabla_x a \rVert` for all that one number sees, a pack for instance, latents left out,
    over `SLOPES` things of each kind. The divergence is the mean of the game's `bound` over pairs, a lower bound in
    expectation, since no critic can do better than the best; with packs it is that between packs.

    Args:
        critic: The critic, in eval().
        game: What it minimises.
        real: Held-out things [n, *shape], whole packs.
        fake: As many of the model's draws.
        train: As many that it was trained on; None: nothing is told of overfitting.

    References:
        Goodfellow et al. (2014), Generative Adversarial Nets, theorem 1 (the divergence); Arjovsky and Bottou (2017), Towards
        Principled Methods for Training Generative Adversarial Networks, theorem 2.4 (gradients that vanish).

    Example:
        >>> from torch import Size
        >>> from uncollapse.divergences import NonSaturating
        >>> from uncollapse.networks import MLP
        >>> _ = torch.manual_seed(0)
        >>> x, critic = torch.randn(500, 2), Critic([Size((2,))], MLP)
        >>> found = critic_evidence(critic, NonSaturating(), (x[:250],), (x[250:],))
        >>> 0.45 < found.accuracy < 0.55, found.divergence_of, found.divergence < 0.01
        (True, 'JSD(p, q)', True)
    """
    with torch.no_grad():
        a, b = critic(*real), critic(*fake)
        overfit = None if train is None else above(critic(*train), a) - 0.5
        bound = float(game.bound(a.double(), b.double()).mean())
    means = [float((x.sigmoid() if game.logistic else x).double().mean()) for x in (a, b)]
    names = ("probability_real", "probability_fake") if game.logistic else ("real", "fake")
    told: dict[str, Any] = {"overfit": overfit, **dict(zip(names, means, strict=True))}
    return CriticEvidence(above(a, b), slope(critic, real), slope(critic, fake), bound, game.divergence, **told)


@torch.no_grad()
def game_evidence(
    objective: GAN, x: Tensor | Batch, drawn: Drawn | None = None, train: Tensor | Batch | None = None
) -> CriticEvidence | None:
    """What a game's critic says of held-out observations and as many draws; None of less than one pack.

    Args:
        objective: The game.
        x: Observations [n, *shape] that it was not trained on, with their conditions if there are any.
        drawn: The model's draws, as many and of the same conditions; None: new ones.
        train: Observations that it was trained on, as many or more; None: nothing is told of overfitting.
    """
    batch = as_batch(x)
    n = batch.n // objective.critic.pack * objective.critic.pack
    if not n:
        return None
    with evaluating(objective):
        batch = objective.model.embed(batch.rows(slice(n)))
        drawn = objective.model.draws(batch) if drawn is None else Drawn(*(part[:n] for part in drawn))
        rows = None if train is None else as_batch(train).rows(slice(n))
        seen = objective.reals(rows) if rows is not None and rows.n == n else None
        return critic_evidence(objective.critic, objective.game, objective.reals(batch), objective.fakes(drawn, batch), seen)


def above(a: Tensor, b: Tensor) -> float:
    """How often a number of a is larger than one of b, ties by half: the area under the ROC curve, whatever the game's scale.

    Example:
        >>> above(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0]))
        0.875
    """
    difference = (a.unsqueeze(1) - b).sign().double()
    return float(0.5 * (difference.mean() + 1))


def slope(critic: Critic, things: Things) -> float:
    """The mean norm of a critic's gradient for the first of some things, at most `SLOPES` of them, whole packs.

    Example:
        >>> from torch import Size, nn
        >>> critic = Critic([Size((2,))], lambda i, o: nn.Linear(2, 1))
        >>> with torch.no_grad():
        ...     _ = critic.network.weight.copy_(torch.tensor([[3.0, 4.0]]))
        >>> slope(critic, (torch.zeros(7, 2),))
        5.0
    """
    n = max(1, SLOPES // critic.pack) * critic.pack
    x, *rest = (thing.detach()[:n] for thing in things)
    judged = Judged.by(lambda seen: critic(*seen, *rest), (x,))
    with torch.enable_grad():
        squares = judged.squared_gradient()
    return float(squares.detach().double().sqrt().mean())
