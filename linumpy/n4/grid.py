"""The grid that N4 fits on: which voxels of a volume are its samples, and where they lie.

A fit does not need every voxel. `SampleGrid` takes every k-th voxel of each axis, the very voxels that
`itk::ShrinkImageFilter` takes (no averaging, the grid centred on the axis), but keeps each sample at the
position of the voxel it was taken from; ITK's shrunk image declares an origin that is up to half a voxel off.

Axes are in the order (Z, Y, X). Positions are millimetres in the frame of the volume: the centre of voxel (0,
0, 0) is at 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_CONTROL_POINTS = 4  # a cubic B-spline of one span
REAL_KINDS = "iuf"  # of a dtype: integers and floating point
LEAST = 1e-30  # positive number that is told from 0


@dataclass(frozen=True)
class SampleGrid:
    """Every k-th voxel of a volume.

    Parameters
    ----------
    shape : tuple of int
        Shape (Z, Y, X) of the volume.
    start, step, size : tuple of int
        First voxel taken, distance between voxels taken, and number of voxels taken on each axis.
    """

    shape: tuple[int, int, int]
    start: tuple[int, int, int]
    step: tuple[int, int, int]
    size: tuple[int, int, int]

    @classmethod
    def of(cls, shape: Sequence[int], shrink_factor: int | Sequence[int]) -> SampleGrid:
        """Return the grid that `itk::ShrinkImageFilter` would take its voxels from.

        Parameters
        ----------
        shape : sequence of int
            Shape (Z, Y, X) of the volume, at least 1 on each axis.
        shrink_factor : int or sequence of int
            Take every k-th voxel; one number for all axes or one per axis. A factor larger than the axis
            leaves one sample.

        Raises
        ------
        ValueError
            If a size or a factor is not an integer of at least 1.
        """
        sizes = as_triple(shape, "shape", integer=True)
        steps = as_triple(shrink_factor, "shrink_factor", integer=True)
        counts = tuple(max(1, n // k) for n, k in zip(sizes, steps, strict=True))
        # What is left over is split between both ends; an odd remainder leaves the larger part in front, as in ITK.
        starts = tuple((n - (m - 1) * k) // 2 for n, k, m in zip(sizes, steps, counts, strict=True))
        return cls(sizes, starts, steps, counts)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Slices that take the samples out of an array of `shape`."""
        z, y, x = (
            slice(first, first + (count - 1) * step + 1, step)
            for first, step, count in zip(self.start, self.step, self.size, strict=True)
        )
        return z, y, x

    def origin_mm(
        self, voxel_size_mm: Sequence[float], offset: Sequence[float] = (0, 0, 0)
    ) -> tuple[float, float, float]:
        """Return the position (z, y, x) of the first sample.

        Parameters
        ----------
        voxel_size_mm : sequence of float
            Voxel size (z, y, x).
        offset : sequence of float
            Voxel (z, y, x) of a larger volume at which this grid's volume begins.
        """
        z, y, x = ((first + shift) * size for first, shift, size in zip(self.start, offset, voxel_size_mm, strict=True))
        return z, y, x

    def spacing_mm(self, voxel_size_mm: Sequence[float]) -> tuple[float, float, float]:
        """Return the distance (z, y, x) between neighbouring samples."""
        z, y, x = (step * size for step, size in zip(self.step, voxel_size_mm, strict=True))
        return z, y, x


def n_control_points(
    shape: Sequence[int], voxel_size_mm: float | Sequence[float], spline_distance_mm: float | Sequence[float]
) -> tuple[int, int, int]:
    """Return the number of control points of the first fitting level on each axis.

    It is ``max(4, round(extent / spline distance))`` with the extent of the full volume, planes times voxel
    size.

    Parameters
    ----------
    shape : sequence of int
        Shape (Z, Y, X) of the volume at full resolution.
    voxel_size_mm, spline_distance_mm : float or sequence of float
        Positive; one number for all axes or (z, y, x).

    Returns
    -------
    tuple of int
        Control points (z, y, x), three more than spans.

    Raises
    ------
    ValueError
        If a value is not positive and finite.
    """
    sizes = as_triple(shape, "shape", integer=True)
    voxels = as_triple(voxel_size_mm, "voxel_size_mm")
    distances = as_triple(spline_distance_mm, "spline_distance_mm")
    z, y, x = (
        max(MIN_CONTROL_POINTS, round(n * voxel / distance))
        for n, voxel, distance in zip(sizes, voxels, distances, strict=True)
    )
    return z, y, x


def as_whole(value: Any, name: str, least: int) -> int:
    """Return a whole number of any type as an int.

    Raises
    ------
    ValueError
        If it is not a whole number, or less than `least`.
    """
    number = int(value) if is_real(value) and math.isfinite(value) else least - 1
    if number < least or number != value:
        raise ValueError(f"{name} is {value!r}; give a whole number of at least {least}")
    return number


def is_real(value: Any) -> bool:
    """Tell whether it is one real number: no text, boolean, complex number or sequence."""
    return len(real_numbers(value)) == 1 and np.ndim(value) == 0


def as_triple(value: object, name: str, *, integer: bool = False) -> tuple:  # type: ignore[type-arg]
    """Return one positive number per axis (z, y, x), given one number or three.

    Raises
    ------
    ValueError
        If there are not one or three real numbers, or one is not positive and finite (and whole with `integer`), or
        so small or large that single precision has not its like: ratios and products of three of them stay finite.
    """
    kind = "whole number of at least 1" if integer else "positive number"
    numbers = real_numbers(value)
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3:
        raise ValueError(f"{name} is {value!r}; give one {kind}, or three in the order (z, y, x)")
    for number in numbers:
        if not math.isfinite(number) or number <= 0 or (integer and number != int(number)):
            raise ValueError(f"{name} is {value!r}; each value must be a {kind}")
        if not LEAST <= number <= 1 / LEAST:
            raise ValueError(f"{name} is {value!r}; each value must lie between {LEAST:g} and {1 / LEAST:g}")
    return tuple(int(number) if integer else number for number in numbers)


def real_numbers(values: object) -> list[float]:
    """Return one real number, or a sequence of them, as a list; an empty one if it is anything else."""
    try:
        array = np.asarray(values)
    except ValueError:  # of sequences of different lengths
        return []
    if array.ndim > 1 or array.dtype.kind not in REAL_KINDS:
        return []
    return [float(number) for number in np.atleast_1d(array)]
