"""Tuning: candidates of settings tried on a thinned volume, their figures side by side, one recommended.

Every candidate is the pipeline's default with some parameters changed, run by `linumpy.stage.local.correct_array` on
every plane and every few rows and columns. Nothing is written at full resolution.

What decides is a known bias, put on top of the acquisition: how much of it a candidate does not find. It is drawn
several times, and candidates are compared with the first one, the defaults, on the same draws. One that is not clearly
better than the defaults, or loses more contrast within planes than they, is not recommended. The other figures are
those a person would look at: steps at the cuts, jumps and spread inside sections. None can tell smooth anatomy from
shading, so the pictures should be looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from linumpy.intensity.sections import Sections, section_bounds
from linumpy.qc.evenness import Evenness, evenness, slow_correlation
from linumpy.stage.local import Correction, CorrectionParameters, correct_array

__all__ = ["CANDIDATES", "Candidate", "Tuning", "known_bias", "tune"]

CONTRAST_LOSS = 0.03
"""Contrast within planes that a candidate may lose beside the defaults."""
DRAWS = 4
"""Of the known bias."""
CONFIDENCE = 0.99
"""That a candidate is better than the defaults, by Student's t of the differences of each draw."""
LEAST_GAIN = 0.01
"""A smaller share of the known bias is no reason to leave the defaults, however sure it is."""

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
        JSON values: ``step_deviation``, ``step_worst``, ``inside_median``, ``inside_worst``, ``cv_within`` (see
        `Evenness`); ``contrast_change`` (after over before, less 1), ``slow_correlation``, ``tissue_fraction``;
        ``unrecovered``, what decides: the root mean square over tissue of what is not found of the known bias, over
        that of the bias, the mean of the draws, and ``unrecovered_error``, its standard error.
    better : bool
        Clearly better than the defaults, without losing contrast.
    fields : dict of str to ndarray of float32
        As `pictures`, of the logarithm of the field.
    pictures : dict of str to ndarray of float32
        ``yx`` (middle plane), ``zx``, ``zy`` (middle row, column) of the corrected volume.
    """

    name: str
    parameters: dict[str, Any]
    figures: dict[str, float | None]
    better: bool
    fields: dict[str, NDArray[np.float32]] = field(repr=False)
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
        Index of the candidate to take: the first where none is clearly better.
    draws : int
        Of the known bias.
    """

    before: dict[str, float | None]
    pictures_before: dict[str, NDArray[np.float32]] = field(repr=False)
    candidates: tuple[Candidate, ...]
    recommended: int
    draws: int = DRAWS


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
        Changed fields of `CorrectionParameters` by name; the first is what the others are compared with.
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
    left = np.empty((len(results), DRAWS))
    for seed in range(DRAWS):  # one at a time: each is as large as the volume
        known = known_bias(volume.shape, bounds, seed)
        biased = original * np.exp(known)
        for index, (_, changes, correction) in enumerate(results):
            again = correct_array(biased, bounds, voxel_size_mm, replace(base, **changes), mask=mask)
            left[index, seed] = _unrecovered(again.log_bias_field - correction.log_bias_field, known, common)
    figures = [
        _figures(before, evenness(correction.corrected, common, bounds))
        | {
            "tissue_fraction": float(correction.mask.mean()),
            "unrecovered": float(draws.mean()),
            "unrecovered_error": float(draws.std(ddof=1) / np.sqrt(DRAWS)),
        }
        for (*_, correction), draws in zip(results, left, strict=True)
    ]
    found = tuple(
        Candidate(
            name=name,
            parameters={key: list(value) if isinstance(value, tuple) else value for key, value in changes.items()},
            figures=of_candidate,
            better=_is_better(draws - left[0]) and _keeps_contrast(of_candidate, figures[0]),
            fields=_pictures(correction.log_bias_field),
            pictures=_pictures(correction.corrected),
        )
        for (name, changes, correction), of_candidate, draws in zip(results, figures, left, strict=True)
    )
    better = [index for index, candidate in enumerate(found) if candidate.better]
    recommended = min(better, key=lambda index: float(left[index].mean()), default=0)
    return Tuning(_figures(before, before), _pictures(original), found, recommended)


def known_bias(shape: Sequence[int], sections: Sections, seed: int) -> NDArray[np.float32]:
    """Draw a bias of the usual kind: decay with depth, gains, shading that sections share and a little of their own.

    Parameters
    ----------
    shape : sequence of int
        (Z, Y, X).
    sections : tuple of (int, int)
        Planes of each section.
    seed : int
        Of the draw.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Natural logarithm of the bias.
    """
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[1:]), indexing="ij")
    terms = np.stack([y, x, y * x, y * y, x * x])
    decay, shared = rng.uniform(0.2, 0.6), rng.normal(0, 0.15, len(terms))
    known = np.empty(tuple(shape), np.float32)
    for z_start, z_stop in sections:
        depth = np.arange(z_stop - z_start) / (z_stop - z_start)
        shading = np.tensordot(shared + rng.normal(0, 0.04, len(terms)), terms, 1)
        known[z_start:z_stop] = (rng.normal(0, 0.1) - decay * depth)[:, None, None] + shading
    return known


def _unrecovered(found: NDArray[np.float32], known: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Return the share of a known bias that is not found; a constant is no bias."""
    if not mask.any():
        return 1.0
    error, truth = (values - np.median(values) for values in ((found - known)[mask], known[mask]))
    return float(np.sqrt(np.mean(error**2, dtype=np.float64) / np.mean(truth**2, dtype=np.float64)))


def _is_better(differences: NDArray[np.float64]) -> bool:
    """Say whether the draws of a candidate are clearly below those of the defaults."""
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    needed = max(LEAST_GAIN, float(student_t.ppf(CONFIDENCE, len(differences) - 1)) * error)
    return bool(-differences.mean() > needed)


def _keeps_contrast(figures: Mapping[str, float | None], of_defaults: Mapping[str, float | None]) -> bool:
    own, other = figures["contrast_change"], of_defaults["contrast_change"]
    return own is None or other is None or own >= other - CONTRAST_LOSS


def _majority(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    votes = np.zeros(masks[0].shape, np.uint8)
    for mask in masks:
        votes += mask
    return votes * 2 > len(masks)


def _figures(before: Evenness, after: Evenness) -> dict[str, float | None]:
    contrast_change = None
    if before.contrast and after.contrast:
        contrast_change = after.contrast / before.contrast - 1
    return {
        "step_deviation": after.step_deviation,
        "step_worst": after.step_worst,
        "inside_median": after.inside_median,
        "inside_worst": after.inside_worst,
        "cv_within": after.cv_within,
        "contrast_change": contrast_change,
        "slow_correlation": slow_correlation(before.profile, after.profile),
    }


def _pictures(volume: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    z, y, x = (n // 2 for n in volume.shape)
    return {"yx": volume[z].copy(), "zx": volume[:, y].copy(), "zy": volume[:, :, x].copy()}
