"""The figures of metrics.json, against the same figures taken from whole volumes."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from linumpy.intensity.along_z import AlongZ
from linumpy.intensity.bias_model import BiasModel, read_json
from linumpy.intensity.sections import section_bounds
from linumpy.io.ome_zarr import open_image, open_mask
from linumpy.qc.metrics import _along_z, _jumps, _odd_planes, _warnings, coefficient_of_variation, step_ratio
from tests.acquisitions import small_acquisition, write_ome_zarr
from tests.chain import run_chain

SCHEMA = json.loads((Path(__file__).parents[2] / "assets" / "metrics_schema.json").read_text())


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
        # Percentiles of every eighth voxel against those of all, of a field that is smooth but for the planes' levels.
        assert section["field_p1"] == pytest.approx(low, rel=0.03)
        assert section["field_p99"] == pytest.approx(high, rel=0.03)


def test_the_level_along_z_is_that_of_the_model(corrected):
    metrics, _, mask, _ = corrected
    jsonschema.validate(metrics, SCHEMA)
    along_z = metrics["along_z"]
    for name in ("levels", "errors", "kept", "tissue"):
        assert len(along_z[name]) == len(mask)
    for section in metrics["sections"]:
        assert section["gain_error"] == max(along_z["errors"][section["z_start"] : section["z_stop"]])
    assert along_z["verdict"].startswith("The data tell the level along Z to ±")


@pytest.mark.parametrize("name", ["step", "cv"])
def test_the_worst_is_named(corrected, name):
    metrics = corrected[0]
    values = [section[f"{name}_after"] for section in metrics["sections"]]
    if name == "step":
        values = [abs(value - 1) for value in values[:-1]]
    worst = metrics["summary"][f"{name}_worst_after"]
    assert worst["value"] == pytest.approx(max(values))
    assert worst["section"] == int(np.argmax(values))


def found(errors, n_sections=2, gain=0.1):
    n = len(errors)
    zeros = np.zeros(n)
    measured = AlongZ(zeros, np.array(errors), zeros, zeros[:2], (), np.full(n, 900), {"gain": gain})
    return _along_z(measured, section_bounds(n, n_sections))


@pytest.mark.parametrize(
    ("errors", "n_sections", "said"),
    [
        ([0.02] * 4, 2, "The data tell the level along Z to ±2.0 % (standard error of the median plane)."),
        ([0.02, 0.02, 0.02, 0.07, 0.09], 2, "median plane); planes 3 to 4 only to ±9.0 % at worst."),
        ([0.02, 0.07, 0.02], 2, "median plane); plane 1 only to ±7.0 % at worst."),
        ([0.07, 0.02, 0.0, 0.02, 0.07], 2, "median plane); planes 0, 4 only to ±7.0 % at worst."),
        ([0.02] * 4, 1, "they cannot tell a decay with depth from a change of the tissue."),
        ([0.0] * 4, 2, "The data do not tell the level along Z:"),
    ],
)
def test_the_verdict_says_what_the_data_tell(errors, n_sections, said):
    assert said in found(errors, n_sections)["verdict"]


def test_planes_that_nothing_was_measured_of_have_no_error():
    assert found([0.02, 0.0])["errors"] == [0.02, None]
    assert found([0.02, 0.0])["kept"] == [0.0, None]


@pytest.mark.parametrize(
    ("errors", "gain", "fell"),
    [
        ([0.02, 0.02, 0.09, 0.08], 0.1, [1]),
        ([0.02, 0.02, 0.09, 0.06], 0.1, []),  # a plane tells it
        ([0.02, 0.02, 0.04, 0.04], 0.05, []),  # small enough, whatever the gains are
        ([0.02, 0.02, 0.0, 0.0], 0.1, [1]),  # tissue, but nothing was measured
    ],
)
def test_sections_that_their_planes_tell_too_little_of_are_named(errors, gain, fell):
    assert found(errors, 2, gain)["fell_back"] == fell
    assert found(errors, 1, gain)["fell_back"] == []


def gains_warned(gains, errors):
    sections = [
        {"index": i, "gain": gain, "gain_error": error, "empty": False}
        for i, (gain, error) in enumerate(zip(gains, errors, strict=True))
    ]
    tissue = {"voxels": {"not_finite": 0, "negative": 0}, "sections": []}
    return [(warning["code"], warning["section"]) for warning in _warnings(tissue, sections, 0.5)]


def test_a_far_gain_that_its_error_does_not_support_is_named():
    assert gains_warned([1, 1, 1, 3.5, 0.3], [0.02, 0.02, 0.02, 0.2, 0.2]) == [
        ("gain_unsupported", 3),
        ("gain_unsupported", 4),
    ]
    assert gains_warned([1, 1, 1, 3.5, 2.5], [0.02, 0.02, 0.02, 0.02, 0.2]) == [("gain", 3), ("gain", 4)]
    assert gains_warned([5, 5, 5.5], [0.02] * 3) == []
    assert gains_warned([1, 1, 1], [None] * 3) == []


def test_planes_badly_taken_are_named_with_their_section():
    bias = BiasModel(((0, 10), (10, 20)), (1, 1, 1), (None, None), (1.0, 1.0))
    first, second = _odd_planes({"odd_planes": [2, 4, 13]}, bias, put_right=True)
    assert first["message"] == (
        "planes 2, 4 were taken darker or brighter than their neighbours: they were put right by themselves"
    )
    assert second["message"] == "plane 13 was taken darker or brighter than its neighbours: it was put right by itself"
    assert (first["section"], second["section"]) == (0, 1)
    (left, *_) = _odd_planes({"odd_planes": [2]}, bias, put_right=False)
    assert left["message"].endswith("it was left so, since depth_profile is off")
    assert _odd_planes(None, bias, put_right=True) == []


def test_jumps_are_those_inside_sections():
    bias = BiasModel(((0, 3), (3, 6)), (1, 1, 1), (None, None), (1.0, 1.0))
    jumps = _jumps([100.0, 110.0, 55.0, 200.0, None, 100.0], bias)
    assert jumps == [None, pytest.approx(0.1), 0.5, None, None, None]
