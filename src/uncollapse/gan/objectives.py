"""Objectives of an implicit model: games whose critic sees observations, or pairs of observation and latent."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Size, Tensor

from uncollapse.data import Batch, Data, as_batch
from uncollapse.distributions.densities import DiagonalNormal
from uncollapse.divergences import Critic, Game, NonSaturating, Penalty, Things
from uncollapse.gan.augmentations import ADA, Augmentation
from uncollapse.gan.entropy import Entropy
from uncollapse.gan.model import Drawn, ImplicitModel
from uncollapse.learning import Logged, TwoPlayer

CriticFactory = Callable[[list[Size]], Critic]
"""What makes a critic of things of these shapes."""


class GAN(TwoPlayer):
    r"""The generative adversarial network: the generator moves by a critic that tells its draws from the data.

    .. math:: \max_\theta \; -\mathbb E_{p(z)}\left[g(a(x_\theta(z)))\right] + \lambda\, \mathbb H[p_\theta(x)]

    with the game's g and the critic's logit a. All remedies are arguments, and combine: packing, instance noise, penalties,
    augmentation, and the entropy of the model where its likelihood has noise.

    Args:
        model: The model.
        critic: Factory of the critic, called with the shapes of what it sees; packs, instance noise and clipping are its own.
        game: What both players minimise.
        penalties: Penalties of the critic's gradient: `R1`, `R2`, `GradientPenalty`.
        augmentation: What real and fake go through before the critic, `DiffAugment` or `ADA`. Penalties are of the gradient
            with respect to the images before it.
        entropy: The entropy's weight λ and sampler (PresGAN); None: none.

    Raises:
        ValueError: If the prior learns and its draws have no gradient, or the entropy is asked for of a model without density;
            at the start of a training, if a batch cannot be packed.

    References:
        Goodfellow et al. (2014), Generative Adversarial Nets; the remedies' papers stand with their parts.

    Example:
        >>> from uncollapse.distributions import Generator, Normal
        >>> from uncollapse.networks import MLP
        >>> _ = torch.manual_seed(0)
        >>> pairs = lambda shapes: Critic(shapes, MLP, pack=2)
        >>> objective = GAN(ImplicitModel(Normal(2), Generator(2, (5,), MLP)), pairs)
        >>> bound, logged = objective(torch.zeros(6, 5), torch.tensor(0))
        >>> bound.shape, sorted(logged)
        (torch.Size([3]), ['generator_loss'])
    """

    learns: ClassVar[type] = ImplicitModel
    selects: ClassVar[str] = "closeness"
    scores: ClassVar[bool] = False
    usual: ClassVar[str] = "gan-ring"
    joint: ClassVar[bool] = False  # whether the critic sees latents too
    needs_posterior: ClassVar[bool] = False

    def __init__(
        self,
        model: ImplicitModel,
        critic: CriticFactory,
        game: Game = NonSaturating(),
        penalties: Sequence[Penalty] = (),
        augmentation: Augmentation | None = None,
        entropy: Entropy | None = None,
    ):
        self._admit(model, game, augmentation, entropy)
        latents = [Size((model.prior.features,))] if self.joint else []
        conditions = [] if model.condition is None else [Size((model.condition.features,))]
        super().__init__(model, critic([model.likelihood.shape, *latents, *conditions]), game, penalties)
        self.critic.conditions = len(conditions)
        self.augmentation, self.entropy = augmentation, entropy

    def _admit(self, model: ImplicitModel, game: Game, augmentation: Augmentation | None, entropy: Entropy | None) -> None:
        name = type(self).__name__
        if any(p.requires_grad for p in model.prior.parameters()) and not model.prior().has_rsample:
            raise ValueError(
                f"{name} trains a prior by its draws, those of {type(model.prior).__name__} carry no gradient; write --prior "
                "Normal, or for a Mixture --prior.weighted false"
            )
        if self.needs_posterior and model.posterior is None:
            raise ValueError(f"{name} plays with an encoder, came a model without one; write --posterior Gaussian")
        if not self.needs_posterior and model.posterior is not None:
            raise ValueError(f"{name} has no use for an encoder, and would leave it as it is; write --posterior null, or ALI")
        if augmentation is not None and len(model.likelihood.shape) != 3:
            raise ValueError(
                f"{type(augmentation).__name__} changes images, came data of shape {tuple(model.likelihood.shape)}; leave it "
                "out"
            )
        if isinstance(augmentation, ADA) and game.boundary is None:
            raise ValueError(
                f"ADA follows how often real ones are called real, {type(game).__name__} calls none so; write DiffAugment"
            )
        if entropy is not None and not model.likelihood.density.weighs:
            raise ValueError(
                f"the entropy needs log p(x|z), {type(model.likelihood).__name__} gives {model.likelihood.density.value}; "
                "write --likelihood Gaussian, or leave the entropy out"
            )

    def meet(self, data: Data, batch: int) -> None:
        if batch % self.critic.pack:
            raise ValueError(
                f"expected batches in packs of {self.critic.pack}, came batches of {batch}; write --batch "
                f"{max(1, round(batch / self.critic.pack)) * self.critic.pack}"
            )

    def forward(self, batch: Tensor | Batch, t: Tensor, parameters: Tensor | None = None) -> tuple[Tensor, Logged]:
        batch = as_batch(self.model.embed(batch))
        drawn = self.model.draws(batch)
        fake = self.judgement.logits(self.fakes(drawn, batch), t)
        real = self.judgement.logits(self.reals(batch), t) if self.sees_real else None
        loss = self.game.generator(fake, real) + self.encoder_loss(real)
        gain, told = self.gain(drawn, batch)
        return gain.reshape(-1, self.critic.pack).mean(1) - loss, {"generator_loss": loss, **told}

    @property
    def sees_real(self) -> bool:
        """Whether the model's side looks at the real ones too."""
        return self.game.pairs

    def encoder_loss(self, real: Tensor | None) -> Tensor | float:
        """What an encoder in the game minimises, by the logits of the real pairs."""
        return 0.0

    def gain(self, drawn: Drawn, batch: Batch | None = None) -> tuple[Tensor, Logged]:
        """What the model is paid for beside the game, [B], and what to log of it; `batch` holds the conditions of the draws."""
        if self.entropy is None:
            return drawn.z.new_zeros(len(drawn.z)), {}
        return self.entropy(self.model, _drawn_batch(drawn, batch), drawn.z)

    def reals(self, batch: Tensor | Batch) -> Things:
        """What the critic judges of observations: their inferred latents too where it is a joint one, and their condition."""
        return (as_batch(batch).x, *self.seen_condition(batch))

    def fakes(self, drawn: Drawn, batch: Tensor | Batch) -> Things:
        """What the critic judges of the model's draws of a batch's conditions: their latents too where it is a joint one."""
        return (*(drawn if self.joint else drawn[:1]), *self.seen_condition(batch))

    def seen_condition(self, batch: Tensor | Batch) -> Things:
        """The features of the condition, which the critic sees last; nothing of a model without one."""
        features = self.model.embed(batch).features
        return () if features is None else (features,)

    def augmented(self, things: Things) -> Things:
        """The observation augmented, in train() alone; a latent beside it stays."""
        if self.augmentation is None or not self.training:
            return things
        return self.augmentation(things[0]), *things[1:]

    def pairs(self, batch: Tensor | Batch) -> tuple[Things, Things]:
        batch = self.model.embed(batch)
        return self.reals(batch), self.fakes(self.model.draws(batch), batch)

    def after_critic(self, logged: Logged) -> None:
        super().after_critic(logged)
        if self.augmentation is not None:
            self.augmentation.follow(logged["critic_real"] - (self.game.boundary or 0.0))


