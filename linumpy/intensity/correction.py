"""Dividing the field out of a block of voxels, and what may go with it: strength, mask, the result's type.

Everything works voxel by voxel, so that blocks of any shape give the voxels of the whole. A voxel that is not
finite stays as it is; a negative one is divided like any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["BIAS_FIELD_FLOOR", "Clipped", "cast_block", "correct_block"]

BIAS_FIELD_FLOOR = 1e-6
"""No voxel is divided by less."""


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
        A float type converts; an integer type rounds to the nearest (halves to even), clips to its range, and
        turns NaN into 0.

    Returns
    -------
    block : ndarray of dtype
    clipped : Clipped
        Voxels that lay below and above the range, after rounding.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return block.astype(dtype, copy=False), Clipped()
    limits = np.iinfo(dtype)
    rounded = np.rint(block, dtype=np.float64 if dtype.itemsize > 2 else np.float32)
    low, high = int(np.count_nonzero(rounded < limits.min)), int(np.count_nonzero(rounded > limits.max))
    np.nan_to_num(rounded, copy=False, nan=0.0)
    # float64 has no 2**63 - 1: its next value up would wrap around.
    top = np.nextafter(float(limits.max), 0) if dtype.itemsize == 8 else limits.max
    np.clip(rounded, limits.min, top, out=rounded)
    return rounded.astype(dtype), Clipped(low, high)
