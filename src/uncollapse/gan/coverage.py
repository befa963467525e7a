"""Mode collapse, told with a number and a reason; its cures are in `cures`."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from uncollapse.divergences import energy_distance, mode_entropy, prdc

MEANINGS = {
    "healthy": "the draws lie where the data lie, and spread as widely",
    "dropping modes": "the draws lie where the data lie, but some kinds of observations are missing, or too rare",
    "collapsed": "the draws are a few kinds of observations, over and over",
    "diverged": "the draws lie where there are no data",
}
"""The verdicts of `judge`, and what each means."""

RISING = 0.05  # coverage, or share of modes, from one look to the next that makes a collapse a beginning


class KnownModes(Protocol):
    """Modes of data that are known: of a density, or by a classifier."""

    def __len__(self) -> int: ...

    def assign(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mode of each draw [N], and how far it lies from that, in standard deviations."""


@dataclass(frozen=True)
class Limits:
    """Where the verdicts lie.

    Precision and coverage are by balls to the fifth neighbour; the coverage of a perfect sampler is about 0.97.
    """

    off: float = 0.3  # precision, or share of draws of high quality, below which draws lie where no data are
    collapsed: float = 0.5  # reverse KL over known modes, as a share of log K, above which few are left
    dropping: float = 0.1  # nats of reverse KL above a perfect sampler's that call for a remedy
    few: float = 0.2  # coverage below which few kinds are left, where modes are not known
    some: float = 0.7  # coverage below which some are missing
    near: float = 3.0  # standard deviations within which a draw is of high quality


class ModeCoverage(NamedTuple):
    """Which known modes n draws lie in, by PacGAN's protocol."""

    modes: int  # with at least one draw of high quality
    known: int  # K
    high_quality: float  # share of draws within 3 standard deviations of a mode
    reverse_kl: float  # KL of the modes of draws of high quality to the uniform distribution, nats
    floor: float  # what a perfect sampler scores with as many draws of high quality, on average: (K - 1) / 2n
    n: int


@torch.no_grad()
def mode_coverage(x: Tensor, modes: KnownModes, near: float = 3.0) -> ModeCoverage:
    r"""Modes captured, share of high quality, and the reverse KL over modes.

    .. math:: \log K - \mathbb H[\hat p], \quad \hat p_k = \tfrac1{n_{\mathrm{hq}}} \#\{i : k_i = k,\, d_i < 3\}

    Args:
        x: Draws [n, *shape].
        modes: What is known of the modes, all equally likely.
        near: Standard deviations within which a draw is of high quality.

    References:
        Srivastava et al. (2017), VEEGAN, section 4.1; Lin et al. (2018), PacGAN, section 4.1 (the reverse KL).

    Example:
        >>> from uncollapse.data.modes import Modes
        >>> known = Modes(torch.eye(8), sigma=0.1)
        >>> mode_coverage(known.means[:2].repeat(50, 1), known)[:3]
        (2, 8, 1.0)
    """
    mode, away = modes.assign(x)
    good = mode[away < near]
    floor = (len(modes) - 1) / (2 * len(x))
    if len(good) < 2:
        return ModeCoverage(len(good), len(modes), len(good) / len(x), math.log(len(modes)), floor, len(x))
    spread = mode_entropy(good, len(modes))
    return ModeCoverage(spread.captured, len(modes), len(good) / len(x), spread.reverse_kl, spread.floor, len(x))


@dataclass(frozen=True)
class Coverage:
    """What was seen of n draws beside n observations."""

    verdict: str  # a name in MEANINGS
    reason: str
    precision: float  # of draws that lie near an observation
    coverage: float  # of observations that have a draw near
    energy_distance: float  # as a share of 2 E|x - y|: 0 between equals, at most 1
    nearest_ratio: float  # median distance of draws to their nearest neighbour, in units of the observations'
    critic_accuracy: float | None  # how often it ranks a held-out observation above a draw
    critic_overfit: float | None  # how often it ranks a training observation above a held-out one, less a half
    modes: int | None
    known_modes: int | None
    high_quality: float | None
    reverse_kl: float | None
    reverse_kl_floor: float | None
    n: int
    remedies: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; what was not looked at is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None and name != "remedies"}

    def __str__(self) -> str:
        """A few lines to read."""
        lines = [f"verdict              {self.verdict}: {self.reason}"]
        if self.modes is not None and self.high_quality is not None:
            lines += [
                f"modes                {self.modes} of {self.known_modes}",
                f"high quality         {100 * self.high_quality:.1f} % of the draws",
                f"reverse KL           {self.reverse_kl:.3f} nats (a perfect sampler: {self.reverse_kl_floor:.3f})",
            ]
        lines += [
            f"coverage             {self.coverage:.3f} of observations have a draw near (equal distributions: 0.97)",
            f"precision            {self.precision:.3f} of draws lie near an observation",
            f"energy distance      {self.energy_distance:.4f} (0: equal, 1: apart)",
            f"nearest neighbours   {self.nearest_ratio:.2f} times as far apart as observations",
        ]
        if self.critic_accuracy is not None:
            ranks = f"{100 * self.critic_accuracy:.0f} %"
            lines.append(f"critic               ranks data above draws {ranks} of the time (50 %: it cannot tell)")
        return "\n".join(lines + [f"try                  {remedy}" for remedy in self.remedies])


