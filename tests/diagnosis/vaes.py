"""VAEs that are known to be good or bad, in closed form or trained for seconds, with observations of each."""

import copy
import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor, nn
from torch.distributions import Independent, Laplace

from laws.parts import affine
from laws.ppca import PPCA
from uncollapse.data import load
from uncollapse.distributions import (
    BatchNormalized,
    Bernoulli,
    Categorical,
    ChainPosterior,
    ChainPrior,
    Committed,
    CouplingPrior,
    DiscretizedLogistic,
    FixedSigma,
    FullGaussian,
    LearnedSigma,
    Likelihood,
    LogitNormal,
    Mixture,
    Normal,
    PixelCNN,
    Recurrent,
    Uniform,
    VampPrior,
    flows,
    likelihoods,
    posteriors,
)
from uncollapse.networks import MLP, Bias, Network, RecurrentEncoder
from uncollapse.schedules import Constant
from uncollapse.vae import ELBO, VAE


class Case(NamedTuple):
    """A model, observations, and rows of its training."""

    model: VAE
    x: Tensor
    train: Tensor


Make = Callable[[int], Case]
"""A case with this many observations."""


class Function(Network):
    """A fixed function as a network."""

    def __init__(self, input: Size, output: Size, f: Callable[[Tensor], Tensor]):
        super().__init__(input, output)
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


def function(f: Callable[[Tensor], Tensor]) -> Any:
    """A factory of networks that are this function."""
    return partial(Function, f=f)


# Linear-Gaussian models


def ppca(n: int, data: int, latent: int, strength: float, sigma: float = 1.0, **options: Any) -> Case:
    """Probabilistic PCA at its exact posterior, orthogonal columns of this length (in units of σ), on data of its own."""
    found = PPCA(data, latent, sigma, **options)
    axes = torch.linalg.qr(torch.randn(data, latent))[0]
    found.set_decoder(strength * sigma * axes)
    found.solve_encoder()
    return Case(found.vae, found.sample(n), found.sample(1000))


def one_of_fifty(n: int) -> Case:
    """One unit of fifty carries all there is to tell."""
    found = PPCA(data=60, latent=50, sigma=0.1, diagonal=True)
    weight = torch.zeros(60, 50)
    weight[:, 0] = torch.randn(60)
    found.set_decoder(weight)
    found.solve_encoder()
    return Case(found.vae, found.sample(n), found.sample(1000))


def with_posterior(n: int, posterior: Callable[[PPCA], Any], strength: float = 4.0) -> Case:
    """The linear model with another posterior."""
    case = ppca(n, 8, 2, strength, diagonal=True)
    found = PPCA(8, 2, 1.0, diagonal=True)
    found.set_decoder(case.model.likelihood.network.layers[0].weight)
    found.solve_encoder()
    model = VAE(Normal(2), found.vae.likelihood, posterior(found))
    return case._replace(model=model)


def exact(found: PPCA) -> tuple[Tensor, Tensor]:
    """Weight [L, D] of the best diagonal posterior's mean, and its log standard deviations [L]."""
    return found.encoder.weight[: found.latent].detach(), found.encoder.bias[found.latent :].detach()


def hierarchical(found: PPCA) -> posteriors.Hierarchical:
    weight, log_s = exact(found)

    def encoder(x: Tensor) -> Tensor:
        mean = x @ weight.T
        return torch.cat((mean, log_s.expand_as(mean), torch.full((len(x), 4), -3.0)), -1)

    return posteriors.Hierarchical(2, Size((8,)), function(encoder), zero, transforms=0, context=0)


def zero(i: Size, o: Size) -> Network:
    return Function(i, o, lambda x: x.new_zeros(*x.shape[:-1], o.numel()))


def semi_implicit(found: PPCA) -> posteriors.SemiImplicit:
    weight, log_s = exact(found)

    def encoder(x: Tensor) -> Tensor:
        mean = x @ weight.T
        return torch.cat((mean, log_s.expand_as(mean)), -1)

    return posteriors.SemiImplicit(2, Size((8,)), function(encoder), zero, context=0)


def implicit(found: PPCA) -> posteriors.Implicit:
    weight, log_s = exact(found)
    return posteriors.Implicit(
        2,
        Size((8,)),
        function(lambda x: x @ weight.T),
        function(lambda h: h[..., :2] + h[..., 2:] * log_s.exp()),
        context=2,
        noise_features=2,
    )


