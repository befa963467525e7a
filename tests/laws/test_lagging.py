"""Lagging inference networks: which weights move when, when the inner loop stops, and when aggressive training ends."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from laws.numerics import sgd
from laws.parts import vae
from laws.ppca import PPCA
from uncollapse.vae import ELBO, Amortized, Lagging

t = torch.tensor(0)


def lagging(ppca: PPCA, rate: float = 0.02, **options: int) -> Lagging:
    """The procedure on the linear-Gaussian model, its further batches drawn from p(x)."""
    procedure = Lagging(ELBO(ppca.vae), **options)

    def update(parameters: Any) -> Any:
        moved = list(parameters)
        return lambda loss: sgd(rate)([p for p in moved if p.requires_grad])(loss)

    procedure.connect(lambda module: module, update)
    procedure.draw = partial(ppca.sample, 20)
    return procedure


def weights(ppca: PPCA) -> list[Tensor]:
    return [p.detach().clone() for p in ppca.vae.parameters()]


def test_without_inner_steps_it_is_amortised_inference() -> None:
    """Never aggressive: the same weights as `Amortized` after five steps, bit for bit."""
    found = []
    for procedure in (partial(Lagging, limit=0), Amortized):
        torch.manual_seed(1)
        ppca = PPCA()
        learner = procedure(ELBO(ppca.vae))
        learner.connect(lambda module: module, sgd(0.05))
        for _ in range(5):
            learner.step(ppca.sample(10), t)
        found.append(weights(ppca))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_inner_loop_moves_the_encoder_alone() -> None:
    """In it the decoder stays as it is, bit for bit; in the step after it the encoder does; all learn again afterwards."""
    ppca = PPCA()
    procedure = lagging(ppca, window=5, limit=20)
    decoder, encoder = ppca.decoder.weight.detach().clone(), ppca.encoder.weight.detach().clone()
    seen: list[bool] = []

    def draw() -> Tensor:
        seen.append(torch.equal(ppca.decoder.weight, decoder))
        return ppca.sample(20)

    procedure.draw = draw
    logged = procedure.step(ppca.sample(20), t)
    assert len(seen) == int(logged["encoder_steps"]) in (10, 15, 20) and all(seen)
    assert not torch.equal(ppca.decoder.weight, decoder) and not torch.equal(ppca.encoder.weight, encoder)
    assert all(p.requires_grad for p in ppca.vae.parameters())
    with_frozen, procedure._catch_up = ppca.encoder.weight.detach().clone(), lambda t: 0  # type: ignore[method-assign]
    procedure.step(ppca.sample(20), t)
    assert torch.equal(ppca.encoder.weight, with_frozen)


def test_the_inner_loop_stops_by_its_rule() -> None:
    """Whatever the bounds: after the first window that is not above the one before, and at the limit where all rise."""
    procedure = lagging(PPCA(), window=2, limit=10)
    for means, expected in (([1, 2, 2, 9, 9], 6), ([1, 0, 9, 9, 9], 4), ([1, 2, 3, 4, 5], 10)):
        bounds = iter([value + off for value in means for off in (-0.5, 0.5)])
        procedure._ascend = lambda f, x, t, b=bounds: (torch.tensor([next(b)]), {})  # type: ignore[method-assign]
        assert procedure._catch_up(t) == expected


def test_it_closes_the_gap_that_amortised_inference_leaves() -> None:
    """After three steps each from the same start the mean exact KL(q ‖ p(z|x)) is less than half of that of `Amortized`."""
    gaps = []
    for limit in (0, 100):
        torch.manual_seed(2)
        ppca = PPCA()
        procedure, x = lagging(ppca, limit=limit), ppca.sample(50)
        for _ in range(3):
            procedure.step(ppca.sample(20), t)
        with torch.no_grad():
            gaps.append(float(ppca.gap(x, ppca.vae.posterior.encode(x)).mean()))
    assert gaps[1] < 0.5 * gaps[0]


def test_it_is_switched_off_where_information_falls() -> None:
    """Aggressive while the mutual information on validation data climbs, off for good at its first fall; the state is saved."""
    procedure, information = lagging(PPCA()), [0.1, 0.5, 0.4, 3.0]
    switched = [procedure.after_validation({"mutual_information": told})["aggressive"] for told in information]
    assert switched == [True, True, False, False]
    other = lagging(PPCA())
    other.restore(procedure.state())
    assert (other.aggressive, other.information) == (False, 3.0)
    assert int(procedure.step(torch.randn(3, 4), t)["encoder_steps"]) == 0


def test_what_makes_no_sense_is_refused() -> None:
    """No encoder, no window; and further batches outside a training."""
    with pytest.raises(ValueError, match=r"came Free, which has none that learns; write --posterior"):
        Lagging(ELBO(vae(posterior="Free")))
    with pytest.raises(ValueError, match="came window=10, limit=5"):
        Lagging(ELBO(vae()), limit=5)
    with pytest.raises(RuntimeError, match="call that"):
        Lagging(ELBO(vae())).further()
