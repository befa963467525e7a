"""Sequences of which everything is known: an LSTM with random weights writes them, each from a latent of its own."""

from typing import Any

import numpy as np
import torch

from uncollapse.data.dataset import SPLITS, Data
from uncollapse.data.source import Source

SIZES = dict(zip(SPLITS, (10_000, 2_000, 2_000), strict=True))


class Oracle:
    r"""p(z) p(x|z) with :math:`z \sim N(0, I)` and an LSTM language model whose weights are drawn from a seed, in float64.

    .. math:: \log p(x \mid z) = \sum_t \log \operatorname{softmax}(U h_t + V z)_{x_t}, \quad
              h_t = \mathrm{LSTM}(h_{t-1}, e(x_{t-1}), z)

    Args:
        words: Number of tokens, 1 ... words; token 0, the end, is never written.
        length: Tokens of each sequence.
        latent: Size of z.
        hidden: Size of the state.
        seed: Of the weights.

    References:
        The idea is that of Kim et al. (2018), Semi-Amortized Variational Autoencoders, section 5.1; the weights are our own.

    Example:
        >>> oracle = Oracle(words=5, length=4)
        >>> k, z = oracle.sample(np.random.default_rng(0), 3)
        >>> k.shape, z.shape, oracle.log_prob(k, z).shape
        ((3, 4), (3, 2), (3,))
    """

    def __init__(self, words: int = 200, length: int = 10, latent: int = 2, hidden: int = 32, seed: int = 0):
        rng = np.random.default_rng([seed, words, length, latent, hidden])
        self.words, self.length, self.latent, self.hidden = words, length, latent, hidden
        self.embedding = rng.standard_normal((words + 1, hidden))
        self.inner = rng.standard_normal((2 * hidden + latent, 4 * hidden)) / np.sqrt(hidden)
        self.outer = rng.standard_normal((hidden, words)) * 4 / np.sqrt(hidden)
        self.direct = rng.standard_normal((latent, words))

    def sample(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """n sequences [n, T] of tokens and their latents [n, L]."""
        z, u = rng.standard_normal((n, self.latent)), rng.random((n, self.length))
        k = np.zeros((n, self.length + 1), np.int64)
        state = self._start(n)
        for t in range(self.length):
            log_p, state = self._step(k[:, t], z, state)
            k[:, t + 1] = 1 + np.minimum((np.exp(log_p).cumsum(1) < u[:, t : t + 1]).sum(1), self.words - 1)
        return k[:, 1:], z

    def log_prob(self, k: np.ndarray, z: np.ndarray) -> np.ndarray:
        """log p(x|z) in nats: tokens [n, T] and latents [n, L] to [n]."""
        total, state = np.zeros(len(k)), self._start(len(k))
        before = np.concatenate((np.zeros((len(k), 1), np.int64), k), 1)
        for t in range(self.length):
            log_p, state = self._step(before[:, t], z, state)
            total += np.take_along_axis(log_p, k[:, t : t + 1] - 1, 1)[:, 0]
        return total

    def _start(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((n, self.hidden)), np.zeros((n, self.hidden))

    def _step(self, k: np.ndarray, z: np.ndarray, state: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, Any]:
        """log p of the tokens 1 ... words after token k, and the state there."""
        h, c = state
        gates = np.concatenate((self.embedding[k], h, z), 1) @ self.inner
        i, f, o = (1 / (1 + np.exp(-g)) for g in np.split(gates[:, : 3 * self.hidden], 3, 1))
        c = f * c + i * np.tanh(gates[:, 3 * self.hidden :])
        h = o * np.tanh(c)
        logits = h @ self.outer + z @ self.direct
        logits -= logits.max(1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(1, keepdims=True)), (h, c)


def sequences(seed: int = 0) -> Data:
    """10,000, 2,000 and 2,000 sequences of 10 out of 200 words by the `Oracle`; labels are the quadrants of z.

    Example:
        >>> data = sequences()
        >>> len(data.train), data.shape, data.levels
        (10000, torch.Size([10]), 201)
    """
    oracle, sources = Oracle(), dict[str, Any]()
    for i, split in enumerate(SPLITS):
        k, z = oracle.sample(np.random.default_rng([seed, i]), SIZES[split])
        quadrant = torch.from_numpy((z > 0) @ np.array([1, 2]))
        sources[split] = Source(torch.from_numpy(k.astype(np.int32)), quadrant, tokens=True)
    return Data("sequences", **sources, levels=oracle.words + 1)
