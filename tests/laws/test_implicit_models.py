"""The implicit model's laws: the entropy's gradient, what unrolling looks ahead at, what each game moves, and resuming."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import Size, Tensor, nn

from laws.numerics import assert_equal, assert_mean
from laws.parts import ADVERSARIAL, IMPLICIT_OBJECTIVES, implicit_model, small, vae
from uncollapse.data import from_arrays
from uncollapse.distributions import HMC, Generator, LearnedSigma, Mixture, Normal, likelihoods, posteriors
from uncollapse.divergences import (
    R1,
    R2,
    Critic,
    DensityRatio,
    Game,
    GradientPenalty,
    LeastSquares,
    NonSaturating,
    Penalty,
    Relativistic,
    Saturating,
    Wasserstein,
)
from uncollapse.gan import ADA, ALI, GAN, VEEGAN, DiffAugment, Entropy, ImplicitModel, InfoGAN
from uncollapse.gan.model import Drawn
from uncollapse.learning import Alternating, OptimalCritic, Unrolled
from uncollapse.learning.unrolled import moved
from uncollapse.networks import MLP, BatchNormMLP
from uncollapse.training import Training, fit

affine = partial(MLP, hidden=[])
critic = partial(Critic, network=small)
t = torch.tensor(0)


def linear_model(sigma: float = 0.5) -> ImplicitModel:
    """x = W z + b + σ η in two dimensions, of one latent."""
    likelihood = likelihoods.Gaussian(1, Size((2,)), affine, partial(LearnedSigma, start=sigma))
    model = ImplicitModel(Normal(1), likelihood)
    with torch.no_grad():
        likelihood.network.layers[0].weight.copy_(torch.tensor([[0.8], [-0.3]]))
    return model


def test_the_entropy_has_the_gradient_of_the_closed_form() -> None:
    """For x = W z + σ η the entropy is 1/2 log det 2πe (W Wᵀ + σ²); the mean gradient of 50 batches of 400 draws, for W and for
    log σ, is within 6 standard errors of autograd's, failure rate 2e-7."""
    torch.manual_seed(0)
    model = linear_model().double()
    weight, log_sigma = model.likelihood.network.layers[0].weight, model.likelihood.sigma.log_sigma
    covariance = weight @ weight.T + (2 * log_sigma).exp() * torch.eye(2, dtype=torch.float64)
    exact = torch.autograd.grad(0.5 * torch.logdet(2 * math.pi * math.e * covariance), [weight, log_sigma])
    entropy = Entropy(lam=1.0, sampler=partial(HMC, leapfrogs=5, step_size=0.3), burn_in=15).double().eval()
    found: list[list[Tensor]] = [[], []]
    for _ in range(50):
        drawn = model.draws(weight.new_zeros(400, 1))
        gain, told = entropy(model, drawn.x, drawn.z)
        assert torch.equal(gain, torch.zeros_like(gain)) and 0.5 < told["acceptance"].mean() <= 1
        for values, gradient in zip(found, torch.autograd.grad(gain.mean(), [weight, log_sigma]), strict=True):
            values.append(gradient.flatten())
    for values, expected in zip(found, exact, strict=True):
        assert_mean(torch.stack(values), expected.flatten())


def test_a_chain_that_stays_pays_the_generator_nothing() -> None:
    """Where z does not move the mean gradient for W is 0, and that for log σ that of the noise alone, 2 dimensions: what the
    docstring warns of. 20,000 draws at 6 standard errors, failure rate 6e-9."""
    torch.manual_seed(0)
    model = linear_model().double()
    parameters = [model.likelihood.network.layers[0].weight, model.likelihood.sigma.log_sigma]
    entropy = Entropy(lam=1.0, sampler=partial(HMC, step_size=1e-9)).double().eval()
    drawn = model.draws(parameters[0].new_zeros(20_000, 1))
    score, _, _ = entropy._score(model, drawn.x.detach(), drawn.z)
    assert_mean(-(score.unsqueeze(-1) * drawn.z.unsqueeze(1)).flatten(1), torch.zeros(2, dtype=torch.float64))
    assert_mean(-(score * (drawn.x - model.decode(drawn.z))).sum(1).detach(), torch.tensor(2.0, dtype=torch.float64))


