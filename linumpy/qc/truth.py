"""How far a correction is from the known truth: the field, the level along Z, the shading within planes, the cuts.

For every simulated acquisition, of any anatomy (`linumpy.simulate`). Everything is measured in tissue, its rim of
`RIM` voxels within each plane left out; damaged voxels are no tissue here, since their labels say so. A field is known
up to a factor: the median is taken out.

Levels and steps compare the corrected image with the one that the true field (and offset) would have given, so that
speckle cancels. `along_z` compares it with the truth itself, speckle and all: 0.006 on an even brain is its floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from linumpy.simulate import Acquisition
from linumpy.simulate.acquisition import INCLUSION

__all__ = ["FEWEST_VOXELS", "RIM", "TruthScores", "score", "scored_tissue"]

RIM = 2
FEWEST_VOXELS = 100
"""Planes with less tissue have no level, cuts with less on both sides no step."""

# The darkest and the brightest third of the tissue, of which the contrast is measured.
_DARK, _BRIGHT = 100 / 3, 200 / 3


@dataclass(frozen=True)
class TruthScores:
    """How close a correction comes to the truth. ``None``: too little tissue to tell.

    Parameters
    ----------
    rms : float
        Root mean square of found minus true log field, the median taken out.
    xy : float
        The same after each plane's median is taken out: what is wrong within planes.
    along_z : float, optional
        Standard deviation of the planes' median of the logarithm of corrected over true brightness.
    contrast : float
        Brightness of the brightest over that of the darkest third of the tissue, over the truth's own.
    step_worst, step_median : float, optional
        Largest and median ``|step - 1|`` of the cuts: the median ratio of the planes' excess over common tissue.
    cv_worst, cv_median : float, optional
        Largest and median coefficient of variation of the levels inside a section.
    plane_worst, section_worst : float, optional
        Largest ``|level - 1|`` of a plane and of a section (median of its planes), the median level being 1.
    plane_at, section_at : int, optional
        Where those are.
    largest_gain : float
        Farthest from 1 that the found field's median in a section is from its median over the sections, as a
        factor above 1; sections without tissue count.
    levels : tuple of float or None
        Level of each plane, the median being 1.
    """

    rms: float
    xy: float
    along_z: float | None
    contrast: float
    step_worst: float | None
    step_median: float | None
    cv_worst: float | None
    cv_median: float | None
    plane_worst: float | None
    plane_at: int | None
    section_worst: float | None
    section_at: int | None
    largest_gain: float
    levels: tuple[float | None, ...]


def score(
    corrected: NDArray[Any],
    acquisition: Acquisition,
    *,
    log_bias_field: NDArray[np.floating[Any]] | None = None,
) -> TruthScores:
    """Score a correction of a simulated acquisition.

    Parameters
    ----------
    corrected : ndarray, shape (Z, Y, X)
        The corrected volume; ``acquisition.volume`` itself scores doing nothing.
    acquisition : Acquisition
        The simulation.
    log_bias_field : ndarray of float, shape (Z, Y, X), optional
        The found log field. By default the logarithm of the image over `corrected`: right for a float result from
        whose image no offset was subtracted.

    Returns
    -------
    TruthScores

    Raises
    ------
    ValueError
        For arrays of another shape, or no tissue.
    """
    for name, array in (("corrected", corrected), ("log_bias_field", log_bias_field)):
        if array is not None and array.shape != acquisition.volume.shape:
            raise ValueError(
                f"{name} has shape {array.shape}, the acquisition {acquisition.volume.shape}; give one grid"
            )
    offset = np.float32(acquisition.physics.camera_offset * acquisition.physics.grey_level)
    tissue = scored_tissue(acquisition) & (corrected > 0) & (acquisition.volume > offset)
    if not tissue.any():
        raise ValueError("the acquisition holds no tissue to score; choose one with tissue")
    log_corrected, log_signal, log_truth = (
        _logarithm(array, tissue) for array in (corrected, acquisition.volume - offset, acquisition.truth)
    )
    if log_bias_field is None:
        log_bias_field = _logarithm(acquisition.volume, acquisition.volume > 0)
        log_bias_field -= _logarithm(corrected, corrected > 0)
    found = log_bias_field
    errors = [(found[z] - acquisition.log_bias_field[z])[inside].astype(np.float64) for z, inside in enumerate(tissue)]
    error = np.concatenate(errors)
    within = np.concatenate([plane - np.median(plane) for plane in errors if plane.size])
    # By how much too bright, beside the true field's result.
    excess = log_corrected - log_signal + acquisition.log_bias_field

    levels = _levels(excess, tissue)
    of_section = np.array([_middle(levels[start:stop]) for start, stop in acquisition.sections])
    spreads = np.array([_spread(levels[start:stop]) for start, stop in acquisition.sections])
    steps = np.array([_step(excess, tissue, cut) for _, cut in acquisition.sections[:-1]])
    gains = np.array([np.median(found[start:stop]) for start, stop in acquisition.sections])
    plane_worst, plane_at = _farthest(levels)
    section_worst, section_at = _farthest(of_section)
    return TruthScores(
        rms=float(np.sqrt(np.mean((error - np.median(error)) ** 2))),
        xy=float(np.sqrt(np.mean(within**2))),
        along_z=_number(_apply(np.std, _levels(log_corrected - log_truth, tissue))),
        contrast=_contrast(excess, acquisition.truth, tissue),
        step_worst=_number(_apply(np.max, steps)),
        step_median=_number(_middle(steps)),
        cv_worst=_number(_apply(np.max, spreads)),
        cv_median=_number(_middle(spreads)),
        plane_worst=plane_worst,
        plane_at=plane_at,
        section_worst=section_worst,
        section_at=section_at,
        largest_gain=float(np.exp(np.max(np.abs(gains - np.median(gains))))),
        levels=tuple(_number(level) for level in np.exp(levels - _middle(levels))),
    )


def scored_tissue(acquisition: Acquisition) -> NDArray[np.bool_]:
    """Return the tissue without inclusions and without the rim of each plane."""
    sound = (acquisition.labels > 0) & (acquisition.labels != INCLUSION)
    cross = ndimage.generate_binary_structure(2, 1)[None]
    eroded: NDArray[np.bool_] = ndimage.binary_erosion(sound, cross, RIM)
    return eroded


def _logarithm(image: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the logarithm in `where`, 0 elsewhere."""
    logarithm = np.zeros(image.shape, np.float32)
    logarithm[where] = np.log(image[where].astype(np.float64))
    return logarithm


