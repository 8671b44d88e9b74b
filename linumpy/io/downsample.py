"""Means over bins of two, the step from one pyramid level to the next.

A bin is averaged plane first, then row, then column, in single precision (double for integers of more than
two bytes): a voxel of the result depends on its own bin alone, so that the bits are the same whatever block
the bin came in. A bin cut off by the end of the volume averages what is there. Costs 0.4 to 1 ns a voxel on
one core and a strip of rows in memory beside the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["downsample"]

Array = np.ndarray[Any, np.dtype[Any]]

_STRIP_BYTES = 1 << 18  # of the sum of a few rows: stays in the second-level cache


def downsample(block: Array, factor: int | Sequence[int]) -> Array:
    """Average a block over bins.

    Parameters
    ----------
    block : ndarray of shape (Z, Y, X)
        Real numbers or bool. It must start on a bin; its end may cut one off where the volume ends.
    factor : int or (int, int, int)
        Voxels of a bin along Z, Y, X: powers of two. Above two, the step is repeated, as down the pyramid.

    Returns
    -------
    ndarray of shape (ceil(Z / fz), ceil(Y / fy), ceil(X / fx))
        Means in the type of `block`; integers are rounded half to even. Bool is the majority, a tie is True,
        so that thin tissue does not vanish from the coarser levels of a mask. NaN makes its bin NaN.

    Raises
    ------
    ValueError
        If `block` is not 3-D or a factor is not a power of two.

    Examples
    --------
    >>> downsample(np.array([[[1, 2, 3], [3, 4, 5]]], dtype=np.float32), (1, 2, 2))
    array([[[2.5, 4. ]]], dtype=float32)
    """
    factors = [int(f) for f in (factor if isinstance(factor, Sequence) else (factor,) * 3)]
    if block.ndim != 3 or len(factors) != 3 or any(f < 1 or f & (f - 1) for f in factors):
        raise ValueError(f"factor {factor!r} for a block {block.shape}; three powers of two are needed")
    result = block
    while max(factors) > 1:
        step = tuple(min(f, 2) for f in factors)
        result = _halve(result, (step[0] == 2, step[1] == 2, step[2] == 2))
        factors = [f // s for f, s in zip(factors, step, strict=True)]
    return result


def _halve(block: Array, axes: tuple[bool, bool, bool]) -> Array:
    shape = tuple(-(-n // 2) if halved else n for n, halved in zip(block.shape, axes, strict=True))
    result = np.empty(shape, block.dtype)
    sum_dtype = _sum_dtype(block.dtype)
    n_voxels = 2 ** sum(axes)
    n_rows = max(1, _STRIP_BYTES // max(1, block.shape[2] * sum_dtype.itemsize * (2 if axes[1] else 1)))
    for plane in range(shape[0]):
        for row in range(0, shape[1], n_rows):
            strip = slice(2 * row, 2 * (row + n_rows)) if axes[1] else slice(row, row + n_rows)
            total = block[:, strip][2 * plane : 2 * plane + 2] if axes[0] else block[plane : plane + 1, strip]
            for axis, halved in enumerate(axes):
                total = _pair_sums(total, axis, sum_dtype) if halved else total
            _store_mean(total[0], n_voxels, result[plane, row : row + n_rows])
    return result


def _sum_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    exact_in_single = dtype.itemsize <= 2 if dtype.kind in "ui" else dtype.itemsize <= 4
    return np.dtype(np.float32 if exact_in_single else np.float64)


def _pair_sums(values: Array, axis: int, dtype: np.dtype[Any]) -> Array:
    """Add neighbours along one axis; a last voxel without a neighbour counts twice, which is its own mean."""
    n = values.shape[axis]
    shape = list(values.shape)
    shape[axis] = -(-n // 2)
    sums = np.empty(shape, dtype)

    def at(array: Array, index: slice) -> Array:
        return array[(slice(None),) * axis + (index,)]

    first = at(values, slice(0, n - n % 2, 2))
    np.add(first, at(values, slice(1, n, 2)), out=at(sums, slice(0, n // 2)), dtype=dtype)
    if n % 2:
        last = at(values, slice(n - 1, n))
        np.add(last, last, out=at(sums, slice(n // 2, None)), dtype=dtype)
    return sums


def _store_mean(total: Array, n_voxels: int, out: Array) -> None:
    if out.dtype.kind == "b":
        np.greater_equal(total, n_voxels // 2, out=out)
    elif out.dtype.kind == "f":
        np.multiply(total, 1.0 / n_voxels, out=out, casting="same_kind")
    else:
        mean = np.rint(total * total.dtype.type(1.0 / n_voxels))
        if out.dtype.itemsize == 8:  # the largest integers are no doubles: stay below them
            largest = np.nextafter(float(np.iinfo(out.dtype).max), 0.0)
            np.minimum(mean, largest, out=mean)
        out[...] = mean.astype(out.dtype)
