"""Procedures: the lecture's algorithms, each a batch turned into updates."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from uncollapse.distributions import Free
from uncollapse.parts import Part
from uncollapse.schedules import Schedule
from uncollapse.vae.collapse import diagnose
from uncollapse.vae.model import VAE
from uncollapse.vae.objectives import Logged, Objective

Update = Callable[[Tensor], None]
"""What takes a loss to a step of the weights; the training makes it."""

DIAGNOSED = 512  # observations that the diagnosis during training looks at


class Procedure(Part, ABC):
    """An algorithm that learns from batches. It states what it updates, and never calls an optimiser.

    Args:
        objective: What is maximised; its forward is what gets wrapped for devices, processes and compilation.
    """

    given: ClassVar[tuple[str, ...]] = ("objective",)
    plays: ClassVar[bool] = False  # whether it trains an objective's critic too

    def __init__(self, objective: Objective):
        if not self.plays and getattr(objective, "critic", None) is not None:
            raise ValueError(
                f"{type(self).__name__} would train the critic of {type(objective).__name__} to flatter; write "
                "--procedure Alternating"
            )
        self.objective = objective
        self.forward: nn.Module = objective
        self.update: Update | None = None
        self.draw: Callable[[], Tensor] | None = None

    def further(self) -> Tensor:
        """A further batch of the training data, drawn at random within a step; the training sets where from.

        Raises:
            RuntimeError: Outside a training.
        """
        if self.draw is None:
            raise RuntimeError("a procedure draws further batches within fit(procedure, data); call that")
        return self.draw()

    def state(self) -> dict[str, Tensor]:
        """What a resumed training needs of the procedure beside the weights, by name."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        return

    def complaint(self, values: dict[str, float]) -> str | None:
        """What is wrong with a line of the log, in words, so that the training stops; None: nothing."""
        return None

    def connect(self, wrap: Callable[[nn.Module], nn.Module], update: Callable[[Iterable[nn.Parameter]], Update]) -> None:
        """Called once by the training: wrap what is differentiated, and make an update of the parameters it moves.

        A procedure with several players asks for an update for each, that of the model first.
        """
        self.forward = wrap(self.objective)
        self.update = update(self.parameters())

    def parameters(self) -> list[nn.Parameter]:
        """What the update moves."""
        return [p for p in self.objective.parameters() if p.requires_grad]

    def schedules(self) -> Iterator[Schedule]:
        """Its schedules, whose open lengths the training fills in."""
        return self.objective.schedules()

    @torch.no_grad()
    def validate(self, batches: Iterable[Tensor], t: Tensor) -> dict[str, Any]:
        """The mean of the objective's values over held-out data, the one that selects as `bound`; for a VAE the diagnosis.

        Args:
            batches: Observations [B, *shape] each, in random order: the diagnosis looks at the first of them.
            t: Step, a 0-d tensor.
        """
        sums: dict[str, Tensor] = {}
        seen: list[Tensor] = []
        n = 0
        for x in batches:
            for name, value in self.objective(x, t)[1].items():
                sums[name] = sums.get(name, torch.zeros((), device=x.device)) + value.sum()
            if n < DIAGNOSED:
                seen.append(x)
            n += len(x)
        means = {name: float(total) / n for name, total in sums.items()}
        return {"bound": means[self.objective.selects], **self.look(torch.cat(seen)[:DIAGNOSED]), **means}

    def look(self, x: Tensor) -> dict[str, Any]:
        """What the diagnosis sees of a VAE on x [N, *shape], without its remedies; nothing of another model, or with N = 1."""
        if not isinstance(self.objective.model, VAE) or len(x) < 2:
            return {}
        seen = diagnose(self.objective.model, x).as_dict()
        names = ["kl", "kl_units", "active_units", "mutual_information", "aggregate_kl", "verdict", "reason"]
        return {name: seen[name] for name in [*names, *(["kl_blocks"] if seen["kl_blocks"] else [])]}

    @abstractmethod
    def step(self, x: Tensor, t: Tensor) -> Logged:
        """Learn from one batch x [B, *shape] at step t; returns detached per-example values [B] for the log."""

    def ascend(self, bound: Tensor) -> None:
        """One step of the weights up the batch's mean bound."""
        if self.update is None:
            raise RuntimeError("a procedure learns within fit(procedure, data); call that")
        self.update(-bound.mean())


