"""The tissue mask as a stream: smoothing, threshold per section, morphology, in blocks of planes.

One smoother runs over the whole volume. Its planes go, section by section, into a histogram and, where they
fit, into memory; then the section's threshold is found and its planes are thresholded, filled and closed in
threads, a plane each. A section that does not fit is smoothed again for the threshold pass, by a smoother of
its own.

Memory is what `mask_memory` counts: rings of float32 planes, blocks as read, the kept planes of one section,
the windows of the closing along Z, 64 MiB of histogram a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.mask_morphology import close_along_z, fill_and_close, keep_large
from linumpy.intensity.mask_smoothing import CpuSmoother, GpuSmoother, ReadPlanes, gaussian_radius, load_cupy
from linumpy.intensity.mask_split import HistogramSplit, split_histogram
from linumpy.intensity.mask_threshold import (
    METHODS,
    MIN_VOXELS,
    N_BINS,
    N_KEYS,
    SectionHistogram,
    Tally,
    bin_edges,
    otsu_if_certain,
    otsu_log,
    otsu_of_counts,
)
from linumpy.intensity.sections import Sections, section_bounds

__all__ = ["MaskMemory", "MaskSettings", "SectionMask", "mask_memory", "stream_mask"]

BLOCK_VOXELS = 1 << 23
"""Voxels of a block where the caller names no number of planes."""

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
SmoothedBlocks = Callable[[], Iterator[Float32]]


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
    use_gpu: bool = False
    max_bytes: int | None = None
    workers: int | None = None
    block_planes: int | None = None

    def __post_init__(self) -> None:
        for name in ("smoothing_sigma", "smoothing_sigma_z"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}; give a standard deviation in voxels, 0 or more")
        for name in ("closing_radius", "z_closing_sections", "min_size"):
            value = getattr(self, name)
            if value < 0 or value != int(value):
                raise ValueError(f"{name} is {value}; give a whole number, 0 or more")
        for name in ("workers", "block_planes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; give 1 or more, or None for the default")
        if self.method not in METHODS:
            raise ValueError(f"mask method {self.method!r} is unknown; choose one of {', '.join(METHODS)}")

    @property
    def n_workers(self) -> int:
        """Threads: as given, or the processors this process may use."""
        return self.workers or len(os.sched_getaffinity(0))

    def planes_per_block(self, shape: tuple[int, int, int]) -> int:
        """Planes of a block: as given, or about `BLOCK_VOXELS`."""
        return self.block_planes or max(4, min(256, BLOCK_VOXELS // (shape[1] * shape[2])))


@dataclass(frozen=True)
class SectionMask:
    """What was found out about a section's mask.

    Attributes
    ----------
    index, z_start, z_stop : int
        The section and its planes.
    threshold : float or None
        Smoothed voxels above it are tissue; None where the section has too few non-zero voxels.
    tissue_share : float
        Share of the section's voxels in the final mask, 0 to 1.
    n_nonzero : int
        Non-zero smoothed voxels.
    reads : int
        How often the section's planes were read.
    split : HistogramSplit or None
        Background and tissue as the section's own histogram shows them, whatever the method.
    borrowed_from : int or None
        Section whose threshold was taken because this one's classes could not be trusted (method ``robust``).
    captured, leaked : float
        Share of the voxels above, and of those below, the threshold of `split` that the threshold takes for tissue.
    """

    index: int
    z_start: int
    z_stop: int
    threshold: float | None
    tissue_share: float
    n_nonzero: int
    reads: int
    split: HistogramSplit | None = None
    borrowed_from: int | None = None
    captured: float = 0.0
    leaked: float = 0.0


class MaskMemory(NamedTuple):
    """What a mask will take: peak bytes, and the reads of the section that is read most (1 or 2)."""

    bytes: int
    reads: int


def mask_memory(
    shape: tuple[int, int, int],
    sections: Sequence[Sequence[int]],
    settings: MaskSettings | None = None,
) -> MaskMemory:
    """Tell the memory that a mask will take, and how often sections are read.

    Parameters
    ----------
    shape : (int, int, int)
        Z, Y, X of the volume.
    sections : sequence of (z_start, z_stop)
        Planes of each section.
    settings : MaskSettings, optional
        Of which `smoothing_sigma_z`, `z_closing_sections`, `max_bytes`, `workers` and `block_planes` count.

    Returns
    -------
    MaskMemory
        Peak bytes, without interpreter and libraries, and reads. Voxels are taken to be read as 8 bytes.

    Notes
    -----
    Where `max_bytes` is less than the rings of planes take, the mask is computed all the same, in the bytes
    returned.
    For the method ``otsu``, a section that is read twice is read a third time in the rare case that its fine
    histogram leaves the threshold in doubt (`SectionMask.reads` tells).

    Examples
    --------
    >>> sections = [(0, 50), (50, 100)]
    >>> mask_memory((100, 4000, 4000), sections, MaskSettings(workers=2)).reads
    1
    >>> mask_memory((100, 4000, 4000), sections, MaskSettings(workers=2, max_bytes=2 << 30)).reads
    2
    """
    settings = settings or MaskSettings()
    bounds = section_bounds(shape[0], [tuple(pair) for pair in sections])
    kept = [_kept_bytes(shape, stop - start, settings) for start, stop in bounds]
    fitting = [size for size in kept if settings.max_bytes is None or size <= settings.max_bytes]
    if len(fitting) == len(kept):
        return MaskMemory(max(kept), 1)
    return MaskMemory(max([_fixed_bytes(shape, settings, smoothers=2), *fitting]), 2)


def _kept_bytes(shape: tuple[int, int, int], n_planes: int, settings: MaskSettings) -> int:
    smoothers = 2 if settings.method == "robust" else 1  # it may look ahead for a section to borrow from
    return _fixed_bytes(shape, settings, smoothers) + 4 * n_planes * shape[1] * shape[2]


def _fixed_bytes(shape: tuple[int, int, int], settings: MaskSettings, smoothers: int) -> int:
    """Bytes beside kept planes: rings, blocks as read and as written, windows along Z, histograms."""
    block = min(settings.planes_per_block(shape), shape[0])
    ring = min(block + 2 * gaussian_radius(settings.smoothing_sigma_z), shape[0])
    streamed = smoothers * (4 * ring + 2 * 8 * block) + (4 * block if smoothers == 2 else 0)
    masks = 2 * block + 2 * (2 * settings.z_closing_sections + 1)
    temporaries = 8 * settings.n_workers  # a plane as float32, or the frames of the morphology, per thread
    return (streamed + masks + temporaries) * shape[1] * shape[2] + (settings.n_workers + 1) * N_KEYS * 8


def stream_mask(
    read: ReadPlanes,
    shape: tuple[int, int, int],
    bounds: Sections,
    settings: MaskSettings,
    on_section: Callable[[SectionMask], None] | None = None,
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield ``(z_start, mask)`` of consecutive blocks of planes; see `stream_tissue_mask`."""
    import cv2

    n_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # a plane a thread is the parallelism here; OpenCV's own threads would come on top
    try:
        with ThreadPoolExecutor(settings.n_workers, "mask") as executor:
            yield from _Stream(read, shape, bounds, settings, executor).blocks(on_section)
    finally:
        cv2.setNumThreads(n_threads)


