"""The whole stage in one process: it is the API, however it is cut into tasks, and odd voxels have defined results."""

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import zarr

from linumpy.intensity.bias_field import compute_tissue_mask, n4_correct, n4_correct_per_section
from linumpy.intensity.bias_model import BiasModel, read_json
from linumpy.io.downsample import downsample
from linumpy.io.ome_zarr import open_image, open_mask
from linumpy.plan import preview
from linumpy.plan.errors import InputError
from linumpy.qc.evenness import evenness
from linumpy.stage import local, spool, tuning
from linumpy.stage.local import CorrectionParameters, correct_array
from linumpy.stage.samples import Samples
from linumpy.stage.verify import verify_acquisition
from tests import chain
from tests.acquisitions import (
    UNEVEN_SECTIONS,
    assert_same_stores,
    small_acquisition,
    uneven_acquisition,
    write_ome_zarr,
    write_sections,
)
from tests.chain import REPOSITORY, plan, run_chain, run_tuning

# What matters to the numbers is said here, so that other defaults do not change what is tested.
FIT = {
    "shrink_factor": 2,
    "n_iterations": [8, 8],
    "spline_distance_section_mm": 0.5,
    "spline_distance_global_mm": 1.5,
    "backend": "native",
}
MASK = {"smoothing_sigma": 2.0, "smoothing_sigma_z": 1.0, "closing_radius": 3, "z_closing_sections": 2}
BEYOND_THE_API = {"depth_profile": False, "shading_section_mm": 0, "shading_global_mm": 0, "harmonise": "none"}
SETTINGS = FIT | MASK | BEYOND_THE_API | {"mask_method": "otsu", "mask_min_size": 0}


STORED = {"write_empty_chunks": True}  # chunks of zeros too: a store without any is refused
MASKED = np.ones(small_acquisition().volume[:, ::2, ::2].shape, bool)