def planar(found: PPCA) -> posteriors.Flow:
    weight, log_s = exact(found)

    def encoder(x: Tensor) -> Tensor:
        mean = x @ weight.T
        return torch.cat((mean, log_s.expand_as(mean), x.new_zeros(len(x), 10)), -1)

    return posteriors.Flow(2, Size((8,)), function(encoder), flows.Planar, transforms=2)


def iaf_of(found: PPCA) -> posteriors.Flow:
    weight, log_s = exact(found)

    def encoder(x: Tensor) -> Tensor:
        mean = x @ weight.T
        return torch.cat((mean, log_s.expand_as(mean), x.new_zeros(len(x), 1)), -1)

    transform = partial(flows.IAF, context=1, hidden=[8])
    flow = posteriors.Flow(2, Size((8,)), function(encoder), transform, transforms=1)
    with torch.no_grad():
        for p in flow.transform.parameters():
            p.zero_()
    return flow


def chain(n: int) -> Case:
    """Two levels, z1 = z2 + noise, x = z1 + noise, each posterior exact but for the dependence."""

    def shifted(by: float, scale: float) -> Any:
        return function(lambda v: torch.cat((by * v[..., -1:], torch.full_like(v[..., :1], math.log(scale))), -1))

    gaussian = posteriors.Gaussian
    prior = ChainPrior(2, Normal, partial(gaussian, network=shifted(1.0, 0.5)))
    posterior = ChainPosterior(
        2,
        Size((1,)),
        partial(gaussian, network=shifted(0.78, 0.47)),
        partial(gaussian, network=function(lambda v: torch.cat((v[..., :1], torch.full_like(v[..., :1], math.log(0.1))), -1))),
        function(lambda x: x),
        context=1,
    )
    sigma = partial(FixedSigma, value=0.1)
    model = VAE(prior, likelihoods.Gaussian(2, Size((1,)), function(lambda z: z[..., 1:]), sigma), posterior)
    x = math.sqrt(1.26) * torch.randn(n + 1000, 1)
    return Case(model, x[:n], x[n:])


def factor_analysis(n: int, strength: float) -> Case:
    """One factor and a noise of its own for each dimension, at the exact posterior."""
    scales = torch.logspace(-1, 1, 8)
    weight = strength * scales / math.sqrt(8)
    precision = 1 + strength**2
    x = torch.randn(n + 1000, 1) * weight + scales * torch.randn(n + 1000, 8)

    def encoder(x: Tensor) -> Tensor:
        mean = (x * weight / scales.square()).sum(-1, keepdim=True) / precision
        return torch.cat((mean, torch.full_like(mean, -0.5 * math.log(precision))), -1)

    likelihood = likelihoods.Gaussian(1, Size((8,)), function(lambda z: z * weight), partial(LearnedSigma, per_pixel=True))
    with torch.no_grad():
        likelihood.sigma.log_sigma.copy_(scales.log())
    return Case(VAE(Normal(1), likelihood, posteriors.Gaussian(1, Size((8,)), function(encoder))), x[:n], x[n:])


def logistic_pca(n: int, weight: float) -> Case:
    """Twenty Bernoulli variables with the logit w z, and the Gaussian at the posterior's mode."""
    x = torch.bernoulli(torch.sigmoid(weight * torch.randn(n + 1000, 1)).expand(-1, 20))

    def encoder(x: Tensor) -> Tensor:
        mean, curvature = x.new_zeros(len(x), 1), x.new_ones(len(x), 1)
        for _ in range(20):
            p = torch.sigmoid(weight * mean)
            curvature = 1 + 20 * weight**2 * p * (1 - p)
            mean = mean + (weight * (x - p).sum(-1, keepdim=True) - mean) / curvature
        return torch.cat((mean, -0.5 * curvature.log()), -1)

    likelihood = Bernoulli(1, Size((20,)), function(lambda z: (weight * z).expand(*z.shape[:-1], 20)))
    return Case(VAE(Normal(1), likelihood, posteriors.Gaussian(1, Size((20,)), function(encoder))), x[:n], x[n:])


def with_noise(n: int, noise: Callable[[Tensor], Tensor]) -> Case:
    """The linear model on data whose noise is another, with the sigma that fits it."""
    case = ppca(n, 10, 2, 4.0)
    network = case.model.likelihood.network
    clean = network(torch.randn(n + 1000, 2)).detach()
    x = noise(clean)
    sigma = float((x - network(case.model.posterior(x).mean)).square().mean().sqrt().detach())
    likelihood = likelihoods.Gaussian(2, Size((10,)), function(network), partial(FixedSigma, value=sigma))
    return Case(VAE(Normal(2), likelihood, case.model.posterior), x[:n], x[n:])


