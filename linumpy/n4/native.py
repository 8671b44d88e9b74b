"""The voxel passes on the CPU: fixed units of work, shared out among threads (see `linumpy.n4.compiled`).

Memory beyond the inputs is 4 bytes per voxel of the grid, plus the masked runs (8 bytes each) and, per unit
of about 16,000 voxels, the control points it touches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from linumpy.n4 import compiled
from linumpy.n4.bspline import Basis
from linumpy.n4.passes import (
    ONE,
    Passes,
    divide_where_reached,
    lookup_table,
    residual_weights,
)
from linumpy.n4.sharpen import N_HISTOGRAM_BINS

UNIT_VOXELS = 1 << 14  # small enough to share a single plane out, large enough to hide a unit's own work
PARTS_PER_WORKER = 4  # a part is what a thread takes at a time; more even out a busy machine
SMALL_SPLINE = 0.5  # within it the compiled series for exp holds


class NativePasses(Passes):
    """The passes in compiled loops.

    Parameters
    ----------
    samples : ndarray, shape (Z, Y, X)
        Intensities, positive in the mask; any real dtype and layout.
    mask : ndarray of bool, shape (Z, Y, X)
        Samples that take part; at least one.
    workers : int
        Threads. The bits of all results are the same for any number.
    """

    xp = np
    name = "numba"

    def __init__(self, samples: npt.NDArray[Any], mask: npt.NDArray[np.bool_], workers: int) -> None:
        n_z, n_y, n_x = samples.shape
        self.n_voxels = int(np.count_nonzero(mask))

        inside = np.ascontiguousarray(mask).view(np.uint8)
        row_start = np.zeros(n_z * n_y + 1, np.int32)
        none = np.empty(0, np.int32)
        n_runs = compiled.find_runs(inside.reshape(-1, n_x), row_start, none, none)
        run_start, run_stop = np.empty(n_runs, np.int32), np.empty(n_runs, np.int32)
        compiled.find_runs(inside.reshape(-1, n_x), row_start, run_start, run_stop)
        self._units = _units(row_start, n_z, n_y, n_x)
        self._runs = (row_start, run_start, run_stop, self._units)
        self.workers = workers = min(workers, len(self._units))  # one that finds nothing to do costs its wake-up
        self._pool = ThreadPoolExecutor(workers - 1) if workers > 1 else None
        self._parts = _parts(self._units, row_start, run_stop - run_start, n_y, workers * PARTS_PER_WORKER)

        inside_plane = (samples[z][mask[z]] for z in range(n_z) if mask[z].any())
        extremes = np.array([(plane.min(), plane.max()) for plane in inside_plane], np.float32)
        low, high = (np.float32(math.log(value)) for value in (extremes[:, 0].min(), extremes[:, 1].max()))
        middle = np.float32((np.float64(low) + np.float64(high)) / 2)
        self.offset = float(middle)
        self.low, self.high = float(low - middle), float(high - middle)
        self.u = np.empty((n_z, n_y, n_x), np.float32)

        def take_logarithms(first: int, last: int) -> None:
            for z in range(first, last):
                plane = np.array(samples[z], np.float32, order="C")  # a copy: kernels take no read-only arrays
                compiled.take_logarithm(plane, inside[z], self.u[z], middle)

        self._run(take_logarithms, [(z, z + 1) for z in range(n_z)])

    def use_bases(self, z: Basis, y: Basis, x: Basis) -> None:
        """Begin a level."""
        self._z, self._y, self._x = z, y, x
        units = self._units
        n_points = y.first[units[:, 2] - 1] + 4 - y.first[units[:, 1]]
        self._partial = np.empty((len(units), int(n_points.max()), x.n_control_points))
        self._x_edges = np.searchsorted(x.first, np.arange(x.n_control_points - 2)).astype(np.int32)
        self._y_weights = y.weights.astype(np.float32)
        self._x_weights = np.ascontiguousarray(x.weights.T, np.float32)
        z_fit, y_fit, x_fit = (residual_weights(basis) for basis in (z, y, x))
        self._fit_weights = (z_fit, y_fit.astype(np.float32), np.ascontiguousarray(x_fit.T))
        squares = (z.weights**2, (y.weights**2).astype(np.float32), np.ascontiguousarray((x.weights**2).T))
        nothing = np.zeros(256, np.float32)
        self._omega = self._contract(nothing, nothing, False, squares)

    def histogram(self) -> npt.NDArray[np.float64]:
        """Return the counts (200,) of `u`."""
        counts = np.zeros((len(self._parts), 2, 256), np.int64)

        def count(part: int) -> None:
            first, last = self._parts[part]
            compiled.histogram(
                self.u, *self._runs, first, last, np.float32(self.low), self.bins_per_log_intensity, counts[part]
            )

        self._run(count, [(part,) for part in range(len(self._parts))])
        voxels, fractions = counts.sum(axis=0)
        shared = voxels * ONE
        shared -= fractions
        shared[1:] += fractions[:-1]
        return np.asarray(shared[:N_HISTOGRAM_BINS] / ONE)

    def fit_residual(self, expected: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the control points (cz, cy, cx) of the spline fitted to ``u - E(u)``."""
        at_centre, to_next = lookup_table(expected, np)
        delta = self._contract(at_centre, to_next, True, self._fit_weights)
        control_points: npt.NDArray[np.float64] = divide_where_reached(delta, self._omega, np)
        return control_points

    def subtract(self, control_points: npt.NDArray[np.float64]) -> float:
        """Take a spline off `u` and return its coefficient of variation."""
        measures = np.empty((len(self._units), 4))
        is_small = bool(np.abs(control_points).max() <= SMALL_SPLINE)  # the spline lies between its control points

        def take_off(first: int, last: int) -> None:
            compiled.subtract(
                self.u, *self._runs, first, last, control_points, is_small, self._z.first, self._z.weights,
                self._y.first, self._y_weights, self._x_edges, self._x_weights, measures,
            )  # fmt: skip

        self._run(take_off, self._parts)
        self.low, self.high = float(measures[:, 0].min()), float(measures[:, 1].max())
        return self.coefficient_of_variation(float(measures[:, 2].sum()), float(measures[:, 3].sum()))

    def close(self) -> None:
        """End the threads: a process that forks afterwards has none of them."""
        if self._pool is not None:
            self._pool.shutdown()

    def _contract(
        self,
        at_centre: npt.NDArray[np.float32],
        to_next: npt.NDArray[np.float32],
        of_residual: bool,
        weights: tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]],
    ) -> npt.NDArray[np.float64]:
        z_weights, y_weights, x_weights = weights

        def contract(first: int, last: int) -> None:
            compiled.contract(
                self.u, *self._runs, first, last, np.float32(self.low), self.bins_per_log_intensity,
                at_centre, to_next, of_residual, self._y.first, y_weights, self._x_edges, x_weights, self._partial,
            )  # fmt: skip

        self._run(contract, self._parts)
        total = np.zeros((self._z.n_control_points, self._y.n_control_points, self._x.n_control_points))
        compiled.add_units(self._partial, self._units, self._y.first, self._z.first, z_weights, total)
        return total

    def _run(self, work: Callable[..., None], parts: Sequence[tuple[int, ...]]) -> None:
        """Do `work` on every part, each thread taking the next when it is free."""
        queue = itertools.count()

        def drain() -> None:
            while (part := next(queue)) < len(parts):
                work(*parts[part])

        helpers = [self._pool.submit(drain) for _ in range(self.workers - 1)] if self._pool else []
        drain()
        for helper in helpers:
            helper.result()


