"""torch Distributions over data of any shape: what the likelihoods return."""

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Size, Tensor
from torch.distributions import constraints

from uncollapse import noise
from uncollapse.distributions.densities import LOG_2PI, Unvalidated, wide
from uncollapse.distributions.sigmas import Sigma


class Field(Unvalidated):
    """Independent variables over an event of any shape; `parameter` [..., *event] fixes batch shape and precision.

    Attributes:
        factorised: Whether the density of some of the variables is known: that of each, for itself.
    """

    factorised: ClassVar[bool] = False

    def __init__(self, parameter: Tensor, event: Size):
        super().__init__(parameter.shape[: parameter.dim() - len(event)], Size(event))

    def total(self, terms: Tensor) -> Tensor:
        """Sum over the event: [..., *event] to [...]."""
        return terms.flatten(-len(self.event_shape)).sum(-1)

    def each_log_prob(self, value: Tensor) -> Tensor:
        """The log density of each variable: values [..., *event] to [..., *event]."""
        raise NotImplementedError(f"{type(self).__name__} has no density of single variables")

    def observed_log_prob(self, value: Tensor, mask: Tensor) -> Tensor:
        """The log density of the observed variables alone, the others integrated out: [..., *event] to [...].

        Args:
            value: Values, any finite number where one is missing.
            mask: True where a variable was observed.

        Example:
            >>> p = BernoulliField(torch.zeros(3), Size((3,)))
            >>> round(p.observed_log_prob(torch.ones(3), torch.tensor([True, False, True])).item(), 4)
            -1.3863
        """
        return self.total(torch.where(mask, self.each_log_prob(value), 0.0))

    def rows(self, shape: Size) -> int:
        """Which dimension of an extended shape runs over the batch."""
        return -1 - len(self.event_shape) if len(shape) > len(self.event_shape) else 0


class BernoulliField(Field):
    """Bernoulli variables by their logits [..., *event]; values 0 or 1."""

    factorised: ClassVar[bool] = True

    def __init__(self, logits: Tensor, event: Size):
        self.logits = wide(logits)
        super().__init__(logits, event)

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.boolean, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(self.logits)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return (noise.uniform(shape, self.logits, self.rows(shape)) < self.mean).to(self.logits)

    def log_prob(self, value: Tensor) -> Tensor:
        n = len(self.event_shape)
        logits, x = self.logits.flatten(-n), value.to(self.logits.dtype).flatten(-n)
        if not torch.is_grad_enabled():
            return _bernoulli_log_prob(logits, x)
        if logits.shape != x.shape:
            logits, x = torch.broadcast_tensors(logits, x)
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)

    def each_log_prob(self, value: Tensor) -> Tensor:
        logits, x = torch.broadcast_tensors(self.logits, value.to(self.logits.dtype))
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none")

    def entropy(self) -> Tensor:
        return self.total(F.softplus(self.logits) - self.mean * self.logits)