def _level(values: NDArray[Any]) -> float:
    return float(np.median(values)) if values.size >= FEWEST_VOXELS else math.nan


def _levels(excess: NDArray[np.float32], tissue: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return each plane's median, NaN where there is too little tissue."""
    return np.array([_level(plane[inside]) for plane, inside in zip(excess, tissue, strict=True)])


def _apply(function: Callable[..., Any], values: NDArray[np.float64]) -> float:
    """Return `function` of what is no NaN; NaN of nothing."""
    known = values[np.isfinite(values)]
    return float(function(known)) if known.size else math.nan


def _middle(values: NDArray[np.float64]) -> float:
    return _apply(np.median, values)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _spread(levels: NDArray[np.float64]) -> float:
    known = np.exp(levels[np.isfinite(levels)])
    return float(known.std() / known.mean()) if known.size > 1 else math.nan


def _step(excess: NDArray[np.float32], tissue: NDArray[np.bool_], cut: int) -> float:
    both = tissue[cut - 1] & tissue[cut]
    return abs(math.exp(_level(excess[cut][both] - excess[cut - 1][both])) - 1)


def _farthest(levels: NDArray[np.float64]) -> tuple[float | None, int | None]:
    away = np.abs(np.exp(levels - _middle(levels)) - 1)
    if not np.isfinite(away).any():
        return None, None
    at = int(np.nanargmax(away))
    return float(away[at]), at


def _contrast(excess: NDArray[np.float32], truth: NDArray[np.float32], tissue: NDArray[np.bool_]) -> float:
    """Return how bright the brightest third came out beside the darkest, 1 being right."""
    values, true = excess[tissue], truth[tissue]
    dark, bright = np.percentile(true, (_DARK, _BRIGHT))
    return float(np.exp(np.median(values[true >= bright]) - np.median(values[true <= dark])))
