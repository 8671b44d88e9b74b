"""Voxels of a plane that show nothing of the specimen: saturated, or filled with a constant.

Noise makes neighbouring voxels differ; a fill value does not. So a value that many straight runs of equal voxels
hold, more than its surplus over its neighbours in the histogram explains, is looked at closer. Its connected pieces
count as filled where they touch the border of the plane (frames), have straight sides within it (tiles), or hold its
greatest value (a camera that saturates below the type's limit). Other pieces stay: anatomy that was normalised or
clipped to one value is constant, too, but not straight. What lies at the border and is about the darkest of the plane,
or 0, stays as well: a background of one value, which is out of the mask anyway. An image without noise is constant all
over; there, nothing but zeros can be told.

What was filled loses a rim of one voxel, too: where planes were interpolated it is half fill value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FaultCounts", "PlaneFaults", "ceiling_of", "plane_faults"]

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]

MIN_AREA = 64
"""Pixels of the smallest piece that is taken for a fill."""
MIN_RUNS = 8
"""Aligned runs of a value from which it is looked at."""
MIN_IN_RUNS = 0.5
"""Least ratio of the pixels in runs to the surplus of the value in the histogram."""
MAX_VALUES = 32
FEW = 0.25
"""Voxels that may be darker, but not 0, than a background of one value, relative to those that are brighter."""
LINE = 5
"""Length of the lines that make up a piece."""
MIN_SIDE = 12.0
"""Least length of a side of a tile or frame, pixels."""
MAX_OBLIQUE = 4
"""Sides that do not run along the axes: those of a frame that was turned."""
MIN_STRAIGHT = 0.9
"""Share of the outline of a tile or frame that is such sides."""
NOISE_FREE = 0.01
"""Share of the voxels outside constant pieces below which an image has no noise."""


@dataclass(frozen=True)
class FaultCounts:
    """How many voxels of a plane show nothing of the specimen.

    Attributes
    ----------
    left_out : int
        All of them, rims included.
    saturated : int
        Voxels at the limit of the type.
    filled : tuple of (value, voxels)
        Constant values, sorted, and how many voxels hold them.
    """

    left_out: int = 0
    saturated: int = 0
    filled: tuple[tuple[float, int], ...] = ()

    @classmethod
    def total(cls, planes: Iterable[FaultCounts]) -> FaultCounts:
        """Return the sum over planes."""
        left_out = saturated = 0
        filled: dict[float, int] = {}
        for plane in planes:
            left_out, saturated = left_out + plane.left_out, saturated + plane.saturated
            for value, n in plane.filled:
                filled[value] = filled.get(value, 0) + n
        return cls(left_out, saturated, tuple(sorted(filled.items())))


@dataclass(frozen=True)
class PlaneFaults:
    """What of a plane shows nothing of the specimen: bool array (Y, X), True where left out, and counts of it."""

    voxels: NDArray[np.bool_]
    counts: FaultCounts


def ceiling_of(dtype: np.dtype[Any]) -> np.float32:
    """Return the value at and above which voxels of a type are saturated: an integer's limit, else infinity."""
    return np.float32(np.iinfo(dtype).max if dtype.kind in "iu" else np.inf)


def plane_faults(plane: Float32, ceiling: np.float32) -> PlaneFaults | None:
    """Find what of a plane shows nothing of the specimen; None where all of it does.

    Parameters
    ----------
    plane : float32 array (Y, X)
        As read.
    ceiling : float32
        See `ceiling_of`.

    Returns
    -------
    PlaneFaults or None
    """
    from linumpy.intensity.mask_kernels import count_runs, count_unusable

    values, counts = np.empty(MAX_VALUES, np.float32), np.zeros(MAX_VALUES, np.int64)
    n_unusable = count_unusable(plane, ceiling)
    n_values = count_runs(plane, values, counts)
    runs = {
        float(value): int(n)
        for value, n in zip(values[:n_values], counts[:n_values], strict=True)
        if n >= MIN_RUNS and value < ceiling
    }
    if not n_unusable and not runs:
        return None
    if not np.isfinite(plane).all():
        plane = np.where(np.isfinite(plane), plane, np.float32(0))  # as the smoothing takes it
    saturated = plane >= ceiling
    left_out = saturated.copy()
    filled = []
    for value in _standing_out(plane, runs, left_out):
        pieces = _pieces(plane, value)
        if pieces.any():
            filled.append((value, int(np.count_nonzero(pieces))))
            left_out |= _with_rim(pieces)
    if n_unusable >= MIN_AREA:
        left_out |= _with_rim(_opened(saturated.view(np.uint8)))
    if not left_out.any():
        return None
    n_left_out, n_saturated = int(np.count_nonzero(left_out)), int(np.count_nonzero(saturated))
    return PlaneFaults(left_out, FaultCounts(n_left_out, n_saturated, tuple(filled)))


