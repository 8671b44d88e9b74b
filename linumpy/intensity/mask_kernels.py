"""Compiled loops of the tissue mask: separable Gaussian and histograms.

Why compiled: SciPy's Gaussian costs 29 ns per voxel, and these loops smooth, find the extremes and fill the
histogram while a row is still in the first-level cache. Why not OpenCV: its filters choose other
instructions (fused multiply-add or not) on other CPUs and so other last bits. Here every product and sum is
rounded on its own, in a fixed order: Numba contracts nothing unless ``fastmath`` asks for it.

The fine histogram counts voxels by the leading 23 bits of their float32 pattern (sign, exponent, 14 of
mantissa), mapped so that keys sort like values: 16,384 bins an octave, for any range, without knowing the
extremes beforehand. Only the pages of the bins that are met take memory.

Axis order (Y, X) for a plane, (slot, Y, X) for a ring of planes. Everything here releases the GIL. Constants are
this module's own: Numba's cache does not notice changes elsewhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linumpy.n4 import target

target.pin()  # one set of kernels, the same bits and the same cache on every machine

from numba import njit  # noqa: E402  (after the target is pinned)

__all__ = [
    "count_bins",
    "count_odd",
    "count_runs",
    "count_unusable",
    "smooth_plane",
    "smooth_z",
    "smooth_z_partial",
]

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

LARGEST = np.finfo(np.float32).max
RUN = 8
"""Pixels of an aligned run; any constant run of 15 holds one."""

PLANE, VECTOR, COUNTS = "float32[:, ::1]", "float32[::1]", "int64[::1]"


@njit("int64(int64, int64)", cache=True, nogil=True)
def _reflect(index: int, size: int) -> int:
    """Index inside the axis that SciPy's mode 'reflect' (d c b a | a b c d | d c b a) reads at `index`."""
    index %= 2 * size
    return index if index < size else 2 * size - 1 - index


@njit(f"void({PLANE}, {VECTOR}, {PLANE})", cache=True, nogil=True)
def smooth_plane(plane: Float32, weights: Float32, out: Float32) -> None:
    """Smooth a float32 plane (Y, X) along X and Y into `out`; what is not finite counts as 0.

    `weights` holds the centre and one side of the symmetric kernel, float32.
    """
    n_y, n_x = plane.shape
    radius = weights.size - 1
    n_rows = 2 * radius + 1
    rows = np.empty((n_rows, n_x), np.float32)
    padded = np.empty(n_x + 2 * radius, np.float32)
    next_row = 0
    for y in range(n_y):
        while next_row < min(y + radius + 1, n_y):
            for x in range(n_x):
                value = plane[next_row, x]
                padded[radius + x] = value if np.isfinite(value) else np.float32(0)
            for x in range(radius):
                padded[x] = padded[radius + _reflect(x - radius, n_x)]
                padded[radius + n_x + x] = padded[radius + _reflect(n_x + x, n_x)]
            row = rows[next_row % n_rows]
            centre = padded[radius:]
            for x in range(n_x):
                row[x] = weights[0] * centre[x]
            for k in range(1, radius + 1):
                weight = weights[k]
                left, right = padded[radius - k :], padded[radius + k :]  # views: a shifted index stops SIMD
                for x in range(n_x):
                    row[x] += weight * (left[x] + right[x])
            next_row += 1
        out_row = out[y]
        row = rows[y % n_rows]
        for x in range(n_x):
            out_row[x] = weights[0] * row[x]
        for k in range(1, radius + 1):
            weight = weights[k]
            above = rows[_reflect(y - k, n_y) % n_rows]
            below = rows[_reflect(y + k, n_y) % n_rows]
            for x in range(n_x):
                out_row[x] += weight * (above[x] + below[x])


@njit(f"void(float32[:, :, ::1], {COUNTS}, {VECTOR}, {PLANE}, {COUNTS}, {VECTOR}, int64)", cache=True, nogil=True)
def smooth_z(
    ring: Float32, slots: Int64, weights: Float32, out: Float32, counts: Int64, extremes: Float32, key_shift: int
) -> None:
    """Smooth along Z at one plane into `out` and count its non-zero voxels.

    Parameters
    ----------
    ring : float32 array (slot, Y, X)
        XY-smoothed planes.
    slots : int64 array (2 * radius + 1,)
        Slot of the planes z - radius to z + radius.
    weights : float32 array (radius + 1,)
        Centre and one side of the symmetric kernel.
    out : float32 array (Y, X)
    counts : int64 array, one per key
        Fine histogram, added to. Of size 0: nothing is counted.
    extremes : float32 array (2,)
        Least and greatest non-zero value, updated.
    key_shift : int
        Low bits of a pattern that its key leaves out.
    """
    _, n_y, n_x = ring.shape
    radius = weights.size - 1
    least, greatest = extremes[0], extremes[1]
    for y in range(n_y):
        out_row = out[y]
        row = ring[slots[radius], y]
        for x in range(n_x):
            out_row[x] = weights[0] * row[x]
        for k in range(1, radius + 1):
            weight = weights[k]
            before = ring[slots[radius - k], y]
            after = ring[slots[radius + k], y]
            for x in range(n_x):
                out_row[x] += weight * (before[x] + after[x])
        if counts.size:
            bits = out_row.view(np.int32)
            for x in range(n_x):
                value = out_row[x]
                if value != 0:
                    least = min(least, value)
                    greatest = max(greatest, value)
                    pattern = np.int64(bits[x])
                    key = pattern + 0x80000000 if pattern >= 0 else -1 - pattern
                    counts[key >> key_shift] += 1
    extremes[0], extremes[1] = least, greatest