def outliers(x: Tensor) -> Tensor:
    """Unit noise, and one row in a hundred at thirty."""
    return torch.where(torch.rand(len(x), 1) < 0.01, 30 * torch.randn_like(x), x + torch.randn_like(x))


def heavy_tails(x: Tensor) -> Tensor:
    return x + torch.distributions.StudentT(torch.tensor(3.0)).sample(x.shape)


# Data of few values


def one_bit(n: int, kind: str) -> Case:
    """One bit, wholly encoded, as a number, a Bernoulli variable, or a picture of 64 pixels."""
    size = 64 if kind == "picture" else 1
    x = torch.randint(2, (n + 1000, 1)).to(torch.get_default_dtype()).expand(-1, size).contiguous()
    encoder = function(lambda x: torch.stack((2 * x[:, 0] - 1, torch.full_like(x[:, 0], -2.0)), -1))
    posterior = posteriors.Gaussian(1, Size((size,)), encoder)
    if kind == "number":
        decoder = function(lambda z: (z > 0).to(z))
        likelihood: Likelihood = likelihoods.Gaussian(1, Size((1,)), decoder, partial(FixedSigma, value=0.1))
    else:
        likelihood = Bernoulli(1, Size((size,)), function(lambda z: (5 * z).expand(*z.shape[:-1], size)))
    return Case(VAE(Normal(1), likelihood, posterior), x[:n], x[n:])


def prototypes(n: int, k: int, sigma: float = 0.2, data: int = 10) -> Case:
    """k well separated means, a unit each, told exactly."""
    means = 3 * torch.randn(k, data)

    def codes(x: Tensor) -> Tensor:
        which = torch.nn.functional.one_hot(torch.cdist(x, means).argmin(-1), k).to(x)
        return torch.cat((2 * which - 1, torch.full_like(which, -2.0)), -1)

    decoder = function(lambda z: means[z.argmax(-1)])
    likelihood = likelihoods.Gaussian(k, Size((data,)), decoder, partial(FixedSigma, value=sigma))
    x = means[torch.randint(k, (n + 1000,))] + sigma * torch.randn(n + 1000, data)
    return Case(VAE(Normal(k), likelihood, posteriors.Gaussian(k, Size((data,)), function(codes))), x[:n], x[n:])


def few_levels(n: int) -> Case:
    """Twelve variables of three levels, all of them the level of one latent, right nine times in ten."""
    k = torch.randint(3, (n + 1000, 1))
    noise = torch.rand(n + 1000, 12) < 0.1
    x = torch.where(noise, torch.randint(3, (n + 1000, 12)), k).to(torch.get_default_dtype()) / 2

    def encoder(x: Tensor) -> Tensor:
        votes = torch.stack([(x == level / 2).sum(-1) for level in range(3)], -1)
        return torch.stack((votes.argmax(-1) - 1.0, torch.full((len(x),), -2.0)), -1)

    def decoder(z: Tensor) -> Tensor:
        levels = torch.arange(3).to(z) - 1
        return (4 * -(z - levels).abs()).clamp(-3.3, 0).unsqueeze(-1).expand(*z.shape[:-1], 3, 12)

    posterior = posteriors.Gaussian(1, Size((12,)), function(encoder))
    return Case(VAE(Normal(1), Categorical(1, Size((12,)), function(decoder), levels=3), posterior), x[:n], x[n:])


# Other priors and posteriors


def flow_of_the_case(n: int) -> Case:
    """z2 = z1 + 0.2 x, decoded by 5 (z2 - z1): Gaussians of the moments see nothing of it."""
    shape = Size((1,))
    transform = partial(flows.IAF, context=1, hidden=[])
    q = posteriors.Flow(2, shape, affine, transform, transforms=1)
    layer = next(m for m in q.transform.layers.modules() if isinstance(m, nn.Linear))
    model = VAE(Normal(2), likelihoods.Gaussian(2, shape, affine, partial(FixedSigma, value=0.3)), q)
    decoder = model.likelihood.network.layers[0]
    with torch.no_grad():
        for p in [*q.parameters(), *decoder.parameters()]:
            p.zero_()
        q.network.layers[0].weight[4, 0] = 1.0
        layer.weight[2, 0], layer.weight[2, 2], layer.bias[3] = 1.0, 0.2, -40.0
        decoder.weight.copy_(torch.tensor([[-5.0, 5.0]]))
    return Case(model, torch.randn(n, 1), torch.randn(1000, 1))