class MaximumLikelihood(Procedure):
    r"""Maximum likelihood by gradient, for a model whose density is tractable.

    .. math:: \theta \leftarrow \theta + \eta \, \nabla_\theta \tfrac1B \sum_i \log p_\theta(x_i)

    Example:
        >>> import uncollapse as uc
        >>> from uncollapse.distributions import Location
        >>> from uncollapse.vae import LogLikelihood
        >>> data = uc.data.from_arrays(torch.arange(100.0) / 100)
        >>> learn = MaximumLikelihood(LogLikelihood(Location(1)))
        >>> fitted = uc.fit(learn, data, uc.Training(steps=60), lambda theta: torch.optim.SGD(theta, lr=0.2))
        >>> bool((fitted.model.theta - Location.closed_form(data.train.all())).abs() < 1e-3)
        True
    """

    def step(self, x: Tensor, t: Tensor) -> Logged:
        log_likelihood, logged = self.forward(x, t)
        self.ascend(log_likelihood)
        return {name: value.detach() for name, value in logged.items()}


class Amortized(Procedure):
    r"""Algorithm 2, amortised inference: one gradient step of the bound on a minibatch, for θ and φ together.

    .. math:: (\theta, \phi) \leftarrow (\theta, \phi) + \eta \, \nabla_{\theta, \phi}
              \tfrac1B \sum_i \mathcal L_{\theta, \phi}(x_i)

    References:
        Kingma and Welling (2014), algorithm 1.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> from uncollapse.vae import ELBO
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), MLP), posteriors.Gaussian(2, (4,), MLP))
        >>> procedure = Amortized(ELBO(vae))
        >>> len(procedure.parameters()) == len(list(vae.parameters()))
        True
    """

    def step(self, x: Tensor, t: Tensor) -> Logged:
        bound, logged = self.forward(x, t)
        self.ascend(bound)
        return {name: value.detach() for name, value in logged.items()}


class VariationalEM(Procedure):
    r"""Algorithm 1, variational EM: the E-step runs each observation's own variational parameters to convergence, the M-step is
    one gradient step on θ.

    .. math:: \lambda_i^* = \arg\max_\lambda \mathcal L_i(\theta, \lambda), \qquad
              \theta \leftarrow \theta + \eta \, \nabla_\theta \tfrac1B \sum_i \mathcal L_i(\theta, \lambda_i^*)

    The E-step and its criterion of convergence are those of the posterior, `Free`.

    Raises:
        ValueError: If the posterior has an encoder in place of free parameters.

    References:
        Jordan et al. (1999); Neal and Hinton (1998), A View of the EM Algorithm.

    Example:
        Zeros or ones throughout, half and half: guesses of each bit alone have 4 log 2 = 2.77 nats, the data's entropy is 0.69.

        >>> import uncollapse as uc
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> from uncollapse.vae import ELBO
        >>> _ = torch.manual_seed(0)
        >>> data = uc.data.from_arrays(torch.arange(100).remainder(2)[:, None].repeat(1, 4))
        >>> free = Free(1, (4,), lambda features, shape: posteriors.Gaussian(features, shape, MLP))
        >>> learn = VariationalEM(ELBO(VAE(Normal(1), Bernoulli(1, (4,), MLP), free)))
        >>> fitted = uc.fit(learn, data, uc.Training(steps=40, batch_size=20))
        >>> 0.69 < -fitted.lines[-1]["elbo"] < 1.5
        True
    """

    def __init__(self, objective: Objective):
        super().__init__(objective)
        self.posterior = objective.model.posterior
        if not isinstance(self.posterior, Free):
            raise ValueError(
                f"VariationalEM expects free variational parameters, came {type(self.posterior).__name__}; "
                "write --posterior Free --posterior.family Gaussian, or --procedure Amortized"
            )

    def step(self, x: Tensor, t: Tensor) -> Logged:
        lam = self.posterior.encode(x)
        bound, logged = self.forward(x, t, lam)
        self.ascend(bound)
        return {name: value.detach() for name, value in logged.items()}
