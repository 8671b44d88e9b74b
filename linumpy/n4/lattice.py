"""A bias field as the control points of a cubic B-spline, exact at any voxel of any grid.

N4 estimates the logarithm of the bias field as a tensor product of uniform cubic B-splines. Its control
points, a few kilobytes, are the field: `Lattice.evaluate` gives the value at every voxel of a volume, or of
any block of it, from the voxel's own position alone, so blocks computed apart fit together bit for bit.

The spline spans the samples of the fit, from the first to the last. A position outside, up to a few voxels at
each face of a subsampled volume, takes the value at the nearest end. (ITK's own reconstruction stretches the
spline over the full grid instead, which moves the field by up to half a shrink step.)

Axes are (Z, Y, X); positions are millimetres, the centre of voxel (0, 0, 0) at 0. Evaluation works in single
precision along Y, where nearly all the arithmetic is, and in double before that; it needs 4 bytes per voxel
of the result and some seven rows in double precision per control point of Y.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from linumpy.n4 import bspline
from linumpy.n4.grid import REAL_KINDS, as_triple, real_numbers

FORMAT = "linumpy.n4.lattice"
FORMAT_VERSION = 1
COMPILED_FROM_VOXELS = 1 << 24
BAND_VOXELS = 1 << 14  # evaluated at a time: the few arrays of it stay in the cache
PLANES_VOXELS = 1 << 17  # of small planes that are evaluated together

TAPS = np.arange(bspline.DEGREE + 1)[:, None]

Triple = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Lattice:
    """Control points of a log bias field.

    Parameters
    ----------
    coefficients : ndarray of float32, shape (cz, cy, cx)
        Control points; an axis has at least 4 of them, or 1 where the field does not vary along it.
    origin_mm : tuple of float
        Position (z, y, x) of the first fit sample: parameter 0.
    extent_mm : tuple of float
        Distance (z, y, x) from the first fit sample to the last: parameter 1. 0 on an axis of one sample.
    n_samples : tuple of int, optional
        Samples (z, y, x) of the fit. ITK keeps the last of an axis 1/1000 of a sample inside the spline;
        given their number, so does `evaluate`, which matters (1e-4) where few samples carry a steep field.

    Raises
    ------
    ValueError
        If the coefficients are not a finite 3-D array of such sizes, the extent is negative, or one sample has one.
    """

    coefficients: npt.NDArray[np.float32]
    origin_mm: Triple
    extent_mm: Triple
    n_samples: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if np.asarray(self.coefficients).dtype.kind not in REAL_KINDS:
            raise ValueError(f"coefficients have dtype {np.asarray(self.coefficients).dtype}; give real numbers")
        coefficients = np.array(self.coefficients, np.float32, order="C")  # a copy: it is frozen
        if coefficients.ndim != 3 or any(n != 1 and n < bspline.DEGREE + 1 for n in coefficients.shape):
            raise ValueError(
                f"coefficients have shape {coefficients.shape}; a lattice has three axes with 1 or at least 4 "
                "control points each"
            )
        if not np.isfinite(coefficients).all():
            raise ValueError("coefficients hold values that are not finite; the fit that made them failed")
        coefficients.flags.writeable = False
        origin, extent = _triple(self.origin_mm, "origin_mm"), _triple(self.extent_mm, "extent_mm")
        if min(extent) < 0:
            raise ValueError(f"extent_mm is {extent}; the last sample must not lie before the first")
        if self.n_samples is not None:
            n_samples = as_triple(self.n_samples, "n_samples", integer=True)
            if any(n == 1 and length > 0 for n, length in zip(n_samples, extent, strict=True)):
                raise ValueError(f"n_samples is {n_samples}, extent_mm {extent}; one sample has the extent 0")
            object.__setattr__(self, "n_samples", n_samples)
        object.__setattr__(self, "coefficients", coefficients)
        object.__setattr__(self, "origin_mm", origin)
        object.__setattr__(self, "extent_mm", extent)

    @property
    def across(self) -> tuple[object, ...]:
        """What the lattice is like along Y and X: control points, origin, extent and samples."""
        n_samples = None if self.n_samples is None else self.n_samples[1:]
        return self.coefficients.shape[1:], self.origin_mm[1:], self.extent_mm[1:], n_samples

    @property
    def n_control_points(self) -> tuple[int, int, int]:
        """Control points (z, y, x)."""
        z, y, x = self.coefficients.shape
        return z, y, x

    def evaluate(
        self,
        shape: Sequence[int],
        voxel_size_mm: float | Sequence[float],
        *,
        start: Sequence[float] = (0, 0, 0),
        step: Sequence[float] = (1, 1, 1),
        out: npt.NDArray[np.float32] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Return the log bias field at the voxels of a grid.

        Voxel (k, j, i) of the result lies at ``(start + (k, j, i) * step) * voxel_size_mm``. Its value
        depends on nothing else: a block is the crop of the whole, bit for bit.

        Parameters
        ----------
        shape : sequence of int
            Shape (Z, Y, X) of the result.
        voxel_size_mm : float or sequence of float
            Voxel size (z, y, x).
        start, step : sequence of float
            First voxel and distance between voxels, in voxels of `voxel_size_mm`; may be fractional.
        out : ndarray of float32, optional
            C-contiguous array of `shape` to write into.

        Returns
        -------
        ndarray of float32, shape (Z, Y, X)
            Logarithm of the bias field; the corrected image is ``image / exp(field)``.

        Raises
        ------
        ValueError
            If `out` has another shape, dtype or layout.
        """
        size = as_triple(shape, "shape", integer=True)
        voxel = as_triple(voxel_size_mm, "voxel_size_mm")
        if out is None:
            out = np.empty(size, np.float32)
        elif out.shape != size or out.dtype != np.float32 or not out.flags.c_contiguous:
            raise ValueError(
                f"out has shape {out.shape} and dtype {out.dtype}; it must be a C-contiguous float32 array of "
                f"shape {size}"
            )
        z, y, x = (self._basis(axis, size[axis], voxel[axis], start[axis], step[axis]) for axis in range(3))
        n_planes, expand_rows = _planes_at_once(out), _row_expansion(out.size)
        for first in range(0, len(out), n_planes):
            part = slice(first, first + n_planes)
            _expand_planes(self._control_planes(z.first[part], z.weights[part]), y, x, out[part], expand_rows)
        return out

    def _control_planes(
        self, first: npt.NDArray[np.int32], weights: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return the control points (n, cy, cx) of planes, four of an axis that is constant."""
        coefficients = self.coefficients.astype(np.float64)
        for axis, n in enumerate(coefficients.shape):
            if n == 1:
                coefficients = np.repeat(coefficients, bspline.DEGREE + 1, axis=axis)
        terms = coefficients[first + TAPS]
        control_planes: npt.NDArray[np.float64] = _contract(terms, weights.T[:, :, None, None])
        return control_planes

    def _basis(self, axis: int, n: int, voxel_mm: float, start: float, step: float) -> bspline.Basis:
        """Return the basis at `n` voxels of an axis; outside the fit's samples it is that of the nearest end."""
        n_samples = None if self.n_samples is None else self.n_samples[axis]
        n_control = self.coefficients.shape[axis]
        if self.extent_mm[axis] == 0:  # it is the same everywhere
            return _basis(n_control, 0.0, 0.0, None, n, 1.0, 0.0, 1.0)
        return _basis(n_control, self.origin_mm[axis], self.extent_mm[axis], n_samples, n, voxel_mm, start, step)

    def parameter(self, axis: int, n: int, voxel_mm: float, start: float = 0, step: float = 1) -> bspline.FloatArray:
        """Return where `n` voxels of an axis lie on the spline, in spans; the arguments are those of `evaluate`."""
        n_samples = None if self.n_samples is None else self.n_samples[axis]
        n_control = self.coefficients.shape[axis]
        return _parameter(n_control, self.origin_mm[axis], self.extent_mm[axis], n_samples, n, voxel_mm, start, step)

    def refine(self, axes: Sequence[bool] = (True, True, True)) -> Lattice:
        """Return the same field with twice the spans (n -> 2n - 3) on the given axes; constant axes stay."""
        coefficients: npt.NDArray[Any] = self.coefficients.astype(np.float64)
        for axis, wanted in enumerate(axes):
            if wanted and coefficients.shape[axis] > 1:
                coefficients = bspline.refine(coefficients, axis)
        return replace(self, coefficients=coefficients.astype(np.float32))

    def __add__(self, other: Lattice) -> Lattice:
        """Return the sum of two fields on the same lattice.

        Raises
        ------
        ValueError
            If the lattices differ in control points, origin, extent or samples.
        """
        if not isinstance(other, Lattice):
            return NotImplemented
        if self._geometry != other._geometry:
            raise ValueError(
                f"lattices differ: control points, origin, extent and samples are {self._geometry} and "
                f"{other._geometry}; "
                "only lattices of one fit grid and level add up"
            )
        return replace(self, coefficients=self.coefficients + other.coefficients)

    def __eq__(self, other: object) -> bool:
        """Return whether both lattices have the same geometry and the same control points, bit for bit."""
        if not isinstance(other, Lattice):
            return NotImplemented
        return self._geometry == other._geometry and np.array_equal(self.coefficients, other.coefficients)

    __hash__ = None  # type: ignore[assignment]

    @property
    def _geometry(self) -> tuple[object, ...]:
        return self.n_control_points, self.origin_mm, self.extent_mm, self.n_samples

    def to_dict(self) -> dict[str, Any]:
        """Return the lattice as values that JSON can hold; `from_dict` gives it back bit for bit.

        The keys are `type`, `version`, `quantity`, `spline_degree`, `axes` (the order of everything that
        follows), `unit`, `origin_mm`, `extent_mm`, `n_samples` (or null), `n_control_points`, and
        `coefficients`, nested lists [z][y][x]. Control points are written with the fewest digits that name
        their single-precision value.
        """
        digits = [float(str(value)) for value in self.coefficients.ravel()]
        return {
            "type": FORMAT,
            "version": FORMAT_VERSION,
            "quantity": "natural logarithm of the bias field; corrected image = image / exp(value)",
            "spline_degree": bspline.DEGREE,
            "axes": ["z", "y", "x"],
            "unit": "millimeter",
            "origin_mm": list(self.origin_mm),
            "extent_mm": list(self.extent_mm),
            "n_samples": None if self.n_samples is None else list(self.n_samples),
            "n_control_points": list(self.n_control_points),
            "coefficients": np.array(digits, dtype=np.float64).reshape(self.coefficients.shape).tolist(),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Lattice:
        """Return the lattice that `to_dict` described.

        Raises
        ------
        ValueError
            If `record` is not such a description, or of a version this release does not know.
        """
        if record.get("type") != FORMAT or record.get("version") != FORMAT_VERSION:
            raise ValueError(
                f"the record is of type {record.get('type')!r}, version {record.get('version')!r}; expected "
                f"{FORMAT!r}, version {FORMAT_VERSION}, as written by Lattice.to_dict of this release"
            )
        try:
            coefficients = np.array(record["coefficients"], np.float64).astype(np.float32)
            declared = tuple(record["n_control_points"])
            n_samples = record.get("n_samples")
            lattice = cls(
                coefficients,
                tuple(record["origin_mm"]),
                tuple(record["extent_mm"]),
                None if n_samples is None else tuple(n_samples),
            )
        except KeyError as error:
            raise ValueError(f"the lattice record lacks {error}; it was cut short or edited") from None
        if lattice.n_control_points != declared:
            raise ValueError(
                f"n_control_points says {declared}, the coefficients have shape {coefficients.shape}; "
                "the record was cut short or edited"
            )
        return lattice


def evaluate_thin(
    lattices: Sequence[Lattice],
    voxel_size_mm: Sequence[float],
    *,
    start: Sequence[int],
    step: Sequence[int],
    out: npt.NDArray[np.float32],
) -> None:
    """Write the log bias fields of planes that each have a lattice of their own, the same bits as one by one.

    Parameters
    ----------
    lattices : sequence of Lattice
        A plane each; all of the same :attr:`Lattice.across`.
    voxel_size_mm : sequence of float
        Voxel size (z, y, x).
    start, step : sequence of int
        As for :meth:`Lattice.evaluate`; along Z of the planes.
    out : ndarray of float32, shape (Z, Y, X), C-contiguous
        Gets the fields.
    """
    y, x = (lattices[0]._basis(axis, out.shape[axis], voxel_size_mm[axis], start[axis], step[axis]) for axis in (1, 2))
    n_planes, expand_rows = _planes_at_once(out), _row_expansion(out.size)
    for first in range(0, len(out), n_planes):
        part = lattices[first : first + n_planes]
        control_planes = []
        for i, lattice in enumerate(part, start=first):
            z = lattice._basis(0, 1, voxel_size_mm[0], start[0] + i * step[0], step[0])
            control_planes.append(lattice._control_planes(z.first, z.weights))
        _expand_planes(np.concatenate(control_planes), y, x, out[first : first + n_planes], expand_rows)


def _planes_at_once(planes: npt.NDArray[np.float32]) -> int:
    """Return how many planes to evaluate together: small ones cost more in calls than in arithmetic."""
    return max(1, PLANES_VOXELS // max(1, planes[0].size)) if len(planes) else 1


def _expand_planes(
    control_planes: npt.NDArray[np.float64],
    y: bspline.Basis,
    x: bspline.Basis,
    out: npt.NDArray[np.float32],
    expand_rows: Callable[..., None],
) -> None:
    """Write planes (n, Y, X), given their control points (n, cy, cx)."""
    control_rows = _contract(np.moveaxis(control_planes[:, :, x.first + TAPS], 2, 0), x.weights.T)
    control_rows = control_rows.astype(np.float32, order="C")
    weights_y = y.weights.astype(np.float32)
    if expand_rows is _expand_rows:
        _expand_rows(control_rows, y.first, weights_y, out)
    else:
        for rows, plane in zip(control_rows, out, strict=True):
            expand_rows(rows, y.first, weights_y, plane)


def _parameter(
    n_control: int,
    origin_mm: float,
    extent_mm: float,
    n_samples: int | None,
    n: int,
    voxel_mm: float,
    start: float,
    step: float,
) -> bspline.FloatArray:
    """Return where `n` voxels lie on the spline of an axis, in spans."""
    relative: bspline.FloatArray = np.zeros(n)
    if extent_mm > 0:
        position = (start + np.arange(n) * step) * voxel_mm
        end = 1.0
        if n_samples is not None:
            end -= bspline.ITK_LAST_KNOT_PULL / (n_samples - 1)
        relative = np.clip((position - origin_mm) / extent_mm, 0.0, end)
    spans: bspline.FloatArray = relative * max(n_control - bspline.DEGREE, 1)
    return spans


@lru_cache(maxsize=64)
def _basis(n_control: int, *axis: Any) -> bspline.Basis:
    """Return the basis at voxels of an axis, see `_parameter`: thin sections have all but Z in common."""
    return bspline.basis(_parameter(n_control, *axis), max(n_control, bspline.DEGREE + 1))


def _triple(values: Sequence[float], name: str) -> Triple:
    numbers = tuple(real_numbers(values))
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name} is {values!r}; give three finite numbers in the order (z, y, x)")
    return numbers


def _contract(terms: npt.NDArray[Any], weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the sum of four weighted terms, always added in this order (a BLAS would choose by shape)."""
    total: npt.NDArray[Any] = weights[0] * terms[0] + weights[1] * terms[1]
    total += weights[2] * terms[2]
    total += weights[3] * terms[3]
    return total


def _row_expansion(n_voxels: int) -> Callable[..., None]:
    """Return the compiled expansion where it is loaded already or worth the second it takes to load.

    Both give the same bits.
    """
    if "linumpy.n4.compiled" not in sys.modules and n_voxels < COMPILED_FROM_VOXELS:
        return _expand_rows
    try:
        from linumpy.n4.compiled import expand_rows
    except ImportError:
        return _expand_rows
    return cast("Callable[..., None]", expand_rows)


def _expand_rows(
    control_rows: npt.NDArray[np.float32],
    first: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    planes: npt.NDArray[np.float32],
) -> None:
    """Write the rows of planes (n, Y, X): row y is the weighted sum of four control rows from ``first[y]`` on."""
    n_rows = max(1, BAND_VOXELS // (len(planes) * planes.shape[2]))
    edges = np.flatnonzero(np.diff(first, prepend=-1, append=-1))
    for span_start, span_stop in itertools.pairwise(edges):
        terms = np.moveaxis(control_rows[:, first[span_start] : first[span_start] + 4, None], 1, 0)
        for y in range(span_start, span_stop, n_rows):
            band = slice(y, min(y + n_rows, span_stop))
            planes[:, band] = _contract(terms, weights[band].T[:, :, None])