def narrow_prior(n: int) -> Case:
    """A learned prior of scale 0.01."""
    prior = Mixture(2, 1, spread=0.0, scale=0.01)
    encoder = function(lambda x: torch.cat((0.01 * x, torch.full_like(x, math.log(1e-3))), -1))
    likelihood = likelihoods.Gaussian(2, Size((2,)), function(lambda z: 100 * z), partial(FixedSigma, value=0.1))
    return Case(VAE(prior, likelihood, posteriors.Gaussian(2, Size((2,)), encoder)), torch.randn(n, 2), torch.randn(1000, 2))


def bounded(n: int, width: float) -> Case:
    """A uniform latent on a narrow interval, all of it seen."""

    def encoder(x: Tensor) -> Tensor:
        v = x.clamp(0.01, 0.99)
        return torch.cat((torch.logit(v), (0.05 / (v * (1 - v))).log()), -1)

    posterior = LogitNormal(2, Size((2,)), function(encoder), low=0.0, high=width)
    sigma = partial(FixedSigma, value=0.05)
    model = VAE(Uniform(2, 0.0, width), likelihoods.Gaussian(2, Size((2,)), function(lambda z: z / width), sigma), posterior)
    x = torch.rand(n + 1000, 2) + 0.05 * torch.randn(n + 1000, 2)
    return Case(model, x[:n], x[n:])


def with_prior(n: int, make: Callable[[], Any]) -> Case:
    """The linear model at 5 standard deviations, with another prior."""
    case = ppca(n, 6, 2, 5.0)
    model = VAE(make(), case.model.likelihood, case.model.posterior)
    if isinstance(model.prior, VampPrior):
        model.prior.start_from(case.train)
    return case._replace(model=model)


class LaplaceNoise(Likelihood):
    """Laplace noise around the decoder's output, somebody's own likelihood."""

    def __init__(self, features: int, shape: Size, network: Any):
        super().__init__(features, shape)
        self.network = network(Size((features,)), self.shape)

    def forward(self, c: Any = None) -> Any:
        mean = self.network(c)
        return Independent(Laplace(mean, torch.full_like(mean, 0.2), validate_args=False), 1, validate_args=False)


def laplace(n: int) -> Case:
    encoder = function(lambda x: torch.cat((x, torch.full_like(x, -1.7)), -1))
    model = VAE(Normal(3), LaplaceNoise(3, Size((3,)), function(lambda z: z)), posteriors.Gaussian(3, Size((3,)), encoder))
    x = torch.randn(n + 1000, 3) + Laplace(0.0, 0.2).sample(Size((n + 1000, 3)))
    return Case(model, x[:n], x[n:])


# Trained models


def ascend(model: VAE, x: Tensor, steps: int, beta: float, annealed: bool = False, rate: float = 3e-3) -> VAE:
    """The ELBO of batches of 100, with this weight of the KL, which rises to it over the first half where it is annealed."""
    objective, adam = ELBO(model.train()), torch.optim.Adam(model.parameters(), rate)
    for step in range(steps):
        objective.beta = Constant(beta * min(1.0, 2 * step / steps) if annealed else beta)
        adam.zero_grad()
        (-objective(x[torch.randint(len(x), (100,))], torch.tensor(step))[0].mean()).backward()
        adam.step()
    return model.eval().requires_grad_(False)


@cache
def digits(binary: bool) -> Tensor:
    """Handwritten digits [1797, 64], grey or black and white, in an order that mixes them."""
    grey = load("digits").split("all").all().flatten(1).to(torch.get_default_dtype())
    grey = grey[torch.randperm(len(grey), generator=torch.Generator().manual_seed(0))]
    return (grey > 0.5).to(grey) if binary else grey


PIXELS = Size((64,))


