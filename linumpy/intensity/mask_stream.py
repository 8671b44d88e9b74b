"""The tissue mask as a stream: smoothing, threshold per section, morphology, in blocks of planes.

One smoother runs over the whole volume. Its planes go, section by section, into a histogram and, where they
fit, into memory; then the section's threshold is found and its planes are thresholded, filled and closed in
threads, a plane each. A section that does not fit is smoothed again for the threshold pass, by a smoother of
its own.

The method ``robust`` splits each section's histogram (`linumpy.intensity.mask_split`). Where the two classes
cannot be trusted, because the section is all tissue or has none, it takes the threshold of the nearest
section before it that can be trusted, or else of the first after it. Where none can, all that was measured
counts as tissue.

A screened mask leaves out the voxels that show nothing of the specimen (`linumpy.intensity.mask_faults`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.mask_faults import FaultCounts
from linumpy.intensity.mask_morphology import NOT_TISSUE, close_along_z, fill_and_close, keep_large
from linumpy.intensity.mask_plan import MaskSettings, keeps_section
from linumpy.intensity.mask_smoothing import CpuSmoother, GpuSmoother, ReadPlanes, load_cupy, too_large
from linumpy.intensity.mask_split import HistogramSplit, split_histogram
from linumpy.intensity.mask_threshold import (
    MIN_VOXELS,
    N_BINS,
    SectionHistogram,
    Tally,
    bin_edges,
    otsu_if_certain,
    otsu_log,
    otsu_of_counts,
)
from linumpy.intensity.sections import Sections

__all__ = ["SectionMask", "stream_mask"]

GROUP_VOXELS = 1 << 18
"""Most voxels of sections that are handled together, and so of one that is counted by sorting."""

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
SmoothedBlocks = Iterator[Float32]


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
    reads : int
        How often the section's planes were read.
    split : HistogramSplit or None
        Background and tissue as the section's own histogram shows them, whatever the method.
    borrowed_from : int or None
        Section whose threshold was taken because this one's classes could not be trusted (method ``robust``).
    captured, leaked : float
        Share of the voxels above, and of those below, the threshold of `split` that exceed `threshold`.
    n_voxels : int
        Voxels of the section.
    left_out : FaultCounts
        Voxels that show nothing of the specimen (screened).
    """

    index: int
    z_start: int
    z_stop: int
    threshold: float | None
    tissue_share: float
    reads: int
    split: HistogramSplit | None = None
    borrowed_from: int | None = None
    captured: float = 0.0
    leaked: float = 0.0
    n_voxels: int = 0
    left_out: FaultCounts = field(default_factory=FaultCounts)