@pytest.mark.parametrize(("burn_in", "draws"), [(0, 1), (2, 2), (3, 4)])
def test_chains_run_as_long_as_they_are_asked_to(burn_in: int, draws: int) -> None:
    """The first draw comes after burn_in transitions and its own, each further one a transition later, from where the last one
    stood; the model is in eval() all the while, and in train() again after it."""
    model = linear_model()
    taken: list[int] = []
    starts: list[Tensor] = []

    class Counting(nn.Module):
        def forward(self, log_density: object, z: Tensor, transitions: int) -> tuple[Tensor, Tensor]:
            assert not model.training and not model.likelihood.network.training
            taken.append(transitions)
            starts.append(z)
            return z + 1, torch.ones(len(z))

    drawn = model.draws(torch.zeros(3, 1))
    _, told = Entropy(sampler=Counting, burn_in=burn_in, draws=draws)(model, drawn.x, drawn.z)
    assert taken == [burn_in + 1] + [1] * (draws - 1)
    assert model.training and model.likelihood.network.training
    for i, start in enumerate(starts):
        assert_equal(start, drawn.z + i)
    assert_equal(told["latent_move"], torch.full((3,), float(draws)))


def test_batch_statistics_are_not_moved_by_chains() -> None:
    """The entropy's look at the generator leaves running means and variances as they were."""
    model = ImplicitModel(Normal(2), likelihoods.Gaussian(2, (3,), BatchNormMLP))
    drawn = model.draws(torch.zeros(8, 1))
    before = {name: value.clone() for name, value in model.named_buffers()}
    assert any("running" in name for name in before)
    Entropy()(model, drawn.x, drawn.z)
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())