@cache
def trained(kind: str, steps: int = 300, beta: float = 1.0, annealed: bool = False, features: int = 8) -> VAE:
    """A small VAE on the first 1,000 digits."""
    narrow = partial(MLP, hidden=[64])
    with torch.random.fork_rng():
        torch.manual_seed(1)
        match kind:
            case "Bernoulli":
                likelihood: Likelihood = Bernoulli(features, PIXELS, narrow)
            case "Gaussian":
                likelihood = likelihoods.Gaussian(features, PIXELS, narrow, partial(LearnedSigma, start=0.3))
            case "DiscretizedLogistic":
                likelihood = DiscretizedLogistic(features, PIXELS, narrow, levels=17)
            case _:
                likelihood = PixelCNN(features, Size((8, 8)), narrow, layers=2, maps=8, kernel=3, first=5, context=4)
        model = VAE(Normal(features), likelihood, posteriors.Gaussian(features, likelihood.shape, narrow))
        x = digits(kind in ("Bernoulli", "PixelCNN"))[:1000].reshape(1000, *likelihood.shape)
        return ascend(model, x, steps, beta, annealed)


def on_digits(n: int, kind: str, change: Callable[[VAE], VAE] | None = None, **options: Any) -> Case:
    """A trained model, or what became of it, on held-out digits; where there are too few, training digits are the rest."""
    model = trained(kind, **options)
    if change is not None:
        model = change(copy.deepcopy(model)).eval()
    x = digits(kind in ("Bernoulli", "PixelCNN")).reshape(-1, *model.likelihood.shape)
    held, train = x[1000:], x[:1000]
    rows = torch.cat((held[torch.randperm(len(held))], train[torch.randperm(len(train))]))
    return Case(model, rows[:n], train)


@cache
def language_model(beta: float) -> tuple[VAE, Tensor]:
    """An LSTM that writes sentences of 24 kinds by z, and the sentences."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        k = torch.randint(24, (4000,))
        kind = torch.stack((1 + k % 6, 7 + k // 6 % 4), 1)
        ends = torch.zeros(4000, 1, dtype=torch.long)
        x = torch.cat((kind, torch.randint(1, 12, (4000, 2)), ends), 1)
        encoder = partial(RecurrentEncoder, levels=12, hidden=24, embedding=8)
        likelihood = Recurrent(4, Size((5,)), levels=12, hidden=24, embedding=8, skip=True)
        model = VAE(Normal(4), likelihood, posteriors.Gaussian(4, Size((5,)), encoder))
        return ascend(model, x[:2000], 200, beta, annealed=True, rate=1e-2), x


def on_sentences(n: int, beta: float) -> Case:
    model, x = language_model(beta)
    return Case(model, x[2000:][:n], x[:1000])


GOOD: dict[str, Make] = {
    "pPCA, information 0.02 nats": lambda n: ppca(n, 1, 1, 0.2),
    "pPCA, information 0.25 nats": lambda n: ppca(n, 1, 1, 0.8),
    "pPCA, information 0.35 nats in 30 dimensions": lambda n: ppca(n, 30, 1, 1.0),
    "pPCA, information 0.16 nats in 30 dimensions": lambda n: ppca(n, 30, 1, 0.6),
    "pPCA, information 0.7 nats": lambda n: ppca(n, 4, 2, 1.0),
    "pPCA, information 1.15 nats in 30 dimensions": lambda n: ppca(n, 30, 1, 3.0),
    "pPCA, information 3 nats": lambda n: ppca(n, 4, 2, 4.5),
    "pPCA, information 12 nats": lambda n: ppca(n, 30, 5, 11.0),
    "pPCA, information 30 nats": lambda n: ppca(n, 64, 10, 20.0),
    "pPCA, small noise": lambda n: ppca(n, 10, 3, 100.0, sigma=0.01),
    "pPCA, best diagonal posterior": lambda n: ppca(n, 10, 3, 5.0, diagonal=True),
    "pPCA, information 0.35 nats in 200 dimensions": lambda n: ppca(n, 200, 1, 1.0),
    "factor analysis, information 0.35 nats": lambda n: factor_analysis(n, 1.0),
    "logistic PCA, information 0.2 nats": lambda n: logistic_pca(n, 0.3),
    "logistic PCA, information 0.6 nats": lambda n: logistic_pca(n, 0.7),
    "outliers": lambda n: with_noise(n, outliers),
    "heavy tails": lambda n: with_noise(n, heavy_tails),
    "one of fifty units": one_of_fifty,
    "one bit as a number": lambda n: one_bit(n, "number"),
    "one bit as a Bernoulli variable": lambda n: one_bit(n, "variable"),
    "one bit as a picture": lambda n: one_bit(n, "picture"),
    "two means": lambda n: prototypes(n, 2),
    "three means": lambda n: prototypes(n, 3),
    "four means": lambda n: prototypes(n, 4),
    "sixteen means": lambda n: prototypes(n, 16),
    "three levels": few_levels,
    "IAF whose moments tell nothing": flow_of_the_case,
    "IAF": lambda n: with_posterior(n, iaf_of),
    "planar flow": lambda n: with_posterior(n, planar),
    "hierarchical posterior": lambda n: with_posterior(n, hierarchical),
    "semi-implicit posterior": lambda n: with_posterior(n, semi_implicit),
    "implicit posterior": lambda n: with_posterior(n, implicit),
    "two levels": chain,
    "narrow learned prior": narrow_prior,
    "narrow interval": lambda n: bounded(n, 0.1),
    "interval": lambda n: bounded(n, 1.0),
    "mixture prior": lambda n: with_prior(n, lambda: Mixture(2, 5)),
    "VampPrior": lambda n: with_prior(n, lambda: VampPrior(2, 100, low=-30.0, high=30.0)),
    "coupling prior": lambda n: with_prior(n, lambda: CouplingPrior(2)),
    "Laplace noise": laplace,
    "trained, Bernoulli": lambda n: on_digits(n, "Bernoulli"),
    "trained, Gaussian": lambda n: on_digits(n, "Gaussian"),
    "trained, discretised logistic": lambda n: on_digits(n, "DiscretizedLogistic", annealed=True),
    "trained, one unit": lambda n: on_digits(n, "Bernoulli", features=1),
    "trained, two units": lambda n: on_digits(n, "Bernoulli", features=2),
    "trained, PixelCNN that uses z": lambda n: on_digits(n, "PixelCNN", steps=150, beta=0.3, annealed=True),
    "trained, language model that uses z": lambda n: on_sentences(n, 0.3),
}
"""Models whose code is used, in full or as much as there is to tell."""


# What ruins a model


def dead(model: VAE) -> VAE:
    """A decoder that ignores z, at the data's frequencies."""
    p = digits(True)[:1000].mean(0).clamp(0.01, 0.99)
    likelihood = Bernoulli(model.prior.features, PIXELS, function(lambda z: torch.logit(p).expand(*z.shape[:-1], 64)))
    return VAE(model.prior, likelihood, model.posterior)


