# ruff: noqa: ANN001, ANN201, ANN202  (the signatures that Numba compiles say all types)
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False
"""The voxel passes as compiled loops: Numba, single precision, a few nanoseconds per voxel.

What makes them fast:

- All inner loops run along X over contiguous memory, so they become vector instructions. A row's residual is
  added to the rows of the four Y control points it belongs to (4 multiply-adds per voxel); the few rows so made
  are contracted along X and Z in double precision. The fitted spline is expanded in the opposite order.
- Only masked runs of a row are visited, of up to `MAX_RUN` voxels. A run may bridge gaps of up to `BRIDGED_GAP`
  voxels; `OUTSIDE` in them keeps itself through every pass.
- The histogram's bins are whole numbers with the count in the upper and the fraction in the lower bits: one
  addition per voxel.

Work is cut into units of a few rows of one plane, from the shape of the grid alone. Each unit's sums are kept
apart and added in one order, so results do not depend on the number of threads. Functions take units `first
<= unit < last` and release the interpreter lock.

Everything that the loops read is passed in; constants are this module's own, since Numba's cache does not
notice changes elsewhere.
"""

from __future__ import annotations

import math

import numpy as np

from linumpy.n4 import target

target.pin()

from llvmlite import ir  # noqa: E402  (after the target is pinned)
from numba import njit  # noqa: E402
from numba.extending import intrinsic  # noqa: E402

BRIDGED_GAP = 16
MAX_RUN = 1 << 20

_LIMIT = np.float32(1e29)  # larger is OUTSIDE
_OUTSIDE = np.float32(1e30)
_OUTSIDE_BIN = np.float32(255)
_ONE = np.float32(1 << 20)
_COUNT_SHIFT = np.uint64(42)
_MOST_COUNTED = 3 << 20  # a count has 22 bits
_BIN_SHIFT = np.int32(20)
_FRACTION = np.int32((1 << 20) - 1)
_ZERO = np.float32(0)

# Sums may be reordered and multiply-adds fused: the order is then fixed by the compiled code, the same for all threads.
# No infinities or NaNs occur: the samples are finite and positive.
_FAST = {"reassoc", "contract", "nnan", "nsz", "arcp"}
_RUNS = "int32[::1], int32[::1], int32[::1], int32[:, ::1]"


def _kernel(signature):
    return njit(signature, cache=True, nogil=True, fastmath=_FAST, error_model="numpy")


def _extreme(name):
    """Return a two-number minimum or maximum that LLVM recognises in a loop; Numba's own keeps it from vectorising."""

    @intrinsic
    def extreme(typing_context, a, b):
        def generate(context, builder, signature, arguments):
            kind = arguments[0].type
            function = builder.module.declare_intrinsic(name, [kind], ir.FunctionType(kind, [kind, kind]))
            return builder.call(function, arguments, fastmath=("nnan", "nsz"))

        return a(a, b), generate

    return extreme


_smaller = _extreme("llvm.minnum")
_larger = _extreme("llvm.maxnum")


@njit(
    "void(float32[:, ::1], int32[::1], float32[:, ::1], float32[:, ::1])",
    cache=True,
    nogil=True,
    error_model="numpy",
)
def expand_rows(control_rows, first, weights, plane):
    """Write the rows of a plane, bit for bit as `linumpy.n4.lattice` does: every product and sum rounded alone."""
    for y in range(plane.shape[0]):
        w0, w1, w2, w3 = weights[y, 0], weights[y, 1], weights[y, 2], weights[y, 3]
        row0, row1, row2, row3 = (
            control_rows[first[y]],
            control_rows[first[y] + 1],
            control_rows[first[y] + 2],
            control_rows[first[y] + 3],
        )
        row = plane[y]
        for x in range(plane.shape[1]):
            row[x] = w0 * row0[x] + w1 * row1[x] + w2 * row2[x] + w3 * row3[x]


