"""Thresholds of the tissue mask, from the histogram of a section's smoothed voxels.

Otsu's threshold needs the extremes of a section before its first voxel can be binned. While a section
streams past, its non-zero voxels are therefore counted in a *fine histogram* whose bins need no extremes:
the leading 23 bits of the float32 pattern, 16,384 bins an octave. Counts are whole numbers that only add up,
so nothing in here depends on blocks, threads or the order of planes.

``otsu`` is scikit-image's ``threshold_otsu`` of the section's voxels: 256 equal bins between the extremes.
The fine histogram tells the count below each of those bins' edges up to the voxels of the one fine bin that
straddles it. That nearly always settles which bin maximises the variance between classes; where it does not,
`otsu_if_certain` returns None and the caller counts exactly. The other methods are defined on the fine
histogram itself.

References
----------
Otsu 1979, doi:10.1109/TSMC.1979.4310076.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "KEY_SHIFT",
    "METHODS",
    "MIN_VOXELS",
    "N_KEYS",
    "SectionHistogram",
    "Tally",
    "best_split",
    "bin_edges",
    "key_values",
    "otsu_if_certain",
    "otsu_log",
    "otsu_of_counts",
]

KEY_SHIFT = 9
"""Low bits of a float32 pattern that the fine histogram leaves out."""
N_KEYS = 1 << (32 - KEY_SHIFT)
MIN_VOXELS = 100
"""A section with fewer non-zero smoothed voxels has no tissue."""
METHODS = ("otsu", "otsu_log", "robust")
N_BINS = 256

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


class Tally:
    """What one thread counts of a section: a fine histogram of all keys, and the extremes."""

    def __init__(self) -> None:
        self.counts = np.zeros(N_KEYS, np.int64)  # untouched pages take no memory
        self.extremes = np.array([np.inf, -np.inf], np.float32)

    def clear(self) -> None:
        """Forget what was counted; only the keys that were met are touched."""
        if self.extremes[0] <= self.extremes[1]:
            first, last = _keys(self.extremes)
            self.counts[first : last + 1] = 0
        self.extremes[:] = np.inf, -np.inf


@dataclass(frozen=True)
class SectionHistogram:
    """Fine histogram of the non-zero smoothed voxels of a section.

    Attributes
    ----------
    met : int64 array
        Bins that hold voxels, counted from the key of the least voxel: few of very many where a section is small.
    voxels : int64 array
        Voxels in each of them.
    first_key, n_keys : int
        Key of the least voxel, and keys from there to that of the greatest.
    minimum, maximum : float
        Extremes, exact.
    """

    met: Int64
    voxels: Int64
    first_key: int
    n_keys: int
    minimum: float
    maximum: float

    @classmethod
    def of(cls, tallies: list[Tally]) -> SectionHistogram:
        """Sum what several threads counted."""
        minimum = min(float(tally.extremes[0]) for tally in tallies)
        maximum = max(float(tally.extremes[1]) for tally in tallies)
        if minimum > maximum:
            return cls.of_values(np.zeros(0, np.float32))
        first, last = (int(key) for key in _keys(np.array([minimum, maximum], np.float32)))
        counts = np.zeros(last - first + 1, np.int64)
        for tally in tallies:
            counts += tally.counts[first : last + 1]
        met = np.flatnonzero(counts)
        return cls(met, counts[met], first, counts.size, minimum, maximum)

    @classmethod
    def of_values(cls, values: Float32) -> SectionHistogram:
        """Count the voxels of a small section, which is faster than to look through all keys."""
        ordered = np.sort(values[np.abs(values) > 0])  # NaN is left out
        if not len(ordered):
            nothing = np.zeros(0, np.int64)
            return cls(nothing, nothing, 0, 0, 0.0, 0.0)
        keys = _keys(ordered)
        edges = np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1, [len(keys)]])
        starts, voxels = edges[:-1], edges[1:] - edges[:-1]
        first, last = int(keys[0]), int(keys[-1])
        return cls(keys[starts] - first, voxels, first, last - first + 1, float(ordered[0]), float(ordered[-1]))

    def plus(self, voxels: Mapping[float, int]) -> SectionHistogram:
        """Return the histogram with so many voxels of each value besides."""
        if not voxels:
            return self
        values = np.array(sorted(voxels), np.float32)
        keys = np.concatenate([self.first_key + self.met, _keys(values)])
        met, place = np.unique(keys, return_inverse=True)
        counts = np.zeros(len(met), np.int64)
        np.add.at(counts, place, [*self.voxels, *(voxels[value] for value in sorted(voxels))])
        extremes = [*values, *([self.minimum, self.maximum] if self.met.size else [])]
        first, last = int(met[0]), int(met[-1])
        minimum, maximum = float(min(extremes)), float(max(extremes))
        return type(self)(met - first, counts, first, last - first + 1, minimum, maximum)

    @cached_property
    def counts(self) -> Int64:
        """Voxels per key."""
        counts = np.zeros(self.n_keys, np.int64)
        counts[self.met] = self.voxels
        return counts

    @property
    def n_voxels(self) -> int:
        """Non-zero voxels."""
        return int(self.voxels.sum())

    @property
    def values(self) -> Float64:
        """Middle of each fine bin."""
        return self.values_at(np.arange(self.counts.size))

    def values_at(self, bins: Int64) -> Float64:
        """Middle of these fine bins."""
        first = self.first_key + bins
        return np.clip((key_values(first) + key_values(first + 1)) / 2, self.minimum, self.maximum)


def _keys(values: Float32) -> Int64:
    """Key of float32 values; keys sort like values."""
    pattern = values.view(np.int32).astype(np.int64)
    return np.where(pattern >= 0, pattern + 0x80000000, -1 - pattern) >> KEY_SHIFT


def key_values(keys: Int64) -> Float64:
    """Return the least float32 value of each key, as float64 (infinities as the greatest finite value)."""
    sortable = keys.astype(np.int64) << KEY_SHIFT
    pattern = np.where(sortable >= 0x80000000, sortable - 0x80000000, 0xFFFFFFFF - sortable)
    values = pattern.astype(np.uint32).view(np.float32).astype(np.float64)
    limit = float(np.finfo(np.float32).max)
    return np.nan_to_num(values, nan=limit, posinf=limit, neginf=-limit)


def bin_edges(minimum: float, maximum: float) -> Float32:
    """Return the edges of NumPy's (and so scikit-image's) 256 bins between two float32 extremes.

    Raises
    ------
    ValueError
        If they are so close that single precision has no 256 bins between them.
    """
    edges: Float32 = np.histogram_bin_edges(np.array([minimum, maximum], np.float32), N_BINS)
    return edges


def _centres(edges: Float32) -> Float32:
    return (edges[:-1] + edges[1:]) / np.float32(2)


def otsu_of_counts(counts: Int64, edges: Float32) -> float:
    """Return Otsu's threshold of counted bins: a bin centre, in single precision like scikit-image's."""
    centres = _centres(edges)
    # Brought to about 1 by a power of two: the squares of large values would overflow, and no digit changes.
    comparable = np.ldexp(centres, -np.frexp(np.abs(centres).max())[1])
    return float(centres[int(np.argmax(_variance_between(counts.astype(np.float32), comparable)))])


def _variance_between(counts: NDArray[np.floating], centres: NDArray[np.floating]) -> NDArray[np.floating]:
    """Variance between the classes below and above each split, up to a constant."""
    moments = counts * centres
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    mean_below = np.cumsum(moments) / below
    mean_above = (np.cumsum(moments[::-1]) / above[::-1])[::-1]
    variance: NDArray[np.floating] = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return variance


def best_split(counts: Float64, values: Float64) -> int:
    """Return the last index of the lower class of Otsu's split, in double precision."""
    return int(np.argmax(_variance_between(counts, values)))