def _drawn_batch(drawn: Drawn, batch: Batch | None) -> Batch:
    """The model's draws with the conditions that they were made of."""
    return Batch(drawn.x) if batch is None else batch._replace(x=drawn.x)


class ALI(GAN):
    r"""Adversarially learned inference: the critic sees pairs, and encoder and generator play against it together.

    .. math:: p_d(x)\, q(z \mid x) \quad\text{against}\quad p(z)\, p_\theta(x \mid z)

    At its optimum the two joint distributions are equal, so q(z|x) is the posterior of the model.

    References:
        Dumoulin et al. (2017), Adversarially Learned Inference, algorithm 1; Donahue, Krähenbühl and Darrell (2017),
        Adversarial Feature Learning (BiGAN).

    Example:
        >>> from uncollapse.distributions import Generator, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> model = ImplicitModel(Normal(2), Generator(2, (5,), MLP), posteriors.Gaussian(2, (5,), MLP))
        >>> ALI(model, lambda shapes: Critic(shapes, MLP))(torch.zeros(6, 5), torch.tensor(0))[0].shape
        torch.Size([6])
    """

    joint: ClassVar[bool] = True
    needs_posterior: ClassVar[bool] = True

    @property
    def sees_real(self) -> bool:
        return True

    def encoder_loss(self, real: Tensor | None) -> Tensor | float:
        """The roles exchanged: a real pair is to pass for a fake. Where pairs are judged the game's own loss moves both."""
        return 0.0 if real is None or self.game.pairs else self.game.inference(real)

    def reals(self, batch: Tensor | Batch) -> Things:
        return as_batch(batch).x, self.model.infer(batch).rsample(), *self.seen_condition(batch)


