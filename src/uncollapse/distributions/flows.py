"""Normalizing flows: K invertible maps of a latent, each a function of what an encoder says of x, and their distribution."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints
from torch.distributions import Transform as Bijection
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.transforms import ComposedTransform, DependentTransform, IdentityTransform, MonotonicRQSTransform

from uncollapse.distributions.bijections import START, PlanarMap, RadialMap
from uncollapse.distributions.densities import Unvalidated, wide, without_autocast
from uncollapse.parts import Part


class Transformed(Unvalidated):
    r"""The distribution of :math:`z = f(z_0)`, :math:`\log q(z) = \log q_0(z_0) - \log |\det \partial f / \partial z_0|`.

    Args:
        base: q₀, batch shape [B], event shape [L].
        f: From z₀ to z, a transform with zuko's `call_and_ladj`.
        pairwise: Whether the density of z that were drawn elsewhere is cheap enough for all pairs of observations.

    No autocast lowers what the maps compute: their log-determinants are sums over many small terms.
    """

    support = constraints.independent(constraints.real, 1)
    has_rsample = True

    def __init__(self, base: Distribution, f: Any, pairwise: bool = True):
        super().__init__(base.batch_shape, base.event_shape)
        self.base, self.f, self.pairwise = base, f, pairwise

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        start = self.base.rsample(sample_shape)
        with without_autocast(start):
            z: Tensor = self.f(start)
        return z

    def rsample_and_log_prob(self, sample_shape: Any = torch.Size()) -> tuple[Tensor, Tensor]:
        """Draws and their log density, by way of z₀: nothing is inverted."""
        start = self.base.rsample(sample_shape)
        with without_autocast(start):
            z, ladj = self.f.call_and_ladj(start)
        return z, self.base.log_prob(start) - ladj

    def log_prob(self, value: Tensor) -> Tensor:
        value = wide(value).expand(torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape))
        with without_autocast(value):
            start, ladj = self.f.inv.call_and_ladj(value)
        return self.base.log_prob(start) + ladj


class Transforms(Part, nn.Module, ABC):
    """K invertible maps one after the other, z = f_K(... f_1(z₀)), made from c, what the encoder says of an observation.

    Args:
        features: Size L of the latent.
        steps: Number K of maps; 0 is the identity.

    Attributes:
        context: How many numbers c is, for each observation.
        pairwise: Whether the inverse is cheap enough for all pairs of observations.
        self_contained: Whether the maps depend on c alone, and have no weights of their own.

    Raises:
        ValueError: If the maps do not exist for this many latents, or steps is negative.
    """

    given: ClassVar[tuple[str, ...]] = ("features", "steps")
    pairwise: bool = True
    self_contained: bool = False
    least: int = 1
    context: int

    def __init__(self, features: int, steps: int):
        super().__init__()
        if steps < 0:
            raise ValueError(f"expected at least 0 transforms, came {steps}")
        if features < self.least:
            raise ValueError(
                f"{type(self).__name__} moves some latents by the others, so it needs at least {self.least}, came {features}; "
                "write Planar or Radial, or Spline with autoregressive true, or take more latents"
            )
        self.features, self.steps = features, steps

    @abstractmethod
    def maps(self, c: Tensor) -> Sequence[Bijection]:
        """The K maps of observations of which the encoder says c [..., context]."""

    def forward(self, c: Tensor) -> Bijection:
        return ComposedTransform(*self.maps(c)) if self.steps else DependentTransform(IdentityTransform(), 1)


class _Encoded(Transforms):
    """Maps whose every number comes from the encoder: `numbers` says how many of each kind a map of L latents takes."""

    self_contained = True

    def __init__(self, features: int, steps: int):
        super().__init__(features, steps)
        self.sizes = self.numbers(features)
        self.context = steps * sum(self.sizes)

    @abstractmethod
    def numbers(self, features: int) -> list[int]:
        """How many numbers of each kind one map takes."""

    @abstractmethod
    def one(self, *numbers: Tensor) -> Bijection:
        """The map of these numbers, one [..., size] of each kind."""

    def maps(self, c: Tensor) -> Sequence[Bijection]:
        return [self.one(*part.split(self.sizes, -1)) for part in c.split(sum(self.sizes), -1)]


class Planar(_Encoded):
    """K planar maps, their u, w and b from the encoder (`bijections.PlanarMap`); 2L + 1 numbers a map, all zero the identity.

    Args:
        features: Size L of the latent.
        steps: Number K of maps.

    References:
        Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, section 4.1.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> f = Planar(2, steps=3)(torch.randn(5, 15))
        >>> z = torch.randn(4, 5, 2)
        >>> torch.allclose(f.inv(f(z)), z, atol=1e-5)
        True
    """

    def numbers(self, features: int) -> list[int]:
        return [features, features, 1]

    def one(self, *numbers: Tensor) -> Bijection:
        u, w, b = numbers
        return PlanarMap(u, w, b.squeeze(-1))


class Radial(_Encoded):
    """K radial maps, their centres, α and β from the encoder (`bijections.RadialMap`); L + 2 numbers a map, zero the identity.

    Args:
        features: Size L of the latent.
        steps: Number K of maps.

    References:
        Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, section 4.1.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> f = Radial(2, steps=3)(torch.randn(5, 12))
        >>> z = torch.randn(4, 5, 2)
        >>> torch.allclose(f.inv(f(z)), z, atol=1e-5)
        True
    """

    def numbers(self, features: int) -> list[int]:
        return [features, 1, 1]

    def one(self, *numbers: Tensor) -> Bijection:
        z0, a, b = numbers
        return RadialMap(z0, F.softplus(a.squeeze(-1) + START), b.squeeze(-1))


class Networked(Transforms):
    """Maps whose parameters a network gives (zuko's), from the other latents and from the encoder's h.

    Args:
        features: Size L of the latent.
        steps: Number K of maps.
        context: Size of h; 0: the maps are the same for every observation.
        hidden: Width of each hidden layer of each map's network.
        activation: Class of the nonlinearity.

    Raises:
        ValueError: If context is negative.
    """

    def __init__(
        self, features: int, steps: int, context: int = 32, hidden: list[int] = [64, 64], activation: type[nn.Module] = nn.ReLU
    ):
        super().__init__(features, steps)
        if context < 0:
            raise ValueError(f"expected a context of at least 0 numbers, came {context}")
        self.context, self.options = context, {"hidden_features": hidden, "activation": activation}
        self.layers = self.networks()

    def networks(self) -> nn.ModuleList:
        """The K maps, lazy: each a function of h; masked autoregressive ones that are affine, unless a kind says otherwise."""
        return self.autoregressive()

    def autoregressive(self, **options: Any) -> nn.ModuleList:
        """K masked autoregressive maps; the order of the latents is reversed from one to the next."""
        orders = (torch.arange(self.features), torch.arange(self.features).flip(0))
        make = partial(MaskedAutoregressiveTransform, self.features, self.context, **self.options, **options)
        return nn.ModuleList(make(order=orders[i % 2]) if self.features > 1 else make() for i in range(self.steps))

    def coupling(self, **options: Any) -> nn.ModuleList:
        """K coupling maps; every second latent is moved by the others, in turns."""
        masks = (torch.arange(self.features) % 2 == i % 2 for i in range(self.steps))
        make = partial(GeneralCouplingTransform, self.features, self.context, **self.options, **options)
        return nn.ModuleList(make(mask=mask) for mask in masks)

    def maps(self, c: Tensor) -> Sequence[Bijection]:
        return [lazy(c if self.context else None) for lazy in self.layers]


class IAF(Networked):
    r"""Inverse autoregressive flow, :math:`f(z)_i = s_i(z_{<i}, h)\, z_i + m_i(z_{<i}, h)`: fast to draw from.

    A draw with its density takes one pass through each network. The density of a z that was drawn elsewhere takes L + 1: L to
    find what it came from, one for the log-determinant.

    Args:
        features: Size L of the latent.
        steps: Number K of maps.
        context: Size of h; 0: the maps are the same for every observation.
        hidden: Width of each hidden layer of each map's network.
        activation: Class of the nonlinearity.

    References:
        Kingma et al. (2016), Improved Variational Inference with Inverse Autoregressive Flow, algorithm 1. The scale s is here
        the exponential of a bounded number in place of a sigmoid.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> f = IAF(3, steps=2, context=4)(torch.randn(5, 4))
        >>> f(torch.randn(6, 5, 3)).shape
        torch.Size([6, 5, 3])
    """

    pairwise = False


class MAF(Networked):
    r"""Masked autoregressive flow, the inverse of `IAF`: :math:`z_{0,i} = s_i(z_{<i}, h)\, z_i + m_i(z_{<i}, h)`.

    Any z has its density in one pass through each network; a draw takes L, and one more with its density.

    Args:
        features: Size L of the latent.
        steps: Number K of maps.
        context: Size of h; 0: the maps are the same for every observation.
        hidden: Width of each hidden layer of each map's network.
        activation: Class of the nonlinearity.

    References:
        Papamakarios, Pavlakou and Murray (2017), Masked Autoregressive Flow for Density Estimation, equations 3 to 5.
    """

    def maps(self, c: Tensor) -> Sequence[Bijection]:
        return [f.inv for f in super().maps(c)]


class Coupling(Networked):
    r"""Affine coupling, every second latent moved by the others in turns: fast to draw from and to score.

    .. math:: f(z)_a = z_a, \quad f(z)_b = s(z_a, h) \odot z_b + m(z_a, h)

    Args:
        features: Size L of the latent, at least 2.
        steps: Number K of maps.
        context: Size of h; 0: the maps are the same for every observation.
        hidden: Width of each hidden layer of each map's network.
        activation: Class of the nonlinearity.

    Raises:
        ValueError: If there is a single latent.

    References:
        Dinh, Sohl-Dickstein and Bengio (2017), Density Estimation using Real NVP, equations 7 and 8.
    """

    least: int = 2

    def networks(self) -> nn.ModuleList:
        return self.coupling()


class Spline(Networked):
    r"""Monotonic rational-quadratic splines on (-bound, bound), the identity outside: by coupling, or autoregressive as `IAF`.

    Args:
        features: Size L of the latent; at least 2 for coupling.
        steps: Number K of maps.
        context: Size of h; 0: the maps are the same for every observation.
        hidden: Width of each hidden layer of each map's network.
        activation: Class of the nonlinearity.
        bins: Pieces of each spline.
        bound: Half the width of the interval that is bent.
        autoregressive: Move each latent by those before it, in place of half of them by the other half.

    Raises:
        ValueError: If there is a single latent to couple, or bins or bound is too small.

    References:
        Durkan et al. (2019), Neural Spline Flows, section 3.
    """

    def __init__(
        self,
        features: int,
        steps: int,
        context: int = 32,
        hidden: list[int] = [64, 64],
        activation: type[nn.Module] = nn.ReLU,
        bins: int = 8,
        bound: float = 5.0,
        autoregressive: bool = False,
    ):
        if bins < 2 or bound <= 0:
            raise ValueError(f"expected at least 2 bins and a bound above 0, came bins={bins}, bound={bound}")
        self.least, self.pairwise = (1, False) if autoregressive else (2, True)
        self.bins, self.bound = bins, bound
        super().__init__(features, steps, context, hidden, activation)

    def networks(self) -> nn.ModuleList:
        shapes = [Size((self.bins,)), Size((self.bins,)), Size((self.bins - 1,))]
        make = self.coupling if self.pairwise else self.autoregressive
        return make(univariate=partial(MonotonicRQSTransform, bound=self.bound), shapes=shapes)
