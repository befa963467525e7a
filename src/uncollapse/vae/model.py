"""The variational autoencoder: a prescribed model and a posterior beside it."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors.torch import load, save
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from uncollapse.distributions import LatentVariableModel, Likelihood, Mixture, Posterior, Prior, draw
from uncollapse.distributions.still import evaluating
from uncollapse.parts import build

FORMAT = 2


class Terms(NamedTuple):
    """What an objective is made of: K draws for each of B observations, in nats, unreduced, nothing negated."""

    log_likelihood: Tensor  # log p(x|z)   [K, B]
    log_prior: Tensor  # log p(z)     [K, B]
    log_posterior: Tensor  # log q(z|x)   [K, B]
    z: Tensor  # the draws    [K, B, L]

    @property
    def log_w(self) -> Tensor:
        """log p(x, z) - log q(z|x), the log importance weight [K, B]."""
        return self.log_likelihood + self.log_prior - self.log_posterior


class VAE(LatentVariableModel):
    r"""A prescribed model p(z) p(x|z) with a posterior q(z|x).

    Args:
        prior: p(z).
        likelihood: p(x|z).
        posterior: q(z|x), on the same support as the prior.

    Raises:
        ValueError: If the parts disagree about sizes, or the posterior's support is not the prior's.

    References:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes; Rezende, Mohamed and Wierstra (2014).

    Example:
        >>> from uncollapse.networks import MLP
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> vae = VAE(Normal(2), Bernoulli(2, (1, 8, 8), MLP), posteriors.Gaussian(2, (1, 8, 8), MLP))
        >>> vae.terms(torch.zeros(5, 1, 8, 8), k=3).log_w.shape
        torch.Size([3, 5])
    """

    def __init__(self, prior: Prior, likelihood: Likelihood, posterior: Posterior):
        super().__init__(prior, likelihood)
        self.posterior = posterior
        self.aggregate: Mixture | None = None
        prior.attach(likelihood, posterior)
        self._check()
        attach = getattr(posterior, "attach", None)
        if attach is not None:
            attach(self.log_joint)

    def _check(self) -> None:
        q, p = self.posterior, self.prior
        if (q.features, q.shape) != (p.features, self.likelihood.shape):
            raise ValueError(
                f"the posterior maps {tuple(q.shape)} to {q.features} latents, the model has {p.features} latents and data of "
                f"shape {tuple(self.likelihood.shape)}; make them equal"
            )
        if _interval(q.support) != _interval(p.support):
            raise ValueError(
                f"the prior {type(p).__name__} lives on {_interval(p.support)}, the posterior {type(q).__name__} on "
                f"{_interval(q.support)}; write LogitNormal with the same low and high beside Uniform, Gaussian beside Normal"
            )

    @classmethod
    def of(
        cls,
        features: int,
        shape: list[int],
        prior: Callable[[int], Prior],
        likelihood: Callable[[int, Size], Likelihood],
        posterior: Callable[[int, Size], Posterior],
    ) -> Self:
        """Build a model from factories of its parts, each size stated once."""
        event = Size(shape)
        return cls(prior(features), likelihood(features, event), posterior(features, event))

    def terms(self, x: Tensor, k: int = 1, q: Distribution | None = None) -> Terms:
        """Draw k latents for each observation and score them: x [B, *shape].

        Args:
            x: Observations.
            k: Draws K.
            q: Where they come from: by default the posterior; or another member of its family, or the prior.
        """
        q = self.posterior(x) if q is None else q
        z, log_q = draw(q, Size((k,)) if q.batch_shape else Size((k, len(x))))
        return Terms(self.likelihood(z).log_prob(x), self.prior().log_prob(z), log_q, z)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """The posterior mean of each observation: x [B, *shape] to [B, L]."""
        with evaluating(self):
            return posterior_mean(self.posterior(x))

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """The mean of p(x|z) at the posterior mean, or a draw where the likelihood has no mean: [B, *shape]."""
        return self.decode(self.encode(x))

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """The mean of p(x|z), or a draw where it has none: z [..., L] to [..., *shape]."""
        with evaluating(self):
            p = self.likelihood(z)
            try:
                return p.mean
            except NotImplementedError:
                return p.sample()

    def interpolate(self, a: Tensor, b: Tensor, steps: int = 8) -> Tensor:
        """Decode the straight path from the code of a to the code of b: two [B, *shape] to [steps, B, *shape]."""
        s = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device).reshape(-1, 1, 1)
        return self.decode(torch.lerp(self.encode(a), self.encode(b), s))

    def fit_aggregate(self, x: Tensor, components: int = 10) -> None:
        """Fit a Gaussian mixture to draws of the aggregated posterior, kept and saved with the model."""
        with torch.no_grad():
            self.aggregate = Mixture.fitted(self.posterior(x).sample(), components)

    @torch.no_grad()
    def sample(self, n: int, source: Distribution | None = None, mean: bool = False) -> Tensor:
        """n observations [n, *shape], x ~ p(x|z) with z from the prior or from another distribution over the latent.

        Args:
            n: How many.
            source: Where the latents come from; None: the prior.
            mean: The mean of p(x|z) in place of a draw: pictures without the noise of the likelihood.
        """
        with evaluating(self):
            z = (self.prior() if source is None else source).sample(Size((n,)))
            return self.decode(z) if mean else self.likelihood(z).sample()

    def configuration(self) -> dict[str, Any]:
        """What `of` needs to build this model again, as plain values."""
        parts = {name: getattr(self, name).configuration() for name in ("prior", "likelihood", "posterior")}
        return {"features": self.prior.features, "shape": list(self.likelihood.shape), **parts}

    def save_pretrained(self, directory: str | Path) -> None:
        """Write model.json and model.safetensors into a directory, each whole or not at all."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        weights = save({k: v.contiguous() for k, v in self.state_dict().items()})
        document = {"format": FORMAT, "model": "VAE", "sha256": sha256(weights).hexdigest(), **self.configuration()}
        for name, content in (("model.safetensors", weights), ("model.json", json.dumps(document, indent=2).encode())):
            staged = directory / f".{name}.new"
            staged.write_bytes(content)
            staged.replace(directory / name)

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> Self:
        """Build the model that `save_pretrained` wrote.

        Raises:
            FileNotFoundError: If the directory holds no model.
            ValueError: If it was written in another format, is damaged, or its weights have other shapes than its description.
        """
        directory = Path(directory)
        if not (directory / "model.json").exists():
            raise FileNotFoundError(f"{directory} holds no model.json; expected a folder that save_pretrained wrote")
        document = json.loads((directory / "model.json").read_text())
        if document.pop("format", None) != FORMAT or document.pop("model", None) != "VAE":
            raise ValueError(
                f"{directory}/model.json is of another format than {FORMAT}, which this version reads; train it again"
            )
        file, expected = directory / "model.safetensors", document.pop("sha256", None)
        weights = file.read_bytes() if file.exists() else b""
        if sha256(weights).hexdigest() != expected:
            raise ValueError(f"{file} is damaged: its bytes are not those that were saved; take a copy of it, or train again")
        model = build(document, cls.of)
        model.load_weights(load(weights), str(directory))
        return model.eval()

    def load_weights(self, weights: dict[str, Tensor], where: str) -> None:
        """Take over weights by name; refuse those of another model."""
        if "aggregate.loc" in weights:
            self.aggregate = Mixture(self.prior.features, len(weights["aggregate.loc"]))
        mine = {name: tuple(v.shape) for name, v in self.state_dict().items()}
        theirs = {name: tuple(v.shape) for name, v in weights.items()}
        wrong = sorted(n for n in mine.keys() | theirs.keys() if mine.get(n) != theirs.get(n))
        if wrong:
            n = wrong[0]
            raise ValueError(
                f"{where} holds another model: {n} is {theirs.get(n, 'missing')} there and {mine.get(n, 'missing')} here "
                f"({len(wrong)} differences); use the recipe that it was trained with"
            )
        self.to(next(v.dtype for v in weights.values() if v.is_floating_point())).load_state_dict(weights)


def posterior_mean(q: Distribution, draws: int = 64) -> Tensor:
    """E_q[z], [B, L]: exact where the distribution states its mean, else the average of this many draws."""
    try:
        return q.mean
    except NotImplementedError:
        return q.sample(Size((draws,))).mean(0)


def _interval(support: constraints.Constraint) -> str:
    """A support in words."""
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    return "the real line" if low is None else f"({low:g}, {high:g})"
