"""Scores of a correction against the known truth of a simulated acquisition.

Everything is measured in the true tissue. A bias field is known only up to a factor, so a constant is taken
out of the log field before it is compared, and contrast and class brightness are ratios. Inclusions and cells
are left out: no field should follow them, and a saturated one has no right value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.simulate import Acquisition
from linumpy.simulate.acquisition import GREY, INCLUSION, NUCLEI, WHITE

# With fewer voxels a class's median is noise (16 looks: 0.25 / sqrt(500) = 1 %).
_FEWEST_VOXELS = 500


@dataclass(frozen=True)
class PhantomScores:
    """How close a correction comes to the truth. ``None``: not defined for this acquisition.

    Parameters
    ----------
    correlation : float, optional
        Pearson correlation of the found with the true log field; None where either is constant.
    rms_error : float
        Root mean square of found minus true log field, the mean difference taken out; 0.03 is about 3 %.
    rms_without : float
        The same for no correction at all, that is of the true log field itself.
    field_low, field_high : float
        First and 99th percentile of the found field over its median; 1 when nothing was done.
    contrast_white, contrast_nuclei : float, optional
        Contrast to grey matter (ratio of medians) after correction, over its true value.
    class_deviation : float, optional
        Largest relative departure of a class's median in one section from its median in all sections, beyond
        what the truth has.
    steps : tuple of float or None
        At each cut, the median ratio of the first plane after it to the last before it, over the truth's own.
    step_deviation : float, optional
        Median ``|step - 1|``.
    cv_within : float, optional
        Median over sections of the coefficient of variation of the planes' median ratio of image to truth.
    """

    correlation: float | None
    rms_error: float
    rms_without: float
    field_low: float
    field_high: float
    contrast_white: float | None
    contrast_nuclei: float | None
    class_deviation: float | None
    steps: tuple[float | None, ...]
    step_deviation: float | None
    cv_within: float | None


def phantom_scores(
    corrected: NDArray[Any],
    acquisition: Acquisition,
    *,
    log_bias_field: NDArray[np.float32] | None = None,
) -> PhantomScores:
    """Score a correction of a simulated acquisition.

    Parameters
    ----------
    corrected : ndarray, shape (Z, Y, X)
        The corrected volume; ``acquisition.volume`` itself scores doing nothing.
    acquisition : Acquisition
        The simulation.
    log_bias_field : ndarray of float32, shape (Z, Y, X), optional
        The found log field. By default the logarithm of the image over `corrected`, where both are
        positive: right for a float output that was neither mixed with the original nor clipped.

    Returns
    -------
    PhantomScores

    Raises
    ------
    ValueError
        For arrays of another shape, or without tissue.
    """
    for name, array in (("corrected", corrected), ("log_bias_field", log_bias_field)):
        if array is not None and array.shape != acquisition.volume.shape:
            raise ValueError(
                f"{name} has shape {array.shape}, the acquisition {acquisition.volume.shape}; give one grid"
            )
    tissue = acquisition.tissue_mask & (acquisition.labels != INCLUSION)
    if log_bias_field is None:
        tissue &= (acquisition.volume > 0) & (corrected > 0)
    if not tissue.any():
        raise ValueError("the acquisition holds no tissue to score; choose one with tissue")
    true = acquisition.log_bias_field[tissue].astype(np.float64)
    if log_bias_field is not None:
        found = log_bias_field[tissue].astype(np.float64)
    else:
        found = np.log(acquisition.volume[tissue] / corrected[tissue].astype(np.float64))

    low, middle, high = np.percentile(found, (1, 50, 99))
    steps = _steps(corrected, acquisition, tissue)
    deviations = [abs(step - 1) for step in steps if step is not None]
    return PhantomScores(
        correlation=_correlation(found, true),
        rms_error=float(np.std(found - true)),
        rms_without=float(np.std(true)),
        field_low=math.exp(low - middle),
        field_high=math.exp(high - middle),
        contrast_white=_contrast(corrected, acquisition, WHITE),
        contrast_nuclei=_contrast(corrected, acquisition, NUCLEI),
        class_deviation=_class_deviation(corrected, acquisition),
        steps=steps,
        step_deviation=float(np.median(deviations)) if deviations else None,
        cv_within=_cv_within(corrected, acquisition, tissue),
    )


def _correlation(found: NDArray[np.float64], true: NDArray[np.float64]) -> float | None:
    # A constant field leaves rounding errors of single precision, about 1e-7, behind.
    if min(np.std(found), np.std(true)) < 1e-6:
        return None
    return float(np.corrcoef(found, true)[0, 1])


def _contrast(corrected: NDArray[Any], acquisition: Acquisition, label: int) -> float | None:
    of_class, grey = acquisition.labels == label, acquisition.labels == GREY
    if min(np.count_nonzero(of_class), np.count_nonzero(grey)) < _FEWEST_VOXELS:
        return None
    after = np.median(corrected[of_class]) / np.median(corrected[grey])
    return float(after / (np.median(acquisition.truth[of_class]) / np.median(acquisition.truth[grey])))


def _class_deviation(corrected: NDArray[Any], acquisition: Acquisition) -> float | None:
    worst = None
    for label in (GREY, WHITE, NUCLEI):
        everywhere = acquisition.labels == label
        if np.count_nonzero(everywhere) < _FEWEST_VOXELS:
            continue
        overall = np.median(corrected[everywhere]) / np.median(acquisition.truth[everywhere])
        for start, stop in acquisition.sections:
            here = everywhere[start:stop]
            if np.count_nonzero(here) >= _FEWEST_VOXELS:
                level = np.median(corrected[start:stop][here]) / np.median(acquisition.truth[start:stop][here])
                worst = max(worst or 0.0, abs(float(level / overall) - 1))
    return worst


def _steps(corrected: NDArray[Any], acquisition: Acquisition, tissue: NDArray[np.bool_]) -> tuple[float | None, ...]:
    steps: list[float | None] = []
    for _, cut in acquisition.sections[:-1]:
        both = tissue[cut - 1] & tissue[cut] & (corrected[cut - 1] > 0)
        if np.count_nonzero(both) < _FEWEST_VOXELS:
            steps.append(None)
            continue
        ratios = [np.median(a[cut][both] / a[cut - 1][both]) for a in (corrected, acquisition.truth)]
        steps.append(float(ratios[0] / ratios[1]))
    return tuple(steps)


def _cv_within(corrected: NDArray[Any], acquisition: Acquisition, tissue: NDArray[np.bool_]) -> float | None:
    spreads = []
    for start, stop in acquisition.sections:
        levels = [
            np.median(corrected[z][tissue[z]] / acquisition.truth[z][tissue[z]])
            for z in range(start, stop)
            if np.count_nonzero(tissue[z]) >= _FEWEST_VOXELS
        ]
        if len(levels) > 1:
            spreads.append(float(np.std(levels) / np.mean(levels)))
    return float(np.median(spreads)) if spreads else None
