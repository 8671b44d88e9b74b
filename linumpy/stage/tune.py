"""Tuning: candidates of settings tried on a thinned volume, their figures side by side, one recommended.

Every candidate is the pipeline's default with some parameters changed, run by `linumpy.stage.local.correct_array` on
every plane and every few rows and columns. Nothing is written at full resolution.

The figures are those a person would look at: steps at the cuts, spread inside sections, and what became of the contrast
within planes. The recommendation takes the most even candidate among those that keep the contrast best; no figure can
tell smooth anatomy from shading, so the pictures should be looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.sections import section_bounds
from linumpy.qc.evenness import Evenness, evenness, slow_correlation
from linumpy.stage.local import Correction, CorrectionParameters, correct_array

__all__ = ["CANDIDATES", "Candidate", "Tuning", "tune"]

FREE_CONTRAST_LOSS = 0.03
"""Contrast within planes that may be lost without a say: shading widens a plane's histogram too."""
CONTRAST_WEIGHT = 0.1
"""What more of it counts beside steps and spread."""

CANDIDATES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("default", {}),
    ("finer shading", {"shading_section_mm": 1.5, "shading_global_mm": 1.5}),
    ("coarser shading", {"shading_section_mm": 6.0, "shading_global_mm": 6.0}),
    ("sections only", {"mode": "per_section"}),
    ("twice the iterations", {"n_iterations": (100, 100, 100, 100)}),
    ("shrink 2 across XY", {"shrink_factor": (1, 2, 2)}),
    ("mask by Otsu of logarithms", {"mask_method": "otsu_log"}),
    ("mask by Otsu", {"mask_method": "otsu"}),
    ("no depth profile", {"depth_profile": False}),
)
"""Names and changed parameters, the pipeline's names."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One candidate's result.

    Parameters
    ----------
    name : str
        In words.
    parameters : dict
        What it changes of the defaults, JSON values under the pipeline's names.
    figures : dict
        JSON values: ``step_deviation``, ``cv_within``, ``jump_median``, ``jump_p95`` (see `Evenness`);
        ``contrast_change`` (after over before, less 1), ``slow_correlation``, ``tissue_fraction``,
        ``unevenness`` (what the recommendation ranks: steps and spread, and contrast lost beyond 3 %).
    pictures : dict of str to ndarray of float32
        ``yx`` (middle plane), ``zx``, ``zy`` (middle row, column) of the corrected volume.
    """

    name: str
    parameters: dict[str, Any]
    figures: dict[str, float | None]
    pictures: dict[str, NDArray[np.float32]] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Tuning:
    """All candidates and the one recommended.

    Parameters
    ----------
    before : dict
        Figures of the volume as it is.
    pictures_before : dict of str to ndarray of float32
        As those of the candidates.
    candidates : tuple of Candidate
        In the order given.
    recommended : int
        Index of the candidate to take.
    """

    before: dict[str, float | None]
    pictures_before: dict[str, NDArray[np.float32]] = field(repr=False)
    candidates: tuple[Candidate, ...]
    recommended: int


def tune(
    volume: NDArray[Any],
    sections: int | Sequence[Sequence[int]],
    voxel_size_mm: tuple[float, float, float],
    base: CorrectionParameters | None = None,
    candidates: Sequence[tuple[str, Mapping[str, Any]]] = CANDIDATES,
    *,
    mask: NDArray[np.bool_] | None = None,
) -> Tuning:
    """Try candidates on a volume: a stand-in of `linumpy.plan.preview` where the acquisition is large.

    Parameters
    ----------
    volume : ndarray of shape (Z, Y, X)
        Intensities.
    sections : int or sequence of (z_start, z_stop)
        Sections.
    voxel_size_mm : tuple of float
        (z, y, x) of this volume.
    base : CorrectionParameters, optional
        What the candidates change; default the pipeline's defaults.
    candidates : sequence of (name, changes)
        Changed fields of `CorrectionParameters` by name.
    mask : ndarray of bool, shape (Z, Y, X), optional
        Tissue, instead of finding it.

    Returns
    -------
    Tuning

    Raises
    ------
    ValueError
        Without candidates.
    TypeError
        For a parameter that `CorrectionParameters` does not have.
    """
    if not candidates:
        raise ValueError("no candidates to try; give at least one (name, changes)")
    base = base or CorrectionParameters()
    bounds = section_bounds(len(volume), sections)
    results: list[tuple[str, Mapping[str, Any], Correction]] = []
    for name, changes in candidates:
        results.append(
            (name, changes, correct_array(volume, bounds, voxel_size_mm, replace(base, **changes), mask=mask))
        )
    # One mask for all figures, or a candidate could look even by leaving tissue out.
    common = _majority([correction.mask for *_, correction in results])
    original = volume.astype(np.float32)
    before = evenness(original, common, bounds)
    found = tuple(
        Candidate(
            name=name,
            parameters={key: list(value) if isinstance(value, tuple) else value for key, value in changes.items()},
            figures=_figures(before, evenness(correction.corrected, common, bounds))
            | {"tissue_fraction": float(correction.mask.mean())},
            pictures=_pictures(correction.corrected),
        )
        for name, changes, correction in results
    )
    # The first of equals: to the third digit nobody can tell candidates apart.
    ranks = [round(candidate.figures["unevenness"] or 0.0, 3) for candidate in found]
    return Tuning(_figures(before, before), _pictures(original), found, ranks.index(min(ranks)))


def _majority(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    votes = np.zeros(masks[0].shape, np.uint8)
    for mask in masks:
        votes += mask
    return votes * 2 > len(masks)


def _figures(before: Evenness, after: Evenness) -> dict[str, float | None]:
    contrast_change = None
    if before.contrast and after.contrast:
        contrast_change = after.contrast / before.contrast - 1
    lost = max(0.0, -(contrast_change or 0.0) - FREE_CONTRAST_LOSS)
    return {
        "step_deviation": after.step_deviation,
        "cv_within": after.cv_within,
        "jump_median": after.jump_median,
        "jump_p95": after.jump_p95,
        "contrast_change": contrast_change,
        "slow_correlation": slow_correlation(before.profile, after.profile),
        "unevenness": (after.step_deviation or 0.0) + (after.cv_within or 0.0) + CONTRAST_WEIGHT * lost,
    }


def _pictures(volume: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    z, y, x = (n // 2 for n in volume.shape)
    return {"yx": volume[z].copy(), "zx": volume[:, y].copy(), "zy": volume[:, :, x].copy()}
