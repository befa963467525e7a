"""The verb `judge` as a user drives it: files and folders of every kind, the same verdict by each, errors of one line."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import uncollapse as uc
from report.test_report_page import Page
from uncollapse.cli import main
from uncollapse.data.rows import read_rows
from uncollapse.diagnosis.mode_verdict import MEANINGS
from uncollapse.evaluation.judge import judged_samples
from uncollapse.report.judged_words import ADVICE

KEYS = {"verdict", "reason", "measures", "n_fake", "n_real", "n", "features", "missing", "overdone", "seed"}


def ring(n: int, seed: int, modes: int = 8) -> np.ndarray:
    r = np.random.default_rng(seed)
    angle = r.integers(0, modes, n) * np.pi / 4
    return np.stack((np.cos(angle), np.sin(angle)), 1) + 0.05 * r.normal(size=(n, 2))


def pictures(n: int, seed: int, kinds: int = 4) -> np.ndarray:
    """Bytes [n, 6, 6]: a bright bar in one of four places, and noise."""
    r = np.random.default_rng(seed)
    x, kind = 20 * r.random((n, 6, 6)), r.integers(0, kinds, n)
    for i, k in enumerate(kind):
        x[i, k : k + 2] += 60 + 150 * r.random()
    return x.astype(np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reals, as many others, and samples of which half the kinds are missing, as arrays, folders and tables."""
    out = tmp_path_factory.mktemp("judge")
    real, good, bad, train = pictures(300, 0), pictures(300, 1), pictures(300, 2, kinds=2), pictures(500, 3)
    for name, x in {"real": real, "good": good, "bad": bad, "train": train}.items():
        np.save(out / f"{name}.npy", x)
    for name, x in {"real": real, "bad": bad}.items():
        for i, image in enumerate(x):
            file = out / name / f"kind{i % 2}" / f"{i:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
    np.savez(out / "three.npz", fakes=bad, reals=real, train=train)
    np.save(out / "ring.npy", ring(600, 0))
    table("real.csv", out, ring(400, 1), ["x", "income"])
    table("bad.csv", out, ring(400, 2, modes=4), ["x", "income"], order=[1, 0])
    return out


def table(name: str, out: Path, x: np.ndarray, columns: list[str], order: list[int] | None = None) -> None:
    """Two columns in units of their own, the second in thousands."""
    index = order or [0, 1]
    lines = [",".join(columns[i] for i in index), *(",".join(f"{(row * [1, 1000])[i]:.6g}" for i in index) for row in x)]
    (out / name).write_text("\n".join(lines) + "\n")


