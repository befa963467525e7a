"""What to try against posterior collapse."""

import json
from inspect import signature
from shlex import quote
from typing import Any

from uncollapse.diagnosis.remedy import Remedy
from uncollapse.distributions import BatchNormalized, OptimalSigma
from uncollapse.distributions.vamp import unmixable
from uncollapse.vae import VAE


def posterior_remedies(model: VAE, has_critic: bool = False) -> list[Remedy]:
    """What to try against a posterior collapse of this model: only what fits its parts.

    Args:
        model: The model.
        has_critic: Whether its objective has a critic: then what needs log q(z|x) comes with another objective and procedure.
    """
    alone = "--procedure Amortized --objective ELBO " if has_critic else ""
    elbo, network = (alone or "--objective ELBO ") + "--objective", _encoder(model)
    found = []
    sigma = getattr(model.likelihood, "sigma", None)
    if sigma is not None and not isinstance(sigma, OptimalSigma):
        found.append(("--likelihood.sigma OptimalSigma", "a decoder variance that fits: too large a one collapses"))
    if model.likelihood.configuration()["init_args"].get("skip") is False:
        found.append(("--likelihood.skip true", "let z reach every layer of the decoder"))
    known = model.posterior.density.weighs
    if known:
        found.append((f"{elbo}.beta Linear", "anneal the weight of the KL, over all steps"))
        found.append((f"{elbo}.free_bits 0.25", "leave each unit some nats for free"))
    unbounded = not hasattr(model.prior.support, "lower_bound")
    encodes = any(p.requires_grad for p in model.posterior.parameters())
    normalised = any(isinstance(part, BatchNormalized) for part in model.posterior.modules())
    if encodes and unbounded and not normalised:
        found.append((f"--posterior BatchNormalized {network} --prior Normal", "a floor under the KL"))
    if encodes and known:
        lagging = "--objective ELBO --procedure Lagging" if has_critic else "--procedure Lagging"
        found.append((lagging, "let the encoder catch up with the decoder"))
    if unbounded:
        mixes = encodes and unmixable(model.posterior) is None
        prior = "VampPrior" if mixes and model.likelihood.levels else "Mixture"
        if known and type(model.prior).__name__ != prior:
            found.append((f"{alone}--prior {prior}", "a prior that can follow the posterior"))
    return [Remedy(*pair) for pair in found]


def _encoder(model: VAE) -> str:
    """The options that give another posterior the network of this one; an MLP where it has none of its own."""
    posterior = getattr(model.posterior, "family", model.posterior)
    written = posterior.configuration()["init_args"].get("network")
    if written is None:
        return "--posterior.network MLP"
    if isinstance(written, str):
        written = {"class_path": written}
    options = [f"--posterior.network {written['class_path'].removeprefix('uncollapse.networks.')}"]
    usual = signature(type(posterior.network)).parameters
    for name, value in written.get("init_args", {}).items():
        default = usual[name].default
        if value != default and not (isinstance(default, type) and str(value).endswith(f".{default.__name__}")):
            options.append(f"--posterior.network.{name} {quote(_plain(value))}")
    return " ".join(options)


def _plain(value: Any) -> str:
    """A value as the command line reads it."""
    return value if isinstance(value, str) else json.dumps(value)
