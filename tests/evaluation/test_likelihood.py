"""Importance sampling against the linear-Gaussian model, its log p(x) known. Random tests fail at 5 standard errors (6e-7)."""

import math
import subprocess
import sys
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import MultivariateNormal

from uncollapse.distributions import (
    Bernoulli,
    Density,
    FixedSigma,
    FullGaussian,
    LogitNormal,
    Normal,
    OptimalSigma,
    Recurrent,
    Uniform,
    likelihoods,
    posteriors,
)
from uncollapse.distributions.fields import BernoulliField
from uncollapse.evaluation import FromPosterior, FromPrior, Widened, log_likelihood
from uncollapse.networks import MLP, Bias, GatedMLP
from uncollapse.vae import ELBO, VAE

L, D, SIGMA = 2, 5, 0.7


class Known(NamedTuple):
    vae: VAE  # p(z) = N(0, I), p(x|z) = N(W z + b, σ² I), and its exact posterior
    marginal: MultivariateNormal  # N(b, W Wᵀ + σ² I)


def affine(input: Size, output: Size) -> MLP:
    return MLP(input, output, hidden=[])


@pytest.fixture
def known() -> Known:
    torch.manual_seed(0)
    likelihood = likelihoods.Gaussian(L, Size((D,)), affine, lambda shape: FixedSigma(shape, SIGMA))
    vae = VAE(Normal(L), likelihood, FullGaussian(L, Size((D,)), affine)).double().requires_grad_(False)
    w, b = torch.randn(D, L).double(), torch.randn(D).double()
    precision = torch.eye(L).double() + w.T @ w / SIGMA**2
    gain, scale = torch.linalg.solve(precision, w.T / SIGMA**2), torch.linalg.cholesky(precision.inverse())
    decoder, encoder = vae.likelihood.network.layers[-1], vae.posterior.network.layers[-1]
    decoder.weight.copy_(w)
    decoder.bias.copy_(b)
    encoder.weight.zero_()[:L] = gain
    encoder.bias[:L] = -gain @ b
    encoder.bias[L : 2 * L] = torch.log(torch.expm1(scale.diagonal() - 1e-6))
    encoder.bias[2 * L :] = scale[1, 0]
    return Known(vae, MultivariateNormal(b, w @ w.T + SIGMA**2 * torch.eye(D).double()))


def make_wrong(vae: VAE) -> None:
    """Move the posterior's mean and widen it by a fifth."""
    bias = vae.posterior.network.layers[-1].bias
    bias.copy_(vae.posterior.widen(bias[None], 1.2)[0])
    bias[:L] += 0.2


def binary(shape: tuple[int, ...] = (8,), features: int = 2) -> VAE:
    torch.manual_seed(1)
    likelihood = Bernoulli(features, Size(shape), lambda i, o: MLP(i, o, [16]))
    return VAE(Normal(features), likelihood, posteriors.Gaussian(features, Size(shape), lambda i, o: MLP(i, o, [16]))).float()


def bits(n: int, shape: tuple[int, ...] = (8,)) -> Tensor:
    return (torch.rand(n, *shape, generator=torch.Generator().manual_seed(2), dtype=torch.float32) < 0.4).float()


def test_one_sample_of_the_exact_posterior_is_exact(known: Known) -> None:
    x = known.marginal.sample((20,))
    found = log_likelihood(known.vae, x, k=1)
    assert torch.allclose(found.log_likelihoods, known.marginal.log_prob(x), rtol=0, atol=1e-9)
    assert found.elbo == pytest.approx(-found.nll, abs=1e-9)
    assert (found.n_importance_samples, found.n_examples) == (1, 20)


def test_every_sample_of_the_exact_posterior_counts(known: Known) -> None:
    found = log_likelihood(known.vae, known.marginal.sample((20,)), k=300)
    assert found.effective_sample_size == pytest.approx(300, rel=1e-9)
    assert found.nll_sampling_error < 1e-6


@pytest.mark.parametrize("proposal", [FromPosterior(), Widened(), Widened(2.0), FromPrior()], ids=repr)
@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("budget", [2000, None])
def test_it_finds_the_evidence(known: Known, proposal, wrong: bool, budget: int | None) -> None:
    if wrong:
        make_wrong(known.vae)
    x = known.marginal.sample((50,))
    found = log_likelihood(known.vae, x, k=2000, proposal=proposal, budget=budget)
    exact = -float(known.marginal.log_prob(x).mean())
    assert abs(found.nll - exact) <= 5 * found.nll_sampling_error + 1e-9
    assert found.nll_sampling_error < 0.05
    assert found.effective_sample_size <= 2000 * (1 + 1e-9)


def test_the_elbo_is_the_posteriors_whatever_the_proposal(known: Known) -> None:
    make_wrong(known.vae)
    x = known.marginal.sample((200,))
    own, prior = (log_likelihood(known.vae, x, k=400, proposal=r) for r in (FromPosterior(), FromPrior()))
    q, p = known.vae.posterior(x), MultivariateNormal(torch.zeros(L).double(), torch.eye(L).double())
    kl = float(torch.distributions.kl_divergence(q, p).mean())
    assert own.kl == pytest.approx(kl, abs=0.05)
    assert prior.kl == pytest.approx(kl, abs=0.1)
    assert prior.elbo == pytest.approx(own.elbo, abs=0.1)
    assert own.elbo < -own.nll


