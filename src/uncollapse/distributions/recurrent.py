"""Recurrent language models as likelihoods: each token given z and the tokens before it, exactly."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Size, Tensor, nn
from torch.distributions import Distribution

from uncollapse import noise
from uncollapse.data import Space
from uncollapse.distributions.conditional import Likelihood
from uncollapse.distributions.densities import Unvalidated, wide
from uncollapse.distributions.fields import Field
from uncollapse.networks.recurrent import END, RecurrentDecoder, check_tokens


class Recurrent(Likelihood):
    r"""Sequences of tokens by a recurrent language model, an LSTM or a GRU, with z in its first state and in each step.

    .. math:: \log p(x \mid z) = \sum_{t=1}^{T'} \log p(x_t \mid x_{<t}, z)

    Tokens are int64 numbers 0 ... n - 1, n the size of the vocabulary. Token 0 ends a sequence and fills it up to the length T.
    T' is the place of the first end, or T where there is none; what fills the rest has probability one, and a token after the
    end has probability zero.

    A strong decoder: it can learn p(x) without z, and its posterior collapses unless something is done about it. `log_prob`
    is shown the tokens before each place (teacher forcing); `sample` carries the state along. There is no mean.

    Args:
        features: Size L of the latent.
        shape: Shape of one sequence, (T,); another shape is read in row-major order.
        levels: Size n of the vocabulary, the end among it.
        hidden: Size of the state.
        embedding: Size of a token's embedding.
        cell: torch.nn.LSTM or torch.nn.GRU.
        layers: How many cells stand on each other.
        skip: Whether z enters the upper cells and the logits too (generative skip connections).
        word_dropout: Share of the tokens shown that are blanked, in `train()` only.
        ends: Whether token 0 ends a sequence; else all have the length T, and token 0 is one as any other.

    Raises:
        ValueError: If a size makes no language model, or word_dropout is no share.

    References:
        Bowman et al. (2016), Generating Sentences from a Continuous Space, sections 2 and 3 (word dropout: 3.1); the skip
        connections: Dieng et al. (2019), section 3.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> p = Recurrent(2, Size((3,)), levels=2, hidden=4, embedding=3)(torch.zeros(2))
        >>> sequences = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 0]])
        >>> mass = p.log_prob(sequences).exp()
        >>> round(mass[:4].sum().item(), 5), mass[4].item()
        (1.0, 0.0)
    """

    instead: ClassVar[str] = "--likelihood.levels with the size of the vocabulary, or another likelihood for other data"

    def __init__(
        self,
        features: int,
        shape: Size,
        levels: int = 1000,
        hidden: int = 128,
        embedding: int = 64,
        cell: type[nn.LSTM] | type[nn.GRU] = nn.LSTM,
        layers: int = 1,
        skip: bool = False,
        word_dropout: float = 0.0,
        ends: bool = True,
    ):
        super().__init__(features, shape)
        if levels < 2 or min(hidden, embedding, layers) < 1 or not 0 <= word_dropout < 1:
            raise ValueError(
                f"expected at least 2 levels, sizes of at least 1 and 0 <= word_dropout < 1, came levels={levels}, "
                f"hidden={hidden}, embedding={embedding}, layers={layers}, word_dropout={word_dropout}"
            )
        self.decoder = RecurrentDecoder(features, levels, hidden, embedding, cell, layers, skip)
        self.levels: int = levels
        self.word_dropout, self.ends = word_dropout, ends
        self.width = levels * self.shape.numel()

    def forward(self, c: Any = None) -> Distribution:
        dropout = self.word_dropout if self.training else 0.0
        return SequenceField(self.decoder, c, self.levels, self.shape, self.ends, dropout)

    def instead_of_shape(self, came: Size) -> str:
        mine, theirs = self.shape.numel(), came.numel()
        if theirs < mine:
            return f"write --data.length {mine - 1} for sentences: it makes room for so many words and the end"
        if theirs > mine:
            return f"shorten them, or train with --data.length {theirs - 1} for sentences of so many words and the end"
        return super().instead_of_shape(came)

    @property
    def space(self) -> Space:
        return Space(self.shape, "tokens", self.levels)

    def numbers(self, x: Tensor) -> Tensor:
        """The tokens themselves.

        Raises:
            ValueError: If they are not int64.
        """
        return check_tokens(x)

    def tokens(self, x: Tensor) -> Tensor:
        """The tokens of each sequence up to its end, which counts; what fills the rest does not.

        Example:
            >>> p = Recurrent(2, Size((4,)), levels=3, hidden=4, embedding=3)
            >>> p.tokens(torch.tensor([[2, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])).tolist()
            [3, 1, 4]
        """
        k = check_tokens(x).flatten(1)
        return _counts(k).sum(-1) if self.ends else torch.full_like(k[:, 0], k.shape[1])

    def check(self, x: Tensor) -> None:
        """Refuse data that this likelihood gives no density to, tokens after an end among them."""
        self.check_shape(x)
        check_tokens(x)
        if len(x) and not 0 <= int(x.min()) <= int(x.max()) < self.levels:
            ends = f"{int(x.min())} to {int(x.max())}"
            raise ValueError(f"Recurrent expects tokens from 0 to {self.levels - 1}, got {ends}; use {self.instead}")
        if self.ends and (wrong := int((~_ended_well(x.flatten(1))).sum())):
            raise ValueError(
                f"expected nothing but token 0, the end, after the first of a sequence, came {wrong} of {len(x)} sequences "
                "with tokens after it; write --likelihood.ends false where token 0 is no end"
            )


class SequenceField(Field):
    """The tokens of a sequence one after another: a `RecurrentDecoder` and z [..., L]."""

    def __init__(self, decoder: RecurrentDecoder, z: Tensor, levels: int, event: Size, ends: bool, word_dropout: float):
        self.decoder, self.z, self.levels, self.ends, self.word_dropout = decoder, z, levels, ends, word_dropout
        Unvalidated.__init__(self, z.shape[:-1], Size(event))

    def log_prob(self, value: Tensor) -> Tensor:
        n = len(self.event_shape)
        batch = torch.broadcast_shapes(self.batch_shape, value.shape[: value.dim() - n])
        k = check_tokens(value).flatten(-n).expand(*batch, -1)
        z = self.z.expand(*batch, -1)
        logits = self.decoder(self.shown(k).reshape(-1, k.shape[-1]), z.reshape(-1, z.shape[-1]))
        log_p = -F.cross_entropy(wide(logits).flatten(0, 1), k.flatten(), reduction="none").reshape(k.shape)
        if not self.ends:
            return log_p.sum(-1)
        return torch.where(_counts(k), log_p, 0.0).sum(-1).masked_fill(~_ended_well(k), -torch.inf)

    def shown(self, k: Tensor) -> Tensor:
        """The token before each place, `start` at the first, a share of the others blanked: [..., T]."""
        before = k[..., :-1]
        if self.word_dropout:
            u = noise.uniform(before.shape, self.z, batch=-2 if before.dim() > 1 else 0)
            before = torch.where(u < self.word_dropout, self.decoder.blank, before)
        return F.pad(before, (1, 0), value=self.decoder.start)

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        u = noise.uniform(shape, self.z, self.rows(shape)).reshape(-1, self.event_shape.numel())
        z = self.z.expand(*shape[: len(shape) - len(self.event_shape)], -1).reshape(len(u), -1)
        states, k = self.decoder.states(z), torch.full_like(u[:, 0], self.decoder.start, dtype=torch.long)
        ended, found = torch.zeros_like(k, dtype=torch.bool), torch.empty_like(u, dtype=torch.long)
        for t in range(u.shape[1]):
            logits, states = self.decoder.advance(k.unsqueeze(1), z, states)
            below = logits[:, 0].softmax(-1).cumsum(-1)[:, :-1] < u[:, t : t + 1]
            k = below.sum(-1).masked_fill(ended, END)
            found[:, t] = k
            ended = ended | (k == END) if self.ends else ended
        return found.reshape(shape)


def _counts(k: Tensor) -> Tensor:
    """Which tokens are of the sequence, its end among them: [..., T]."""
    return F.pad((k != END)[..., :-1].cummin(-1).values, (1, 0), value=True)


def _ended_well(k: Tensor) -> Tensor:
    """Whether nothing but ends follow the first end: tokens [..., T] to [...]."""
    over = k == END
    return (over[..., 1:] | ~over[..., :-1]).all(-1)