@njit(f"void({PLANE}, {VECTOR}, {COUNTS})", cache=True, nogil=True)
def count_bins(plane: Float32, edges: Float32, counts: Int64) -> None:
    """Add the non-zero voxels of a plane to `counts`, binned between `edges` like ``numpy.histogram``."""
    n_bins = edges.size - 1
    scale = np.float64(n_bins) / (np.float64(edges[n_bins]) - np.float64(edges[0]))
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            value = plane[y, x]
            if value != 0:
                bin_ = min(int((np.float64(value) - np.float64(edges[0])) * scale), n_bins - 1)
                while value < edges[bin_]:
                    bin_ -= 1
                while bin_ < n_bins - 1 and value >= edges[bin_ + 1]:
                    bin_ += 1
                counts[bin_] += 1


@njit(f"void({PLANE}, {COUNTS})", cache=True, nogil=True)
def count_odd(plane: Float32, counts: Int64) -> None:
    """Add the voxels of a plane that are not finite, negative (minus infinity too) and zero to ``counts[0:3]``."""
    n_infinite = n_negative = n_zero = 0
    for y in range(plane.shape[0]):
        row = plane[y]
        infinite = negative = zero = np.int32(0)
        for x in range(row.size):
            value = row[x]
            infinite += np.int32(not (abs(value) <= LARGEST))
            negative += np.int32(value < 0)
            zero += np.int32(value == 0)
        n_infinite += int(infinite)
        n_negative += int(negative)
        n_zero += int(zero)
    counts[0] += n_infinite
    counts[1] += n_negative
    counts[2] += n_zero


@njit(f"int64({PLANE}, float32)", cache=True, nogil=True)
def count_unusable(plane: Float32, ceiling: float) -> int:
    """Count the voxels of a plane that are not finite or at `ceiling`."""
    found = 0
    for y in range(plane.shape[0]):
        row = plane[y]
        in_row = np.int32(0)
        for x in range(row.size):
            in_row += np.int32(not (abs(row[x]) < ceiling))
        found += int(in_row)
    return found


@njit("int64(float32, float32[::1], int64[::1], int64)", cache=True, nogil=True)
def _count_value(value: float, values: Float32, counts: Int64, n: int) -> int:
    """Add 1 to the count of a value in a table of `n`; a value beyond the table's size is forgotten."""
    for i in range(n):
        if values[i] == value:
            counts[i] += 1
            return n
    if n < values.size and np.isfinite(value):
        values[n] = value
        counts[n] = 1
        n += 1
    return n


@njit(f"int64({PLANE}, {VECTOR}, {COUNTS})", cache=True, nogil=True)
def count_runs(plane: Float32, values: Float32, counts: Int64) -> int:
    """Count the aligned runs of `RUN` equal voxels along X and along Y by their value; return how many values."""
    n_y, n_x = plane.shape
    n = 0
    for y in range(n_y):
        row = plane[y]
        for x in range(0, n_x - RUN + 1, RUN):
            value = row[x]
            if value == row[x + 1] and value == row[x + RUN - 1]:
                same = True
                for k in range(2, RUN - 1):
                    same &= value == row[x + k]
                if same:
                    n = _count_value(value, values, counts, n)
    for y in range(0, n_y - RUN + 1, RUN):
        row, following, last = plane[y], plane[y + 1], plane[y + RUN - 1]
        for x in range(n_x):
            value = row[x]
            if value == following[x] and value == last[x]:
                same = True
                for k in range(2, RUN - 1):
                    same &= value == plane[y + k, x]
                if same:
                    n = _count_value(value, values, counts, n)
    return n


@njit(f"void(float32[:, :, ::1], {COUNTS}, {VECTOR}, {PLANE})", cache=True, nogil=True)
def smooth_z_partial(ring: Float32, slots: Int64, weights: Float32, out: Float32) -> None:
    """Smooth along Z like `smooth_z` where some voxels of the ring are NaN: they weigh nothing and stay NaN."""
    _, n_y, n_x = ring.shape
    radius = weights.size - 1
    for y in range(n_y):
        for x in range(n_x):
            if np.isnan(ring[slots[radius], y, x]):
                out[y, x] = np.nan
                continue
            total = weights[0] * ring[slots[radius], y, x]
            weight = weights[0]
            for k in range(1, radius + 1):
                for slot in (slots[radius - k], slots[radius + k]):
                    value = ring[slot, y, x]
                    if not np.isnan(value):
                        total += weights[k] * value
                        weight += weights[k]
            out[y, x] = total / weight
