"""The simulated acquisition is what its model says, and what it says about itself is true."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaozarrs
import zarr

from linumpy.simulate import VARIANTS, simulate_acquisition
from linumpy.simulate.__main__ import main
from linumpy.simulate.acquisition import GREY, INCLUSION, WHITE
from linumpy.simulate.damage import saturate_patches

SMALL = (24, 61, 75)  # odd sizes, three sections of 8 planes


def small(variant: str = "serial_oct", **physics):
    return simulate_acquisition(SMALL, sections=3, voxel_size_um=(10, 50, 50), variant=variant, seed=7, **physics)


@pytest.fixture(scope="module")
def base():
    return small()


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_every_variant_is_complete_and_consistent(variant):
    acquisition = small(variant)
    assert acquisition.volume.shape == SMALL
    assert acquisition.volume.dtype == np.dtype(acquisition.physics.dtype)
    assert np.isfinite(acquisition.volume.astype(float)).all()
    assert (acquisition.truth > 0).all()
    assert acquisition.sections == ((0, 8), (8, 16), (16, 24))
    assert acquisition.tissue_mask.any()


def test_image_is_truth_times_field_on_average(base):
    ratio = base.volume[base.tissue_mask] / (base.truth * base.bias_field)[base.tissue_mask]
    # 30,000 voxels of gamma(16): the mean's standard error is 0.25 / sqrt(30,000) = 0.0015
    assert ratio.mean() == pytest.approx(1, abs=0.006)
    assert ratio.std() == pytest.approx(0.25, abs=0.02)  # 1 / sqrt(16 looks), plus a little noise


def test_same_seed_same_bits_and_another_seed_others(base):
    np.testing.assert_array_equal(base.volume, small().volume)
    other = simulate_acquisition(SMALL, sections=3, voxel_size_um=(10, 50, 50), seed=8)
    assert (base.volume != other.volume).mean() > 0.9


def test_streams_are_independent(base):
    quiet = small(looks=None, noise=0.0)
    np.testing.assert_array_equal(base.truth, quiet.truth)
    np.testing.assert_array_equal(base.log_bias_field, quiet.log_bias_field)
    np.testing.assert_array_equal(quiet.volume, quiet.truth * np.exp(quiet.log_bias_field))


def test_brightness_decays_in_a_section_and_jumps_at_each_cut(base):
    middle = base.log_bias_field[:, 30, 37]
    for start, stop in base.sections:
        # From the third plane on the blade's damage (15 um) is behind and attenuation rules.
        assert (np.diff(middle[start + 3 : stop]) < 0).all()
    slopes = [middle[stop - 1] - middle[start + 3] for start, stop in base.sections]
    assert np.ptp(slopes) > 0.01  # attenuation differs from section to section


def test_depth_decay_is_beer_lambert_without_the_other_terms():
    plain = {
        "cut_dip": 0.0,
        "gain_spread": 0.0,
        "vignetting": 0.0,
        "illumination": 0.0,
        "illumination_section": 0.0,
    }
    field = small(attenuation_per_mm=5.0, attenuation_spread=0.0, rayleigh_range_um=1e9, **plain).log_bias_field
    depth_mm = (np.arange(8) + 0.5) * 0.010
    np.testing.assert_allclose(field[8:16, 10, 10], -5.0 * depth_mm, rtol=1e-5)


def test_unequal_sections_and_single_planes():
    bounds = ((0, 1), (1, 9), (9, 11))
    acquisition = simulate_acquisition((11, 20, 21), sections=bounds, seed=1)
    assert acquisition.sections == bounds
    assert simulate_acquisition((1, 30, 1), sections=1).volume.shape == (1, 30, 1)


def test_bias_free_is_free_of_bias():
    for variant in ("bias_free", "bias_free_coarse", "bias_free_drift"):
        assert not small(variant).log_bias_field.any()


def test_classes_are_where_the_reflectivity_says(base):
    medians = [np.median(base.truth[base.labels == c]) for c in (GREY, WHITE)]
    assert medians == pytest.approx([1000, 1500], rel=0.02)  # texture is symmetric in the logarithm
    drift = small("bias_free_drift")
    share = [(plane == WHITE).sum() / (plane > 0).sum() for plane in drift.labels[[0, -1]]]
    assert share[1] > share[0] + 0.03


def test_oblique_outline_moves_with_depth():
    labels = small("oblique").labels > 0
    columns = np.arange(labels.shape[2])
    first, last = (np.average(columns, weights=labels[z].sum(axis=0)) for z in (0, -1))
    # tan(30 degrees) * 23 planes * 10 um / 50 um = 2.7 voxels; the outline's own shape changes with Z too.
    assert last - first == pytest.approx(2.7, abs=1.0)


def test_empty_sections_hold_agarose_only():
    mask = small("empty_sections").tissue_mask
    assert not mask[:8].any()
    assert mask[8:16].any()
    assert not mask[16:].any()


def test_tissue_leaves_the_view_and_inclusions_are_bright():
    edge = small("out_of_view").tissue_mask[:, :, -1]
    assert edge.mean() > 0.3
    bright = simulate_acquisition((40, 80, 80), sections=4, voxel_size_um=(20, 50, 50), variant="inclusions")
    assert np.median(bright.truth[bright.labels == INCLUSION]) > 5 * np.median(bright.truth[bright.labels == GREY])


def test_integer_types_saturate_at_the_stated_level():
    volume = small("saturated").volume
    assert volume.max() == 1250
    assert 0.001 < (volume == 1250).mean() < 0.2
    assert small("uint8").volume.max() <= 255


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_integers_of_any_size_saturate_without_wrapping(dtype):
    limit = np.iinfo(dtype).max
    volume = small(dtype=dtype, camera_offset=float(limit)).volume  # so many times the grey level
    assert volume.min() >= limit * (1 - 1e-6)
    patched = saturate_patches(small(dtype=dtype), 3).volume
    assert patched.min() >= 0
    assert patched.max() >= limit * (1 - 1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "nope"}, "variant 'nope' is not known"),
        ({"speckles": 3}, "speckles is not a setting"),
        ({"sections": 99}, "99 sections"),
        ({"shape": (0, 4, 4)}, "three positive sizes"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_acquisition(**{"shape": (8, 8, 8), "sections": 2} | arguments)


def test_command_line_writes_valid_stores_and_a_samplesheet(tmp_path: Path, capsys):
    options = ["--size", "10", "150", "291", "--sections", "3", "--variant", "serial_oct", "uint16"]
    assert main(["--output", str(tmp_path / "demo"), *options]) == 0
    samplesheet = Path(capsys.readouterr().out.strip())
    with samplesheet.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["acquisition"] for row in rows] == ["serial_oct", "uint16"]
    assert rows[0]["n_sections"] == "3"
    for row in rows:
        store = samplesheet.parent / row["image"]
        yaozarrs.validate_zarr_store(store)
        yaozarrs.validate_zarr_store(samplesheet.parent / f"{row['acquisition']}_bias.ome.zarr")
    group = zarr.open_group(store, mode="r")
    first, second = group.attrs["ome"]["multiscales"][0]["datasets"][:2]
    assert first["coordinateTransformations"][0]["scale"] == [10.0, 20.0, 20.0]
    # Planes are closer than pixels, so Z is binned first: a voxel's centre lies half a plane further.
    assert second["coordinateTransformations"][1]["translation"] == [5.0, 0.0, 0.0]
    expected = simulate_acquisition((10, 150, 291), sections=3, variant="uint16")
    np.testing.assert_array_equal(group["0"][:], expected.volume)
    np.testing.assert_allclose(group["1"][3, 4, 5], expected.volume[6:8, 4, 5].mean(), atol=0.51)  # rounded to integers


def test_command_line_reports_a_mistake_in_one_line(tmp_path: Path, capsys):
    assert main(["--output", str(tmp_path), "--size", "4", "20", "20", "--sections", "9"]) == 2
    assert capsys.readouterr().err.startswith("error: 9 sections")
    assert not list(tmp_path.iterdir())


def test_command_line_replaces_its_own_files_only(tmp_path: Path, capsys):
    options = ["--output", str(tmp_path), "--size", "4", "20", "20", "--sections", "2"]
    assert main(options) == 0
    assert main([*options, "--seed", "1"]) == 0
    samplesheet = tmp_path / "samplesheet.csv"
    samplesheet.write_text("acquisition,image,n_sections\nbrain_01,serial_oct.ome.zarr,3\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main(options) == 2
    assert "samplesheet.csv is there and no earlier simulation wrote it" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
