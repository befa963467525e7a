"""Several latents as one: a distribution over (z2, z1), the first block drawn first, as prior and as posterior."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, MultivariateNormal, constraints

from uncollapse.distributions.conditional import Density, Likelihood, Posterior, Prior
from uncollapse.distributions.densities import DiagonalNormal, Unvalidated
from uncollapse.distributions.floored_posteriors import BatchNormalized
from uncollapse.networks import Factory


class Chain(Unvalidated):
    r"""p(z2) p(z1|z2) over the concatenated event (z2, z1); a first block that is a chain itself adds its own blocks.

    Args:
        first: p(z2), event shape [L2].
        then: z2 [..., L2] to p(z1|z2) with batch shape [...], event shape [L1].
        features: L1.
    """

    support = constraints.independent(constraints.real, 1)

    def __init__(self, first: Distribution, then: Callable[[Tensor], Distribution], features: int):
        self.first, self.then = first, then
        self.sizes: tuple[int, ...] = (*(first.sizes if isinstance(first, Chain) else first.event_shape), features)
        super().__init__(first.batch_shape, Size((sum(self.sizes),)))

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return self.first.has_rsample

    @property
    def names(self) -> list[str]:
        """The names of the blocks in the order of the event: z2, z1 for two."""
        return [f"z{level}" for level in range(len(self.sizes), 0, -1)]

    @property
    def mean(self) -> Tensor:
        """E[z2] and E[E[z1|z2]], the latter by the cubature rule of degree 3 (2 L2 points, no noise): exact where E[z1|z2] is
        a polynomial of at most that degree. For a Gaussian first block."""
        points = self._points()
        above = self.first.mean
        return torch.cat((above, self.then(points).mean.mean(0).expand(*above.shape[:-1], -1)), -1)

    def _points(self) -> Tensor:
        """μ ± √L2 S e_l of a first block N(μ, S Sᵀ): [2 L2, ..., L2]."""
        match self.first:
            case DiagonalNormal():
                steps = torch.diag_embed(self.first.scale)
            case MultivariateNormal():
                steps = self.first.scale_tril.mT
            case _:
                raise NotImplementedError
        steps = math.sqrt(steps.shape[-1]) * steps.movedim(-2, 0)
        return torch.cat((self.first.mean + steps, self.first.mean - steps))

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        z2 = self.first.rsample(sample_shape)
        return torch.cat((z2, self.then(z2).rsample()), -1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        z2 = self.first.sample(sample_shape)
        return torch.cat((z2, self.then(z2).sample()), -1)

    def blocks(self, value: Tensor) -> Tensor:
        """The conditional log density of each block given those before it, in nats: value [..., L] to [..., blocks]."""
        z2, z1 = value.split([value.shape[-1] - self.sizes[-1], self.sizes[-1]], -1)
        above = self.first.blocks(z2) if isinstance(self.first, Chain) else self.first.log_prob(z2).unsqueeze(-1)
        below = self.then(z2).log_prob(z1).unsqueeze(-1)
        return torch.cat((above.expand(*below.shape[:-1], -1), below), -1)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.blocks(value).sum(-1)


def block_terms(q: Distribution, p: Distribution, z: Tensor) -> Tensor | None:
    """log q(z_b|x, above) - log p(z_b|above) of each block of z [..., L], in nats: [..., blocks].

    None where the two are no chains of the same blocks.

    Example:
        >>> from uncollapse.distributions.densities import StandardNormal
        >>> p = Chain(StandardNormal(2, torch.zeros(())), lambda z2: StandardNormal(1, z2), 1)
        >>> block_terms(p, p, torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """
    if not (isinstance(q, Chain) and isinstance(p, Chain) and q.sizes == p.sizes):
        return None
    return q.blocks(z) - p.blocks(z)


class ChainPrior(Prior):
    r"""A hierarchical prior, :math:`p(z) = p(z_2)\, p(z_1 \mid z_2)` over :math:`z = (z_2, z_1)`: two levels in one latent.

    The likelihood sees all of z; which of it counts is its network's affair. A `first` that is a ChainPrior itself gives a
    third level.

    Args:
        features: Size L of the whole latent, at least 2.
        first: Factory of p(z2), a prior of any kind; a VampPrior mixes the first block of a ChainPosterior.
        then: Factory of p(z1|z2), a family with its network: called with the size of z1 and the shape of z2.
        top: Size of z2; None: half of L.

    Raises:
        ValueError: If a block is empty, has no exact density, or does not live on the real line.

    References:
        Tomczak and Welling (2018), VAE with a VampPrior, section 4 (there p(z1|z2) is a diagonal Gaussian).

    Example:
        >>> from uncollapse.distributions import Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> prior = ChainPrior(6, Normal, lambda features, shape: posteriors.Gaussian(features, shape, MLP), top=2)
        >>> prior().names, prior().sizes, prior().sample((5,)).shape
        (['z2', 'z1'], (2, 4), torch.Size([5, 6]))
    """

    def __init__(
        self,
        features: int,
        first: Callable[[int], Prior],
        then: Callable[[int, Size], Posterior],
        top: int | None = None,
    ):
        super().__init__(features)
        self.top = _top(features, top)
        self.first = first(self.top)
        self.then = then(features - self.top, Size((self.top,)))
        _admit(self.first)
        _admit(self.then, lower=True)
        self.wants = self.first.wants

    def start_from(self, x: Tensor) -> None:
        self.first.start_from(x)

    def attach(self, likelihood: Likelihood, posterior: Posterior) -> None:
        self.first.attach(likelihood, posterior.first if isinstance(posterior, ChainPosterior) else posterior)

    def forward(self, c: Any = None) -> Distribution:
        return Chain(self.first(), self.then, self.features - self.top)


class ChainPosterior(Posterior):
    r"""The posterior of a hierarchical prior, :math:`q(z \mid x) = q(z_2 \mid x)\, q(z_1 \mid x, z_2)` over (z2, z1).

    x is encoded once, into the parameters of q(z2|x) and the features h(x) that q(z1|x, z2) sees beside z2.

    Args:
        features: Size L of the whole latent, at least 2.
        shape: Shape of one observation.
        first: Factory of q(z2|x), called with the size of z2 and the shape of x.
        then: Factory of q(z1|x, z2), called with the size of z1 and the shape (context + size of z2,) of what it sees.
        network: Factory of h(x), called with the shape of x and (context,).
        context: Number of features h(x).
        top: Size of z2; None: half of L.

    Raises:
        ValueError: If a block is empty, has no exact density, does not live on the real line, or has no encoder.

    References:
        Tomczak and Welling (2018), VAE with a VampPrior, section 4 and appendix (its q(z1|x, z2) is of this kind).

    Example:
        >>> from functools import partial
        >>> from uncollapse.distributions import posteriors
        >>> from uncollapse.networks import MLP
        >>> family = partial(posteriors.Gaussian, network=MLP)
        >>> q = ChainPosterior(6, (1, 8, 8), family, family, MLP, context=10, top=2)
        >>> q(torch.zeros(7, 1, 8, 8)).rsample((3,)).shape
        torch.Size([3, 7, 6])
    """

    self_contained = False

    def __init__(
        self,
        features: int,
        shape: Size,
        first: Callable[[int, Size], Posterior],
        then: Callable[[int, Size], Posterior],
        network: Factory,
        context: int = 300,
        top: int | None = None,
    ):
        super().__init__(features, shape)
        if context < 1:
            raise ValueError(f"expected at least 1 feature of x in the context, came {context}")
        self.top, self.context = _top(features, top), context
        self.first = first(self.top, self.shape)
        self.network = network(self.shape, Size((context,)))
        self.then = then(features - self.top, Size((context + self.top,)))
        _admit(self.first)
        _admit(self.then, lower=True)

    def encode(self, x: Tensor) -> Tensor:
        return torch.cat((self.first.encode(x), self.network(x)), -1)

    def at(self, parameters: Tensor) -> Distribution:
        of_first, h = parameters.split([parameters.shape[-1] - self.context, self.context], -1)

        def then(z2: Tensor) -> Distribution:
            leading = torch.broadcast_shapes(h.shape[:-1], z2.shape[:-1])
            return self.then(torch.cat((h.expand(*leading, -1), z2.expand(*leading, -1)), -1))

        return Chain(self.first.at(of_first), then, self.features - self.top)


def _top(features: int, top: int | None) -> int:
    """The size of z2."""
    top = features // 2 if top is None else top
    if not 0 < top < features:
        raise ValueError(f"a chain of two blocks needs 0 < top < {features}, the size of the latent, came top={top}")
    return top


def _admit(part: Prior | Posterior, lower: bool = False) -> None:
    """Refuse a block whose density the chain cannot multiply, or one below another that it sees the draws of."""
    name = type(part).__name__
    if part.density is not Density.EXACT:
        raise ValueError(f"a chain multiplies exact densities, {name} gives {part.density.value}; write Gaussian")
    if hasattr(part.support, "lower_bound"):
        raise ValueError(f"the blocks of a chain live on the real line, {name} on an interval; write Gaussian")
    if isinstance(part, Posterior) and hasattr(part, "attach"):
        raise ValueError(f"the blocks of a chain have encoders, {name} finds its parameters through the model; write Gaussian")
    if lower and isinstance(part, BatchNormalized):
        raise ValueError(f"a lower block sees draws, over which {name} would normalise; write Gaussian, or {name} as first")
