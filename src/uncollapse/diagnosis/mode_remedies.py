"""What to try against mode collapse."""

from uncollapse.diagnosis.remedy import Remedy
from uncollapse.gan import GAN


def mode_remedies(objective: GAN) -> list[Remedy]:
    """What to try against a mode collapse of this game: arguments that it has not got, then another procedure."""
    critic, found = objective.critic, []
    if critic.pack == 1:
        found.append(("--objective.critic.pack 2", "let the critic see two examples at once (PacGAN)"))
    if not objective.penalties:
        options = "--objective.game Relativistic --objective.penalties '[{class_path: R1}, {class_path: R2}]'"
        found.append((options, "judge fakes beside real ones, with a smooth critic (R3GAN)"))
    if not critic.blurs:
        options = "--objective.critic.noise Linear --objective.critic.noise.start 0.5 --objective.critic.noise.end 0"
        found.append((options, "noise on real and fake alike that fades away"))
    if not any(p.requires_grad for p in objective.model.prior.parameters()):
        options = "--prior Mixture --prior.components 100 --prior.scale 0.1 --prior.weighted false"
        found.append((options, "let the prior learn components, between which the generator jumps (DeLiGAN)"))
    if objective.entropy is None:
        sigma = "--likelihood.sigma LearnedSigma --likelihood.sigma.start 0.1 --likelihood.sigma.limits [0.01,0.3]"
        found.append((f"--likelihood Gaussian {sigma} --objective.entropy Entropy", "pay for entropy (PresGAN)"))
    found.append(("--procedure Unrolled", "let the generator look ahead at the critic's answer"))
    return [Remedy(*pair) for pair in found]
