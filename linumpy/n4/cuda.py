"""The voxel passes on a CUDA device, with CuPy.

Three kernels of ``kernels.cu`` do what touches voxels one by one: the histogram, the residual, and taking off
the update with its measures. A fourth sharpens the histogram in one block, which saves some thirty launches.
The contractions between voxels and control points are matrix products in single precision.

An iteration brings 32 bytes to the host, the four measures; nothing else waits. Sums have one order (per
block, then over the blocks; the histogram counts whole numbers), so equal runs on a device give equal bits.

Memory on the device: 4 bytes per voxel for the log intensities, 4 for the residual and later the update, and
the half-contracted products, 4 bytes per voxel times (control points / samples) of X. Loading takes 17 bytes
for a moment.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from linumpy.n4.bspline import Basis
from linumpy.n4.passes import OUTSIDE, Passes, divide_where_reached, residual_weights
from linumpy.n4.sharpen import (
    BIAS_FIELD_FWHM,
    N_HISTOGRAM_BINS,
    PAD_BEFORE,
    PADDED_BINS,
    WIENER_FILTER_NOISE,
)

THREADS = 256
BLOCKS = 1024  # fixed: the order of the sums depends on it

SOURCE = Path(__file__).with_name("kernels.cu")


@cache
def _module(device: int) -> Any:  # one each: a module belongs to the device that it was loaded on
    import cupy

    return cupy.RawModule(code=SOURCE.read_text(encoding="utf-8"), options=("--std=c++14",))


class CudaPasses(Passes):
    """The passes on the current CUDA device.

    Parameters
    ----------
    samples : ndarray, shape (Z, Y, X)
        Intensities on the host, positive in the mask.
    mask : ndarray of bool, shape (Z, Y, X)
        Samples that take part; at least one.
    """

    name = "cupy"

    def __init__(self, samples: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> None:
        import cupy

        self.xp = cupy
        inside = cupy.asarray(np.ascontiguousarray(mask))
        intensities = cupy.asarray(np.ascontiguousarray(samples, np.float32))
        logarithms = cupy.log(cupy.where(inside, intensities, np.float32(1)), dtype=np.float64)
        logarithms = logarithms.astype(np.float32)  # as ITK rounds them
        self.shape = samples.shape
        self.n_voxels = int(np.count_nonzero(mask))
        low = float(cupy.where(inside, logarithms, OUTSIDE).min())
        high = float(cupy.where(inside, logarithms, -OUTSIDE).max())
        middle = np.float32((low + high) / 2)
        self.offset = float(middle)
        self.low, self.high = float(np.float32(low) - middle), float(np.float32(high) - middle)
        self.u = cupy.where(inside, logarithms - middle, OUTSIDE)
        self._residual = cupy.empty_like(self.u)
        self._counts = cupy.empty(512, cupy.uint64)
        self._table = cupy.empty((2, 256), cupy.float32)
        self._measures = cupy.empty((BLOCKS, 4))
        self._result = cupy.empty(4)

    def use_bases(self, z: Basis, y: Basis, x: Basis) -> None:
        """Begin a level."""
        bases = (z, y, x)
        self._bases = [self._on_device(basis.dense()) for basis in bases]
        self._residual_bases = [self._on_device(basis.dense(residual_weights(basis))) for basis in bases]
        squares = [self._on_device(basis.dense(basis.weights**2)) for basis in bases]
        self._omega = _contract((self.u < OUTSIDE).astype(np.float32), squares).astype(np.float64)

    def histogram(self) -> Any:
        """Return the counts, and fractions in 2**-20, of `u` in 256 bins; `sharpen` takes them as they are."""
        self._counts.fill(0)
        arguments = (self.u, np.int64(self.u.size), np.float32(self.low), self.bins_per_log_intensity, self._counts)
        self._launch("histogram", BLOCKS, THREADS, arguments)
        return self._counts

    def sharpen(self, counts: Any) -> Any:
        """Return E(u) at 256 bin centres and the steps between them, (2, 256)."""
        arguments = (
            counts, np.float64(self.low), np.float64(self.bin_spacing), np.float64(self.offset),
            np.float64(BIAS_FIELD_FWHM), np.float64(WIENER_FILTER_NOISE), np.int32(N_HISTOGRAM_BINS),
            np.int32(PAD_BEFORE), self._table[0], self._table[1],
        )  # fmt: skip
        self._launch("sharpen", 1, PADDED_BINS, arguments)
        return self._table

    def fit_residual(self, expected: Any) -> Any:
        """Return the control points (cz, cy, cx) of the spline fitted to ``u - E(u)``."""
        arguments = (
            self.u, np.int64(self.u.size), np.float32(self.low), self.bins_per_log_intensity, expected[0],
            expected[1], self._residual,
        )  # fmt: skip
        self._launch("residual", BLOCKS, THREADS, arguments)
        delta = _contract(self._residual, self._residual_bases).astype(np.float64)
        return divide_where_reached(delta, self._omega, self.xp)

    def subtract(self, control_points: Any) -> float:
        """Take a spline off `u` and return its coefficient of variation."""
        spline = _expand(control_points.astype(np.float32), self._bases, self._residual, self.xp)
        self._launch("subtract", BLOCKS, THREADS, (self.u, spline, np.int64(self.u.size), self._measures))
        self._launch("gather", 1, THREADS, (self._measures, np.int32(BLOCKS), self._result))
        low, high, total, total_squares = self.xp.asnumpy(self._result).tolist()
        self.low, self.high = low, high
        return self.coefficient_of_variation(total, total_squares)

    def _launch(self, name: str, blocks: int, threads: int, arguments: tuple[Any, ...]) -> None:
        self._module().get_function(name)((blocks,), (threads,), arguments)

    def _module(self) -> Any:
        return _module(self.xp.cuda.runtime.getDevice())

    def _on_device(self, matrix: npt.NDArray[np.float64]) -> Any:
        return self.xp.asarray(matrix.astype(np.float32))


def _contract(values: Any, matrices: list[Any]) -> Any:
    """Sum voxels (Z, Y, X) into control points (cz, cy, cx), given matrices (voxels, control points) per axis."""
    z, y, x = matrices
    n_z, n_y, _ = values.shape
    along_x = (values.reshape(n_z * n_y, -1) @ x).reshape(n_z, n_y, -1)
    along_y = y.T @ along_x  # one product per plane
    return (z.T @ along_y.reshape(n_z, -1)).reshape(z.shape[1], y.shape[1], x.shape[1])


def _expand(control_points: Any, matrices: list[Any], out: Any, xp: Any) -> Any:
    """Evaluate a spline at the voxels (Z, Y, X), into `out`."""
    z, y, x = matrices
    along_z = (z @ control_points.reshape(len(control_points), -1)).reshape(len(z), *control_points.shape[1:])
    along_y = y @ along_z
    xp.matmul(along_y.reshape(-1, along_y.shape[2]), x.T, out=out.reshape(-1, out.shape[2]))
    return out
