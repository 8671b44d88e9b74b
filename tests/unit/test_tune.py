"""Tuning: candidates run, their figures are comparable, the even one is recommended."""

import json

import numpy as np
import pytest

from linumpy.qc.evenness import evenness, slow_correlation
from linumpy.qc.tuning import render_tuning
from linumpy.simulate import simulate_acquisition
from linumpy.stage.local import CorrectionParameters
from linumpy.stage.tune import tune


def test_the_even_candidate_is_recommended() -> None:
    acquisition = simulate_acquisition((24, 70, 80), sections=3, voxel_size_um=(10, 80, 80))
    poor = CorrectionParameters(depth_profile=False, harmonise="none", n_iterations=(1,), workers=1)
    good = {"depth_profile": True, "harmonise": "gain", "n_iterations": None}
    candidates = [("poor", {}), ("good", good), ("no gains", good | {"harmonise": "none"})]
    tuning = tune(acquisition.volume, 3, acquisition.voxel_size_mm, poor, candidates)
    assert tuning.candidates[tuning.recommended].name == "good"
    assert [candidate.better for candidate in tuning.candidates][:2] == [False, True]
    left = [candidate.figures["unrecovered"] for candidate in tuning.candidates]
    assert left[1] < 0.5 < left[0], left  # most of it is found, or left
    assert all(candidate.figures["unrecovered_error"] > 0 for candidate in tuning.candidates)
    page = render_tuning(tuning, {}, "a", acquisition.voxel_size_mm)
    assert "finds clearly more of a known bias" in page
    assert f"{100 * left[1]:.1f} %" in page
    assert tuning.before["step_deviation"] > 0.1
    json.dumps([candidate.parameters | candidate.figures for candidate in tuning.candidates], allow_nan=False)
    assert tuning.candidates[0].pictures["zx"].shape == (24, 80)


def test_equals_leave_the_defaults_and_the_page_says_so() -> None:
    acquisition = simulate_acquisition((12, 50, 60), sections=3, voxel_size_um=(10, 80, 80))
    quick = CorrectionParameters(n_iterations=(4,), workers=1)
    tuning = tune(
        acquisition.volume, 3, acquisition.voxel_size_mm, quick, [("default", {}), ("same", {"mode": "two_pass"})]
    )
    assert tuning.recommended == 0
    assert tuning.candidates[0].figures == tuning.candidates[1].figures
    assert not any(candidate.better for candidate in tuning.candidates)
    assert "None is clearly better than the defaults" in render_tuning(tuning, {}, "a", acquisition.voxel_size_mm)


def test_a_jump_where_no_cut_was_declared_is_told_beside_those_at_the_cuts() -> None:
    acquisition = simulate_acquisition((12, 60, 60), sections=3, variant="bias_free", looks=None, noise=0.0)
    volume = acquisition.truth.copy()
    volume[6:] *= 2
    found = evenness(volume, acquisition.tissue_mask, acquisition.sections)
    assert found.inside_worst == pytest.approx(1.0, rel=0.05)
    assert found.step_worst < 0.1
    assert found.inside_median < 0.1


@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize("mask_given", [False, True])
def test_a_voxel_that_is_not_finite_does_not_count(odd: float, mask_given: bool) -> None:
    acquisition = simulate_acquisition((12, 50, 60), sections=3, voxel_size_um=(10, 80, 80))
    volume, mask = acquisition.volume.astype(np.float32), acquisition.tissue_mask
    z, y, x = np.argwhere(mask[6:7])[len(np.argwhere(mask[6:7])) // 2] + (6, 0, 0)
    volume[z, y, x] = odd
    tuning = tune(
        volume, 3, acquisition.voxel_size_mm, CorrectionParameters(n_iterations=(4,), workers=1),
        [("default", {}), ("sections only", {"mode": "per_section"})], mask=mask if mask_given else None,
    )  # fmt: skip
    json.dumps([tuning.before, [candidate.figures for candidate in tuning.candidates]], allow_nan=False)
    assert all(value is not None for key, value in tuning.before.items() if key != "slow_correlation")
    assert "data:image" in render_tuning(tuning, {}, "a", acquisition.voxel_size_mm)


def test_no_candidates_are_refused() -> None:
    acquisition = simulate_acquisition((6, 20, 20), sections=3)
    with pytest.raises(ValueError, match="no candidates"):
        tune(acquisition.volume, 3, acquisition.voxel_size_mm, candidates=[])
    with pytest.raises(TypeError, match="smoothness"):
        tune(acquisition.volume, 3, acquisition.voxel_size_mm, candidates=[("odd", {"smoothness": 1})])


def test_evenness_of_a_known_volume() -> None:
    acquisition = simulate_acquisition((12, 60, 60), sections=3, variant="bias_free", looks=None, noise=0.0)
    volume = acquisition.truth.copy()
    volume[4:8] *= 2
    found = evenness(volume, acquisition.tissue_mask, acquisition.sections)
    assert found.steps == pytest.approx((2.0, 0.5), rel=0.02)
    assert found.cv_within < 0.02
    assert found.jump_p95 > 0.4
    assert slow_correlation(found.profile, found.profile, 5) == pytest.approx(1.0)
    assert slow_correlation(found.profile, found.profile) is None