class VEEGAN(GAN):
    r"""VEEGAN: a reconstructor maps fakes back to their z; modes that the generator drops would map to no z of the prior.

    .. math:: \mathbb E_{p(z)}\left[-g(a(x_\theta(z), z)) + \lambda \log q(z \mid x_\theta(z))\right]

    The critic tells pairs :math:`(x_\theta(z), z)` from :math:`(x, F(x))`, F the posterior's draw; F learns by the
    reconstruction alone, as in the paper's algorithm. With a posterior of fixed variance log q is the squared error.

    Args:
        lam: Weight λ of the reconstruction of z, in nats.

    References:
        Srivastava, Valkov, Russell, Gutmann and Sutton (2017), VEEGAN, equation 7 and algorithm 1.

    Example:
        >>> from uncollapse.distributions import Generator, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> model = ImplicitModel(Normal(2), Generator(2, (5,), MLP), posteriors.Gaussian(2, (5,), MLP))
        >>> sorted(VEEGAN(model, lambda shapes: Critic(shapes, MLP))(torch.zeros(6, 5), torch.tensor(0))[1])
        ['generator_loss', 'reconstruction']
    """

    joint: ClassVar[bool] = True
    needs_posterior: ClassVar[bool] = True

    def __init__(
        self,
        model: ImplicitModel,
        critic: CriticFactory,
        game: Game = NonSaturating(),
        lam: float = 1.0,
        penalties: Sequence[Penalty] = (),
        augmentation: Augmentation | None = None,
        entropy: Entropy | None = None,
    ):
        super().__init__(model, critic, game, penalties, augmentation, entropy)
        self.lam = lam

    def reals(self, batch: Tensor | Batch) -> Things:
        with torch.no_grad():
            z = self.model.infer(batch).sample()
        return as_batch(batch).x, z, *self.seen_condition(batch)

    def gain(self, drawn: Drawn, batch: Batch | None = None) -> tuple[Tensor, Logged]:
        gain, told = super().gain(drawn, batch)
        reconstruction = self.model.infer(_drawn_batch(drawn, batch)).log_prob(
            drawn.z.detach()
        )  # a prior learns by the game alone
        return gain + self.lam * reconstruction, told | {"reconstruction": reconstruction}


class InfoGAN(GAN):
    r"""InfoGAN: the generator is paid for what can be read off its draws of the first C latents, the code.

    .. math:: -\mathbb E_{p(z)}[g(a(x_\theta(z)))] + \lambda\, \mathbb E_{p(z)}[\log q(c \mid x_\theta(z))], \quad c = z_{1:C},

    a bound on the mutual information of code and draw, up to the code's entropy. The critic sees observations alone.

    Args:
        lam: Weight λ of the information, in nats.
        code: Number C of latents in the code; None: all.

    References:
        Chen et al. (2016), InfoGAN, equations 5 and 6. The paper's categorical codes are not here: the prior is continuous.

    Example:
        >>> from uncollapse.distributions import Generator, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> model = ImplicitModel(Normal(4), Generator(4, (5,), MLP), posteriors.Gaussian(4, (5,), MLP))
        >>> sorted(InfoGAN(model, lambda shapes: Critic(shapes, MLP), code=2)(torch.zeros(6, 5), torch.tensor(0))[1])
        ['generator_loss', 'information']
    """

    needs_posterior: ClassVar[bool] = True

    def __init__(
        self,
        model: ImplicitModel,
        critic: CriticFactory,
        game: Game = NonSaturating(),
        lam: float = 1.0,
        code: int | None = None,
        penalties: Sequence[Penalty] = (),
        augmentation: Augmentation | None = None,
        entropy: Entropy | None = None,
    ):
        super().__init__(model, critic, game, penalties, augmentation, entropy)
        with torch.no_grad():
            if not isinstance(model.posterior(torch.zeros(1, *model.posterior.shape)), DiagonalNormal):
                raise ValueError(
                    f"InfoGAN reads a code unit by unit, came {type(model.posterior).__name__}; write --posterior Gaussian"
                )
        if code is not None and not 0 < code <= model.prior.features:
            raise ValueError(f"expected a code of 1 to {model.prior.features} latents, came {code}")
        self.lam, self.code = lam, code

    def gain(self, drawn: Drawn, batch: Batch | None = None) -> tuple[Tensor, Logged]:
        gain, told = super().gain(drawn, batch)
        q = self.model.infer(_drawn_batch(drawn, batch))
        score = -0.5 * ((drawn.z.detach() - q.loc) / q.scale).square() - q.log_scale  # up to a constant, unit by unit
        information = score[:, : self.code].sum(-1)
        return gain + self.lam * information, told | {"information": information}
