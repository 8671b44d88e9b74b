"""The passes over the voxels that one N4 iteration makes, and their plain array version.

A fit keeps one number per voxel, the log intensity not yet explained by the bias field: ``u = log(image) -
b``. Each pass reads it once:

1. `histogram` counts `u` into 200 bins;
2. `fit_residual` takes the residual ``u - E(u)`` and sums it into the control points;
3. `subtract` evaluates the fitted update, takes it off `u`, and measures it.

`u` is held relative to an offset near its middle, which keeps single precision's last bit near 1e-7. A voxel
outside the mask holds `OUTSIDE`, a value that every pass carries along unharmed: its bin is one of its own,
its residual 0.

Histograms are counted in whole numbers, 2**-20 of a voxel: sums of whole numbers have no order, so the bits
of a histogram depend on no partition, thread or device.

Arrays are (Z, Y, X). `ArrayPasses` is written for NumPy and CuPy; `linumpy.n4.native` and `linumpy.n4.cuda`
hold the fast versions behind the same interface.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from linumpy.n4.bspline import Basis
from linumpy.n4.sharpen import N_HISTOGRAM_BINS, expected_log_intensity

OUTSIDE = np.float32(1e30)  # log intensities stay below 1e3, and 1e30 - 1e3 is 1e30 in single precision
OUTSIDE_BIN = 255
FRACTION_BITS = 20
ONE = 1 << FRACTION_BITS


class Passes(ABC):
    """Log intensities of the masked samples, and the passes over them.

    Attributes
    ----------
    name : str
        What computes: ``"numpy"``, ``"numba"`` or ``"cupy"``.
    xp : module
        Array module of all that goes in and out.
    n_voxels : int
        Voxels in the mask, at least 1.
    offset : float
        Log intensity that was subtracted from every voxel.
    low, high : float
        Smallest and largest value of `u` in the mask, relative to `offset`.
    """

    name: str
    xp: Any
    n_voxels: int
    offset: float
    low: float
    high: float

    @abstractmethod
    def use_bases(self, z: Basis, y: Basis, x: Basis) -> None:
        """Begin a level: all lattices from here on have these bases at the samples."""

    @abstractmethod
    def histogram(self) -> Any:
        """Return the counts (200,), float64, of `u`; each voxel is shared linearly between two bins."""

    @abstractmethod
    def fit_residual(self, expected: Any) -> Any:
        """Return the control points (cz, cy, cx), float64, of the spline fitted to ``u - E(u)``.

        `expected` holds E at the bin centres; between them it is interpolated linearly.
        """

    @abstractmethod
    def subtract(self, control_points: Any) -> float:
        """Take a spline off `u` and return the coefficient of variation of its exp(-spline) over the mask."""

    def close(self) -> None:  # noqa: B027  (only some hold threads)
        """Let go of threads."""

    @property
    def bin_spacing(self) -> float:
        """Log intensity from one bin centre to the next; 0 for a constant image."""
        return (self.high - self.low) / (N_HISTOGRAM_BINS - 1)

    @property
    def bins_per_log_intensity(self) -> np.float32:
        """Reciprocal of the bin spacing; 1 for a constant image: what is `OUTSIDE` must still leave the bins."""
        return np.float32(1 / self.bin_spacing if self.bin_spacing > 0 else 1)

    def sharpen(self, counts: Any) -> Any:
        """Return E(u) at the bin centres, relative to `offset`."""
        return expected_log_intensity(counts, self.low + self.offset, self.bin_spacing, self.xp) - self.offset

    def coefficient_of_variation(self, total: float, total_squares: float) -> float:
        """Return the sample standard deviation over the mean of ``1 + e``, given the sums of e and e**2.

        0 for a single voxel.
        """
        n = self.n_voxels
        if n < 2:
            return 0.0
        variance = max(total_squares - total * total / n, 0.0) / (n - 1)
        return math.sqrt(variance) / (1.0 + total / n)


class ArrayPasses(Passes):
    """The passes in plain array arithmetic, for NumPy or CuPy.

    Needs about 40 bytes per voxel of scratch: meant for checking, and as the fallback where nothing faster
    runs.

    Parameters
    ----------
    samples : array, shape (Z, Y, X)
        Intensities, positive in the mask.
    mask : array of bool, shape (Z, Y, X)
        Samples that take part; at least one.
    xp : module
        Array module to work with.
    """

    def __init__(self, samples: Any, mask: Any, xp: Any = np) -> None:
        self.xp = xp
        self.name = xp.__name__
        inside = xp.asarray(mask)
        intensities = xp.where(inside, xp.asarray(samples, xp.float32), xp.float32(1))
        logarithms = xp.log(intensities.astype(xp.float64)).astype(xp.float32)
        self.n_voxels = int(inside.sum())
        low, high = self._extremes(xp.where(inside, logarithms, OUTSIDE))
        middle = np.float32((low + high) / 2)
        self.offset = float(middle)
        self.u = xp.where(inside, logarithms - middle, OUTSIDE)
        self.low, self.high = self._extremes(self.u)

    def use_bases(self, z: Basis, y: Basis, x: Basis) -> None:
        """Begin a level."""
        xp = self.xp
        bases = (z, y, x)
        self.bases = [xp.asarray(basis.dense()) for basis in bases]
        self.residual_bases = [xp.asarray(basis.dense(residual_weights(basis))) for basis in bases]
        squares = [xp.asarray(basis.dense(basis.weights**2)) for basis in bases]
        self.omega = self._contract((self.u < OUTSIDE).astype(xp.float64), squares)

    def histogram(self) -> Any:
        """Return the counts (200,) of `u`."""
        xp = self.xp
        position = self._position().ravel()
        fraction = position & (ONE - 1)
        shared = xp.zeros(OUTSIDE_BIN + 2)
        shared[:-1] += xp.bincount(position >> FRACTION_BITS, ONE - fraction, OUTSIDE_BIN + 1)
        shared[1:] += xp.bincount(position >> FRACTION_BITS, fraction, OUTSIDE_BIN + 1)
        return shared[:N_HISTOGRAM_BINS] / ONE

    def fit_residual(self, expected: Any) -> Any:
        """Return the control points (cz, cy, cx) of the spline fitted to ``u - E(u)``."""
        xp = self.xp
        position = self._position()
        at_centre, to_next = lookup_table(expected, xp)
        bins = position >> FRACTION_BITS
        fraction = (position & (ONE - 1)).astype(xp.float32) * xp.float32(1 / ONE)
        residual = self.u - (at_centre[bins] + fraction * to_next[bins])
        delta = self._contract(residual.astype(xp.float64), self.residual_bases)
        return divide_where_reached(delta, self.omega, xp)

    def subtract(self, control_points: Any) -> float:
        """Take a spline off `u` and return its coefficient of variation."""
        xp = self.xp
        spline = control_points
        for basis in self.bases:
            spline = xp.tensordot(spline, basis, axes=(0, 1))
        e = xp.where(self.u < OUTSIDE, xp.expm1(-spline), 0.0)
        self.u = self.u - spline.astype(xp.float32)
        self.low, self.high = self._extremes(self.u)
        return self.coefficient_of_variation(float(e.sum()), float((e * e).sum()))

    def _extremes(self, u: Any) -> tuple[float, float]:
        xp = self.xp
        return float(u.min()), float(xp.where(u < OUTSIDE, u, -OUTSIDE).max())

    def _position(self) -> Any:
        """Return each voxel's place on the axis of bins in fixed point; outside the mask, `OUTSIDE_BIN`."""
        xp = self.xp
        with np.errstate(over="ignore"):  # of OUTSIDE, which the minimum takes back
            bins = (self.u - np.float32(self.low)) * self.bins_per_log_intensity
        bins = xp.where(self.u < OUTSIDE, bins, np.float32(OUTSIDE_BIN))
        return (bins * np.float32(ONE)).astype(xp.int32)

    def _contract(self, values: Any, weights: Any) -> Any:
        for matrix in weights:
            values = self.xp.tensordot(values, matrix, axes=(0, 0))
        return values


