"""What the planes of a stack tell of its brightness along Z: log ratios of neighbours, and their histograms.

Two neighbouring planes show nearly the same tissue. Over the columns that are tissue in both, the difference of their
smoothed log intensities scatters around the change of brightness; a Huber mean takes it, so that structures which begin
or end between the planes count little. Its standard error comes from the scatter between blocks of the plane, since
neighbouring columns repeat one another. Planes without tissue are skipped: a ratio then spans more than one plane.

The histogram of a plane's log intensities is the second witness: the classes of tissue are about equally bright in all
planes, so the shift that lays a plane's histogram onto that of the stack measures its level once more.

Axes are (Z, Y, X). Memory is four planes of samples, and 1.6 kB a plane for the histograms.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linumpy.intensity.quantiles import median

__all__ = ["PlaneRatios", "histogram_medians", "histogram_shifts", "plane_ratios"]

MIN_TISSUE = 50
"""Fewest samples, tissue in both planes, that a ratio is told from."""
BLOCKS = 12
"""Blocks along Y and along X whose scatter gives the standard error."""
HUBER = 1.5
"""Differences farther from the mean than this many standard deviations count with their sign only."""
HUBER_TURNS = 8
MIN_SUPPORT = 0.9
"""Share of the smoothing weight that must lie on tissue: the rim, half tissue, does not count."""
BIN = 0.02
"""Width of a bin of the histograms, in logarithm."""
N_BINS = 1000
"""They cover log intensities this far (10 natural logarithms each way) from the first plane's median."""
CLASS_WIDTH = 0.06
"""Smoothing of the histograms before they are compared, in logarithm."""
MAX_SHIFT = 0.5
SHIFT_TURNS = 3
TOGETHER = 1 << 17
"""Samples of small planes that are smoothed together."""
EDGES = np.arange(N_BINS + 1.0)

Floats = npt.NDArray[np.float64]
Plane = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]
Held = tuple[int, Floats]


