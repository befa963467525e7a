"""Recurrent likelihoods: exact masses of sequences that end, step by step, draws, and word dropout in training only."""

from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Size, Tensor, nn

from laws.numerics import assert_equal, assert_mean, every_event
from uncollapse import noise
from uncollapse.distributions import LatentVariableModel, Normal, Recurrent
from uncollapse.networks import RecurrentEncoder

CELLS = pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])


def model(length: int = 3, levels: int = 3, **options: Any) -> Recurrent:
    """A small one in evaluation mode, its weights larger than at the start so that its probabilities differ."""
    p = Recurrent(2, Size((length,)), **{"levels": levels, "hidden": 5, "embedding": 4, **options}).eval()
    with torch.no_grad():
        for w in p.parameters():
            w.mul_(2.0)
    return p


@CELLS
@pytest.mark.parametrize("options", [{}, {"layers": 2}, {"layers": 2, "skip": True}])
def test_masses_of_sequences_sum_to_one(cell: type, options: dict) -> None:
    """Every sequence of length 0 to 3 over two tokens and an end: 15 masses that sum to 1 at four latents, to 1e-10; what has a
    token after an end has mass 0. Without an end the 27 of length 3 sum to 1."""
    z, x = torch.randn(4, 1, 2), every_event(3, Size((3,)), tokens=True)
    proper = torch.tensor([all(b == 0 or a != 0 for a, b in pairwise(row)) for row in x.tolist()])
    assert int(proper.sum()) == 1 + 2 + 4 + 8
    mass = model(cell=cell, **options)(z).log_prob(x).exp().detach()
    assert (mass[:, ~proper] == 0).all() and (mass[:, proper] > 0).all()
    assert_equal(mass.sum(1), torch.ones(4))
    assert_equal(model(cell=cell, ends=False, **options)(z).log_prob(x).exp().sum(1).detach(), torch.ones(4))


@CELLS
@pytest.mark.parametrize("skip", [False, True])
def test_log_prob_is_the_sum_over_steps(cell: type, skip: bool) -> None:
    """Σ_t log p(x_t | x_{<t}, z), each term from the tokens before it alone, one step at a time, up to the first end."""
    p, z = model(5, 4, cell=cell, layers=2, skip=skip), torch.randn(1, 2)
    for sequence in ([2, 1, 3, 0, 0], [0, 0, 0, 0, 0], [3, 3, 1, 2, 1], [1, 2, 2, 3, 0]):
        states, k, total = p.decoder.states(z), p.decoder.start, torch.zeros(())
        for token in sequence:
            logits, states = p.decoder.advance(torch.tensor([[k]]), z, states)
            total, k = total + logits[0, 0].log_softmax(0)[token], token
            if token == 0:
                break
        assert_equal(p(z[0]).log_prob(torch.tensor(sequence)), total)


def test_later_tokens_and_padding_do_not_matter() -> None:
    """Logits of a place do not change with the tokens from there on; the density of a sequence does not change with the room
    after its end."""
    p, z = model(6, 5), torch.randn(3, 2)
    k = torch.randint(5, (3, 6))
    other = torch.cat((k[:, :3], torch.randint(5, (3, 3))), 1)
    a, b = (p.decoder(p(z).shown(tokens), z) for tokens in (k, other))
    assert_equal(a[:, :4], b[:, :4])
    long = Recurrent(2, Size((9,)), levels=5, hidden=5, embedding=4).eval()
    long.load_state_dict(p.state_dict())
    x = torch.tensor([[4, 1, 2, 0, 0, 0], [1, 1, 3, 2, 2, 0]])
    assert_equal(p(z[:1]).log_prob(x), long(z[:1]).log_prob(torch.nn.functional.pad(x, (0, 3))))


