"""Anyone's samples beside data: the verdict, and every measure with its standard error."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uncollapse.data import files
from uncollapse.data.common_units import in_common_units
from uncollapse.data.file_checks import listed, user_path
from uncollapse.data.rows import Rows, read_rows, rows_of
from uncollapse.diagnosis import Measure, ModeCollapseThresholds, SampleDiagnosis, diagnose_samples
from uncollapse.diagnosis.mode_collapse import Group
from uncollapse.diagnosis.mode_verdict import LEAST, LOOKED
from uncollapse.diagnosis.sample_evidence import INSIDE
from uncollapse.divergences.copying import Copying, copying
from uncollapse.divergences.sample_distances import extent, in_extents
from uncollapse.divergences.two_sample_tests import classifier_test
from uncollapse.evaluation.extractors import extractor_of
from uncollapse.evaluation.features import Extractor, Pixels

TESTED = 1000  # samples, and data rows, that the classifier sees
SEEDS = 2**32  # that scikit-learn's generators take
NUMBERS = 2**27  # numbers of a sample that are compared, which bounds the memory
_BLOCK = 2**24  # numbers that are read at a time
_UNITS = 30  # how many times as widely as another column one may be spread without a word

Features = str | Path | Extractor
"""What distances are taken over: pixels, digits, inception, the path of a .npz file of features, or an extractor."""


@dataclass(frozen=True)
class JudgedSamples:
    """A verdict on samples, and all that it was reached from, by the numbers of the rows as they were given, from 0."""

    diagnosis: SampleDiagnosis
    fake: Tensor | None  # what distances were taken over [n, D]; None where nothing was measured
    real: Tensor | None
    sizes: Mapping[str, int]  # rows that a measure is of, where they are fewer than n
    copied: Copying | None  # its pairs: sample and training row
    fakes: Rows
    reals: Rows
    train: Rows | None
    features: str
    fake_rows: Tensor  # the samples that were compared [n]
    real_rows: Tensor  # and the data rows [n]
    standardized: bool = False
    notes: tuple[str, ...] = ()  # what was done to the rows, and what is doubtful, in sentences
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        measures = {name: self._measured(name, measure) for name, measure in self.diagnosis.measures.items()}
        return {
            "verdict": self.diagnosis.verdict,
            "reason": self.diagnosis.reason,
            "measures": measures,
            "n_fake": len(self.fakes),
            "n_real": len(self.reals),
            "n": self.diagnosis.n,
            "features": self.features,
            "missing": [_as_dict(group) for group in self.diagnosis.missing],
            "overdone": [_as_dict(group) for group in self.diagnosis.overdone],
            "seed": self.seed,
        }

    def size(self, measure: str) -> int:
        """How many samples, and as many data rows, a measure is of."""
        return self.sizes.get(measure, self.diagnosis.n)

    def _measured(self, name: str, measure: Measure) -> dict[str, Any]:
        found: dict[str, Any] = {"value": measure.value, "standard_error": measure.standard_error}
        return found | ({} if measure.of_data is None else {"of_real_rows": measure.of_data}) | {"n": self.size(name)}


def _as_dict(group: Group) -> dict[str, Any]:
    of_reals, of_fakes = (next(iter(rows), None) for rows in (group.real_rows, group.fake_rows))
    return {"data_share": group.data, "sample_share": group.samples, "real_row": of_reals, "fake_row": of_fakes}


def judge(
    fakes: Any,
    reals: Any,
    train: Any = None,
    features: Features = "pixels",
    standardize: bool | None = None,
    thresholds: ModeCollapseThresholds = ModeCollapseThresholds(),
    seed: int = 0,
) -> SampleDiagnosis:
    """Are samples of any generator as good as other real rows? No model and no run is needed.

    Args:
        fakes: Samples [n, *shape], a tensor or an array: images, rows of a table, or features of either; a table of pandas,
            whose columns are matched by their names; or the path of a folder or file (`data.rows.read_rows`). Bytes of
            images are divided by 255; so are bytes beside numbers from 0 to 1.
        reals: Data [m, *shape] that the generator was not trained on, a few hundred or more; the larger of both is cut to the
            other's size, and to 2,500, at random.
        train: All the rows that it was trained on, to tell copies of them.
        features: What distances are taken over: pixels (the numbers themselves), digits, inception, an extractor, or the path
            of a .npz file of arrays `fakes`, `reals` and, with train, `train`: features [n, D] of the rows, in their order.
        standardize: Whether each column of rows [n, D] counts by the real rows' standard deviation, as columns of a table want
            that have units of their own; None: those of tables do. A column that is constant keeps its unit.
        thresholds: How far samples may be from the data.
        seed: Of the rows that are chosen, groups and tests.

    Returns:
        The diagnosis: `.verdict`, `.reason`, `.measures`, and groups of rows that are `.missing` and `.overdone`, by the
        numbers of the rows as they were given. `print` shows it whole.

    Raises:
        ValueError: If the three do not have one shape and scale, there are fewer than two rows, data or training rows are not
            finite, or the extractor refuses them.

    References:
        See `diagnosis.diagnose_samples`; the classifier: Lopez-Paz and Oquab (2017), Revisiting Classifier Two-Sample Tests.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(3, 500, 5)
        >>> judge(x[0], x[1]).verdict, judge(x[0], x[1], train=torch.cat((x[2], x[0]))).verdict
        ('healthy', 'copies the data')
    """
    named = {"fakes": fakes, "reals": reals} | ({} if train is None else {"train": train})
    samples = {name: _rows(values, name) for name, values in named.items()}
    return judged_samples(samples, features, standardize, thresholds, seed).diagnosis


def _rows(values: Any, name: str) -> Rows:
    """What the user gave, which may be a path; samples need not be finite."""
    finite = name != "fakes"
    return read_rows(values, finite) if isinstance(values, (str, Path)) else rows_of(values, name, finite)


def judged_samples(
    samples: Mapping[str, Rows],
    features: Features = "pixels",
    standardize: bool | None = None,
    thresholds: ModeCollapseThresholds = ModeCollapseThresholds(),
    seed: int = 0,
) -> JudgedSamples:
    """As `judge`, with all that the verdict was reached from.

    Args:
        samples: `fakes`, `reals`, and maybe `train`: reals and train finite.
        features: What distances are taken over.
        standardize: Whether columns count by the real rows' standard deviation; None: those of tables do.
        thresholds: How far samples may be from the data.
        seed: Of the rows that are chosen, groups and tests.

    Raises:
        ValueError: As for `judge`.

    Example:
        >>> x = torch.randn(2, 600, 2, generator=torch.Generator().manual_seed(0))
        >>> found = judged_samples({"fakes": rows_of(x[0], "fakes"), "reals": rows_of(x[1], "reals")})
        >>> found.diagnosis.verdict, found.size("spread"), found.standardized
        ('healthy', 600, False)
    """
    if not 0 <= seed < SEEDS:
        raise ValueError(f"expected a seed from 0 to {SEEDS - 1}, got {seed}; any such number serves")
    for name, rows in samples.items():
        if len(rows) < 2:
            raise ValueError(f"expected at least 2 rows in {name} ({rows.where}), got 1; a few hundred tell something")
    found, notes = in_common_units(samples)
    fakes, reals, train = found["fakes"], found["reals"], found.get("train")
    space, more = _space(found, features, standardize)
    chosen = _chosen(fakes, reals, space, seed)
    finite, said = fakes.finite() & space.finite, list[str]()
    if len(chosen.fakes) < LEAST or not finite.all():
        flags = torch.where(finite, 0.0, torch.nan).unsqueeze(1)
        evidence = _Evidence(diagnose_samples(flags, torch.zeros(len(reals), 1), thresholds=thresholds))
    else:
        evidence, said = _measured(space, chosen, None if train is None else len(train), thresholds, seed)
    notes, standardized = [*notes, *more, *said], space.standardized
    return JudgedSamples(*evidence, fakes, reals, train, space.name, *chosen, standardized, tuple(notes), seed)


class _Evidence(NamedTuple):
    """The first fields of `JudgedSamples`."""

    diagnosis: SampleDiagnosis
    fake: Tensor | None = None
    real: Tensor | None = None
    sizes: Mapping[str, int] = {}
    copied: Copying | None = None


class _Chosen(NamedTuple):
    """The rows that are compared, by their numbers: [n] each."""

    fakes: Tensor
    reals: Tensor


def _measured(
    space: "_Space", chosen: _Chosen, n_train: int | None, thresholds: ModeCollapseThresholds, seed: int
) -> tuple[_Evidence, list[str]]:
    """The diagnosis of finite samples, and what is to be said of their training rows."""
    fake, real = (torch.cat(list(space.blocks(name, rows))) for name, rows in chosen._asdict().items())
    names = [*chosen._fields, *(["train"] if n_train is not None else [])]
    narrow = any(space.read(name, torch.zeros(1, dtype=torch.long)).dtype == torch.float32 for name in names)
    size, keys = extent(real), [_keys(x, narrow) for x in (fake, real)]
    if bool((real == real[0]).all()):
        raise ValueError(
            f"expected reals that differ ({space.name}), got one and the same {len(real)} times; look at them first"
        )
    near_fake, near_real = (in_extents(x[:TESTED], size) for x in (fake, real))
    test = classifier_test(near_fake, near_real, seed=seed)
    copied: Copying | None = None
    notes = _doubts(*keys)
    further = {"classifier_accuracy": Measure(test.accuracy, 0.5 / test.n_test**0.5, 0.5)}
    if n_train is not None:
        trained = _Trained(space.blocks("train", torch.arange(n_train)), set(keys[1]), narrow, size)
        copied = copying(near_fake, trained, near_real)
        if trained.share > KNOWN:
            copied, notes = None, [*notes, _KNOWN_REALS.format(100 * trained.share)]
    if copied is not None:
        further["copies"] = Measure(copied.share, copied.standard_error, 0.0)
        sample, row = copied.pairs.cpu().unbind(1)
        copied = copied._replace(pairs=torch.stack((chosen.fakes[sample], row), 1))
    seen = diagnose_samples(fake, real, thresholds=thresholds, further=further, seed=seed)
    missing, overdone = ([_as_given(g, chosen, fake, real) for g in groups] for groups in (seen.missing, seen.overdone))
    inside = min(seen.n, INSIDE)
    sizes = {"spread": inside, "energy_coefficient": inside, "classifier_accuracy": test.n_test, "copies": min(seen.n, TESTED)}
    return _Evidence(replace(seen, missing=missing, overdone=overdone), fake, real, sizes, copied), notes


KNOWN = 0.5  # share of real rows that stand in the training set too, beyond which nothing is told of copies
_KNOWN_REALS = (
    "{:.0f} % of the reals stand among the training rows too, so nothing is told of copies: give reals that the generator was "
    "not trained on"
)


class _Trained:
    """Training rows in blocks; once passed through, which share of the real rows stands among them."""

    def __init__(self, blocks: Iterator[Tensor], known: set[int], narrow: bool, size: float):
        self.blocks, self.known, self.narrow, self.size, self.seen = blocks, known, narrow, size, set[int]()

    def __iter__(self) -> Iterator[Tensor]:
        for block in self.blocks:
            self.seen |= self.known & set(_keys(block, self.narrow))
            yield in_extents(block, self.size)

    @property
    def share(self) -> float:
        """Of the real rows, equal ones counted once."""
        return len(self.seen) / len(self.known)


def _keys(x: Tensor, narrow: bool) -> list[int]:
    """What equal rows have in common; of numbers to float32 where some of them are no more."""
    return [hash(row.tobytes()) for row in ((x.float() if narrow else x.double()) + 0.0).cpu().numpy()]


REPEATED = 0.1  # share of the rows beyond which equal ones are worth a word

_EQUAL = "{:.0f} % of the fakes are rows of the reals, number for number: a second copy of the reals, or were these trained on?"
_ROUNDED = (
    "{:.0f} % of the reals equal another of them, and {:.0f} % of the fakes: if the data are rounded or whole numbers, round "
    "the fakes so; if rows stand there several times, keep each once"
)


def _doubts(fake: list[int], real: list[int]) -> list[str]:
    """What equal rows say: fakes that are rows of the reals, and reals that stand there several times unlike the fakes."""
    of_fakes, of_reals = (_repeated(keys) for keys in (fake, real))
    known = set(real)
    equal = sum(key in known for key in fake) / len(fake)
    notes = [_EQUAL.format(100 * equal)] if equal > REPEATED + of_reals else []
    return notes + ([_ROUNDED.format(100 * of_reals, 100 * of_fakes)] if of_reals > REPEATED + of_fakes else [])


def _repeated(keys: list[int]) -> float:
    """The share of rows that equal another one."""
    counts = Counter(keys)
    return sum(count for count in counts.values() if count > 1) / len(keys)


def _chosen(fakes: Rows, reals: Rows, space: "_Space", seed: int) -> _Chosen:
    """As many samples as data rows, at random and not more than memory allows: the numbers of either, [n]."""
    n = min(len(fakes), len(reals), LOOKED, max(LEAST, NUMBERS // space.width))
    generator = torch.Generator().manual_seed(seed)
    return _Chosen(*(torch.randperm(len(rows), generator=generator)[:n] for rows in (fakes, reals)))


def _as_given(group: Group, chosen: _Chosen, fake: Tensor, real: Tensor) -> Group:
    """A group by the numbers of the rows as they were given, those nearest to its middle first."""
    members = [_from_the_middle(rows, x) for rows, x in ((group.real_rows, real), (group.fake_rows, fake))]
    of_reals, of_fakes = (tuple(all_[rows].tolist()) for rows, all_ in zip(members, (chosen.reals, chosen.fakes), strict=True))
    return Group(group.data, group.samples, (of_reals or of_fakes)[0], of_reals, of_fakes)


def _from_the_middle(rows: tuple[int, ...], x: Tensor) -> Tensor:
    index = torch.tensor(rows, dtype=torch.long)
    if not rows:
        return index
    values = x[index.to(x.device)].double()
    return index[(values - values.mean(0)).square().sum(1).argsort().cpu()]


class _Space(NamedTuple):
    """What distances are taken over: rows of a sample, by its name and their numbers, as [B, D]."""

    name: str
    width: int  # D, or more while a block is made
    read: Callable[[str, Tensor], Tensor]
    finite: Tensor | bool = True  # which samples are, beside the numbers themselves
    standardized: bool = False

    def blocks(self, sample: str, rows: Tensor) -> Iterator[Tensor]:
        for some in rows.split(max(1, _BLOCK // self.width)):
            yield self.read(sample, some)


def _space(samples: dict[str, Rows], features: Features, standardize: bool | None) -> tuple[_Space, list[str]]:
    """What distances are taken over, and what is to be said of it."""
    if isinstance(features, (str, Path)) and str(features).lower().endswith(".npz"):
        return _given(samples, user_path(features))
    extractor = extractor_of(features) if isinstance(features, str) else features
    if not isinstance(extractor, Extractor):
        raise ValueError(
            f"expected features pixels, digits, inception, an extractor or the path of a .npz file, got {features}"
        )
    if not isinstance(extractor, Pixels):
        if standardize:
            raise ValueError(f"expected pixels to standardize, got {extractor.name}; leave one of both out")
        extract = lambda name, rows: extractor(samples[name].take(rows).float())  # noqa: E731
        return _Space(_named(features, extractor), prod(samples["reals"].shape), extract), []
    return _numbers(samples, standardize)


def _named(features: Features, extractor: Extractor) -> str:
    return features if isinstance(features, str) else extractor.name


def _numbers(samples: dict[str, Rows], standardize: bool | None) -> tuple[_Space, list[str]]:
    """The numbers of the rows themselves."""
    reals, plain = samples["reals"], lambda name, rows: samples[name].take(rows).flatten(1)
    tabular = len(reals.shape) == 1
    if standardize and not tabular:
        raise ValueError(f"expected rows of a table [n, D] to standardize, got {tuple(reals.shape)} a row; leave it out")
    if standardize is None:
        standardize = tabular and any(rows.is_table for rows in samples.values())
    if not tabular:
        return _Space("pixels", prod(reals.shape), plain), []
    mean, scale = _moments(reals)
    wide = scale[scale > 0]
    if not standardize:
        far = float(wide.max() / wide.min()) if len(wide) else 1.0
        note = f"one column of reals is spread {far:,.0f} times as widely as another: the widest decide; standardize them?"
        return _Space("pixels", len(mean), plain), [note] * (far > _UNITS)
    unit = torch.where(scale > 0, scale, torch.ones_like(scale))
    standard = lambda name, rows: (plain(name, rows).double() - mean) / unit  # noqa: E731
    return _Space("pixels", len(mean), standard, standardized=True), []


def _moments(rows: Rows) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column, 0 of one that does not vary."""
    mean = sum((x.double().sum(0) for x in rows.blocks()), torch.zeros(rows.shape, dtype=torch.double)) / len(rows)
    squares = [(x.double() - mean).square().sum(0) for x in rows.blocks()]
    scale = (torch.stack(squares).sum(0) / len(rows)).sqrt()
    return mean, torch.where(scale > 1e-12 * mean.abs(), scale, torch.zeros_like(scale))


def _given(samples: dict[str, Rows], path: Path) -> tuple[_Space, list[str]]:
    """Features of the rows that were taken elsewhere."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}: check the path")
    held, found = files.array_names(path), {}
    for name, rows in samples.items():
        if name not in held:
            raise ValueError(f"expected the arrays {', '.join(samples)} in {path}, got {listed(held)}; save them so")
        found[name] = rows_of(files.array(path, name), f"{name} of {path}", finite=name != "fakes")
        if len(found[name]) != len(rows):
            raise ValueError(
                f"expected a row of {name} in {path} for each of the {len(rows)} rows of {rows.where}, got "
                f"{len(found[name])}; save one for each, in their order"
            )
    if len({rows.shape for rows in found.values()}) > 1:
        shapes = ", ".join(f"{name} {tuple(rows.shape)}" for name, rows in found.items())
        raise ValueError(f"expected features of one size in {path}, got {shapes}; take all with one network")
    read = lambda name, rows: found[name].take(rows).flatten(1)  # noqa: E731
    notes = ["train of the features is left out, since no training rows were given"] * (
        "train" in held and "train" not in samples
    )
    return _Space(str(path), prod(found["reals"].shape), read, found["fakes"].finite()), notes
