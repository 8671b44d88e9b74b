"""Compiled loops of the correction: the field of a plane, and the division by it, a row at a time.

A cubic B-spline is one cubic polynomial of X between two knots. Per row the splines of a section and of the stack are
reduced to their control points along X, those to the polynomial of each span, and what is left per voxel is two times
three products and sums, an exponential and a division, on a row that stays in the first-level cache. The exponential
is a polynomial too (below), so that every step runs in vector instructions: 1 ns a voxel in all.

    exp(v) = 2^n exp(r),  n = round(v / ln 2),  r = v - n ln 2 in two parts,  |r| <= ln 2 / 2

with the degree-6 Taylor polynomial of exp(r): 1.5e-7 relative at most, the rounding of single precision included.

Every product and sum is rounded on its own, in a fixed order (Numba contracts nothing unless ``fastmath`` asks for
it), and a voxel's value depends on its own position alone. Everything here releases the GIL.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linumpy.n4 import target

target.pin()  # one set of kernels, the same bits and the same cache on every machine

from numba import njit  # noqa: E402  (after the target is pinned)

__all__ = ["bias_field_plane", "divide_plane"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]

ROW, PLANE = "float32[::1]", "float32[:, ::1]"
# Control points (Y, X) of the plane; per row the first of four and their weights; per span of X its first voxel (and,
# last, the end of the row); per voxel its place in the span.
SPLINE = "float64[:, ::1], int32[::1], float64[:, ::1], int32[::1], float32[::1]"

LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
ROUND = np.float32(12582912.0 + 127)
"""1.5 * 2^23, and the bias of an exponent: adding it leaves the nearest whole number, biased, in the low bits."""
MANTISSA_BITS = 23
LARGEST = np.float32(87.0)
"""Of a logarithm, either sign: exp of it is an ordinary single."""


@njit(f"void({SPLINE}, int64, {ROW}, {ROW})", cache=True, nogil=True)
def _add_spline(
    control: Float64,
    first_y: Int32,
    weights_y: Float64,
    edges: Int32,
    place: Float32,
    y: int,
    control_row: Float32,
    row: Float32,
) -> None:
    """Add the spline on row `y` to `row`; `control_row` is scratch."""
    top = first_y[y]
    w0, w1, w2, w3 = weights_y[y, 0], weights_y[y, 1], weights_y[y, 2], weights_y[y, 3]
    for i in range(control.shape[1]):
        control_row[i] = np.float32(
            ((w0 * control[top, i] + w1 * control[top + 1, i]) + w2 * control[top + 2, i]) + w3 * control[top + 3, i]
        )
    sixth = np.float32(1 / 6)
    for span in range(edges.size - 1):
        start, stop = edges[span], edges[span + 1]
        if start == stop:
            continue
        p0, p1, p2, p3 = control_row[span], control_row[span + 1], control_row[span + 2], control_row[span + 3]
        a0 = (p0 + np.float32(4) * p1 + p2) * sixth
        a1 = (p2 - p0) * np.float32(0.5)
        a2 = ((p0 - p1) + (p2 - p1)) * np.float32(0.5)
        a3 = ((p3 - p0) + np.float32(3) * (p1 - p2)) * sixth
        values, t = row[start:stop], place[start:stop]
        for x in range(stop - start):
            values[x] += ((a3 * t[x] + a2) * t[x] + a1) * t[x] + a0


@njit(f"void({ROW}, int32[::1], {ROW})", cache=True, nogil=True)
def _exponentiate(row: Float32, bits: Int32, power: Float32) -> None:
    """Replace a row by its exponential; `power` is `bits` seen as float32, scratch."""
    for x in range(row.size):
        value = min(max(row[x], -LARGEST), LARGEST)
        n = value * LOG2_E + ROUND
        power[x] = n
        whole = n - ROUND
        r = (value - whole * LN2_HIGH) - whole * LN2_LOW
        p = np.float32(1 / 720)
        p = p * r + np.float32(1 / 120)
        p = p * r + np.float32(1 / 24)
        p = p * r + np.float32(1 / 6)
        p = p * r + np.float32(0.5)
        row[x] = (p * r) * r + r + np.float32(1)
    for x in range(row.size):
        bits[x] = bits[x] << MANTISSA_BITS
    for x in range(row.size):
        row[x] *= power[x]


@njit(f"void({SPLINE}, {SPLINE}, float32, float32, {PLANE})", cache=True, nogil=True)
def bias_field_plane(
    control: Float64,
    first_y: Int32,
    weights_y: Float64,
    edges: Int32,
    place: Float32,
    control_2: Float64,
    first_y_2: Int32,
    weights_y_2: Float64,
    edges_2: Int32,
    place_2: Float32,
    offset: float,
    floor: float,
    out: Float32,
) -> None:
    """Write ``max(exp(spline + spline 2 + offset), floor)`` of a plane (Y, X)."""
    control_row = np.empty(max(control.shape[1], control_2.shape[1]), np.float32)
    bits = np.empty(out.shape[1], np.int32)
    power = bits.view(np.float32)
    for y in range(out.shape[0]):
        row = out[y]
        row[:] = offset
        _add_spline(control, first_y, weights_y, edges, place, y, control_row, row)
        _add_spline(control_2, first_y_2, weights_y_2, edges_2, place_2, y, control_row, row)
        _exponentiate(row, bits, power)
        for x in range(row.size):
            row[x] = max(row[x], floor)


@njit(f"void({PLANE}, {SPLINE}, {SPLINE}, float32, float32, float32, {PLANE})", cache=True, nogil=True)
def divide_plane(
    values: Float32,
    control: Float64,
    first_y: Int32,
    weights_y: Float64,
    edges: Int32,
    place: Float32,
    control_2: Float64,
    first_y_2: Int32,
    weights_y_2: Float64,
    edges_2: Int32,
    place_2: Float32,
    offset: float,
    floor: float,
    strength: float,
    out: Float32,
) -> None:
    """Write a plane divided by the field of `bias_field_plane`; `out` may be `values`.

    With a `strength` other than 1, ``values * (strength / field + (1 - strength))``: one factor, not a difference of
    images, so that an infinite voxel stays infinite.
    """
    control_row = np.empty(max(control.shape[1], control_2.shape[1]), np.float32)
    row = np.empty(out.shape[1], np.float32)
    bits = np.empty(out.shape[1], np.int32)
    power = bits.view(np.float32)
    rest = np.float32(1) - strength
    for y in range(out.shape[0]):
        row[:] = offset
        _add_spline(control, first_y, weights_y, edges, place, y, control_row, row)
        _add_spline(control_2, first_y_2, weights_y_2, edges_2, place_2, y, control_row, row)
        _exponentiate(row, bits, power)
        before, after = values[y], out[y]
        if strength == np.float32(1):
            for x in range(row.size):
                after[x] = before[x] / max(row[x], floor)
        else:
            for x in range(row.size):
                after[x] = before[x] * (strength / max(row[x], floor) + rest)
