"""What single precision, in which voxels are corrected, does not hold of an image: refused, or told by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SinglePrecision"]

EXACT = 2**24
"""Integers up to here are float32 numbers."""
LARGE = 1e37
"""Beyond, dividing by a field of 0.03 already overflows."""
LARGEST, SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)


class SinglePrecision:
    """Looks at every plane of an image once.

    Parameters
    ----------
    path : Path
        Of the image, for the messages.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rounded = self._large = 0
        self._largest = 0.0

    def add(self, z_start: int, block: NDArray[Any]) -> None:
        """Take the planes from `z_start` on, shape (Z, Y, X).

        Raises
        ------
        ValueError
            If a finite voxel lies beyond the numbers of single precision.
        """
        if block.dtype.itemsize < 4:
            return
        for z, plane in enumerate(block, start=z_start):
            if block.dtype.kind == "f":
                self._add_floats(z, plane)
            else:
                beyond = plane > EXACT if block.dtype.kind == "u" else (plane > EXACT) | (plane < -EXACT)
                self._rounded += int(np.count_nonzero(beyond))

    def _add_floats(self, z: int, plane: NDArray[Any]) -> None:
        largest = _largest(plane)
        if largest > LARGE:  # an infinite voxel, most often: look closer
            finite = plane[np.isfinite(plane)]
            largest = _largest(finite)
            if largest > LARGEST:
                raise ValueError(
                    f"{self._path}: plane {z} holds voxels of up to {largest:.3g} in magnitude; voxels are corrected "
                    f"in single precision, which ends at {LARGEST:.3g}: divide the image by a power of ten, or "
                    "write NaN where nothing was imaged"
                )
            self._large += int(np.count_nonzero(np.abs(finite) > LARGE))
        self._largest = max(self._largest, largest)

    def warnings(self) -> list[dict[str, Any]]:
        """Return what the report says."""
        told = []
        if self._rounded:
            told.append(
                f"{self._rounded} voxels are integers beyond {EXACT:,}, which are rounded: voxels are corrected in "
                "single precision, 24 bits (1 part in 16.8 million)"
            )
        if self._large:
            told.append(
                f"{self._large} finite voxels are beyond {LARGE:g}; voxels are corrected in single precision, which "
                f"ends at {LARGEST:.2g}, so that some may become infinite: divide the image by a power of ten"
            )
        if 0 < self._largest < SMALLEST:
            told.append(
                f"no voxel is above {self._largest:.2g}; voxels are corrected in single precision, which loses digits "
                f"below {SMALLEST:.2g}: multiply the image by a power of ten"
            )
        return [{"code": "single_precision", "message": message, "section": None} for message in told]


def _largest(values: NDArray[Any]) -> float:
    """Return the largest magnitude, of what is a number; 0 without any."""
    high, low = (function.reduce(values, axis=None, initial=0) for function in (np.fmax, np.fmin))
    return float(max(high, -low))
