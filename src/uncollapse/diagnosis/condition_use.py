"""Whether a conditional model uses its condition: what its own gains over another, or how far it moves what is generated."""

import torch
from torch import Tensor

from uncollapse.data import Batch
from uncollapse.diagnosis.information import Estimate, log_likelihood
from uncollapse.distributions import LatentVariableModel
from uncollapse.distributions.still import evaluating
from uncollapse.vae import VAE

IGNORED = 0.05
"""Nats of gain, or share of the distance between draws of two latents, below which a condition is ignored."""


def other_conditions(batch: Batch) -> tuple[Batch, Tensor]:
    """The observations with the condition of another one, and which of them got one that differs: [B] booleans.

    Example:
        >>> swapped, differs = other_conditions(Batch(torch.zeros(3, 1), torch.tensor([0, 0, 1])))
        >>> swapped.condition.tolist(), differs.tolist()
        ([0, 1, 0], [False, True, True])
    """
    assert batch.condition is not None
    swapped = batch.condition.roll(-1, 0)
    differs = (swapped != batch.condition).reshape(batch.n, -1).any(1)
    return batch._replace(condition=swapped, features=None), differs


@torch.no_grad()
def condition_gain(model: VAE, z: Tensor, batch: Batch) -> Estimate | None:
    r"""What the decoder gains by the condition of an observation over that of another one, at the same code, in nats.

    .. math:: \tfrac1N \sum_i \log \frac{p(x_i \mid z_i, c_i)}{p(x_i \mid z_i, c_{\pi(i)})}, \quad c_{\pi(i)} \ne c_i

    At or below `IGNORED` the model generates the same whatever condition is asked for, though its reconstructions may be good:
    then z holds what the condition tells as well.

    Args:
        model: The model, in eval().
        z: A code of each observation, [N, L].
        batch: The observations and their conditions.

    Returns:
        The mean and its standard error; None where fewer than two observations have another condition to compare with.
    """
    swapped, differs = other_conditions(batch)
    rows = differs.nonzero().squeeze(1)
    if len(rows) < 2:
        return None
    own = log_likelihood(model, z[rows], batch.rows(rows))
    return Estimate.of(own - log_likelihood(model, z[rows], swapped.rows(rows)))


@torch.no_grad()
def condition_effect(model: LatentVariableModel, condition: Tensor) -> float | None:
    r"""How far another condition moves what a generator makes of the same latent, beside how far another latent moves it.

    .. math:: \frac{\mathbb E \lVert g(z, c) - g(z, c') \rVert^2}{\mathbb E \lVert g(z, c) - g(z', c) \rVert^2}

    Args:
        model: The model; its draws are the means of p(x|z, c) where that has any.
        condition: Conditions [N, *shape], in random order.

    Returns:
        The ratio; below `IGNORED` the condition is ignored. None where no two conditions differ, or no two draws do.
    """
    with evaluating(model):
        z, batch = model.simulate(len(condition), condition)
        swapped, differs = other_conditions(batch)
        if not differs.any():
            return None
        own, other = model.decode(z, batch), model.decode(z, swapped)
        moved = model.decode(z.roll(1, 0), batch)
        by_latent = (own - moved).square().flatten(1).sum(1).mean()
        by_condition = (own - other)[differs].square().flatten(1).sum(1).mean()
    return float(by_condition / by_latent) if by_latent > 0 else None
