"""What is no tissue stays out of the pipeline's mask, and is named: fills and saturation."""

import numpy as np
import pytest

from linumpy.intensity.mask_checks import mask_warnings
from linumpy.intensity.mask_faults import ceiling_of, plane_faults
from linumpy.intensity.tissue_mask import compute_tissue_mask, stream_tissue_mask

SECTIONS = ((0, 5), (5, 10), (10, 15))
SHAPE = (15, 120, 140)
LIMIT = np.float32(65535)


def phantom(agarose=10.0, seed=0, shape=SHAPE):
    """A disc of grey and white stripes in agarose, each plane of a section dimmer than the one before, with speckle."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[1], : shape[2]]
    tissue = np.broadcast_to(np.hypot(y - 60, x - 70) < 45, shape).copy()
    truth = np.where(tissue, np.where((x // 6) % 3 == 0, 1500.0, 1000.0), 10 * agarose)
    decay = np.exp(-0.08 * (np.arange(shape[0]) % 5))[:, None, None]
    return np.rint(truth * decay * rng.gamma(16, 1 / 16, shape)).astype(np.uint16), tissue


def masked(volume, sections=SECTIONS, **settings):
    found = []
    blocks = stream_tissue_mask(
        lambda z0, z1: volume[z0:z1],
        volume.shape,
        sections,
        method="robust",
        screened=True,
        on_section=found.append,
        **settings,
    )
    return np.concatenate([block for _, block in blocks]), mask_warnings(found)


def codes(warnings):
    return {warning["code"] for warning in warnings}


def assert_right(mask, tissue, missed=0.02, taken=0.045):
    """One pixel around a disc of radius 45 is 4.4 % of its area: what the blur of an edge takes without damage, too."""
    assert np.count_nonzero(tissue & ~mask) <= missed * np.count_nonzero(tissue)
    assert np.count_nonzero(mask & ~tissue) <= taken * np.count_nonzero(tissue)


FILLS = {
    "white frame": (65535, (slice(0, 15), slice(None), slice(0, 40)), "saturated"),
    "frame as bright as tissue": (1003, (slice(0, 15), slice(None), slice(0, 40)), "constant_fill"),
    "tile as bright as tissue": (1000, (slice(6, 9), slice(40, 72), slice(50, 90)), "constant_fill"),
    "tile of zeros": (0, (slice(6, 9), slice(40, 72), slice(50, 90)), "constant_fill"),
    "white tile": (65535, (slice(7, 8), slice(40, 72), slice(50, 90)), "saturated"),
    "saturated below the limit": (30000, (slice(5, 10), slice(55, 65), slice(60, 75)), "constant_fill"),
    "blank plane": (800, (slice(7, 8), slice(None), slice(None)), "constant_fill"),
    "blank end planes": (800, (slice(0, 1), slice(None), slice(None)), "constant_fill"),
}


@pytest.mark.parametrize("kind", FILLS)
def test_fills_stay_out_and_are_named(kind):
    value, area, code = FILLS[kind]
    volume, tissue = phantom()
    volume[area] = value
    filled = np.zeros(SHAPE, bool)
    filled[area] = True
    mask, warnings = masked(volume)
    assert not (mask & filled).any()
    assert_right(mask[~filled], tissue[~filled])  # the rim of the fill goes, too
    (warning,) = warnings
    assert warning["code"] == code
    n_named = int(warning["message"].split()[0])
    assert 0 <= n_named - np.count_nonzero(filled) <= 2  # a voxel of its value may touch it
    n_sections = len(set(np.flatnonzero(filled.any(axis=(1, 2))) // 5))
    assert (warning["section"] is None) == (n_sections > 1)


def test_sound_volumes_keep_the_bits_of_their_mask():
    volume, _ = phantom(30)
    volume[:, :, :10] = 0  # an image may have zeros around it
    mask, warnings = masked(volume)
    np.testing.assert_array_equal(mask, compute_tissue_mask(volume, n_serial_slices=SECTIONS, method="robust"))
    assert warnings == []


def test_single_saturated_voxels_stay_out():
    volume, tissue = phantom()
    volume[:, 60, 40:100:3] = 65535
    mask, warnings = masked(volume)
    assert not mask[volume == 65535].any()
    assert_right(mask | (volume == 65535), tissue)
    assert codes(warnings) == {"saturated"}


def test_the_rim_of_an_interpolated_fill_stays_out():
    volume, _ = phantom()
    volume[:, :, :60] = 3000
    volume[:, :, 60] = (volume[:, :, 60] + 3000) // 2
    mask, _ = masked(volume)
    assert not mask[:, :, :61].any()
    assert mask[:, 40:80, 62].mean() > 0.98


def test_anatomy_of_one_value_is_no_fill():
    """Normalised brains have white matter of one value: constant, but not straight."""
    rng = np.random.default_rng(0)
    volume, tissue = phantom()
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    angle = np.arctan2(y - 60, x - 70)
    blob = np.hypot(y - 60, x - 70) < 20 + 5 * np.sin(5 * angle) + rng.normal(0, 1.5, SHAPE[1:])
    volume[:, blob] = 1100
    mask, warnings = masked(volume)
    assert warnings == []
    assert_right(mask, tissue)


def test_an_image_without_noise_has_no_fills():
    plane = np.zeros((64, 64), np.float32)
    plane[8:40, 8:40] = 100
    plane[16:32, 16:32] = 200
    assert plane_faults(plane, LIMIT) is None


def test_low_noise_of_8_bits_is_no_fill():
    rng = np.random.default_rng(0)
    for level, spread in ((100, 10), (5, 0.5), (50, 1)):
        plane = np.clip(np.rint(rng.normal(level, spread, (400, 400))), 1, 255).astype(np.float32)
        assert plane_faults(plane, np.float32(255)) is None, (level, spread)


def test_the_ceiling_is_that_of_whole_numbers():
    assert ceiling_of(np.dtype("uint8")) == 255
    assert ceiling_of(np.dtype("int16")) == 32767
    assert ceiling_of(np.dtype("float32")) == np.inf
    assert ceiling_of(np.dtype("bool")) == np.inf


def test_blocks_threads_and_memory_change_no_bit():
    volume, _ = phantom()
    volume[6:9, 40:72, 50:90] = 1000
    volume[:, :, :10] = 0
    volume[3, 20:100:7, 30:90:5] = 65535
    expected, expected_warnings = masked(volume, workers=1)
    for settings in ({"workers": 3, "block_planes": 2}, {"workers": 2, "block_planes": 15, "max_bytes": 1}):
        mask, warnings = masked(volume, **settings)
        np.testing.assert_array_equal(mask, expected)
        assert warnings == expected_warnings