@_kernel("int64(uint8[:, ::1], int32[::1], int32[::1], int32[::1])")
def find_runs(mask, row_start, run_start, run_stop):
    """Write the masked runs of each row of `mask` (rows, X) and return their number.

    With empty `run_start` they are only counted. `row_start` (rows + 1) says where each row's runs begin.
    """
    n = 0
    n_x = mask.shape[1]
    for row in range(mask.shape[0]):
        row_start[row] = n
        start = -1
        stop = 0
        for x in range(n_x):
            if mask[row, x]:
                if start >= 0 and (x - stop > BRIDGED_GAP or x - start >= MAX_RUN):
                    if run_start.size:
                        run_start[n] = start
                        run_stop[n] = stop
                    n += 1
                    start = x
                elif start < 0:
                    start = x
                stop = x + 1
        if start >= 0:
            if run_start.size:
                run_start[n] = start
                run_stop[n] = stop
            n += 1
    row_start[mask.shape[0]] = n
    return n


@_kernel("void(float32[:, ::1], uint8[:, ::1], float32[:, ::1], float32)")
def take_logarithm(image, mask, u, offset):
    """Write ``log(image) - offset`` where the mask is, `OUTSIDE` elsewhere."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if mask[y, x]:
                u[y, x] = np.float32(math.log(np.float64(image[y, x]))) - offset
            else:
                u[y, x] = _OUTSIDE


@_kernel("void(uint64[:, ::1], int64[:, ::1])")
def _empty_bins(bins, counts):
    """Add histograms to `counts`, and empty them."""
    one = np.uint64(1) << _COUNT_SHIFT
    for b in range(256):
        for k in range(4):
            counts[0, b] += np.int64(bins[k, b] >> _COUNT_SHIFT)
            counts[1, b] += np.int64(bins[k, b] & (one - np.uint64(1)))
            bins[k, b] = 0


@_kernel(f"void(float32[:, :, ::1], {_RUNS}, int64, int64, float32, float32, int64[:, ::1])")
def histogram(u, row_start, run_start, run_stop, units, first, last, low, inverse_spacing, counts):
    """Add to `counts` (2, 256) the voxels of each bin and the sum of their fractions, in 2**-20."""
    n_y, n_x = u.shape[1:]
    position = np.empty(n_x + 4, np.int32)
    # Four histograms in turn: the next voxel often falls in the bin that is still being written.
    bins = np.zeros((4, 256), np.uint64)
    one = np.uint64(1) << _COUNT_SHIFT
    for unit in range(first, last):
        counted = 0
        z = units[unit, 0]
        for y in range(units[unit, 1], units[unit, 2]):
            row = u[z, y]
            for run in range(row_start[z * n_y + y], row_start[z * n_y + y + 1]):
                start, stop = run_start[run], run_stop[run]
                n = stop - start
                if counted + n > _MOST_COUNTED:
                    _empty_bins(bins, counts)
                    counted = 0
                counted += n
                values = row[start:stop]
                for i in range(n):
                    position[i] = np.int32(min((values[i] - low) * inverse_spacing, _OUTSIDE_BIN) * _ONE)
                for i in range(n, n + 4):
                    position[i] = np.int32(255 << 20)
                for i in range(0, n, 4):
                    p0, p1, p2, p3 = position[i], position[i + 1], position[i + 2], position[i + 3]
                    bins[0, np.uint32(p0 >> _BIN_SHIFT)] += one + np.uint64(p0 & _FRACTION)
                    bins[1, np.uint32(p1 >> _BIN_SHIFT)] += one + np.uint64(p1 & _FRACTION)
                    bins[2, np.uint32(p2 >> _BIN_SHIFT)] += one + np.uint64(p2 & _FRACTION)
                    bins[3, np.uint32(p3 >> _BIN_SHIFT)] += one + np.uint64(p3 & _FRACTION)
        _empty_bins(bins, counts)


@_kernel(
    f"void(float32[:, :, ::1], {_RUNS}, int64, int64, float32, float32, float32[::1], float32[::1], boolean, "
    "int32[::1], float32[:, ::1], int32[::1], float64[:, ::1], float64[:, :, ::1])"
)
def contract(
    u, row_start, run_start, run_stop, units, first, last, low, inverse_spacing, at_centre, to_next, of_residual,
    y_first, y_weights, x_edges, x_weights, partial,
):  # fmt: skip
    """Write to `partial` (units, rows of control points, cx) each unit's sums over Y and X.

    What is summed is the residual ``u - E(u)`` or, with `of_residual` False, 1 for each voxel of the mask.
    `partial` begins at the unit's first control point in Y. `x_edges` holds the first voxel of each span
    along X, and the end.
    """
    n_y, n_x = u.shape[1:]
    residual = np.empty(n_x, np.float32)
    rows = np.empty((partial.shape[1], n_x), np.float32)
    for unit in range(first, last):
        z = units[unit, 0]
        first_point = y_first[units[unit, 1]]
        n_points = y_first[units[unit, 2] - 1] + 4 - first_point
        rows[:n_points] = 0
        for y in range(units[unit, 1], units[unit, 2]):
            point = y_first[y] - first_point
            w0, w1, w2, w3 = y_weights[y, 0], y_weights[y, 1], y_weights[y, 2], y_weights[y, 3]
            for run in range(row_start[z * n_y + y], row_start[z * n_y + y + 1]):
                start, stop = run_start[run], run_stop[run]
                values = u[z, y, start:stop]
                if of_residual:
                    for i in range(stop - start):
                        bin_position = min((values[i] - low) * inverse_spacing, _OUTSIDE_BIN)
                        b = np.uint32(bin_position)
                        fraction = bin_position - np.float32(b)
                        residual[i] = values[i] - (at_centre[b] + fraction * to_next[b])
                else:
                    for i in range(stop - start):
                        residual[i] = np.float32(values[i] < _LIMIT)
                row0 = rows[point, start:stop]
                row1 = rows[point + 1, start:stop]
                row2 = rows[point + 2, start:stop]
                row3 = rows[point + 3, start:stop]
                for i in range(stop - start):
                    r = residual[i]
                    row0[i] += w0 * r
                    row1[i] += w1 * r
                    row2[i] += w2 * r
                    row3[i] += w3 * r
        for point in range(n_points):
            sums = partial[unit, point]
            sums[:] = 0
            row = rows[point]
            for span in range(x_edges.size - 1):
                s0 = s1 = s2 = s3 = 0.0
                for x in range(x_edges[span], x_edges[span + 1]):
                    value = np.float64(row[x])
                    s0 += x_weights[0, x] * value
                    s1 += x_weights[1, x] * value
                    s2 += x_weights[2, x] * value
                    s3 += x_weights[3, x] * value
                sums[span] += s0
                sums[span + 1] += s1
                sums[span + 2] += s2
                sums[span + 3] += s3


@_kernel("void(float64[:, :, ::1], int32[:, ::1], int32[::1], int32[::1], float64[:, ::1], float64[:, :, ::1])")
def add_units(partial, units, y_first, z_first, z_weights, total):
    """Add the units' sums, weighted along Z, to the control points `total` (cz, cy, cx), in the order of units."""
    n_x = total.shape[2]
    for unit in range(units.shape[0]):
        z = units[unit, 0]
        first_point = y_first[units[unit, 1]]
        n_points = y_first[units[unit, 2] - 1] + 4 - first_point
        for k in range(4):
            weight = z_weights[z, k]
            for point in range(n_points):
                for x in range(n_x):
                    total[z_first[z] + k, first_point + point, x] += weight * partial[unit, point, x]


