"""Tuning: candidates run, their figures are comparable, the even one is recommended."""

import json

import pytest

from linumpy.qc.evenness import evenness, slow_correlation
from linumpy.simulate import simulate_acquisition
from linumpy.stage.local import CorrectionParameters
from linumpy.stage.tune import tune


def test_the_even_candidate_is_recommended() -> None:
    acquisition = simulate_acquisition((24, 70, 80), sections=3, voxel_size_um=(10, 80, 80))
    candidates = [
        ("nothing measured", {"depth_profile": False, "harmonise": "none", "n_iterations": (1,)}),
        ("default", {}),
        ("no gains", {"harmonise": "none"}),
    ]
    tuning = tune(acquisition.volume, 3, acquisition.voxel_size_mm, CorrectionParameters(workers=1), candidates)
    assert tuning.recommended == 1
    assert tuning.candidates[tuning.recommended].parameters == {}
    unevenness = [candidate.figures["unevenness"] for candidate in tuning.candidates]
    assert unevenness[1] < 0.02 < unevenness[0]
    assert tuning.before["step_deviation"] > 0.1
    json.dumps([candidate.parameters | candidate.figures for candidate in tuning.candidates], allow_nan=False)
    assert tuning.candidates[0].pictures["zx"].shape == (24, 80)


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
