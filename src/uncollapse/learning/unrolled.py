"""Unrolled games: the model looks ahead at what the critic will say to its move."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import SGD, Adam, Optimizer

from uncollapse.data import Batch
from uncollapse.learning.games import Alternating
from uncollapse.learning.objective import Logged, Objective

State = dict[str, Tensor]
"""An optimiser's state of one parameter."""


class Unrolled(Alternating):
    r"""The unrolled GAN: θ climbs the objective under the critic that K steps of its optimiser would make, and through them.

    .. math:: \psi^{k+1} = \psi^k - \eta \, \nabla_\psi \ell(\psi^k, \theta), \qquad
              \theta \leftarrow \theta + \eta \, \nabla_\theta \mathcal L(\theta, \psi^K(\theta))

    Then the critic itself takes its one step, as ever. The optimiser's own rule is unrolled, from its state as it stands, and
    the gradient goes through it, through the clipping of the gradient's norm, and through that of the critic's weights. All K
    steps see the batch of the model's own step, with the same draws. K = 0 is the plain game, `Alternating`.

    Args:
        objective: One with a critic.
        unroll: Steps K that are looked ahead.
        steps: Steps of the critic for each turn of the model.
        critic_rate: Learning rate of the critic in units of the model's.

    Raises:
        ValueError: If K is negative; in training, if the optimiser has no rule here.

    References:
        Metz, Poole, Pfau and Sohl-Dickstein (2017), Unrolled Generative Adversarial Networks, equations 6 to 11.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> from uncollapse.vae import VAE, AdversarialAutoencoder
        >>> vae = VAE(Normal(1), Bernoulli(1, (4,), MLP), posteriors.Gaussian(1, (4,), MLP))
        >>> Unrolled(AdversarialAutoencoder(vae, MLP), unroll=5).unroll
        5
    """

    def __init__(self, objective: Objective, unroll: int = 5, steps: int = 1, critic_rate: float = 1.0):
        super().__init__(objective, steps=steps, critic_rate=critic_rate)
        if unroll < 0:
            raise ValueError(f"expected at least 0 steps to unroll, came {unroll}; 0 is the plain game")
        self.unroll = unroll

    def turn(self, batch: Batch, t: Tensor) -> Logged:
        if not self.unroll:
            return super().turn(batch, t)
        held = {id(p): name for name, p in self.forward.named_parameters()}
        ahead = self._ahead(batch, t)
        bound, logged = functional_call(self.forward, {held[key]: value for key, value in ahead.items()}, (batch, t))
        self.ascend(bound)
        return {name: value.detach() for name, value in logged.items()}

    def _ahead(self, batch: Batch, t: Tensor) -> dict[int, Tensor]:
        """The critic's weights after K steps, functions of θ, by the id of the parameter that each takes the place of."""
        update: Any = self.criticise
        optimizer: Optimizer = update.optimizer
        judgement, parameters = self.players.judgement, list(self.players.critic.parameters())
        names = {id(p): name for name, p in judgement.named_parameters()}
        with self.autocast():
            real, fake = self.players.pairs(batch)
        now: list[Tensor] = [p.detach().requires_grad_() for p in parameters]
        moments: list[State] = [dict(optimizer.state.get(p, {})) for p in parameters]
        for _ in range(self.unroll):
            given = {names[id(p)]: value for p, value in zip(parameters, now, strict=True)}
            bound, _ = functional_call(judgement, given, (real, fake, t))
            gradients = torch.autograd.grad(-bound.mean(), now, create_graph=True)
            now, moments = moved(optimizer, parameters, now, _clipped(gradients, getattr(update, "clip", None)), moments)
            now = self.players.critic.constrained(now)
        return {id(p): value for p, value in zip(parameters, now, strict=True)}


def _clipped(gradients: Sequence[Tensor], most: float | None) -> list[Tensor]:
    """Gradients whose norm, all together, is at most this: as torch's `clip_grad_norm_` has them, differentiable."""
    if most is None:
        return list(gradients)
    norm = (torch.stack([g.square().sum() for g in gradients]).sum() + 1e-30).sqrt()  # the root has no gradient at 0
    factor = (most / (norm + 1e-6)).clamp(max=1)
    return [g * factor for g in gradients]


def moved(
    optimizer: Optimizer, parameters: list[nn.Parameter], values: list[Tensor], gradients: list[Tensor], moments: list[State]
) -> tuple[list[Tensor], list[State]]:
    """One step of an optimiser's rule as a function: where `values` go, and its state after; nothing of its own is touched.

    Args:
        optimizer: Adam, AdamW or SGD, with any of their settings but amsgrad and nesterov.
        parameters: Its parameters, whose groups hold the settings.
        values: What stands in their place.
        gradients: Of the values.
        moments: Its state of each.

    Raises:
        ValueError: If the optimiser is another.
    """
    settings = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    rule = _adam if isinstance(optimizer, Adam) else _sgd if isinstance(optimizer, SGD) else None
    if rule is None or any(settings[id(p)].get("amsgrad") or settings[id(p)].get("nesterov") for p in parameters):
        raise ValueError(
            f"Unrolled knows the rules of Adam, AdamW and SGD, without amsgrad and nesterov, came {type(optimizer).__name__}; "
            "write --optimizer Adam"
        )
    stepped = [
        rule(value, -gradient if settings[id(p)]["maximize"] else gradient, state, settings[id(p)])
        for p, value, gradient, state in zip(parameters, values, gradients, moments, strict=True)
    ]
    return [value for value, _ in stepped], [state for _, state in stepped]


def _adam(value: Tensor, gradient: Tensor, state: State, group: dict[str, Any]) -> tuple[Tensor, State]:
    rate, (b1, b2), decay = group["lr"], group["betas"], group["weight_decay"]
    if decay and group["decoupled_weight_decay"]:
        value = value * (1 - rate * decay)
    elif decay:
        gradient = gradient + decay * value
    zero = torch.zeros_like(value)
    n = state.get("step", zero.new_zeros(())) + 1
    m = b1 * state.get("exp_avg", zero) + (1 - b1) * gradient
    v = b2 * state.get("exp_avg_sq", zero) + (1 - b2) * gradient.square()
    spread = (v / (1 - b2**n)).clamp_min(1e-30).sqrt()  # the root has no gradient at 0
    return value - rate / (1 - b1**n) * m / (spread + group["eps"]), {"step": n, "exp_avg": m, "exp_avg_sq": v}


def _sgd(value: Tensor, gradient: Tensor, state: State, group: dict[str, Any]) -> tuple[Tensor, State]:
    if group["weight_decay"]:
        gradient = gradient + group["weight_decay"] * value
    if group["momentum"]:
        before = state.get("momentum_buffer")
        gradient = gradient if before is None else group["momentum"] * before + (1 - group["dampening"]) * gradient
        state = {"momentum_buffer": gradient}
    return value - group["lr"] * gradient, state
