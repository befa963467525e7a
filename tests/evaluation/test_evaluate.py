"""What evaluate() says, and that a part of a split is a sample of it."""

import torch

from uncollapse.data import from_arrays
from uncollapse.distributions import Bernoulli, Normal, posteriors
from uncollapse.evaluation import evaluate
from uncollapse.networks import Bias
from uncollapse.training import Training, fit
from uncollapse.vae import ELBO, VAE, Amortized


def test_part_of_a_split_ordered_by_class_is_a_sample_of_it() -> None:
    """log p(x) depends on the class alone: 400 of 2,000 rows must hold both classes in about their shares."""
    x = torch.cat((torch.zeros(1000, 4), torch.ones(1000, 4)))
    vae = VAE(Normal(2), Bernoulli(2, (4,), Bias), posteriors.Gaussian(2, (4,), Bias))
    with torch.no_grad():
        vae.likelihood.network.value.fill_(2.0)
    data = from_arrays(x, test=x)
    nll = [evaluate(vae, data, samples=2, examples=n)["nll"] for n in (400, 400, None)]
    assert nll[0] == nll[1]
    standard_error = 4 * 2.0 * 0.5 / 400**0.5  # the classes differ by 4 units of 2 nats
    assert abs(nll[0] - nll[2]) < 4 * standard_error


def test_validation_hands_its_observations_over_in_random_order() -> None:
    seen: list[torch.Tensor] = []

    class Looking(Amortized):
        def validate(self, batches, t):
            seen.extend(batch.x for batch in batches)
            return {"elbo": 0.0}

    x = torch.cat((torch.zeros(1000, 4), torch.ones(1000, 4)))
    vae = VAE(Normal(2), Bernoulli(2, (4,), Bias), posteriors.Gaussian(2, (4,), Bias))
    fit(Looking(ELBO(vae)), from_arrays(x, valid=x), Training(steps=1))
    mean = float(torch.cat(seen)[:512].mean())
    assert abs(mean - 0.5) < 4 * 0.5 / 512**0.5
    assert float(torch.cat(seen).mean()) == 0.5 and len(torch.cat(seen)) == 2000