def residual_weights(basis: Basis) -> npt.NDArray[np.float64]:
    """Return ``b**3 / sum(b**2)``: what a sample's residual weighs at its control points, on one axis."""
    squares = basis.weights**2
    return np.asarray(basis.weights * squares / squares.sum(axis=1, keepdims=True))


def divide_where_reached(delta: Any, omega: Any, xp: Any) -> Any:
    """Return ``delta / omega``, 0 at control points whose support holds no masked sample."""
    reached = omega > 0
    return xp.where(reached, delta / xp.where(reached, omega, 1.0), 0.0)


def lookup_table(expected: Any, xp: Any) -> tuple[Any, Any]:
    """Return E at each of 256 bin centres and its step to the next, float32.

    Past the last bin it stays level; the bin outside the mask holds `OUTSIDE`.
    """
    at_centre = xp.empty(OUTSIDE_BIN + 1, xp.float32)
    at_centre[:N_HISTOGRAM_BINS] = expected
    at_centre[N_HISTOGRAM_BINS:] = at_centre[N_HISTOGRAM_BINS - 1]
    to_next = xp.zeros(OUTSIDE_BIN + 1, xp.float32)
    to_next[:-1] = at_centre[1:] - at_centre[:-1]
    at_centre[OUTSIDE_BIN] = OUTSIDE
    return at_centre, to_next