@_kernel(
    f"void(float32[:, :, ::1], {_RUNS}, int64, int64, float64[:, :, ::1], boolean, "
    "int32[::1], float64[:, ::1], int32[::1], float32[:, ::1], int32[::1], float32[:, ::1], float64[:, ::1])"
)
def subtract(
    u, row_start, run_start, run_stop, units, first, last, control_points, is_small,
    z_first, z_weights, y_first, y_weights, x_edges, x_weights, measures,
):  # fmt: skip
    """Take the spline off `u` in place; write to `measures` (units, 4) what is measured on the way.

    That is the smallest and largest `u` left, and the sums of ``e = exp(-spline) - 1`` and of its square.
    `is_small` says that the spline stays within 1/2, where eight terms of the series give `e` to single
    precision.
    """
    n_y, n_x = u.shape[1:]
    n_control_x = control_points.shape[2]
    n_points = 0
    for unit in range(first, last):
        n_points = max(n_points, y_first[units[unit, 2] - 1] + 4 - y_first[units[unit, 1]])
    rows = np.empty((n_points, n_x), np.float32)
    points = np.empty(n_control_x, np.float32)
    for unit in range(first, last):
        z = units[unit, 0]
        first_point = y_first[units[unit, 1]]
        n_points = y_first[units[unit, 2] - 1] + 4 - first_point
        for point in range(n_points):
            for x in range(n_control_x):
                value = 0.0
                for k in range(4):
                    value += z_weights[z, k] * control_points[z_first[z] + k, first_point + point, x]
                points[x] = np.float32(value)
            row = rows[point]
            for span in range(x_edges.size - 1):
                c0, c1, c2, c3 = points[span], points[span + 1], points[span + 2], points[span + 3]
                for x in range(x_edges[span], x_edges[span + 1]):
                    row[x] = x_weights[0, x] * c0 + x_weights[1, x] * c1 + x_weights[2, x] * c2 + x_weights[3, x] * c3
        low = _OUTSIDE
        high = -_OUTSIDE
        total = 0.0
        total_squares = 0.0
        for y in range(units[unit, 1], units[unit, 2]):
            point = y_first[y] - first_point
            w0, w1, w2, w3 = y_weights[y, 0], y_weights[y, 1], y_weights[y, 2], y_weights[y, 3]
            for run in range(row_start[z * n_y + y], row_start[z * n_y + y + 1]):
                start, stop = run_start[run], run_stop[run]
                values = u[z, y, start:stop]
                row0 = rows[point, start:stop]
                row1 = rows[point + 1, start:stop]
                row2 = rows[point + 2, start:stop]
                row3 = rows[point + 3, start:stop]
                run_total = _ZERO
                run_squares = _ZERO
                if is_small:
                    for i in range(stop - start):
                        s = -(w0 * row0[i] + w1 * row1[i] + w2 * row2[i] + w3 * row3[i])
                        value = values[i] + s
                        values[i] = value
                        e = np.float32(1 / 5040) + s * np.float32(1 / 40320)
                        e = np.float32(1 / 720) + s * e
                        e = np.float32(1 / 120) + s * e
                        e = np.float32(1 / 24) + s * e
                        e = np.float32(1 / 6) + s * e
                        e = np.float32(1 / 2) + s * e
                        e = s + s * (s * e)
                        inside = value < _LIMIT
                        e = e if inside else _ZERO
                        low = _smaller(low, value)
                        high = _larger(high, value if inside else -_OUTSIDE)
                        run_total += e
                        run_squares += e * e
                else:
                    for i in range(stop - start):
                        s = -(w0 * row0[i] + w1 * row1[i] + w2 * row2[i] + w3 * row3[i])
                        value = values[i] + s
                        values[i] = value
                        if value < _LIMIT:
                            e = np.float32(math.expm1(np.float64(s)))
                            low = min(low, value)
                            high = max(high, value)
                            run_total += e
                            run_squares += e * e
                total += np.float64(run_total)
                total_squares += np.float64(run_squares)
        measures[unit, 0] = low
        measures[unit, 1] = high
        measures[unit, 2] = total
        measures[unit, 3] = total_squares
