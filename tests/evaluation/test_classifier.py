"""The classifier of digits: that it learns, that it is kept, and how it names the modes of stacked digits."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from uncollapse.data import Source, fetch, load
from uncollapse.diagnosis import diagnose_samples
from uncollapse.evaluation import Classifier, DigitClassifier, DigitSharpness, classifier, digit_classifier, stacked_modes
from uncollapse.evaluation.classifier import Settings, StackedModes, trained


class Pixel(nn.Module):
    """Takes an image for the digit that its first pixel states, in tenths."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, x: Tensor) -> Tensor:
        return F.one_hot((self.scale * x[:, 0, 0, 0]).round().long(), 10).float()


def upsampled(split: Source) -> Source:
    """The digits of scikit-learn in 28 by 28 pixels."""
    x = F.interpolate(split.all(), (28, 28), mode="bilinear", align_corners=False)
    return Source(x, split.labels)


@pytest.fixture(scope="module")
def small() -> tuple[Source, Source]:
    digits = load("digits")
    return upsampled(digits.train), upsampled(digits.test)


@pytest.fixture(scope="module")
def learned(small: tuple[Source, Source]) -> Classifier:
    """Of small digits, in four epochs."""
    return trained(*small, Settings(epochs=4))


SHARPNESS = DigitSharpness(torch.randn(10, 8), torch.randn(10, 8, 8), 2.5)