@CELLS
def test_draws_have_their_probabilities(cell: type) -> None:
    """The 15 sequences' frequencies among 20000 draws: 6 standard errors each, failure rate 3e-8; no other is drawn."""
    p, x = model(cell=cell), every_event(3, Size((3,)), tokens=True)
    q = p(torch.randn(2))
    draws = q.sample(Size((20000,)))
    assert (q.log_prob(draws) > -torch.inf).all()
    assert draws.dtype == torch.int64
    same = (draws.unsqueeze(1) == x).all(-1)
    assert_mean(same.double(), q.log_prob(x).exp().detach())


@CELLS
def test_carried_states_draw_what_full_passes_draw(cell: type) -> None:
    """With the same uniforms, by the state and by a pass over all earlier tokens for each: the same sequences."""
    p = model(6, 4, cell=cell, layers=2)
    z, u = torch.randn(7, 2), torch.rand(7, 6)
    k = torch.zeros(7, 6, dtype=torch.long)
    with torch.no_grad():
        for t in range(6):
            cdf = p.decoder(p(z).shown(k), z)[:, t].softmax(-1).cumsum(-1)[:, :-1]
            k[:, t] = (cdf < u[:, t : t + 1]).sum(-1).masked_fill((k[:, :t] == 0).any(1), 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "uniform", lambda shape, like, batch=0: u)
        assert torch.equal(p(z).sample(), k)


def test_word_dropout_acts_in_training_only() -> None:
    """In train() the share of blanked tokens is that of the rate (6 standard errors of 16000), the first is always the
    start and the density changes from call to call; in eval() it is that of the model without it."""
    p, z = model(5, 4, word_dropout=0.3), torch.randn(2)
    x = torch.full((4000, 5), 2)
    assert_equal(p(z).log_prob(x[:3]), p(z).log_prob(x[:3]))
    clean = Recurrent(2, Size((5,)), levels=4, hidden=5, embedding=4)
    clean.load_state_dict(p.state_dict())
    assert torch.equal(p(z).log_prob(x[:3]), clean(z).log_prob(x[:3]))
    p.train()
    assert not torch.equal(p(z).log_prob(x[:3]), p(z).log_prob(x[:3]))
    shown = p(z).shown(x)
    assert (shown[:, 0] == p.decoder.start).all()
    blanked = (shown[:, 1:] == p.decoder.blank).double()
    assert_mean(blanked.flatten(), 0.3)
    assert (shown[:, 1:][blanked == 0] == 2).all()


def test_z_reaches_each_layer() -> None:
    """z moves the logits of each place. With skip connections it does so by the upper cells and the logits alone, and with
    their weights at zero the network is the one without."""
    plain, skip = (model(4, 3, layers=2, skip=s) for s in (False, True))
    k, z = torch.tensor([[3, 1, 2, 0]]), torch.randn(1, 2, requires_grad=True)

    def reached(network: nn.Module) -> Tensor:
        logits = network(k, z)
        return torch.stack([torch.autograd.grad(logits[0, t].square().sum(), z, retain_graph=True)[0] for t in range(4)])

    assert (reached(plain.decoder) != 0).all()
    below = {n: w for n, w in plain.decoder.state_dict().items() if n != "cells.1.weight_ih_l0"}
    skip.decoder.load_state_dict(below, strict=False)
    with torch.no_grad():
        skip.decoder.cells[1].weight_ih_l0[:, :5] = plain.decoder.cells[1].weight_ih_l0
        kept = skip.decoder.cells[1].weight_ih_l0[:, 5:].clone()
        skip.decoder.cells[1].weight_ih_l0[:, 5:] = 0
        out = skip.decoder.skip.weight.clone()
        skip.decoder.skip.weight.zero_()
        assert_equal(skip.decoder(k, z), plain.decoder(k, z), 1e-12)
        nn.init.zeros_(skip.decoder.initial.weight)
        skip.decoder.cells[0].weight_ih_l0[:, 4:] = 0
    assert (reached(skip.decoder) == 0).all()
    for restored, weight in ((kept, skip.decoder.cells[1].weight_ih_l0[:, 5:]), (out, skip.decoder.skip.weight)):
        weight.data.copy_(restored)
        assert (reached(skip.decoder) != 0).all()
        weight.data.zero_()


