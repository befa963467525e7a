"""Models with latent variables: a prior, a likelihood, and maybe a posterior beside them."""

from collections.abc import Callable
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Size, Tensor
from torch.distributions import Distribution

from uncollapse.data import Batch, Space, as_batch
from uncollapse.distributions.conditional import Likelihood, Posterior, Prior
from uncollapse.distributions.conditioning import apart, beside, conditioned_shape
from uncollapse.distributions.fields import Field
from uncollapse.distributions.saved import Saved
from uncollapse.distributions.still import evaluating
from uncollapse.networks import ConditionEncoder, Network


class LatentVariableModel(Saved):
    r"""The model :math:`p_\theta(x, z) = p(z)\, p_\theta(x \mid z)`, with a posterior beside it if there is one.

    Conditioned on c it is :math:`p(z \mid c)\, p_\theta(x \mid z, c)` and :math:`q(z \mid x, c)`: the features of c stand
    beside z in the likelihood and beside x in the posterior, whose sizes count them; a prior is p(z) unless it is a
    conditional one. A condition and a mask enter through `prior_for`, `infer`, `observe` and `log_likelihood` alone.

    Args:
        prior: p(z).
        likelihood: p(x|z).
        posterior: q(z|x), or None.
        condition: Encoder of the condition c; None: the model is not conditioned.

    Raises:
        ValueError: If the parts disagree about sizes, or one of them takes no condition.

    References:
        Conditions: Sohn, Lee and Yan (2015), Learning Structured Output Representation using Deep Conditional Generative
        Models; Mirza and Osindero (2014), Conditional Generative Adversarial Nets.
    """

    parts: ClassVar[tuple[str, ...]] = ("prior", "likelihood", "posterior", "condition")

    def __init__(
        self,
        prior: Prior,
        likelihood: Likelihood,
        posterior: Posterior | None = None,
        condition: ConditionEncoder | None = None,
    ):
        super().__init__()
        c = 0 if condition is None else condition.features
        if prior.features + c != likelihood.features:
            of_condition = f" and {c} features of the condition" if c else ""
            raise ValueError(
                f"the prior has {prior.features} latents{of_condition}, the likelihood expects {likelihood.features}; make "
                "them equal"
            )
        seen = likelihood.shape if condition is None else conditioned_shape(likelihood.shape, c)
        if posterior is not None and (posterior.features, posterior.shape) != (prior.features, seen):
            raise ValueError(
                f"the posterior maps {tuple(posterior.shape)} to {posterior.features} latents, the model has {prior.features} "
                f"latents and data of shape {tuple(seen)}; make them equal"
            )
        if condition is not None:
            _check_conditioned(prior, posterior)
            prior.condition_on(c)
        self.prior, self.likelihood = prior, likelihood
        self.posterior: Any = posterior
        self.condition: ConditionEncoder | None = condition
        self.condition_examples: Tensor | None
        self.register_buffer("condition_examples", None)

    def sizes(self) -> dict[str, Any]:
        sizes = {"features": self.prior.features, "shape": list(self.likelihood.shape)}
        return sizes if self.condition is None else sizes | {"condition_space": self.condition.space.as_dict()}

    def configuration(self) -> dict[str, Any]:
        found = super().configuration()
        return {name: value for name, value in found.items() if name != "condition" or value is not None}

    def load_weights(self, weights: dict[str, Tensor], where: str) -> None:
        """Take over weights by name; refuse those of another model."""
        if "condition_examples" in weights and self.condition is not None:
            self.condition_examples = torch.empty_like(weights["condition_examples"])
        super().load_weights(weights, where)

    @property
    def like(self) -> Tensor:
        """A tensor of the model's own type and device."""
        return next(chain(self.parameters(), self.buffers()), torch.empty(()))

    def admit(self, x: Any) -> Tensor:
        """Observations, a tensor or an array [B, *shape], as the model takes them.

        Raises:
            ValueError: If the likelihood gives them no density.
        """
        x = self.cast(torch.as_tensor(x))
        self.likelihood.check(x)
        return x

    def cast(self, x: Tensor) -> Tensor:
        """Observations on the model's device and in its floating type; tokens stay the whole numbers that they are."""
        return x.to(self.like.device) if self.likelihood.space.kind == "tokens" else x.to(self.like)

    def embed(self, batch: Tensor | Batch) -> Batch:
        """The batch with its condition's features [B, C]; one that has them, and any batch of a model without conditions, as
        it is. An objective does this once a step.

        Raises:
            ValueError: If the model is conditioned and the batch has no condition, or the other way round.
        """
        batch = as_batch(batch)
        if self.condition is None:
            return batch
        if batch.features is not None:
            return batch
        if batch.condition is None:
            raise ValueError(
                f"expected a condition for each observation, of kind {self.condition.space.kind}, got observations alone; use "
                "Batch(x, condition)"
            )
        return batch._replace(features=self.condition(batch.condition))

    def encoder_input(self, batch: Tensor | Batch) -> Tensor:
        """What the posterior encodes: x [B, *shape], with the condition's features beside it where there is one."""
        batch = self.embed(batch)
        return batch.x if batch.features is None else beside(batch.x, batch.features, batch.x.dim() - 1)

    def prior_for(self, batch: Tensor | Batch) -> Distribution:
        """p(z), batch shape []; or p(z|c), batch shape [B], where the prior is a conditional one."""
        p: Distribution = self.prior(self.embed(batch).features) if self.prior.conditional else self.prior()
        return p

    def infer(self, batch: Tensor | Batch) -> Distribution:
        """q(z|x) for each observation of a batch, or q(z|x, c): batch shape [B], event shape [L].

        Raises:
            ValueError: If the model has no posterior.
        """
        if self.posterior is None:
            raise ValueError(
                f"{type(self).__name__} encodes by its posterior, and has none; train one with --posterior Gaussian"
            )
        q: Distribution = self.posterior(self.encoder_input(batch))
        return q

    def encode_parameters(self, batch: Tensor | Batch) -> Tensor:
        """The variational parameters of each observation, [B, P]: `posterior.at` makes q(z|x) of them."""
        parameters: Tensor = self.posterior.encode(self.encoder_input(batch))
        return parameters

    def log_likelihood(self, z: Tensor, batch: Tensor | Batch) -> Tensor:
        """log p(x|z) of what was observed, in nats, constants included: z [K, B, L] to [K, B].

        Raises:
            ValueError: If values are missing and the likelihood does not factorise.
        """
        return self.log_observed(self.observe(z, batch), as_batch(batch))

    def log_observed(self, p: Distribution, batch: Batch) -> Tensor:
        """The log density of what was observed of a batch, under p(x|z) as `observe` gives it.

        Raises:
            ValueError: If values are missing and p does not factorise.
        """
        if batch.mask is None:
            return p.log_prob(batch.x)
        if not (isinstance(p, Field) and p.factorised):
            raise ValueError(
                f"expected whole observations, got some with missing values: the density of a part of them under "
                f"{type(self.likelihood).__name__} is not known; use one that factorises, such as Bernoulli or Gaussian"
            )
        return p.observed_log_prob(batch.x, batch.mask)

    def observe(self, z: Tensor, batch: Tensor | Batch) -> Distribution:
        """p(x|z), or p(x|z, c), for each of these latents: z [..., B, L] to batch shape [..., B]."""
        features = self.embed(batch).features
        p: Distribution = self.likelihood(z if features is None else beside(z, features, 1))
        return p

    def log_joint_of_input(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) of what the posterior encodes, `encoder_input`, for one that ascends it: z [K, B, L] to [K, B]."""
        if self.condition is None:
            return self.log_joint(x, z)
        x, features = apart(x, self.condition.features, len(self.likelihood.shape))
        return self.log_joint(Batch(x, features=features), z)

    def log_joint(self, batch: Tensor | Batch, z: Tensor) -> Tensor:
        """log p(x, z) = log p(x|z) + log p(z) in nats, constants included: x [B, *shape] and z [K, B, L] to [K, B]."""
        return self.log_likelihood(z, batch) + self.prior_for(batch).log_prob(z)

    def keep_conditions(self, conditions: Tensor) -> None:
        """Keep conditions [M, *shape] of the training data with the model: `sample` draws from them where it is given none."""
        self.condition_examples = conditions

    def conditions(self, n: int, condition: Any = None) -> Tensor | None:
        """A condition for each of n draws, [n, *shape]; None where the model takes none.

        Args:
            n: How many.
            condition: The one that all share, or one for each; None: drawn from the training data's.

        Raises:
            ValueError: If the model takes none, or knows none and none is given, or they are not what it takes.
        """
        if self.condition is None:
            if condition is not None:
                raise ValueError("expected no condition, this model was trained without; leave it out")
            return None
        space, device = self.condition.space, self.like.device
        if condition is None:
            known = self.condition_examples
            if known is None:
                raise ValueError("expected a condition, since the model keeps none of a training's; give one for each draw")
            return known[torch.randint(len(known), (n,), device=known.device)]
        given = torch.as_tensor(condition).to(device)
        given = given.expand(n, *space.shape) if given.shape == space.shape else given
        if given.shape != (n, *space.shape):
            raise ValueError(
                f"expected a condition of shape {tuple(space.shape)}, or one for each of {n} draws, got {tuple(given.shape)}"
            )
        if space.kind == "label" and len(given) and not 0 <= int(given.min()) <= int(given.max()) < (space.size or 0):
            raise ValueError(f"expected a class from 0 to {(space.size or 0) - 1}, got {condition}; use one of those")
        return given

    @torch.no_grad()
    def simulate(self, n: int, condition: Any = None) -> tuple[Tensor, Batch]:
        """n pairs of the joint distribution, z ~ p(z) [n, L] and a batch of x ~ p(x|z), with their conditions if there are any.

        Args:
            n: How many.
            condition: As `sample` takes it.
        """
        with evaluating(self):
            batch = self.embed(Batch(self.like.new_empty(n, 0), self.conditions(n, condition)))
            p = self.prior_for(batch)
            z = p.sample() if p.batch_shape else p.sample(Size((n,)))
            return z, batch._replace(x=self.observe(z, batch).sample())

    @torch.no_grad()
    def sample(self, n: int, source: Distribution | None = None, mean: bool = False, condition: Any = None) -> Tensor:
        """n observations [n, *shape], x ~ p(x|z) with z from the prior or from another distribution over the latent.

        Args:
            n: How many.
            source: Where the latents come from; None: the prior.
            mean: The mean of p(x|z) in place of a draw: pictures without the noise of the likelihood.
            condition: Of a conditional model, the condition that all share, or one for each [n, *shape]; None: conditions of
                the training data, drawn at random.

        Raises:
            ValueError: If n is below 0, or the condition is not what the model takes.
        """
        if n < 0:
            raise ValueError(f"expected how many observations to draw, came {n}; write 0 or more")
        with evaluating(self):
            batch = self.embed(Batch(self.like.new_empty(n, 0), self.conditions(n, condition)))
            if source is None:
                p = self.prior_for(batch)
                z = p.sample() if p.batch_shape else p.sample(Size((n,)))
            else:
                z = source.sample(Size((n,)))
            return self.decode(z, batch) if mean else self.observe(z, batch).sample()

    @torch.no_grad()
    def decode(self, z: Tensor, batch: Batch | None = None) -> Tensor:
        """The mean of p(x|z), or a draw where it has none: z [..., L] to [..., *shape].

        Args:
            z: Latents [..., L], of a conditional model [..., B, L].
            batch: Holds the conditions [B, *shape] of a conditional model.
        """
        with evaluating(self):
            p = self.observe(z, Batch(z) if batch is None else batch)
            try:
                return p.mean
            except NotImplementedError:
                return p.sample()

    @torch.no_grad()
    def encode(self, x: Tensor | Batch) -> Tensor:
        """The posterior mean of each observation: x [B, *shape] to [B, L].

        Raises:
            ValueError: If the model has no posterior.
        """
        with evaluating(self):
            return posterior_mean(self.infer(x))

    @torch.no_grad()
    def reconstruct(self, x: Tensor | Batch) -> Tensor:
        """The mean of p(x|z) at the posterior mean, or a draw where the likelihood has no mean: [B, *shape]."""
        batch = self.embed(x)
        return self.decode(self.encode(batch), batch)

    def interpolate(self, a: Tensor | Batch, b: Tensor | Batch, steps: int = 8) -> Tensor:
        """Decode the straight path from the code of a to the code of b: two [B, *shape] to [steps, B, *shape].

        The condition, where there is one, stays that of a.
        """
        a = self.embed(a)
        start, end = self.encode(a), self.encode(b)
        s = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device).reshape(-1, 1, 1)
        return self.decode(torch.lerp(start, end, s), a)


def conditioned(
    features: int,
    shape: Size,
    condition: Callable[[Space], ConditionEncoder] | None,
    space: dict[str, Any] | None,
) -> tuple[ConditionEncoder | None, int, Size]:
    """The encoder of a condition, the number of features that a likelihood decodes, and the shape that a posterior encodes.

    Raises:
        ValueError: If a condition is encoded and there is none, or there is one and none is encoded.
    """
    if condition is None and space is None:
        return None, features, shape
    if condition is None:
        raise ValueError("the data have a condition, and the model has no encoder of it; use --condition OneHot")
    if space is None:
        raise ValueError("the model encodes a condition, and the data have none; use --data.condition labels")
    encoder = condition(Space.of(space))
    return encoder, features + encoder.features, conditioned_shape(shape, encoder.features)


def _check_conditioned(prior: Prior, posterior: Posterior | None) -> None:
    """Refuse parts that take no condition.

    Raises:
        ValueError: If one of them does.
    """
    if not prior.takes_condition:
        raise ValueError(
            f"{type(prior).__name__} encodes pseudo-inputs, which have no condition; use --prior Normal or ConditionalNormal"
        )
    tokens = () if posterior is None else posterior.modules()
    if any(isinstance(part, Network) and not part.smooth for part in tokens):
        raise ValueError(
            f"{type(posterior).__name__} encodes tokens, beside which no condition can stand; use an encoder of vectors "
            "or images"
        )


def posterior_mean(q: Distribution, draws: int = 64) -> Tensor:
    """E_q[z], [B, L]: exact where the distribution states its mean, else the average of this many draws."""
    try:
        return q.mean
    except NotImplementedError:
        return q.sample(Size((draws,))).mean(0)
