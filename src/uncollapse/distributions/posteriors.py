"""Posteriors q(z|x), each a family (`at`) and an encoder of its parameters (`encode`)."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from uncollapse.distributions.ascending import Ascending
from uncollapse.distributions.conditional import Posterior
from uncollapse.distributions.densities import CholeskyNormal, DiagonalNormal, SqueezedNormal, wide
from uncollapse.distributions.draws import draw
from uncollapse.distributions.flow_posteriors import Flow as Flow
from uncollapse.distributions.implicit import Implicit as Implicit
from uncollapse.distributions.mixed_posteriors import Hierarchical as Hierarchical
from uncollapse.distributions.mixed_posteriors import SemiImplicit as SemiImplicit
from uncollapse.networks import Factory
from uncollapse.processes import mean_over_processes


class Gaussian(Posterior):
    r"""Diagonal Gaussian, the mean-field family of amortised inference.

    .. math:: q_\phi(z \mid x) = \mathcal N(\mu_\phi(x), \operatorname{diag} \sigma_\phi^2(x))

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        network: Factory of the encoder, called with the shapes of its input and of its output, (2L,).
        limits: Smallest and largest log standard deviation; None for no limits.

    References:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes, appendix C.2. The limits, (-3, 1) there, are those of
        Tomczak and Welling (2018).

    Example:
        >>> from uncollapse.networks import MLP
        >>> q = Gaussian(2, (5,), MLP)
        >>> q(torch.zeros(7, 5)).rsample((3,)).shape
        torch.Size([3, 7, 2])
    """

    def __init__(self, features: int, shape: Size, network: Factory, limits: tuple[float, float] | None = None):
        super().__init__(features, shape)
        self.network = network(self.shape, Size((2 * features,)))
        self.limits = limits

    def encode(self, x: Tensor) -> Tensor:
        return self.network(x)

    def at(self, parameters: Tensor) -> Distribution:
        mu, log_sigma = parameters.chunk(2, dim=-1)
        return DiagonalNormal(mu, self._limited(log_sigma))

    def widen(self, parameters: Tensor, factor: float) -> Tensor:
        mu, log_sigma = parameters.chunk(2, dim=-1)
        return torch.cat((mu, self._limited(log_sigma) + math.log(factor)), -1)

    def _limited(self, log_sigma: Tensor) -> Tensor:
        return log_sigma if self.limits is None else log_sigma.clamp(*self.limits)


class FullGaussian(Posterior):
    r"""Gaussian with a full covariance by its Cholesky factor, :math:`z = \mu + \Sigma^{1/2} \varepsilon`.

    .. math:: q_\phi(z \mid x) = \mathcal N(\mu_\phi(x), S_\phi(x) S_\phi(x)^\top), \quad S \text{ lower triangular}

    The diagonal of S is the softplus of what the network gives, so S is a Cholesky factor whatever that is.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        network: Factory of the encoder, called with its output's shape (L + L (L + 1) / 2,).

    References:
        Kingma and Welling (2019), An Introduction to Variational Autoencoders, section 2.5.1.

    Example:
        >>> from uncollapse.networks import MLP
        >>> q = FullGaussian(3, (5,), MLP)(torch.zeros(7, 5))
        >>> q.covariance_matrix.shape
        torch.Size([7, 3, 3])
    """

    below: Tensor

    def __init__(self, features: int, shape: Size, network: Factory):
        super().__init__(features, shape)
        self.network = network(self.shape, Size((features + features * (features + 1) // 2,)))
        self.register_buffer("below", torch.tril_indices(features, features, -1), persistent=False)

    def encode(self, x: Tensor) -> Tensor:
        return self.network(x)

    def at(self, parameters: Tensor) -> Distribution:
        mu, diagonal, rest = wide(parameters).split([self.features, self.features, self.below.shape[1]], dim=-1)
        scale = torch.diag_embed(F.softplus(diagonal) + 1e-6)
        scale[..., self.below[0], self.below[1]] = rest
        return CholeskyNormal(mu, scale)

    def widen(self, parameters: Tensor, factor: float) -> Tensor:
        mu, diagonal, rest = parameters.split([self.features, self.features, self.below.shape[1]], dim=-1)
        wider = (factor * (F.softplus(diagonal) + 1e-6) - 1e-6).clamp_min(1e-30)
        return torch.cat((mu, wider + torch.log(-torch.expm1(-wider)), factor * rest), -1)


class LogitNormal(Posterior):
    r"""A Gaussian squeezed into an interval, the posterior for a uniform prior.

    .. math:: z = a + (b - a) \operatorname{sigmoid}(u), \quad
              u \sim \mathcal N(\mu_\phi(x), \operatorname{diag} \sigma_\phi^2(x))

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        network: Factory of the encoder, called with its output's shape (2L,).
        low: Lower end a of the interval.
        high: Upper end b of the interval.

    References:
        Atchison and Shen (1980), Logistic-normal distributions: some properties and uses.

    Example:
        >>> from uncollapse.networks import MLP
        >>> z = LogitNormal(2, (5,), MLP, low=-1.0)(torch.zeros(4, 5)).rsample((100,))
        >>> bool((z.abs() < 1).all())
        True
    """

    def __init__(self, features: int, shape: Size, network: Factory, low: float = 0.0, high: float = 1.0):
        super().__init__(features, shape)
        if not low < high:
            raise ValueError(f"expected low < high, came low={low}, high={high}")
        self.network = network(self.shape, Size((2 * features,)))
        self.low, self.high = low, high
        self.support = constraints.interval(low, high)

    def encode(self, x: Tensor) -> Tensor:
        return self.network(x)

    def at(self, parameters: Tensor) -> Distribution:
        mu, log_sigma = parameters.chunk(2, dim=-1)
        return SqueezedNormal(mu, log_sigma, self.low, self.high)

    def widen(self, parameters: Tensor, factor: float) -> Tensor:
        mu, log_sigma = parameters.chunk(2, dim=-1)
        return torch.cat((mu, log_sigma + math.log(factor)), -1)


class Free(Ascending):
    r"""Variational parameters of its own for each observation, found by ascent on its ELBO: no encoder (variational EM).

    .. math:: \lambda_i^* = \arg\max_\lambda \mathbb E_{q_\lambda}[\log p(x_i, z) - \log q_\lambda(z)]

    Adam ascends from what the family's encoder gives (from the prior with `Bias`), one draw a step, until the mean ELBO of the
    last `window` steps is less than `tolerance` nats above that of the window before. Reading that is the only host
    synchronisation, once a window.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        family: Factory of the posterior whose family is searched; its encoder gives the starting point and is not learned.
        tolerance: Smallest rise that counts as progress, in nats.
        rate: Learning rate of the ascent.
        window: Steps between two looks at the progress.
        limit: Most steps for one batch.

    Raises:
        ValueError: If the limit is below one window, or the family has weights beside its encoder's.

    References:
        Blei, Kucukelbir and McAuliffe (2017), Variational Inference, section 2.4; Hoffman et al. (2013).
    """

    def __init__(
        self,
        features: int,
        shape: Size,
        family: Callable[[int, Size], Posterior],
        tolerance: float = 0.05,
        rate: float = 0.1,
        window: int = 20,
        limit: int = 400,
    ):
        super().__init__(features, shape, family)
        if not 1 <= window <= limit:
            raise ValueError(f"expected 1 <= window <= limit, came window={window}, limit={limit}: no step would be taken")
        if not self.self_contained:
            raise ValueError(
                f"Free searches a family that its parameters alone tell, {type(self.family).__name__} has weights beside them, "
                "which nothing would learn; write --posterior.family Gaussian"
            )
        self.family.requires_grad_(False)
        self.tolerance, self.rate, self.window, self.limit = tolerance, rate, window, limit

    def encode(self, x: Tensor) -> Tensor:
        with self.still(), torch.enable_grad():
            parameters = self.family.encode(x).detach().clone().requires_grad_()
            ascent = torch.optim.Adam([parameters], lr=self.rate, maximize=True)
            before = -float("inf")
            for _ in range(self.limit // self.window):
                total = torch.stack([self._ascend(x, parameters, ascent) for _ in range(self.window)]).mean()
                now = float(mean_over_processes(total)) / len(x)
                if now - before < self.tolerance:
                    break
                before = now
        return parameters.detach()

    def _ascend(self, x: Tensor, parameters: Tensor, ascent: Any) -> Tensor:
        """One step on λ; returns the batch's ELBO before it, summed, on the device."""
        q = self.family.at(parameters)
        z, log_q = draw(q, Size((1,)))
        elbo = (self.joint(x, z) - log_q).sum()
        parameters.grad = torch.autograd.grad(elbo, parameters)[0]
        ascent.step()
        return elbo.detach()
