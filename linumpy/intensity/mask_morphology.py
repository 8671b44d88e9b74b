"""Shape of the tissue mask: holes, closing of planes, closing along Z, small pieces.

A closing never removes tissue: beyond the faces of the volume the mask goes on as it is at the face. All
works on single planes (Y, X) of uint8, 0 or 1; the closing along Z keeps the planes that its reach spans.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["NOT_TISSUE", "close_along_z", "disk", "fill_and_close", "keep_large"]

UInt8 = NDArray[np.uint8]

NOT_TISSUE = 2
"""A pixel that no closing along Z makes tissue."""
MAX_SWEPT_RADIUS = 32
"""Of a disk that is moved over a plane: with larger ones distances are faster."""
MAX_DISTANCES = 1 << 20
"""Pixels of a plane whose distances are computed, at some 30 bytes each."""
BAND_BYTES = 1 << 17
"""Of a plane, combined at a time."""


@cache
def disk(radius: int) -> UInt8:
    """Return the disk of pixels within `radius` of its centre, uint8 (2 * radius + 1, 2 * radius + 1)."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    shape: UInt8 = (y * y + x * x <= radius * radius).astype(np.uint8)
    return shape


def fill_and_close(plane: UInt8, closing_radius: int) -> UInt8:
    """Fill the holes of a plane (background without a 4-connected way out), then close it with a disk."""
    if not plane.any():
        return plane
    import cv2

    framed = cv2.copyMakeBorder(plane, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(framed, None, (0, 0), 2, flags=4)
    filled: UInt8 = (framed[1:-1, 1:-1] != 2).view(np.uint8)
    if closing_radius == 0:
        return filled
    r = closing_radius
    # A frame of r suffices: further out the extended mask repeats what the disk's own rows and columns see.
    extended = cv2.copyMakeBorder(filled, r, r, r, r, cv2.BORDER_REPLICATE)
    if r > MAX_SWEPT_RADIUS and extended.size <= MAX_DISTANCES:
        closed = _closed_by_distance(extended, r)
    else:
        closed = cv2.morphologyEx(extended, cv2.MORPH_CLOSE, disk(r)).view(np.uint8)
    return closed[r:-r, r:-r]


def _closed_by_distance(plane: UInt8, radius: int) -> UInt8:
    """Close a plane with a disk, bit for bit as by moving it over the plane, in a time that hardly grows with it."""
    from scipy.ndimage import distance_transform_edt

    reached = distance_transform_edt(plane == 0) <= radius
    if reached.all():
        return np.ones_like(plane)
    closed: UInt8 = (distance_transform_edt(reached) > radius).view(np.uint8)
    return closed


def keep_large(plane: UInt8, min_size: int, largest: int = 0) -> UInt8:
    """Keep the 8-connected pieces of a plane with `min_size` pixels or more, of them the `largest` so many.

    With `largest` 0 all of them are kept; of pieces of one size, those that begin further up come first.
    """
    import cv2

    _, labels, statistics, _ = cv2.connectedComponentsWithStats(plane, connectivity=8)
    keep = statistics[:, cv2.CC_STAT_AREA] >= min_size
    keep[0] = False
    if largest:
        areas = np.where(keep, statistics[:, cv2.CC_STAT_AREA], 0)
        keep[np.argsort(-areas, kind="stable")[largest:]] = False
    kept: UInt8 = keep[labels].view(np.uint8)
    return kept


def close_along_z(planes: Iterable[UInt8], n_planes: int, reach: int) -> Iterator[UInt8]:
    """Close a stack of planes along Z with a structuring element of `reach` planes each way.

    Parameters
    ----------
    planes : iterable of uint8 arrays (Y, X)
        All planes of the volume, or of a section, in order: 0, 1, or `NOT_TISSUE`.
    n_planes : int
        Their number.
    reach : int
        Planes each way, 0 for no closing; what exceeds the planes changes nothing and costs nothing.

    Yields
    ------
    uint8 array (Y, X)
        Closed planes, in order, at most 2 * `reach` planes behind the input.
    """
    reach = min(reach, n_planes - 1)  # from there on a plane sees all planes on either side
    if reach == 0:
        yield from (plane & np.uint8(1) for plane in planes)
        return
    source = iter(planes)
    masks: deque[UInt8] = deque()  # the last planes taken, those of the window below
    n_taken = 0
    dilated: deque[UInt8] = deque(maxlen=2 * reach + 1)
    for z in range(-reach, n_planes + reach):
        first, last = (min(max(edge, 0), n_planes - 1) for edge in (z - reach, z + reach))
        while n_taken <= last:
            masks.append(next(source))
            n_taken += 1
        while n_taken - len(masks) < first:
            masks.popleft()
        dilated.append(_combined(np.bitwise_or, masks))
        if z >= reach:
            closed = _combined(np.bitwise_and, dilated)
            plane = masks[0]  # the first of the window is the plane that is closed
            if max(plane.max(), closed.max()) > 1:
                closed &= ~(plane >> 1) & np.uint8(1)
            yield closed


def _combined(operation: np.ufunc, planes: Iterable[UInt8]) -> UInt8:
    """Combine planes one after the other into a new one, band by band, so that a band stays in the cache."""
    first, *others = planes
    result = np.empty_like(first)
    n_rows = max(1, BAND_BYTES // result.shape[1])
    for y in range(0, len(result), n_rows):
        band = slice(y, y + n_rows)
        result[band] = first[band]
        for plane in others:
            operation(result[band], plane[band], out=result[band])
    return result