def last_layer(change: Callable[[Tensor], Tensor]) -> Callable[[VAE], VAE]:
    """The decoder's last layer changed."""

    def ruined(model: VAE) -> VAE:
        with torch.no_grad():
            for p in list(model.likelihood.network.parameters())[-2:]:
                p.copy_(change(p))
        return model

    return ruined


def decoder(change: Callable[[Tensor], Tensor]) -> Callable[[VAE], VAE]:
    """All of the decoder's weights changed."""

    def ruined(model: VAE) -> VAE:
        with torch.no_grad():
            for p in model.likelihood.parameters():
                p.copy_(change(p))
        return model

    return ruined


def coded(f: Callable[[Tensor], Tensor]) -> Callable[[VAE], VAE]:
    """The decoder sees another code than the encoder gives."""

    def ruined(model: VAE) -> VAE:
        inner = model.likelihood.network
        model.likelihood.network = Function(Size((model.prior.features,)), PIXELS, lambda z: inner(f(z)))
        return model

    return ruined


def seeing(f: Callable[[Tensor], Tensor]) -> Callable[[VAE], VAE]:
    """The encoder sees another observation than it is given."""

    def ruined(model: VAE) -> VAE:
        inner = model.posterior.network
        model.posterior.network = Function(PIXELS, Size((2 * model.prior.features,)), lambda x: inner(f(x)))
        return model

    return ruined


def posterior(f: Callable[[Tensor], Tensor]) -> Callable[[VAE], VAE]:
    """The encoder gives something else: x [B, 64] to [B, 2 L]."""

    def ruined(model: VAE) -> VAE:
        model.posterior.network = Function(PIXELS, Size((2 * model.prior.features,)), f)
        return model

    return ruined


def prior_of(x: Tensor) -> Tensor:
    return x.new_zeros(len(x), 16)


def far_of(x: Tensor) -> Tensor:
    return torch.cat((x.new_full((len(x), 8), 3.0), x.new_full((len(x), 8), -2.0)), -1)


def nonsense_of(x: Tensor) -> Tensor:
    """A code that depends on every pixel at random."""
    weight = torch.randn(64, 8, generator=torch.Generator().manual_seed(5), dtype=x.dtype).to(x)
    return torch.cat((2 * torch.sin(40 * x @ weight), x.new_full((len(x), 8), -3.0)), -1)


