"""Sections that the samplesheet leaves to the data: they are found before anything is planned, on few voxels.

What is read is the coarsest level of the image that keeps its planes, chunk by chunk, and of that every k-th row and
column. Each plane's tissue is found by itself, since no section is known yet.
"""

from __future__ import annotations

import itertools
import math
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.cuts import FoundCuts, find_cuts
from linumpy.intensity.plane_ratios import plane_ratios
from linumpy.intensity.tissue_mask import compute_tissue_mask
from linumpy.io.ome_zarr import Image
from linumpy.plan.preview import in_voxels_of
from linumpy.printable import listed

__all__ = ["as_reason", "sections_of_data"]

FEWEST_PIXELS = 1 << 14
"""Of a plane of the level that is read, where there is one."""
PLANE_SAMPLES = 1 << 16
ALL_SAMPLES = 1 << 25
"""Most samples of a plane, and of all: 128 MiB."""
MOST_GIB = 16.0
"""Of a level that is read before the run: a few minutes."""
MOST_PLANES = 100_000
NAMED = 12
MEMORY = 3 << 28
"""Most bytes that reading may take: a chunk may decode to far more than it claims."""
MOST_CHUNK = 1 << 28
"""Bytes of a chunk that is read whole for it."""


def sections_of_data(image: Image, parameters: Mapping[str, Any]) -> FoundCuts:
    """Find the sections of an acquisition.

    Parameters
    ----------
    image : Image
        The finest level, with the coarser ones.
    parameters : mapping
        Resolved parameters.

    Returns
    -------
    FoundCuts
        Certain ones.

    Raises
    ------
    ValueError
        If the data do not tell them, or are too many to read for it.
    """
    level = _level(image)
    if level.shape[0] > MOST_PLANES:
        raise ValueError(
            f"n_sections and sections are empty, and {level.shape[0]} planes are too many to look for cuts in before "
            f"the run; give one of them"
        )
    gib = math.prod(level.shape) * level.dtype.itemsize / 2**30
    if gib > MOST_GIB:
        raise ValueError(
            f"n_sections and sections are empty, and the coarsest level that keeps all planes holds {gib:.0f} GiB, too "
            f"many to look for cuts in before the run; give one of them, or a pyramid that is coarser along Y and X"
        )
    samples = min(PLANE_SAMPLES, max(1, ALL_SAMPLES // level.shape[0]))
    apart = max(1, math.ceil(math.sqrt(level.shape[1] * level.shape[2] / samples)))
    if (mib := math.prod(level.chunks) * level.dtype.itemsize >> 20) > MOST_CHUNK >> 20:
        raise ValueError(
            f"n_sections and sections are empty, and chunks of {mib} MiB are too large to look for cuts in before the "
            f"run; give one of them"
        )
    try:
        with at_most(MEMORY):
            volume = _every(level, apart)
    except MemoryError:
        raise ValueError(
            f"n_sections and sections are empty, and to look for cuts takes more than {MEMORY >> 20} MiB: a "
            f"chunk of {level.path} may be damaged, and decode to more than it claims; copy the store again, or give "
            f"one of the two"
        ) from None
    in_samples = in_voxels_of(parameters, (1.0, image.shape[1] / volume.shape[1], image.shape[2] / volume.shape[2]))
    mask = compute_tissue_mask(
        volume,
        in_samples["smoothing_sigma"],
        [(z, z + 1) for z in range(len(volume))],
        in_samples["closing_radius"],
        0,
        0.0,
        method=parameters["mask_method"],
        min_size=in_samples["mask_min_size"],
        largest=parameters["mask_largest"],
        workers=1,
    )
    found = find_cuts(plane_ratios(zip(volume, mask, strict=True)))
    if not found.certain:
        raise ValueError(_not_told(found, len(volume)))
    return found


def as_reason(found: FoundCuts) -> tuple[str, str, str]:
    """Return what was found as the report tells a choice: what, value, why."""
    depths = [z_stop - z_start for z_start, z_stop in found.sections]
    least, most = min(depths), max(depths)
    value = f"{len(depths)}, of {least} planes" if least == most else f"{len(depths)}, of {least} to {most} planes"
    why = (
        "found, since the samplesheet gives none: the brightness jumps at the cuts and repeats between them (the next "
        f"likely cuts are {_times(found.evidence)} times less likely)"
    )
    return "sections", value, why


def _times(evidence: float) -> str:
    return f"10^{evidence / math.log(10):.0f}"


def _not_told(found: FoundCuts, n_planes: int) -> str:
    way_out = (
        f"give n_sections (1 where the planes are one piece, {n_planes} where every plane is a section), or a CSV file "
        f"of bounds in the column sections"
    )
    if not found.told:
        return f"n_sections and sections are empty, and the data do not tell where sections begin; {way_out}"
    starts = [z_start for z_start, _ in found.sections]
    return (
        f"n_sections and sections are empty, and the data do not tell all cuts: most likely {len(starts)} sections "
        f"begin at planes {listed(starts, NAMED)}; look at these planes, and {way_out}"
    )


@contextmanager
def at_most(more: int) -> Iterator[None]:
    """Let this process have so many bytes more than it has; what asks for more gets a MemoryError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    has = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    limits = [limit for limit in (has + more, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _level(image: Image) -> Image:
    """Return the coarsest level that has all planes, and enough of each."""
    levels = [level for level in (image, *image.levels) if level.shape[0] == image.shape[0]]
    return next((level for level in reversed(levels) if math.prod(level.shape[1:]) >= FEWEST_PIXELS), levels[0])


def _every(image: Image, apart: int) -> NDArray[np.float32]:
    """Read every k-th row and column of all planes, a chunk at a time."""
    n_planes, *size = image.shape
    volume = np.empty((n_planes, *(-(-n // apart) for n in size)), np.float32)
    for corner in itertools.product(*(range(0, n, chunk) for n, chunk in zip(image.shape, image.chunks, strict=True))):
        z, *ends = (min(start + chunk, n) for start, chunk, n in zip(corner, image.chunks, image.shape, strict=True))
        firsts = [-(-start // apart) for start in corner[1:]]
        stops = [-(-end // apart) for end in ends]
        if any(first >= stop for first, stop in zip(firsts, stops, strict=True)):
            continue
        y, x = (slice(first * apart, (stop - 1) * apart + 1) for first, stop in zip(firsts, stops, strict=True))
        block = image.read(corner[0], z, y, x)
        volume[corner[0] : z, firsts[0] : stops[0], firsts[1] : stops[1]] = block[:, ::apart, ::apart]
    return volume
