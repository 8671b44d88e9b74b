"""Where a section's histogram parts tissue from background, and how far it can be trusted.

Linear Otsu finds the bright cells of a fluorescent section, Otsu of the logarithms lets blurred edges in
where tissue is a hundred times brighter than background, follows the dark fringe of unmeasured (zero)
regions, and both cut a section in two that is all tissue or all agarose. `split_histogram` therefore works
in four steps on the positive voxels:

1. Bins of 1/64 octave to 1/128 octave: leading bits of the float32 pattern, no logarithm decides where a
   voxel goes.
2. The low tail is dropped up to where the density first reaches 5 % of its peak: what a Gaussian leaves around
   zeros.
3. Otsu's split of the logarithms. Median of the lower class: background B; lower quartile of the upper: dim
   tissue T.
4. The threshold is the split or, where that is more, two fifths of the way from B to T: the edge of a blurred
   step lies half way up, on a linear scale.

The separation of the classes is Ashman's D of the logarithms, difference of means over root mean square of
the two standard deviations. Cutting one normal distribution in two gives 2.65 and a uniform one 3.5 in
theory; sections of tissue or agarose alone measured 2.3 to 2.8, sections with both 3.5 to 9
(benchmarks/mask_methods.py).

References
----------
Otsu 1979, doi:10.1109/TSMC.1979.4310076. Ashman, Bird, Zepf 1994, doi:10.1086/117248.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.mask_threshold import KEY_SHIFT, N_KEYS, SectionHistogram, best_split, key_values

__all__ = ["MIN_SEPARATION", "HistogramSplit", "split_histogram"]

MIN_SEPARATION = 3.2
"""Ashman's D from which a section's two classes are taken for tissue and background."""
BIN_SHIFT = 8
"""Bits that a bin is coarser than the fine histogram's: 64 bins an octave."""
LEAST_POSITIVE_KEY = (0x80000000 + 0x00800000) >> KEY_SHIFT
"""Key of the least normal float32."""
DENSITY_KERNEL = np.exp(-0.5 * (np.arange(-12, 13) / 4.0) ** 2)
LOW_TAIL = 0.05
"""Share of the peak's density below which the low tail is dropped."""
EDGE_SHARE = 0.4
"""Way from background to dim tissue at which an edge is put."""

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class HistogramSplit:
    """Classes of a section's smoothed voxels.

    Attributes
    ----------
    threshold : float
        Voxels above it are tissue, if `separation` says that there are two classes.
    floor : float
        Half the intensity at which the histogram starts, low tail dropped: all above is measured.
    background, tissue : float
        Median of the lower class, lower quartile of the upper class.
    separation : float
        Ashman's D of the logarithms; 0 where there is one value only.
    """

    threshold: float
    floor: float
    background: float
    tissue: float
    separation: float

    @property
    def is_trusted(self) -> bool:
        """Whether the classes are far enough apart to be tissue and background."""
        return self.separation >= MIN_SEPARATION


def split_histogram(histogram: SectionHistogram) -> HistogramSplit | None:
    """Split a section's positive voxels into background and tissue; None where there are none."""
    first_key = max(histogram.first_key, LEAST_POSITIVE_KEY)
    met = histogram.met[histogram.first_key + histogram.met >= first_key]
    if not met.size:
        return None
    first, last = first_key >> BIN_SHIFT, (histogram.first_key + histogram.n_keys - 1) >> BIN_SHIFT
    bins = ((histogram.first_key + met) >> BIN_SHIFT) - first
    voxels = histogram.voxels[len(histogram.met) - len(met) :]
    binned: Float64 = np.bincount(bins, weights=voxels, minlength=last - first + 1).astype(np.float64)
    all_edges, all_values, all_logs, all_widths = _coarse_bins()
    start = _end_of_low_tail(binned, all_widths[first : last + 1])
    values, logs, binned = all_values[first + start : last + 1], all_logs[first + start : last + 1], binned[start:]
    edges = all_edges[first : last + 2]
    floor = float(edges[start]) / 2
    if np.count_nonzero(binned) < 2:
        level = float(values[int(np.argmax(binned))])
        return HistogramSplit(level, floor, level, level, 0.0)

    cut = best_split(binned, logs) + 1
    background, tissue = (
        _quantile(values[:cut], binned[:cut], 0.5),
        _quantile(values[cut:], binned[cut:], 0.25),
    )
    threshold = max(float(edges[start + cut]), background + EDGE_SHARE * (tissue - background))
    return HistogramSplit(threshold, floor, background, tissue, _ashman_d(binned, logs, cut))


@cache
def _coarse_bins() -> tuple[Float64, Float64, Float64, Float64]:
    """Return the edges of all bins, their middles, the logarithms of these, and the bins' widths in logarithm."""
    with np.errstate(invalid="ignore", divide="ignore"):  # of bins that hold no positive voxel
        edges = key_values(np.arange((N_KEYS >> BIN_SHIFT) + 1) << BIN_SHIFT)
        values = (edges[:-1] + edges[1:]) / 2
        return edges, values, np.log(values), np.diff(np.log(edges))


def _end_of_low_tail(counts: Float64, widths: Float64) -> int:
    """Return the first bin whose density (per logarithm) reaches a share of the peak's."""
    half = len(DENSITY_KERNEL) // 2  # not "same": with fewer bins than the kernel that is centred on the kernel
    density = np.convolve(counts / widths, DENSITY_KERNEL)[half : half + counts.size]
    return int(np.argmax((density >= LOW_TAIL * density.max()) & (counts > 0)))


def _quantile(values: Float64, counts: Float64, share: float) -> float:
    cumulated = np.cumsum(counts)
    return float(values[np.searchsorted(cumulated, share * cumulated[-1])])


def _ashman_d(counts: Float64, logs: Float64, cut: int) -> float:
    below, above = (_moments(logs[part], counts[part]) for part in (slice(cut), slice(cut, None)))
    spread = np.sqrt((below[1] + above[1]) / 2)
    # Two single values are as far apart as classes can be: any large number says so.
    return float((above[0] - below[0]) / max(spread, 1e-3))


def _moments(values: Float64, counts: Float64) -> tuple[float, float]:
    total = counts.sum()  # as numpy.average, without its checks
    mean = float((values * counts).sum() / total)
    return mean, float(((values - mean) ** 2 * counts).sum() / total)
