"""What the default settings recover on real anatomy; seed 0 is for tuning, these bounds are of other draws."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from linumpy.qc.truth import TruthScores, score
from linumpy.simulate import case
from linumpy.stage.local import correct_array

HELD_OUT_SEED = 1


@dataclass(frozen=True)
class Bound:
    """Largest figures of a case; contrast by how far it may be from 1."""

    rms: float
    along_z: float
    xy: float = 1.0
    contrast: float = 0.05
    step: float = 0.01
    cv: float = 0.015


BOUNDS: dict[tuple[str, str], Bound] = {
    ("even_brain", "even"): Bound(0.022, 0.015),
    ("even_brain", "usual_decay"): Bound(0.065, 0.0745),
    ("even_brain", "strong_decay"): Bound(0.13, 0.09, step=0.043, cv=0.025),
    ("even_brain", "deep_sections"): Bound(0.08, 0.08, step=0.0161, cv=0.034),
    ("even_brain", "squeezed"): Bound(0.07, 0.06, step=0.0182),
    ("even_brain", "one_plane"): Bound(0.055, 0.052),
    ("even_brain", "two_planes"): Bound(0.054, 0.053),
    ("even_brain", "illumination"): Bound(0.089, 0.085, xy=0.06),
    ("organ", "even"): Bound(0.0207, 0.015),
    ("organ", "usual_decay"): Bound(0.065, 0.05),
    ("organ", "strong_decay"): Bound(0.13, 0.196, step=0.0207),
    ("organ", "deep_sections"): Bound(0.08, 0.08, step=0.0184),
    ("organ", "squeezed"): Bound(0.07, 0.06, step=0.0127),
    ("organ", "one_plane"): Bound(0.055, 0.035),
    ("organ", "two_planes"): Bound(0.0425, 0.041),
    ("organ", "illumination"): Bound(0.054, 0.0276, xy=0.06),
}
"""By volume and case: the target where it holds, else what was measured and 15 % more."""

BEFORE = {
    "even": (0.0, 0.006),
    "usual_decay": (0.435, 0.411),
    "strong_decay": (0.957, 0.856),
    "deep_sections": (0.444, 0.416),
    "squeezed": (0.474, 0.425),
    "one_plane": (0.131, 0.121),
}
"""RMS and level along Z of the uncorrected cases that the defaults were first measured on."""


@cache
def _scored(volume: str, name: str, even_brain: Path, seed: int = HELD_OUT_SEED) -> TruthScores:
    acquisition = case(name, volume, seed=seed, even_brain=even_brain)
    correction = correct_array(acquisition.volume, acquisition.sections, acquisition.voxel_size_mm)
    return score(correction.corrected, acquisition, log_bias_field=correction.log_bias_field)


@pytest.mark.parametrize("name", BEFORE)
def test_cases_are_as_hard_as_the_measured_ones(name: str, test_data: Path) -> None:
    acquisition = case(name, "even_brain", even_brain=test_data / "even_brain.ome.zarr")
    before = score(acquisition.volume, acquisition)
    # Other draws, and another of the two brains: within 15 %.
    assert (before.rms, before.along_z) == pytest.approx(BEFORE[name], rel=0.15, abs=0.001)


@pytest.mark.parametrize(("volume", "name"), BOUNDS)
def test_real_anatomy_comes_out_right(volume: str, name: str, test_data: Path) -> None:
    bound = BOUNDS[volume, name]
    scores = _scored(volume, name, test_data / "even_brain.ome.zarr")
    assert scores.rms <= bound.rms, scores
    assert scores.xy <= bound.xy, scores
    assert abs(scores.contrast - 1) <= bound.contrast, scores
    for value, largest in (
        (scores.along_z, bound.along_z),
        (scores.step_median, bound.step),
        (scores.cv_median, bound.cv),
    ):
        assert value is None or value <= largest, scores
