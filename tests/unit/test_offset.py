"""A camera's offset is measured at the cuts, where it is there, and left alone where it is not."""

import numpy as np
import pytest

from linumpy.intensity.offset import measure_offset, subtract_offset
from linumpy.qc.truth import score
from linumpy.simulate import case
from linumpy.stage.local import CorrectionParameters, correct_array


def found_in(acquisition):
    planes = zip(acquisition.volume.astype(np.float32), acquisition.tissue_mask, strict=True)
    return measure_offset(planes, acquisition.sections)


@pytest.fixture(scope="module")
def with_offset():
    return case("camera_offset", seed=5)


def test_an_offset_is_found_with_its_error(with_offset):
    found = found_in(with_offset)
    assert found.is_likely
    true = with_offset.physics.camera_offset * with_offset.physics.grey_level
    assert found.value == pytest.approx(true, rel=0.03)
    assert 0 < found.error < 0.05 * true


@pytest.mark.parametrize("name", ["usual_decay", "strong_decay", "one_plane", "even", "shadows", "dark_agarose"])
def test_no_offset_is_told_where_none_is(name):
    found = found_in(case(name, seed=5))
    assert found is None or not found.is_likely


def test_few_cuts_or_weak_ones_tell_nothing():
    tissue = np.arange(800).reshape(20, 40) < 400
    light = np.where(tissue, np.float32(100), np.float32(10)) + 7
    assert measure_offset([(light, tissue)] * 6, [(z, z + 1) for z in range(6)]) is None
    assert measure_offset([(light, tissue), (2 * light, tissue)], [(0, 1), (1, 2)]) is None


def test_subtracting_it_is_as_good_as_having_none(with_offset):
    def scores(acquisition, offset=0.0):
        parameters = CorrectionParameters(offset=offset)
        result = correct_array(acquisition.volume, acquisition.sections, acquisition.voxel_size_mm, parameters)
        return score(result.corrected, acquisition, log_bias_field=result.log_bias_field)

    without, left, subtracted = scores(case("usual_decay", seed=5)), scores(with_offset), scores(with_offset, 200.0)
    assert left.rms > without.rms + 0.05
    assert left.contrast < without.contrast - 0.05
    assert subtracted.rms == pytest.approx(without.rms, abs=0.01)
    assert subtracted.contrast == pytest.approx(without.contrast, abs=0.02)


def test_a_block_less_its_offset():
    block = np.array([[[3, 10]]], np.uint16)
    assert subtract_offset(block, 0) is block
    np.testing.assert_array_equal(subtract_offset(block, 5), np.array([[[-2, 5]]], np.float32))