def corrected_by_the_api(volume, sections, voxel_size_mm, mode="two_pass", mask=None):
    """What design.md calls the pipeline: mask, N4 per section, N4 of the stack, on the volume in memory."""
    if mask is None:
        mask = compute_tissue_mask(volume, n_serial_slices=sections, **MASK)
    common = {name: FIT[name] for name in ("shrink_factor", "n_iterations", "backend")}
    common |= {"voxel_size_mm": voxel_size_mm}
    bias = np.ones(volume.shape, np.float32)
    corrected = volume.astype(np.float32)
    if mode != "global":
        distance = FIT["spline_distance_section_mm"]
        corrected, bias = n4_correct_per_section(volume, sections, mask, spline_distance_mm=distance, **common)
    if mode != "per_section":
        distance = FIT["spline_distance_global_mm"]
        corrected, stack_bias = n4_correct(corrected, mask, spline_distance_mm=distance, **common)
        bias = bias * stack_bias
    return corrected, bias, mask


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Samplesheet row of an acquisition with unequal sections, oblique tissue and odd sizes."""
    folder = tmp_path_factory.mktemp("uneven")
    return {
        "image": write_ome_zarr(folder / "uneven.ome.zarr", uneven_acquisition().volume, translation=(5, 50, 70)),
        "sections": write_sections(folder / "sections.csv", UNEVEN_SECTIONS),
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "small.ome.zarr"
    return {"image": write_ome_zarr(path, small_acquisition().volume), "n_sections": 3}


@pytest.fixture(scope="module")
def uneven_results(uneven, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain")
    results = run_chain(folder, uneven, slab_planes=64, sections_per_task=2, save_bias_field=True, **SETTINGS)
    assert len(list(folder.glob("slab_*"))) == 3
    assert len(list(folder.glob("sections_*.json"))) == 3
    return results


def metrics_of(results):
    metrics = read_json(results / "metrics.json")
    jsonschema.validate(metrics, json.loads((REPOSITORY / "assets" / "metrics_schema.json").read_text()))
    return metrics


def test_the_stage_is_the_api(uneven_results):
    volume, voxel_size_mm = uneven_acquisition().volume, uneven_acquisition().voxel_size_mm
    corrected, bias, mask = corrected_by_the_api(volume, UNEVEN_SECTIONS, voxel_size_mm)
    np.testing.assert_array_equal(open_mask(uneven_results / "mask.ome.zarr").read() != 0, mask)
    assert 0.2 < mask.mean() < 0.9
    assert bias.max() / bias.min() > 1.2  # there is something to correct
    image = open_image(uneven_results / "corrected.ome.zarr")
    # Invariant 1 of the design. What differs is the rounding of two log fields added instead of two divisions.
    np.testing.assert_allclose(image.read(), corrected, rtol=1e-5)
    np.testing.assert_allclose(open_image(uneven_results / "bias_field.ome.zarr").read(), bias, rtol=1e-5)
    assert image.unit == "micrometer"
    np.testing.assert_allclose(image.scale, (10, 20, 20))
    np.testing.assert_allclose(image.translation, (5, 50, 70))


@pytest.mark.parametrize("mode", ["per_section", "global"])
def test_one_pass_alone_is_the_api_too(tmp_path, small, mode):
    acquisition = small_acquisition()
    results = run_chain(tmp_path, small, mode=mode, **SETTINGS)
    corrected, _, _ = corrected_by_the_api(acquisition.volume, 3, acquisition.voxel_size_mm, mode)
    np.testing.assert_allclose(open_image(results / "corrected.ome.zarr").read(), corrected, rtol=1e-5)
    metrics = metrics_of(results)
    assert metrics["mode"] == mode
    assert (metrics["global"] is None) == (mode == "per_section")
    assert all(bool(section["levels"]) == (mode == "per_section") for section in metrics["sections"])


def test_the_defaults_are_those_of_a_volume_in_memory(tmp_path, uneven):
    acquisition = uneven_acquisition()
    results = run_chain(tmp_path, uneven, slab_planes=64, sections_per_task=2)
    metrics = metrics_of(results)
    assert CorrectionParameters.of(metrics["parameters"]) == CorrectionParameters()
    expected = correct_array(acquisition.volume, UNEVEN_SECTIONS, acquisition.voxel_size_mm)
    np.testing.assert_array_equal(open_mask(results / "mask.ome.zarr").read() != 0, expected.mask)
    found = open_image(results / "corrected.ome.zarr").read()
    np.testing.assert_allclose(found, expected.corrected, rtol=1e-5)
    assert metrics["summary"]["step_deviation_after"] < 0.5 * metrics["summary"]["step_deviation_before"]


def test_slabs_batches_and_chunks_change_no_bit(tmp_path, uneven, uneven_results):
    rechunked = uneven | {"image": tmp_path / "uneven.ome.zarr"}
    write_ome_zarr(
        rechunked["image"], uneven_acquisition().volume, translation=(5, 50, 70), version="0.4", chunks=(7, 33, 150)
    )
    results = run_chain(tmp_path / "whole", rechunked, sections_per_task=5, save_bias_field=True, **SETTINGS)
    assert len(list((tmp_path / "whole").glob("slab_*"))) == 1
    assert len(list((tmp_path / "whole").glob("sections_*.json"))) == 1
    for name in ("corrected.ome.zarr", "bias_field.ome.zarr", "mask.ome.zarr"):
        assert_same_stores(results / name, uneven_results / name)
    for name in ("bias/sections.json", "bias/global.json", "metrics.json"):
        ours, theirs = (read_json(folder / name) for folder in (results, uneven_results))
        assert ours == theirs, name


@pytest.mark.parametrize("given_mask", [False, True])
def test_planes_too_wide_to_be_read_by_rows_of_chunks_change_no_bit(tmp_path, small, given_mask, monkeypatch):
    row = dict(small)
    if given_mask:
        mask = np.zeros(small_acquisition().volume.shape, np.uint8)
        mask[2:, 9:40, 11:47] = 1
        row["mask"] = write_ome_zarr(tmp_path / "given.ome.zarr", mask, chunks=(5, 20, 20))
    expected = run_chain(tmp_path / "rows", row, **SETTINGS)
    image = open_image(row["image"])
    plane = image.shape[1] * image.shape[2] * image.dtype.itemsize
    monkeypatch.setattr(spool, "READ_BYTES", plane)
    assert spool.planes_per_read(image) == 1 < image.chunks[0]
    found = run_chain(tmp_path / "planes", row, **SETTINGS)
    for name in ("corrected.ome.zarr", "mask.ome.zarr"):
        assert_same_stores(found / name, expected / name)
    assert not list(tmp_path.rglob("planes.raw"))


def test_coarse_levels_are_means_whoever_built_them(tmp_path, uneven, uneven_results):
    images = [open_image(uneven_results / "corrected.ome.zarr")]
    # Slabs of 64 planes do not hold whole rows of the second level's files: ASSEMBLE built it.
    images.append(open_image(run_chain(tmp_path, uneven, slab_planes=150, **SETTINGS) / "corrected.ome.zarr"))
    for image in images:
        assert len(image.levels) == 2
        for finer, level in pairwise((image, *image.levels)):
            factor = [round(a / b) for a, b in zip(level.scale, finer.scale, strict=True)]
            np.testing.assert_array_equal(level.read(), downsample(finer.read(), factor))


def test_voxels_are_linked_into_place_not_written_again(uneven_results):
    task_folder = uneven_results.parents[1]
    written = [
        f for slab in sorted(task_folder.glob("slab_*")) for f in (slab / "corrected.ome.zarr").glob("0/c/*/0/0")
    ]
    assert len(written) == 3
    for file in written:
        store = file.relative_to(task_folder).parts[2:]
        assert file.samefile(uneven_results.joinpath("corrected.ome.zarr", *store))


def test_lattices_evaluate_to_the_field_that_was_divided_by(uneven_results):
    model = BiasModel.load(uneven_results / "bias")
    field = open_image(uneven_results / "bias_field.ome.zarr").read(60, 75, slice(3, 40), slice(100, 200))
    found = np.exp(model.log_bias_field(field.shape, start=(60, 3, 100)))
    # The voxels' exponential is compiled, this one NumPy's: they may differ in the last bit or two.
    np.testing.assert_allclose(found, field, rtol=3e-7)


def test_omero_window_holds_the_voxels(uneven_results):
    image = open_image(uneven_results / "corrected.ome.zarr")
    window = image.omero_channel["window"]
    low, start, end, high = np.percentile(image.read(), [0, 0.5, 99.8, 100])
    # Percentiles come from a histogram with bins of 0.4 % over a part of the voxels.
    np.testing.assert_allclose([window["start"], window["end"]], [start, end], rtol=0.03)
    assert window["min"] <= window["start"] < window["end"] <= window["max"]
    assert window["max"] <= high * 1.01
    assert window["min"] >= low - 0.01 * abs(low)


def test_metrics_say_what_was_done(uneven_results):
    metrics = metrics_of(uneven_results)
    assert [(s["z_start"], s["z_stop"]) for s in metrics["sections"]] == list(UNEVEN_SECTIONS)
    assert read_json(uneven_results / "bias" / "global.json")["fit"]["backend"] == "numba"
    assert metrics["backend"] == "native"  # the parameter's name for it
    assert metrics["voxels"]["total"] == uneven_acquisition().volume.size
    assert metrics["image"]["voxel_size_um"] == [10, 20, 20]
    assert all(warning["code"].startswith("mask_") for warning in metrics["warnings"])
    assert metrics["summary"]["step_deviation_after"] < metrics["summary"]["step_deviation_before"]
    mask = open_mask(uneven_results / "mask.ome.zarr").read()
    np.testing.assert_allclose(metrics["tissue_fraction"], mask.mean(), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint8"])
def test_the_input_type_on_request(tmp_path, dtype):
    volume = small_acquisition(dtype).volume.copy()
    top = np.iinfo(dtype).max
    volume[:, 20:24, 22:30] = top  # in the dark of the field it is corrected beyond the type
    row = {"image": write_ome_zarr(tmp_path / "i.ome.zarr", volume), "n_sections": 3}
    as_float = open_image(run_chain(tmp_path / "f", row, **SETTINGS) / "corrected.ome.zarr").read()
    results = run_chain(tmp_path / "i", row, output_dtype="input", **SETTINGS)
    image = open_image(results / "corrected.ome.zarr")
    assert image.dtype == np.dtype(dtype)
    low = np.iinfo(dtype).min
    np.testing.assert_array_equal(image.read(), np.clip(np.rint(as_float), low, top).astype(dtype))
    voxels = metrics_of(results)["voxels"]
    assert voxels["clipped_high"] == np.count_nonzero(np.rint(as_float) > top) > 0
    assert voxels["clipped_low"] == np.count_nonzero(np.rint(as_float) < low)


def test_figures_are_those_of_the_voxels_that_are_written(tmp_path):
    acquisition = small_acquisition("uint8")
    volume = acquisition.volume // 40 + acquisition.tissue_mask  # rounding to few levels shows in every figure
    volume[:, 20:24, 22:30] = 255
    row = {"image": write_ome_zarr(tmp_path / "i.ome.zarr", volume), "n_sections": 3}
    mask = write_ome_zarr(tmp_path / "m.ome.zarr", acquisition.tissue_mask)
    results = run_chain(tmp_path, row | {"mask": mask}, output_dtype="input", **SETTINGS)
    image = open_image(results / "corrected.ome.zarr")
    written = image.read()
    window = image.omero_channel["window"]
    assert window["min"] >= written.min()
    assert window["max"] == written.max() == 255
    metrics = metrics_of(results)
    medians = [np.median(plane[tissue]) for plane, tissue in zip(written, acquisition.tissue_mask, strict=True)]
    assert metrics["planes"]["median_after"] == medians
    with np.load(tmp_path / "correction" / "pictures.npz") as pictures:
        np.testing.assert_array_equal(pictures["yx_after"], written[10])
    found = evenness(written, acquisition.tissue_mask, tuple((s["z_start"], s["z_stop"]) for s in metrics["sections"]))
    assert [s["step_after"] for s in metrics["sections"]][:2] == pytest.approx(found.steps)


def test_float16_on_request_stays_finite(tmp_path):
    volume = small_acquisition().volume.astype(np.float16)
    volume[:, 20:24, 22:30] = np.finfo(np.float16).max  # in the dark of the field it is corrected beyond the type
    row = {"image": write_ome_zarr(tmp_path / "i.ome.zarr", volume), "n_sections": 3}
    as_float = open_image(run_chain(tmp_path / "f", row, **SETTINGS) / "corrected.ome.zarr").read()
    results = run_chain(tmp_path / "i", row, output_dtype="input", **SETTINGS)
    found = open_image(results / "corrected.ome.zarr").read()
    np.testing.assert_array_equal(found, np.clip(as_float, -65504, 65504).astype(np.float16))
    assert metrics_of(results)["voxels"]["clipped_high"] == np.count_nonzero(as_float >= 65520) > 0


@pytest.mark.parametrize(
    ("dtype", "factor", "told"),
    [
        ("uint32", 2**20, "integers beyond 16,777,216"),
        ("int64", 2**20, "integers beyond 16,777,216"),
        ("float32", 4e33, "finite voxels are beyond 1e.37"),
        ("float64", 1e-43, "no voxel is above"),
        ("float64", 1.0, None),
        ("int32", 1, None),
    ],
)
def test_what_single_precision_does_not_hold_is_told(tmp_path, dtype, factor, told):
    volume = (small_acquisition().volume * np.float64(factor)).astype(dtype)
    row = {"image": write_ome_zarr(tmp_path / "i.ome.zarr", volume), "n_sections": 3}
    metrics = metrics_of(run_chain(tmp_path, row, **SETTINGS))
    found = [warning["message"] for warning in metrics["warnings"] if warning["code"] == "single_precision"]
    assert len(found) == (told is not None)
    assert told is None or re.search(told, found[0])
    if dtype == "uint32":
        assert found[0].startswith(f"{np.count_nonzero(volume > 2**24)} voxels")


def test_voxels_beyond_single_precision_are_refused(tmp_path, capsys):
    volume = small_acquisition().volume.astype(np.float64)
    volume[7, 3, 3] = -1e40
    row = {"image": write_ome_zarr(tmp_path / "i.ome.zarr", volume), "n_sections": 3}
    with pytest.raises(AssertionError, match="failed"):
        run_chain(tmp_path, row, **SETTINGS)
    assert "plane 7 holds voxels of up to 1e+40 in magnitude" in capsys.readouterr().err


def test_strength_mixes_corrected_and_original(tmp_path, small):
    original = small_acquisition().volume
    found = {
        strength: open_image(
            run_chain(tmp_path / str(strength), small, strength=strength, **SETTINGS) / "corrected.ome.zarr"
        ).read()
        for strength in (0, 0.25, 1)
    }
    np.testing.assert_array_equal(found[0], original)
    assert not np.allclose(found[1], original, rtol=0.05)
    # A few roundings of single precision.
    np.testing.assert_allclose(found[0.25], 0.75 * original + 0.25 * found[1], rtol=1e-6)


def test_the_offset_is_subtracted_before_anything_else(tmp_path, small):
    original = small_acquisition().volume.astype(np.float32)
    results = run_chain(tmp_path, small, offset=5, save_bias_field=True, **SETTINGS)
    field = open_image(results / "bias_field.ome.zarr").read()
    corrected = open_image(results / "corrected.ome.zarr").read()
    np.testing.assert_allclose(corrected, (original - 5) / field, rtol=1e-5, atol=1e-3)
    assert metrics_of(results)["parameters"]["offset"] == 5
    assert "An offset of 5 was subtracted from every voxel first." in (results / "report.html").read_text()
    samples = Samples(tmp_path / "samples")
    np.testing.assert_array_equal(samples.plane(0)[0], original[0] - np.float32(5))


def test_zero_outside_mask(tmp_path, small):
    full = open_image(run_chain(tmp_path / "full", small, **SETTINGS) / "corrected.ome.zarr").read()
    results = run_chain(tmp_path / "zero", small, zero_outside_mask=True, **SETTINGS)
    mask = open_mask(results / "mask.ome.zarr").read() != 0
    assert 0 < mask.mean() < 1
    np.testing.assert_array_equal(
        open_image(results / "corrected.ome.zarr").read(), np.where(mask, full, np.float32(0))
    )


@pytest.mark.parametrize(("dtype", "tissue"), [("uint8", 1), ("uint16", 700), ("bool", True)])
def test_a_mask_of_the_users_own(tmp_path, small, dtype, tissue):
    acquisition = small_acquisition()
    mask = np.zeros(acquisition.volume.shape, dtype)
    mask[2:, 9:40, 11:47] = tissue
    path = write_ome_zarr(tmp_path / "mask.ome.zarr", mask, chunks=(5, 20, 20), unit=None)
    results = run_chain(tmp_path, small | {"mask": path}, **SETTINGS)
    np.testing.assert_array_equal(open_mask(results / "mask.ome.zarr").read() != 0, mask != 0)
    corrected, _, _ = corrected_by_the_api(acquisition.volume, 3, acquisition.voxel_size_mm, mask=mask != 0)
    np.testing.assert_allclose(open_image(results / "corrected.ome.zarr").read(), corrected, rtol=1e-5)
    metrics_of(results)


def test_nan_in_a_mask_is_no_tissue(tmp_path, small):
    mask = np.full(small_acquisition().volume.shape, np.nan, np.float32)
    mask[2:, 9:40, 11:47] = 1
    mask[5, 12, 13] = 0
    path = write_ome_zarr(tmp_path / "mask.ome.zarr", mask)
    results = run_chain(tmp_path, small | {"mask": path}, **SETTINGS)
    np.testing.assert_array_equal(open_mask(results / "mask.ome.zarr").read() != 0, mask == 1)


@pytest.mark.parametrize(
    ("geometry", "told"),
    [
        (
            {"voxel_um": (10, 40, 40)},
            "voxels of 10 x 40 x 40 µm, the first at (0, 0, 0) µm, the image's of voxels of 10",
        ),
        ({"translation": (0, 0, 300)}, "the first at (0, 0, 300) µm"),
        ({"translation": (5, -10, 10)}, None),
        ({"voxel_um": (0.01, 0.02, 0.02), "unit": "millimeter"}, None),
        ({"voxel_um": (1, 1, 1), "unit": None}, None),
        ({"unit": None}, None),
    ],
)
def test_a_mask_of_another_voxel_size_or_place_is_warned_of(tmp_path, small, geometry, told):
    mask = np.ones(small_acquisition().volume.shape, np.uint8)
    path = write_ome_zarr(tmp_path / "mask.ome.zarr", mask, **geometry)
    row = small | {"mask": path}
    found = {w["code"]: w["message"] for w in plan(tmp_path / "a", row)["report"]["warnings"]}
    assert ("mask_place" in found) == (told is not None)
    assert told is None or told in found["mask_place"]
    by_hand = plan(tmp_path / "b", row, voxel_size_um=[10, 20, 20])["report"]["warnings"]
    assert "mask_place" not in {w["code"] for w in by_hand}


def test_ome_zarr_0_4(tmp_path, small):
    new, old = (
        run_chain(tmp_path / version, small, ome_zarr_version=version, save_bias_field=True, **SETTINGS)
        for version in ("0.5", "0.4")
    )
    for name in ("corrected.ome.zarr", "bias_field.ome.zarr", "mask.ome.zarr"):
        assert zarr.open_group(old / name, mode="r").metadata.zarr_format == 2
        images = [open_mask(folder / name) if name.startswith("mask") else open_image(folder / name)
                  for folder in (old, new)]  # fmt: skip
        assert [image.ome_zarr_version for image in images] == ["0.4", "0.5"]
        np.testing.assert_array_equal(images[0].read(), images[1].read())
        assert images[0].scale == images[1].scale


def test_odd_voxels_are_counted_and_stay_out_of_the_fits(tmp_path):
    acquisition = small_acquisition()
    volume = acquisition.volume.copy()
    tissue = np.argwhere(acquisition.tissue_mask)
    at = [tuple(index) for index in tissue[:: len(tissue) // 60]]
    odd = dict.fromkeys(at[:20], np.nan) | dict.fromkeys(at[20:30], np.inf) | dict.fromkeys(at[30:35], -np.inf)
    odd |= dict.fromkeys(at[35:50], -50.0)
    for index, value in odd.items():
        volume[index] = value
    volume[0, 0, :7] = 0
    row = {"image": write_ome_zarr(tmp_path / "i.ome.zarr", volume), "n_sections": 3}
    for strength in (1, 0.5):
        results = run_chain(tmp_path / str(strength), row, strength=strength, save_bias_field=True, **SETTINGS)
        found = open_image(results / "corrected.ome.zarr").read()
        np.testing.assert_array_equal(found[~np.isfinite(volume)], volume[~np.isfinite(volume)])
        assert np.isfinite(found[np.isfinite(volume)]).all()
        field = open_image(results / "bias_field.ome.zarr").read()
        negative = volume == -50
        expected = -50 * (strength / field[negative] + 1 - strength)
        np.testing.assert_allclose(found[negative], expected, rtol=1e-5)
        metrics = metrics_of(results)
        # -inf is both: not finite, and below zero.
        assert metrics["voxels"]["not_finite"] == 35
        assert metrics["voxels"]["negative"] >= 15
        assert metrics["voxels"]["zero"] == np.count_nonzero(volume == 0)
        assert {warning["code"] for warning in metrics["warnings"]} == {"not_finite", "negative"}
    # The API takes the same voxels out of its fits.
    corrected, _, _ = corrected_by_the_api(volume, 3, acquisition.voxel_size_mm)
    found = open_image(tmp_path / "1" / "results" / "a" / "corrected.ome.zarr").read()
    np.testing.assert_allclose(found, corrected, rtol=1e-5)


@pytest.mark.parametrize("mode", ["per_section", "two_pass"])
def test_an_empty_section_has_no_field_of_its_own(tmp_path, mode):
    acquisition = small_acquisition()
    volume = acquisition.volume.copy()
    volume[7:14] = 0
    row = {"image": write_ome_zarr(tmp_path / "i.ome.zarr", volume), "n_sections": 3}
    # Closing along Z would carry tissue into the empty section.
    settings = SETTINGS | {"z_closing_sections": 0, "smoothing_sigma_z": 0, "mode": mode}
    results = run_chain(tmp_path, row, save_bias_field=True, **settings)
    metrics = metrics_of(results)
    assert [section["empty"] for section in metrics["sections"]] == [False, True, False]
    assert {w["section"] for w in metrics["warnings"] if "empty" in w["code"]} == {1}
    assert metrics["sections"][1]["levels"] == []
    assert metrics["sections"][0]["step_before"] is None
    field = open_image(results / "bias_field.ome.zarr").read()
    bias = BiasModel.load(results / "bias")
    assert (bias.global_lattice is None) == (mode == "per_section")
    of_stack = np.ones(volume.shape)
    if bias.global_lattice is not None:
        of_stack = np.exp(bias.global_lattice.evaluate(volume.shape, bias.voxel_size_mm))
    np.testing.assert_allclose(field[7:14], of_stack[7:14], rtol=1e-6)
    assert np.ptp(field[:7] / of_stack[:7]) > 0.01
    assert read_json(results / "bias" / "sections.json")["sections"][1]["fit"] is None


@pytest.mark.parametrize("value", [0, np.nan])
@pytest.mark.parametrize("mode", ["two_pass", "global"])
def test_a_volume_without_tissue_comes_out_as_it_was(tmp_path, value, mode):
    volume = np.full((12, 40, 44), value, np.float32)
    row = {"image": write_ome_zarr(tmp_path / "i.ome.zarr", volume, config=STORED), "n_sections": 2}
    results = run_chain(tmp_path, row, **SETTINGS | {"mode": mode})
    np.testing.assert_array_equal(open_image(results / "corrected.ome.zarr").read(), volume)
    metrics = metrics_of(results)
    assert "no_tissue" in {warning["code"] for warning in metrics["warnings"]}
    assert metrics["backend"].startswith("none")
    assert (results / "report.html").stat().st_size > 1000


def test_a_mask_without_tissue_leaves_the_voxels(tmp_path, small):
    mask = np.zeros(small_acquisition().volume.shape, np.uint8)
    given = write_ome_zarr(tmp_path / "m.zarr", mask, config=STORED)
    results = run_chain(tmp_path, small | {"mask": given}, **SETTINGS)
    np.testing.assert_array_equal(open_image(results / "corrected.ome.zarr").read(), small_acquisition().volume)


def test_sections_of_one_plane_and_a_plane_of_one_voxel(tmp_path):
    for name, shape, n_sections in (("thin", (5, 30, 40), 5), ("line", (6, 1, 90), 2), ("one", (1, 1, 1), 1)):
        volume = 100 + 10 * np.random.default_rng(1).random(shape, np.float32)
        row = {"image": write_ome_zarr(tmp_path / f"{name}.ome.zarr", volume), "n_sections": n_sections}
        results = run_chain(tmp_path / name, row, **SETTINGS | {"shrink_factor": [1, 2, 2]})
        found = open_image(results / "corrected.ome.zarr").read()
        assert found.shape == shape
        assert np.isfinite(found).all()
        metrics_of(results)


def test_the_fit_is_bounded(tmp_path, small):
    planned = plan(tmp_path / "plan", small, max_fit_voxels=1000, **SETTINGS)
    assert planned["tissue_mask"]["geometry"]["stack_shrink"] != [2, 2, 2]
    results = run_chain(tmp_path, small, max_fit_voxels=1000, **SETTINGS)
    for name in ("sections", "stack"):
        samples = np.load(tmp_path / "samples" / f"{name}_image.npy", mmap_mode="r")
        assert samples.size / (3 if name == "sections" else 1) <= 1000
    chosen = metrics_of(results)["chosen"]
    assert sum("at most 1000 samples" in choice["why"] for choice in chosen) == 2


def test_missing_chunks_far_from_tissue_are_only_counted(tmp_path):
    volume = np.ones((12, 96, 96), np.float32)  # Zarr does not store chunks of zeros
    volume[:, 70:90, 70:90] = small_acquisition().volume[:12, 12:32, 12:32] + 50
    path = write_ome_zarr(tmp_path / "i.ome.zarr", volume, chunks=(6, 32, 32))
    (path / "s0" / "c" / "1" / "0" / "1").unlink()
    row = {"image": path, "n_sections": 2}
    metrics = metrics_of(run_chain(tmp_path / "far", row, **SETTINGS))
    assert metrics["missing_chunks"] == 1
    assert "missing_chunks" not in {warning["code"] for warning in metrics["warnings"]}
    for neighbour in ("1/1/2", "0/2/2"):
        (path / "s0" / "c" / neighbour).unlink()
    metrics = metrics_of(run_chain(tmp_path / "beside", row, **SETTINGS))
    (warning,) = [warning for warning in metrics["warnings"] if warning["code"] == "missing_chunks"]
    assert warning["message"].startswith("2 of 3 chunks")


def test_missing_chunks_are_counted_or_refused(tmp_path):
    volume = small_acquisition().volume
    path = write_ome_zarr(tmp_path / "i.ome.zarr", volume, chunks=(7, 45, 52))
    row = {"image": path, "n_sections": 3}
    (path / "s0" / "c" / "1" / "0" / "0").unlink()
    results = run_chain(tmp_path / "warn", row, missing_chunks="warn", **SETTINGS)
    metrics = metrics_of(results)
    assert metrics["missing_chunks"] == 1
    assert metrics["warnings"][0]["code"] == "missing_chunks"
    assert metrics["warnings"][0]["message"].startswith("1 of 1 chunks that are not stored")
    np.testing.assert_array_equal(open_image(results / "corrected.ome.zarr").read(7, 14), 0)
    with pytest.raises(InputError, match=r"image: 1 of 3 chunks .*--missing_chunks warn"):
        plan(tmp_path / "error", row, missing_chunks="error", **SETTINGS)


def test_channels_and_their_metadata(tmp_path):
    acquisition = small_acquisition()
    volume = np.stack([np.ones_like(acquisition.volume), acquisition.volume])[None]
    channels = [{"label": "empty", "color": "0000FF"}, {"label": "tissue", "color": "00FF00"}]
    path = write_ome_zarr(tmp_path / "i.ome.zarr", volume, axes="tczyx", channels=channels, version="0.4")
    corrected, _, _ = corrected_by_the_api(acquisition.volume, 3, acquisition.voxel_size_mm)
    for channel in ("tissue", 1):
        row = {"image": path, "n_sections": 3, "channel": channel}
        results = run_chain(tmp_path / str(channel), row, **SETTINGS)
        image = open_image(results / "corrected.ome.zarr")
        np.testing.assert_allclose(image.read(), corrected, rtol=1e-5)
        assert (image.omero_channel["label"], image.omero_channel["color"]) == ("tissue", "00FF00")
        assert metrics_of(results)["image"]["channel"] == 1


def test_a_voxel_size_of_one_number_is_that_of_every_axis(tmp_path):
    image = write_ome_zarr(tmp_path / "unitless.ome.zarr", small_acquisition().volume, unit=None)
    results = run_chain(tmp_path, {"image": image, "n_sections": 3}, voxel_size_um=5, **SETTINGS)
    assert metrics_of(results)["image"]["voxel_size_um"] == [5, 5, 5]


def test_a_preview_is_the_whole_chain_on_a_stand_in(tmp_path, small, monkeypatch):
    volume = small_acquisition().volume
    monkeypatch.setattr(preview, "PREVIEW_VOXELS", volume.size // 4)
    results = run_chain(tmp_path, small, preview=True, **SETTINGS)
    corrected = open_image(results / "corrected.ome.zarr")
    assert corrected.shape == volume[:, ::2, ::2].shape
    np.testing.assert_allclose(corrected.scale, (10, 40, 40))
    assert "preview" in {warning["code"] for warning in metrics_of(results)["warnings"]}


def test_tuned_parameters_are_those_of_the_full_image(tmp_path, small, monkeypatch):
    monkeypatch.setattr(preview, "PREVIEW_VOXELS", small_acquisition().volume.size // 4)
    monkeypatch.setattr(tuning, "CANDIDATES", [("shrink 2 across XY", {"shrink_factor": (1, 2, 2)})])
    tried = []
    monkeypatch.setattr(local, "stream_tissue_mask", lambda *_, **named: tried.append(named) or [(0, MASKED)])
    given = SETTINGS | {"mask_min_size": 40, "mask_largest": 2}
    results = run_tuning(tmp_path, small, **given)
    # Across XY the stand-in has every second voxel.
    named, *_ = tried
    assert (named["smoothing_sigma"], named["smoothing_sigma_z"]) == (pytest.approx(1, rel=0.02), 1)
    assert (named["closing_radius"], named["z_closing_sections"]) == (2, 2)
    assert (named["min_size"], named["largest"]) == (10, 2)
    tuned = read_json(results / "tuned_parameters.json")
    assert tuned == {name: tuned[name] for name in tuned} | given | {"shrink_factor": [1, 4, 4]}
    assert read_json(results / "tuning.json")["recommended"] == "shrink 2 across XY"
    assert "shrink 2 across XY" in (results / "tuning.html").read_text()
    # What it wrote is a parameter file.
    again = plan(tmp_path / "again", small, **tuned)
    assert again["tissue_mask"]["geometry"]["section_shrink"] == [1, 4, 4]


def test_tuning_recommends_what_the_schema_takes(tmp_path, small):
    # A stand-in with every 40th voxel of a large image: 2 of them are 80 of the image's.
    found = tuning._of_full_image({"shrink_factor": (1, 2, 2)}, (1.0, 40.0, 12.4))
    assert found == {"shrink_factor": [1, 64, 25]}
    assert plan(tmp_path, small, **found)["report"]["parameters"]["shrink_factor"] == [1, 64, 25]


def test_a_gpu_that_is_not_there_is_an_error_when_tuning_too(tmp_path, small):
    with pytest.raises(AssertionError, match=r"tune.py failed"):
        run_tuning(tmp_path, small, backend="gpu")


@pytest.mark.parametrize("where", ["slab", "mask"])
def test_a_chunk_file_that_got_lost_between_tasks_is_noticed(tmp_path, small, where, capsys, monkeypatch):
    run = chain.run_module

    def lossy(name, settings, files):
        before = {"slab": "assemble", "mask": "correct"}[where]
        if name == before:
            store = "slab_*/corrected.ome.zarr" if where == "slab" else "results/a/mask.ome.zarr"
            sorted(path for path in Path().glob(f"{store}/0/c/**/*") if path.is_file())[0].unlink()
        run(name, settings, files)

    monkeypatch.setattr(chain, "run_module", lossy)
    with pytest.raises(AssertionError, match="failed"):
        run_chain(tmp_path, small, **SETTINGS)
    assert "1 of its chunk files" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_an_image_that_changes_between_its_readings_is_noticed(tmp_path, dtype, capsys, monkeypatch):
    path = write_ome_zarr(tmp_path / "i.ome.zarr", small_acquisition("uint8").volume.astype(dtype))
    run = chain.run_module

    def changing(name, settings, files):
        if name == "correct":
            zarr.open_array(path / "s0", mode="r+")[12, 40, 50] += 1
        run(name, settings, files)

    monkeypatch.setattr(chain, "run_module", changing)
    with pytest.raises(AssertionError, match=r"report.py failed"):
        run_chain(tmp_path, {"image": path, "n_sections": 3}, **SETTINGS)
    assert "1 planes, the first is 12, were not the same" in capsys.readouterr().err
    assert not (tmp_path / "results" / "a" / "digests.tsv").exists()


def test_verify_names_all_that_differs_or_is_missing(tmp_path, small):
    results = run_chain(tmp_path, small, **SETTINGS)
    assert verify_acquisition(results) == []
    corrected = zarr.open_array(results / "corrected.ome.zarr" / "0", mode="r+")
    corrected[3, 4, 5] += 1
    shutil.rmtree(results / "mask.ome.zarr" / "0")
    shutil.rmtree(results / "bias")
    faults = {fault.partition(":")[0]: fault for fault in verify_acquisition(results)}
    assert sorted(faults) == [
        "bias", "bias/gains", "bias/geometry", "bias/global", "bias/profile", *(f"bias/section {i}" for i in range(3)),
        "corrected.ome.zarr/0", "mask.ome.zarr/0", "mask.ome.zarr/geometry",
    ]  # fmt: skip
    assert "FileNotFoundError" in faults["bias"]
    assert "no Zarr v3 array is there" in faults["mask.ome.zarr/0"]


def test_verify_sees_geometry_and_figures_that_are_not_those_written(tmp_path, small):
    results = run_chain(tmp_path, small, save_bias_field=True, **SETTINGS)
    assert verify_acquisition(results) == []

    def edit(path, change):
        """Change a JSON file, and return the names of what differs then; the file is put back."""
        text = path.read_text()
        content = json.loads(text)
        change(content)
        path.write_text(json.dumps(content))
        faults = [fault.partition(":")[0] for fault in verify_acquisition(results)]
        path.write_text(text)
        return faults

    def scale(content):
        content["attributes"]["ome"]["multiscales"][0]["datasets"][-1]["coordinateTransformations"][0]["scale"][2] *= 2

    sections = results / "bias" / "sections.json"
    assert edit(sections, lambda content: content.update(voxel_size_mm=[0.01, 0.02, 0.04])) == ["bias/geometry"]
    assert edit(sections, lambda content: content["sections"][0].update(z_stop=6)) == ["bias/geometry"]
    for name in ("corrected.ome.zarr", "mask.ome.zarr", "bias_field.ome.zarr"):
        assert edit(results / name / "zarr.json", scale) == [f"{name}/geometry"]
    assert edit(results / "metrics.json", lambda content: content.update(tissue_fraction=0.5)) == ["metrics.json"]
    (results / "metrics.json").unlink()
    assert "metrics.json: recorded" in verify_acquisition(results)[0]


def test_verify_goes_on_past_a_folder_without_digests(tmp_path, small, capsys):
    results = run_chain(tmp_path, small, **SETTINGS)
    shutil.rmtree(results / "bias")
    (tmp_path / "none").mkdir()
    assert chain.script_main("verify.py")([str(tmp_path / "none"), str(results)]) == 1
    told = capsys.readouterr().err
    assert "none has no digests.tsv" in told
    assert "a: bias/gains: recorded" in told
