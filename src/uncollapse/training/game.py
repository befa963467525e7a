"""The game that a run's model was trained in, with its critic: evidence that the model alone does not hold."""

from collections.abc import Iterable
from pathlib import Path

from uncollapse.distributions import LatentVariableModel
from uncollapse.gan import GAN
from uncollapse.own_modules import Named
from uncollapse.tensor_files import read_tensors
from uncollapse.training.checkpoint import CheckpointError, standing, steadily
from uncollapse.training.kept import restore_procedure
from uncollapse.training.recipe import Recipe


def load_game(run: str | Path, model: LatentVariableModel, parts: Iterable[Named] = ()) -> GAN | None:
    """The game of a run, its critic as the last checkpoint holds it, beside a model that may have other weights.

    Args:
        run: The run folder.
        model: The run's model, such as its best weights.
        parts: What holds classes of your own that its recipe names.

    Returns:
        The game; None where the run was none, or has no checkpoint with a critic.

    Raises:
        CheckpointError: If that checkpoint is damaged.
    """
    config, last = Path(run) / "config.yaml", Path(run) / "checkpoints" / "last"
    if not config.exists() or not standing(last).exists():
        return None
    procedure = Recipe.read(str(config), parts=parts).procedure(model)
    game = procedure.objective
    if not isinstance(game, GAN):
        return None
    kept = steadily(last, lambda place: read_tensors(place / "state.safetensors"))
    if not all(f"procedure.{name}" in kept for name in procedure.state()):
        return None
    try:
        restore_procedure(procedure, kept)
    except ValueError as error:
        raise CheckpointError(f"{last} is damaged: {error}; train again") from error
    return game.to(model.like).eval()
