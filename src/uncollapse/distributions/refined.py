"""Semi-amortised inference: an encoder's parameters, refined by ascent on each observation's ELBO, as one posterior."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Size, Tensor, nn

from uncollapse import noise
from uncollapse.distributions.ascending import Ascending
from uncollapse.distributions.conditional import Density, Posterior
from uncollapse.distributions.draws import draw


class Refined(Ascending):
    r"""The semi-amortised posterior: K steps of stochastic variational inference from what an encoder gives.

    .. math:: \lambda_0 = \mathrm{enc}_\phi(x), \quad
              v_{k+1} = m \, v_k + \operatorname{clip} \nabla_\lambda \mathcal L(\theta, \lambda_k), \quad
              \lambda_{k+1} = \lambda_k + \alpha \, v_{k+1}

    An objective's gradient goes through the steps: φ learns where to start, θ how to be ascended. It is exact, or takes its
    Hessian-vector products from finite differences. Training, validation, evaluation and every verb see the refined parameters,
    and the procedure stays `Amortized`.

    The steps ascend the ELBO itself, whatever weight an objective gives the divergence (the paper's released code gives it the
    objective's weight there too), with fresh noise in each; the entropy is in closed form where there is one. An observation's
    steps do not depend on the rest of its batch: rate and clipping are of its own ELBO. The released code takes the mean over
    a batch of B and clips the norm of that whole gradient at 5, so that a rate of 1 there is 1 / B here, and the clip about
    :math:`5 \sqrt B`: 30 for the 32 sentences or 50 images there. The model is in eval() meanwhile: no dropout draws, and no
    sigma looks at the observations.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
        family: Factory of the posterior whose parameters are refined; its encoder is learned.
        steps: Number K of ascent steps; 0 is the family itself.
        rate: Step size α.
        momentum: Weight m of the step before.
        clip: Largest norm of an observation's gradient, in nats per unit of λ; None: no clipping.
        k: Monte Carlo samples of each step.
        finite_difference: None for exact Hessian-vector products, which take the memory of K steps' graphs; or the length ε in

            .. math:: H v \approx \frac{\lVert v \rVert}{2 \varepsilon} \left(\nabla \mathcal L(\lambda + \varepsilon \hat v) -
                      \nabla \mathcal L(\lambda - \varepsilon \hat v)\right), \quad \hat v = v / \lVert v \rVert,

            of error O(ε²); 1e-2 in float32.

    Raises:
        ValueError: If a number is out of range, or the family has no encoder that learns or no exact density.

    References:
        Kim, Wiseman, Miller, Sontag and Rush (2018), Semi-Amortized Variational Autoencoders, algorithms 1 and 2; their
        settings: 20 steps, momentum 0.5, gradients clipped. The central difference is ours, the paper's is one-sided.

    Example:
        >>> from functools import partial
        >>> from uncollapse.distributions import Bernoulli, LatentVariableModel, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> q = Refined(1, (2,), partial(posteriors.Gaussian, network=MLP), steps=5)
        >>> q.attach(LatentVariableModel(Normal(1), Bernoulli(1, (2,), MLP)).log_joint)
        >>> q(torch.ones(3, 2)).mean.shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        features: int,
        shape: Size,
        family: Callable[[int, Size], Posterior],
        steps: int = 20,
        rate: float = 0.03,
        momentum: float = 0.5,
        clip: float | None = 30.0,
        k: int = 1,
        finite_difference: float | None = None,
    ):
        super().__init__(features, shape, family)
        if steps < 0 or k < 1 or rate <= 0 or not 0 <= momentum < 1:
            raise ValueError(
                f"expected steps >= 0, k >= 1, rate > 0 and momentum in [0, 1), came steps={steps}, k={k}, rate={rate}, "
                f"momentum={momentum}"
            )
        for name, value in (("clip", clip), ("finite_difference", finite_difference)):
            if value is not None and value <= 0:
                raise ValueError(f"expected {name} above 0, or none at all, came {value}; leave it out")
        self._check()
        self.steps, self.rate, self.momentum, self.clip, self.k = steps, rate, momentum, clip, k
        self.finite_difference = finite_difference
        self.refining = False

    def _check(self) -> None:
        if isinstance(self.family, Ascending):
            raise ValueError(
                f"Refined starts from an encoder, came {type(self.family).__name__}, which ascends already; write --posterior "
                f"{type(self.family).__name__} alone, or --posterior.family Gaussian"
            )
        if self.family.density is not Density.EXACT:
            raise ValueError(
                f"Refined ascends an ELBO with the exact log q(z|x), {type(self.family).__name__} gives "
                f"{self.family.density.value}; write --posterior.family Gaussian"
            )

    def encode(self, x: Tensor) -> Tensor:
        parameters = self.family.encode(x)
        if self.steps == 0:
            return parameters
        if self.refining:
            raise ValueError("the prior encodes with this posterior while it is refined; hand that prior the family alone")
        self.refining = True
        try:
            with self.still():
                return self._refine(x, parameters, learning=torch.is_grad_enabled())
        finally:
            self.refining = False

    def _refine(self, x: Tensor, parameters: Tensor, learning: bool) -> Tensor:
        """The ascent from these parameters, differentiable where something learns: [B, P]."""
        velocity = torch.zeros_like(parameters)
        for _ in range(self.steps):
            velocity = self.momentum * velocity + self._clipped(self._gradient(x, parameters, learning))
            parameters = parameters + self.rate * velocity
        return parameters

    def _gradient(self, x: Tensor, parameters: Tensor, learning: bool) -> Tensor:
        """The gradient of each observation's ELBO for its parameters: [B, P]."""
        if learning and self.finite_difference is not None:
            return _Differenced.apply(parameters, x, self, *self._theta())
        with torch.enable_grad():
            parameters = parameters if parameters.requires_grad else parameters.detach().requires_grad_()
            return torch.autograd.grad(self.elbo(x, parameters).sum(), parameters, create_graph=learning)[0]

    def _clipped(self, gradient: Tensor) -> Tensor:
        if self.clip is None:
            return gradient
        norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
        return gradient * (self.clip / norm.clamp_min(self.clip))

    def elbo(self, x: Tensor, parameters: Tensor) -> Tensor:
        """What the steps ascend, estimated by k draws: [B] nats."""
        q = self.family.at(parameters)
        z, log_q = draw(q, Size((self.k,)))
        try:
            return self.joint(x, z).mean(0) + q.entropy()
        except NotImplementedError:
            return (self.joint(x, z) - log_q).mean(0)

    def _theta(self) -> list[nn.Parameter]:
        """What the ELBO's gradient depends on beside λ."""
        model = self.model()
        return [] if model is None else [p for p in model.parameters() if p.requires_grad]


