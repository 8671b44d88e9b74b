"""The warnings about a mask, and the splits they rest on."""

from dataclasses import replace

import numpy as np
import pytest
import zarr

from linumpy.intensity.mask_checks import mask_warnings
from linumpy.intensity.mask_split import HistogramSplit, _end_of_low_tail, split_histogram
from linumpy.intensity.mask_stream import SectionMask
from linumpy.intensity.mask_threshold import KEY_SHIFT, SectionHistogram, Tally
from linumpy.intensity.sections import section_bounds
from linumpy.intensity.tissue_mask import compute_tissue_mask, stream_tissue_mask

SPLIT = HistogramSplit(threshold=60, floor=5, background=30, tissue=120, separation=6)
GOOD = SectionMask(0, 0, 5, 60.0, 0.5, 1, SPLIT, None, captured=1.0, leaked=0.0)


def sections(**changes):
    """Nine good sections; the fifth with changes."""
    nine = [replace(GOOD, index=i, z_start=5 * i, z_stop=5 * i + 5) for i in range(9)]
    nine[4] = replace(nine[4], **changes)
    return nine


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"tissue_share": 0.45}, []),
        ({"tissue_share": 0.2}, ["mask_share_jump"]),
        ({"tissue_share": 0.9}, ["mask_share_jump"]),
        ({"tissue_share": 0.0, "threshold": None}, ["mask_empty", "mask_share_jump"]),
        ({"captured": 0.3, "threshold": 300.0}, ["mask_bright_cells"]),
        ({"leaked": 0.5, "threshold": 25.0}, ["mask_agarose"]),
        ({"split": replace(SPLIT, background=12, tissue=40)}, ["mask_agarose"]),
        ({"split": replace(SPLIT, separation=2.6), "borrowed_from": 3}, ["mask_borrowed"]),
        ({"split": replace(SPLIT, separation=2.6), "threshold": 5}, ["mask_no_contrast"]),
        ({"split": None}, []),
    ],
)
def test_each_fault_has_its_code(changes, codes):
    found = mask_warnings(sections(**changes))
    assert [warning["code"] for warning in found] == codes
    assert all(warning["section"] == 4 and "section 4" not in warning["message"] for warning in found)


def test_no_sections_and_one_section_pass():
    assert mask_warnings([]) == []
    assert mask_warnings([GOOD]) == []


def run(vol, bounds, method):
    found = []
    blocks = stream_tissue_mask(lambda z0, z1: vol[z0:z1], vol.shape, bounds, method=method, on_section=found.append)
    return np.concatenate([block for _, block in blocks]), found


def test_cortex_linear_otsu_finds_bright_cells_and_says_so(test_data):
    vol = zarr.open_group(test_data / "cortex_3sections.ome.zarr", mode="r")["0"][:]
    tissue = np.broadcast_to(np.median(vol, axis=0) > 91, vol.shape)
    linear, found = run(vol, section_bounds(30, 3), "otsu")
    assert [warning["code"] for warning in mask_warnings(found)] == ["mask_bright_cells"] * 3
    assert np.mean(linear[tissue]) < 0.4
    robust, found = run(vol, section_bounds(30, 3), "robust")
    assert mask_warnings(found) == []
    assert np.mean(robust[tissue]) > 0.99
    assert np.mean(robust[~tissue]) < 0.05  # the rim that the Gaussian blurs


def test_a_crop_without_background_is_all_tissue(test_data):
    vol = zarr.open_group(test_data / "cortex_3sections.ome.zarr", mode="r")["0"][:, 150:350, 300:500]
    mask, found = run(vol, section_bounds(30, 3), "robust")
    assert mask.all()
    assert [warning["code"] for warning in mask_warnings(found)] == ["mask_no_contrast"] * 3


def section_volume(levels, seed=0):
    """Two halves (agarose left, tissue right) per 8-plane section, with 16-look speckle."""
    rng = np.random.default_rng(seed)
    planes = np.concatenate([np.full((8, 64, 64), left, float) for left, _ in levels])
    for i, (_, right) in enumerate(levels):
        planes[8 * i : 8 * i + 8, :, 32:] = right
    return (planes * rng.gamma(16, 1 / 16, planes.shape)).astype(np.float32)


SETTINGS = {"smoothing_sigma_z": 0, "z_closing_sections": 0, "method": "robust"}


def shares(levels):
    mask = compute_tissue_mask(section_volume(levels), n_serial_slices=len(levels), **SETTINGS)
    return mask.reshape(len(levels), -1).mean(axis=1)


def test_sections_all_tissue_or_without_tissue_borrow_a_threshold():
    # 1 pixel of 64 beside the edge may go either way: the Gaussian's blur.
    np.testing.assert_allclose(shares([(30, 200), (200, 200), (30, 30)]), [0.5, 1, 0], atol=0.02)
    np.testing.assert_allclose(shares([(30, 30), (200, 200), (30, 200)]), [0, 1, 0.5], atol=0.02)
    np.testing.assert_allclose(shares([(200, 200), (200, 200)]), [1, 1], atol=0)


def test_the_fringe_of_unmeasured_voxels_is_background():
    vol = section_volume([(30, 200)])
    vol[:, :20] = 0
    mask = compute_tissue_mask(vol, **SETTINGS)
    assert mask[:, 22:, 34:].all()
    assert not mask[:, :18].any()
    assert not mask[:, :, :30].any()


@pytest.mark.parametrize("n_bins", [2, 5, 12, 13, 24, 25, 26])
def test_the_low_tail_of_few_bins_is_that_of_many(n_bins):
    counts = np.zeros(60)
    counts[:n_bins] = 1
    counts[n_bins - 1] = 1e4
    widths = np.diff(np.log(2.0 ** (np.arange(61) / 64)))
    # 2.4 standard deviations of 4 bins before the peak
    assert _end_of_low_tail(counts, widths) == max(0, n_bins - 10)
    assert _end_of_low_tail(counts[:n_bins], widths[:n_bins]) == max(0, n_bins - 10)


def test_split_of_nothing_and_of_one_value():
    empty = SectionHistogram.of_values(np.zeros(0, np.float32))
    assert split_histogram(empty) is None
    tally = Tally()
    value = 2.0**-5
    tally.extremes[:] = value
    key = int((np.float32(value).view(np.int32).astype(np.int64) + 0x80000000) >> KEY_SHIFT)
    tally.counts[key] = 500
    split = split_histogram(SectionHistogram.of([tally]))
    assert split is not None
    assert split.separation == 0
    assert not split.is_trusted
    assert split.floor < value