def found(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict:
    """What --json prints: JSON alone, without NaN or infinity."""
    capsys.readouterr()
    assert main(["judge", *argv, "--json"]) == 0

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    return json.loads(capsys.readouterr().out, parse_constant=refuse)


def test_json_holds_the_verdict_and_every_measure(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = found([str(files / "good.npy"), "--against", str(files / "real.npy")], capsys)
    assert set(seen) == KEYS and seen["verdict"] == "healthy" and seen["reason"]
    assert (seen["n_fake"], seen["n_real"], seen["n"], seen["features"], seen["seed"]) == (300, 300, 300, "pixels", 0)
    for name, measure in seen["measures"].items():
        assert {"value", "standard_error", "n"} <= set(measure) <= {"value", "standard_error", "of_real_rows", "n"}, name
        assert math.isfinite(measure["value"]) and measure["n"] <= 300
    assert {"precision", "recall", "coverage", "spread", "near_pairs", "misplaced_mass"} <= set(seen["measures"])


def test_python_and_the_command_line_agree(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = found([str(files / "bad.npy"), "--against", str(files / "real.npy"), "--seed", "3"], capsys)
    same = uc.judge(np.load(files / "bad.npy"), torch.from_numpy(np.load(files / "real.npy")), seed=3)
    assert (seen["verdict"], seen["reason"]) == (same.verdict, same.reason) and seen["verdict"] == "dropping modes"
    assert [group["real_row"] for group in seen["missing"]] == [group.real_rows[0] for group in same.missing]


def test_python_reads_folders_and_files_as_the_command_line_does(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for fakes, reals in (("bad", "real"), ("bad.npy", "real.npy")):
        seen = found([str(files / fakes), "--against", str(files / reals)], capsys)
        same = uc.judge(files / fakes, str(files / reals))
        assert (seen["verdict"], seen["reason"]) == (same.verdict, same.reason)


def test_columns_of_data_frames_are_matched_by_name_and_standardized() -> None:
    """Columns in another order, in units a thousand times apart; a column of labels is left out; other columns are refused."""
    pandas = pytest.importorskip("pandas")
    x, y = (np.random.default_rng(seed).normal((5.0, 0.0), (1.0, 1000.0), (400, 2)) for seed in (0, 1))
    real, fake = (pandas.DataFrame(values, columns=["a", "b"]) for values in (x, y))
    assert uc.judge(fake[["b", "a"]].assign(label=1), real).verdict == "healthy"
    assert (
        uc.judge(fake.assign(a=5.0), real).verdict != "healthy" == uc.judge(fake.assign(a=5.0), real, standardize=False).verdict
    )
    with pytest.raises(ValueError, match="expected the same columns in fakes"):
        uc.judge(fake.rename(columns={"a": "c"}), real)


def test_groups_name_rows_of_the_file(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bars of the two lower places are missing: each row that stands for a group has one."""
    seen = found([str(files / "bad.npy"), "--against", str(files / "real.npy")], capsys)
    real, fake = np.load(files / "real.npy"), np.load(files / "bad.npy")
    assert seen["missing"] and all(real[g["real_row"]][3:].mean() > real[g["real_row"]][:2].mean() for g in seen["missing"])
    assert 0.35 < sum(g["data_share"] for g in seen["missing"]) < 0.65
    assert all(g["sample_share"] < 0.5 * g["data_share"] for g in seen["missing"])
    assert all(fake[g["fake_row"]][3:].mean() < 60 for g in seen["overdone"])


@pytest.mark.parametrize(
    ("fakes", "reals"),
    [("bad", "real"), ("bad.npy", "real"), ("three.npz:fakes", "three.npz:reals")],
    ids=["folders of folders", "array and folder", "two arrays of a file"],
)
def test_every_way_in_reads_the_same_rows(fakes: str, reals: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of a folder come in another order, so another choice is made of them; here all are compared."""
    want = found([str(files / "bad.npy"), "--against", str(files / "real.npy")], capsys)
    seen = found([str(files / fakes), "--against", str(files / reals)], capsys)
    assert seen["verdict"] == want["verdict"]
    for name in ("precision", "recall", "coverage", "spread"):
        assert seen["measures"][name]["value"] == pytest.approx(want["measures"][name]["value"], rel=1e-5)


def test_bytes_and_numbers_of_the_same_pictures_are_judged_alike(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "unit.npy", (np.load(files / "good.npy") / 255).astype(np.float32))
    want = found([str(files / "good.npy"), "--against", str(files / "real.npy")], capsys)
    assert main(["judge", str(tmp_path / "unit.npy"), "--against", str(files / "real.npy"), "--json"]) == 0
    said = capsys.readouterr()
    seen = json.loads(said.out)
    assert "reals hold bytes, and are divided by 255" in said.err
    assert seen["measures"]["coverage"]["value"] == pytest.approx(want["measures"]["coverage"]["value"], abs=0.01)
    np.save(tmp_path / "tanh.npy", (np.load(files / "good.npy") / 127.5 - 1).astype(np.float32))
    refused(
        [str(tmp_path / "tanh.npy"), "--against", str(files / "real.npy")], r"bytes in reals .* from -1 to .* fakes", capsys
    )
    assert main(["judge", str(tmp_path / "tanh.npy"), "--against", str(tmp_path / "unit.npy"), "--json"]) == 0
    assert "two scales" in capsys.readouterr().err


def test_columns_are_matched_by_name_and_standardized(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["judge", str(files / "bad.csv"), "--against", str(files / "real.csv")]) == 0
    assert "standard deviation" in capsys.readouterr().out
    seen = found([str(files / "bad.csv"), "--against", str(files / "real.csv")], capsys)
    bad, real = ring(400, 2, modes=4), ring(400, 1)
    same = uc.judge(bad, real, standardize=True)
    assert seen["verdict"] == same.verdict != "healthy"
    assert seen["measures"]["coverage"]["value"] == pytest.approx(same.measures["coverage"].value, abs=0.01)
    plain = found([str(files / "bad.csv"), "--against", str(files / "real.csv"), "--no-standardize"], capsys)
    assert plain["measures"]["spread"]["value"] != pytest.approx(seen["measures"]["spread"]["value"], rel=1e-3)
    assert [g["real_row"] for g in seen["missing"]] and all(real[g["real_row"]][1] < 0.2 for g in seen["missing"])


def test_standardized_distances_do_not_know_the_units() -> None:
    x, y = torch.from_numpy(ring(300, 0)), torch.from_numpy(ring(300, 1))
    units = torch.tensor([1e-3, 1e4], dtype=torch.double)
    one, other = (uc.judge(a, b, standardize=True) for a, b in ((x, y), (x * units + 7, y * units + 7)))
    for name, measure in one.measures.items():
        assert other.measures[name].value == pytest.approx(measure.value, abs=1e-6), name


def test_features_of_ones_own_take_the_place_of_the_numbers(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three = np.load(files / "three.npz")
    rows = {name: three[name].reshape(len(three[name]), -1) / 50 for name in three.files}
    np.savez(tmp_path / "features.npz", **rows)
    argv = [f"{files / 'three.npz'}:fakes", "--against", f"{files / 'three.npz'}:reals"]
    seen = found([*argv, "--features", str(tmp_path / "features.npz")], capsys)
    assert seen["features"] == str(tmp_path / "features.npz") and seen["verdict"] == "dropping modes"
    assert seen["measures"]["recall"]["value"] == pytest.approx(found(argv, capsys)["measures"]["recall"]["value"], abs=0.01)
    blind = {name: np.random.default_rng(i).normal(size=(len(x), 3)) for i, (name, x) in enumerate(rows.items())}
    np.savez(tmp_path / "blind.npz", **blind)
    assert found([*argv, "--features", str(tmp_path / "blind.npz")], capsys)["verdict"] in ("healthy", "too few")
    np.savez(tmp_path / "short.npz", fakes=rows["fakes"][:-1], reals=rows["reals"])
    refused([*argv, "--features", str(tmp_path / "short.npz")], "each of the 300 rows .* got 299", capsys)
    np.savez(tmp_path / "none.npz", a=rows["fakes"])
    refused([*argv, "--features", str(tmp_path / "none.npz")], "the arrays fakes, reals in .*, got a", capsys)


def test_copies_name_sample_and_training_row(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = np.load(files / "train.npy")
    np.save(tmp_path / "copies.npy", train[100:400])
    argv = [str(tmp_path / "copies.npy"), "--against", str(files / "real.npy"), "--train", str(files / "train.npy")]
    assert main(["judge", *argv]) == 0
    pairs = re.findall(r"fakes row (\d+) is train row (\d+)", capsys.readouterr().out)
    assert pairs and all(int(row) == int(sample) + 100 for sample, row in pairs)
    assert found(argv, capsys)["verdict"] == "copies the data"


def test_reals_that_were_trained_on_tell_nothing_of_copies(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "all.npy", np.concatenate([np.load(files / f"{name}.npy") for name in ("real", "train")]))
    argv = [str(files / "good.npy"), "--against", str(files / "real.npy"), "--train", str(tmp_path / "all.npy"), "--json"]
    assert main(["judge", *argv]) == 0
    said = capsys.readouterr()
    assert "100 % of the reals stand among the training rows too" in said.err
    assert "copies" not in json.loads(said.out)["measures"] and json.loads(said.out)["verdict"] == "healthy"


@pytest.mark.parametrize(
    ("fakes", "verdict"),
    [
        (np.full((300, 2), 0.7), "collapsed"),
        (np.full((300, 2), np.nan), "diverged"),
        (np.where(np.arange(600).reshape(300, 2) == 5, np.inf, ring(300, 5)), "diverged"),
        (ring(300, 5) * 1e20, "diverged"),
        (ring(12, 5), "too few"),
    ],
    ids=["constant", "NaN", "one infinity", "huge", "few"],
)
def test_whatever_the_verdict_the_status_is_0_and_there_is_a_page(
    fakes: np.ndarray, verdict: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", fakes)
    page = tmp_path / "page.html"
    seen = found([str(tmp_path / "x.npy"), "--against", str(files / "ring.npy"), "--out", str(page)], capsys)
    assert seen["verdict"] == verdict and set(seen) == KEYS
    assert verdict.capitalize() in page.read_text(encoding="utf-8")


def stands_alone(text: str) -> bool:
    return not re.search(r"https?:|//[a-z]|@import|url\((?!#)", re.sub(r"base64,[^\"]*", "", text))


def test_the_page_of_pictures_shows_both_and_what_is_off(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "<b>.html"
    argv = [str(files / "bad"), "--against", str(files / "real"), "--train", str(files / "train.npy"), "--out", str(page)]
    assert main(["judge", *argv]) == 0
    assert f"page: {page}" in capsys.readouterr().err
    text = page.read_text(encoding="utf-8")
    seen = Page(text)
    assert stands_alone(text)
    assert {"verdict", "numbers", "advice", "compared"} <= set(seen.ids)
    assert {"fakes", "reals", "missing", "overdone", "map", "off", "repeats", "real-repeats", "copies"} <= set(seen.ids)
    assert len(seen.ids) == len(set(seen.ids)) and seen.tags.count("svg") >= 7
    assert text.count('role="img"') == text.count("<svg") and "Sample size" in text and "±" in text


def test_the_page_of_a_table_says_where_the_missing_groups_lie(files: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["judge", str(files / "bad.csv"), "--against", str(files / "real.csv"), "--out", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert stands_alone(text) and {"map", "off", "missing", "overdone"} <= set(Page(text).ids)
    assert "income −" in text and "reals row" in text


def test_names_of_files_are_no_markup(tmp_path: Path) -> None:
    odd = tmp_path / "<img src=x>[red].npy"
    np.save(odd, ring(60, 0))
    page = tmp_path / "page.html"
    assert main(["judge", str(odd), "--against", str(odd), "--out", str(page)]) == 0
    assert "<img" not in page.read_text(encoding="utf-8")


def refused(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on standard error, nothing on standard output, status 2."""
    capsys.readouterr()
    try:
        status = main(["judge", *argv])
    except SystemExit as error:
        status = int(error.code or 0)
    said = capsys.readouterr()
    assert status == 2 and not said.out
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and re.search(words, said.err), said.err


def odd_files(out: Path) -> None:
    """What users hand over by mistake."""
    x = ring(60, 0)
    holed = x.copy()
    holed[7, 1] = np.nan
    arrays = {
        "one": x[:1],
        "alike": x[:1].repeat(60, 0),
        "none": x[:0],
        "holed": holed,
        "wide": np.c_[x, x],
        "complex": x * 1j,
        "words": np.array(["a", "b"]),
    }
    for name, array in arrays.items():
        np.save(out / f"{name}.npy", array)
    np.save(out / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    np.savez(out / "splits.npz", train=x, test=x)
    for name, text in {"broken.npy": "x", "broken.npz": "PK", "a.txt": "words", "empty.csv": "", "a.h5": "x"}.items():
        (out / name).write_text(text)
    table("other.csv", out, x, ["x", "salary"])
    (out / "text.csv").write_text("x,income\n1,2\nold,3\n")
    (out / "hole.csv").write_text("x,income\n1,2\n,3\n")
    shapes = {"small": (6, 6), "large": (9, 9), "colour": (6, 6, 3), "split/test": (6, 6)}
    for name, shape in shapes.items():
        for i in range(3):
            (out / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full(shape, 40 * i, np.uint8)).save(out / name / f"{i}.png")
    (out / "cut").mkdir()
    whole = (out / "small" / "1.png").read_bytes()
    (out / "cut" / "0.png").write_bytes(whole)
    (out / "cut" / "1.png").write_bytes(whole[: len(whole) // 2])
    (out / "nothing").mkdir()


REFUSED = [
    ("gone.npy", "good.npy", "there is no file"),
    ("gone", "good.npy", "there is no file"),
    ("nothing", "good.npy", "expected images .* came none"),
    ("one.npy", "ring.npy", "at least 2 rows in fakes"),
    ("ring.npy", "one.npy", "at least 2 rows in reals"),
    ("none.npy", "ring.npy", "at least one observation"),
    ("ring.npy", "holed.npy", "NaN or infinity in row 7"),
    ("wide.npy", "ring.npy", "4 numbers a row in fakes .* 2 numbers a row in reals"),
    ("complex.npy", "ring.npy", "expected numbers"),
    ("words.npy", "ring.npy", "expected numbers"),
    ("objects.npy", "ring.npy", "cannot be read"),
    ("broken.npy", "ring.npy", "cannot be read"),
    ("broken.npz", "ring.npy", "cannot be read"),
    ("splits.npz", "ring.npy", "one array in .*, got train, test; write .*:NAME"),
    ("splits.npz:valid", "ring.npy", "the array valid in .*, got train, test"),
    ("a.txt", "ring.npy", "expected a folder of images"),
    ("a.h5", "ring.npy", "expected a folder of images"),
    ("empty.csv", "real.csv", "empty file"),
    ("other.csv", "real.csv", "got no income and also salary"),
    ("text.csv", "real.csv", "came 'old' in row 2"),
    ("real.csv", "hole.csv", "came NaN in row 2"),
    ("large", "small", "9 x 9 pixels .* 6 x 6 pixels .* resize"),
    ("colour", "small", "in colour .* in grey .* convert"),
    ("cut", "small", "broken image"),
    ("split", "small", "got the splits test; name one"),
    ("ring.npy:x", "ring.npy", "write .*ring.npy: only .npz"),
    ("ring.npy", "alike.npy", "expected reals that differ .* 60 times"),
]


@pytest.fixture(scope="module")
def odd(files: Path) -> Path:
    odd_files(files)
    return files


@pytest.mark.parametrize(("fakes", "reals", "words"), REFUSED, ids=[f"{a} {b}" for a, b, _ in REFUSED])
def test_what_cannot_be_compared_is_refused_in_one_line(
    fakes: str, reals: str, words: str, odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused([str(odd / fakes), "--against", str(odd / reals)], words, capsys)


def test_options_are_refused_in_one_line(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = [str(files / "ring.npy"), "--against", str(files / "ring.npy")]
    refused(both[:1], "--against", capsys)
    refused([*both, "--features", "clip"], "pixels, digits, inception", capsys)
    refused([*both, "--features", "gone.npz"], "there is no file", capsys)
    refused([*both, "--out", str(tmp_path)], "html", capsys)
    refused([*both, "--out", ""], "expected a path", capsys)
    refused([*both, "--seed", "-1"], "at least 0", capsys)
    refused([*both, "--seed", str(2**32)], "a seed from 0 to 4294967295", capsys)
    refused(["", *both[1:]], "got none", capsys)
    refused([*both, "--out", str(tmp_path / "a.txt")], "a.html", capsys)
    refused([str(files / "good.npy"), "--against", str(files / "real.npy"), "--standardize"], "table", capsys)


def test_holes_of_samples_are_no_error(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for fakes, reals in (("holed.npy", "ring.npy"), ("hole.csv", "real.csv")):
        assert found([str(odd / fakes), "--against", str(odd / reals)], capsys)["verdict"] in ("diverged", "too few")


def test_a_data_set_by_its_name_is_its_test_split(capsys: pytest.CaptureFixture[str]) -> None:
    seen = found(["digits:train", "--against", "digits"], capsys)
    assert (seen["n_fake"], seen["n_real"], seen["n"]) == (1439, 179, 179) and seen["verdict"] == "too few"


def test_every_verdict_has_words_to_try() -> None:
    assert ADVICE.keys() == MEANINGS.keys()


def test_other_whole_numbers_beside_bytes_are_bytes(files: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "long.npy", np.load(files / "bad.npy").astype(np.int64))
    samples = {"fakes": read_rows(tmp_path / "long.npy"), "reals": read_rows(files / "real.npy")}
    judged = judged_samples(samples)
    assert judged.fakes.scale == judged.reals.scale == 1 / 255 and judged.diagnosis.verdict == "dropping modes"


@pytest.mark.parametrize("unit", [1e-200, 1e-20, 1e30])
def test_copies_are_found_in_any_unit(unit: float) -> None:
    x = np.random.default_rng(0).normal(size=(3, 300, 20)) * unit
    assert uc.judge(x[0], x[1], train=x[2]).verdict == "healthy"
    assert uc.judge(x[2], x[1], train=x[2]).verdict == "copies the data"
    copied, real = torch.as_tensor(x[2]), torch.as_tensor(x[1])
    assert uc.diagnosis.diagnose_samples(copied, real, train=copied).verdict == "copies the data"


def test_equal_rows_are_noted(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fakes that are the reals; whole numbers beside fakes that are none; and nothing where there is nothing to say."""
    g = np.random.default_rng(0)
    whole = {"real": g.integers(10, size=(400, 2)), "good": g.integers(10, size=(400, 2))}
    for name, x in (whole | {"near": whole["good"] + 1e-3 * g.normal(size=(400, 2))}).items():
        np.save(tmp_path / f"{name}.npy", x)

    def notes(fakes: Path, reals: Path) -> str:
        capsys.readouterr()
        assert main(["judge", str(fakes), "--against", str(reals), "--json"]) == 0
        return capsys.readouterr().err

    assert "100 % of the fakes are rows of the reals" in notes(files / "real.npy", files / "real")
    assert "round the fakes" in notes(tmp_path / "near.npy", tmp_path / "real.npy")
    for fakes, reals in ((tmp_path / "good.npy", tmp_path / "real.npy"), (files / "good.npy", files / "real.npy")):
        assert "note" not in notes(fakes, reals)