def otsu_if_certain(histogram: SectionHistogram) -> float | None:
    """Return ``threshold_otsu`` of the section's voxels, or None where the fine histogram cannot tell.

    The voxels of a fine bin that straddles the edge of one of the 256 bins may belong to either side. To
    first order their sides change the variance of one split against that of another by no more than the sum
    of the absolute derivatives times the voxels in doubt; the best split is certain if it leads every other
    by more than that and by more than single precision rounds.
    """
    if histogram.minimum == histogram.maximum:
        return histogram.minimum
    try:
        edges = bin_edges(histogram.minimum, histogram.maximum)
    except ValueError:  # no 256 values between the extremes: scikit-image raises; no contrast, so nothing exceeds it
        return histogram.maximum
    fine_edges = key_values(histogram.first_key + np.arange(histogram.counts.size + 1))
    cumulated = np.concatenate([[0], np.cumsum(histogram.counts)]).astype(np.float64)
    inner = edges[1:-1].astype(np.float64)
    straddling = np.searchsorted(fine_edges, inner, side="right") - 1
    lower = cumulated[straddling]
    upper = np.where(fine_edges[straddling] == inner, lower, cumulated[straddling + 1])
    below = np.concatenate([(lower + upper) / 2, cumulated[-1:]])
    in_doubt = (upper - lower) / 2

    centres = _centres(edges).astype(np.float64)
    variance, gradient = _variance_and_gradient(below, centres)
    best = int(np.argmax(variance))
    doubt = np.abs(gradient - gradient[best]) @ in_doubt
    mean = np.diff(below, prepend=0.0) @ centres / below[-1]
    contrast = np.sqrt(variance[best] / below[best] / (below[-1] - below[best])) if variance[best] > 0 else 0.0
    rounding = 32 * np.finfo(np.float32).eps * variance[best] * (1 + 2 * abs(mean) / max(contrast, 1e-300))
    certain = variance[best] - variance > 1.5 * doubt + rounding
    certain[best] = True
    return float(_centres(edges)[best]) if certain.all() else None


def _variance_and_gradient(below: Float64, centres: Float64) -> tuple[Float64, Float64]:
    """Return the variance between classes per split, and its derivative by the voxels below each edge.

    With C the voxels below each upper bin edge, N all, M the cumulated moment and s = N M - M_total C, the
    variance is s^2 / (C (N - C)); a voxel moved below edge k takes the step to the next centre off every M
    beyond k.
    """
    n_all, count = below[-1], below[:-1]
    moment = np.cumsum(np.diff(below, prepend=0.0) * centres)
    steps = np.diff(centres)
    difference = n_all * moment[:-1] - moment[-1] * count
    product = np.maximum(count * (n_all - count), 1.0)
    split, edge = np.ogrid[: count.size, : count.size]
    slope = steps * count[:, None] - n_all * steps * (edge < split)
    slope = slope + np.diag(n_all * centres[:-1] - moment[-1])
    gradient = 2 * (difference / product)[:, None] * slope
    gradient -= np.diag((difference / product) ** 2 * (n_all - 2 * count))
    return difference**2 / product, gradient


def otsu_log(histogram: SectionHistogram) -> float:
    """Return Otsu's threshold of the logarithms of the positive voxels."""
    values, counts = histogram.values, histogram.counts
    positive = (values > 0) & (counts > 0)
    logs, counts = np.log(values[positive]), counts[positive]
    if logs.size < 2:
        return histogram.maximum
    best = best_split(counts.astype(np.float64), logs)
    return float(np.exp((logs[best] + logs[best + 1]) / 2))