def test_standard_errors_are_what_they_say(known: Known) -> None:
    """The spread of 200 repetitions has a relative standard error of 5 %: 5 of these, and 5 % for the delta method."""
    make_wrong(known.vae)
    x = known.marginal.sample((10,))
    found = [log_likelihood(known.vae, x, k=200) for _ in range(200)]
    spread = float(torch.tensor([f.nll for f in found], dtype=torch.float64).std())
    assert 0.7 < spread / found[0].nll_sampling_error < 1.3
    values = found[0].log_likelihoods
    assert found[0].nll_standard_error == pytest.approx(float(values.std()) / 10**0.5)
    assert log_likelihood(known.vae, x[:1], k=5).nll_standard_error is None


def test_a_stream_of_batches_gives_what_a_tensor_gives(known: Known) -> None:
    x = known.marginal.sample((23,))
    whole, stream = log_likelihood(known.vae, x, k=3), log_likelihood(known.vae, iter(x.split(5)), k=3)
    assert torch.allclose(whole.log_likelihoods, stream.log_likelihoods, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("k", "n"), [(7, 3), (1, 100), (1000, 2), (130, 30)])
def test_the_decoder_never_gives_more_than_the_budget(k: int, n: int) -> None:
    vae, rows = binary(), []
    vae.likelihood.network.register_forward_hook(lambda module, given, output: rows.append(output.numel() // 8))
    log_likelihood(vae, bits(n), k=k, budget=8 * 128)
    assert max(rows) <= 128
    assert sum(rows) == k * n


MEMORY = """
import resource, torch
from uncollapse.distributions import Bernoulli, Normal, posteriors
from uncollapse.evaluation import log_likelihood
from uncollapse.networks import MLP, Bias
from uncollapse.vae import VAE
vae = VAE(Normal(2), Bernoulli(2, (1024,), lambda i, o: MLP(i, o, [16])), posteriors.Gaussian(2, (1024,), Bias))
for k, n in ((300, 2), (30000, 2), (300, 200)):
    log_likelihood(vae, (torch.zeros(2, 1024) for _ in range(n // 2)), k=k, budget=2**18)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux alone")
def test_memory_does_not_grow_with_samples_or_data() -> None:
    """30,000 samples at once would take 120 MB for the logits alone."""
    out = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout
    few, samples, data = (int(line) / 1024 for line in out.split())
    assert samples - few < 20
    assert data - samples < 20


def test_a_sigma_from_data_stays_frozen() -> None:
    torch.manual_seed(0)
    likelihood = likelihoods.Gaussian(2, Size((4,)), lambda i, o: MLP(i, o, [8]), OptimalSigma)
    vae = VAE(Normal(2), likelihood, posteriors.Gaussian(2, Size((4,)), Bias))
    x = 3 * torch.randn(32, 4)
    ELBO(vae)(x, torch.tensor(0))
    vae.posterior.eval()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    modes = [module.training for module in vae.modules()]
    found = log_likelihood(vae, x.to(next(vae.parameters())), k=20)
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    assert [module.training for module in vae.modules()] == modes
    assert not found.log_likelihoods.requires_grad


def test_dropout_is_off_and_modes_return_after_an_error() -> None:
    vae = VAE(
        Normal(2), Bernoulli(2, Size((4,)), Bias), posteriors.Gaussian(2, Size((4,)), lambda i, o: GatedMLP(i, o, [8], 0.5))
    )
    seen = []
    vae.posterior.network.dropout.register_forward_hook(lambda module, given, output: seen.append(module.training))
    log_likelihood(vae, bits(3, (4,)), k=2)
    assert seen == [False]
    with pytest.raises(ValueError, match="2 levels"):
        log_likelihood(vae, bits(3, (4,)) / 3, k=2)
    assert all(module.training for module in vae.modules())


def test_bits_per_dim_of_discrete_data_alone(known: Known) -> None:
    x = known.marginal.sample((4,))
    assert log_likelihood(known.vae, x, k=1).bits_per_dim is None
    found = log_likelihood(known.vae, x, k=1, dequantized=256)
    assert found.bits_per_dim == pytest.approx(found.nll / (D * 0.6931471805599453) + 8)
    found = log_likelihood(binary(), bits(5), k=10)
    assert found.bits_per_dim == pytest.approx(found.nll / (8 * 0.6931471805599453))


def test_a_uniform_prior() -> None:
    torch.manual_seed(0)
    vae = VAE(Uniform(2, -1.0, 1.0), Bernoulli(2, Size((4,)), MLP), LogitNormal(2, Size((4,)), MLP, low=-1.0))
    found = [log_likelihood(vae, bits(6, (4,)), k=2000, proposal=r) for r in (FromPosterior(), Widened(), FromPrior())]
    for one in found:
        assert torch.isfinite(torch.tensor([one.nll, one.elbo, one.kl, one.effective_sample_size])).all()
        assert abs(one.nll - found[-1].nll) <= 5 * (one.nll_sampling_error + found[-1].nll_sampling_error)


def test_bfloat16_decoding_changes_little() -> None:
    vae, x = binary((64,)), bits(8, (64,))
    values = []
    for autocast in (None, torch.bfloat16):
        torch.manual_seed(3)
        values.append(log_likelihood(vae, x, k=50, autocast=autocast).log_likelihoods)
    assert 0 < float((values[0] - values[1]).abs().max()) < 0.1
    assert not vae.likelihood.network._forward_hooks


def test_plain_values(known: Known) -> None:
    found = log_likelihood(known.vae, known.marginal.sample((4,)), k=2, proposal=Widened(1.5)).as_dict()
    assert found["proposal"] == "Widened(factor=1.5)"
    assert "log_likelihoods" not in found
    assert all(isinstance(value, int | float | str | None) for value in found.values())


def test_refusals(known: Known) -> None:
    x = known.marginal.sample((4,))
    with pytest.raises(ValueError, match="k and budget of at least 1, came k=0"):
        log_likelihood(known.vae, x, k=0)
    with pytest.raises(ValueError, match="budget=0"):
        log_likelihood(known.vae, x, budget=0)
    with pytest.raises(ValueError, match="at least 1 observation"):
        log_likelihood(known.vae, [])
    with pytest.raises(ValueError, match="factor above 0"):
        Widened(0.0)
    known.vae.posterior.density = Density.SAMPLES
    with pytest.raises(ValueError, match=r"write Matched\(\)"):
        log_likelihood(known.vae, x, proposal=FromPosterior())


def test_proposals_are_parts() -> None:
    assert Widened(1.5).configuration() == {"class_path": "uncollapse.evaluation.Widened", "init_args": {"factor": 1.5}}
    assert FromPrior() == FromPrior()


@pytest.mark.parametrize("width", [1, 15, 16, 17, 100])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_a_bernoulli_without_gradient_has_the_same_density(width: int, dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 8 * torch.randn(3, 4, width, generator=generator, dtype=dtype)
    x = (torch.rand(4, width, generator=generator, dtype=dtype) < 0.5).to(dtype)
    logits[0], logits[1] = 100 * (2 * x - 1), 100 * (1 - 2 * x)
    exact = F.logsigmoid((2 * x - 1).double() * logits.double()).sum(-1)
    with torch.no_grad():
        found = BernoulliField(nn.Parameter(logits), Size((width,))).log_prob(x)
    assert torch.allclose(found.double(), exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("ends", [True, False])
def test_bits_of_sequences_are_of_their_tokens(ends: bool) -> None:
    """Over the tokens up to each end, which counts: Σ nll / Σ T, as bits and as perplexity, and no bits per dimension; where
    token 0 ends nothing, over the whole length."""
    x = torch.tensor([[1, 2, 0, 0], [0, 0, 0, 0], [4, 4, 4, 4]])
    p = Recurrent(1, Size((4,)), levels=5, hidden=3, embedding=2, ends=ends)
    found = log_likelihood(VAE(Normal(1), p, posteriors.Gaussian(1, Size((4,)), Bias)), x, k=5)
    nats = -float(found.log_likelihoods.sum()) / (3 + 1 + 4 if ends else 12)
    assert found.bits_per_dim is None
    assert found.bits_per_token == pytest.approx(nats / math.log(2)) and found.perplexity == pytest.approx(math.exp(nats))
    assert {"bits_per_token", "perplexity"} <= found.as_dict().keys()


def test_padding_changes_no_number_of_a_sequence() -> None:
    """200 sentences of the same model, padded to 8 and to 64, by proposals from the prior with the same draws: the same nll,
    bits and perplexity, to float32's rounding. At the start they are hard to guess as among all 50 tokens, to a tenth."""
    generator = torch.Generator().manual_seed(0)
    tokens, lengths = torch.zeros(200, 64, dtype=torch.long), torch.randint(2, 7, (200,), generator=generator)
    for row, length in zip(tokens, lengths.tolist(), strict=True):
        row[:length] = torch.randint(1, 50, (length,), generator=generator)
    weights, found = None, []
    for length in (8, 64):
        p = Recurrent(1, Size((length,)), levels=50, hidden=8, embedding=4)
        weights = weights or p.state_dict()
        p.load_state_dict(weights)
        model = VAE(Normal(1), p, posteriors.Gaussian(1, Size((length,)), Bias))
        torch.manual_seed(1)
        found.append(log_likelihood(model, tokens[:, :length], k=4, proposal=FromPrior(), budget=2**30))
    for name in ("nll", "bits_per_token", "perplexity"):
        assert getattr(found[1], name) == pytest.approx(getattr(found[0], name), rel=1e-4)
    assert found[0].perplexity == pytest.approx(50, rel=0.1)


def test_other_data_have_no_tokens() -> None:
    found = log_likelihood(binary(), bits(3), k=2)
    assert (found.bits_per_token, found.perplexity) == (None, None) and found.bits_per_dim is not None
