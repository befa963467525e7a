"""How a game goes on: whether its samples still come nearer to the data, and whether it goes round in circles."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

LOOKS = 6  # the last looks that the course is read off
RISING = 0.05  # closeness from one look to the next that makes a game one that still moves
SWINGING = 0.1  # change of closeness from look to look, beyond the trend, of a game that oscillates
OVERFIT = 0.1  # how much more often than half the time a critic ranks training rows above held-out ones
MOVING = ("blurred", "dropping modes", "collapsed", "diverged")  # verdicts that are too early while samples come nearer


class GameCourse(NamedTuple):
    """How the closeness of samples to the data changes over the last looks at a training."""

    rise: float  # from the last look but one to the last
    swing: float  # mean change from look to look, less the change between the first and the last
    looks: int

    @property
    def moves(self) -> bool:
        """Whether samples still come nearer to the data."""
        return self.rise >= RISING

    @property
    def oscillates(self) -> bool:
        """Whether they come and go."""
        return self.looks >= 4 and self.swing >= SWINGING


def game_course(looks: Sequence[dict[str, Any]]) -> GameCourse | None:
    r"""The course of a game by looks one after the other, by their `closeness`; None of fewer than two.

    .. math:: \text{swing} = \tfrac1{k-1} \Big(\sum_i |c_{i+1} - c_i| - |c_k - c_1|\Big)

    Example:
        >>> game_course([{"closeness": c} for c in (0.2, 0.8, 0.1, 0.7)]).oscillates
        True
        >>> game_course([{"closeness": c} for c in (0.1, 0.3, 0.5, 0.7)])[:2]
        (0.2, 0.0)
    """
    values = [look["closeness"] for look in looks if look.get("closeness") is not None][-LOOKS:]
    if len(values) < 2:
        return None
    changes = [b - a for a, b in pairwise(values)]
    swing = (sum(map(abs, changes)) - abs(values[-1] - values[0])) / len(changes)
    return GameCourse(round(changes[-1], 4), round(swing, 4), len(values))


def with_course(seen: dict[str, Any], looks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A diagnosis of samples as plain values, beside what the training says: `too early` of what still gets better, and notes.

    Args:
        seen: The diagnosis.
        looks: Those of the training in order, the last one of the same state or the one before it.

    Example:
        >>> seen = {"verdict": "dropping modes", "reason": "coverage 0.5", "critic_overfit": 0.3}
        >>> found = with_course(seen, [{"closeness": 0.1}, {"closeness": 0.4}])
        >>> found["verdict"], found["notes"]
        ('too early', ['the critic overfits: it ranks a training row above a held-out one 80 % of the time (50 %: by chance)'])
    """
    course, notes = game_course(looks), []
    if course is not None:
        seen = seen | {"closeness_rise": course.rise, "closeness_swing": course.swing}
        if course.moves and seen["verdict"] in MOVING:
            words = f"samples still come nearer to the data (closeness +{course.rise:.2f} since the look before); as yet "
            seen |= {"verdict": "too early", "reason": f"{words}{seen['verdict']}: {seen['reason']}"}
        if course.oscillates:
            notes.append(f"the game oscillates: closeness changes by {course.swing:.2f} from look to look beyond its trend")
    overfit = seen.get("critic_overfit")
    if overfit is not None and overfit > OVERFIT:
        share = f"{100 * (0.5 + overfit):.0f} % of the time (50 %: by chance)"
        notes.append(f"the critic overfits: it ranks a training row above a held-out one {share}")
    return seen | {"notes": notes} if notes else seen
