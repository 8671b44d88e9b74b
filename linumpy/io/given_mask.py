"""Masks of a user's own: which voxels are tissue, and whether the mask lies where its image lies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.io.geometry import Floats
from linumpy.io.ome_zarr import Image

__all__ = ["misplaced", "tissue_of"]

SIZE_TOLERANCE = 0.01
"""Relative difference of voxel sizes that rounding in metadata explains."""
PLACE_TOLERANCE = 0.51
"""Voxels between the origins: half of one is a matter of centres or corners."""


def tissue_of(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a mask says tissue: neither 0 nor NaN.

    Examples
    --------
    >>> tissue_of(np.array([0, 2.5, np.nan]))
    array([False,  True, False])
    """
    tissue: NDArray[np.bool_] = values != 0
    if values.dtype.kind == "f":
        tissue &= ~np.isnan(values)
    return tissue


def misplaced(mask: Image, image: Image) -> str | None:
    """Say where the metadata of a mask of the image's shape place it, if elsewhere than the image.

    Voxels of 1 at the origin are what writers leave that know of no place: they say nothing.
    """
    if mask.scale == (1.0, 1.0, 1.0) and mask.translation == (0.0, 0.0, 0.0):
        return None
    sizes = [one.voxel_size_mm for one in (mask, image)]
    origins = [_origin_mm(one) for one in (mask, image)]
    if all(math.isclose(a, b, rel_tol=SIZE_TOLERANCE) for a, b in zip(*sizes, strict=True)) and all(
        abs(a - b) <= PLACE_TOLERANCE * size for a, b, size in zip(*origins, image.voxel_size_mm, strict=True)
    ):
        return None
    of_mask, of_image = (
        f"voxels of {_micrometres(size)} µm, the first at ({_micrometres(origin, ', ')}) µm"
        for size, origin in zip(sizes, origins, strict=True)
    )
    return (
        f"the mask's metadata tell of {of_mask}, the image's of {of_image} (z, y, x): was the mask made for another "
        "level or part? It is laid onto the image voxel by voxel"
    )


def _micrometres(values_mm: Floats, between: str = " x ") -> str:
    return between.join(f"{1000 * mm:.4g}" for mm in values_mm)


def _origin_mm(image: Image) -> Floats:
    z, y, x = (t * mm / s for t, mm, s in zip(image.translation, image.voxel_size_mm, image.scale, strict=True))
    return z, y, x
