"""Random numbers that are a function of (seed, place): the same on every machine, in any order and in any number of pieces."""

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def uniform(rows: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Uniform noise on [0, 1) for these rows, whichever other rows are read with them.

    It is SplitMix64 (Steele, Lea and Flood, 2014), entered at place ``row * size + column``.

    Args:
        rows: Numbers of the rows, [B] integers.
        size: Numbers wanted for each row.
        seed: Any integer.

    Returns:
        [B, size] in float64.

    Example:
        >>> u = uniform(np.arange(5), 3, seed=0)
        >>> bool((uniform(np.array([4, 2]), 3, seed=0) == u[[4, 2]]).all())
        True
    """
    places = rows.astype(np.uint64)[:, None] * np.uint64(size) + np.arange(size, dtype=np.uint64)
    return (_mixed(places, seed) >> np.uint64(11)) * 2.0**-53


def permutation(n: int, seed: int) -> np.ndarray:
    """The numbers 0 ... n - 1 in an order that depends on n and the seed alone, [n] int64.

    Example:
        >>> permutation(6, seed=0).tolist()
        [5, 2, 0, 3, 1, 4]
    """
    return np.argsort(_mixed(np.arange(n, dtype=np.uint64), seed), kind="stable")


def _mixed(places: np.ndarray, seed: int) -> np.ndarray:
    """64 random bits for each place of the seed's own stream."""
    start = _finalised(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64) * _GAMMA + _GAMMA)
    return _finalised(start + (places + np.uint64(1)) * _GAMMA)


def _finalised(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
