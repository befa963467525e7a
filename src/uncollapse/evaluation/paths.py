"""Between a start r and the posterior p(z|x): the densities on the way, and chains that go it in either direction."""

from collections.abc import Iterator
from typing import NamedTuple, cast

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse.data import Batch, as_batch
from uncollapse.diagnosis import kind_of
from uncollapse.distributions import Density, LatentVariableModel, draw
from uncollapse.distributions.densities import Squeezed
from uncollapse.distributions.mcmc import LogDensity, Point, transition
from uncollapse.evaluation.annealing import Annealing
from uncollapse.evaluation.proposals import FromPosterior, FromPrior, Proposal, Widened
from uncollapse.vae import VAE

ROUNDED = 0.01  # largest share of latents at an end of their interval of which log q is told well enough: 0.05 nats a unit


class Path:
    r"""The densities between a start r and the posterior of a batch of images, each up to its constant.

    .. math:: \log f_\beta(z) = (1 - \beta) \log r(z) + \beta \log p(x, z)

    From the prior it is :math:`\log p(z) + \beta \log p(x \mid z)`.
    """

    def __init__(self, model: LatentVariableModel, batch: Tensor | Batch, start: Proposal):
        self.model, self.batch = model, as_batch(batch)
        with torch.no_grad():
            self.batch = model.embed(self.batch)
            self.prior: Distribution = model.prior_for(self.batch)
            self.r = self.prior
            if kind_of(model).measured_by == "likelihood" and not isinstance(start, FromPrior):
                self.r = start.at(cast(VAE, model), model.encode_parameters(self.batch))

    def draw(self, chains: int) -> Tensor:
        """z ~ r, [K, B, L]."""
        with torch.no_grad():
            z, _ = draw(self.r, Size((chains,) if self.r.batch_shape else (chains, self.batch.n)))
        return z

    def terms(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log r(z) and log p(x, z) - log r(z), the derivative of log f in β: [K, B] each."""
        log_r, fit = self.r.log_prob(z), self.model.log_likelihood(z, self.batch)
        return log_r, fit if self.r is self.prior else fit + self.prior.log_prob(z) - log_r

    def at(self, beta: float) -> LogDensity:
        """log f_β as a function of z alone."""

        def log_density(z: Tensor) -> Tensor:
            log_r, rise = self.terms(z)
            return log_r + beta * rise

        return log_density

    def look(self, z: Tensor, beta: float) -> tuple[Point, Tensor]:
        """The chains as points of f_β, and log p(x, z) - log r(z) there, from one evaluation."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            log_r, rise = self.terms(z)
            value = log_r + beta * rise
            (gradient,) = torch.autograd.grad(value.sum(), z)
        return Point(z.detach(), value.detach(), gradient), rise.detach()


class Run(NamedTuple):
    """What is left of an annealed run."""

    log_weights: Tensor  # [K, B], nats, float64
    z: Tensor  # where the chains ended, [K, B, L]
    acceptance: Tensor  # mean over chains and transitions, [B]
    step_sizes: Tensor  # ε of each transition in ascending order of β, [T - 1, B]


@torch.no_grad()
def run(path: Path, z: Tensor, annealing: Annealing, step_sizes: Tensor | None, down: bool = False) -> Run:
    r"""Anneal chains from z [K, B, L], up from r to the posterior, or down from the posterior to r.

    .. math:: \log w = \sum_{t=1}^T (\beta_t - \beta_{t-1}) \left[\log p(x, z_{t-1}) - \log r(z_{t-1})\right]

    Between two terms stands a transition that leaves :math:`f_{\beta_t}` as it is; downward the terms come in reverse order.
    Costs :math:`(T - 1) (\text{leapfrogs} + 1)` gradients and one evaluation of the decoder for each chain; nothing is read on
    the host.

    Args:
        path: Its images and densities.
        z: Where the chains begin: draws of r, or of the posterior.
        annealing: The temperatures and transitions.
        step_sizes: ε of each transition in ascending order of β, [T - 1, B]; None: adapted along.
        down: Whether β falls.
    """
    betas = annealing.ladder.betas(annealing.temperatures)
    rises = torch.tensor(betas, dtype=torch.double).diff().tolist()
    log_w = torch.zeros(z.shape[:-1], dtype=torch.double, device=z.device)
    taken, epsilon = torch.zeros_like(z[0, :, 0]), torch.full_like(z[0, :, 0], annealing.step_size)
    used = z.new_empty(len(betas) - 2, z.shape[1])
    for t in _order(len(used), down):
        at, rise = path.look(z, betas[t + 1])
        log_w += rises[t + down] * rise.double()
        epsilon = epsilon if step_sizes is None else step_sizes[t]
        at, acceptance = transition(path.at(betas[t + 1]), at, annealing.jittered(epsilon, z), annealing.leapfrogs)
        z, used[t] = at.z, epsilon
        taken += acceptance.mean(0)
        epsilon = annealing.adapted(epsilon, acceptance)
    log_w += rises[0 if down else -1] * path.terms(z)[1].double()
    return Run(log_w, z, taken / len(used), used)


def _order(transitions: int, down: bool) -> Iterator[int]:
    return reversed(range(transitions)) if down else iter(range(transitions))


def table(path: Path, annealing: Annealing, chains: int) -> Tensor | None:
    """ε of each transition before the run that counts, [T - 1, B]; None where it is adapted along."""
    transitions, images = annealing.temperatures - 1, len(path.batch.x)
    if annealing.adapt == "along":
        return None
    if annealing.adapt == "never" or not transitions:
        return path.model.like.new_full((transitions, images), annealing.step_size)
    found = run(path, path.draw(chains), annealing.preliminary(), None).step_sizes
    nearest = torch.linspace(0, len(found) - 1, transitions, device=found.device).round().long()
    return found[nearest]


def admit(model: LatentVariableModel, start: Proposal) -> None:
    """Refuse a model without p(x|z), and a start whose density is unknown.

    Raises:
        ValueError: If so.
    """
    if not isinstance(model, LatentVariableModel):
        raise ValueError(no_density(f"{type(model).__name__} has none"))
    if not getattr(model.likelihood, "density", Density.EXACT).weighs:
        raise ValueError(no_density(f"{type(model.likelihood).__name__} has none"))
    if model.prior.density is not Density.EXACT:
        name, given = type(model.prior).__name__, model.prior.density.value
        raise ValueError(f"AIS needs log p(z), {name} gives {given}; write --prior Normal")
    if isinstance(start, FromPrior):
        return
    if kind_of(model).measured_by != "likelihood":
        raise ValueError(f"{start} is made of a posterior, {type(model).__name__} has none; write FromPrior()")
    if isinstance(start, (FromPosterior, Widened)) and model.posterior.density is not Density.EXACT:
        name, given = type(model.posterior).__name__, model.posterior.density.value
        raise ValueError(f"chains that start at q(z|x) need its density, {name} gives {given}; write Matched() or FromPrior()")


def check(path: Path, z: Tensor) -> None:
    """Look once at where chains start: log p(x, z) and its gradient for z are to be finite.

    Raises:
        ValueError: If they are not.
    """
    name = type(path.model.likelihood).__name__
    try:
        with torch.enable_grad():
            attached = path.at(1.0)(z.clone().requires_grad_()).requires_grad
    except NotImplementedError as error:
        raise ValueError(no_density(f"{name} gives none")) from error
    if not attached:
        raise ValueError(no_density(f"{name} cuts its gradient off"))
    if path.r is not path.prior and isinstance(path.r, Squeezed) and path.r.rounded(z) > ROUNDED:
        raise ValueError(
            f"chains start at q(z|x), of whose draws {path.r.rounded(z):.0%} round to an end of the interval ({path.r.low:g}, "
            f"{path.r.high:g}), where log q(z|x) cannot be told; write FromPrior(), or take a model in float64"
        )
    at, _ = path.look(z, 1.0)
    if not bool(at.log_density.isfinite().all() & at.gradient.isfinite().all()):
        raise ValueError(no_density(f"log p(x, z) with {name} or its gradient is not finite where chains start"))


def no_density(found: str) -> str:
    """What is said where log p(x|z) is of no use."""
    return (
        f"AIS needs p(x|z) with a density, finite and differentiable in z: {found}; give it a Gaussian observation model, "
        "likelihoods.Gaussian with a sigma above 0"
    )
