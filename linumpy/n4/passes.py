"""The three passes over the voxels that one N4 iteration makes, and their plain array version.

A fit keeps one number per voxel, the log intensity not yet explained by the bias field: ``u = log(image) -
b``. Each pass reads it once, row by row:

1. `Passes.histogram` counts `u` into 200 bins;
2. `Passes.fit_residual` takes the residual ``u - E(u | v)`` and sums it into the control points;
3. `Passes.subtract` evaluates the fitted update, takes it off `u`, and measures it.

`u` is held relative to an offset near its middle, which keeps single precision's last bit near 1e-7. A voxel
outside the mask holds `OUTSIDE`, a value that every pass carries along unharmed: its bin is one of its own,
its residual 0.

Histograms are counted in whole numbers, 2**-20 of a voxel: sums of whole numbers have no order, so the bits
of a histogram depend on no partition, thread or device.

Arrays are (Z, Y, X). `ArrayPasses` is written for NumPy and CuPy; `linumpy.n4.compiled` and `linumpy.n4.cuda`
hold the fast versions behind the same interface.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from linumpy.n4.bspline import Basis
from linumpy.n4.sharpen import N_HISTOGRAM_BINS

OUTSIDE = np.float32(1e30)  # log intensities stay below 1e3, and 1e30 - 1e3 is 1e30 in single precision
OUTSIDE_BIN = 255
FRACTION_BITS = 20
ONE = 1 << FRACTION_BITS


class Span(NamedTuple):
    """Smallest and largest log intensity in the mask, relative to the offset (0-d arrays or floats)."""

    low: Any
    high: Any


class Update(NamedTuple):
    """Sums over the mask of ``e = exp(-update) - 1`` and of its square."""

    total: Any
    total_squares: Any


class Passes(Protocol):
    """Log intensities of the masked samples, and the passes over them."""

    xp: Any
    """Array module of everything that goes in and out."""
    name: str
    """What computes: ``"numpy"``, ``"numba"`` or ``"cupy"``."""
    offset: float
    """Log intensity that was subtracted from every voxel."""
    n_voxels: int
    """Voxels in the mask, at least 1."""

    def span(self) -> Span:
        """Return the smallest and largest value of `u`."""

    def use_bases(self, z: Basis, y: Basis, x: Basis) -> None:
        """Begin a level: all lattices from here on have these bases at the samples."""

    def histogram(self, low: Any, inverse_spacing: Any) -> Any:
        """Return the counts (200,) of `u`, each voxel shared linearly between its two neighbouring bins."""

    def fit_residual(self, low: Any, inverse_spacing: Any, expected: Any) -> Any:
        """Return the control points (cz, cy, cx), float64, of the spline fitted to ``u - E(u | v)``.

        `expected` is E at the bin centres, relative to the offset; it is read by linear interpolation.
        """

    def subtract(self, control_points: Any) -> Update:
        """Take the spline off `u` and return the sums that its convergence is measured by."""


def residual_weights(basis: Basis) -> npt.NDArray[np.float64]:
    """Return ``b**3 / sum(b**2)``: what a sample's residual weighs at its four control points, on one axis."""
    squares = basis.weights**2
    return basis.weights * squares / squares.sum(axis=1, keepdims=True)


def divide_where_reached(delta: Any, omega: Any, xp: Any) -> Any:
    """Return ``delta / omega``, 0 at control points whose support holds no masked sample."""
    reached = omega > 0
    return xp.where(reached, delta / xp.where(reached, omega, 1.0), 0.0)


class ArrayPasses:
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
        self.name: str = xp.__name__
        inside = xp.asarray(mask)
        intensities = xp.where(inside, xp.asarray(samples), 1).astype(xp.float32)
        self.u = xp.where(inside, xp.log(intensities), OUTSIDE)
        self.n_voxels = int(inside.sum())
        self.offset = 0.0
        low, high = self.span()
        self.offset = middle = float(xp.float32((low + high) / 2))
        self.u = xp.where(inside, self.u - xp.float32(middle), OUTSIDE)

    def span(self) -> Span:
        xp = self.xp
        inside = self.u < OUTSIDE
        return Span(xp.where(inside, self.u, xp.inf).min(), xp.where(inside, self.u, -xp.inf).max())

    def use_bases(self, z: Basis, y: Basis, x: Basis) -> None:
        xp = self.xp
        bases = (z, y, x)
        self.bases = [xp.asarray(basis.dense()) for basis in bases]
        self.residual_bases = [xp.asarray(basis.dense(residual_weights(basis))) for basis in bases]
        squares = [xp.asarray(basis.dense(basis.weights**2)) for basis in bases]
        self.omega = self._contract((self.u < OUTSIDE).astype(xp.float64), squares)

    def histogram(self, low: Any, inverse_spacing: Any) -> Any:
        xp = self.xp
        position = self._position(low, inverse_spacing).ravel()
        fraction = position & (ONE - 1)
        counts = xp.zeros(OUTSIDE_BIN + 2, xp.float64)
        counts[:-1] += xp.bincount(position >> FRACTION_BITS, ONE - fraction, OUTSIDE_BIN + 1)
        counts[1:] += xp.bincount(position >> FRACTION_BITS, fraction, OUTSIDE_BIN + 1)
        return counts[:N_HISTOGRAM_BINS] / ONE

    def fit_residual(self, low: Any, inverse_spacing: Any, expected: Any) -> Any:
        xp = self.xp
        position = self._position(low, inverse_spacing)
        base, slope = lookup_table(expected, xp)
        bins = position >> FRACTION_BITS
        fraction = (position & (ONE - 1)).astype(xp.float32) * xp.float32(1 / ONE)
        residual = self.u - (base[bins] + fraction * slope[bins])
        return divide_where_reached(
            self._contract(residual.astype(xp.float64), self.residual_bases), self.omega, xp
        )

    def subtract(self, control_points: Any) -> Update:
        xp = self.xp
        update = control_points
        for basis in self.bases:
            update = xp.tensordot(update, basis, axes=(0, 1))
        inside = self.u < OUTSIDE
        self.u = self.u - update.astype(xp.float32)
        e = xp.where(inside, xp.expm1(-update), 0.0)
        return Update(e.sum(), (e * e).sum())

    def _position(self, low: Any, inverse_spacing: Any) -> Any:
        """Return each voxel's place on the axis of bins in fixed point; outside the mask, `OUTSIDE_BIN`."""
        xp = self.xp
        bins = (self.u - xp.float32(low)) * xp.float32(inverse_spacing)
        inside = self.u < OUTSIDE
        return (xp.where(inside, bins, xp.float32(OUTSIDE_BIN)) * xp.float32(ONE)).astype(xp.int32)

    def _contract(self, values: Any, weights: Any) -> Any:
        for matrix in weights:
            values = self.xp.tensordot(values, matrix, axes=(0, 0))
        return values


def lookup_table(expected: Any, xp: Any) -> tuple[Any, Any]:
    """Return, per bin, E at its centre and the step to the next; `OUTSIDE` and 0 for the bin outside the mask."""
    base = xp.empty(OUTSIDE_BIN + 1, xp.float32)
    base[:N_HISTOGRAM_BINS] = expected
    base[N_HISTOGRAM_BINS:] = expected[-1]
    slope = xp.zeros(OUTSIDE_BIN + 1, xp.float32)
    slope[:-1] = base[1:] - base[:-1]
    slope[OUTSIDE_BIN - 1] = 0
    base[OUTSIDE_BIN] = OUTSIDE
    return base, slope