@pytest.fixture
def cache(monkeypatch, tmp_path: Path) -> Iterator[list[int]]:
    """An empty cache, digits that need no file, and a training that counts its calls by their seeds."""
    calls: list[int] = []

    def counted(train: Source, test: Source, settings: Settings) -> Classifier:
        calls.append(settings.seed)
        torch.manual_seed(settings.seed)
        return Classifier(DigitClassifier(), accuracy=0.99, sharpness=SHARPNESS)

    monkeypatch.delenv("UNCOLLAPSE_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setattr(classifier, "load", lambda name: load("digits"))
    monkeypatch.setattr(classifier, "trained", counted)
    yield calls


def kept() -> list[Path]:
    """The files in the cache of classifiers."""
    return sorted((fetch.cache() / "classifiers").iterdir())


def test_it_learns_digits(small, learned: Classifier) -> None:
    """Of 1,439 small digits in four epochs: nine of ten unseen ones right, and as many as it says."""
    test, found = small[1], learned
    right = (found.probabilities(test.all()).argmax(1) == test.labels).double().mean()
    assert found.accuracy == float(right) > 0.9


def test_training_follows_the_seed_and_leaves_the_generator_alone(small) -> None:
    train, test = small
    state = torch.get_rng_state()
    hashes = [trained(train, test, Settings(seed, epochs=1)).sha256 for seed in (3, 3, 4)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_probabilities_are_those_of_the_features() -> None:
    """In evaluation whatever it is told, without a gradient, and in pieces as in one."""
    found, x = Classifier(DigitClassifier(), accuracy=0.1).train(), torch.rand(1003, 1, 28, 28, requires_grad=True)
    p, features = found.probabilities(x), found.features(x)
    assert p.shape == (1003, 10) and features.shape == (1003, 128) and not p.requires_grad
    torch.testing.assert_close(found.network.logits(features).softmax(1), p)
    torch.testing.assert_close(found.probabilities(x[:7]), p[:7], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(p.sum(1), torch.ones(1003))


def test_images_are_moved_to_the_weights() -> None:
    found, x = Classifier(DigitClassifier(), accuracy=0.1), torch.rand(3, 1, 28, 28, dtype=torch.float64)
    single = found.probabilities(x)
    torch.testing.assert_close(found.to(torch.float64).probabilities(x), single.double(), rtol=1e-4, atol=1e-6)


def test_it_is_trained_once_and_kept(cache: list[int]) -> None:
    """A second call reads what the first one kept; another seed is another classifier."""
    first, again, other = digit_classifier(), digit_classifier(), digit_classifier(seed=1)
    assert cache == [0, 1] and len(kept()) == 2
    assert (again.sha256, again.accuracy) == (first.sha256, first.accuracy) and other.sha256 != first.sha256
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(again.probabilities(x), first.probabilities(x))
    assert again.sharpness is not None and again.sharpness.unit == SHARPNESS.unit
    assert torch.equal(again.sharpness.means, SHARPNESS.means) and torch.equal(again.sharpness.whitening, SHARPNESS.whitening)
    assert repr(first) == f"Classifier(accuracy 0.9900, sha256 {first.sha256[:12]})"


def test_its_accuracy_is_printed_when_it_is_trained(cache: list[int], capsys) -> None:
    for expected in (True, False):
        digit_classifier()
        said = capsys.readouterr().err
        assert ("trained a classifier of digits in 0 s: Classifier(accuracy 0.9900" in said) == expected


@pytest.mark.parametrize("how", ["cut short", "flipped", "other weights", "another sharpness", "another unit"])
def test_what_was_kept_and_is_broken_is_refused(cache: list[int], how: str) -> None:
    digit_classifier()
    (path,) = kept()
    content = path.read_bytes()
    assert b'"2.5"' in content
    if how == "cut short":
        path.write_bytes(content[:1000])
    elif how == "flipped":
        path.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    elif how == "another unit":
        path.write_bytes(content.replace(b'"2.5"', b'"3.5"'))
    elif how == "another sharpness":
        with safe_open(path, "pt") as file:
            stated = file.metadata()
        save_file(load_file(path) | {"sharpness.means": torch.zeros(10, 8)}, path, stated)
    else:
        save_file(dict(list(load_file(path).items())[1:]), path)
    with pytest.raises(ValueError, match=r"digits-\w+.safetensors is broken .*: delete it to train it again"):
        digit_classifier()


def test_one_that_errs_is_refused_and_not_kept(cache: list[int], monkeypatch) -> None:
    monkeypatch.setattr(classifier, "trained", lambda *given: Classifier(DigitClassifier(), accuracy=0.9849))
    with pytest.raises(
        ValueError, match=r"expected a classifier that gets 98.5% of the test digits right .*, came 98.49%; write"
    ):
        digit_classifier()
    assert not (fetch.cache() / "classifiers").exists()


def test_modes_of_stacked_digits_are_read_as_one_number() -> None:
    """All thousand, each by a stated pixel of each channel."""
    modes = torch.arange(1000)
    x = torch.zeros(1000, 3, 28, 28)
    x[..., 0, 0] = torch.stack((modes // 100, modes // 10 % 10, modes % 10), 1) / 10
    found = Classifier(Pixel(), accuracy=1.0)  # type: ignore[arg-type]
    assert torch.equal(stacked_modes(x, found), modes)


def test_a_blurred_mean_is_near_no_stacked_digits(small, learned: Classifier) -> None:
    """Over pixels the mean image is near nearly all of them; by what the classifier sees it is no digit."""
    x = small[1].all()
    stacked = torch.stack([x[torch.arange(300) * step % len(x), 0] for step in (1, 7, 11)], 1)
    blurred = stacked.mean(0, keepdim=True) + 0.01 * torch.randn(300, 1, 1, 1)
    pixels = diagnose_samples(blurred, stacked).measures["coverage"].value
    seen = diagnose_samples(blurred, stacked, modes=StackedModes(learned))
    assert pixels > 0.9 > 0.1 > seen.measures["coverage"].value and seen.verdict in ("collapsed", "diverged")


def test_the_verdict_on_stacked_digits(small, learned: Classifier) -> None:
    """Noise and noisy digits have diverged though a classifier gives each a mode; blurred digits are blurred."""
    x = small[1].all()
    stack = lambda images, seed: images[  # noqa: E731
        torch.randint(len(x), (400, 3), generator=torch.Generator().manual_seed(seed)), 0
    ]
    modes, real = StackedModes(learned), stack(x, 0)
    soft = torch.nn.functional.avg_pool2d(x, 5, 1, 2)
    noisy = (0.4 * x + 0.25 * torch.randn_like(x)).clamp(0, 1)
    found = {
        name: diagnose_samples(fake, real, modes=modes)
        for name, fake in (
            ("real", stack(x, 1)),
            ("noise", torch.rand(400, 3, 28, 28)),
            ("noisy", stack(noisy, 2)),
            ("blurred", stack(soft, 3)),
        )
    }
    verdicts = {name: seen.verdict for name, seen in found.items()}
    assert verdicts["noise"] == verdicts["noisy"] == "diverged" and verdicts["blurred"] == "blurred", found
    assert verdicts["real"] in ("healthy", "too few"), found["real"].reason


def test_stacked_digits_lie_within_their_modes_and_noise_far_off(small, learned: Classifier) -> None:
    """As many real ones as of Gaussian modes, less what 179 digits leave to chance; noise, noisy digits and blurs do not."""
    modes, x = StackedModes(learned), small[1].all()
    real = x[torch.randint(len(x), (1000, 3)), 0]
    mode, away = modes.assign(real)
    assert float((away < 3).double().mean()) > 0.95 and torch.equal(mode, stacked_modes(real, learned))
    noisy = (0.4 * real + 0.25 * torch.randn_like(real)).clamp(0, 1)
    for far in (torch.rand_like(real), noisy):
        assert float(modes.assign(far)[1].min()) > 15
    blurred = F.avg_pool2d(F.pad(real, (3, 3, 3, 3), mode="replicate"), 7, stride=1)
    assert float((modes.assign(blurred)[1] < 3).double().mean()) < 0.02
    assert diagnose_samples(real[:500], real[500:], modes=modes).verdict == "healthy"


def test_distances_keep_type_and_precision(small, learned: Classifier) -> None:
    """Whatever the classifier is moved to, and in pieces of a thousand as in one."""
    x = small[1].all()[torch.randint(179, (1003, 3)), 0]
    modes = StackedModes(learned)
    away = modes.assign(x)[1]
    torch.testing.assert_close(modes.assign(x[1000:])[1], away[1000:], rtol=1e-3, atol=1e-4)
    moved = modes.to("cpu", torch.float64).assign(x.double())[1]
    assert moved.dtype == torch.float64
    torch.testing.assert_close(moved.float(), away, rtol=1e-3, atol=1e-4)


def test_modes_need_the_sharpness_of_digits() -> None:
    with pytest.raises(ValueError, match="expected a classifier that knows how sharp digits are, got one without"):
        StackedModes(Classifier(DigitClassifier(), accuracy=0.1))


def test_what_is_no_digit_is_refused() -> None:
    found = Classifier(DigitClassifier(), accuracy=0.1)
    with pytest.raises(ValueError, match=r"expected images of three digits \[N, 3, 28, 28\], came \(2, 1, 28, 28\)"):
        stacked_modes(torch.zeros(2, 1, 28, 28), found)
    with pytest.raises(ValueError, match=r"expected digits \[N, 1, 28, 28\] to classify, came \(6, 1, 32, 32\)"):
        stacked_modes(torch.zeros(2, 3, 32, 32), found)


def test_real_digits_have_all_modes() -> None:
    """Held-out stacked digits by the classifier that is kept on this machine: labels are right as often as three digits are."""
    if not os.environ.get("UNCOLLAPSE_DATA"):
        pytest.skip("needs published data files: set UNCOLLAPSE_DATA to a directory that holds mnist/")
    if not (fetch.cache() / "classifiers").is_dir():
        pytest.skip("no classifier is kept on this machine: evaluation.digit_classifier() trains one in a minute")
    found, data = digit_classifier(), load("stacked-mnist")
    modes = torch.cat([stacked_modes(part.x, found) for part in data.test.batches(1000, torch.arange(10_000))])
    right = (modes == data.test.labels[:10_000]).double().mean()
    assert found.accuracy >= 0.985 and abs(right - found.accuracy**3) < 0.01