@CELLS
def test_encoder_reads_to_the_end_and_no_further(cell: type) -> None:
    """The code of a sequence is that of the sequence cut after its end; without an end it is that of the last token."""
    short = RecurrentEncoder(Size((3,)), Size((4,)), levels=5, hidden=6, embedding=3, cell=cell)
    long = RecurrentEncoder(Size((6,)), Size((4,)), levels=5, hidden=6, embedding=3, cell=cell)
    long.load_state_dict(short.state_dict())
    for sequence in product(range(1, 5), range(1, 5), [0]):
        x = torch.tensor(sequence)
        padded = torch.cat((x, torch.zeros(3, dtype=torch.long)))
        assert_equal(short(x), long(padded))
        assert not torch.allclose(long(torch.cat((x[:2], torch.full((4,), 4)))), long(padded))
    moved = long(torch.tensor([4, 4, 4, 4, 4, 4])) - long(torch.tensor([4, 4, 4, 4, 4, 2]))
    assert (moved != 0).all()


def test_tokens_after_an_end_are_refused() -> None:
    """By the data's door, with how many there are and what to write; a longer sequence than the model's is refused too."""
    p, x = model(4, 3), torch.tensor([[1, 0, 2, 0], [1, 1, 0, 0]])
    with pytest.raises(ValueError, match=r"came 1 of 2 sequences with tokens after it; write --likelihood.ends false"):
        p.check(x)
    p.check(x[1:])
    model(4, 3, ends=False).check(x)
    with pytest.raises(ValueError, match=r"shape \(4,\), came \(5,\); shorten them, or train with --data.length 4 for"):
        p.check(torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"shape \(4,\), came \(2,\); write --data.length 3 for sentences"):
        p.check(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"shape \(4,\), came \(2, 2\); take data of the model's shape"):
        p.check(torch.zeros(2, 2, 2))
    for wrong in (3, -1):
        with pytest.raises(
            ValueError, match=rf"Recurrent expects tokens from 0 to 2, got {min(wrong, 1)} to {max(wrong, 1)}; use"
        ):
            p.check(torch.tensor([[1, 1, 1, wrong]]))


def test_numbers_that_are_no_tokens_are_refused() -> None:
    """Floating numbers, and whole ones of another type, by the density, the encoder, the check, and a model of them."""
    encoder = RecurrentEncoder(Size((4,)), Size((2,)), levels=3, hidden=2, embedding=2)
    p = model(4, 3)
    for x in (torch.zeros(2, 4), torch.zeros(2, 4, dtype=torch.int32)):
        came = str(x.dtype).removeprefix("torch.")
        for given in (p(torch.zeros(2, 2)).log_prob, encoder, p.check, p.tokens, LatentVariableModel(Normal(2), p).admit):
            with pytest.raises(ValueError, match=f"expected int64 tokens, got {came}; use"):
                given(x)


def test_a_large_vocabulary_keeps_its_numbers() -> None:
    """Tokens beyond 2^24, which float32 does not tell from their neighbours, reach the model as they are."""
    p = LatentVariableModel(Normal(1), Recurrent(1, Size((2,)), levels=2, hidden=1, embedding=1).float())
    p.likelihood.levels = 2**24 + 4
    x = torch.tensor([[2**24 + 1, 2**24 + 2]])
    assert torch.equal(p.admit(x), x)


@pytest.mark.parametrize("wrong", [{"levels": 1}, {"hidden": 0}, {"layers": 0}, {"word_dropout": 1.0}])
def test_sizes_that_make_none_are_refused(wrong: dict) -> None:
    """At construction, with what came."""
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=f"came .*{name}={value}"):
        Recurrent(2, Size((3,)), **wrong)
