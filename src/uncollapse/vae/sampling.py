"""Learning from samples of the posterior itself: HMC starts where the encoder points, and the decoder sees where it ends."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from uncollapse.data import Batch
from uncollapse.distributions import HMC
from uncollapse.distributions.still import evaluating, frozen
from uncollapse.learning import Logged, MakeUpdate, Objective
from uncollapse.vae.apart import Apart
from uncollapse.vae.model import VAE

REFUSED = 3  # lines of the log without an accepted proposal, after which a training stops


class LogJoint(nn.Module):
    """log p(x, z) of a model as a module, so that it can be wrapped for devices, processes and compilation."""

    def __init__(self, model: VAE):
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, z: Tensor) -> Tensor:
        return self.model.log_joint(batch, z)


class MonteCarloEM(Apart):
    r"""Monte Carlo EM with an amortised start: θ learns from draws of HMC on p(z|x), φ from the ELBO where they begin.

    .. math:: z_0 \sim q_\phi(z \mid x), \quad z_T \sim \mathrm{HMC}^T(z_0;\, p_\theta(z \mid x)), \qquad
              \theta \leftarrow \theta + \eta \, \nabla_\theta \tfrac1B \sum_i \log p_\theta(x_i, z_{T, i}), \quad
              \phi \leftarrow \phi + \eta \, \nabla_\phi \tfrac1B \sum_i \mathcal L_{\theta, \phi}(x_i)

    As T grows the gradient of θ goes to that of :math:`\log p_\theta(x)` itself, whatever q is: the posterior that trains the
    decoder is implicit, and no longer bound to a family. The sampler adapts its step size to its target acceptance; both are
    logged. The model is in eval() while chains run. A training whose chains never move is stopped.

    Args:
        objective: What the encoder climbs, of a model with an encoder; evaluations and the diagnosis see that encoder.
        sampler: Factory of the sampler.
        transitions: Number T of transitions for each observation and step; 0 is amortised inference by draws.

    Raises:
        ValueError: If no encoder learns, the latent lives on an interval, or transitions is negative.

    References:
        Hoffman (2017), Learning Deep Latent Gaussian Models with Markov Chain Monte Carlo, algorithm 1.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> from uncollapse.vae import ELBO
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), MLP), posteriors.Gaussian(2, (4,), MLP))
        >>> MonteCarloEM(ELBO(vae), transitions=2).settled(torch.ones(3, 4))[0].shape
        torch.Size([3, 2])
    """

    chains = True

    def __init__(self, objective: Objective, sampler: Callable[[], HMC] = HMC, transitions: int = 1):
        super().__init__(objective)
        if transitions < 0:
            raise ValueError(f"expected at least 0 transitions, came {transitions}")
        model: VAE = objective.model
        if hasattr(model.prior.support, "lower_bound"):
            raise ValueError(
                f"HMC moves on the real line, the latent of {type(model.prior).__name__} lives on an interval; write --prior "
                "Normal, or --procedure Amortized"
            )
        self.sampler, self.transitions, self.refused = sampler(), transitions, 0
        self.of_theta = LogJoint(model)

    def connect(self, wrap: Callable[[nn.Module], nn.Module], update: MakeUpdate) -> None:
        super().connect(wrap, update)
        self.sampler.to(self.phi[0].device)

    def step(self, batch: Batch, t: Tensor) -> Logged:
        z, acceptance = self.settled(batch)
        with frozen(self.theta), evaluating(self.objective.model.likelihood):  # what the decoder keeps is of the chains' ends
            bound, logged = self.of_phi(batch, t)
        with frozen(self.phi):
            log_joint = self.of_theta(batch, z)
        self.ascend(bound + log_joint)
        values = {name: value.detach() for name, value in logged.items()}
        step_size = self.sampler.step_size.expand(1)
        return {**values, "settled_log_joint": log_joint.detach(), "acceptance": acceptance, "step_size": step_size}

    def settled(self, batch: Tensor | Batch) -> tuple[Tensor, Tensor]:
        """Where a chain of each observation ends, [B, L], and its mean acceptance probability [B]."""
        model = self.objective.model
        with evaluating(model), frozen(self.objective.parameters()):
            with torch.no_grad():
                start = model.infer(batch).sample()
            if not self.transitions:
                return start, start.new_ones(len(start))
            return self.sampler(lambda z: model.log_joint(batch, z), start, self.transitions)

    def measure(self, batch: Batch, t: Tensor) -> None:
        """At the chains' ends, which the decoder learns from; the sampler stays as it is."""
        with evaluating(self.sampler):
            z, _ = self.settled(batch)
        self.objective.model.log_joint(batch, z)

    def complaint(self, values: dict[str, float]) -> str | None:
        self.refused = self.refused + 1 if values.get("acceptance", 1.0) < 1e-3 else 0
        if self.refused < REFUSED:
            return None
        return (
            f"HMC accepted none of its proposals in {REFUSED} lines of the log, its step size is "
            f"{values['step_size']:.3g}: write --procedure.sampler.step_size with a tenth of it, or fewer leapfrogs"
        )

    def state(self) -> dict[str, Tensor]:
        return {f"sampler.{name}": value for name, value in self.sampler.state_dict().items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.sampler.load_state_dict({k.removeprefix("sampler."): v for k, v in state.items() if k.startswith("sampler.")})
