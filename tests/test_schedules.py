"""The schedules: their ends, their shape between them, and what they take as a step."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from laws.parts import SCHEDULES, vae
from uncollapse.learning import Objective
from uncollapse.schedules import Constant, Cosine, Cyclical, Geometric, Linear, Schedule, Sigmoid, nonnegative, schedule
from uncollapse.vae import ELBO

ends = st.floats(-5, 5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_numbers_and_tensors_agree(name: str, float64: None) -> None:
    """schedule(t) is the same 0-d tensor for an int, a float and a tensor of any kind; a whole axis gives it to rounding."""
    value = SCHEDULES[name]()
    axis = torch.arange(0, 60, 7)
    for t in axis.tolist():
        expected = value(t)
        assert expected.shape == () and expected.dtype == torch.float64
        for other in (float(t), torch.tensor(t), torch.tensor(float(t)), torch.tensor(t, dtype=torch.int32)):
            assert value(other) == expected
    torch.testing.assert_close(value(axis), torch.stack([value(t) for t in axis.tolist()]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_after_their_length_they_rest(name: str) -> None:
    """From `steps` on the value is that at `steps` (for the logistic curve: nearly its end)."""
    value = SCHEDULES[name]()
    assert float(value(10**6)) == pytest.approx(float(value(value.steps)), abs=0.04)


@pytest.mark.parametrize("name", SCHEDULES)
def test_values_lie_between_what_is_stated(name: str) -> None:
    """Value, start and end bound all others, with 0 where it warms up: what `nonnegative` takes for granted."""
    value = SCHEDULES[name]()
    stated = [0.0, *(vars(value)[end] for end in ("value", "start", "end") if end in vars(value))]
    values = value(torch.arange(100))
    assert len(stated) > 1 and values.min() >= min(stated) - 1e-6 and values.max() <= max(stated) + 1e-6


def test_a_weight_is_never_negative() -> None:
    """Any schedule that states no number below 0 is handed on; a constant that does is told as what it is."""
    linear = Linear(0.0, 3.0)
    assert nonnegative("beta", linear, "write 1") is linear and float(nonnegative("beta", 2, "write 1")(0)) == 2.0
    with pytest.raises(ValueError, match=r"expected a finite beta of at least 0, came Constant -1; write 1$"):
        nonnegative("beta", Constant(-1), "write 1")
    with pytest.raises(ValueError, match=r"came the word 'Linear'; write a schedule such as Linear\(\)"):
        nonnegative("beta", "Linear", "write 1")


@given(start=ends, end=ends, steps=st.integers(1, 1000))
def test_linear(start: float, end: float, steps: int) -> None:
    """Start, the middle, end, and monotone in between."""
    value = Linear(start, end, steps)
    assert float(value(0)) == pytest.approx(start, abs=1e-5)
    assert float(value(steps)) == float(value(2 * steps)) == pytest.approx(end, abs=1e-5)
    assert float(value(steps / 2)) == pytest.approx((start + end) / 2, abs=1e-5)
    rises = value(torch.arange(steps + 1)).diff() * (1 if end > start else -1)
    assert (rises >= -1e-5).all()


@given(start=ends, end=ends, warmup=st.integers(0, 20), steps=st.integers(21, 500))
def test_cosine(start: float, end: float, warmup: int, steps: int) -> None:
    """Start where the warm-up ends, half-way in the middle, end at the end; a straight warm-up before."""
    value = Cosine(start, end, warmup, steps)
    assert float(value(warmup)) == pytest.approx(start, abs=1e-4)
    assert float(value((warmup + steps) / 2)) == pytest.approx((start + end) / 2, abs=1e-4)
    assert float(value(steps)) == float(value(2 * steps)) == pytest.approx(end, abs=1e-4)
    for t in range(warmup):
        assert float(value(t)) == pytest.approx(start * (t + 1) / (warmup + 1), abs=1e-4)
    falls = value(torch.arange(warmup, steps + 1)).diff() * (1 if start > end else -1)
    assert (falls <= 1e-5).all()


@given(slope=st.floats(0.5, 30), steps=st.integers(2, 500))
def test_sigmoid(slope: float, steps: int) -> None:
    """Half-way at half its length, point-symmetric about it, rising to rounding, and constant behind its end."""
    value = Sigmoid(0.0, 1.0, slope, steps)
    assert float(value(steps / 2)) == pytest.approx(0.5, abs=1e-5)
    assert float(value(0) + value(steps)) == pytest.approx(1.0, abs=1e-5)
    assert (value(torch.arange(2 * steps)).diff() >= -1e-6).all() and value(steps) == value(2 * steps)


def test_sigmoid_nears_its_ends() -> None:
    """With the default slope it starts and ends within 0.3 % of the two values."""
    value = Sigmoid(2.0, 4.0, steps=100)
    assert float(value(0)) == pytest.approx(2.0, abs=0.006) and float(value(100)) == pytest.approx(4.0, abs=0.006)


@pytest.mark.parametrize(("cycles", "rise"), [(1, 1.0), (4, 0.5), (3, 0.25), (7, 0.9)])
def test_cyclical(cycles: int, rise: float) -> None:
    """As many starts at `start` as cycles, a rise for a part of each, `end` at the end of each and ever after."""
    value = Cyclical(0.5, 2.0, cycles, rise, steps=100 * cycles)
    axis = value(torch.arange(100 * cycles + 50))
    assert int((axis == 0.5).sum()) == cycles and axis[::100][:cycles].tolist() == [0.5] * cycles
    torch.testing.assert_close(axis[50::100][:cycles], torch.full((cycles,), 0.5 + 1.5 * min(0.5 / rise, 1.0)))
    assert float(axis[99]) == pytest.approx(0.5 + 1.5 * min(0.99 / rise, 1.0)) and (axis[100 * cycles :] == 2.0).all()


def test_open_lengths_are_filled_in() -> None:
    """Without a length it refuses to be called; `over` fills it in once, and never overwrites one that was written."""
    value = Linear(0.0, 1.0)
    with pytest.raises(ValueError, match=r"Linear has no length yet: write steps=\.\.\., or call over\(total\)"):
        value(3)
    value.over(10)
    value.over(99)
    assert float(value(5)) == 0.5
    written = Linear(0.0, 1.0, steps=4)
    written.over(100)
    assert float(written(2)) == 0.5


def test_an_objective_shows_its_schedules() -> None:
    """The training finds β, to fill in its length."""
    objective: Objective = ELBO(vae(), beta=Linear(0.0, 1.0))
    for value in objective.schedules():
        value.over(8)
    assert float(objective.beta(4)) == 0.5


def test_a_number_is_a_schedule() -> None:
    """`schedule` wraps numbers and leaves schedules alone."""
    linear = Linear(steps=2)
    assert schedule(linear) is linear
    assert isinstance(schedule(2), Constant) and float(schedule(2)(10**9)) == 2.0


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Linear, {"steps": 0}),
        (Cosine, {"steps": -1}),
        (Cyclical, {"cycles": 0}),
        (Cyclical, {"rise": 0.0}),
        (Geometric, {"end": 0.0}),
    ],
)
def test_refusals(kind: type[Schedule], wrong: dict[str, float]) -> None:
    """Lengths below one, no cycles, no rise: what was expected and what came."""
    with pytest.raises(ValueError, match=f"expected .* came .*{next(iter(wrong.values()))}"):
        kind(**wrong)


def test_all_are_schedules() -> None:
    """The rows are what they claim to be."""
    assert all(isinstance(row(), Schedule) for row in SCHEDULES.values())
