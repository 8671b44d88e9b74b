"""The mask against the documented recipe computed plainly with SciPy and scikit-image."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from linumpy.intensity.mask_morphology import disk
from linumpy.intensity.sections import section_bounds
from linumpy.intensity.tissue_mask import compute_tissue_mask, stream_tissue_mask


def plain_mask(vol, smoothing_sigma, sections, closing_radius, z_closing, smoothing_sigma_z):
    """The recipe, whole in memory; also returns each voxel's relative distance to its threshold."""
    values = np.asarray(vol, np.float32)
    values = np.where(np.isfinite(values), values, np.float32(0))
    smoothed = ndimage.gaussian_filter(values, (smoothing_sigma_z, smoothing_sigma, smoothing_sigma))
    mask = np.zeros(vol.shape, bool)
    for start, stop in section_bounds(len(vol), sections):
        nonzero = smoothed[start:stop][smoothed[start:stop] != 0]
        if nonzero.size >= 100:
            mask[start:stop] = smoothed[start:stop] > threshold_otsu(nonzero)
    r = closing_radius
    for z, plane in enumerate(mask):
        plane = ndimage.binary_fill_holes(plane)
        wide = np.pad(plane, 2 * r + 2, mode="edge")
        if r:
            wide = ndimage.binary_closing(wide, disk(r))
        mask[z] = wide[2 * r + 2 : -2 * r - 2, 2 * r + 2 : -2 * r - 2]
    if z_closing:
        n = 2 * z_closing + 1
        pad = 2 * n
        tall = np.pad(mask, ((pad, pad), (0, 0), (0, 0)), mode="edge")
        mask = ndimage.binary_closing(tall, np.ones((n, 1, 1)))[pad:-pad]
    return mask


def acquisition(shape=(23, 61, 74), seed=0, dtype=np.float32):
    """A blob with a hole whose centre drifts and whose brightness changes between sections, with speckle."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside = ((y - shape[1] * 0.55 - z / 3) / 22) ** 2 + ((x - shape[2] * 0.4 - z / 2) / 25) ** 2 < 1
    inside &= ((y - 30) ** 2 + (x - 30) ** 2) > 30
    gain = (
        np.linspace(1, 0.5, shape[0])[:, None, None]
        * (1 + 0.3 * (np.arange(shape[0]) // 5 % 2))[:, None, None]
    )
    vol = (40 + 300 * inside * gain) * rng.gamma(4, 0.25, shape)
    return vol.astype(dtype)


CASES = {
    "defaults": (acquisition(), {}),
    "sections": (acquisition(), {"n_serial_slices": 4}),
    "unequal sections": (acquisition(), {"n_serial_slices": [(0, 1), (1, 9), (9, 12), (12, 23)]}),
    "one-plane sections": (acquisition((7, 50, 60)), {"n_serial_slices": 7}),
    "integers": (acquisition(dtype=np.uint16), {"n_serial_slices": 3}),
    "signed integers": (acquisition(dtype=np.int16) - np.int16(60), {"n_serial_slices": 3}),
    "doubles": (acquisition(dtype=np.float64), {"n_serial_slices": 2}),
    "no smoothing": (acquisition(), {"smoothing_sigma": 0, "smoothing_sigma_z": 0}),
    "wide smoothing, small volume": (acquisition((3, 9, 7)), {"smoothing_sigma": 4, "smoothing_sigma_z": 3}),
    "no closing": (acquisition(), {"closing_radius": 0, "z_closing_sections": 0, "n_serial_slices": 3}),
    "wide closing": (acquisition(), {"closing_radius": 9, "z_closing_sections": 6, "n_serial_slices": 3}),
    "closing beyond the volume": (acquisition((3, 20, 30)), {"closing_radius": 25, "z_closing_sections": 7}),
    "one plane": (acquisition((1, 60, 70)), {}),
    "zeros around": (acquisition() * (np.arange(74) > 20), {"n_serial_slices": 4}),
    "empty section": (
        acquisition() * ((np.arange(23) < 6) | (np.arange(23) > 17))[:, None, None],
        {"n_serial_slices": 4},
    ),
    "empty": (np.zeros((5, 20, 20), np.float32), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_the_plain_recipe(case):
    vol, options = CASES[case]
    settings = {
        "smoothing_sigma": 2.0,
        "n_serial_slices": 1,
        "closing_radius": 3,
        "z_closing_sections": 2,
        "smoothing_sigma_z": 1.0,
    } | options
    before = vol.copy()
    mask = compute_tissue_mask(vol, **settings)
    expected = plain_mask(vol, *settings.values())
    assert mask.dtype == bool
    assert mask.shape == vol.shape
    np.testing.assert_array_equal(vol, before)
    # Smoothed values differ by 3e-7 relative: fewer than 1e-5 of the voxels may cross the threshold:
    # none at these sizes.
    assert np.count_nonzero(mask != expected) <= 1e-5 * vol.size


def test_not_finite_voxels_count_as_zero():
    vol = acquisition()
    vol[5, 20:25, 20:25] = np.nan
    vol[9, 40, 40] = np.inf
    vol[12, 41, 40] = -np.inf
    expected = plain_mask(vol, 2.0, 3, 3, 2, 1.0)
    np.testing.assert_array_equal(compute_tissue_mask(vol, n_serial_slices=3), expected)


@pytest.mark.parametrize("method", ["otsu", "otsu_log"])
def test_blocks_threads_and_memory_change_no_bit(method):
    vol = acquisition()
    sections = [(0, 4), (4, 5), (5, 16), (16, 23)]
    expected = compute_tissue_mask(vol, n_serial_slices=sections, method=method, workers=1)
    for workers, block_planes, max_bytes in [
        (1, 1, None),
        (2, 3, 1),
        (3, 7, 1),
        (2, 23, 0),
        (2, 5, 220_000_000),
    ]:
        blocks = list(
            stream_tissue_mask(
                lambda z0, z1: vol[z0:z1],
                vol.shape,
                sections,
                method=method,
                workers=workers,
                block_planes=block_planes,
                max_bytes=max_bytes,
            )
        )
        assert [z for z, _ in blocks] == list(np.cumsum([0] + [len(block) for _, block in blocks[:-1]]))
        np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), expected)
