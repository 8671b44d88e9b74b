"""The camera's offset under an image: subtracted where it is known, and measured at the cuts.

Where a section ends the light jumps by a factor, in tissue as in what surrounds it; an offset does not jump. With
tissue `T` and background `b` on both sides of a cut, ``(b' - o) (T - o) = (b - o) (T' - o)``, which is linear in `o`:

    o ((T - T') - (b - b')) = b' T - b T'

Least squares over the cuts give the offset, and leaving out one cut after the other its standard error. Planes inside a
section are not asked: there anatomy changes as much as the light does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.sections import Sections

__all__ = ["Offset", "measure_offset", "subtract_offset"]

MIN_SAMPLES = 200
"""Fewest samples of tissue, and of background, on both sides of a cut."""
MIN_JUMP = 0.4
"""Least change of the tissue at a cut, in logarithm, that tells anything."""
MIN_CUTS = 4
MIN_SIGNIFICANCE = 10.0
"""Standard errors from 0 at which an offset is likely: anatomy that changes at few cuts looks like 5 of them."""
MIN_SHARE = 0.05
"""Share of the tissue's level below which an offset does no harm."""

Plane = tuple[NDArray[np.float32], NDArray[np.bool_]]


@dataclass(frozen=True)
class Offset:
    """What lies under an image.

    Attributes
    ----------
    value, error : float
        The offset and its standard error, in the image's intensities.
    share : float
        The offset relative to the tissue's median level at the cuts.
    n_cuts : int
        Cuts that it was measured at.
    """

    value: float
    error: float
    share: float
    n_cuts: int

    @property
    def is_likely(self) -> bool:
        """Whether it is there, and large enough to do harm."""
        return self.share >= MIN_SHARE and self.value >= MIN_SIGNIFICANCE * self.error


def subtract_offset(block: NDArray[Any], offset: float) -> NDArray[Any]:
    """Return a block in float32 less the offset; the block itself where that is 0."""
    return block.astype(np.float32) - np.float32(offset) if offset else block


def measure_offset(planes: Iterable[Plane], sections: Sections) -> Offset | None:
    """Measure the offset under an image; None where the cuts do not tell.

    Parameters
    ----------
    planes : iterable of (ndarray of float32, ndarray of bool), each of shape (Y, X)
        Intensities and tissue of every plane of the stack, in order.
    sections : sequence of (z_start, z_stop)
        Planes of each section.

    Returns
    -------
    Offset or None

    Examples
    --------
    >>> tissue = np.arange(800).reshape(20, 40) < 400
    >>> light = np.where(tissue, np.float32(100), np.float32(10))
    >>> planes = [(factor * light + 20, tissue) for factor in (2, 1, 3, 1, 2, 1)]
    >>> found = measure_offset(planes, [(z, z + 1) for z in range(6)])
    >>> round(found.value, 3), found.is_likely
    (20.0, True)
    """
    starts = {start for start, _ in sections[1:]}
    before: Plane | None = None
    levels = []
    for z, plane in enumerate(planes):
        if z in starts and before is not None:
            levels.append(_levels(before, plane))
        before = plane
    told = np.array([cut for cut in levels if cut is not None], np.float64).reshape(-1, 4)
    tissue, tissue_after, around, around_after = told.T
    slopes = (tissue - tissue_after) - (around - around_after)
    sides = around_after * tissue - around * tissue_after
    n_cuts = len(told)
    if n_cuts < MIN_CUTS:
        return None
    # A cut weighs as the light around it: the equation has the square of an intensity on its right.
    weights = 1 / (tissue + tissue_after)
    products, squares = weights**2 * slopes * sides, (weights * slopes) ** 2
    value = products.sum() / squares.sum()
    without = (products.sum() - products) / (squares.sum() - squares)
    error = np.sqrt((n_cuts - 1) / n_cuts * ((without - without.mean()) ** 2).sum())
    share = value / np.median((tissue + tissue_after) / 2)
    return Offset(float(value), float(error), float(share), n_cuts)


def _levels(before: Plane, after: Plane) -> tuple[float, float, float, float] | None:
    """Return tissue before and after a cut, then background, over the same columns; None if they tell little."""
    usable = np.isfinite(before[0]) & np.isfinite(after[0]) & (before[0] != 0) & (after[0] != 0)
    tissue, around = before[1] & after[1] & usable, ~before[1] & ~after[1] & usable
    if min(np.count_nonzero(tissue), np.count_nonzero(around)) < MIN_SAMPLES:
        return None
    level, background, background_after = (
        float(np.median(image[inside]))
        for image, inside in ((before[0], tissue), (before[0], around), (after[0], around))
    )
    ratio = float(np.median(after[0][tissue] / before[0][tissue]))  # of the same columns: anatomy matters less
    if not (level > 0 and ratio > 0) or abs(np.log(ratio)) < MIN_JUMP:
        return None
    return level, ratio * level, background, background_after
