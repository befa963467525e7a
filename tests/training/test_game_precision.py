"""With precision bf16 all networks of a game compute in it, and all that is made of their outputs in float32."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uncollapse.data import from_arrays
from uncollapse.distributions import Generator, Normal
from uncollapse.divergences import R1, R2, Critic, GradientPenalty, Penalty
from uncollapse.gan import GAN, ImplicitModel
from uncollapse.learning import Alternating, Unrolled
from uncollapse.networks import DCGANCritic, DCGANGenerator
from uncollapse.training import Machine, Training, fit

KINDS = nn.Conv2d | nn.ConvTranspose2d | nn.Linear


class Seen(GAN):
    """Writes down the types of what passes in training: by the layers of both networks, and to the critic."""

    def __init__(self, *parts: Any, **settings: Any):
        super().__init__(*parts, **settings)
        self.inside: set[torch.dtype] = set()
        self.shown: set[torch.dtype] = set()
        self.passes = 0
        for layer in self.modules():
            if isinstance(layer, KINDS):
                layer.register_forward_hook(self._look)

    def _look(self, layer: nn.Module, given: Any, output: Tensor) -> None:
        if layer.training:
            self.inside.add(output.dtype)
            self.passes += 1

    def pairs(self, x: Tensor) -> Any:
        real, fake = super().pairs(x)
        self.shown |= {thing.dtype for thing in (*real, *fake)}
        return real, fake


@pytest.mark.parametrize("penalties", [[], [R1(), R2(), GradientPenalty()]])
@pytest.mark.parametrize(("kind", "settings"), [(Alternating, {}), (Unrolled, {"unroll": 1})])
def test_every_layer_computes_in_bf16_and_every_number_of_the_game_is_float32(
    kind: Any, settings: dict[str, int], penalties: list[Penalty]
) -> None:
    """Fakes of the critic's steps and of the look-ahead among them; losses, penalties and weights are finite."""
    model = ImplicitModel(Normal(2), Generator(2, (1, 8, 8), partial(DCGANGenerator, width=2, layers=1, kernel=3)))
    network = partial(DCGANCritic, width=2, layers=1, kernel=3)
    objective = Seen(model, partial(Critic, network=network), penalties=penalties)
    logged: list[dict[str, Tensor]] = []

    class Watching(kind):  # type: ignore[misc]
        def step(self, x: Tensor, t: Tensor) -> dict[str, Tensor]:
            logged.append(super().step(x, t))
            return logged[-1]

    data, training = from_arrays(torch.rand(100, 1, 8, 8)), Training(steps=2, batch_size=10)
    fit(Watching(objective, **settings), data, training, machine=Machine(device="cpu", precision="bf16"))
    assert objective.inside == {torch.bfloat16} and objective.passes > 10
    assert objective.shown == {torch.float32}
    values = [value for line in logged for value in line.values()]
    assert ("penalty" in logged[0]) == bool(penalties)
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in values)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in objective.parameters())
