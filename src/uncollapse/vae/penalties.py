"""The ELBO with its divergence charged by another rule than its size."""

from torch import Tensor

from uncollapse.data import Batch
from uncollapse.learning import Logged
from uncollapse.processes import gathered
from uncollapse.schedules import Schedule, nonnegative
from uncollapse.vae.model import VAE
from uncollapse.vae.objectives import ELBO


class Capacity(ELBO):
    r"""The penalised ELBO: the divergence is held at a capacity C(t) instead of pressed to zero.

    .. math:: \mathbb E_{q}[\log p(x \mid z)] - \gamma \, \lvert \mathrm{KL}(q(z \mid x) \,\|\, p(z)) - C(t) \rvert

    It is maximised: :math:`\gamma > 0` is the price of a nat off the capacity, on either side, and C is in nats, for all units
    together. With C = 0 it is the β-VAE's objective of :math:`\beta = \gamma`, so the ELBO at :math:`\gamma = 1`. With C > 0 a
    divergence above C has the gradient of that β-VAE, one below C the opposite one, and it is no bound on log p(x); the ELBO
    is logged beside it.

    By default each observation's divergence is held at C, which is the paper's formula. With `of_mean` it is the batch's mean
    that is, so observations may share C unequally: :math:`s \cdot (\mathrm{KL}_i - C)` with s the sign of the mean's excess,
    whose mean over the batch is the penalty of the mean. Where the divergence has no closed form, the absolute value of its
    estimate by draws is too large on average: write `of_mean`, or more draws.

    Args:
        model: The model and posterior whose bound it is.
        k: Monte Carlo samples K per observation.
        gamma: Weight γ of the distance from the capacity, a number or a schedule.
        capacity: C in nats, a number or a schedule of the step.
        of_mean: Whether C is the capacity of the batch's mean divergence, rather than of each observation's.

    Raises:
        ValueError: If gamma or capacity, or an end of its schedule, is negative, infinite or no number.

    References:
        Burgess et al. (2018), Understanding disentangling in β-VAE, equation 8: γ = 1000, C linear from 0 to 25 nats.

    Example:
        >>> import torch
        >>> from uncollapse.networks import Bias
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), Bias), posteriors.Gaussian(2, (4,), Bias))
        >>> bound, logged = Capacity(vae, gamma=10.0, capacity=0.5)(torch.ones(3, 4), torch.tensor(0))
        >>> [round(v, 4) for v in bound.tolist()]
        [-7.7726, -7.7726, -7.7726]
    """

    def __init__(
        self,
        model: VAE,
        k: int = 1,
        gamma: float | Schedule = 1000.0,
        capacity: float | Schedule = 25.0,
        of_mean: bool = False,
    ):
        super().__init__(model, k)
        rule = "the penalty is gamma |KL - capacity|"
        self.gamma, self.capacity = nonnegative("gamma", gamma, rule), nonnegative("capacity", capacity, rule)
        self.of_mean = of_mean

    def forward(self, batch: Tensor | Batch, t: Tensor, parameters: Tensor | None = None) -> tuple[Tensor, Logged]:
        _, logged = super().forward(batch, t, parameters)
        excess = logged["kl"] - self.capacity(t)
        distance = gathered(excess.detach()).mean().sign() * excess if self.of_mean else excess.abs()
        return logged["log_likelihood"] - self.gamma(t) * distance, logged