def brightness(x: Tensor) -> Tensor:
    return x.mean(-1, keepdim=True).expand_as(x)


def with_sigma(value: float) -> Callable[[VAE], VAE]:
    """A Gaussian decoder's sigma, times this."""

    def ruined(model: VAE) -> VAE:
        with torch.no_grad():
            model.likelihood.sigma.log_sigma.add_(math.log(value))
        return model

    return ruined


def random(p: Tensor) -> Tensor:
    return torch.randn_like(p)


def one_nan(x: Tensor) -> Tensor:
    """NaN for one of a thousand observations or so: those with the lightest picture of all."""
    worst = x.sum(-1, keepdim=True) == x.sum(-1).min()
    return torch.where(worst, torch.nan, x)


def floored(make: Callable[..., Any]) -> Callable[[VAE], VAE]:
    """An untrained encoder whose divergence has a floor, on a decoder that does not listen."""

    def ruined(model: VAE) -> VAE:
        q = make(8, PIXELS, affine)
        q.train()
        for _ in range(3):
            q(digits(True)[:1000])
        return VAE(Normal(8), dead(model).likelihood, q)

    return ruined


def collapsed_as(make: Callable[[], Any], listening: bool) -> Callable[[VAE], VAE]:
    """A posterior of another family that is the same for every x, before a decoder that listens, or does not."""

    def ruined(model: VAE) -> VAE:
        return VAE(Normal(8), model.likelihood if listening else dead(model).likelihood, make())

    return ruined


def bypassed(model: VAE) -> VAE:
    """An autoregressive decoder that is not told of z."""
    maps = model.likelihood.network.output
    model.likelihood.network = Function(Size((8,)), maps, lambda z: z.new_zeros(*z.shape[:-1], *maps))
    return model


def one_useless_unit(model: VAE) -> VAE:
    """All of the divergence in a unit that tells of x and that the decoder does not read."""
    last = torch.zeros(8)
    last[-1] = 1

    def encoder(x: Tensor) -> Tensor:
        mean = 3 * (x.sum(-1, keepdim=True) - 20) / 5 * last
        return torch.cat((mean, (-4 * last).expand_as(mean)), -1)

    inner = model.likelihood.network
    model.likelihood.network = Function(Size((8,)), PIXELS, lambda z: inner(torch.zeros_like(z)))
    return posterior(encoder)(model)


def bounded_bad(n: int) -> Case:
    case = bounded(n, 0.1)
    q = LogitNormal(2, Size((2,)), function(lambda x: torch.cat((0 * x, 0 * x + 0.5), -1)), low=0.0, high=0.1)
    return case._replace(model=VAE(case.model.prior, case.model.likelihood, q))


def mixed(kind: str, listening: bool) -> Make:
    shape, narrow = PIXELS, partial(MLP, hidden=[8])
    makes = {
        "hierarchical": lambda: posteriors.Hierarchical(8, shape, Bias, narrow),
        "semi-implicit": lambda: posteriors.SemiImplicit(8, shape, Bias, narrow),
        "implicit": lambda: posteriors.Implicit(8, shape, Bias, narrow),
        "IAF": lambda: posteriors.Flow(8, shape, Bias, flows.IAF, transforms=1),
        "full": lambda: FullGaussian(8, shape, Bias),
    }
    return lambda n: on_digits(n, "Bernoulli", collapsed_as(makes[kind], listening))


