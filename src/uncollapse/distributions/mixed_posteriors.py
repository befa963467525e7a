"""Posteriors that are mixtures over their own parameters: log q(z|x) is no longer known, and a bound takes its place."""

import math
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.distributions import Transform as Bijection

from uncollapse import noise
from uncollapse.distributions.conditional import Density, Posterior
from uncollapse.distributions.densities import DiagonalNormal, Unvalidated, wide, without_autocast
from uncollapse.distributions.flows import Planar, Transforms
from uncollapse.networks import MLP, Factory


class Mixed(Unvalidated):
    """A distribution that scores its own draws alone, by `rsample_and_log_prob`, as it knows the parameters that made them."""

    support = constraints.independent(constraints.real, 1)
    has_rsample = True
    pairwise = False

    def rsample_and_log_prob(self, sample_shape: Any = torch.Size()) -> tuple[Tensor, Tensor]:
        """Draws, and the bound that takes the place of their log density."""
        raise NotImplementedError

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self.rsample_and_log_prob(sample_shape)[0]

    def log_prob(self, value: Tensor) -> NoReturn:
        raise NotImplementedError(
            "this posterior has no density for z that were drawn elsewhere; write z, log_q = draw(q, shape) for both together"
        )


class HierarchicalNormal(Mixed):
    """z ~ N(m, diag s²) with (m, log s) = f(u) and u ~ N(loc, diag exp(2 log_scale)); `infer(z)` is r(u|z, x)."""

    def __init__(self, start: DiagonalNormal, f: Bijection, infer: Callable[[Tensor], DiagonalNormal]):
        super().__init__(start.batch_shape, Size((start.event_shape[0] // 2,)))
        self.start, self.f, self.infer = start, f, infer

    def rsample_and_log_prob(self, sample_shape: Any = torch.Size()) -> tuple[Tensor, Tensor]:
        u = self.start.rsample(sample_shape)
        with without_autocast(u):
            given = DiagonalNormal(*self.f(u).chunk(2, -1))
        z = given.rsample()
        return z, given.log_prob(z) + self.start.log_prob(u) - self.infer(z).log_prob(u)


class Hierarchical(Posterior):
    r"""A hierarchical variational model: a prior over the variational parameters λ, so that latents can depend on each other.

    .. math:: u \sim \mathcal N(\mu_\phi(x), \operatorname{diag} \sigma_\phi^2(x)), \quad \lambda = (m, \log s) = f(u), \quad
              z \sim \mathcal N(m, \operatorname{diag} s^2)

    .. math:: \log q(z \mid x) \text{ becomes } \log q(z \mid \lambda) + \log q(\lambda \mid x) - \log r(\lambda \mid z, x)

    whose mean exceeds that of :math:`\log q(z \mid x)` by :math:`\mathrm{KL}(q(\lambda \mid z, x) \,\|\, r)`: the ELBO
    falls by as much, and importance weights still average to p(x). The auxiliary r is the same flow f on another Gaussian,
    so the log-determinants of q(λ|x) and r(λ|z, x) cancel; where its network gives zero, r is q(λ|x).

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        network: Factory of the encoder, called with its output's shape (4L + context + the maps' own,).
        auxiliary: Factory of the network of r, from z and the context h, (L + context,), to (4L,).
        transform: Factory of the maps f of the 2L parameters.
        transforms: Number of maps; 0 leaves q(λ|x) Gaussian, and then the latents do not depend on each other.
        context: Size of h, what the encoder tells r of x.
        spread: Standard deviation of u where the encoder gives zero.

    Raises:
        ValueError: If the context is negative, or the spread not above 0.

    References:
        Ranganath, Tran and Blei (2016), Hierarchical Variational Models, equations 1 and 3 and section 3.1.

    Example:
        >>> from uncollapse.networks import MLP
        >>> q = Hierarchical(2, (5,), MLP)(torch.zeros(7, 5))
        >>> [v.shape for v in q.rsample_and_log_prob((3,))]
        [torch.Size([3, 7, 2]), torch.Size([3, 7])]
    """

    density = Density.BOUND
    self_contained = False

    def __init__(
        self,
        features: int,
        shape: Size,
        network: Factory,
        auxiliary: Factory = MLP,
        transform: Callable[[int, int], Transforms] = Planar,
        transforms: int = 4,
        context: int = 32,
        spread: float = 0.1,
    ):
        super().__init__(features, shape)
        if context < 0 or spread <= 0:
            raise ValueError(f"expected a context of at least 0 and a spread above 0, came context={context}, spread={spread}")
        self.context, self.spread = context, spread
        self.transform = transform(2 * features, transforms)
        self.auxiliary = auxiliary(Size((features + context,)), Size((4 * features,)))
        self.network = network(self.shape, Size((sum(self._sizes()),)))

    def _sizes(self) -> list[int]:
        """Of μ, log σ, h and what the maps want."""
        return [2 * self.features, 2 * self.features, self.context, self.transform.context]

    def encode(self, x: Tensor) -> Tensor:
        return self.network(x)

    def at(self, parameters: Tensor) -> Distribution:
        mu, log_sigma, h, c = wide(parameters).split(self._sizes(), -1)
        log_sigma = log_sigma + math.log(self.spread)

        def infer(z: Tensor) -> DiagonalNormal:
            seen = torch.cat((z, h.expand(*z.shape[:-1], -1)), -1)
            shift, stretch = self.auxiliary(seen).chunk(2, -1)
            return DiagonalNormal(mu + log_sigma.exp() * shift, log_sigma + stretch)

        return HierarchicalNormal(DiagonalNormal(mu, log_sigma), self.transform(c), infer)

    def widen(self, parameters: Tensor, factor: float) -> Tensor:
        """The parameters of the member whose log s is, before the maps, log factor larger in the mean."""
        wider = parameters.new_zeros(parameters.shape[-1])
        wider[self.features : 2 * self.features] = math.log(factor)
        return parameters + wider


class SemiImplicitNormal(Mixed):
    """z ~ N(ψ, diag exp(2 log_scale)) with ψ = loc + g(ε), scored by the ψ that made it and j others."""

    def __init__(self, loc: Tensor, log_scale: Tensor, g: Callable[[Tensor], Tensor], size: int, j: int):
        super().__init__(loc.shape[:-1], loc.shape[-1:])
        self.loc, self.log_scale, self.g, self.size, self.j = wide(loc), wide(log_scale), g, size, j

    def psi(self, sample_shape: Size) -> Tensor:
        """Draws of ψ."""
        shape = Size(sample_shape) + self.batch_shape + Size((self.size,))
        return self.loc + self.g(noise.normal(shape, self.loc, batch=-2))

    def rsample_and_log_prob(self, sample_shape: Any = torch.Size()) -> tuple[Tensor, Tensor]:
        own = DiagonalNormal(self.psi(Size(sample_shape)), self.log_scale)
        z = own.rsample()
        others = DiagonalNormal(self.psi(Size((self.j,))), self.log_scale).log_prob(z.unsqueeze(-3))
        log_q = torch.cat((own.log_prob(z).unsqueeze(-2), others), -2)
        return z, log_q.logsumexp(-2) - math.log(self.j + 1)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return DiagonalNormal(self.psi(Size(sample_shape)), self.log_scale).rsample()


class SemiImplicit(Posterior):
    r"""Semi-implicit: a Gaussian whose mean ψ is the output of a network fed with noise, so q(z|x) is a mixture of any shape.

    .. math:: \psi = \mu_\phi(x) + g_\phi(h_\phi(x), \varepsilon), \quad \varepsilon \sim \mathcal N(0, I), \quad
              z \sim \mathcal N(\psi, \operatorname{diag} \sigma_\phi^2(x))

    .. math:: \log q(z \mid x) \text{ becomes } \log \frac{1}{J + 1} \sum_{j=0}^J \mathcal N(z; \psi_j, \operatorname{diag}
              \sigma_\phi^2(x)), \quad \psi_0 \text{ the one that made } z

    whose mean is at least that of :math:`\log q(z \mid x)` and falls to it as J grows: the ELBO rises with J. Importance
    weights still average to p(x) for every J. The J others are drawn once an observation, for all of its draws together, so
    weights of one observation are not independent and the stated error of many of them is a little too small.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        network: Factory of the encoder, called with its output's shape (2L + context,).
        mixing: Factory of the network g, from the context h and the noise ε, (context + noise_features,), to (L,).
        j: Number J of other ψ in the density; 0: only the one that made z.
        context: Size of h, what the encoder tells g of x.
        noise_features: Size of ε.

    Raises:
        ValueError: If j or the context is negative, or there is no noise.

    References:
        Yin and Zhou (2018), Semi-Implicit Variational Inference, equations 7 to 9; importance weights: section 4.4 there, and
        Molchanov et al. (2019), Doubly Semi-Implicit Variational Inference, section 3.

    Example:
        >>> from uncollapse.networks import MLP
        >>> q = SemiImplicit(2, (5,), MLP, j=4)(torch.zeros(7, 5))
        >>> [v.shape for v in q.rsample_and_log_prob((3,))]
        [torch.Size([3, 7, 2]), torch.Size([3, 7])]
    """

    density = Density.BOUND
    self_contained = False

    def __init__(
        self,
        features: int,
        shape: Size,
        network: Factory,
        mixing: Factory = MLP,
        j: int = 10,
        context: int = 32,
        noise_features: int = 16,
    ):
        super().__init__(features, shape)
        if j < 0 or context < 0 or noise_features < 1:
            raise ValueError(
                "expected j and context of at least 0 and noise_features of at least 1, came "
                f"j={j}, context={context}, noise_features={noise_features}"
            )
        self.j, self.context, self.noise_features = j, context, noise_features
        self.mixing = mixing(Size((context + noise_features,)), Size((features,)))
        self.network = network(self.shape, Size((2 * features + context,)))

    def encode(self, x: Tensor) -> Tensor:
        return self.network(x)

    def at(self, parameters: Tensor) -> Distribution:
        mu, log_sigma, h = parameters.split([self.features, self.features, self.context], -1)

        def g(eps: Tensor) -> Tensor:
            return self.mixing(torch.cat((h.expand(*eps.shape[:-1], -1), eps), -1))

        return SemiImplicitNormal(mu, log_sigma, g, self.noise_features, self.j)

    def widen(self, parameters: Tensor, factor: float) -> Tensor:
        """The parameters of the member whose σ is `factor` times as large, its ψ as they are."""
        mu, log_sigma, h = parameters.split([self.features, self.features, self.context], -1)
        return torch.cat((mu, log_sigma + math.log(factor), h), -1)
