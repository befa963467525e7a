"""The linear-Gaussian model, where everything is known: log p(x), the posterior, the ELBO of every Gaussian q."""

from functools import partial

import torch
from torch import Size, Tensor
from torch.distributions import MultivariateNormal
from torch.distributions import kl_divergence as torch_kl

from laws.parts import affine
from uncollapse.distributions import FixedSigma, FullGaussian, Normal, likelihoods, posteriors
from uncollapse.vae import VAE


class PPCA:
    r"""Probabilistic PCA, :math:`z \sim N(0, I), x \mid z \sim N(W z + b, \sigma^2 I)`, made of the house's parts.

    Args:
        data: Size D of x.
        latent: Size L of z.
        sigma: σ.
        diagonal: Whether the posterior's family is diagonal rather than full.

    References:
        Tipping and Bishop (1999), Probabilistic Principal Component Analysis, equations 3 to 9.
    """

    def __init__(self, data: int = 4, latent: int = 2, sigma: float = 0.7, diagonal: bool = False):
        shape, family = Size((data,)), posteriors.Gaussian if diagonal else FullGaussian
        self.sigma, self.latent, self.diagonal = sigma, latent, diagonal
        likelihood = likelihoods.Gaussian(latent, shape, affine, partial(FixedSigma, value=sigma))
        self.vae = VAE(Normal(latent), likelihood, family(latent, shape, affine))
        self.decoder, self.encoder = likelihood.network.layers[0], self.vae.posterior.network.layers[0]
        torch.nn.init.normal_(self.decoder.weight)

    def set_decoder(self, weight: Tensor, bias: Tensor | float = 0.0) -> None:
        """Choose W and b."""
        with torch.no_grad():
            self.decoder.weight.copy_(weight)
            self.decoder.bias.copy_(torch.as_tensor(bias).expand_as(self.decoder.bias))

    def gain(self) -> Tensor:
        """M = Wᵀ W + σ² I, [L, L]."""
        w = self.decoder.weight
        return w.T @ w + self.sigma**2 * torch.eye(self.latent)

    def marginal(self) -> MultivariateNormal:
        """p(x), a function of the decoder's weights."""
        w = self.decoder.weight
        return MultivariateNormal(self.decoder.bias, w @ w.T + self.sigma**2 * torch.eye(len(w)))

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) exactly, in nats: [B]."""
        return self.marginal().log_prob(x)

    def posterior(self, x: Tensor) -> MultivariateNormal:
        """p(z|x) exactly."""
        mean = torch.linalg.solve(self.gain(), self.decoder.weight.T @ (x - self.decoder.bias).T).T
        return MultivariateNormal(mean, precision_matrix=self.gain() / self.sigma**2)

    def sample(self, n: int) -> Tensor:
        """n observations of p(x)."""
        return self.marginal().sample(Size((n,))).detach()

    def gaussian(self, parameters: Tensor) -> MultivariateNormal:
        """The posterior's family as torch's own distribution."""
        q = self.vae.posterior.at(parameters)
        tril = torch.diag_embed(q.stddev) if self.diagonal else q.scale_tril
        return MultivariateNormal(q.mean, scale_tril=tril)

    def gap(self, x: Tensor, parameters: Tensor) -> Tensor:
        """KL(q ‖ p(z|x)) exactly: [B]."""
        return torch_kl(self.gaussian(parameters), self.posterior(x))

    def solve_encoder(self) -> None:
        """Make the encoder the exact posterior, or the best diagonal one: variances 1 / Λ_jj of its precision Λ."""
        with torch.no_grad():
            gain = self.gain()
            mean = torch.linalg.solve(gain, self.decoder.weight.T)
            if self.diagonal:
                rest = 0.5 * (self.sigma**2 / gain.diagonal()).log()
            else:
                tril = torch.linalg.cholesky(torch.linalg.inv(gain) * self.sigma**2)
                rest = torch.cat((tril.diagonal().sub(1e-6).expm1().log(), tril[tuple(self.vae.posterior.below)]))
            self.encoder.weight.zero_()
            self.encoder.weight[: self.latent] = mean
            self.encoder.bias.copy_(torch.cat((-mean @ self.decoder.bias, rest)))

    def solve_decoder(self, covariance: Tensor) -> None:
        """The maximum-likelihood decoder of centred data: W = U (Λ - σ²)₊^(1/2) of the largest L eigenvalues."""
        values, vectors = torch.linalg.eigh(covariance)
        top = (values - self.sigma**2).clamp(min=0).sqrt()
        self.set_decoder((vectors * top).flip(-1)[:, : self.latent])
