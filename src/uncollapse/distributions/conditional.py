"""The one type of this room, Conditional, its three roles, and what a distribution can do."""

from enum import Enum
from typing import Any, ClassVar

from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint
from zuko.lazy import LazyDistribution as Conditional

from uncollapse.data import Space
from uncollapse.distributions.numbers import numbers
from uncollapse.parts import Part


class Density(Enum):
    """What `log_prob` of a conditional distribution is; objectives and evaluations refuse what they cannot use."""

    EXACT = "the exact log density"
    BOUND = "a bound in place of it, with which importance weights stay valid"
    SAMPLES = "nothing: it can only be sampled"

    @property
    def weighs(self) -> bool:
        """Whether importance weights can be made of it, and so bounds and held-out likelihoods."""
        return self in (Density.EXACT, Density.BOUND)


class Prior(Part, Conditional):
    """p(z): forward() returns a distribution with batch shape [] and event shape [L].

    Args:
        features: Size L of the latent.
    """

    given: ClassVar[tuple[str, ...]] = ("features",)
    density: ClassVar[Density] = Density.EXACT
    support: Constraint = constraints.real
    conditional: ClassVar[bool] = False  # whether it is p(z|c): forward takes the condition's features [B, C]
    takes_condition: ClassVar[bool] = True  # whether a model that holds it may be conditioned
    wants: int = 0  # observations that it begins at: a training hands as many to `start_from`

    def __init__(self, features: int):
        super().__init__()
        if features < 1:
            raise ValueError(f"expected a latent of at least 1 feature, came {features}")
        self.features = features

    def attach(self, likelihood: "Likelihood", posterior: "Posterior") -> None:
        """Called by the model that holds this prior, with the parts beside it; for a prior that is made of them."""

    def condition_on(self, features: int) -> None:
        """Called by a conditional model that holds this prior, with the number of its condition's features."""

    def start_from(self, x: Tensor) -> None:
        """Begin at observations x [N, *shape]."""
        raise NotImplementedError(f"{type(self).__name__} begins at no observations")

    def forward(self, c: Any = None) -> Distribution:
        raise NotImplementedError


class Likelihood(Part, Conditional):
    """p(x|z): forward(z) takes z [..., L] and returns a distribution with batch shape [...] and the data's event shape.

    Its `log_prob` is the exact log density (or mass) in nats with all constants, summed over the data's dimensions.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
    """

    given: ClassVar[tuple[str, ...]] = ("features", "shape")
    density: ClassVar[Density] = Density.EXACT
    levels: int | None = None  # discrete data lie on the grid k / (levels - 1) in [0, 1], or are tokens; None: real numbers

    def __init__(self, features: int, shape: Size):
        super().__init__()
        self.features, self.shape = features, Size(shape)

    def forward(self, c: Any = None) -> Distribution:
        raise NotImplementedError

    def check_shape(self, x: Tensor) -> None:
        """Refuse data of another shape.

        Raises:
            ValueError: If theirs is not the likelihood's.
        """
        if x.shape[1:] != self.shape:
            raise ValueError(
                f"expected observations of shape {tuple(self.shape)}, came {tuple(x.shape[1:])}; "
                f"{self.instead_of_shape(x.shape[1:])}"
            )

    def check(self, x: Tensor) -> None:
        """Refuse data that this likelihood gives no density to.

        Raises:
            ValueError: If a value lies outside the likelihood's range, or is not finite.
        """
        self.check_shape(x)
        if not x.isfinite().all():
            raise ValueError(
                f"expected finite numbers, came {int((~x.isfinite()).sum())} that are NaN or infinite; leave those "
                "observations out"
            )
        if self.levels is None:
            return
        grid = x * (self.levels - 1)
        rounding = 1e-3 + 2.4e-7 * self.levels  # of many levels in float32
        if x.min() < 0 or x.max() > 1 or (grid - grid.round()).abs().max() > rounding:
            raise ValueError(
                f"{type(self).__name__} expects {self.levels} levels k/{self.levels - 1} in [0, 1], came values from "
                f"{float(x.min()):.4g} to {float(x.max()):.4g}, {x[:100].unique().numel()} different ones in the first "
                f"{min(len(x), 100)} observations; write {self.instead}"
            )

    @property
    def space(self) -> Space:
        """The space of the observations that it gives a density to."""
        return Space(self.shape) if self.levels is None else Space(self.shape, "grid", self.levels)

    def numbers(self, x: Tensor) -> Tensor:
        """The number of each value of discrete data, 0 to levels - 1: any shape, to int64.

        Raises:
            ValueError: If the data are real numbers.
        """
        if self.levels is None:
            raise ValueError(f"expected a likelihood of discrete data, got {type(self).__name__}; use Categorical")
        return numbers(x, self.levels)

    def tokens(self, x: Tensor) -> Tensor | None:
        """How many tokens each sequence has, its end among them: x [B, *shape] to [B]; None where data are no sequences."""
        return None

    instead: ClassVar[str] = "--likelihood Gaussian for real numbers"

    def instead_of_shape(self, came: Size) -> str:
        """What to do about observations of another shape."""
        return "take data of the model's shape, or train a model on these"


class Posterior(Part, Conditional):
    """q(z|x), in two halves, so that variational parameters can also be free (variational EM) or refined.

    Args:
        features: Size L of the latent.
        shape: Shape of one observation.
    """

    given: ClassVar[tuple[str, ...]] = ("features", "shape")
    density: Density = Density.EXACT
    support: Constraint = constraints.real
    self_contained: bool = True  # q depends on its parameters [B, P] alone: `at` has no weights of its own

    def __init__(self, features: int, shape: Size):
        super().__init__()
        self.features, self.shape = features, Size(shape)

    def encode(self, x: Tensor) -> Tensor:
        """Variational parameters of each observation: x [B, *shape] to [B, P]."""
        raise NotImplementedError

    def at(self, parameters: Tensor) -> Distribution:
        """The member of the family with these parameters: [B, P] to batch shape [B], event shape [L]."""
        raise NotImplementedError

    def widen(self, parameters: Tensor, factor: float) -> Tensor:
        """The parameters of the member whose scale is `factor` times as large: [B, P] to [B, P].

        Raises:
            ValueError: If the family has no scale.
        """
        raise ValueError(f"{type(self).__name__} has no scale to widen; write --proposal posterior")

    def forward(self, c: Any = None) -> Distribution:
        return self.at(self.encode(c))