def _bernoulli_log_prob(logits: Tensor, x: Tensor) -> Tensor:
    """Σ_d (x_d − ½) l_d − ½ |l_d| + log sigmoid |l_d|, the same sum, where no gradient is needed: logits and x [..., D].

    Sixteen sigmoids of |l|, each in [½, 1], are multiplied before one logarithm is taken of them: half the time of softplus.
    """
    size = logits.abs()
    linear = ((x - 0.5) * logits).sub_(size, alpha=0.5).sum(-1)
    p, whole = size.sigmoid_(), logits.shape[-1] // 16 * 16
    products = p[..., :whole].unflatten(-1, (16, whole // 16)).prod(-2)
    return linear + products.log().sum(-1) + p[..., whole:].prod(-1).log()


class NormalField(Field):
    """Gaussian variables by their means [..., *event] and a `Sigma`, which may look at the values that are scored."""

    has_rsample = True
    factorised: ClassVar[bool] = True

    def __init__(self, mean: Tensor, sigma: Sigma, event: Size):
        self.loc, self.sigma = wide(mean), sigma
        super().__init__(mean, event)

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return (2 * self.sigma(self.loc)).exp().expand_as(self.loc)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return self.loc + self.sigma(self.loc).exp() * noise.normal(shape, self.loc, self.rows(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        log_sigma, dimensions = self.sigma(self.loc, value), self.event_shape.numel()
        loc, x = torch.broadcast_tensors(self.loc, value.to(self.loc.dtype))
        squares = F.mse_loss(loc, x, reduction="none")
        if log_sigma.dim() == 0:  # one σ for all: one pass less over the event
            log_p = -0.5 * self.total(squares) * torch.exp(-2 * log_sigma) - dimensions * log_sigma
        else:
            log_p = self.total(-0.5 * squares * torch.exp(-2 * log_sigma) - log_sigma)
        return log_p - 0.5 * dimensions * LOG_2PI

    def each_log_prob(self, value: Tensor) -> Tensor:
        if self.sigma.looks:
            raise ValueError(
                f"{type(self.sigma).__name__} is estimated from whole observations, got some with missing values; use "
                "--likelihood.sigma LearnedSigma"
            )
        log_sigma = self.sigma(self.loc)
        return -0.5 * (value.to(self.loc.dtype) - self.loc).square() * torch.exp(-2 * log_sigma) - log_sigma - 0.5 * LOG_2PI


class LogisticField(Field):
    """Logistic variables rounded to the grid k / (levels - 1), by location and log scale [..., *event].

    The tails beyond 0 and 1 belong to the outermost levels, so the masses of all levels sum to one.
    """

    factorised: ClassVar[bool] = True

    def __init__(self, loc: Tensor, log_scale: Tensor, levels: int, event: Size):
        self.loc, self.log_scale, self.levels = wide(loc), wide(log_scale), levels
        super().__init__(loc, event)

    @property
    def mean(self) -> Tensor:
        """The mean of the masses, by Σ_k P(X ≥ k / (n - 1)) / (n - 1): one sigmoid for each level but the first."""
        total, precision = torch.zeros_like(self.loc), torch.exp(-self.log_scale)
        for k in range(1, self.levels):
            total = total + torch.sigmoid((self.loc - (k - 0.5) / (self.levels - 1)) * precision)
        return total / (self.levels - 1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        u = noise.uniform(shape, self.loc, self.rows(shape)).clamp(1e-7, 1 - 1e-7)
        x = (self.loc + self.log_scale.exp() * torch.logit(u)).clamp(0, 1)
        return (x * (self.levels - 1)).round() / (self.levels - 1)

    def each_log_prob(self, value: Tensor) -> Tensor:
        half, precision = 0.5 / (self.levels - 1), torch.exp(-self.log_scale)
        above, below = (value + half - self.loc) * precision, (value - half - self.loc) * precision
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), without cancellation
        width = torch.log(-torch.expm1(-2 * half * precision))
        first, last = value < half, value > 1 - half
        mass = torch.where(last, 0.0, F.logsigmoid(above)) + torch.where(first, 0.0, F.logsigmoid(-below))
        return mass + torch.where(first | last, 0.0, width)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.total(self.each_log_prob(value))


class LevelsField(Field):
    """Categorical variables over the grid k / (levels - 1), by logits [..., levels, *event]."""

    factorised: ClassVar[bool] = True

    def __init__(self, logits: Tensor, event: Size):
        self.axis = logits.dim() - len(event) - 1
        self.log_p = wide(logits).log_softmax(self.axis)
        self.levels = logits.shape[self.axis]
        super().__init__(self.log_p.select(self.axis, 0), event)

    @property
    def mean(self) -> Tensor:
        grid = torch.linspace(0, 1, self.levels, dtype=self.log_p.dtype, device=self.log_p.device)
        mass = self.log_p.exp().movedim(self.axis, -1)
        return (mass * grid).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        u = noise.uniform(shape, self.log_p, self.rows(shape))
        below = self.log_p.exp().cumsum(self.axis).movedim(self.axis, -1)[..., :-1] < u.unsqueeze(-1)
        return below.sum(-1).to(self.log_p.dtype) / (self.levels - 1)

    def each_log_prob(self, value: Tensor) -> Tensor:
        log_p = self.log_p.movedim(self.axis, -1)
        k = (value * (self.levels - 1)).round().long().unsqueeze(-1)
        shape = torch.broadcast_shapes(log_p.shape[:-1], k.shape[:-1])
        return log_p.expand(*shape, -1).gather(-1, k.expand(*shape, 1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.total(self.each_log_prob(value))


def bits_per_dim(nll: float, dimensions: int, dequantized: int | None = None) -> float:
    r"""Bits per dimension of a negative log-likelihood in nats, of discrete data only.

    .. math:: \frac{\mathrm{nll}}{D \log 2} + \log_2 n

    The last term is there for data of n levels that uniform noise spread over [0, 1]: their density bounds their mass.

    Example:
        >>> bits_per_dim(nll=math.log(2) * 784, dimensions=784)
        1.0
    """
    return nll / (dimensions * math.log(2)) + (math.log2(dequantized) if dequantized else 0.0)


def bits_per_token(nll: float, tokens: float) -> float:
    r"""Bits per token of sequences, :math:`\sum_i \mathrm{nll}_i / (\log 2 \sum_i T_i)`.

    Args:
        nll: Mean negative log-likelihood of a sequence, in nats.
        tokens: Mean number of its tokens, the end included and padding left out.

    References:
        The average over all tokens of a corpus: Jurafsky and Martin, Speech and Language Processing, chapter 3.

    Example:
        >>> round(bits_per_token(nll=5 * math.log(8), tokens=5.0), 4)
        3.0
    """
    return nll / (tokens * math.log(2))


def perplexity(nll: float, tokens: float) -> float:
    r"""Perplexity of sequences, :math:`\exp(\sum_i \mathrm{nll}_i / \sum_i T_i)`: as hard as to guess among so many tokens.

    Args:
        nll: Mean negative log-likelihood of a sequence, in nats.
        tokens: Mean number of its tokens, the end included and padding left out.

    Example:
        >>> round(perplexity(nll=5 * math.log(8), tokens=5.0), 4)
        8.0
    """
    return float(torch.tensor(nll / tokens, dtype=torch.double).exp())
