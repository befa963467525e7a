"""What to try against posterior collapse."""

from inspect import signature
from typing import Any

from uncollapse.diagnosis.remedy import Option, Remedy
from uncollapse.distributions import BatchNormalized, CouplingPrior, Mixture, OptimalSigma, Prior, SplinePrior, VampPrior
from uncollapse.distributions.vamp import unmixable
from uncollapse.parts import Part
from uncollapse.vae import VAE

Options = tuple[Option, ...]

ELBO: Option = ("objective", "ELBO")


def posterior_remedies(
    model: VAE, verdict: str = "collapsed", misses_codes: bool = False, has_critic: bool = False, steps: int = 10_000
) -> list[Remedy]:
    """What to try by the verdict on this model: only what fits its parts.

    Args:
        model: The model.
        verdict: A name in `posterior_verdict.MEANINGS`.
        misses_codes: Whether samples from its prior miss the codes: then other priors are tried, whatever the verdict is.
        has_critic: Whether its objective has a critic: then what needs log q(z|x) comes with another objective and procedure.
        steps: For which it was trained.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), MLP), posteriors.Gaussian(2, (4,), MLP))
        >>> posterior_remedies(vae)[1].options
        (('objective', 'ELBO'), ('objective.free_bits', 0.25))
    """
    alone: Options = (("procedure", "Amortized"), ELBO) if has_critic else ()
    match verdict:
        case "collapsed" | "partly collapsed":
            found = _of_collapse(model, alone)
        case "worse than no code" | "broken":
            found = _of_decoder(model, steps)
        case _:
            found = []
    if misses_codes:
        found += [remedy for remedy in _of_prior(model, alone) if remedy not in found]
    return found


def _of_collapse(model: VAE, alone: Options) -> list[Remedy]:
    """Against a code that is not used."""
    elbo = alone or (ELBO,)
    found = _of_sigma(model)
    if _arguments(model.likelihood).get("skip") is False:
        found.append(Remedy((("likelihood.skip", True),), "let z reach every layer of the decoder"))
    known = model.posterior.density.weighs
    if known:
        found.append(Remedy((*elbo, ("objective.beta", "Linear")), "anneal the weight of the KL, over all steps"))
        found.append(Remedy((*elbo, ("objective.free_bits", 0.25)), "leave each unit some nats for free"))
    unbounded = not hasattr(model.prior.support, "lower_bound")
    encodes = any(p.requires_grad for p in model.posterior.parameters())
    normalised = any(isinstance(part, BatchNormalized) for part in model.posterior.modules())
    if encodes and unbounded and not normalised:
        floor = (("posterior", "BatchNormalized"), *_encoder(model), ("prior", "Normal"))
        found.append(Remedy(floor, "a floor under the KL"))
    if encodes and known:
        lagging: Options = (*((ELBO,) if alone else ()), ("procedure", "Lagging"))
        found.append(Remedy(lagging, "let the encoder catch up with the decoder"))
    return found + _of_prior(model, alone)[:1]


def _of_decoder(model: VAE, steps: int) -> list[Remedy]:
    """Against a decoder that is worse than none, or not finite: a training that went astray, or has only begun."""
    return [
        *_of_sigma(model),
        Remedy((("training.clip", 10),), "bound the norm of each gradient"),
        Remedy((("optimizer.lr", 0.0003),), "smaller steps"),
        Remedy((("training.steps", 2 * steps),), "a longer training"),
    ]


def _of_sigma(model: VAE) -> list[Remedy]:
    sigma = getattr(model.likelihood, "sigma", None)
    if sigma is None or isinstance(sigma, OptimalSigma):
        return []
    return [Remedy((("likelihood.sigma", "OptimalSigma"),), "a decoder variance that fits: too large a one collapses")]


def _of_prior(model: VAE, alone: Options) -> list[Remedy]:
    """Priors that can follow the codes and take the condition, where there is one; the simplest first."""
    if hasattr(model.prior.support, "lower_bound") or not model.posterior.density.weighs:
        return []
    encodes = any(p.requires_grad for p in model.posterior.parameters())
    mixes = encodes and unmixable(model.posterior) is None
    priors: list[type[Prior]] = [VampPrior] if mixes and model.likelihood.levels else []
    priors += [Mixture, CouplingPrior if model.prior.features > 1 else SplinePrior]
    found = [
        Remedy((*alone, ("prior", prior.__name__)), "a prior that can follow the posterior")
        for prior in priors
        if type(model.prior) is not prior and (model.condition is None or prior.takes_condition)
    ]
    info: Options = (("objective", "InfoVAE"), ("objective.alpha", 0.5), ("objective.lam", 10))
    words = "draw the codes to the prior by a distance of their own"
    return [*found, Remedy((*alone[:1], *info), words)]


def _encoder(model: VAE) -> Options:
    """The options that give another posterior the network of this one; an MLP where it has none of its own."""
    posterior = getattr(model.posterior, "family", model.posterior)
    written = _arguments(posterior).get("network")
    if written is None:
        return (("posterior.network", "MLP"),)
    if isinstance(written, str):
        written = {"class_path": written}
    options: list[Option] = [("posterior.network", written["class_path"].removeprefix("uncollapse.networks."))]
    usual = signature(type(posterior.network)).parameters
    for name, value in written.get("init_args", {}).items():
        default = usual[name].default
        if value != default and not (isinstance(default, type) and str(value).endswith(f".{default.__name__}")):
            options.append((f"posterior.network.{name}", value))
    return tuple(options)


def _arguments(part: Part) -> dict[str, Any]:
    """What a part was made with, as plain values; nothing of one that was put together in Python and cannot be written down."""
    try:
        written: dict[str, Any] = part.configuration()["init_args"]
    except TypeError:
        return {}
    return written
