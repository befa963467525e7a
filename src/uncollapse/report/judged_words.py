"""What is said of samples that were judged: measures, groups, what was compared, and what to try. Console and page share it."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Size

from uncollapse.data.rows import Rows
from uncollapse.diagnosis.mode_collapse import Group
from uncollapse.diagnosis.mode_verdict import LOOKED
from uncollapse.evaluation.judge import JudgedSamples
from uncollapse.evaluation.numbers import measures, number
from uncollapse.report.images import kind


class MeasureLine(NamedTuple):
    """A measure in words."""

    label: str
    value: str  # with its standard error
    of_reals: str  # what other real rows score
    n: str
    meaning: str


ADVICE = {
    "healthy": [],
    "blurred": [
        "check that the fakes were not resized, compressed or averaged on their way here: real rows must go the same way",
        "of a VAE, judge draws of p(x|z), not its means; give it a likelihood with detail, such as a pixelCNN, or a critic",
        "of a GAN, train longer, average the weights, and let instance noise fade",
    ],
    "dropping modes": [
        "draw without truncation, with a new latent for each sample, and from as many classes as the data have",
        "let the critic see several examples at once (PacGAN), or judge fakes beside real ones with a smooth critic (R3GAN)",
        "take larger batches, and the weights of the step with the best coverage rather than the last ones",
    ],
    "collapsed": [
        "check that each sample has a latent of its own: one seed, or one batch over and over, looks the same",
        "let the critic see several examples at once (PacGAN), or judge fakes beside real ones with a smooth critic (R3GAN)",
        "lower the learning rate of the generator, and go back to weights from before the collapse",
    ],
    "diverged": [
        "check that fakes and reals went the same way: the range of the numbers, the order of the colours or columns, units",
        "go back to earlier weights; lower the learning rate, clip gradients, penalise the critic's gradient (R1)",
    ],
    "copies the data": [
        "train on more data, or augment them; stop earlier, or take a smaller model",
        "check that the training rows hold no copies of each other, and that the reals are not among them",
    ],
    "too early": ["train longer, and judge again"],
    "too few": [],
}
"""What to try at each verdict, where nothing is known of the generator."""


def measure_lines(judged: JudgedSamples) -> list[MeasureLine]:
    """Each measure with its standard error, what other real rows score, and how many samples it is of."""
    lines = []
    for name, measure in judged.diagnosis.measures.items():
        (told,) = measures({name: measure.value, f"{name}_standard_error": measure.standard_error})
        of_reals = "" if measure.of_data is None else number(measure.of_data)
        lines.append(MeasureLine(told.label, told.value, of_reals, number(judged.size(name)), told.meaning))
    return lines


def group_lines(judged: JudgedSamples, side: str, most: int = 5) -> list[str]:
    """The groups that are missing or overdone in lines: what they hold together, then the largest ones."""
    groups: list[Group] = getattr(judged.diagnosis, side)
    if not groups:
        return []
    what = "fewer than half their share of samples" if side == "missing" else "more than twice their share of samples"
    lines = [f"{_counted(len(groups), 'group')} with {what}: {_shares(groups)}"]
    lines += [f"  {_shares([group])}: such as {example(judged, group, side)}" for group in groups[:most]]
    return lines + [f"  and {_counted(len(groups) - most, 'group')} more"] * (len(groups) > most)


def _shares(groups: Sequence[Group]) -> str:
    real, fake = sum(group.data for group in groups), sum(group.samples for group in groups)
    return f"{percent(real)} of the real rows, {percent(fake)} of the samples"


def percent(share: float) -> str:
    """A share in per cent.

    Example:
        >>> percent(0.0712), percent(0.0), percent(0.382)
        ('7.1 %', '0 %', '38 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.0995 or not share else f"{100 * share:.1f} %"


def _counted(n: int, word: str) -> str:
    return f"{n} {word}{'s' * (n != 1)}"


def example(judged: JudgedSamples, group: Group, side: str) -> str:
    """The row that a group is shown by: a real row of one that is missing, a sample of one that is overdone."""
    fakes = side == "overdone" or not group.real_rows
    rows, row = (judged.fakes, group.fake_rows[0]) if fakes else (judged.reals, group.real_rows[0])
    return f"{'fakes' if fakes else 'reals'} {rows.called(row)}"


def copy_lines(judged: JudgedSamples, most: int = 5) -> list[str]:
    """The nearest copies: which sample is which training row."""
    if judged.copied is None or judged.train is None or judged.diagnosis.verdict != "copies the data":
        return []
    pairs = judged.copied.pairs.tolist()
    head = f"{_counted(len(pairs), 'sample')} near {_counted(judged.copied.rows, 'training row')}, the nearest first"
    lines = [f"  fakes {judged.fakes.called(i)} is train {judged.train.called(j)}" for i, j in pairs[:most]]
    return [head, *lines] + [f"  and {len(pairs) - most} more"] * (len(pairs) > most)


def compared(judged: JudgedSamples) -> list[tuple[str, str]]:
    """What was compared with what."""
    n = number(judged.diagnosis.n)
    rows = [(f"{name}, {number(len(rows))} rows", rows.where) for name, rows in named(judged).items()]
    pictures = kind(Size(judged.reals.shape)) == "image"
    over = "the numbers of each row" if judged.features == "pixels" and not pictures else judged.features
    over += ", each column in units of the real rows' standard deviation" if judged.standardized else ""
    return [*rows, ("Compared", f"{n} of each, at random" if judged.diagnosis.n else "nothing"), ("Over", over)]


def named(judged: JudgedSamples) -> dict[str, Rows]:
    """The samples by their names."""
    return {"Fakes": judged.fakes, "Reals": judged.reals} | ({} if judged.train is None else {"Train": judged.train})


def advice(judged: JudgedSamples) -> list[str]:
    """What to try: by the verdict, and what these samples were not looked at for."""
    verdict, found = judged.diagnosis.verdict, []
    if "not_finite" in judged.diagnosis.measures:
        return ["train in full precision, lower the learning rate or clip gradients; go back to the last finite weights"]
    if verdict == "too few":
        found.append(_more(judged))
    found += ADVICE[verdict]
    if verdict in ("healthy", "too few") and judged.train is None:
        found.append("give the training rows with --train (train=... in Python): without them nothing is told of copies")
    if judged.features == "pixels" and kind(Size(judged.reals.shape)) == "image" and judged.fakes.shape[-1] > 8:
        found.append("judge over features too (--features inception, or FILE.npz): pixels hardly see what an eye sees")
    return found


def _more(judged: JudgedSamples) -> str:
    fakes, reals, n = len(judged.fakes), len(judged.reals), judged.diagnosis.n
    if n >= LOOKED:
        return f"{LOOKED:,} of each are compared at most: what is undecided lies too near to its threshold"
    fewest = "both" if fakes == reals else "fakes" if fakes < reals else "reals"
    return (
        f"give more {fewest}: the smaller of both counts, here {n}" if fewest != "both" else f"give more of both, here {n} each"
    )