def stream_mask(
    read: ReadPlanes,
    shape: tuple[int, int, int],
    bounds: Sections,
    settings: MaskSettings,
    on_section: Callable[[SectionMask], None] | None = None,
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield ``(z_start, mask)`` of consecutive blocks of planes; see `stream_tissue_mask`."""
    with (
        _ONE_OPENCV_THREAD,
        ThreadPoolExecutor(settings.n_workers, "mask") as executor,
        ThreadPoolExecutor(1) as read_thread,
    ):
        yield from _Stream(read, shape, bounds, settings, executor, read_thread).blocks(on_section)


class _OneOpenCVThread:
    """Holds OpenCV at one thread while any mask is computed: a plane a thread is the parallelism here.

    The number belongs to the process, so of masks that overlap the last to end puts it back.
    """

    def __init__(self) -> None:
        self._lock, self._n_masks, self._n_threads = Lock(), 0, 0

    def __enter__(self) -> None:
        import cv2

        with self._lock:
            if self._n_masks == 0:
                self._n_threads = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._n_masks += 1

    def __exit__(self, *_: object) -> None:
        import cv2

        with self._lock:
            self._n_masks -= 1
            if self._n_masks == 0:
                cv2.setNumThreads(self._n_threads)


_ONE_OPENCV_THREAD = _OneOpenCVThread()


class _Stream:
    """One run over a volume."""

    def __init__(
        self,
        read: ReadPlanes,
        shape: tuple[int, int, int],
        bounds: Sections,
        settings: MaskSettings,
        executor: Executor,
        read_thread: Executor,
    ) -> None:
        self.read, self.shape, self.bounds = read, shape, bounds
        self.settings, self.executor, self.read_thread = settings, executor, read_thread
        self.block_planes, self.step = settings.planes_per_block(shape), settings.planes_per_step(shape)
        self.gpu = load_cupy() if settings.use_gpu else None
        self.records: list[SectionMask] = []  # of the sections whose threshold is known
        self.reads = [0] * len(bounds)
        self.trusted: tuple[int, float] | None = None  # the section to borrow from, and its threshold
        self.faults: dict[int, FaultCounts] | None = {} if settings.screened else None
        self.has_looked_ahead = False
        self.main: CpuSmoother | None = None  # goes through the volume once
        self.tallies = [Tally() for _ in range(settings.n_workers)]

    def blocks(self, on_section: Callable[[SectionMask], None] | None) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Gather finished planes into blocks that end with their section."""
        with closing(self._planes()) as planes:
            finished = close_along_z(planes, self.shape[0], self.settings.z_closing_sections)
            for index, (start, stop) in enumerate(self.bounds):
                n_tissue = 0
                for z, n in self._block_ranges(start, stop):
                    block = np.stack([next(finished) for _ in range(n)])
                    n_tissue += int(np.count_nonzero(block))
                    yield z, block.view(bool)
                if on_section:
                    share = n_tissue / ((stop - start) * self.shape[1] * self.shape[2])
                    on_section(replace(self.records[index], tissue_share=share))

    def _planes(self) -> Generator[UInt8, None, None]:
        """Yield the mask of every plane, all but the closing along Z."""
        try:
            for indices in self._groups():
                yield from self._small_sections(indices) if len(indices) > 1 else self._section(indices[0])
        finally:
            self._close_main()

    def _close_main(self) -> None:
        if self.main is not None:
            self.main.close()
        self.main = None

    def _groups(self) -> Iterator[range]:
        """Yield sections, small ones together: handing planes to threads costs more than their voxels."""
        plane = self.shape[1] * self.shape[2]
        first, most = 0, min(GROUP_VOXELS // plane, self.step)
        while first < len(self.bounds):
            stop = first + 1
            while stop < len(self.bounds) and self.bounds[stop][1] - self.bounds[first][0] <= most:
                stop += 1
            yield range(first, stop)
            first = stop

    def _small_sections(self, indices: range) -> Iterator[UInt8]:
        """Yield the planes of sections that are smoothed, counted and thresholded together."""
        start, stop = self.bounds[indices[0]][0], self.bounds[indices[-1]][1]
        if self.main is None:
            self.main = self._smoother(start, self.shape[0])
        smoothed = np.empty((stop - start, *self.shape[1:]), np.float32)
        self.main.smooth(start, smoothed)
        for index in indices:
            self.reads[index] += 1
        planes: list[Float32] = []
        thresholds: list[float] = []
        for index in indices:
            z_start, z_stop = self.bounds[index]
            kept = smoothed[z_start - start : z_stop - start]
            threshold = self._record(index, SectionHistogram.of_values(kept), kept)
            planes += list(kept)
            thresholds += [np.inf if threshold is None else threshold] * len(kept)
        at_once = max(1, len(planes) // self.settings.n_workers)
        jobs = [slice(first, first + at_once) for first in range(0, len(planes), at_once)]

        def masks(job: slice) -> list[UInt8]:
            pairs = zip(planes[job], thresholds[job], strict=True)
            return [_plane_mask(plane, np.float32(threshold), self.settings) for plane, threshold in pairs]

        for found in list(self.executor.map(masks, jobs)):
            yield from found

    def _section(self, index: int) -> Iterator[UInt8]:
        """Yield the planes of a section."""
        start, stop = self.bounds[index]
        kept = None
        if keeps_section(self.shape, stop - start, self.settings):
            kept = np.empty((stop - start, *self.shape[1:]), np.float32)
        if self.main is None:
            self.main = self._smoother(start, self.shape[0])
        threshold = self._record(index, self._count(self.main, index, kept), kept)
        if threshold is None:
            empty = np.zeros(self.shape[1:], np.uint8)
            yield from (empty for _ in range(start, stop))
            return
        plane_mask = partial(_plane_mask, threshold=np.float32(threshold), settings=self.settings)
        for block in self._again(index, kept):
            yield from list(self.executor.map(plane_mask, block))

    def _record(self, index: int, histogram: SectionHistogram, kept: Float32 | None) -> float | None:
        """Find a section's threshold, None where it has no tissue, and record what was found out."""
        start, stop = self.bounds[index]
        if histogram.maximum == np.inf or (self.settings.method == "otsu" and histogram.minimum == -np.inf):
            raise ValueError(too_large(f"section {index} (planes {start} to {stop})"))
        split, left_out = self._split(index, histogram)
        threshold, borrowed_from = self._threshold(index, histogram, split, kept)
        read_again = threshold is not None and kept is None
        captured, leaked = _shares_above(histogram, split, threshold)
        self.records.append(
            SectionMask(
                index=index,
                z_start=start,
                z_stop=stop,
                threshold=threshold,
                tissue_share=0.0,
                reads=self.reads[index] + read_again,
                split=split,
                borrowed_from=borrowed_from,
                captured=captured,
                leaked=leaked,
                n_voxels=(stop - start) * self.shape[1] * self.shape[2],
                left_out=left_out,
            )
        )
        return threshold

    def _count(self, smoother: CpuSmoother, index: int, kept: Float32 | None) -> SectionHistogram:
        """Smooth a section, into `kept` if given, and count its voxels."""
        self.reads[index] += 1
        start, stop = self.bounds[index]
        for tally in self.tallies:
            tally.clear()
        block = None if kept is not None else self._empty_block(stop - start)
        for z, n in self._block_ranges(start, stop):
            out = kept[z - start : z - start + n] if kept is not None else block[:n]  # type: ignore[index]
            smoother.smooth(z, out, self.tallies)
        return SectionHistogram.of(self.tallies)

    def _split(self, index: int, histogram: SectionHistogram) -> tuple[HistogramSplit | None, FaultCounts]:
        """Split a counted section, and sum up what was left out of it.

        A fill may be all the background there is: where the rest tells no two classes, dark fills count again.
        """
        split = split_histogram(histogram)
        if self.faults is None:
            return split, FaultCounts()
        left_out = FaultCounts.total(self.faults[z] for z in range(*self.bounds[index]) if z in self.faults)
        if split is not None and not split.is_trusted and left_out.filled:
            dark = {value: n for value, n in left_out.filled if 0 < value < split.background}
            again = split_histogram(histogram.plus(dark))
            if again is not None and again.is_trusted:
                return again, left_out
        return split, left_out

    def _again(self, index: int, kept: Float32 | None) -> SmoothedBlocks:
        """Return the section's smoothed planes once more, from memory or from another read."""
        start, stop = self.bounds[index]
        if kept is not None:
            return (kept[z - start : z - start + n] for z, n in self._block_ranges(start, stop))
        self.reads[index] += 1
        return self._smoothed(start, stop)

    def _smoothed(self, start: int, stop: int) -> SmoothedBlocks:
        block = self._empty_block(stop - start)
        with closing(self._smoother(start, stop)) as smoother:
            for z, n in self._block_ranges(start, stop):
                smoother.smooth(z, block[:n])
                yield block[:n]

    def _threshold(
        self, index: int, histogram: SectionHistogram, split: HistogramSplit | None, kept: Float32 | None
    ) -> tuple[float | None, int | None]:
        """Return the threshold, None where the section has no tissue, and the section it is borrowed from."""
        method = self.settings.method
        if histogram.n_voxels < MIN_VOXELS or (split is None and method != "otsu"):
            return None, None
        if method == "otsu_log":
            return otsu_log(histogram), None
        if method == "robust" and split is not None:
            if split.is_trusted:
                self.trusted = index, split.threshold
                return split.threshold, None
            if self.trusted is None and not self.has_looked_ahead:
                self._look_ahead(index + 1)
            return (self.trusted[1], self.trusted[0]) if self.trusted else (split.floor, None)
        certain = otsu_if_certain(histogram)
        return (certain if certain is not None else self._counted_otsu(index, histogram, kept)), None

    def _counted_otsu(self, index: int, histogram: SectionHistogram, kept: Float32 | None) -> float:
        """Return Otsu's threshold from an exact count of the 256 bins."""
        from linumpy.intensity.mask_kernels import count_bins

        edges = bin_edges(histogram.minimum, histogram.maximum)
        counts = np.zeros(N_BINS, np.int64)
        for block in self._again(index, kept):
            for plane in block:
                count_bins(plane, edges, counts)
        return otsu_of_counts(counts, edges)

    def _look_ahead(self, first: int) -> None:
        """Find the first section from `first` on whose classes can be trusted."""
        self.has_looked_ahead = True
        if first == len(self.bounds):
            return
        self._close_main()  # memory for one: it begins anew at the next section
        with closing(self._smoother(self.bounds[first][0], self.shape[0])) as smoother:
            for index in range(first, len(self.bounds)):
                split, _ = self._split(index, self._count(smoother, index, None))
                if split is not None and split.is_trusted:
                    self.trusted = index, split.threshold
                    return

    def _empty_block(self, n_planes: int) -> Float32:
        return np.empty((min(self.step, n_planes), *self.shape[1:]), np.float32)

    def _block_ranges(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        for z in range(start, stop, self.step):
            yield z, min(self.step, stop - z)

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
            step=self.step,
            executor=self.executor,
            read_thread=self.read_thread,
            faults=self.faults,
        )


def _plane_mask(plane: Float32, threshold: np.float32, settings: MaskSettings) -> UInt8:
    """Return the mask of a plane, with `NOT_TISSUE` where voxels were left out: there the smoothed ones are NaN."""
    mask = fill_and_close((plane > threshold).view(np.uint8), settings.closing_radius)
    left_out = np.isnan(plane) if settings.screened else None
    if left_out is not None and left_out.any():
        mask = np.where(left_out, np.uint8(0), mask)
    if settings.min_size > 1 or settings.largest:
        mask = keep_large(mask, settings.min_size, settings.largest)
    if left_out is not None and left_out.any():
        mask = np.where(left_out, np.uint8(NOT_TISSUE), mask)
    return mask


def _shares_above(
    histogram: SectionHistogram, split: HistogramSplit | None, threshold: float | None
) -> tuple[float, float]:
    """Return the share of the voxels above, and of those below, the split that lie above the threshold."""
    if split is None or threshold is None:
        return 0.0, 0.0
    if threshold == split.threshold and histogram.maximum > 1.001 * threshold:  # the bins are 0.006 % wide
        return 1.0, 0.0
    values, counts = histogram.values_at(histogram.met), histogram.voxels
    shares = []
    for part in (values > split.threshold, values <= split.threshold):
        total = int(counts[part].sum())
        shares.append(int(counts[part & (values > threshold)].sum()) / total if total else 0.0)
    return shares[0], shares[1]