def _units(row_start: npt.NDArray[np.int32], n_z: int, n_y: int, n_x: int) -> npt.NDArray[np.int32]:
    """Return the units (z, first row, end row) that hold a masked run: a band of rows of one plane each."""
    rows = max(1, min(n_y, UNIT_VOXELS // n_x))
    units = [
        (z, y, min(y + rows, n_y))
        for z in range(n_z)
        for y in range(0, n_y, rows)
        if row_start[z * n_y + min(y + rows, n_y)] > row_start[z * n_y + y]
    ]
    return np.array(units, np.int32)


def _parts(
    units: npt.NDArray[np.int32],
    row_start: npt.NDArray[np.int32],
    run_length: npt.NDArray[np.int32],
    n_y: int,
    n_parts: int,
) -> list[tuple[int, int]]:
    """Return ranges of units with about the same number of voxels each; they decide who does what, not what is done."""
    before_run = np.concatenate([[0], np.cumsum(run_length, dtype=np.int64)])
    unit_end = before_run[row_start[units[:, 0] * n_y + units[:, 2]]]
    edges = np.searchsorted(unit_end, np.linspace(0, unit_end[-1], n_parts + 1)[1:], side="left") + 1
    edges = np.unique(np.concatenate([[0], np.minimum(edges, len(units))]))
    return [(int(first), int(last)) for first, last in itertools.pairwise(edges)]