class _Stream:
    """One run over a volume."""

    def __init__(
        self,
        read: ReadPlanes,
        shape: tuple[int, int, int],
        bounds: Sections,
        settings: MaskSettings,
        executor: Executor,
    ) -> None:
        self.read, self.shape, self.bounds, self.settings, self.executor = (
            read,
            shape,
            bounds,
            settings,
            executor,
        )
        self.block_planes = settings.planes_per_block(shape)
        self.gpu = load_cupy() if settings.use_gpu else None
        self.thresholds: list[
            tuple[float | None, int, int]
        ] = []  # with non-zero voxels and reads, per section

    def blocks(
        self, on_section: Callable[[SectionMask], None] | None
    ) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Gather finished planes into blocks that end at sections and at multiples of `block_planes`."""
        with closing(self._planes()) as planes:
            finished = close_along_z(planes, self.shape[0], self.settings.z_closing_sections)
            for index, (start, stop) in enumerate(self.bounds):
                n_tissue = 0
                for z in range(start, stop, self.block_planes):
                    block = np.stack([next(finished) for _ in range(z, min(z + self.block_planes, stop))])
                    n_tissue += int(np.count_nonzero(block))
                    yield z, block.view(bool)
                if on_section:
                    share = n_tissue / ((stop - start) * self.shape[1] * self.shape[2])
                    on_section(replace(self.records[index], tissue_share=share))

    def _planes(self) -> Generator[UInt8, None, None]:
        """Yield the mask of every plane, all but the closing along Z."""
        with closing(self._smoother(0, self.shape[0])) as smoother:
            for index, (start, stop) in enumerate(self.bounds):
                yield from self._section(smoother, index, start, stop)

    def _section(self, smoother: CpuSmoother, index: int, start: int, stop: int) -> Iterator[UInt8]:
        limit = self.settings.max_bytes
        keep = limit is None or _kept_bytes(self.shape, stop - start, self.settings) <= limit
        smoothed = np.empty((stop - start if keep else self.block_planes, *self.shape[1:]), np.float32)
        histogram = self._count(smoother, index, smoothed, keep)

        def again() -> Iterator[Float32]:
            """Yield the section's smoothed planes once more, from memory or from another read."""
            if keep:
                yield from (smoothed[z - start : z - start + n] for z, n in self._block_ranges(start, stop))
                return
            self.reads[index] += 1
            with closing(self._smoother(start, stop)) as second:
                for z, n in self._block_ranges(start, stop):
                    second.smooth(z, smoothed[:n])
                    yield smoothed[:n]

        split = split_histogram(histogram)
        threshold, borrowed_from = self._threshold(index, histogram, split, again)
        if not keep and threshold is not None:
            blocks = again()
        ...
    def _block_ranges(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        for z in range(start, stop, self.block_planes):
            yield z, min(self.block_planes, stop - z)

    def _smoother(self, z_start: int, z_stop: int) -> CpuSmoother:
        kind = partial(GpuSmoother, *self.gpu) if self.gpu else CpuSmoother
        return kind(
            self.read,
            self.shape,
            z_start,
            z_stop,
            sigma_xy=self.settings.smoothing_sigma,
            sigma_z=self.settings.smoothing_sigma_z,
            block_planes=self.block_planes,
            executor=self.executor,
        )


def _threshold(histogram: SectionHistogram, method: str, again: SmoothedBlocks) -> float | None:
    """Return the section's threshold, or None where it has no tissue."""
    if histogram.n_voxels < MIN_VOXELS:
        return None
    if method == "otsu_log":
        return otsu_log(histogram)
    certain = otsu_if_certain(histogram)
    if certain is not None:
        return certain
    from linumpy.intensity.mask_kernels import count_bins

    edges = bin_edges(histogram.minimum, histogram.maximum)
    counts = np.zeros(N_BINS, np.int64)
    for block in again():
        for plane in block:
            count_bins(plane, edges, counts)
    return otsu_of_counts(counts, edges)


def _plane_mask(plane: Float32, threshold: np.float32, settings: MaskSettings) -> UInt8:
    mask = fill_and_close((plane > threshold).view(np.uint8), settings.closing_radius)
    return keep_large(mask, settings.min_size) if settings.min_size > 1 else mask
