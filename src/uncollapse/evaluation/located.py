"""Importance sampling without an encoder: around the highest point of log p(x, z) that annealed chains find for each image."""

from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from uncollapse.diagnosis import kind_of
from uncollapse.distributions import LatentVariableModel, Posterior
from uncollapse.distributions.densities import CholeskyNormal
from uncollapse.distributions.still import evaluating, frozen
from uncollapse.evaluation.annealed import ais
from uncollapse.evaluation.annealing import SHORT, Annealing
from uncollapse.evaluation.likelihood import HeldOut, log_likelihood, width
from uncollapse.evaluation.paths import admit
from uncollapse.evaluation.proposals import FromPrior, Widened
from uncollapse.vae import VAE

SEEKING = 4  # how many of them for each image
NEWTON = 20  # steps of the climb from the highest of their ends
BLOCK = 256  # most images whose curvature is taken together
FLATTEST = 1.0  # least precision of the Gaussian: no wider than a standard normal prior


class Laplace(Posterior):
    r"""The Gaussian at a mode of p(z|x), with the curvature there, of a model without an encoder.

    .. math:: q(z \mid x) = \mathcal N(\hat z, \Lambda^{-1}), \quad \hat z = \arg\max_z \log p(x, z), \quad
              \Lambda = -\nabla_z^2 \log p(x, \hat z)

    Short annealed chains look for the mode, and Newton steps, shortened where they do not rise, climb it from the highest of
    them. Eigenvalues of Λ are taken to be at least 1. Of a linear-Gaussian model it is the exact posterior; of several modes
    it sees one.

    Args:
        model: p(z) and p(x|z), whose log p(x, z) has two derivatives in z.
        chains: Annealed chains for each image.
        annealing: Their temperatures and transitions; None: `Annealing(100, leapfrogs=5)`.
        steps: Newton steps, each of L + 1 gradients of an image.
        budget: Numbers that the decoder may give at a time.
        seed: Of the chains.

    Raises:
        ValueError: If the model has no density, or a number is out of range.

    References:
        MacKay (2003), Information Theory, Inference, and Learning Algorithms, chapter 27.

    Example:
        >>> from uncollapse.distributions import Normal, likelihoods
        >>> from uncollapse.networks import Bias
        >>> model = LatentVariableModel(Normal(2), likelihoods.Gaussian(2, (3,), Bias))
        >>> q = Laplace(model, annealing=Annealing(5, leapfrogs=1))(torch.zeros(1, 3))
        >>> [round(v, 3) + 0.0 for v in q.mean[0].tolist()], [round(v, 3) for v in q.stddev[0].tolist()]
        ([0.0, 0.0], [1.0, 1.0])
    """

    given: ClassVar[tuple[str, ...]] = ("model",)

    def __init__(
        self,
        model: LatentVariableModel,
        chains: int = SEEKING,
        annealing: Annealing | None = None,
        steps: int = NEWTON,
        budget: int | None = None,
        seed: int = 0,
    ):
        super().__init__(model.prior.features, model.likelihood.shape)
        if chains < 1 or steps < 0:
            raise ValueError(f"expected chains of at least 1 and steps of at least 0, came chains={chains}, steps={steps}")
        admit(model, FromPrior())
        self.support = model.prior.support
        self.model, self.chains, self.steps, self.seed = model, chains, steps, seed
        self.annealing, self.budget = annealing or SHORT, budget
        self.rows = max(1, min(BLOCK, (budget or 2**21) // width(model) // chains))

    def encode(self, x: Tensor) -> Tensor:
        """The mode and the Cholesky factor of the covariance there, [B, L + L²]."""
        ends = ais(self.model, x, self.chains, self.annealing, budget=self.budget, seed=self.seed).z
        with evaluating(self.model), frozen(self.model.parameters()):
            return torch.cat([self._found(*part) for part in zip(x.split(self.rows), ends.split(self.rows, 1), strict=True)])

    def at(self, parameters: Tensor) -> Distribution:
        loc, tril = self._split(parameters)
        return CholeskyNormal(loc, tril)

    def widen(self, parameters: Tensor, factor: float) -> Tensor:
        loc, tril = self._split(parameters)
        return torch.cat((loc, factor * tril.flatten(1)), 1)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        n = self.features
        return parameters[:, :n], parameters[:, n:].unflatten(1, (n, n))

    def _found(self, x: Tensor, ends: Tensor) -> Tensor:
        with torch.no_grad():
            best = self.model.log_joint(x, ends).argmax(0)
        at = self._climbed(x, ends[best, torch.arange(len(x), device=x.device)])
        inverse = at.vectors / at.values.unsqueeze(-2) @ at.vectors.mT
        return torch.cat((at.z, torch.linalg.cholesky(inverse).to(at.z).flatten(1)), 1)

    def _climbed(self, x: Tensor, z: Tensor) -> "_Summit":
        """Where Newton steps lead from z [B, L]."""
        at, length = _look(self.model, x, z), torch.ones_like(z[:, :1])
        for _ in range(self.steps):
            new = _look(self.model, x, at.z + length * at.step)
            better = new.height > at.height
            at = _Summit(*(_where(better, a, b) for a, b in zip(new, at, strict=True)))
            length = torch.where(better.unsqueeze(1), (2 * length).clamp(max=1), length / 4)
        return at


class _Summit(NamedTuple):
    """Points and what is known there."""

    z: Tensor  # [B, L]
    height: Tensor  # log p(x, z), [B]
    step: Tensor  # Newton's, [B, L]
    values: Tensor  # eigenvalues of the curvature, at least FLATTEST, [B, L] float64
    vectors: Tensor  # [B, L, L] float64


def _look(model: LatentVariableModel, x: Tensor, z: Tensor) -> _Summit:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        height = model.log_joint(x, z.unsqueeze(0))[0]
        (slope,) = torch.autograd.grad(height.sum(), z, create_graph=True)
        slope = slope + 0 * z  # where log p(x, z) is linear in z, its gradient does not depend on z
        rows = [torch.autograd.grad(slope[:, i].sum(), z, retain_graph=True)[0] for i in range(z.shape[1])]
    curvature = -torch.stack(rows, 1).double().nan_to_num(0.0, 0.0, 0.0)
    values, vectors = torch.linalg.eigh((curvature + curvature.mT) / 2)
    values = values.abs().clamp_min(FLATTEST)
    along = (vectors.mT @ slope.detach().double().unsqueeze(-1)).squeeze(-1) / values
    step = (vectors @ along.unsqueeze(-1)).squeeze(-1).to(z)
    return _Summit(z.detach(), height.detach(), step, values, vectors)


def _where(better: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(better.reshape(-1, *[1] * (new.dim() - 1)), new, old)


def located_likelihood(
    model: LatentVariableModel,
    x: Tensor | Iterable[Tensor],
    k: int = 2000,
    factor: float = 1.2,
    chains: int = SEEKING,
    annealing: Annealing | None = None,
    steps: int = NEWTON,
    budget: int | None = None,
    dequantized: int | None = None,
    seed: int = 0,
) -> HeldOut:
    r"""Held-out log-likelihood of a model without an encoder, by importance sampling from a widened Gaussian at a mode.

    .. math:: \log p(x) \approx \log \frac1K \sum_k \frac{p(x, z_k)}{r(z_k)}, \quad
              r = \mathcal N(\hat z, f^2 \Lambda^{-1})

    A lower bound in expectation; `elbo` and `kl` are those of the Gaussian itself. Where p(z|x) has other modes the bound
    misses their mass and the effective sample size does not tell: `ais` and `bracket` do.

    Args:
        model: p(z) and p(x|z) with a density, such as PresGAN's, or `observed(model, sigma)`.
        x: Observations [N, *shape], or an iterable of batches of them.
        k: Samples K for each observation.
        factor: How much wider than the curvature says, f.
        chains: Annealed chains that look for the mode of each image.
        annealing: Theirs; None: `Annealing(100, leapfrogs=5)`.
        steps: Newton steps from the highest of their ends.
        budget: Numbers that the decoder may give at a time.
        dequantized: Levels that the data had before noise was added to them, to state bits per dimension.
        seed: Of the chains; the samples follow the caller's random state.

    Raises:
        ValueError: If the model has an encoder or no density, or a number is out of range.

    References:
        Dieng, Ruiz, Blei and Titsias (2019), Prescribed Generative Adversarial Networks, section 4: importance sampling with an
        overdispersed proposal.

    Example:
        >>> from uncollapse.distributions import Normal, likelihoods
        >>> from uncollapse.networks import Bias
        >>> model = LatentVariableModel(Normal(2), likelihoods.Gaussian(2, (3,), Bias))
        >>> found = located_likelihood(model, torch.zeros(2, 3), 100, factor=1.0, annealing=Annealing(5, leapfrogs=1))
        >>> round(found.nll, 4), round(found.effective_sample_size)
        (2.7568, 100)
    """
    if kind_of(model).measured_by == "likelihood":
        raise ValueError(f"{type(model).__name__} has an encoder; write log_likelihood(model, x)")
    if model.condition is not None:
        raise ValueError("expected a model without a condition around whose modes to sample; use annealed chains, --annealed")
    located = VAE(model.prior, model.likelihood, Laplace(model, chains, annealing, steps, budget, seed))
    return log_likelihood(located, x, k, Widened(factor), budget, dequantized=dequantized)
