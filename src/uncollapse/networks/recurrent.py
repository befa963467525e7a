"""Recurrent networks over tokens: an encoder of sequences, and the states and logits of a language model given z."""

from math import prod
from typing import Any, ClassVar, cast

import torch
from torch import Size, Tensor, nn

from uncollapse.networks.base import Network

END = 0
"""The token that ends a sequence and fills what is left of its length."""


def check_tokens(x: Tensor) -> Tensor:
    """Refuse anything but int64 tokens; gives them back.

    Raises:
        ValueError: If they are of another type.

    Example:
        >>> check_tokens(torch.tensor([0, 2, 4]))
        tensor([0, 2, 4])
    """
    if x.dtype != torch.int64:
        kind = str(x.dtype).removeprefix("torch.")
        raise ValueError(f"expected int64 tokens, got {kind}; use --data.tokens N for a file of their numbers, or x.long()")
    return x


def run_cell(cell: nn.RNNBase, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """The states of a cell along x [N, T, E], and the last. On a CPU in the type of its weights whatever autocast says: only
    some processors have recurrent networks of half precision."""
    if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return cast(tuple[Tensor, Any], cell(x, state))
    kind = next(cell.parameters()).dtype
    with torch.autocast("cpu", enabled=False):
        start = tuple(s.to(kind) for s in state) if isinstance(state, tuple) else None if state is None else state.to(kind)
        return cast(tuple[Tensor, Any], cell(x.to(kind), start))


class RecurrentEncoder(Network):
    r"""The state of a recurrent network when it has read a sequence to its end, and an affine map of it.

    What fills a sequence after its end is never read.

    Args:
        input: Shape of one sequence, (length,); another shape is read in row-major order.
        output: Shape of one output.
        levels: Number n of tokens 0 ... n - 1, int64; token 0 is the end.
        hidden: Size of the state.
        embedding: Size of a token's embedding.
        cell: torch.nn.LSTM or torch.nn.GRU.
        ends: Whether token 0 ends a sequence; else all are of the full length.

    References:
        Bowman et al. (2016), Generating Sentences from a Continuous Space, section 2. The cell: Hochreiter and
        Schmidhuber (1997).

    Example:
        >>> RecurrentEncoder(Size((7,)), Size((4,)), levels=10, hidden=8)(torch.zeros(2, 3, 7, dtype=torch.long)).shape
        torch.Size([2, 3, 4])
    """

    smooth: ClassVar[bool] = False

    def __init__(
        self,
        input: Size,
        output: Size,
        levels: int = 1000,
        hidden: int = 128,
        embedding: int = 64,
        cell: type[nn.LSTM] | type[nn.GRU] = nn.LSTM,
        ends: bool = True,
    ):
        super().__init__(input, output)
        self.levels, self.ends = levels, ends
        self.embedding = nn.Embedding(levels, embedding)
        self.cell = cell(embedding, hidden, batch_first=True)
        self.affine = nn.Linear(hidden, prod(output))

    def forward(self, x: Tensor) -> Tensor:
        k = check_tokens(x).reshape(-1, prod(self.input))
        states, _ = run_cell(self.cell, self.embedding(k))
        state = states[:, -1]
        if self.ends:
            last = (k != END).cummin(1).values[:, :-1].sum(1)  # of the first end, or of the last token
            state = states.gather(1, last[:, None, None].expand(-1, 1, states.shape[2])).squeeze(1)
        return self.affine(state).reshape(*self.leading(x), *self.output)


class RecurrentDecoder(nn.Module):
    r"""Logits of each token of a sequence from those before it and from z, which sets the first state and enters each step.

    .. math:: c_0 = W z, \quad h_0 = \tanh c_0, \qquad h_t = \mathrm{cell}([e(x_{t-1}), z], h_{t-1}), \qquad l_t = U h_t + b

    Args:
        features: Size L of the latent.
        levels: Number n of tokens.
        hidden: Size of the state.
        embedding: Size of a token's embedding.
        cell: torch.nn.LSTM or torch.nn.GRU.
        layers: How many cells stand on each other.
        skip: Whether z enters the upper cells and the logits too, :math:`l_t = U h_t + V z + b`.

    References:
        Bowman et al. (2016), Generating Sentences from a Continuous Space, section 3; z in each step: He et al. (2019), Lagging
        Inference Networks, appendix; the skip connections: Dieng et al. (2019), section 3.

    Example:
        >>> network = RecurrentDecoder(2, levels=10, hidden=8)
        >>> network(torch.full((3, 7), network.start), torch.zeros(3, 2)).shape
        torch.Size([3, 7, 10])
    """

    def __init__(
        self,
        features: int,
        levels: int,
        hidden: int = 128,
        embedding: int = 64,
        cell: type[nn.LSTM] | type[nn.GRU] = nn.LSTM,
        layers: int = 1,
        skip: bool = False,
    ):
        super().__init__()
        self.start, self.blank = levels, levels + 1
        self.embedding = nn.Embedding(levels + 2, embedding)
        sizes = [embedding + features, *[hidden + features * skip] * (layers - 1)]
        self.cells = nn.ModuleList(cell(size, hidden, batch_first=True) for size in sizes)
        self.initial = nn.Linear(features, layers * hidden)
        self.logits = nn.Linear(hidden, levels)
        self.skip = nn.Linear(features, levels, bias=False) if skip else None

    def forward(self, previous: Tensor, z: Tensor) -> Tensor:
        """All logits at once: the tokens before each place [N, T] (`start` at the first) and z [N, L] to [N, T, levels]."""
        return self.advance(previous, z, self.states(z))[0]

    def states(self, z: Tensor) -> list[Any]:
        """The state of each cell before the first token."""
        found = []
        for cell, c in zip(self.cells, self.initial(z).chunk(len(self.cells), -1), strict=True):
            c = c.unsqueeze(0).contiguous()
            found.append((torch.tanh(c), c) if isinstance(cell, nn.LSTM) else torch.tanh(c))
        return found

    def advance(self, previous: Tensor, z: Tensor, states: list[Any]) -> tuple[Tensor, list[Any]]:
        """From the tokens before each of S places [N, S] and the states there: logits [N, S, levels] and the states after."""
        along = z.unsqueeze(1).expand(-1, previous.shape[1], -1)
        h, after = self.embedding(previous), []
        for i, (cell, state) in enumerate(zip(cast(list[nn.RNNBase], list(self.cells)), states, strict=True)):
            enters = i == 0 or self.skip is not None
            h, state = run_cell(cell, torch.cat((h, along), -1) if enters else h, state)
            after.append(state)
        logits = self.logits(h)
        return logits if self.skip is None else logits + self.skip(z).unsqueeze(1), after