def _class_kernel() -> Floats:
    sigma = CLASS_WIDTH / BIN
    reach = int(np.ceil(4 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(kernel / kernel.sum())


CLASS_KERNEL = _class_kernel()


@dataclass(frozen=True, eq=False)
class PlaneRatios:
    """What was measured along Z.

    Parameters
    ----------
    first, last : ndarray of int, shape (R,)
        The two planes of each ratio, neighbours where no plane without tissue lies between them.
    log_ratio, error : ndarray of float64, shape (R,)
        Logarithm of the brightness of `last` over that of `first`, and its standard error.
    tissue : ndarray of int, shape (Z,)
        Samples of tissue in each plane.
    histograms : ndarray of uint32, shape (Z, N_BINS)
        Of each plane's smoothed log intensities.
    """

    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    log_ratio: Floats
    error: Floats
    tissue: npt.NDArray[np.int64]
    histograms: npt.NDArray[np.uint32]


def plane_ratios(planes: Iterable[Plane]) -> PlaneRatios:
    """Measure the log ratios of neighbouring planes.

    Parameters
    ----------
    planes : iterable of (ndarray of float32, ndarray of bool), each of shape (Y, X)
        Intensities and tissue of every plane of the stack, in order.

    Returns
    -------
    PlaneRatios
    """
    pairs: list[tuple[int, int, float, float]] = []
    tissue: list[int] = []
    histograms: list[npt.NDArray[np.uint32]] = []
    before: tuple[int, npt.NDArray[np.float32], npt.NDArray[np.bool_]] | None = None
    blocks: npt.NDArray[np.intp] | None = None
    lowest: float | None = None
    for z, (log_image, inside) in enumerate(_smooth_logarithms(planes)):
        if blocks is None:
            blocks = _blocks(inside.shape)
        n_inside = int(np.count_nonzero(inside))
        tissue.append(n_inside)
        if n_inside < MIN_TISSUE:
            histograms.append(np.zeros(N_BINS, np.uint32))
            continue
        values = log_image[inside]
        if lowest is None:
            lowest = median(values) - BIN * N_BINS / 2
        bins = np.clip((values - lowest) / BIN, 0, N_BINS - 1).astype(np.int64)
        histograms.append(np.bincount(bins, minlength=N_BINS).astype(np.uint32))
        if before is not None:
            common = inside & before[2]
            if np.count_nonzero(common) >= MIN_TISSUE:
                pairs.append((before[0], z, *_huber_mean((log_image - before[1])[common], blocks[common])))
        before = (z, log_image, inside)
    first, last, log_ratio, error = (np.array(column) for column in zip(*pairs, strict=True)) if pairs else ([],) * 4
    return PlaneRatios(
        np.asarray(first, np.int64),
        np.asarray(last, np.int64),
        np.asarray(log_ratio, np.float64),
        np.asarray(error, np.float64),
        np.array(tissue, np.int64),
        np.stack(histograms) if histograms else np.zeros((0, N_BINS), np.uint32),
    )


def histogram_shifts(histograms: npt.NDArray[np.uint32], levels: Floats) -> Floats:
    """Measure each plane's level by its histogram against that of the stack.

    The shift of largest correlation lays classes onto classes. (The likelihood, a sum of logarithms, follows the tails
    instead: near the ends of a brain, where much of a plane is dark rim, it was off by twice as much.)

    Parameters
    ----------
    histograms : ndarray of uint32, shape (Z, N_BINS)
        As `plane_ratios` gives them.
    levels : ndarray of float64, shape (Z,)
        What is known of the planes' log levels; it is taken out before the histograms are compared.

    Returns
    -------
    ndarray of float64, shape (Z,)
        What each plane is brighter than the stack beside its level, in logarithm, median 0; NaN for a plane without
        tissue.
    """
    counts = histograms.sum(axis=1)
    found = np.full(len(levels), np.nan)
    (there,) = np.nonzero(counts >= MIN_TISSUE)
    if not len(there):
        return found
    # Only bins that hold something are kept, and take part in the products.
    flat = [_shifted(*_held(histograms[z]), levels[z] / BIN) for z in there]
    smooth = [_held(_smoothed(_whole(*plane))) for plane in flat]
    reach = round(MAX_SHIFT / BIN)
    shifts = np.zeros(len(there))
    for _ in range(SHIFT_TURNS):
        stack = np.zeros(N_BINS)
        for plane, shift in zip(flat, shifts, strict=True):
            first, values = _shifted(*plane, shift)
            stack[first : first + len(values)] += values
        density = np.pad(_smoothed(stack), reach)
        windows = np.lib.stride_tricks.sliding_window_view(density, N_BINS)
        for i, (first, values) in enumerate(smooth):
            shifts[i] = reach - _peak(windows[:, first : first + len(values)] @ values)
        shifts -= np.median(shifts)
    found[there] = BIN * shifts
    return found


def histogram_medians(histograms: npt.NDArray[np.uint32]) -> Floats:
    """Return the median log intensity of each plane, from an origin that all planes share.

    Parameters
    ----------
    histograms : ndarray of uint32, shape (Z, N_BINS)
        As `plane_ratios` gives them.

    Returns
    -------
    ndarray of float64, shape (Z,)
        Medians in logarithm, between the edges of a bin in proportion; 0 for an empty histogram.
    """
    medians = np.zeros(len(histograms))
    for z in np.flatnonzero(histograms.any(axis=1)):
        histogram = histograms[z]
        total = np.cumsum(histogram, dtype=np.int64)
        at = int(np.searchsorted(2 * total, total[-1]))
        medians[z] = at + 1 - (total[at] - total[-1] / 2) / histogram[at]
    return BIN * medians


def _smooth_logarithms(planes: Iterable[Plane]) -> Iterator[Plane]:
    """Yield planes as :func:`_smooth_logarithm` gives them, small ones made together."""
    rest = iter(planes)
    for first in rest:
        n_more = max(1, TOGETHER // max(1, first[0].size)) - 1
        images, masks = zip(first, *itertools.islice(rest, n_more), strict=True)
        yield from zip(*_smooth_logarithm(np.stack(images), np.stack(masks)), strict=True)


def _smooth_logarithm(image: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> Plane:
    """Logarithm of the intensities (Z, Y, X), averaged over 3 x 3 pixels of tissue, and where they are whole."""
    with np.errstate(invalid="ignore"):
        inside = mask & np.isfinite(image) & (image > 0)
    weight = _binomial(inside.astype(np.float32))
    total = _binomial(np.where(inside, image, np.float32(0)))
    inside &= (weight > MIN_SUPPORT) & (total > 0)
    log_image = np.log(total / np.maximum(weight, MIN_SUPPORT), where=inside, out=np.zeros(image.shape, np.float32))
    return log_image, inside


def _binomial(planes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Weights 1, 2, 1 along Y and X, nothing outside: plain sums, the same bits everywhere."""
    for ahead, behind in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, :, 1:], np.s_[:, :, :-1])):
        smooth = 2 * planes
        smooth[ahead] += planes[behind]
        smooth[behind] += planes[ahead]
        smooth /= np.float32(4)
        planes = smooth
    return planes


def _blocks(shape: tuple[int, ...]) -> npt.NDArray[np.intp]:
    y, x = (np.arange(n) * BLOCKS // n for n in shape)
    return y[:, None] * BLOCKS + x[None, :]


def _huber_mean(values: npt.NDArray[np.float32], blocks: npt.NDArray[np.intp]) -> tuple[float, float]:
    """Robust mean, and its standard error from the sums over blocks."""
    from linumpy.intensity.plane_kernels import huber_mean  # only where planes are measured

    data = values.astype(np.float64)
    middle = median(data)
    width = HUBER * 1.4826 * median(np.abs(data - middle)) + 1e-9
    sums = np.zeros(BLOCKS**2)
    mean, inner = huber_mean(data, middle, width, HUBER_TURNS, blocks, sums)
    return mean, float(np.sqrt((sums**2).sum())) / max(1.0, inner)


def _held(histogram: npt.NDArray[np.number]) -> Held:
    """Return the first bin that holds something, and the values from there to the last that does."""
    (held,) = np.nonzero(histogram > 0)
    first, stop = (int(held[0]), int(held[-1]) + 1) if len(held) else (0, 0)
    return first, histogram[first:stop].astype(np.float64)


def _whole(first: int, values: Floats) -> Floats:
    histogram = np.zeros(N_BINS)
    histogram[first : first + len(values)] = values
    return histogram


def _shifted(first: int, values: Floats, bins: float) -> Held:
    """Return the histogram of values that are `bins` bins lower."""
    stop = first + len(values)
    total = np.zeros(len(values) + 1)
    np.cumsum(values, out=total[1:])
    lower = int(np.floor(bins))
    low, high = (min(max(0, edge), N_BINS) for edge in (first - lower - 1, stop - lower))
    total = np.interp(EDGES[low : high + 1] + bins, EDGES[first : stop + 1], total)
    return low, total[1:] - total[:-1]


def _smoothed(histogram: Floats) -> Floats:
    """Return the smoothed density of a histogram."""
    return np.convolve(histogram / histogram.sum(), CLASS_KERNEL, mode="same")


def _peak(scores: Floats) -> float:
    """Position of the largest score, between the bins by a parabola."""
    at = int(np.argmax(scores))
    if 0 < at < len(scores) - 1:
        left, middle, right = scores[at - 1 : at + 2]
        bend = left - 2 * middle + right
        if bend < 0:
            return float(at + 0.5 * (left - right) / bend)
    return float(at)
