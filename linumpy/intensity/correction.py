"""Dividing the field out of a block of voxels, and what may go with it: strength, mask, the result's type.

Everything works voxel by voxel, so that blocks of any shape give the voxels of the whole. A voxel that is not
finite stays as it is; a negative one is divided like any other.

`correct_block` divides by a field that is there; `FieldDivider` evaluates the field of an acquisition and divides by it
in one compiled pass, without ever holding it (1 ns a voxel instead of 5). They differ by 1e-6 at most.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from linumpy.intensity.bias_model import BiasModel
from linumpy.intensity.offset import subtract_offset
from linumpy.n4 import bspline
from linumpy.n4.correct import BIAS_FIELD_FLOOR
from linumpy.n4.lattice import Lattice

__all__ = ["BIAS_FIELD_FLOOR", "Clipped", "FieldDivider", "cast_block", "correct_block"]


def correct_block(
    block: NDArray[np.generic],
    log_bias_field: NDArray[np.float32],
    *,
    strength: float = 1.0,
    keep: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Divide the bias field out of a block.

    Parameters
    ----------
    block : ndarray of shape (Z, Y, X)
        Image intensities, any real type.
    log_bias_field : ndarray of float32, shape (Z, Y, X)
        Natural logarithm of the field. Overwritten.
    strength : float
        1 gives the corrected image, 0 the original, between them their mixture.
    keep : ndarray of bool, shape (Z, Y, X), optional
        Voxels where it is False become 0.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
    """
    original = block.astype(np.float32, copy=False)
    bias_field = np.exp(log_bias_field, out=log_bias_field)
    np.maximum(bias_field, np.float32(BIAS_FIELD_FLOOR), out=bias_field)
    if strength == 1:
        corrected = np.divide(original, bias_field, out=bias_field)
    else:
        # One factor, not a difference of images: an infinite voxel would become NaN.
        factor = np.divide(np.float32(strength), bias_field, out=bias_field)
        factor += np.float32(1 - strength)
        corrected = np.multiply(original, factor, out=factor)
    if keep is not None:
        corrected[~keep] = 0
    return corrected


class FieldDivider:
    """The field of a rectangle of columns, plane by plane.

    Parameters
    ----------
    bias : BiasModel
        The whole field.
    rows, columns : (int, int)
        First voxel and the one after the last along Y and X.
    executor : Executor
        Planes go through its threads. They change no bit.
    """

    def __init__(self, bias: BiasModel, rows: tuple[int, int], columns: tuple[int, int], executor: Executor) -> None:
        self._bias, self._executor = bias, executor
        self._rectangle = rows, columns
        self._sections: dict[int, _PlaneSpline] = {}  # of the planes that were asked for
        self._stack = _PlaneSpline(bias.global_lattice, bias, rows, columns)

    def divide(
        self,
        block: NDArray[np.generic],
        z_start: int,
        out: NDArray[np.float32],
        *,
        strength: float = 1.0,
        keep: NDArray[np.bool_] | None = None,
        offset: float = 0.0,
    ) -> None:
        """Divide planes from `z_start` on by their field.

        Parameters
        ----------
        block : ndarray of shape (Z, Y, X)
            Image intensities of the rectangle, any real type.
        z_start : int
            Plane of the volume that it begins at.
        out : ndarray of float32, shape (Z, Y, X), C-contiguous
            Gets the corrected intensities; may be `block`.
        strength, keep
            As for `correct_block`.
        offset : float
            Subtracted first.
        """
        from linumpy.intensity.correction_kernels import divide_plane

        def one(i: int) -> None:
            values = np.require(
                subtract_offset(block[i], offset), np.float32, ["C", "A", "W"]
            )  # a copy where the kernel would not take it
            divide_plane(values, *self._splines(z_start + i), BIAS_FIELD_FLOOR, strength, out[i])
            if keep is not None:
                np.copyto(out[i], 0, where=~keep[i])

        list(self._executor.map(one, range(len(block))))

    def bias_field(self, z_start: int, z_stop: int) -> NDArray[np.float32]:
        """Return the field that `divide` divides by, shape (Z, Y, X)."""
        from linumpy.intensity.correction_kernels import bias_field_plane

        fields = np.empty((z_stop - z_start, *self._stack.shape), np.float32)

        def one(i: int) -> None:
            bias_field_plane(*self._splines(z_start + i), BIAS_FIELD_FLOOR, fields[i])

        list(self._executor.map(one, range(len(fields))))
        return fields

    def _splines(self, z: int) -> tuple[object, ...]:
        index = self._bias.section_of(z)
        section = self._sections.get(index)
        if section is None:  # threads that meet here make the same twice
            section = _PlaneSpline(self._bias.section_lattice(index), self._bias, *self._rectangle)
            self._sections[index] = section
        return (*section.at(z), *self._stack.at(z), self._bias.plane_level(index, z))


