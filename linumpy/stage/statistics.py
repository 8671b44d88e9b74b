"""What a person wants to know of a correction, gathered while the voxels are in hand.

Blocks of the slab come in any order and shape. Plane medians and the histogram are taken from every k-th row and
column, counted from the volume's first, so that neither blocks nor slabs change them; pictures are means over square
bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PICTURE_PIXELS", "SlabStatistics", "histogram_of", "histogram_percentiles"]

PLANE_SAMPLES = 32_768
"""Most voxels of a plane that its median is taken from."""
PICTURE_PIXELS = 600
"""Most pixels of a picture along Y and X."""
HISTOGRAM_SHIFT = 15
"""float32 bits below a histogram bin: bins are 0.4 % wide, whatever the range of the data."""

Triple = tuple[int, int, int]
Floats = NDArray[np.float32]


def sample_stride(shape: Sequence[int]) -> int:
    """Rows and columns from one sampled voxel of a plane to the next."""
    return max(1, int(np.ceil(np.sqrt(shape[1] * shape[2] / PLANE_SAMPLES))))


def picture_bin(shape: Sequence[int]) -> int:
    """Rows and columns that one pixel of a picture stands for."""
    return max(1, -(-max(shape[1:]) // PICTURE_PIXELS))


@dataclass
class SlabStatistics:
    """Statistics of the planes ``z_start <= z < z_stop`` of a volume, before and after correction.

    Parameters
    ----------
    shape : tuple of int
        The whole volume (Z, Y, X).
    z_start, z_stop : int
        Planes of the slab.
    """

    shape: Triple
    z_start: int
    z_stop: int
    checksums: NDArray[np.uint64] = field(init=False, repr=False)
    """Of each plane before correction, see `linumpy.stage.checksum_kernels`."""
    _samples: dict[str, NDArray[Any]] = field(init=False, repr=False)
    _pictures: dict[str, _Picture] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        planes = self.z_stop - self.z_start
        self.checksums = np.zeros(planes, np.uint64)
        stride = sample_stride(self.shape)
        sampled = (planes, -(-self.shape[1] // stride), -(-self.shape[2] // stride))
        self._samples = {
            "before": np.zeros(sampled, np.float32),
            "after": np.zeros(sampled, np.float32),
            "mask": np.zeros(sampled, bool),
        }
        p = picture_bin(self.shape)
        z, y, x = (n // 2 for n in self.shape)
        # One bin thick: the middle plane, and the middle bin of rows or columns.
        strips = {
            "yx": ((z, z + 1), (0, self.shape[1]), (0, self.shape[2])),
            "zx": ((self.z_start, self.z_stop), self._bin_of(y, p, 1), (0, self.shape[2])),
            "zy": ((self.z_start, self.z_stop), (0, self.shape[1]), self._bin_of(x, p, 2)),
        }
        self._pictures = {
            f"{axes}_{when}": _Picture(strip, p, "zyx".index(({*"zyx"} - {*axes}).pop()))
            for axes, strip in strips.items()
            for when in ("before", "after")
            if axes != "yx" or self.z_start <= z < self.z_stop
        }

    def _bin_of(self, voxel: int, size: int, axis: int) -> tuple[int, int]:
        first = voxel // size * size
        return first, min(first + size, self.shape[axis])

    def add(self, start: Triple, before: NDArray[Any], after: NDArray[Any], mask: NDArray[np.bool_]) -> None:
        """Take a block that begins at voxel ``start`` (z, y, x) of the volume; ``after`` is what is written of it."""
        from linumpy.stage.checksum_kernels import checksum_planes  # only who reads voxels pays for Numba

        first_plane = start[0] - self.z_start
        self.checksums[first_plane : first_plane + len(before)] += checksum_planes(before, *start[1:])
        stride = sample_stride(self.shape)
        y, x = (-first % stride for first in start[1:])
        rows, columns = ((first + offset) // stride for first, offset in zip(start[1:], (y, x), strict=True))
        for name, block in (("before", before), ("after", after), ("mask", mask)):
            sampled = block[:, y::stride, x::stride]
            z = start[0] - self.z_start
            self._samples[name][
                z : z + len(block), rows : rows + sampled.shape[1], columns : columns + sampled.shape[2]
            ] = sampled
        for name, picture in self._pictures.items():
            picture.add(start, before if name.endswith("before") else after)

    def planes(self) -> dict[str, list[float | int | None]]:
        """Return, per plane, the tissue voxels sampled and their medians before and after; None without tissue."""
        found: dict[str, list[float | int | None]] = {"sampled": [], "median_before": [], "median_after": []}
        for before, after, mask in zip(*self._samples.values(), strict=True):
            tissue = mask & np.isfinite(before)
            found["sampled"].append(int(np.count_nonzero(tissue)))
            for name, values in (("median_before", before), ("median_after", after)):
                found[name].append(float(np.median(values[tissue])) if tissue.any() else None)
        return found

    def histogram(self) -> dict[str, list[int]]:
        """Histogram of the sampled corrected voxels, see :func:`histogram_of`."""
        return histogram_of(self._samples["after"])

    def pictures(self) -> dict[str, Floats]:
        """Return the slab's part of each picture, ``<axes>_before`` and ``<axes>_after``."""
        return {name: picture.mean() for name, picture in self._pictures.items()}


