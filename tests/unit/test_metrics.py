"""The figures of metrics.json, against the same figures taken from whole volumes."""

import numpy as np
import pytest

from linumpy.intensity.bias_model import read_json
from linumpy.io.ome_zarr import open_image, open_mask
from linumpy.qc.metrics import coefficient_of_variation, step_ratio
from tests.acquisitions import small_acquisition, write_ome_zarr
from tests.chain import run_chain


@pytest.fixture
def planes():
    rng = np.random.default_rng(4)
    last = rng.gamma(9, 20, (20, 30)).astype(np.float32)
    return last, 0.75 * last, rng.random((20, 30)) > 0.3, rng.random((20, 30)) > 0.3


def test_a_step_is_the_median_ratio_of_the_common_tissue(planes):
    last, first, mask_last, mask_first = planes
    first = np.where(mask_last & mask_first, first, 1e6).astype(np.float32)  # outside the tissue: anything
    assert step_ratio(last, first, mask_last, mask_first) == pytest.approx(0.75, rel=1e-6)


def test_odd_voxels_are_no_step(planes):
    last, first, mask_last, mask_first = planes
    for value in (np.nan, np.inf, -3, 0):
        last[3, ::2], first[5, ::2] = value, value
        assert step_ratio(last, first, mask_last, mask_first) == pytest.approx(0.75, rel=1e-6)


def test_too_little_common_tissue_is_no_step(planes):
    last, first, mask_last, _ = planes
    few = np.zeros_like(mask_last)
    few[:7, :7] = True
    assert step_ratio(last, first, few, few) is None  # 49
    few[7, 0] = True
    assert step_ratio(last, first, few, few) == pytest.approx(0.75, rel=1e-6)
    assert step_ratio(last, first, mask_last, ~mask_last) is None


def test_coefficient_of_variation():
    assert coefficient_of_variation([1.0, None, 3.0]) == 0.5
    assert coefficient_of_variation([2.0, 2.0, 2.0]) == 0
    for values in ([], [None, None], [5.0], [5.0, None], [1.0, -1.0]):
        assert coefficient_of_variation(values) is None


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    """Metrics, and the volumes they are about."""
    folder = tmp_path_factory.mktemp("metrics")
    volume = small_acquisition().volume
    row = {"image": write_ome_zarr(folder / "i.ome.zarr", volume), "n_sections": 3}
    results = run_chain(
        folder, row, shrink_factor=2, n_iterations=[5], spline_distance_section_mm=0.5, save_bias_field=True
    )
    return (
        read_json(results / "metrics.json"),
        {"before": volume, "after": open_image(results / "corrected.ome.zarr").read()},
        open_mask(results / "mask.ome.zarr").read() != 0,
        open_image(results / "bias_field.ome.zarr").read(),
    )


@pytest.mark.parametrize("when", ["before", "after"])
def test_steps_and_medians_are_those_of_the_voxels(corrected, when):
    metrics, volumes, mask, _ = corrected
    volume = volumes[when]
    for index, cut in enumerate((7, 14)):
        step = step_ratio(volume[cut - 1], volume[cut], mask[cut - 1], mask[cut])
        assert metrics["sections"][index][f"step_{when}"] == pytest.approx(step, rel=1e-5)
    assert metrics["sections"][2][f"step_{when}"] is None
    medians = [float(np.median(plane[tissue])) for plane, tissue in zip(volume, mask, strict=True)]
    np.testing.assert_allclose(metrics["planes"][f"median_{when}"], medians, rtol=1e-5)
    inside = [coefficient_of_variation(medians[z : z + 7]) for z in (0, 7, 14)]
    np.testing.assert_allclose([s[f"cv_{when}"] for s in metrics["sections"]], inside, rtol=1e-4)
    summary = metrics["summary"]
    assert summary[f"cv_within_{when}"] == pytest.approx(np.median(inside), rel=1e-4)
    assert summary[f"cv_planes_{when}"] == pytest.approx(coefficient_of_variation(medians), rel=1e-4)
    steps = [section[f"step_{when}"] for section in metrics["sections"][:2]]
    assert summary[f"step_deviation_{when}"] == pytest.approx(np.median(np.abs(np.array(steps) - 1)), rel=1e-6)


def test_tissue_and_field_are_those_of_the_volumes(corrected):
    metrics, _, mask, field = corrected
    assert metrics["tissue_fraction"] == pytest.approx(mask.mean())
    np.testing.assert_allclose(metrics["planes"]["tissue_fraction"], mask.mean(axis=(1, 2)))
    for section in metrics["sections"]:
        planes = slice(section["z_start"], section["z_stop"])
        assert section["tissue_fraction"] == pytest.approx(mask[planes].mean())
        low, high = np.percentile(field[planes][mask[planes]], [1, 99])
        # Percentiles of every eighth voxel against those of all, of a smooth field.
        assert section["field_p1"] == pytest.approx(low, rel=0.03)
        assert section["field_p99"] == pytest.approx(high, rel=0.03)