class _PlaneSpline:
    """A lattice brought to the rows and columns of a rectangle; the zero spline where there is none."""

    def __init__(
        self, lattice: Lattice | None, bias: BiasModel, rows: tuple[int, int], columns: tuple[int, int]
    ) -> None:
        self.shape = (rows[1] - rows[0], columns[1] - columns[0])
        n_y, n_x = self.shape
        self._lattice, self._voxel_z = lattice, bias.voxel_size_mm[0]
        n_control_points = [bspline.DEGREE + 1] * 3
        place_y, place_x = np.zeros(n_y), np.zeros(n_x)
        if lattice is not None:
            _, voxel_y, voxel_x = bias.voxel_size_mm
            place_y = lattice.parameter(1, n_y, voxel_y, rows[0])
            place_x = lattice.parameter(2, n_x, voxel_x, columns[0])
            self._coefficients = lattice.coefficients.astype(np.float64)
            for axis in np.flatnonzero(np.array(lattice.coefficients.shape) == 1):
                # Constant along it: four equal control points.
                self._coefficients = np.repeat(self._coefficients, bspline.DEGREE + 1, axis=axis)
            n_control_points = list(self._coefficients.shape)
        y = bspline.basis(place_y, n_control_points[1])
        first_x = bspline.basis(place_x, n_control_points[2]).first
        spans = np.arange(n_control_points[2] - bspline.DEGREE + 1)
        self._in_plane = (
            y.first,
            y.weights,
            np.searchsorted(first_x, spans).astype(np.int32),
            (place_x - first_x).astype(np.float32),
        )

    def at(self, z: int) -> tuple[object, ...]:
        """Return what the kernels take for plane `z`."""
        if self._lattice is None:
            return (np.zeros((bspline.DEGREE + 1,) * 2), *self._in_plane)
        place = self._lattice.parameter(0, 1, self._voxel_z, z)
        (first,), (weights,), _ = bspline.basis(place, self._coefficients.shape[0])
        terms = self._coefficients[first : first + bspline.DEGREE + 1]
        # Added in this order: a BLAS would choose one by shape.
        control = ((weights[0] * terms[0] + weights[1] * terms[1]) + weights[2] * terms[2]) + weights[3] * terms[3]
        return (control, *self._in_plane)


@dataclass(frozen=True)
class Clipped:
    """Voxels that the result's type could not hold."""

    low: int = 0
    high: int = 0

    def __add__(self, other: Clipped) -> Clipped:
        return Clipped(self.low + other.low, self.high + other.high)


def cast_block(block: NDArray[np.float32], dtype: DTypeLike) -> tuple[NDArray[np.generic], Clipped]:
    """Turn corrected intensities into the result's type.

    Parameters
    ----------
    block : ndarray of float32
        Corrected intensities.
    dtype : dtype
        A float type converts, and clips what is finite to its range; an integer type rounds to the nearest (halves
        to even), clips to its range, and turns NaN into 0.

    Returns
    -------
    block : ndarray of dtype
    clipped : Clipped
        Voxels that lay below and above the range, after rounding.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        if dtype.itemsize >= block.dtype.itemsize:
            return block.astype(dtype, copy=False), Clipped()
        with np.errstate(over="ignore"):
            narrow = block.astype(dtype)
        beyond = np.isinf(narrow) & np.isfinite(block)
        high = beyond & (narrow > 0)
        range_of = np.finfo(dtype)
        narrow[beyond] = np.where(high[beyond], range_of.max, range_of.min)
        n_high = int(np.count_nonzero(high))
        return narrow, Clipped(int(np.count_nonzero(beyond)) - n_high, n_high)
    limits = np.iinfo(dtype)
    rounded = np.rint(block, dtype=np.float64 if dtype.itemsize > 2 else np.float32)
    low, high = int(np.count_nonzero(rounded < limits.min)), int(np.count_nonzero(rounded > limits.max))
    np.nan_to_num(rounded, copy=False, nan=0.0)
    # float64 has no 2**63 - 1: its next value up would wrap around.
    top = np.nextafter(float(limits.max), 0) if dtype.itemsize == 8 else limits.max
    np.clip(rounded, limits.min, top, out=rounded)
    return rounded.astype(dtype), Clipped(low, high)