BAD: dict[str, Make] = {
    "dead decoder": lambda n: on_digits(n, "Bernoulli", dead),
    "decoder of zeros": lambda n: on_digits(n, "Bernoulli", decoder(torch.zeros_like)),
    "decoder of NaN": lambda n: on_digits(n, "Bernoulli", decoder(lambda p: p * math.nan)),
    "last layer times 100": lambda n: on_digits(n, "Bernoulli", last_layer(lambda p: 100 * p)),
    "last layer times 10": lambda n: on_digits(n, "Bernoulli", last_layer(lambda p: 10 * p)),
    "last layer turned round": lambda n: on_digits(n, "Bernoulli", last_layer(lambda p: -p)),
    "last layer random": lambda n: on_digits(n, "Bernoulli", last_layer(random)),
    "decoder random": lambda n: on_digits(n, "Bernoulli", decoder(random)),
    "decoder random and large": lambda n: on_digits(n, "Bernoulli", decoder(lambda p: 30 * random(p))),
    "pixels in another order": lambda n: on_digits(n, "Bernoulli", last_layer(lambda p: p.flip(0))),
    "units in another order": lambda n: on_digits(n, "Bernoulli", coded(lambda z: z.roll(1, -1))),
    "codes turned round": lambda n: on_digits(n, "Bernoulli", coded(lambda z: -z)),
    "codes times 10": lambda n: on_digits(n, "Bernoulli", coded(lambda z: 10 * z)),
    "codes of nothing": lambda n: on_digits(n, "Bernoulli", coded(torch.zeros_like)),
    "codes hardly heard": lambda n: on_digits(n, "Bernoulli", coded(lambda z: 0.01 * z)),
    "encoder sees pixels in another order": lambda n: on_digits(n, "Bernoulli", seeing(lambda x: x.flip(-1))),
    "encoder sees nothing": lambda n: on_digits(n, "Bernoulli", seeing(lambda x: 0 * x)),
    "one NaN": lambda n: on_digits(n, "Bernoulli", seeing(one_nan)),
    "posterior is the prior": lambda n: on_digits(n, "Bernoulli", posterior(prior_of)),
    "posterior far from the prior, the same for all": lambda n: on_digits(n, "Bernoulli", posterior(far_of)),
    "codes of noise": lambda n: on_digits(n, "Bernoulli", posterior(nonsense_of)),
    "codes of noise, dead decoder": lambda n: on_digits(n, "Bernoulli", lambda model: posterior(nonsense_of)(dead(model))),
    "useless unit": lambda n: on_digits(n, "Bernoulli", one_useless_unit),
    "last layer times 0.1": lambda n: on_digits(n, "Bernoulli", last_layer(lambda p: 0.1 * p)),
    "codes drowned in noise": lambda n: on_digits(n, "Bernoulli", coded(lambda z: z + 3 * torch.randn_like(z))),
    "encoder sees the brightness alone": lambda n: on_digits(n, "Bernoulli", seeing(brightness)),
    "untrained": lambda n: on_digits(n, "Bernoulli", steps=0),
    "beta of 50": lambda n: on_digits(n, "Bernoulli", beta=50.0),
    "beta of 4": lambda n: on_digits(n, "Bernoulli", beta=4.0),
    "beta of 12": lambda n: on_digits(n, "Bernoulli", beta=12.0),
    "beta of 50, Gaussian": lambda n: on_digits(n, "Gaussian", beta=50.0),
    "BN-VAE, dead decoder": lambda n: on_digits(n, "Bernoulli", floored(BatchNormalized)),
    "delta-VAE, dead decoder": lambda n: on_digits(n, "Bernoulli", floored(partial(Committed, delta=5.0))),
    "sigma too small": lambda n: on_digits(n, "Gaussian", with_sigma(0.01)),
    "sigma too large": lambda n: on_digits(n, "Gaussian", with_sigma(30.0)),
    "sigma a fifth": lambda n: on_digits(n, "Gaussian", with_sigma(0.2)),
    "sigma infinite": lambda n: on_digits(n, "Gaussian", with_sigma(math.inf)),
    "PixelCNN on its own": lambda n: on_digits(n, "PixelCNN", steps=100, beta=2.0),
    "PixelCNN bypassed": lambda n: on_digits(n, "PixelCNN", bypassed, steps=150, beta=0.3, annealed=True),
    "language model on its own": lambda n: on_sentences(n, 10.0),
    "interval, the same for all": bounded_bad,
    **{f"{kind}, the same for all": mixed(kind, True) for kind in ("hierarchical", "semi-implicit", "implicit", "IAF", "full")},
    **{f"{kind}, dead decoder": mixed(kind, False) for kind in ("hierarchical", "semi-implicit", "implicit", "IAF")},
    "linear model at sigma above the data": lambda n: sigma_above_the_data(n),
}
"""Models whose code or decoder is of no use."""


def sigma_above_the_data(n: int) -> Case:
    """The maximum-likelihood linear model where the decoder variance exceeds every eigenvalue."""
    scales = torch.tensor([3.0, 1.5, 0.5, 0.2])
    found = PPCA(4, 2, sigma=3.3)
    found.solve_decoder(torch.diag(scales.square()))
    found.solve_encoder()
    x = scales * torch.randn(n + 1000, 4)
    return Case(found.vae, x[:n], x[n:])
