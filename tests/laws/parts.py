"""The list of parts that the laws run over. A new part adds its row here, and every law holds for it or fails."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Size, nn

from uncollapse import schedules
from uncollapse.data import Space
from uncollapse.distributions import (
    HMC,
    AutoregressivePrior,
    BatchNormalized,
    ChainPosterior,
    ChainPrior,
    Committed,
    ConditionalNormal,
    CouplingPrior,
    Density,
    Generator,
    Likelihood,
    Posterior,
    Prior,
    Refined,
    Sigma,
    SplinePrior,
    VampPrior,
    flows,
    likelihoods,
    posteriors,
    priors,
    sigmas,
)
from uncollapse.distributions.flows import Transforms
from uncollapse.distributions.tractable import Location
from uncollapse.divergences import (
    KL,
    R1,
    R2,
    RBF,
    Critic,
    DensityRatio,
    FDivergence,
    Game,
    GradientPenalty,
    Hellinger,
    Hinge,
    InverseMultiquadric,
    JensenShannon,
    Kernel,
    LeastSquares,
    NonSaturating,
    Pearson,
    Penalty,
    Relativistic,
    ReverseKL,
    Saturating,
    Wasserstein,
)
from uncollapse.gan import ADA, ALI, GAN, VEEGAN, Augmentation, DiffAugment, Entropy, ImplicitModel, InfoGAN
from uncollapse.learning import Alternating, Objective, OptimalCritic, Procedure, Unrolled
from uncollapse.networks import (
    MLP,
    BatchNormMLP,
    Bias,
    ConditionEncoder,
    ConvDecoder,
    ConvEncoder,
    DCGANCritic,
    DCGANGenerator,
    Features,
    Fourier,
    GatedMLP,
    LabelEmbedding,
    MaxoutMLP,
    Network,
    OneHot,
    RecurrentEncoder,
    ResidualCritic,
    ResidualGenerator,
    SkipConvDecoder,
    SkipMLP,
    Spectral,
)
from uncollapse.schedules import Schedule
from uncollapse.vae import (
    ELBO,
    IWAE,
    VAE,
    AdversarialAutoencoder,
    AdversarialVariationalBayes,
    Amortized,
    Bound,
    Capacity,
    EntropyELBO,
    InfoVAE,
    JointELBO,
    Lagging,
    LogLikelihood,
    MaximumLikelihood,
    MonteCarloEM,
    ReweightedEM,
    VariationalEM,
)

LATENT = 2
affine = partial(MLP, hidden=[])
small = partial(MLP, hidden=[5], activation=nn.Tanh)
gaussian = partial(posteriors.Gaussian, network=affine)

SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "Constant": partial(schedules.Constant, 0.3),
    "Linear": partial(schedules.Linear, 0.2, 1.0, steps=40),
    "Cosine": partial(schedules.Cosine, 1.0, 0.1, steps=40),
    "Cosine-warmup": partial(schedules.Cosine, warmup=5, steps=40),
    "Geometric": partial(schedules.Geometric, 1.0, 0.05, steps=40),
    "Sigmoid": partial(schedules.Sigmoid, 0.0, 2.0, slope=8.0, steps=40),
    "Cyclical": partial(schedules.Cyclical, cycles=4, steps=40),
}
NETWORKS: dict[str, tuple[Callable[[Size, Size], Network], Size, Size]] = {
    "MLP": (partial(MLP, hidden=[6, 5], activation=nn.Tanh, squash=True, even=True), Size((3,)), Size((2, 2))),
    "MLP-affine": (affine, Size((2, 3)), Size((4,))),
    "GatedMLP": (partial(GatedMLP, hidden=[6], dropout=0.2), Size((2, 3)), Size((4,))),
    "Bias": (Bias, Size((3,)), Size((2,))),
    "ConvEncoder": (partial(ConvEncoder, width=4), Size((2, 8, 4)), Size((3,))),
    "ConvDecoder": (partial(ConvDecoder, width=4), Size((3,)), Size((2, 8, 4))),
    "RecurrentEncoder": (partial(RecurrentEncoder, levels=4, hidden=5, embedding=3), Size((6,)), Size((4,))),
    "SkipMLP": (partial(SkipMLP, hidden=[6, 5], activation=nn.Tanh), Size((3,)), Size((2, 2))),
    "SkipConvDecoder": (partial(SkipConvDecoder, width=4), Size((3,)), Size((2, 8, 4))),
    "BatchNormMLP": (partial(BatchNormMLP, hidden=[6, 5], momentum=0.05), Size((3,)), Size((2, 2))),
    "Fourier": (partial(Fourier, network=small, features=4), Size((2, 3)), Size((4,))),
    "MaxoutMLP": (partial(MaxoutMLP, hidden=[6, 5], pieces=3), Size((2, 3)), Size((4,))),
    "DCGANGenerator": (partial(DCGANGenerator, width=2, layers=2), Size((3,)), Size((2, 8, 5))),
    "DCGANGenerator-finish": (
        partial(DCGANGenerator, width=2, layers=2, kernel=3, finish=True, squash=False),
        Size((3,)),
        Size((2, 8, 5)),
    ),
    "DCGANCritic": (partial(DCGANCritic, width=2, layers=2), Size((2, 8, 5)), Size((3,))),
    "DCGANCritic-without-norm": (
        partial(DCGANCritic, width=2, layers=2, kernel=3, batch_norm=False, slope=0.3, even=True),
        Size((2, 8, 5)),
        Size((3,)),
    ),
    "ResidualGenerator": (partial(ResidualGenerator, maps=[4, 2], groups=2), Size((3,)), Size((2, 8, 5))),
    "ResidualCritic": (partial(ResidualCritic, maps=[2, 4], groups=2), Size((2, 8, 5)), Size((3,))),
    "Spectral": (partial(Spectral, network=small), Size((2, 3)), Size((4,))),
    "Spectral-convolutions": (partial(Spectral, network=partial(ConvDecoder, width=4)), Size((3,)), Size((2, 8, 4))),
}
SIGMAS: dict[str, Callable[[Size], Sigma]] = {
    "FixedSigma": partial(sigmas.FixedSigma, value=0.7),
    "LearnedSigma": partial(sigmas.LearnedSigma, start=0.6),
    "LearnedSigma-per-pixel": partial(sigmas.LearnedSigma, start=0.6, per_pixel=True),
    "OptimalSigma": partial(sigmas.OptimalSigma, momentum=0.1),
}
PRIORS: dict[str, Callable[[int], Prior]] = {
    "Normal": priors.Normal,
    "Uniform": partial(priors.Uniform, low=-1.0, high=2.0),
    "Mixture": partial(priors.Mixture, components=3),
    "VampPrior": partial(VampPrior, components=3, std=0.4),
    "CouplingPrior": partial(CouplingPrior, transforms=2, hidden=[3], activation=nn.Tanh),
    "AutoregressivePrior": partial(AutoregressivePrior, transforms=2, hidden=[6], activation=nn.Tanh),
    "SplinePrior": partial(SplinePrior, transforms=1, hidden=[6], activation=nn.Tanh),
    "ChainPrior": partial(
        ChainPrior, first=partial(priors.Mixture, components=2), then=partial(posteriors.Gaussian, network=small)
    ),
}
CONDITIONAL_PRIORS: dict[str, Callable[[int], Prior]] = {"ConditionalNormal": partial(ConditionalNormal, network=affine)}
"""Priors of models with a condition, with laws in test_conditions.py."""
CONDITION_ENCODERS: dict[str, tuple[Callable[[Space], ConditionEncoder], Space]] = {
    "OneHot": (OneHot, Space(Size(()), "label", 3)),
    "LabelEmbedding": (partial(LabelEmbedding, size=4), Space(Size(()), "label", 3)),
    "Features": (Features, Space(Size((2, 2)))),
    "Features-network": (partial(Features, network=affine, size=5), Space(Size((4,)))),
}
DENSITIES: dict[str, Callable[[int], Location]] = {"Location": Location}
SMALLEST = {"CouplingPrior": 2, "ChainPrior": 2}
"""The smallest latent of the priors that need more than one unit."""
LIKELIHOODS: dict[str, Callable[[int, Size], Likelihood]] = {
    "Bernoulli": partial(likelihoods.Bernoulli, network=small),
    "Categorical": partial(likelihoods.Categorical, network=small, levels=3),
    "DiscretizedLogistic": partial(likelihoods.DiscretizedLogistic, network=small, levels=4),
    "PixelCNN": partial(likelihoods.PixelCNN, network=small, layers=2, maps=6, kernel=3, first=3, context=2),
    "PixelCNN-levels": partial(likelihoods.PixelCNN, network=small, layers=1, maps=4, first=3, levels=3, skip=False),
    "Recurrent": partial(likelihoods.Recurrent, levels=3, hidden=4, embedding=3, word_dropout=0.5),
    "Recurrent-GRU": partial(
        likelihoods.Recurrent, levels=3, hidden=4, embedding=3, cell=nn.GRU, layers=2, skip=True, ends=False
    ),
    **{f"Gaussian-{name}": partial(likelihoods.Gaussian, network=small, sigma=sigma) for name, sigma in SIGMAS.items()},
}
WITHOUT_MEAN = {"PixelCNN", "PixelCNN-levels", "Recurrent", "Recurrent-GRU"}
"""Likelihoods that have draws but no mean: reconstructions are drawn."""
NETWORKED: dict[str, Any] = {"context": 3, "hidden": [6], "activation": nn.Tanh}
TRANSFORMS: dict[str, Callable[[int, int], Transforms]] = {
    "Planar": partial(flows.Planar),
    "Radial": partial(flows.Radial),
    "IAF": partial(flows.IAF, **NETWORKED),
    "MAF": partial(flows.MAF, **NETWORKED),
    "Coupling": partial(flows.Coupling, **NETWORKED),
    "Spline": partial(flows.Spline, **NETWORKED, bins=4),
    "Spline-autoregressive": partial(flows.Spline, **NETWORKED, bins=4, autoregressive=True),
}
POSTERIORS: dict[str, Callable[[int, Size], Posterior]] = {
    "Gaussian": partial(posteriors.Gaussian, network=affine),
    "Gaussian-limits": partial(posteriors.Gaussian, network=affine, limits=(-3.0, 1.0)),
    "FullGaussian": partial(posteriors.FullGaussian, network=affine),
    "LogitNormal": partial(posteriors.LogitNormal, network=affine, low=-1.0, high=2.0),
    "BatchNormalized": partial(BatchNormalized, network=affine, gamma=0.6),
    "Committed": partial(Committed, network=affine, delta=0.5),
    "Committed-by-mean": partial(Committed, network=affine, delta=0.5, by_mean=True),
    "Free": partial(posteriors.Free, family=partial(posteriors.Gaussian, network=affine), limit=40),
    "Refined": partial(Refined, family=partial(posteriors.Gaussian, network=affine), steps=3),
    "Refined-differenced": partial(
        Refined, family=partial(posteriors.Gaussian, network=affine), steps=2, clip=None, finite_difference=1e-4
    ),
    "ChainPosterior": partial(
        ChainPosterior, first=gaussian, then=partial(posteriors.Gaussian, network=small), network=affine, context=2
    ),
    **{
        f"Flow-{name}": partial(posteriors.Flow, network=affine, transform=transform, transforms=2)
        for name, transform in TRANSFORMS.items()
    },
    "Hierarchical": partial(posteriors.Hierarchical, network=affine, auxiliary=small, context=3),
    "Implicit": partial(posteriors.Implicit, network=affine, mixing=small, context=3, noise_features=2),
    "SemiImplicit": partial(posteriors.SemiImplicit, network=affine, mixing=small, context=3, noise_features=2, j=5),
}
KERNELS: dict[str, Callable[[], Kernel]] = {
    "RBF": partial(RBF, [0.5, 2.0]),
    "InverseMultiquadric": InverseMultiquadric,
}
BOUNDS: dict[str, Callable[[VAE], Bound]] = {
    "ELBO": ELBO,
    "ELBO-annealed": partial(ELBO, k=2, beta=schedules.Linear(0.1, 1.0, steps=10), free_bits=0.1),
    "EntropyELBO": partial(EntropyELBO, k=2),
    "JointELBO": partial(JointELBO, data_entropy=3.0),
    "IWAE": partial(IWAE, k=5),
    "IWAE-doubly-reparameterized": partial(IWAE, k=5, doubly_reparameterized=True),
    "Capacity": partial(Capacity, gamma=10.0, capacity=schedules.Linear(0.0, 3.0, steps=10)),
    "Capacity-of-mean": partial(Capacity, k=2, gamma=2.0, capacity=1.0, of_mean=True),
    "InfoVAE": partial(InfoVAE, k=2, alpha=0.5, lam=3.0),
    "InfoVAE-WAE": partial(InfoVAE, alpha=1.0, lam=10.0, kernel=RBF([1.0]), unbiased=False),
    "ReweightedEM": partial(ReweightedEM, k=5),
}
GAMES: dict[str, Callable[[], Game]] = {
    "DensityRatio": DensityRatio,
    "NonSaturating": NonSaturating,
    "Saturating": Saturating,
    "LeastSquares": partial(LeastSquares, target=1.0),
    "Wasserstein": Wasserstein,
    "Hinge": Hinge,
    "Relativistic": Relativistic,
    "KL": KL,
    "ReverseKL": partial(ReverseKL, saturating=False),
    "Pearson": Pearson,
    "Hellinger": Hellinger,
    "JensenShannon": JensenShannon,
}
CRITICS: dict[str, Callable[[list[Size]], Critic]] = {
    "Critic": partial(Critic, network=small),
    "Critic-with-remedies": partial(Critic, network=small, pack=2, noise=schedules.Linear(1.0, 0.0, steps=10), clip=0.1),
}
GENERATORS: dict[str, Callable[[int, Size], Likelihood]] = {"Generator": partial(Generator, network=small)}
F_DIVERGENCES: list[type[FDivergence]] = [KL, ReverseKL, Pearson, Hellinger, JensenShannon]
PENALTIES: dict[str, Callable[[], Penalty]] = {
    "R1": partial(R1, gamma=2.0),
    "R2": R2,
    "GradientPenalty": partial(GradientPenalty, lam=5.0),
}
ADVERSARIAL: dict[str, Callable[[VAE], Objective]] = {
    "AdversarialAutoencoder": partial(AdversarialAutoencoder, network=small, game=Saturating()),
    "AdversarialVariationalBayes": partial(AdversarialVariationalBayes, network=small),
}
one_critic = partial(Critic, network=small)
IMPLICIT_OBJECTIVES: dict[str, Callable[[Any], Objective]] = {
    "GAN": partial(GAN, critic=one_critic),
    "GAN-relativistic": partial(GAN, critic=one_critic, game=Relativistic(), penalties=[R1(0.1), R2(0.1)]),
    "GAN-with-remedies": partial(
        GAN,
        critic=partial(one_critic, pack=2, noise=0.1),
        game=Wasserstein(),
        penalties=[GradientPenalty(5.0)],
        entropy=Entropy(0.1),
    ),
    "ALI": partial(ALI, critic=one_critic),
    "VEEGAN": partial(VEEGAN, critic=one_critic, lam=0.5),
    "InfoGAN": partial(InfoGAN, critic=one_critic, code=1),
}
AUGMENTATIONS: dict[str, Callable[[], Augmentation]] = {"DiffAugment": partial(DiffAugment, cutout=0.25), "ADA": ADA}
ENTROPIES: dict[str, Callable[[], Entropy]] = {"Entropy": partial(Entropy, lam=0.1, sampler=partial(HMC, leapfrogs=3))}
OBJECTIVES: dict[str, Callable[[Any], Objective]] = {
    **BOUNDS,
    **ADVERSARIAL,
    **IMPLICIT_OBJECTIVES,
    "LogLikelihood": LogLikelihood,
}
PROCEDURES: dict[str, Callable[[Objective], Procedure]] = {
    "Alternating": partial(Alternating, steps=2),
    "Alternating-two-time-scales": partial(Alternating, model_steps=2, critic_rate=4.0),
    "OptimalCritic": partial(OptimalCritic, tolerance=0.1, window=2, most=4),
    "Unrolled": partial(Unrolled, unroll=2),
    "Amortized": Amortized,
    "MaximumLikelihood": MaximumLikelihood,
    "VariationalEM": VariationalEM,
    "Lagging": partial(Lagging, window=5, limit=20),
    "MonteCarloEM": partial(MonteCarloEM, sampler=partial(HMC, leapfrogs=3), transitions=2),
}
SAMPLERS: dict[str, Callable[[], HMC]] = {"HMC": partial(HMC, leapfrogs=3)}

KINDS: dict[str, tuple[dict[str, Any], Any]] = {
    "schedule": (SCHEDULES, Schedule),
    "network": ({name: row[0] for name, row in NETWORKS.items()}, Callable[[Size, Size], Network]),
    "sigma": (SIGMAS, Callable[[Size], Sigma]),
    "prior": (PRIORS, Callable[[int], Prior]),
    "conditional_prior": (CONDITIONAL_PRIORS, Callable[[int], Prior]),
    "condition": ({name: row[0] for name, row in CONDITION_ENCODERS.items()}, Callable[[Space], ConditionEncoder]),
    "density": (DENSITIES, Callable[[int], Location]),
    "likelihood": (LIKELIHOODS, Callable[[int, Size], Likelihood]),
    "transform": (TRANSFORMS, Callable[[int, int], Transforms]),
    "posterior": (POSTERIORS, Callable[[int, Size], Posterior]),
    "kernel": (KERNELS, Callable[[], Kernel]),
    "game": (GAMES, Callable[[], Game]),
    "augmentation": (AUGMENTATIONS, Callable[[], Augmentation]),
    "entropy": (ENTROPIES, Callable[[], Entropy]),
    "penalty": (PENALTIES, Callable[[], Penalty]),
    "critic": (CRITICS, Callable[[list[Size]], Critic]),
    "generator": (GENERATORS, Callable[[int, Size], Likelihood]),
    "objective": (OBJECTIVES, Callable[[Any], Objective]),
    "procedure": (PROCEDURES, Callable[[Objective], Procedure]),
    "sampler": (SAMPLERS, Callable[[], HMC]),
}
"""Every row, and the annotation under which the command line builds it."""


EXACT = [name for name, row in POSTERIORS.items() if row(LATENT, Size((3,))).density is Density.EXACT]
"""The posteriors that know their own density."""


IMPLICIT = [name for name, row in POSTERIORS.items() if row(LATENT, Size((3,))).density is Density.SAMPLES]
"""Those that can only be drawn from, with laws in test_implicit.py."""

RICH = [name for name in POSTERIORS if name.startswith("Flow") or name not in EXACT]
"""Flows and mixtures, with laws in test_flows.py and test_mixed_posteriors.py; beside the normal prior alone in `pairs`."""


def bounded(part: Prior | Posterior) -> bool:
    """Whether its latents lie in an interval."""
    return hasattr(part.support, "lower_bound")


def pairs() -> list[tuple[str, str]]:
    """The priors and posteriors that live on the same support."""
    on_interval, refused = {"Uniform", "LogitNormal"}, {("VampPrior", "Free"), ("VampPrior", "BatchNormalized")}
    every = [(p, q) for p in PRIORS for q in POSTERIORS if (p in on_interval) == (q in on_interval)]
    few = [*RICH, "Refined", "Refined-differenced"]
    return [(p, q) for p, q in every if (p, q) not in refused and q not in IMPLICIT and (q not in few or p == "Normal")]


def prior(name: str, features: int = LATENT) -> Prior:
    """The prior of a row, handed the parts of a model where it is made of them; with more features where it needs them."""
    shape, features = Size((3,)), max(features, SMALLEST.get(name, 1))
    part = PRIORS[name](features)
    part.attach(LIKELIHOODS["Bernoulli"](features, shape), POSTERIORS["Gaussian"](features, shape))
    return part


def vae(prior: str = "Normal", likelihood: str = "Bernoulli", posterior: str = "Gaussian") -> VAE:
    """The model of three rows, of data of shape (3,); of tokens with an encoder that reads them."""
    shape = Size((3,))
    p = LIKELIHOODS[likelihood](LATENT, shape)
    if p.space.kind == "tokens":
        encoder = partial(RecurrentEncoder, levels=p.levels, hidden=4, embedding=3)
        return VAE(PRIORS[prior](LATENT), p, posteriors.Gaussian(LATENT, shape, encoder))
    return VAE(PRIORS[prior](LATENT), p, POSTERIORS[posterior](LATENT, shape))


def implicit_model(name: str) -> ImplicitModel:
    """A model that an implicit objective's row can learn, of data of shape (3,)."""
    shape = Size((3,))
    noisy = name == "GAN-with-remedies"
    likelihood = LIKELIHOODS["Gaussian-LearnedSigma"](LATENT, shape) if noisy else GENERATORS["Generator"](LATENT, shape)
    posterior = None if name.startswith("GAN") else POSTERIORS["Gaussian"](LATENT, shape)
    return ImplicitModel(PRIORS["Normal"](LATENT), likelihood, posterior)


def given(kind: str, name: str) -> tuple[Any, ...]:
    """What the house hands to the factory of a row: sizes, a model, an objective."""
    match kind:
        case "schedule" | "kernel" | "game" | "penalty" | "sampler" | "augmentation" | "entropy":
            return ()
        case "network":
            return NETWORKS[name][1:]
        case "sigma":
            return (Size((3,)),)
        case "critic":
            return ([Size((3,))],)
        case "prior" | "density" | "conditional_prior":
            return (LATENT,)
        case "condition":
            return (CONDITION_ENCODERS[name][1],)
        case "transform":
            return (LATENT, 2)
        case "objective":
            if name in IMPLICIT_OBJECTIVES:
                return (implicit_model(name),)
            return (Location(LATENT),) if name == "LogLikelihood" else (vae(),)
        case "procedure":
            if name.startswith(("Alternating", "OptimalCritic", "Unrolled")):
                return (ADVERSARIAL["AdversarialAutoencoder"](vae()),)
            return (ELBO(vae(posterior="Free" if name == "VariationalEM" else "Gaussian")),)
    return (LATENT, Size((3,)))
