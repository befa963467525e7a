"""Games: what two players minimise, by a critic's logits; each a distance of the fakes from the real ones."""

from abc import ABC, abstractmethod
from math import log
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from uncollapse.parts import Part


class Game(Part, ABC):
    r"""What the two players minimise, by the critic's logits.

    By default the critic minimises the cross-entropy of telling real from fake, whose minimum is
    :math:`\log 4 - 2\, \mathrm{JSD}(p_{\mathrm{real}} \,\|\, p_{\mathrm{fake}})`.

    Attributes:
        pairs: Whether the maker of the fakes is judged beside real ones.
        boundary: The logit between real and fake; None where a constant on all logits changes nothing.
        logistic: Whether the critic's number is the logit of a probability, at the optimum p_real / (p_real + p_fake).
        divergence: What `bound` is a lower bound of, p the real ones and q the fakes.
    """

    pairs: ClassVar[bool] = False
    boundary: ClassVar[float | None] = 0.0
    logistic: ClassVar[bool] = True
    divergence: ClassVar[str] = "JSD(p, q)"

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        r"""The critic's loss for each pair, :math:`-\log \sigma(a_{\mathrm{real}}) - \log (1 - \sigma(a_{\mathrm{fake}}))`.

        Example:
            >>> import torch
            >>> round(float(DensityRatio().critic(torch.zeros(()), torch.zeros(())).exp()), 4)
            4.0
        """
        return F.softplus(-real) + F.softplus(fake)

    def bound(self, real: Tensor, fake: Tensor) -> Tensor:
        r"""The game's divergence as this critic sees it, for each pair of logits: a lower bound of it in expectation.

        By default :math:`\log 2 - \tfrac12` of the critic's loss, of the Jensen-Shannon divergence in nats. A game whose
        critic loses by another rule states its own bound, and what it is of in `divergence`.

        Example:
            >>> import torch
            >>> round(float(DensityRatio().bound(torch.zeros(()), torch.zeros(()))), 4) + 0.0
            0.0
        """
        return log(2) - 0.5 * self.critic(real, fake)

    @abstractmethod
    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """What the maker of the fakes minimises, for each of them; `real` are the logits beside them where it `pairs`."""

    def inference(self, real: Tensor) -> Tensor:
        """What an encoder in the game minimises, by the logits of its real pairs: the roles exchanged, to pass for a fake."""
        return self.generator(-real)


class DensityRatio(Game):
    r"""The logit itself, an estimate of the log density ratio: at the optimal critic the mean is KL(fake ‖ real) in nats.

    .. math:: \mathbb E_{\mathrm{fake}}[-a]
              = \mathbb E_{\mathrm{fake}}\left[\log \frac{p_{\mathrm{fake}}}{p_{\mathrm{real}}}\right]

    References:
        Sugiyama, Suzuki and Kanamori (2012), Density Ratio Estimation in Machine Learning; Mescheder et al. (2017),
        equation 3.6.

    Example:
        >>> import torch
        >>> float(DensityRatio().generator(torch.tensor(-2.0)))
        2.0
    """

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake


class NonSaturating(Game):
    r"""Minus the log probability of passing for real, :math:`-\log \sigma(a)`: a gradient where fakes are told apart easily.

    References:
        Goodfellow et al. (2014), Generative Adversarial Nets, section 3.

    Example:
        >>> import torch
        >>> round(float(NonSaturating().generator(torch.tensor(-2.0))), 4)
        2.1269
    """

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return F.softplus(-fake)


class Saturating(Game):
    r"""The zero-sum game, :math:`\log (1 - \sigma(a))`: at the optimal critic its value is :math:`2\, \mathrm{JSD} - \log 4`
    with the critic's own share.

    References:
        Goodfellow et al. (2014), Generative Adversarial Nets, equation 1.

    Example:
        >>> import torch
        >>> round(float(Saturating().generator(torch.tensor(-2.0))), 4)
        -0.1269
    """

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -F.softplus(fake)


