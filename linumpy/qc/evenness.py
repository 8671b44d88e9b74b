"""How even a volume is, from its voxels: steps at the cuts, spread inside sections, jumps, contrast, slow profile.

For volumes in memory: benchmarks, tests, tuning. A report's figures come from what the tasks kept
(`linumpy.qc.metrics`) and mean the same. Everything is measured inside a mask that is given: compare volumes over one
mask. Axes are (Z, Y, X).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from linumpy.intensity.sections import Sections
from linumpy.qc.metrics import MIN_COMMON_TISSUE, coefficient_of_variation, step_ratio

__all__ = ["Evenness", "evenness", "slow_correlation"]

SLOW_PLANES = 20


@dataclass(frozen=True)
class Evenness:
    """Figures of one volume; None where there is too little tissue.

    Parameters
    ----------
    steps : tuple of float or None
        At each cut, the median ratio of the first plane after it to the last before it over common tissue.
    step_deviation : float, optional
        Median ``|step - 1|``.
    step_worst : float, optional
        Largest of them.
    inside_median, inside_worst : float, optional
        Median and largest ``|ratio - 1|`` between neighbouring planes inside sections: where no cut was declared.
    cv_within : float, optional
        Median over sections of the coefficient of variation of their planes' medians.
    jump_median, jump_p95 : float, optional
        Median and 95th percentile of ``|ratio - 1|`` between neighbouring planes, all of them.
    contrast : float, optional
        Median over planes of the 90th over the 25th percentile of tissue.
    profile : tuple of float or None
        Median of each plane's tissue.
    """

    steps: tuple[float | None, ...]
    step_deviation: float | None
    step_worst: float | None
    inside_median: float | None
    inside_worst: float | None
    cv_within: float | None
    jump_median: float | None
    jump_p95: float | None
    contrast: float | None
    profile: tuple[float | None, ...]


def evenness(volume: NDArray[np.floating], mask: NDArray[np.bool_], sections: Sections) -> Evenness:
    """Measure how even a volume is.

    Parameters
    ----------
    volume : ndarray of float, shape (Z, Y, X)
        Intensities.
    mask : ndarray of bool, shape (Z, Y, X)
        Tissue. Voxels that are not finite do not count.
    sections : tuple of (int, int)
        Planes of each section.

    Returns
    -------
    Evenness
    """
    mask = mask & np.isfinite(volume)
    enough = [int(np.count_nonzero(plane)) >= MIN_COMMON_TISSUE for plane in mask]
    quantiles = [
        np.percentile(plane[inside], (25, 50, 90)) if full else None
        for plane, inside, full in zip(volume, mask, enough, strict=True)
    ]
    profile = tuple(None if found is None else float(found[1]) for found in quantiles)
    ratios = [
        step_ratio(volume[z].astype(np.float32), volume[z + 1].astype(np.float32), mask[z], mask[z + 1])
        for z in range(len(volume) - 1)
    ]
    steps = tuple(ratios[z_stop - 1] for _, z_stop in sections[:-1])
    deviations = [abs(step - 1) for step in steps if step is not None]
    cuts = {z_stop - 1 for _, z_stop in sections}
    inside = [abs(ratio - 1) for z, ratio in enumerate(ratios) if ratio is not None and z not in cuts]
    jumps = np.array([abs(ratio - 1) for ratio in ratios if ratio is not None])
    spreads = [coefficient_of_variation(profile[z_start:z_stop]) for z_start, z_stop in sections]
    contrasts = [found[2] / found[0] for found in quantiles if found is not None and found[0] > 0]
    return Evenness(
        steps=steps,
        step_deviation=_median(deviations),
        step_worst=max(deviations, default=None),
        inside_median=_median(inside),
        inside_worst=max(inside, default=None),
        cv_within=_median([spread for spread in spreads if spread is not None]),
        jump_median=_median(jumps),
        jump_p95=float(np.percentile(jumps, 95)) if len(jumps) else None,
        contrast=_median(contrasts),
        profile=profile,
    )


def slow_correlation(
    before: Sequence[float | None], after: Sequence[float | None], n_planes: int = SLOW_PLANES
) -> float | None:
    """Return the correlation of two profiles along Z after a running mean.

    Parameters
    ----------
    before, after : sequence of float or None
        Medians of the planes. The first and last plane that both have are left out: often half a plane.
    n_planes : int
        Length of the running mean.

    Returns
    -------
    float or None
        None where fewer planes than that are left, or a profile is constant.
    """
    both = np.array([pair for pair in zip(before, after, strict=True) if None not in pair], np.float64)[1:-1]
    if len(both) < n_planes:
        return None
    smooth = uniform_filter1d(both, n_planes, axis=0, mode="nearest")
    if min(smooth.std(axis=0)) == 0:
        return None
    return float(np.corrcoef(smooth.T)[0, 1])


def _median(values: Sequence[float] | NDArray[np.float64]) -> float | None:
    return float(np.median(values)) if len(values) else None
