"""Flow priors: a standard normal through learned invertible maps (the maps are zuko's)."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from zuko.flows import MAF, NICE, NSF, Flow

from uncollapse.distributions.conditional import Prior
from uncollapse.distributions.densities import StandardNormal
from uncollapse.distributions.flows import Transformed


class FlowPrior(Prior, ABC):
    r"""A normalizing flow as prior, :math:`p(z) = \mathcal N(f(z); 0, I) \, |\det \partial f / \partial z|`; its kinds follow.

    Args:
        features: Size L of the latent.
        flow: zuko's flow, whose transform is f and whose base distribution is left out: noise is the house's, by global row.
    """

    like: Tensor

    @abstractmethod
    def __init__(self, features: int, flow: Flow):
        super().__init__(features)
        self.transform = flow.transform
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def forward(self, c: Any = None) -> Distribution:
        return Transformed(StandardNormal(self.features, self.like), self.transform(c).inv)


class CouplingPrior(FlowPrior):
    r"""A flow of affine coupling layers: half of the units are shifted and scaled by what a network says of the other half.

    Density and draws take one pass each.

    Args:
        features: Size L of the latent, at least 2.
        transforms: Number of layers; the halves change places between them.
        hidden: Widths of the hidden layers of each network.
        activation: Class of the nonlinearity.

    Raises:
        ValueError: If the latent has one unit, or there is no layer.

    References:
        Dinh, Sohl-Dickstein and Bengio (2017), Density Estimation Using Real NVP, equations 7 and 8.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> CouplingPrior(4)().sample((3,)).shape
        torch.Size([3, 4])
    """

    def __init__(self, features: int, transforms: int = 4, hidden: list[int] = [64, 64], activation: type[nn.Module] = nn.ReLU):
        _check(transforms)
        if features == 1:
            raise ValueError(
                "a coupling layer moves one half of the latent by the other, came a latent of 1 unit; write --prior SplinePrior"
            )
        flow = NICE(features, transforms=transforms, hidden_features=hidden, activation=activation)
        super().__init__(features, flow)


class AutoregressivePrior(FlowPrior):
    r"""A masked autoregressive flow: each unit is shifted and scaled by what a masked network says of those before it.

    .. math:: f(z)_l = s_l(z_{<l}) \, z_l + m_l(z_{<l})

    The density takes one pass, a draw takes L. It is the inverse of an inverse autoregressive flow.

    Args:
        features: Size L of the latent.
        transforms: Number of layers; the order of the units is turned round between them.
        hidden: Widths of the hidden layers of each network.
        activation: Class of the nonlinearity.

    Raises:
        ValueError: If there is no layer.

    References:
        Papamakarios, Pavlakou and Murray (2017), Masked Autoregressive Flow for Density Estimation, section 3; as a prior:
        Chen et al. (2017), Variational Lossy Autoencoder, section 3.2.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> AutoregressivePrior(4)().sample((3,)).shape
        torch.Size([3, 4])
    """

    def __init__(self, features: int, transforms: int = 3, hidden: list[int] = [64, 64], activation: type[nn.Module] = nn.ReLU):
        _check(transforms)
        flow = MAF(features, transforms=transforms, hidden_features=hidden, activation=activation)
        super().__init__(features, flow)


class SplinePrior(FlowPrior):
    r"""An autoregressive flow of monotone rational-quadratic splines on (-5, 5), the identity beyond.

    The density takes one pass, a draw takes L.

    Args:
        features: Size L of the latent.
        transforms: Number of layers; the order of the units is turned round between them.
        bins: Pieces of each spline.
        hidden: Widths of the hidden layers of each network.
        activation: Class of the nonlinearity.

    Raises:
        ValueError: If there is no layer, or fewer than 2 bins.

    References:
        Durkan et al. (2019), Neural Spline Flows, section 3.1.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> SplinePrior(4)().sample((3,)).shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        features: int,
        transforms: int = 2,
        bins: int = 8,
        hidden: list[int] = [64, 64],
        activation: type[nn.Module] = nn.ReLU,
    ):
        _check(transforms)
        if bins < 2:
            raise ValueError(f"expected at least 2 bins, came {bins}")
        flow = NSF(features, transforms=transforms, bins=bins, hidden_features=hidden, activation=activation)
        super().__init__(features, flow)


def _check(transforms: int) -> None:
    if transforms < 1:
        raise ValueError(f"expected at least 1 transform, came {transforms}; write --prior Normal for none")