@torch.no_grad()
def diagnose(
    fake: Tensor,
    real: Tensor,
    modes: KnownModes | None = None,
    logits: dict[str, Tensor | None] | None = None,
    limits: Limits = Limits(),
    remedies: list[str] | None = None,
) -> Coverage:
    r"""Did the generator drop modes? Coverage of held-out observations by draws, in known modes or by nearest neighbours.

    Args:
        fake: Draws [n, *shape], a few hundred or more.
        real: As many held-out observations.
        modes: Modes of the data, where they are known; then they decide.
        logits: The critic's of "real", "fake" and "train" observations, where there is one.
        limits: Where the verdicts lie.
        remedies: What to try where it is not healthy.

    References:
        Coverage and precision by neighbours: Naeem et al. (2020); energy distance: Székely and Rizzo (2013), equation 5.2
        and the coefficient of inhomogeneity.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x, y = torch.randn(500, 2), torch.randn(500, 2)
        >>> diagnose(x, y).verdict, diagnose(0.05 * x, y).verdict, diagnose(x + 9, y).verdict
        ('healthy', 'collapsed', 'diverged')
    """
    if len(fake) < 10 or len(real) < 10:
        raise ValueError(f"expected at least 10 draws and 10 observations, came {len(fake)} and {len(real)}")
    a, b = real.flatten(1).double(), fake.flatten(1).double()
    seen: dict[str, Any] = dict.fromkeys(("modes", "known_modes", "high_quality", "reverse_kl", "reverse_kl_floor"))
    seen |= {"critic_accuracy": None, "critic_overfit": None, "n": len(fake)}
    if not b.isfinite().all():
        seen |= {"precision": 0.0, "coverage": 0.0, "nearest_ratio": 0.0, "energy_distance": 1.0}
        return Coverage("diverged", "the draws are not finite", **seen, remedies=remedies or [])
    near = prdc(a, b)
    seen |= {"precision": near.precision, "coverage": near.coverage, "energy_distance": inhomogeneity(a, b)}
    seen["nearest_ratio"] = nearest(b) / max(nearest(a), 1e-12)
    if modes is not None:
        known = mode_coverage(fake, modes, limits.near)
        seen |= {"modes": known.modes, "known_modes": known.known, "high_quality": known.high_quality}
        seen |= {"reverse_kl": known.reverse_kl, "reverse_kl_floor": known.floor}
    seen |= told(logits or {})
    verdict, reason = judge(seen, limits)
    return Coverage(verdict, reason, **seen, remedies=[] if verdict == "healthy" else remedies or [])


def judge(seen: dict[str, Any], limits: Limits = Limits()) -> tuple[str, str]:
    """The verdict and its reason, from what was seen.

    Example:
        >>> judge({"modes": None, "precision": 0.9, "coverage": 0.5})
        ('dropping modes', 'draws come near 50 % of the observations (equal distributions: 97 %)')
    """
    if seen["modes"] is None:
        share = f"draws come near {100 * seen['coverage']:.0f} % of the observations (equal distributions: 97 %)"
        if seen["precision"] < limits.off and seen["coverage"] < limits.some:
            return "diverged", f"{100 * seen['precision']:.0f} % of the draws lie near an observation"
        if seen["coverage"] < limits.few:
            return "collapsed", share
        return ("dropping modes" if seen["coverage"] < limits.some else "healthy"), share
    excess, k = seen["reverse_kl"] - seen["reverse_kl_floor"], seen["known_modes"]
    words = f"{seen['modes']} of {k} modes, reverse KL {seen['reverse_kl']:.2f} nats"
    if seen["high_quality"] < 0.1 * limits.off or (seen["high_quality"] < limits.off and seen["precision"] < limits.off):
        return "diverged", f"{100 * seen['high_quality']:.0f} % of the draws lie in a mode"
    if k > 1 and seen["reverse_kl"] > limits.collapsed * math.log(k):
        return "collapsed", words
    return ("dropping modes" if excess > limits.dropping else "healthy"), words


def told(logits: dict[str, Tensor | None]) -> dict[str, float]:
    """How often the critic ranks a held-out observation above a draw, and a training one above a held-out one, less a half."""
    real, fake, train = (logits.get(name) for name in ("real", "fake", "train"))
    if real is None or fake is None:
        return {}
    found = {"critic_accuracy": above(real, fake)}
    return found if train is None else found | {"critic_overfit": above(train, real) - 0.5}


def above(a: Tensor, b: Tensor) -> float:
    """How often a number of a is larger than one of b, ties by half: the area under the ROC curve, whatever the game's scale.

    Example:
        >>> above(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0]))
        0.875
    """
    difference = (a.unsqueeze(1) - b).sign().double()
    return float(0.5 * (difference.mean() + 1))


def inhomogeneity(x: Tensor, y: Tensor) -> float:
    r"""The energy distance as a share of its largest value, :math:`2 \mathbb E \lVert x - y \rVert`; at least 0."""
    across = float(torch.cdist(x, y).mean())
    return max(0.0, float(energy_distance(x, y)) / (2 * across)) if across else 0.0


def nearest(x: Tensor) -> float:
    """The median distance of points [n, D] to their nearest neighbour."""
    return float(torch.cdist(x, x).fill_diagonal_(math.inf).min(1).values.median())


def lasting(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether modes were missing at two looks, one after the other, and are not on their way back; or draws stay far off.

    Example:
        >>> few, more = ({"verdict": "dropping modes", "coverage": c} for c in (0.3, 0.6))
        >>> lasting(few, few), lasting(few, more)
        (True, False)
    """
    missing = ("dropping modes", "collapsed")
    if before.get("verdict") == now.get("verdict") == "diverged":
        return now["energy_distance"] >= before["energy_distance"]
    if before.get("verdict") not in missing or now.get("verdict") not in missing:
        return False
    rise = _share(now) - _share(before)
    return rise < RISING


def _share(look: dict[str, Any]) -> float:
    """Of known modes, or else of observations, that draws come near."""
    return look["coverage"] if look.get("modes") is None else look["modes"] / look["known_modes"]
