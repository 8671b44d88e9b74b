"""Serial sections as runs of planes along Z.

A section is what one cut of the tissue left on the block face: the planes ``z_start <= z < z_stop``. The
sections of an acquisition cover its planes without gap or overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.n4.grid import as_whole

__all__ = ["Sections", "equal_cuts", "section_bounds"]

Sections = tuple[tuple[int, int], ...]
"""Planes ``(z_start, z_stop)`` of each section, in order."""


def section_bounds(n_planes: int, sections: int | Sequence[Sequence[int]] | NDArray[Any]) -> Sections:
    """Return the first plane and the plane after the last of every section.

    Parameters
    ----------
    n_planes : int
        Planes of the volume along Z, at least 1.
    sections : int or sequence of (z_start, z_stop)
        Number of sections of equal depth (section i is planes ``round(i * Z / n)`` to
        ``round((i + 1) * Z / n)``), or the bounds themselves, for sections of unequal depth.

    Returns
    -------
    tuple of (int, int)
        ``(z_start, z_stop)`` per section.

    Raises
    ------
    ValueError
        If there are no planes, fewer planes than sections, numbers that are not whole, or bounds that leave planes
        out or overlap.

    Examples
    --------
    >>> section_bounds(10, 3)
    ((0, 3), (3, 7), (7, 10))
    >>> section_bounds(10, [(0, 4), (4, 10)])
    ((0, 4), (4, 10))
    """
    if n_planes < 1:
        raise ValueError(f"the volume has {n_planes} planes along Z; at least 1 is needed")
    if isinstance(sections, np.ndarray):
        sections = sections.tolist()
    if isinstance(sections, Sequence):
        return _checked_bounds(n_planes, sections)
    n_sections = as_whole(sections, "the number of sections", 1)
    if n_sections > n_planes:
        raise ValueError(f"{n_sections} sections do not fit {n_planes} planes; give between 1 and {n_planes} sections")
    # Not `equal_cuts`: what metadata claim may be beyond 64 bits, and is refused later by name.
    edges = [round(i * n_planes / n_sections) for i in range(n_sections + 1)]
    return tuple(pairwise(edges))


def equal_cuts(n_planes: int, n_sections: int) -> NDArray[np.int64]:
    """Return the cuts of `section_bounds` for a number of sections, fast enough to try thousands of numbers.

    Examples
    --------
    >>> equal_cuts(10, 3).tolist()
    [3, 7]
    """
    return np.rint(np.arange(1, n_sections) * n_planes / n_sections).astype(np.int64)


def _checked_bounds(n_planes: int, sections: Sequence[Sequence[int]]) -> Sections:
    expected = 0
    bounds = []
    for index, pair in enumerate(sections):
        if not isinstance(pair, Sequence | np.ndarray) or len(pair) != 2:
            raise ValueError(f"section {index} is {pair!r}; give its planes as (z_start, z_stop)")
        z_start, z_stop = (as_whole(plane, f"a bound of section {index}", 0) for plane in pair)
        if z_start != expected:
            fault = "leaves out" if z_start > expected else "overlaps"
            low, high = sorted((expected, z_start))
            raise ValueError(
                f"section {index} ({z_start} to {z_stop}) {fault} planes {low} to {high}; "
                f"every section starts where the one before it stops, the first at 0"
            )
        if z_stop <= z_start:
            raise ValueError(f"section {index} ({z_start} to {z_stop}) holds no plane; z_stop must exceed z_start")
        bounds.append((z_start, z_stop))
        expected = z_stop
    if expected != n_planes:
        raise ValueError(f"the sections end at plane {expected}, the volume has {n_planes} planes; they must agree")
    return tuple(bounds)
