"""The entropy of a model of draws with noise: a pay for variety, by its gradient alone."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from uncollapse.data import Batch, as_batch
from uncollapse.distributions import HMC, LatentVariableModel
from uncollapse.distributions.still import evaluating
from uncollapse.learning import Logged
from uncollapse.parts import Part


class Entropy(Part, nn.Module):
    r"""The entropy of p(x) as a regulariser, whose gradient takes the score of p(x) from draws of p(z|x).

    .. math:: \nabla_\theta \mathbb H[p_\theta(x)] = -\mathbb E\left[\nabla_x \log p_\theta(x) \, \nabla_\theta x\right], \qquad
              \nabla_x \log p_\theta(x) = \mathbb E_{p(z \mid x)}\left[\nabla_x \log p_\theta(x \mid z)\right]

    The draws of p(z|x) come from Hamiltonian Monte Carlo on log p(x, z) that starts at the z which x was made of: itself a draw
    of p(z|x), so the chain is stationary from its first step. But a chain that is still near that z remembers it, and
    :math:`\nabla_\theta x` depends on it too: the estimate is of too little, down to nothing for the generator where z does not
    move, and right once the chain has mixed. `latent_move` in the log tells how far it goes. The model is in eval() meanwhile:
    a generator with batch normalisation is seen there by its running statistics, and the start is then no draw of p(z|x).

    Args:
        lam: Weight λ.
        sampler: Factory of the sampler; its step size follows the acceptance in training.
        burn_in: Transitions that are left out, before that of the first draw.
        draws: Draws of p(z|x) for each x, a transition apart.

    Raises:
        ValueError: If a number is out of range.

    References:
        Dieng, Ruiz, Blei and Titsias (2019), Prescribed Generative Adversarial Networks, equations 9 to 13; there 2 transitions
        before the first of 2 draws, 5 leapfrogs, λ = 0.01.

    Example:
        >>> from uncollapse.distributions import Normal, likelihoods
        >>> from uncollapse.gan import ImplicitModel
        >>> from uncollapse.networks import MLP
        >>> model = ImplicitModel(Normal(2), likelihoods.Gaussian(2, (5,), MLP))
        >>> drawn = model.draws(torch.zeros(3, 5))
        >>> gain, told = Entropy()(model, drawn.x, drawn.z)
        >>> gain.tolist(), sorted(told)
        ([0.0, 0.0, 0.0], ['acceptance', 'latent_move'])
    """

    def __init__(self, lam: float = 0.01, sampler: Callable[[], HMC] = HMC, burn_in: int = 2, draws: int = 2):
        super().__init__()
        if lam <= 0 or burn_in < 0 or draws < 1:
            raise ValueError(f"expected lam > 0, burn_in >= 0 and draws >= 1, came lam={lam}, burn_in={burn_in}, draws={draws}")
        self.lam, self.burn_in, self.draws = lam, burn_in, draws
        self.sampler = sampler()

    def forward(self, model: LatentVariableModel, drawn: Tensor | Batch, z: Tensor) -> tuple[Tensor, Logged]:
        """For draws [B, *shape], with their gradient, and their latents z [B, L]: numbers [B] that are 0 and have λ times the
        entropy's gradient, the mean acceptance of the chains, and how far z moves in them."""
        batch = as_batch(drawn)
        x = batch.x
        score, acceptance, moved = self._score(model, batch.map(Tensor.detach), z.detach())
        surrogate = -self.lam * (score * x).flatten(1).sum(1)
        return surrogate - surrogate.detach(), {"acceptance": acceptance, "latent_move": moved}

    def _score(self, model: LatentVariableModel, drawn: Tensor | Batch, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The estimate of ∇ log p(x) [B, *shape], the acceptance [B], and the distance of the last draw from z [B]."""
        batch = as_batch(drawn)
        score, accepted, start = torch.zeros_like(batch.x), torch.zeros_like(z[:, 0]), z
        with evaluating(model):
            for draw in range(self.draws):
                transitions = self.burn_in + 1 if draw == 0 else 1
                z, acceptance = self.sampler(lambda z: model.log_joint(batch, z), z, transitions)
                score, accepted = score + _gradient(model, batch, z) / self.draws, accepted + acceptance / self.draws
        return score, accepted, (z - start).square().sum(-1).sqrt()


def _gradient(model: LatentVariableModel, batch: Batch, z: Tensor) -> Tensor:
    """∇_x log p(x|z)."""
    with torch.enable_grad():
        x = batch.x.detach().requires_grad_()
        return torch.autograd.grad(model.log_likelihood(z, batch._replace(x=x)).sum(), x)[0]
