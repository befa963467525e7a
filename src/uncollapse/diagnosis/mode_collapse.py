"""Mode collapse, told with a number and a reason; the verdict is of `verdict`, the cures of `cures`."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from uncollapse.diagnosis.critic_evidence import CriticEvidence
from uncollapse.diagnosis.mode_verdict import Limits, judge
from uncollapse.divergences import duplicates, energy_distance, mode_entropy, prdc

BIRTHDAY = 1000  # draws, and observations, of which near pairs are counted
PAIRS = 100  # nearest pairs of the observations, which say what near is; fewer of few observations
WELL = ("healthy", "blurred")  # verdicts that the remedies of mode collapse are not for


class KnownModes(Protocol):
    """Modes of data that are known: of a density, or by a classifier."""

    def __len__(self) -> int: ...

    def assign(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mode of each draw [N], and how far it lies from that, in standard deviations."""
        ...

    def features(self, x: Tensor) -> Tensor:
        """What neighbours among draws [N, *shape] are told by, [N, ...]: what tells the modes apart."""
        ...


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
    near_pairs: int  # of draws that are as near each other as the nearest pairs of observations
    near_pairs_data: int  # so many observations have
    modes: int | None
    known_modes: int | None
    high_quality: float | None
    reverse_kl: float | None
    reverse_kl_floor: float | None
    n: int
    critic: CriticEvidence | None = None  # of the game, where it is at hand
    remedies: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; what was not looked at is left out."""
        own = {name: value for name, value in asdict(self).items() if value is not None and name not in ("critic", "remedies")}
        return own | (self.critic.as_dict() if self.critic else {})

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
            f"near pairs           {self.near_pairs} among draws, {self.near_pairs_data} among as many observations",
        ]
        lines += [str(self.critic)] if self.critic else []
        return "\n".join(lines + [f"try                  {remedy}" for remedy in self.remedies])


@torch.no_grad()
def diagnose_samples(
    fake: Tensor,
    real: Tensor,
    modes: KnownModes | None = None,
    critic: CriticEvidence | None = None,
    limits: Limits = Limits(),
    remedies: list[str] | None = None,
) -> Coverage:
    r"""Did the generator drop modes? Coverage of held-out observations by draws, in known modes or by nearest neighbours.

    Args:
        fake: Draws [n, *shape], a few hundred or more.
        real: As many held-out observations.
        modes: Modes of the data, where they are known; then they decide, and neighbours are told by their features.
        critic: What the game's critic says, where there is one; it decides nothing.
        limits: Where the verdicts lie.
        remedies: What to try where modes are missing, or draws far off.

    References:
        Coverage and precision by neighbours: Naeem et al. (2020); energy distance: Székely and Rizzo (2013), equation 5.2
        and the coefficient of inhomogeneity; near pairs, the birthday paradox: Arora and Zhang (2017).

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x, y = torch.randn(500, 2), torch.randn(500, 2)
        >>> diagnose_samples(x, y).verdict, diagnose_samples(0.05 * x, y).verdict, diagnose_samples(x + 9, y).verdict
        ('healthy', 'collapsed', 'diverged')
    """
    if len(fake) < 10 or len(real) < 10:
        raise ValueError(f"expected at least 10 draws and 10 observations, came {len(fake)} and {len(real)}")
    seen: dict[str, Any] = dict.fromkeys(("modes", "known_modes", "high_quality", "reverse_kl", "reverse_kl_floor"))
    seen["n"] = len(fake)
    if not fake.isfinite().all():
        seen |= {"precision": 0.0, "coverage": 0.0, "nearest_ratio": 0.0, "energy_distance": 1.0}
        seen |= {"near_pairs": 0, "near_pairs_data": 0}
        return Coverage("diverged", "the draws are not finite", **seen, remedies=remedies or [])
    a, b = ((x if modes is None else modes.features(x)).flatten(1).double() for x in (real, fake))
    near = prdc(a, b)
    seen |= {"precision": near.precision, "coverage": near.coverage, "energy_distance": inhomogeneity(a, b)}
    seen["nearest_ratio"] = nearest(b) / max(nearest(a), 1e-12)
    seen["near_pairs"], seen["near_pairs_data"] = near_pairs(b, a)
    if modes is not None:
        known = mode_coverage(fake, modes, limits.near)
        seen |= {"modes": known.modes, "known_modes": known.known, "high_quality": known.high_quality}
        seen |= {"reverse_kl": known.reverse_kl, "reverse_kl_floor": known.floor}
    verdict, reason = judge(seen, limits)
    return Coverage(verdict, reason, **seen, critic=critic, remedies=[] if verdict in WELL else remedies or [])


def inhomogeneity(x: Tensor, y: Tensor) -> float:
    r"""The energy distance as a share of its largest value, :math:`2 \mathbb E \lVert x - y \rVert`; at least 0."""
    across = float(torch.cdist(x, y).mean())
    return max(0.0, float(energy_distance(x, y)) / (2 * across)) if across else 0.0


def nearest(x: Tensor) -> float:
    """The median distance of points [n, D] to their nearest neighbour."""
    return float(torch.cdist(x, x).fill_diagonal_(math.inf).min(1).values.median())


def near_pairs(fake: Tensor, real: Tensor) -> tuple[int, int]:
    r"""Pairs of draws, and of as many observations, that are as near as the nearest pairs of observations: birthdays shared.

    The probability that two draws are the same, :math:`\sum_i p_i^2`, is the inverse of the size of a support that is drawn
    from evenly. So twice as many near pairs tell of half the kinds of draws; with 100 pairs the quotient is good to about 15 %.

    Args:
        fake: Draws [n, *shape]; at most `BIRTHDAY` are counted among.
        real: Observations [m, *shape].

    References:
        Arora and Zhang (2017), Do GANs Actually Learn the Distribution? An Empirical Study.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(1000, 2)
        >>> near_pairs(x, x), near_pairs(x[:100].repeat(10, 1), x)
        ((100, 100), (4500, 100))
    """
    n = min(BIRTHDAY, len(fake), len(real))
    least = max(1, min(PAIRS, n * (n - 1) // 200))  # one in a hundred of all pairs
    reach = float(duplicates(real[:n], nearest=least).distances[-1])
    return tuple(duplicates(x[:n], reach, nearest=1).found for x in (fake, real))  # type: ignore[return-value]