class _Differenced(torch.autograd.Function):
    """The ELBO's gradient for λ; its own derivative in a direction v by a central difference along v, with the same noise."""

    @staticmethod
    def forward(ctx: Any, parameters: Tensor, x: Tensor, refined: Refined, *theta: Tensor) -> Tensor:
        ctx.refined, ctx.x, ctx.theta, ctx.tape = refined, x, theta, []
        ctx.save_for_backward(parameters)
        with torch.enable_grad(), noise.recorded(ctx.tape):
            at = parameters.detach().requires_grad_()
            return torch.autograd.grad(refined.elbo(x, at).sum(), at)[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        refined, (parameters,) = ctx.refined, ctx.saved_tensors
        norm = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
        along = refined.finite_difference * v / norm.clamp_min(torch.finfo(v.dtype).tiny)
        with torch.enable_grad(), refined.still():
            at = parameters.detach().requires_grad_()
            with noise.replayed(ctx.tape):
                ahead = refined.elbo(ctx.x, at + along)
            with noise.replayed(ctx.tape):
                behind = refined.elbo(ctx.x, at - along)
            slope = ((ahead - behind) * (norm.squeeze(-1) / (2 * refined.finite_difference))).sum()
            own, *theirs = torch.autograd.grad(slope, [at, *ctx.theta], allow_unused=True)
        return own, None, None, *theirs