class _Picture:
    """Means over bins of a strip of the volume; along Z a bin is one plane."""

    def __init__(self, strip: Sequence[tuple[int, int]], bin_size: int, thin: int) -> None:
        self._strip, self._thin = strip, thin
        self._bins = (1, bin_size, bin_size)
        size = [-(-stop // n) - start // n for (start, stop), n in zip(strip, self._bins, strict=True)]
        self._sum = np.zeros(size, np.float64)

    def add(self, start: Triple, block: NDArray[Any]) -> None:
        low = [max(a, s) for a, (s, _) in zip(start, self._strip, strict=True)]
        high = [min(a + n, e) for a, n, (_, e) in zip(start, block.shape, self._strip, strict=True)]
        if any(a >= b for a, b in zip(low, high, strict=True)):
            return
        inside = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        part = np.nan_to_num(block[inside].astype(np.float64), posinf=0.0, neginf=0.0)
        at = []
        for axis, (a, b, n) in enumerate(zip(low, high, self._bins, strict=True)):
            if n > 1:
                part = np.add.reduceat(part, self._edges(a, b, n)[:-1] - a, axis=axis)
            first = a // n - self._strip[axis][0] // n
            at.append(slice(first, first + part.shape[axis]))
        self._sum[tuple(at)] += part

    def mean(self) -> Floats:
        z, y, x = (
            np.diff(self._edges(start, stop, size)) for (start, stop), size in zip(self._strip, self._bins, strict=True)
        )
        mean = np.squeeze(self._sum / (z[:, None, None] * y[:, None] * x), axis=self._thin)
        return np.asarray(mean, np.float32)

    @staticmethod
    def _edges(start: int, stop: int, size: int) -> NDArray[np.int64]:
        """Where the bins of voxels ``start`` to ``stop`` begin, and ``stop``."""
        return np.append(np.maximum(np.arange(start // size, -(-stop // size)) * size, start), stop)


def histogram_of(values: Floats) -> dict[str, list[int]]:
    """Count finite values in bins that do not depend on their range: the upper bits of a float32.

    Returns
    -------
    dict
        ``bins`` (sorted; negative for negative values) and ``counts``, both JSON values. Histograms add bin by bin.
    """
    finite = np.ascontiguousarray(values[np.isfinite(values)], np.float32)
    keys = finite.view(np.int32) >> HISTOGRAM_SHIFT
    # Negative floats grow in magnitude with their bits: turn them round, below the positive ones.
    keys = np.where(keys < 0, np.int32(-1) - (keys & np.int32(0xFFFF)), keys)
    bins, counts = np.unique(keys, return_counts=True)
    return {"bins": bins.tolist(), "counts": counts.tolist()}


def histogram_percentiles(histograms: Sequence[dict[str, list[int]]], percentiles: Sequence[float]) -> list[float]:
    """Return percentiles of merged histograms, to the width of a bin (0.4 %); 0 where nothing was counted."""
    merged: dict[int, int] = {}
    for histogram in histograms:
        for key, count in zip(histogram["bins"], histogram["counts"], strict=True):
            merged[key] = merged.get(key, 0) + count
    if not merged:
        return [0.0] * len(percentiles)
    keys = sorted(merged)
    reached = np.cumsum([merged[key] for key in keys])
    places = np.searchsorted(reached, np.asarray(percentiles) / 100 * reached[-1])
    return [_bin_value(keys[min(place, len(keys) - 1)]) for place in places]


def _bin_value(key: int) -> float:
    bits = key if key >= 0 else -1 - key
    value = float(np.array([bits << HISTOGRAM_SHIFT], np.int32).view(np.float32)[0])
    return value if key >= 0 else -value
