"""Implicit posteriors: a network turns what the encoder says and noise into z, and nobody knows the density."""

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from uncollapse import noise
from uncollapse.distributions.conditional import Density, Posterior
from uncollapse.distributions.densities import Unvalidated, wide
from uncollapse.networks import MLP, Factory


class Pushed(Unvalidated):
    """z = g(ε), ε ~ N(0, I): draws with a gradient, and nothing else."""

    support = constraints.independent(constraints.real, 1)
    has_rsample = True
    pairwise = False

    def __init__(self, g: Callable[[Tensor], Tensor], like: Tensor, features: int, noise_features: int):
        super().__init__(like.shape[:-1], Size((features,)))
        self.g, self.like, self.noise_features = g, wide(like), noise_features

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = Size((*sample_shape, *self.batch_shape, self.noise_features))
        return wide(self.g(noise.normal(shape, self.like)))

    def log_prob(self, value: Tensor) -> NoReturn:
        raise NotImplementedError(
            "an implicit posterior has draws but no density; learn it by --objective AdversarialVariationalBayes --procedure "
            "Alternating, evaluate with Matched() as proposal"
        )


class Implicit(Posterior):
    r"""An implicit posterior: any distribution that a network can make of noise.

    .. math:: h = \mathrm{enc}_\phi(x), \quad \varepsilon \sim \mathcal N(0, I), \quad z = g_\phi(h, \varepsilon)

    There is no log q(z|x), so it learns through a critic (`AdversarialVariationalBayes`, `AdversarialAutoencoder`). Held-out
    likelihoods and the diagnosis take Gaussians with the moments of its draws in its place, and say so.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        network: Factory of the encoder, called with its output's shape, (context,).
        mixing: Factory of g, from (context + noise_features,) to (L,).
        context: Size of h.
        noise_features: Size of ε.

    Raises:
        ValueError: If a size is below 1.

    References:
        Mescheder, Nowozin and Geiger (2017), Adversarial Variational Bayes, figure 2; Makhzani et al. (2016), Adversarial
        Autoencoders, section 2 (the universal approximator posterior).

    Example:
        >>> _ = torch.manual_seed(0)
        >>> Implicit(2, (5,), MLP)(torch.zeros(7, 5)).rsample((3,)).shape
        torch.Size([3, 7, 2])
    """

    density = Density.SAMPLES
    self_contained = False

    def __init__(
        self,
        features: int,
        shape: Size,
        network: Factory,
        mixing: Factory = MLP,
        context: int = 64,
        noise_features: int = 32,
    ):
        super().__init__(features, shape)
        if min(context, noise_features) < 1:
            raise ValueError(f"expected sizes of at least 1, came context={context}, noise_features={noise_features}")
        self.context, self.noise_features = context, noise_features
        self.network = network(self.shape, Size((context,)))
        self.mixing = mixing(Size((context + noise_features,)), Size((features,)))

    def encode(self, x: Tensor) -> Tensor:
        return self.network(x)

    def at(self, parameters: Tensor) -> Distribution:
        def g(epsilon: Tensor) -> Tensor:
            return self.mixing(torch.cat((parameters.expand(*epsilon.shape[:-1], -1), epsilon), -1))

        return Pushed(g, parameters, self.features, self.noise_features)
