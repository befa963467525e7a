"""The VampPrior: a mixture of the posteriors of learned pseudo-inputs."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from uncollapse.distributions.conditional import Density, Likelihood, Posterior, Prior
from uncollapse.distributions.densities import DiagonalNormal, SqueezedNormal
from uncollapse.distributions.floored_posteriors import BatchNormalized
from uncollapse.distributions.mixtures import DiagonalMixture, FamilyMixture, SqueezedMixture
from uncollapse.networks import Network
from uncollapse.networks.batchnorm import BatchNorm


class VampPrior(Prior):
    r"""The variational mixture of posteriors, the prior that the best aggregated posterior would be.

    .. math:: p(z) = \frac1K \sum_{k=1}^K q_\phi(z \mid u_k), \quad u_k \in [a, b]^D

    The pseudo-inputs :math:`u_k` are parameters, clamped to the data's range. The encoder is the model's own: `VAE` hands over
    the posterior, which stays the model's, so that no weight has two names. Each call encodes the pseudo-inputs once. KL is by
    Monte Carlo. With diagonal Gaussians :math:`\log p(z)` is one matrix product; a family of another kind is asked component
    by component.

    Args:
        features: Size L of the latent.
        components: Number K of pseudo-inputs.
        mean: Mean of the pseudo-inputs' values at the start.
        std: Their standard deviation at the start.
        low: Smallest value a of the data.
        high: Largest value b of the data.
        from_data: Whether a training begins with the pseudo-inputs at training data, plus noise of `std`.

    Raises:
        ValueError: If there is no component, or the pseudo-inputs would lie outside of the data's range.

    References:
        Tomczak and Welling (2018), VAE with a VampPrior, equation 9; for MNIST 500 pseudo-inputs that start at N(0.05, 0.01²).

    Example:
        >>> from uncollapse.distributions import Bernoulli, posteriors
        >>> from uncollapse.networks import MLP
        >>> from uncollapse.vae import VAE
        >>> vae = VAE(VampPrior(2, components=5), Bernoulli(2, (4,), MLP), posteriors.Gaussian(2, (4,), MLP))
        >>> vae.prior.pseudo_inputs.shape, vae.prior().log_prob(torch.zeros(7, 2)).shape
        (torch.Size([5, 4]), torch.Size([7]))
    """

    takes_condition: ClassVar[bool] = False

    pseudo_inputs: nn.Parameter

    def __init__(
        self,
        features: int,
        components: int = 500,
        mean: float = 0.05,
        std: float = 0.01,
        low: float = 0.0,
        high: float = 1.0,
        from_data: bool = False,
    ):
        super().__init__(features)
        if components < 1 or std < 0:
            raise ValueError(f"expected at least 1 component and a std of at least 0, came {components} and {std}")
        if not low < high:
            raise ValueError(f"expected low < high, came low={low}, high={high}")
        if not low <= mean <= high:
            raise ValueError(
                f"pseudo-inputs start at mean={mean}, outside of the data's range from {low} to {high}; write a mean within it"
            )
        self.components, self.start, self.low, self.high = components, (mean, std), low, high
        self.wants = components if from_data else 0
        self.beside: Posterior | None = None

    def attach(self, likelihood: Likelihood, posterior: Posterior) -> None:
        """Called by the model that holds this prior: whose posterior the components are, and what the data are like.

        Raises:
            ValueError: If the posterior cannot be mixed, is not over this latent, is another than before, or the pseudo-inputs
                would lie outside of the data's range.
        """
        self._admit(likelihood, posterior)
        if self.beside is None:
            mean, std = self.start
            u = (mean + std * torch.randn(self.components, *posterior.shape)).clamp_(self.low, self.high)
            self.pseudo_inputs = nn.Parameter(u)
        object.__setattr__(self, "beside", posterior)  # the model's module, not this one's
        self.support = posterior.support

    def _admit(self, likelihood: Likelihood, posterior: Posterior) -> None:
        name = type(posterior).__name__
        if self.beside is not None and self.beside is not posterior:
            raise ValueError("this VampPrior mixes the posteriors of another model; make a new one for each model")
        reason = unmixable(posterior)
        if reason is not None:
            raise ValueError(reason)
        if posterior.features != self.features:
            raise ValueError(
                f"VampPrior over {self.features} latents is a mixture of posteriors over as many, {name} has "
                f"{posterior.features}; within ChainPrior write --posterior ChainPosterior with the same top"
            )
        if likelihood.levels is not None and not (self.low >= 0 and self.high <= 1):
            raise ValueError(
                f"pseudo-inputs may go from {self.low} to {self.high}, the data of {type(likelihood).__name__} lie in [0, 1]; "
                "write low=0 and high=1"
            )

    def check(self, x: Tensor) -> None:
        """Refuse observations that lie beyond the pseudo-inputs' range.

        Raises:
            ValueError: If some of x [N, *shape] do.
        """
        if x.min() < self.low or x.max() > self.high:
            low, high = float(x.min()), float(x.max())
            raise ValueError(
                f"pseudo-inputs go from {self.low:g} to {self.high:g}, the data from {low:.4g} to {high:.4g}; write the data's "
                "--prior.low, --prior.high and a --prior.mean between them"
            )

    def start_from(self, x: Tensor) -> None:
        """Put the pseudo-inputs at K observations, drawn at random from x [N, *shape], plus noise of `std`, clamped.

        Raises:
            ValueError: If the prior has no model yet, or x has fewer than K rows, or is of another shape or range.

        Example:
            >>> from uncollapse.distributions import Bernoulli, posteriors
            >>> from uncollapse.networks import MLP
            >>> from uncollapse.vae import VAE
            >>> vae = VAE(VampPrior(2, components=5), Bernoulli(2, (4,), MLP), posteriors.Gaussian(2, (4,), MLP))
            >>> vae.prior.start_from(torch.ones(20, 4))
            >>> round(vae.prior.pseudo_inputs.mean().item(), 1)
            1.0
        """
        shape = self.posterior.shape
        if x.shape[1:] != shape or len(x) < self.components:
            raise ValueError(f"expected at least {self.components} observations of shape {tuple(shape)}, came {tuple(x.shape)}")
        self.check(x)
        with torch.no_grad():
            rows = x[torch.randperm(len(x), device=x.device)[: self.components]].to(self.pseudo_inputs)
            noisy = rows + self.start[1] * torch.randn_like(rows)
            self.pseudo_inputs.copy_(noisy.clamp(self.low, self.high))

    @property
    def posterior(self) -> Posterior:
        """The posterior whose mixture this is.

        Raises:
            ValueError: If the prior is in no model.
        """
        if self.beside is None:
            raise ValueError("VampPrior mixes the posterior of a model: hand it to VAE(prior, likelihood, posterior) first")
        return self.beside

    def forward(self, c: Any = None) -> Distribution:
        posterior = self.posterior
        parameters = posterior.encode(self.pseudo_inputs.clamp(self.low, self.high))
        q = posterior.at(parameters)
        if type(q) is DiagonalNormal:
            return DiagonalMixture(q.loc.new_zeros(self.components), q.loc, q.log_scale)
        if type(q) is SqueezedNormal:
            return SqueezedMixture(q.loc.new_zeros(self.components), q.loc, q.log_scale, q.low, q.high)
        return FamilyMixture(posterior.at, parameters, posterior.support)


def unmixable(posterior: Posterior) -> str | None:
    """Why the members of a posterior's family make no VampPrior, and what to write instead; None: they do.

    Example:
        >>> from torch import Size
        >>> from uncollapse.distributions import posteriors
        >>> from uncollapse.networks import MLP
        >>> unmixable(posteriors.Gaussian(2, Size((5,)), MLP)) is None
        True
    """
    name, parts = type(posterior).__name__, list(posterior.modules())
    if posterior.density is not Density.EXACT:
        return f"VampPrior is a mixture of densities q(z|u), {name} gives {posterior.density.value}; write --prior Mixture"
    if hasattr(posterior, "attach"):
        return (
            f"VampPrior encodes its pseudo-inputs, {name} finds its parameters through the model, and so through this prior "
            "itself; write a posterior with an encoder, or --prior Mixture"
        )
    tokens = [type(part).__name__ for part in parts if isinstance(part, Network) and not part.smooth]
    if tokens:
        return (
            f"VampPrior learns its pseudo-inputs through the encoder, {tokens[0]} reads tokens and has no gradient for them; "
            "write --prior Mixture"
        )
    normalised = [type(part).__name__ for part in parts if isinstance(part, (BatchNormalized, BatchNorm))]
    if normalised:
        return (
            f"VampPrior encodes pseudo-inputs, which {normalised[0]} would normalise by statistics of their own; write "
            "--prior Mixture, or an encoder without"
        )
    return None
