"""Compiled loops of the ratios of planes: a robust mean, where sections are small mostly the cost of NumPy's calls.

Sums are NumPy's, in its order (eight partial sums over blocks of 128, joined in pairs): the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linumpy.n4 import target

target.pin()  # one set of kernels, the same bits and the same cache on every machine

from numba import njit  # noqa: E402  (after the target is pinned)

__all__ = ["huber_mean"]

Float64 = NDArray[np.float64]
BLOCK = 128


@njit("float64(float64[::1])", cache=True, nogil=True)
def _sum_of_block(values: Float64) -> float:
    whole = values.size - values.size % 8
    total = 0.0
    if whole:
        r = values[:8].copy()
        for i in range(8, whole, 8):
            for k in range(8):
                r[k] += values[i + k]
        total = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]))
    for i in range(whole, values.size):
        total += values[i]
    return total


@njit("float64(float64[::1])", cache=True, nogil=True)
def _sum(values: Float64) -> float:
    """Sum as ``numpy.sum`` does."""
    if values.size <= BLOCK:
        block: float = _sum_of_block(values)
        return block
    half = values.size // 2
    half -= half % 8
    total: float = _sum(values[:half]) + _sum(values[half:])
    return total


@njit("UniTuple(float64, 2)(float64[::1], float64, float64, int64, int64[::1], float64[::1])", cache=True, nogil=True)
def huber_mean(
    data: Float64, mean: float, width: float, turns: int, blocks: NDArray[np.int64], sums: Float64
) -> tuple[float, float]:
    """Return Huber's mean of `data` from a first `mean` on, in so many turns, and how many values lie within `width`.

    What is farther from the mean counts with its sign only. To `sums` is added, for each of `blocks`, what its values
    differ from the mean by, as far as they count.
    """
    influence = np.empty(data.size)
    inner = 0
    for turn in range(turns + 1):
        inner = 0
        for i in range(data.size):
            value = min(max(data[i] - mean, -width), width)
            influence[i] = value
            inner += abs(value) < width
        if turn == turns or inner == 0:
            break
        mean += _sum(influence) / inner
    for i in range(data.size):
        sums[blocks[i]] += influence[i]
    return mean, float(inner)
