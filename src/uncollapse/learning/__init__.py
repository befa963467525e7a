"""Learning: what an objective and a procedure are, and the games between a model and a critic."""

from uncollapse.learning.games import Alternating, Judgement, OptimalCritic, TwoPlayer
from uncollapse.learning.objective import Logged, Objective
from uncollapse.learning.procedure import MakeUpdate, Procedure, Update
from uncollapse.learning.unrolled import Unrolled

__all__ = [
    "Alternating",
    "Judgement",
    "Logged",
    "MakeUpdate",
    "Objective",
    "OptimalCritic",
    "Procedure",
    "TwoPlayer",
    "Unrolled",
    "Update",
]