class LeastSquares(Game):
    r"""Least squares: the critic's number is to be 1 of real ones and 0 of fakes, which are to reach `target`.

    .. math:: \tfrac12 (a_{\mathrm{real}} - 1)^2 + \tfrac12 a_{\mathrm{fake}}^2, \qquad \tfrac12 (a_{\mathrm{fake}} - c)^2

    The critic's optimum is :math:`p_{\mathrm{real}} / (p_{\mathrm{real}} + p_{\mathrm{fake}})`. One less four times its loss
    is at most the Le Cam divergence, :math:`\tfrac12 \int (p - q)^2 / (p + q)`, in [0, 1].

    Args:
        target: c.

    References:
        Mao et al. (2017), Least Squares Generative Adversarial Networks, equation 9.

    Example:
        >>> import torch
        >>> game, two = LeastSquares(), torch.tensor(2.0)
        >>> float(game.critic(torch.tensor(1.0), two)), float(game.generator(two))
        (2.0, 0.5)
    """

    boundary: ClassVar[float | None] = 0.5
    logistic: ClassVar[bool] = False
    divergence: ClassVar[str] = "Le Cam(p, q)"

    def __init__(self, target: float = 1.0):
        self.target = target

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (real - 1).square() + 0.5 * fake.square()

    def bound(self, real: Tensor, fake: Tensor) -> Tensor:
        return 1 - 4 * self.critic(real, fake)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return 0.5 * (fake - self.target).square()

    def inference(self, real: Tensor) -> Tensor:
        return 0.5 * (real - (1 - self.target)).square()


class Wasserstein(Game):
    r"""The critic's mean difference, :math:`\mathbb E_{\mathrm{real}}[a] - \mathbb E_{\mathrm{fake}}[a]`: over the critics of
    Lipschitz constant 1 its largest value is the Wasserstein-1 distance. A clip or a gradient penalty keeps the constant small.
    Under another constant L it is at most L times the distance.

    References:
        Arjovsky, Chintala and Bottou (2017), Wasserstein GAN, equation 2.

    Example:
        >>> import torch
        >>> float(Wasserstein().critic(torch.tensor(3.0), torch.tensor(1.0)))
        -2.0
    """

    boundary: ClassVar[float | None] = None
    logistic: ClassVar[bool] = False
    divergence: ClassVar[str] = "L·W₁(p, q)"

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake - real

    def bound(self, real: Tensor, fake: Tensor) -> Tensor:
        return real - fake

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake


class Hinge(Game):
    r"""The hinge loss: the critic is content beyond a margin of 1.

    .. math:: \max(0, 1 - a_{\mathrm{real}}) + \max(0, 1 + a_{\mathrm{fake}}), \qquad -a_{\mathrm{fake}}

    One less half the critic's loss is at most the total variation distance.

    References:
        Lim and Ye (2017), Geometric GAN, equations 7 and 10; Miyato et al. (2018), equations 16 and 17.

    Example:
        >>> import torch
        >>> float(Hinge().critic(torch.tensor(3.0), torch.tensor(0.5)))
        1.5
    """

    logistic: ClassVar[bool] = False
    divergence: ClassVar[str] = "TV(p, q)"

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - real) + F.relu(1 + fake)

    def bound(self, real: Tensor, fake: Tensor) -> Tensor:
        return 1 - 0.5 * self.critic(real, fake)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake


class Relativistic(Game):
    r"""Relativistic pairing: a fake is judged beside a real one, and has to look more real than that.

    .. math:: -\log \sigma(a_{\mathrm{real}} - a_{\mathrm{fake}}), \qquad -\log \sigma(a_{\mathrm{fake}} - a_{\mathrm{real}})

    With `R1` and `R2` beside it, the game of R3GAN. The critic's loss is that of telling in which order a real one and a fake
    stand. The best logit of that is a difference of two log density ratios, so log 2 less the loss is at most
    :math:`\mathrm{JSD}(p \otimes q, q \otimes p)`, and reaches it.

    References:
        Jolicoeur-Martineau (2019), The relativistic discriminator, section 4; Huang, Gokaslan, Kuleshov and Tompkin (2024), The
        GAN is dead; long live the GAN!, equation 2.

    Example:
        >>> import torch
        >>> round(float(Relativistic().generator(torch.tensor(0.0), torch.tensor(0.0)).exp()), 4)
        2.0
    """

    pairs: ClassVar[bool] = True
    boundary: ClassVar[float | None] = None
    logistic: ClassVar[bool] = False
    divergence: ClassVar[str] = "JSD(p⊗q, q⊗p)"

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(fake - real)

    def bound(self, real: Tensor, fake: Tensor) -> Tensor:
        return log(2) - self.critic(real, fake)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        if real is None:
            raise ValueError("Relativistic judges a fake beside a real one, came no logits of real ones; write NonSaturating")
        return F.softplus(real - fake)
