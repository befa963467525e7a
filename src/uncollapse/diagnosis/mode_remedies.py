"""What to try against mode collapse, and against a game that does not settle."""

from typing import Any

from uncollapse.diagnosis.game_course import OVERFIT, SWINGING
from uncollapse.diagnosis.remedy import Option, Remedy
from uncollapse.gan import GAN


def mode_remedies(objective: GAN, seen: dict[str, Any], steps: int, averaged: bool) -> list[Remedy]:
    """What to try after this diagnosis of a game: arguments that it has not got.

    Args:
        objective: The game.
        seen: The diagnosis as plain values: its verdict, `critic_overfit`, `closeness_swing`.
        steps: For which it was trained.
        averaged: Whether the generator's weights are averaged.
    """
    verdict, found = seen.get("verdict"), []
    if verdict == "too early":
        found.append(Remedy((("training.steps", 2 * steps),), "train longer: samples still come nearer to the data"))
    if verdict == "blurred":
        found.append(Remedy((("training.steps", 2 * steps),), "train longer: samples sharpen last"))
    if (verdict == "blurred" or (seen.get("closeness_swing") or 0.0) >= SWINGING) and not averaged:
        found.append(Remedy((("training.ema", 0.999),), "average the generator's weights: they circle around what is right"))
    if verdict == "copies the data" or (seen.get("critic_overfit") or 0.0) > OVERFIT:
        found += _against_overfitting(objective)
    return found + (_against_collapse(objective) if verdict in ("dropping modes", "collapsed", "diverged") else [])


def _against_overfitting(objective: GAN) -> list[Remedy]:
    found = []
    if objective.augmentation is None and len(objective.model.likelihood.shape) == 3:
        found.append(
            Remedy((("objective.augmentation", "DiffAugment"),), "show the critic changed images, real and fake alike")
        )
    if not objective.penalties:
        found.append(
            Remedy((("objective.penalties", [{"class_path": "R1"}]),), "a smooth critic cannot learn single rows by heart")
        )
    return found


def _against_collapse(objective: GAN) -> list[Remedy]:
    critic, found = objective.critic, []
    if critic.pack == 1:
        found.append(Remedy((("objective.critic.pack", 2),), "let the critic see two examples at once (PacGAN)"))
    if not objective.penalties:
        smooth = ("objective.penalties", [{"class_path": "R1"}, {"class_path": "R2"}])
        words = "judge fakes beside real ones, with a smooth critic (R3GAN)"
        found.append(Remedy((("objective.game", "Relativistic"), smooth), words))
    if not critic.blurs:
        found.append(
            Remedy(_of("objective.critic.noise", "Linear", start=0.5, end=0), "noise on real and fake alike that fades away")
        )
    if not any(p.requires_grad for p in objective.model.prior.parameters()):
        mixture = _of("prior", "Mixture", components=100, scale=0.1, weighted=False)
        found.append(Remedy(mixture, "let the prior learn components, between which the generator jumps (DeLiGAN)"))
    if objective.entropy is None:
        sigma = _of("likelihood.sigma", "LearnedSigma", start=0.1, limits=[0.01, 0.3])
        entropy = (("likelihood", "Gaussian"), *sigma, ("objective.entropy", "Entropy"))
        found.append(Remedy(entropy, "pay for entropy (PresGAN)"))
    return [*found, Remedy((("procedure", "Unrolled"),), "let the generator look ahead at the critic's answer")]


def _of(name: str, part: str, **arguments: Any) -> tuple[Option, ...]:
    """The options that choose a part and its arguments."""
    return ((name, part), *((f"{name}.{argument}", value) for argument, value in arguments.items()))