def test_unrolling_no_steps_is_the_plain_game(tmp_path: Path) -> None:
    """Bit for bit, weights of both players after ten steps."""
    weights = []
    for procedure in (Alternating, partial(Unrolled, unroll=0)):
        torch.manual_seed(0)
        objective = GAN(ImplicitModel(Normal(1), Generator(1, (2,), small)), critic)
        data = from_arrays(torch.randn(100, 2, generator=torch.Generator().manual_seed(1)))
        fit(procedure(objective), data, Training(steps=10, batch_size=20))
        weights.append([*objective.model.parameters(), *objective.critic.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


RULES: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "Adam": partial(torch.optim.Adam, lr=0.1),
    "Adam-betas": partial(torch.optim.Adam, lr=0.1, betas=(0.3, 0.7), eps=0.2),
    "Adam-decay": partial(torch.optim.Adam, lr=0.1, weight_decay=0.1),
    "Adam-decoupled": partial(torch.optim.Adam, lr=0.1, weight_decay=0.5, decoupled_weight_decay=True),
    "Adam-maximize": partial(torch.optim.Adam, lr=0.1, weight_decay=0.1, maximize=True),
    "AdamW": partial(torch.optim.AdamW, lr=0.1, weight_decay=0.5),
    "SGD": partial(torch.optim.SGD, lr=0.01),
    "SGD-decay": partial(torch.optim.SGD, lr=0.01, weight_decay=0.5),
    "SGD-momentum": partial(torch.optim.SGD, lr=0.01, momentum=0.7),
    "SGD-dampening": partial(torch.optim.SGD, lr=0.01, momentum=0.7, dampening=0.4, weight_decay=0.5),
    "SGD-maximize": partial(torch.optim.SGD, lr=0.001, momentum=0.7, weight_decay=0.5, maximize=True),
}


@pytest.mark.parametrize("make", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("steps", [1, 3])
def test_the_unrolled_rule_is_the_optimiser_s_own(make, steps: int) -> None:  # type: ignore[no-untyped-def]
    """Steps of `moved` from the start and from mid-training end where torch's own end, to 1e-12; nothing of the optimiser
    moves."""
    p = nn.Parameter(torch.randn(5, dtype=torch.float64))
    optimiser, curve = make([p]), torch.randn(5, 5, dtype=torch.float64)

    def slope(x: Tensor) -> Tensor:
        return curve @ curve.T @ x

    for _ in range(2):
        value, state = p.detach().clone(), [dict(optimiser.state[p])]
        before = {k: v.clone() for k, v in optimiser.state[p].items() if v is not None}
        for _ in range(steps):
            (value,), state = moved(optimiser, [p], [value], [slope(value)], state)
        assert all(torch.equal(before[k], v) for k, v in optimiser.state[p].items() if v is not None)
        for _ in range(steps):
            p.grad = slope(p.detach())
            optimiser.step()
        assert_equal(value, p.detach(), 1e-12)


def test_rules_that_cannot_be_unrolled_are_refused() -> None:
    """Nesterov's step, AMSGrad's maximum, and optimisers whose rule is not here."""
    p = nn.Parameter(torch.ones(2))
    for optimiser in (
        torch.optim.SGD([p], lr=0.1, momentum=0.9, nesterov=True),
        torch.optim.Adam([p], amsgrad=True),
        torch.optim.AdamW([p], amsgrad=True),
        torch.optim.Adagrad([p]),
    ):
        with pytest.raises(ValueError, match="without amsgrad and nesterov"):
            moved(optimiser, [p], [p], [p], [{}])


class Backward:
    """An update by backward, as the training's own: gradients stay where they are until it clears its own."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], make: Callable[..., torch.optim.Optimizer], clip: float | None = None
    ):
        self.parameters, self.clip = list(parameters), clip
        self.optimizer = make(self.parameters)

    def __call__(self, loss: Tensor) -> None:
        loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()


@pytest.mark.parametrize("clip", [None, 0.05], ids=["free", "clipped"])
@pytest.mark.parametrize("norm", [None, 0.1], ids=["any-norm", "small-norm"])
@pytest.mark.parametrize("make", [RULES["Adam-decoupled"], RULES["SGD-momentum"]], ids=["Adam", "SGD"])
def test_the_look_ahead_is_where_the_critic_would_go(  # type: ignore[no-untyped-def]
    make, norm: float | None, clip: float | None
) -> None:
    """Three steps ahead it has the weights that three of its own steps on that batch give: with weights that are clipped, and
    with gradients whose norm is. To 1e-10, from the start and from mid-training."""
    model = ImplicitModel(Normal(2), Generator(2, (3,), small))
    objective = GAN(model, partial(Critic, network=small, clip=clip), Wasserstein(), [R1(0.5)]).double()
    objective.critic.constrain()
    procedure, x = Unrolled(objective, unroll=3), torch.randn(20, 3, dtype=torch.float64) + 3
    procedure.connect(lambda module: module, lambda parameters, rate=1.0: Backward(parameters, make, norm))
    for seed in range(2):
        torch.manual_seed(seed)
        ahead = procedure._ahead(x, t)
        torch.manual_seed(seed)
        with torch.no_grad():
            things = objective.pairs(x)
        for _ in range(3):
            bound, logged = objective.judgement(*things, t)
            procedure.criticise(-bound.mean())
            objective.after_critic(logged)
        for p in objective.critic.parameters():
            assert_equal(ahead[id(p)].detach(), p.detach())
        assert clip is None or max(float(value.detach().abs().max()) for value in ahead.values()) == clip


@pytest.mark.parametrize("penalties", [[], [R1(0.5)], [R2(0.5)], [GradientPenalty(0.5)]])
def test_unrolling_takes_the_gradient_through_the_critic_s_steps(penalties: list[Penalty]) -> None:
    """The generator's gradient with two unrolled steps is that of central differences of the whole look-ahead, to 1e-6, and is
    not that of the plain game."""
    torch.manual_seed(0)
    smooth = partial(MLP, hidden=[4], activation=nn.Tanh)
    objective = GAN(
        ImplicitModel(Normal(1), Generator(1, (2,), affine)), partial(Critic, network=smooth), Saturating(), penalties
    ).double()
    procedure = Unrolled(objective, unroll=2)
    made: list[torch.optim.Optimizer] = []
    taken: list[Tensor] = []

    def update(parameters, rate=1.0):  # type: ignore[no-untyped-def]
        made.append(torch.optim.SGD(list(parameters), lr=0.3))

        class Kept:
            optimizer = made[-1]

            def __call__(self, loss: Tensor) -> None:
                taken.append(loss)

        return Kept()

    procedure.connect(lambda module: module, update)
    x, weight = torch.randn(6, 2, dtype=torch.float64), objective.model.likelihood.network.layers[0].weight

    def loss() -> Tensor:
        torch.manual_seed(3)
        procedure.turn(x, t)
        return taken[-1]

    (gradient,) = torch.autograd.grad(loss(), weight)
    h, numeric = 1e-5, torch.zeros_like(weight)
    for i in range(2):
        for sign in (1, -1):
            with torch.no_grad():
                weight[i, 0] += sign * h
            numeric[i, 0] += sign * loss().detach() / (2 * h)
            with torch.no_grad():
                weight[i, 0] -= sign * h
    assert_equal(gradient, numeric, 1e-6)
    procedure.unroll = 0
    (plain,) = torch.autograd.grad(loss(), weight)
    assert (plain - gradient).abs().max() > 1e-4


def test_the_optimal_critic_stops_where_nothing_improves() -> None:
    """With a model that equals its data the critic's loss stays near 2 log 2: two windows, then the model's step; with data far
    away it trains on, up to the most."""
    torch.manual_seed(0)
    for shift, expected in ((0.0, 20.0), (4.0, 60.0)):
        model = ImplicitModel(Normal(2), Generator(2, (2,), affine))
        with torch.no_grad():
            model.likelihood.network.layers[0].weight.copy_(torch.eye(2))
            model.likelihood.network.layers[0].bias.zero_()
        procedure = OptimalCritic(GAN(model, critic), tolerance=0.05, window=10, most=60)
        data = from_arrays(torch.randn(2000, 2, generator=torch.Generator().manual_seed(1)) + shift)
        line = fit(procedure, data, Training(steps=1, batch_size=200, log_every=1), partial(torch.optim.Adam, lr=1e-2)).lines[0]
        assert line["critic_steps"] == expected


@pytest.mark.parametrize("name", IMPLICIT_OBJECTIVES)
def test_each_player_moves_its_own(name: str) -> None:
    """A step gives every weight of the model and of the critic a step of its own, and what is logged is finite."""
    torch.manual_seed(0)
    objective = IMPLICIT_OBJECTIVES[name](implicit_model(name))
    data = from_arrays(torch.randn(100, 3))
    before = {n: p.detach().clone() for n, p in objective.named_parameters()}
    fitted = fit(Alternating(objective), data, Training(steps=2, batch_size=20, log_every=1))
    constant = "judgement.critic.network.layers.2.bias"  # a difference of logits does not see it
    assert all(not torch.equal(before[n], p) for n, p in objective.named_parameters() if n != constant)
    assert all(math.isfinite(v) for line in fitted.lines if line["kind"] == "train" for v in line.values() if type(v) is float)
    assert fitted.lines[-1]["verdict"]


@pytest.mark.parametrize("name", [*IMPLICIT_OBJECTIVES, *ADVERSARIAL])
def test_no_player_s_step_leaves_a_gradient_on_the_other(name: str) -> None:
    """The critic's step has no gradient for the model, which the model's own would add to its, and the model's none for the
    critic; nor does either leave one of its own."""
    torch.manual_seed(0)
    objective = ADVERSARIAL[name](vae()) if name in ADVERSARIAL else IMPLICIT_OBJECTIVES[name](implicit_model(name))
    x = torch.bernoulli(torch.full((8, 3), 0.5))
    for procedure in (Alternating(objective), Unrolled(objective, unroll=1)):
        procedure.connect(lambda module: module, lambda parameters, rate=1.0: Backward(parameters, RULES["SGD"]))
        for step in (procedure.judge, procedure.turn):
            step(x, t)
            assert all(p.grad is None for p in objective.parameters())


@pytest.mark.parametrize("name", ["VEEGAN", "InfoGAN"])
def test_what_is_paid_for_is_paid_by_example_in_packs(name: str) -> None:
    """The objective of a pack is the mean of what its examples are paid, less the pack's loss."""
    torch.manual_seed(0)
    kind, model = {"VEEGAN": VEEGAN, "InfoGAN": InfoGAN}[name], implicit_model(name)
    objective = kind(model, partial(Critic, network=small, pack=3), lam=0.7)
    bound, logged = objective(torch.randn(12, 3), t)
    (paid,) = (value for key, value in logged.items() if key != "generator_loss")
    assert bound.shape == logged["generator_loss"].shape == (4,) and paid.shape == (12,)
    assert_equal(bound, 0.7 * paid.reshape(4, 3).mean(1) - logged["generator_loss"], 1e-6)


def test_the_entropy_of_a_pack_is_the_mean_of_its_examples() -> None:
    """Packs of four of equal examples leave the entropy's gradient as it is without packs: with a critic that says nothing."""
    found = []
    for pack in (1, 4):
        torch.manual_seed(0)
        model = linear_model().double()
        objective = GAN(model, partial(Critic, network=small, pack=pack), entropy=Entropy(lam=1.0)).double().eval()
        for p in objective.critic.parameters():
            nn.init.zeros_(p)
        torch.manual_seed(1)
        bound, _ = objective(torch.zeros(8, 2, dtype=torch.float64), t)
        found.append(torch.autograd.grad(bound.mean(), list(model.parameters())))
    assert max(float(a.abs().max()) for a in found[0]) > 0.1
    for a, b in zip(*found, strict=True):
        assert_equal(a, b)


@pytest.mark.parametrize("name", ["VEEGAN", "InfoGAN"])
def test_a_prior_is_not_paid_for_latents_that_are_easy_to_read(name: str) -> None:
    """What is read off draws moves the prior through the draws alone: with draws held fixed, z has no gradient."""
    torch.manual_seed(0)
    kind, model = {"VEEGAN": VEEGAN, "InfoGAN": InfoGAN}[name], implicit_model(name)
    drawn = model.draws(torch.zeros(6, 1))
    z, x = drawn.z.detach().requires_grad_(), drawn.x.detach().requires_grad_()
    gain, _ = kind(model, critic).gain(Drawn(x, z))
    along_x, along_z = torch.autograd.grad(gain.sum(), [x, z], allow_unused=True)
    assert along_z is None and along_x.abs().sum() > 0


def test_veegan_s_reconstructor_learns_by_reconstruction_alone() -> None:
    """Its gradient is that of E log q(z | x(z)) with the same draws."""
    torch.manual_seed(0)
    model = implicit_model("VEEGAN")
    objective, x = VEEGAN(model, critic, lam=0.7), torch.randn(6, 3)
    phi = list(model.posterior.parameters())
    torch.manual_seed(1)
    found = torch.autograd.grad(objective(x, t)[0].sum(), phi)
    torch.manual_seed(1)
    drawn = model.draws(x[:6])
    expected = torch.autograd.grad(0.7 * model.posterior(drawn.x).log_prob(drawn.z).sum(), phi)
    for a, b in zip(found, expected, strict=True):
        assert_equal(a, b, 1e-6)


@pytest.mark.parametrize("name", ["GAN", "VEEGAN", "InfoGAN"])
def test_a_mixture_learns_by_the_draws_that_it_makes(name: str) -> None:
    """Its means move as the generator's input does: their gradient is that of the draws' latents, summed by component."""
    torch.manual_seed(0)
    prior = Mixture(2, components=3, scale=0.2, weighted=False)
    beside = None if name == "GAN" else posteriors.Gaussian(2, Size((3,)), small)
    objective = {"GAN": GAN, "VEEGAN": VEEGAN, "InfoGAN": InfoGAN}[name](
        ImplicitModel(prior, Generator(2, Size((3,)), small), beside), critic
    )
    kept: list[Tensor] = []
    rsample = type(prior()).rsample

    def remember(self: object, shape: Size) -> Tensor:
        kept.append(rsample(self, shape))
        kept[-1].retain_grad()
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(prior()), "rsample", remember)
        objective(torch.zeros(12, 3), t)[0].mean().backward()
    assert prior.loc.grad is not None and kept[0].grad is not None
    assert_equal(prior.loc.grad.sum(0), kept[0].grad.sum(0))
    assert kept[0].grad.abs().sum() > 0


def test_infogan_reads_the_code_alone() -> None:
    """With a code of one latent the information is the log density of that unit, up to its constant."""
    torch.manual_seed(0)
    model = implicit_model("InfoGAN")
    objective, drawn = InfoGAN(model, critic, code=1), model.draws(torch.zeros(6, 1))
    q = model.posterior(drawn.x)
    unit = torch.distributions.Normal(q.loc[:, 0], q.scale[:, 0]).log_prob(drawn.z[:, 0]) + 0.5 * math.log(2 * math.pi)
    assert_equal(objective.gain(drawn)[1]["information"], unit, 1e-5)


def test_augmentations_keep_the_gradient_and_the_kind() -> None:
    """The same change for the same noise, a gradient for each pixel that is left, and at p = 0 no change."""
    torch.manual_seed(0)
    x = torch.rand(50, 1, 8, 8, requires_grad=True)
    y = DiffAugment(brightness=0.0)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.shape == x.shape and set(gradient.unique().tolist()) == {0.0, 1.0}
    assert 0.22 < float((y == 0).float().mean()) < 0.5  # a quarter is cut out, and what was shifted in
    assert_equal(DiffAugment(0.0, 0.0, 0.0)(x), x)
    ada = ADA(rate=0.5)
    assert_equal(ada(x), x)
    ada.follow(torch.ones(4))
    assert float(ada.p) == 0.5
    ada.follow(-torch.ones(4))
    assert float(ada.p) == 0.0


def test_brightness_is_spread_evenly_around_none() -> None:
    """One number for each image, from -b to b: Kolmogorov's distance from the uniform distribution, failure rate 1e-6; by
    default a quarter of what images in [0, 1] span."""
    x = torch.rand(4000, 2, 3, 3, dtype=torch.float64)
    added = DiffAugment(shift=0.0, cutout=0.0)(x) - x
    assert_equal(added, added[:, :1, :1, :1].expand_as(added))
    b = added[:, 0, 0, 0]
    assert float(b.min()) < -0.2 and 0.2 < float(b.max()) <= 0.25
    assert stats.kstest(b.numpy(), stats.uniform(-0.25, 0.5).cdf).pvalue > 1e-6


def test_rows_and_columns_shift_alone() -> None:
    """A point in the middle comes to rest at every place within reach, each as often: chi-squared, failure rate 1e-6."""
    x = torch.zeros(6000, 1, 12, 8)
    x[:, :, 6, 4] = 1
    y = DiffAugment(brightness=0.0, shift=0.25, cutout=0.0)(x)
    assert (y.sum((1, 2, 3)) == 1).all()
    rest = y.sum((0, 1))
    within = rest[3:10, 2:7]
    assert rest.sum() == within.sum()
    assert stats.chisquare(within.flatten().numpy()).pvalue > 1e-6


def test_the_cut_square_has_its_centre_anywhere() -> None:
    """A pixel is cut as often as a centre lies within half a side of it, in rows and in columns: by the lengths of these, 6
    standard errors (2e-9 each); the square itself is half as wide and high as the image, less what lies outside."""
    rows, columns = 8, 12
    cut = DiffAugment(brightness=0.0, shift=0.0, cutout=0.5)(torch.ones(8000, 1, rows, columns))[:, 0] == 0

    def covered(n: int) -> Tensor:
        middle = torch.arange(n, dtype=torch.float64) + 0.5
        return ((middle + n / 4).clamp(max=n) - (middle - n / 4).clamp(min=0)) / n

    assert_mean(cut.double(), covered(rows)[:, None] * covered(columns))
    sizes = cut.any(2).sum(1).double(), cut.any(1).sum(1).double()
    assert all(rows_.max() == n / 2 and rows_.min() <= n / 4 + 1 for rows_, n in zip(sizes, (rows, columns), strict=True))


@pytest.mark.parametrize(("target", "up"), [(0.4, True), (0.6, False), (-0.5, True)])
def test_ada_follows_its_target(target: float, up: bool) -> None:
    """Three of four real ones called real have a mean sign of 0.5: above the target p rises, below it it falls."""
    ada = ADA(target=target, rate=0.1)
    ada.p.fill_(0.5)
    ada.follow(torch.tensor([3.0, 0.1, 9.0, -5.0]))
    assert float(ada.p) == pytest.approx(0.6 if up else 0.4)


@pytest.mark.parametrize(
    ("game", "number", "up"), [(LeastSquares(), 0.3, False), (LeastSquares(), 0.7, True), (NonSaturating(), 0.3, True)]
)
def test_ada_counts_from_the_game_s_boundary(game: Game, number: float, up: bool) -> None:
    """Least squares call a number below 1/2 fake; a logit above 0 is real."""
    images = ImplicitModel(Normal(2), Generator(2, (1, 4, 4), small))
    objective = GAN(images, critic, game, augmentation=ADA(rate=0.1))
    objective.augmentation.p.fill_(0.5)
    objective.after_critic({"critic_real": torch.full((8,), number)})
    assert float(objective.augmentation.p) == pytest.approx(0.6 if up else 0.4)


@pytest.mark.parametrize("penalty", [R1(2.0), R2(2.0)], ids=["R1", "R2"])
def test_penalties_are_of_the_image_before_it_is_augmented(penalty: Penalty) -> None:
    """The squared gradient of x to a(T(x)) with the same T, by autograd on the image itself, to 1e-10: smaller than that of the
    augmented image, since cut pixels have none; and the critic sees both through the augmentation, but not in eval()."""
    torch.manual_seed(0)
    images = ImplicitModel(Normal(2), Generator(2, (1, 8, 8), small))
    objective = GAN(images, critic, penalties=[penalty], augmentation=DiffAugment(cutout=0.7)).double()
    things = tuple((torch.rand(16, 1, 8, 8, dtype=torch.float64),) for _ in range(2))
    torch.manual_seed(5)
    _, logged = objective.judgement(*things, t)
    torch.manual_seed(5)
    leaves = [x.clone().requires_grad_() for (x,) in things]
    seen = [objective.augmentation(x) for x in leaves]
    logits, which = [objective.critic(y) for y in seen], 0 if isinstance(penalty, R1) else 1
    assert_equal(logged["critic_real"], logits[0])
    assert_equal(logged["critic_fake"], logits[1])
    of_image, of_seen = torch.autograd.grad(logits[which].sum(), [leaves[which], seen[which]])
    assert_equal(logged["penalty"], of_image.square().flatten(1).sum(1))
    assert (logged["penalty"] < 0.9 * of_seen.square().flatten(1).sum(1)).all()
    objective.eval()
    assert_equal(objective.judgement(*things, t)[1]["critic_real"], objective.critic(*things[0]))


def run(out: Path, steps: int, resume: bool = False) -> dict[str, Tensor]:
    """All states of a game with every kind of state: penalties, an encoder, entropy, batch statistics, an average."""
    torch.manual_seed(0)
    likelihood = likelihoods.Gaussian(2, (3,), small, partial(LearnedSigma, start=0.3))
    model = ImplicitModel(Normal(2), likelihood, posteriors.Gaussian(2, (3,), small))
    objective = VEEGAN(model, partial(Critic, network=small, pack=2), penalties=[R1(0.1)], entropy=Entropy(0.1))
    procedure = Alternating(objective, steps=2, critic_rate=2.0)
    data = from_arrays(torch.randn(200, 3, generator=torch.Generator().manual_seed(1)))
    training = Training(steps=steps, batch_size=20, log_every=5, validate_every=10, ema=0.9)
    fit(procedure, data, training, out=out, resume=resume)
    return procedure.state()


def test_a_game_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    """20 steps, then 10 more, leave both players, optimisers and averages and the sampler as 30 in one go, bit for bit."""
    from safetensors.torch import load_file

    whole = run(tmp_path / "whole", 30)
    run(tmp_path / "parts", 20)
    parts = run(tmp_path / "parts", 30, resume=True)
    assert whole.keys() == parts.keys() and all(torch.equal(whole[k], parts[k]) for k in whole)
    assert any("sampler" in k for k in whole)
    for name in ("model", "state"):
        a, b = (load_file(tmp_path / of / "checkpoints" / "last" / f"{name}.safetensors") for of in ("whole", "parts"))
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_what_makes_no_game_is_refused() -> None:
    """A likelihood without a gradient, a learned prior, an encoder that is missing, entropy without a density, an odd pack."""
    generator = Generator(2, (3,), small)
    with pytest.raises(ValueError, match="those of Bernoulli have no gradient"):
        ImplicitModel(Normal(2), likelihoods.Bernoulli(2, (3,), small))
    with pytest.raises(ValueError, match="those of Mixture carry no gradient"):
        GAN(ImplicitModel(Mixture(2), generator), critic)
    for kind in (ALI, VEEGAN, InfoGAN):
        with pytest.raises(ValueError, match="write --posterior Gaussian"):
            kind(ImplicitModel(Normal(2), generator), critic)
    with pytest.raises(ValueError, match="write --likelihood Gaussian"):
        GAN(ImplicitModel(Normal(2), generator), critic, entropy=Entropy())
    odd = GAN(ImplicitModel(Normal(2), generator), partial(Critic, network=small, pack=3))
    with pytest.raises(ValueError, match="packs of 3, came batches of 20; write --batch 21"):
        fit(Alternating(odd), from_arrays(torch.randn(100, 3)), Training(steps=2, batch_size=20))
    with pytest.raises(ValueError, match="no use for an encoder"):
        GAN(implicit_model("ALI"), critic)
    with pytest.raises(ValueError, match=r"changes images, came data of shape \(3,\)"):
        GAN(ImplicitModel(Normal(2), generator), critic, augmentation=DiffAugment())
    images = ImplicitModel(Normal(2), Generator(2, (1, 4, 4), small))
    with pytest.raises(ValueError, match="Relativistic calls none so; write DiffAugment"):
        GAN(images, critic, Relativistic(), augmentation=ADA())
    flow = ImplicitModel(Normal(2), generator, posteriors.FullGaussian(2, Size((3,)), affine))
    with pytest.raises(ValueError, match="unit by unit, came FullGaussian"):
        InfoGAN(flow, critic)
    with pytest.raises(ValueError, match="encodes by its posterior, and has none"):
        odd.model.encode(torch.zeros(2, 3))
    assert DensityRatio().pairs is False and NonSaturating().pairs is False
