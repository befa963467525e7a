"""Lagging inference networks: an encoder that is trained to keep up with the decoder, as long as that helps."""

from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.data import Batch
from uncollapse.distributions.still import frozen
from uncollapse.learning import Logged, Objective
from uncollapse.processes import mean_over_processes
from uncollapse.vae.apart import Apart


class Lagging(Apart):
    r"""Aggressive training of the encoder before each step of the decoder, until the mutual information stops climbing.

    .. math:: \text{repeat } \phi \leftarrow \phi + \eta \nabla_\phi \tfrac1B \sum_i \mathcal L_{\theta, \phi}(x_i)
              \text{ on fresh batches}, \quad
              \text{then } \theta \leftarrow \theta + \eta \nabla_\theta \tfrac1B \sum_i \mathcal L_{\theta, \phi}(x_i)

    The inner loop takes the mean objective of each `window` steps and ends when it is not above that of the window before, or
    after `limit` steps. Reading that mean is the only host synchronisation, once a window. Aggressive training ends, for good,
    at the first validation whose mutual information under q is below that of the one before; from then on it is amortised
    inference. While it is aggressive there is a validation each `look_every` steps as well as the training's own: the paper
    looks after each epoch. The encoder's batches are drawn with replacement from the training data. The one optimiser keeps a
    state for each weight and leaves a weight without a gradient alone, so encoder and decoder are as if each had its own.

    Args:
        objective: What is maximised, of a model with an encoder.
        window: Encoder steps between two looks at the progress.
        limit: Most encoder steps before a step of the decoder; 0: never aggressive, amortised inference from the start.
        look_every: Steps between two validations while it is aggressive; None: those of the training alone.

    Raises:
        ValueError: If the posterior has no encoder that learns, or a number is out of range.

    References:
        He, Spokoyny, Neubig and Berg-Kirkpatrick (2019), Lagging Inference Networks and Posterior Collapse, algorithm 1 and
        section 4.2; the window of 10 and the limit of 100 are those of its released code.

    Example:
        >>> import uncollapse as uc
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> from uncollapse.vae import ELBO, VAE
        >>> _ = torch.manual_seed(0)
        >>> data = uc.data.from_arrays(torch.arange(100).remainder(2)[:, None].repeat(1, 4))
        >>> vae = VAE(Normal(1), Bernoulli(1, (4,), MLP), posteriors.Gaussian(1, (4,), MLP))
        >>> fitted = uc.fit(Lagging(ELBO(vae), window=2, limit=6), data, uc.Training(steps=20, batch_size=20))
        >>> 2 <= fitted.lines[0]["encoder_steps"] <= 6
        True
    """

    def __init__(self, objective: Objective, window: int = 10, limit: int = 100, look_every: int | None = None):
        super().__init__(objective)
        if window < 1 or (limit and limit < window):
            raise ValueError(f"expected 1 <= window <= limit, or limit 0 for none, came window={window}, limit={limit}")
        if look_every is not None and look_every < 1:
            raise ValueError(f"expected look_every of at least 1, came {look_every}; write null for the training's own looks")
        self.look_every = look_every
        self.window, self.limit, self.aggressive, self.information = window, limit, limit > 0, -float("inf")

    @property
    def looks(self) -> int | None:
        return self.look_every if self.aggressive else None

    def step(self, batch: Batch, t: Tensor) -> Logged:
        taken = 0
        if self.aggressive:
            with frozen(self.theta):
                taken = self._catch_up(t)
            with frozen(self.phi):
                logged = self._ascend(self.of_theta, batch, t)[1]
        else:
            logged = self._ascend(self.forward, batch, t)[1]
        return {**logged, "encoder_steps": t.new_full((1,), float(taken))}

    def _catch_up(self, t: Tensor) -> int:
        """The inner loop; returns how many steps the encoder took."""
        before = -float("inf")
        for taken in range(self.window, self.limit + 1, self.window):
            bounds = [self._ascend(self.of_phi, self.further(), t)[0].mean() for _ in range(self.window)]
            now = float(mean_over_processes(torch.stack(bounds).mean()))
            if not now > before:
                return taken
            before = now
        return self.limit // self.window * self.window

    def _ascend(self, forward: nn.Module, batch: Batch, t: Tensor) -> tuple[Tensor, Logged]:
        """One step up the objective of a batch; returns the bound [B] before it and what to log, detached."""
        bound, logged = forward(batch, t)
        self.ascend(bound)
        return bound.detach(), {name: value.detach() for name, value in logged.items()}

    def after_validation(self, values: dict[str, Any]) -> dict[str, Any]:
        """The switch: aggressive training ends where the mutual information fell."""
        information = values.get("mutual_information", -float("inf"))
        self.aggressive = self.aggressive and information >= self.information
        self.information = information
        return {"aggressive": self.aggressive}

    def state(self) -> dict[str, Tensor]:
        return {"aggressive": torch.tensor(self.aggressive), "information": torch.tensor(self.information).double()}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.aggressive, self.information = bool(state["aggressive"]), float(state["information"])