def _standing_out(plane: Float32, runs: dict[float, int], left_out: NDArray[np.bool_]) -> list[float]:
    """Return the values, in order, whose runs are not chance; none but 0 where the image has no noise."""
    n_voxels = {value: int(np.count_nonzero(plane == np.float32(value))) for value in runs}
    standing_out = []
    for value in sorted(runs):
        if value:
            beside = sum(int(np.count_nonzero(plane == np.float32(value + step))) for step in (-1, 1)) / 2
            if 8 * runs[value] < MIN_IN_RUNS * (n_voxels[value] - beside):
                continue
        standing_out.append(value)
    constant = [value for value in standing_out if value]
    n_constant = sum(n_voxels[value] for value in constant)
    n_usable = plane.size - int(np.count_nonzero(left_out))
    is_blank = len(constant) == 1 and n_constant == n_usable
    n_others = n_usable - n_constant - int(np.count_nonzero(plane == 0))
    if constant and not is_blank and n_others < NOISE_FREE * (n_others + n_constant):
        return [value for value in standing_out if not value]
    return standing_out


def _pieces(plane: Float32, value: float) -> UInt8:
    """Return the pieces of a value that count as filled."""
    import cv2

    opened = _opened((plane == np.float32(value)).view(np.uint8))
    n, labels, statistics, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    at_border = np.zeros(n, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        at_border[edge] = True
    keep = statistics[:, cv2.CC_STAT_AREA] >= MIN_AREA
    keep[0] = False
    if (plane == np.float32(value)).all():
        return opened * np.uint8(value != 0)
    is_brightest = value == float(plane.max())
    n_darker = int(np.count_nonzero((plane > 0) & (plane < np.float32(value))))
    n_brighter = int(np.count_nonzero(plane > np.float32(value)))
    is_background = n_darker < FEW * n_brighter
    for label in np.flatnonzero(keep):
        if at_border[label]:
            keep[label] = not is_background
        elif not is_brightest:
            keep[label] = _is_straight((labels == label).view(np.uint8), statistics[label])
    kept: UInt8 = keep[labels].view(np.uint8)
    return kept


def _is_straight(piece: UInt8, statistics: Sequence[int]) -> bool:
    """Tell whether long sides, along the axes or a few others, make up the outline of a piece."""
    import cv2

    x, y, width, height = statistics[:4]
    cropped = cv2.copyMakeBorder(piece[y : y + height, x : x + width], 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    contours, _ = cv2.findContours(cropped, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    length, along_axes, others = 0.0, 0.0, []
    for contour in contours:
        corners = cv2.approxPolyDP(contour, 1.0, True).reshape(-1, 2).astype(np.int64)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            side = float(np.hypot(x1 - x0, y1 - y0))
            length += side
            if side >= MIN_SIDE and min(abs(x1 - x0), abs(y1 - y0)) <= 1:
                along_axes += side
            elif side >= MIN_SIDE:
                others.append(side)
    return along_axes + sum(sorted(others)[-MAX_OBLIQUE:]) >= MIN_STRAIGHT * length


def _opened(plane: UInt8) -> UInt8:
    """Return what lines along X or Y within a plane cover."""
    import cv2

    across = cv2.morphologyEx(plane, cv2.MORPH_OPEN, np.ones((1, LINE), np.uint8))
    along = cv2.morphologyEx(plane, cv2.MORPH_OPEN, np.ones((LINE, 1), np.uint8))
    opened: UInt8 = (across | along).view(np.uint8)
    return opened


def _with_rim(plane: UInt8) -> NDArray[np.bool_]:
    import cv2

    grown: NDArray[np.bool_] = cv2.dilate(plane, np.ones((3, 3), np.uint8)).view(np.uint8).astype(bool)
    return grown
