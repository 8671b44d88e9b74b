"""Settings of a tissue mask, and what it takes: memory, and how often a section is read.

Memory is counted in planes: rings of float32 planes, blocks as read, the kept planes of one section, the
windows of the closing along Z; and 64 MiB of histogram a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from linumpy.intensity.mask_smoothing import gaussian_radius
from linumpy.intensity.mask_threshold import METHODS, N_KEYS
from linumpy.intensity.sections import section_bounds
from linumpy.n4.grid import as_whole, is_real
from linumpy.n4.workers import available_cores

__all__ = ["MaskMemory", "MaskSettings", "is_screened", "keeps_section", "mask_memory", "section_bytes"]

BLOCK_VOXELS = 1 << 23
"""Voxels of a block where the caller names no number of planes."""
STEP_PLANES = 4
"""Least planes that are smoothed at once, where a block has as many: enough to keep a few threads busy."""


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """Settings of a mask, as `linumpy.intensity.tissue_mask.stream_tissue_mask` documents them.

    Raises
    ------
    ValueError
        If one is out of its range.
    """

    smoothing_sigma: float = 2.0
    smoothing_sigma_z: float = 1.0
    closing_radius: int = 3
    z_closing_sections: int = 2
    method: str = "otsu"
    min_size: int = 0
    largest: int = 0
    use_gpu: bool = False
    max_bytes: int | None = None
    workers: int | None = None
    block_planes: int | None = None
    itemsize: int = 8
    screened: bool = False

    def __post_init__(self) -> None:
        for name in ("smoothing_sigma", "smoothing_sigma_z"):
            value = getattr(self, name)
            if not (is_real(value) and 0 <= value < np.inf):
                raise ValueError(f"{name} is {value!r}; give a standard deviation in voxels, 0 or more")
        for name in ("closing_radius", "z_closing_sections", "min_size", "largest"):
            object.__setattr__(self, name, as_whole(getattr(self, name), name, 0))
        for name in ("workers", "block_planes"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, as_whole(getattr(self, name), name, 1))
        if self.method not in METHODS:
            raise ValueError(f"mask method {self.method!r} is unknown; choose one of {', '.join(METHODS)}")

    @property
    def n_workers(self) -> int:
        """Threads: as given, or the processors this process may use."""
        return self.workers or available_cores()

    def planes_per_block(self, shape: tuple[int, int, int]) -> int:
        """Planes of a block: as given, or about `BLOCK_VOXELS`."""
        return self.block_planes or max(4, min(256, BLOCK_VOXELS // (shape[1] * shape[2])))

    def planes_per_step(self, shape: tuple[int, int, int]) -> int:
        """Planes that are smoothed and finished at once."""
        fitting = BLOCK_VOXELS // (shape[1] * shape[2])
        return min(self.planes_per_block(shape), max(STEP_PLANES, self.n_workers, fitting))


def is_screened(method: str) -> bool:
    """Tell whether the pipeline leaves out what shows nothing of the specimen: not where it repeats a plain recipe."""
    return method == "robust"


class MaskMemory(NamedTuple):
    """What a mask will take: peak bytes, and the reads of the section that is read most (1 or 2)."""

    bytes: int
    reads: int


def mask_memory(
    shape: tuple[int, int, int],
    sections: Sequence[Sequence[int]],
    *,
    smoothing_sigma_z: float = 1.0,
    z_closing_sections: int = 2,
    method: str = "otsu",
    max_bytes: int | None = None,
    workers: int | None = None,
    block_planes: int | None = None,
    itemsize: int = 8,
    screened: bool = False,
) -> MaskMemory:
    """Tell the memory that a mask will take, and how often sections are read.

    Parameters
    ----------
    shape, sections, smoothing_sigma_z, z_closing_sections, method, max_bytes, workers, block_planes, itemsize, screened
        As in `linumpy.intensity.tissue_mask.stream_tissue_mask`.

    Returns
    -------
    MaskMemory
        Peak bytes, without interpreter and libraries, and reads.

    Notes
    -----
    Where `max_bytes` is less than the rings of planes take, the mask is computed all the same, in the bytes
    returned. `SectionMask.reads` tells what was read in the end. With the method ``otsu``, a section that is
    read twice is read a third time where its fine histogram leaves the threshold in doubt; with ``robust``,
    sections at the start of the volume that cannot be trusted make it read ahead, up to the first that can.

    Examples
    --------
    >>> sections = [(0, 50), (50, 100)]
    >>> mask_memory((100, 4000, 4000), sections, workers=2).reads
    1
    >>> mask_memory((100, 4000, 4000), sections, workers=2, max_bytes=2 << 30).reads
    2
    """
    settings = MaskSettings(
        smoothing_sigma_z=smoothing_sigma_z,
        z_closing_sections=z_closing_sections,
        method=method,
        max_bytes=max_bytes,
        workers=workers,
        block_planes=block_planes,
        itemsize=itemsize,
        screened=screened,
    )
    bounds = section_bounds(shape[0], [tuple(pair) for pair in sections])
    depths = [stop - start for start, stop in bounds]
    kept = [section_bytes(shape, depth, settings) for depth in depths if keeps_section(shape, depth, settings)]
    if len(kept) == len(depths):
        return MaskMemory(max(kept), 1)
    return MaskMemory(max([_fixed_bytes(shape, settings, smoothers=2), *kept]), 2)


def keeps_section(shape: tuple[int, int, int], n_planes: int, settings: MaskSettings) -> bool:
    """Tell whether a section's smoothed planes stay in memory, rather than being read and smoothed again.

    They do where they fit `max_bytes`, and where they take no more than the second smoother that reading again needs
    (thin sections of wide planes).
    """
    if settings.max_bytes is None or section_bytes(shape, n_planes, settings) <= settings.max_bytes:
        return True
    again = _fixed_bytes(shape, settings, smoothers=2) - _fixed_bytes(shape, settings, smoothers=1)
    return 4 * n_planes * shape[1] * shape[2] <= again


def section_bytes(shape: tuple[int, int, int], n_planes: int, settings: MaskSettings) -> int:
    """Return the bytes that a mask takes while it keeps the smoothed planes of a section."""
    return _fixed_bytes(shape, settings, smoothers=1) + 4 * n_planes * shape[1] * shape[2]


def _fixed_bytes(shape: tuple[int, int, int], settings: MaskSettings, smoothers: int) -> int:
    """Bytes beside kept planes: rings, blocks as read and as written, windows along Z, histograms."""
    block, step = (min(n, shape[0]) for n in (settings.planes_per_block(shape), settings.planes_per_step(shape)))
    ring = min(step + 2 * gaussian_radius(settings.smoothing_sigma_z), shape[0])
    streamed = smoothers * (4 * ring + 2 * settings.itemsize * block) + (4 * step if smoothers == 2 else 0)
    masks = 2 * step + 2 * (2 * min(settings.z_closing_sections, shape[0] - 1) + 1)
    # A plane as float32, or the frames of the morphology, per thread; what is left out, and its weights, besides.
    temporaries = (24 if settings.screened else 8) * settings.n_workers
    return (streamed + masks + temporaries) * shape[1] * shape[2] + (settings.n_workers + 1) * N_KEYS * 8
