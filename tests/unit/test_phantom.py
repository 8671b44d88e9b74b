"""Scores against the truth: perfect for the true field, telling for a wrong one."""

from __future__ import annotations

import numpy as np
import pytest

from linumpy.qc.phantom import phantom_scores
from linumpy.simulate import simulate_acquisition


@pytest.fixture(scope="module")
def acquisition():
    return simulate_acquisition((24, 90, 100), sections=3, voxel_size_um=(10, 60, 60), seed=5)


def test_true_field_scores_perfectly(acquisition):
    field = 1.7 * acquisition.bias_field  # the free constant must not matter
    scores = phantom_scores(acquisition.volume / field, acquisition)
    assert scores.correlation == pytest.approx(1, abs=1e-6)
    assert scores.rms_error < 1e-5  # single precision
    # 24 planes of 4,700 tissue voxels, speckle of 25 %: medians are known to about 0.5 %
    assert scores.contrast_white == pytest.approx(1, abs=0.02)
    assert scores.contrast_nuclei == pytest.approx(1, abs=0.02)
    assert scores.class_deviation < 0.03
    assert scores.step_deviation < 0.02
    assert scores.cv_within < 0.01


def test_no_correction_scores_as_the_field_itself(acquisition):
    scores = phantom_scores(acquisition.volume, acquisition)
    assert scores.correlation is None
    assert scores.rms_error == pytest.approx(scores.rms_without, rel=1e-6)
    assert scores.rms_without > 0.1
    assert scores.step_deviation > 0.1
    assert scores.cv_within > 0.02
    assert (scores.field_low, scores.field_high) == (1, 1)


def test_a_known_error_is_measured(acquisition):
    ripple = np.zeros(acquisition.volume.shape, np.float32)
    ripple[:, :, ::2], ripple[:, :, 1::2] = 0.05, -0.05
    found = acquisition.log_bias_field + ripple
    scores = phantom_scores(acquisition.volume / np.exp(found), acquisition, log_bias_field=found)
    assert scores.rms_error == pytest.approx(0.05, rel=0.01)


def test_lost_contrast_is_noticed(acquisition):
    flattened = np.where(acquisition.labels == 2, acquisition.volume / 1.1, acquisition.volume)
    scores = phantom_scores(flattened / acquisition.bias_field, acquisition)
    assert scores.contrast_white == pytest.approx(1 / 1.1, abs=0.02)
    assert scores.contrast_nuclei == pytest.approx(1, abs=0.02)


def test_bias_free_integers_and_empty_sections():
    a = simulate_acquisition(
        (24, 60, 60), sections=3, voxel_size_um=(10, 80, 80), variant="bias_free", dtype="uint16",
        empty_sections=(1,), seed=2,
    )  # fmt: skip
    scores = phantom_scores(a.volume, a)
    assert scores.rms_without == 0
    assert scores.steps == (None, None)
    assert scores.step_deviation is None


def test_mistakes_are_named(acquisition):
    with pytest.raises(ValueError, match="corrected has shape"):
        phantom_scores(acquisition.volume[1:], acquisition)
    empty = simulate_acquisition((4, 20, 20), sections=1, empty_sections=(0,))
    with pytest.raises(ValueError, match="no tissue"):
        phantom_scores(empty.volume, empty)
