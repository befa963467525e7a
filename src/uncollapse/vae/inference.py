"""Procedures that learn prescribed models: maximum likelihood, variational EM, amortised inference."""

from torch import Tensor

from uncollapse.data import Batch
from uncollapse.distributions import Free
from uncollapse.learning import Logged, Objective, Procedure


class MaximumLikelihood(Procedure):
    r"""Maximum likelihood by gradient, for a model whose density is tractable.

    .. math:: \theta \leftarrow \theta + \eta \, \nabla_\theta \tfrac1B \sum_i \log p_\theta(x_i)

    Example:
        >>> import torch
        >>> import uncollapse as uc
        >>> from uncollapse.distributions import Location
        >>> from uncollapse.vae import LogLikelihood
        >>> data = uc.data.from_arrays(torch.arange(100.0) / 100)
        >>> learn = MaximumLikelihood(LogLikelihood(Location(1)))
        >>> fitted = uc.fit(learn, data, uc.Training(steps=60), lambda theta: torch.optim.SGD(theta, lr=0.2))
        >>> bool((fitted.model.theta - Location.closed_form(data.train.all())).abs() < 1e-3)
        True
    """

    def step(self, batch: Batch, t: Tensor) -> Logged:
        log_likelihood, logged = self.forward(batch, t)
        self.ascend(log_likelihood)
        return {name: value.detach() for name, value in logged.items()}


class Amortized(Procedure):
    r"""Algorithm 2, amortised inference: one gradient step of the bound on a minibatch, for θ and φ together.

    .. math:: (\theta, \phi) \leftarrow (\theta, \phi) + \eta \, \nabla_{\theta, \phi}
              \tfrac1B \sum_i \mathcal L_{\theta, \phi}(x_i)

    References:
        Kingma and Welling (2014), algorithm 1.

    Example:
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> from uncollapse.vae import ELBO, VAE
        >>> vae = VAE(Normal(2), Bernoulli(2, (4,), MLP), posteriors.Gaussian(2, (4,), MLP))
        >>> procedure = Amortized(ELBO(vae))
        >>> len(procedure.parameters()) == len(list(vae.parameters()))
        True
    """

    def step(self, batch: Batch, t: Tensor) -> Logged:
        bound, logged = self.forward(batch, t)
        self.ascend(bound)
        return {name: value.detach() for name, value in logged.items()}


class VariationalEM(Procedure):
    r"""Algorithm 1, variational EM: the E-step runs each observation's own variational parameters to convergence, the M-step is
    one gradient step on θ.

    .. math:: \lambda_i^* = \arg\max_\lambda \mathcal L_i(\theta, \lambda), \qquad
              \theta \leftarrow \theta + \eta \, \nabla_\theta \tfrac1B \sum_i \mathcal L_i(\theta, \lambda_i^*)

    The E-step and its criterion of convergence are those of the posterior, `Free`.

    Raises:
        ValueError: If the posterior has an encoder in place of free parameters.

    References:
        Jordan et al. (1999); Neal and Hinton (1998), A View of the EM Algorithm.

    Example:
        Zeros or ones throughout, half and half: guesses of each bit alone have 4 log 2 = 2.77 nats, the data's entropy is 0.69.

        >>> import torch
        >>> import uncollapse as uc
        >>> from uncollapse.distributions import Bernoulli, Normal, posteriors
        >>> from uncollapse.networks import MLP
        >>> from uncollapse.vae import ELBO, VAE
        >>> _ = torch.manual_seed(0)
        >>> data = uc.data.from_arrays(torch.arange(100).remainder(2)[:, None].repeat(1, 4))
        >>> free = Free(1, (4,), lambda features, shape: posteriors.Gaussian(features, shape, MLP))
        >>> learn = VariationalEM(ELBO(VAE(Normal(1), Bernoulli(1, (4,), MLP), free)))
        >>> fitted = uc.fit(learn, data, uc.Training(steps=40, batch_size=20))
        >>> 0.69 < -fitted.lines[-1]["elbo"] < 1.5
        True
    """

    def __init__(self, objective: Objective):
        super().__init__(objective)
        self.posterior = objective.model.posterior
        if not isinstance(self.posterior, Free):
            raise ValueError(
                f"VariationalEM expects free variational parameters, came {type(self.posterior).__name__}; "
                "write --posterior Free --posterior.family Gaussian, or --procedure Amortized"
            )

    def step(self, batch: Batch, t: Tensor) -> Logged:
        lam = self.objective.model.encode_parameters(batch)
        bound, logged = self.forward(batch, t, lam)
        self.ascend(bound)
        return {name: value.detach() for name, value in logged.items()}
