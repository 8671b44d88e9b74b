"""Scores of a correction against the truth: perfect for the true field, and each fault is measured by its figure."""

from __future__ import annotations

import numpy as np
import pytest

from linumpy.qc.truth import score, scored_tissue
from linumpy.simulate import image_volume, organ
from linumpy.simulate.damage import tear_section


@pytest.fixture(scope="module")
def acquisition():
    return image_volume(organ((24, 90, 100), (25.0, 60.0, 60.0)), sections=3, seed=5)


@pytest.fixture(scope="module")
def levels(acquisition):
    return [z for z in range(24) if np.count_nonzero(scored_tissue(acquisition)[z]) >= 100]


def scored(acquisition, error):
    found = acquisition.log_bias_field + error
    return score(acquisition.volume / np.exp(found), acquisition, log_bias_field=found)


def test_true_field_scores_perfectly(acquisition):
    s = scored(acquisition, np.float32(0.6))  # the free constant must not matter
    assert s.rms < 1e-6
    assert s.xy < 1e-6
    assert s.contrast == pytest.approx(1, abs=1e-5)
    for value in (s.step_worst, s.cv_worst, s.plane_worst, s.section_worst):
        assert value < 1e-5
    assert s.along_z < 0.012  # the speckle of 16 looks, in planes of 100 voxels and more


def test_no_correction_scores_as_the_field_itself(acquisition):
    s = score(acquisition.volume, acquisition)
    true = acquisition.log_bias_field[scored_tissue(acquisition)]
    assert s.rms == pytest.approx(np.sqrt(np.mean((true - np.median(true)) ** 2)), rel=1e-4)
    assert s.largest_gain == 1
    assert s.step_worst > 0.1
    assert s.cv_worst > 0.05


def test_one_plane_wrong(acquisition, levels):
    error = np.zeros(acquisition.volume.shape, np.float32)
    error[11] = np.log(0.8)  # divided by 0.8: 25 % too bright
    s = scored(acquisition, error)
    assert s.plane_at == 11
    assert s.plane_worst == pytest.approx(0.25, rel=1e-4)
    assert s.xy < 1e-6
    assert s.step_worst < 1e-5
    assert s.cv_median < 1e-5 < s.cv_worst
    assert s.levels[11] == pytest.approx(1.25, rel=1e-4)
    assert [z for z, level in enumerate(s.levels) if level is not None] == levels


def test_one_section_wrong(acquisition):
    error = np.zeros(acquisition.volume.shape, np.float32)
    error[16:] = np.log(0.5)
    s = scored(acquisition, error)
    assert s.section_at == 2
    assert s.section_worst == pytest.approx(1, rel=1e-4)
    assert s.step_worst == pytest.approx(1, rel=1e-4)
    assert s.step_median == pytest.approx(0.5, rel=1e-4)
    assert s.cv_worst < 1e-5
    assert s.largest_gain > 1.5


def test_shading_is_within_planes(acquisition):
    error = np.zeros(acquisition.volume.shape, np.float32)
    error[:, :, ::2], error[:, :, 1::2] = 0.05, -0.05
    s = scored(acquisition, error)
    # The median of two equally frequent values is one of them, or between.
    assert 0.049 < s.xy < 0.1
    assert s.along_z < 0.12


def test_lost_contrast_is_measured(acquisition):
    white = acquisition.truth > np.median(acquisition.truth[scored_tissue(acquisition)])
    s = scored(acquisition, np.where(white, np.float32(np.log(1.1)), np.float32(0)))
    assert s.contrast == pytest.approx(1 / 1.1, rel=1e-4)


def test_offset_left_in_takes_contrast():
    brain = organ((16, 60, 60), (250.0, 80.0, 80.0))
    a = image_volume(brain, sections=2, camera_offset=0.5, bias_strength=0.0, looks=None, noise=0.0)
    left = score(a.volume, a)
    assert left.rms == 0
    # Grey 1 and white 1.5 become 1.5 and 2.
    assert left.contrast == pytest.approx((2 / 1.5) / 1.5, abs=0.02)
    gone = score(a.volume - 500, a, log_bias_field=np.zeros(a.volume.shape))
    assert gone.contrast == pytest.approx(1, abs=1e-4)


def test_mistakes_are_named(acquisition):
    with pytest.raises(ValueError, match="corrected has shape"):
        score(acquisition.volume[1:], acquisition)
    empty = tear_section(image_volume(organ((4, 6, 6), (25.0, 80.0, 80.0)), sections=1), 0, share=1)
    with pytest.raises(ValueError, match="no tissue"):
        score(empty.volume, empty)
