"""The modes of a density that is known: where they lie, how wide they are, and which of them a point belongs to."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Modes:
    r"""Isotropic Gaussians of one width, :math:`\mathcal N(\mu_k, \sigma^2 I)`, k = 1 ... K.

    Attributes:
        means: Their centres :math:`\mu_k`, [K, D].
        sigma: Standard deviation of each in each direction, in units of the data.

    Raises:
        ValueError: If the centres are not a matrix with a row at least, or sigma is not above 0.

    Example:
        >>> modes = Modes(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), sigma=0.1)
        >>> nearest, away = modes.assign(torch.tensor([[0.2, 0.0], [0.7, 0.4]]))
        >>> nearest.tolist(), [round(d, 4) for d in away.tolist()]
        ([0, 1], [2.0, 5.0])
    """

    means: Tensor
    sigma: float

    def __post_init__(self) -> None:
        if self.means.dim() != 2 or not len(self.means) or self.sigma <= 0:
            raise ValueError(
                f"expected centres [K, D] of at least 1 mode and a sigma above 0, came {tuple(self.means.shape)} and sigma="
                f"{self.sigma}"
            )

    def __len__(self) -> int:
        return len(self.means)

    def assign(self, x: Tensor) -> tuple[Tensor, Tensor]:
        r"""The mode whose centre is nearest to each point, and how far that is in sigmas.

        .. math:: k_i = \arg\min_k \lVert x_i - \mu_k \rVert, \qquad d_i = \lVert x_i - \mu_{k_i} \rVert / \sigma

        The distance is Euclidean. A point is often called of high quality where d is at most 3, which holds for 98.9 % of the
        draws of such a Gaussian itself in the plane.

        Args:
            x: Points [N, D].

        Returns:
            The modes [N] int64, and the distances [N] in the type of x.

        Raises:
            ValueError: If the points do not have the dimension of the modes.

        References:
            Srivastava et al. (2017), VEEGAN, section 4.1; the distance: Lin et al. (2018), PacGAN, section 4.1.
        """
        if x.shape[-1:] != self.means.shape[1:]:
            raise ValueError(f"expected points of {self.means.shape[1]} dimensions, came {tuple(x.shape)}")
        distances = torch.cdist(x, self.means.to(x), compute_mode="donot_use_mm_for_euclid_dist")
        away, nearest = distances.min(-1)
        return nearest, away / self.sigma

    def features(self, x: Tensor) -> Tensor:
        """What neighbours among points [N, D] are told by: the points."""
        return x

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Modes":
        """The same modes on a device, in one floating type.

        Example:
            >>> Modes(torch.zeros(3, 2), 1.0).to("cpu", torch.float64).means.dtype
            torch.float64
        """
        return Modes(self.means.to(device, dtype), self.sigma)
