"""Even volumes imaged section by section: known answers of the field, the detector, the damages and the cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from linumpy.io.ome_zarr import open_image
from linumpy.io.pyramid import PyramidLayout
from linumpy.io.writer import write_image
from linumpy.simulate import CASES, DAMAGED, case, even_volume, image_volume, open_even_volume, organ
from linumpy.simulate.__main__ import main
from linumpy.simulate.acquisition import INCLUSION, Acquisition
from linumpy.simulate.damage import dim_planes, drop_planes, fill_box, fill_frame, saturate_patches, tear_section

SHAPE, VOXEL_UM = (24, 50, 54), (25.0, 80.0, 80.0)
NOISELESS = {"looks": None, "noise": 0.0}
FLAT = NOISELESS | {
    "attenuation_per_mm": 0.0, "rayleigh_range_um": 1e9, "cut_dip": 0.0, "gain_spread": 0.0, "vignetting": 0.0,
    "illumination": 0.0, "illumination_section": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def even():
    return organ(SHAPE, VOXEL_UM, seed=3)


@pytest.fixture(scope="module")
def imaged(even):
    return image_volume(even, sections=3, seed=4, dtype="uint16")


def changed_voxels(before: Acquisition, after: Acquisition):
    return before.volume != after.volume


def test_image_without_noise_is_even_volume_times_field(even):
    a = image_volume(even, sections=3, seed=1, focus_tilt_um=50.0, attenuation_by_tissue=0.4, **NOISELESS)
    np.testing.assert_array_equal(a.volume, a.truth * np.exp(a.log_bias_field))
    assert a.volume.dtype == a.truth.dtype == a.log_bias_field.dtype == np.float32
    np.testing.assert_array_equal(a.truth[a.tissue_mask], 1000 * even.reflectivity[a.tissue_mask])
    np.testing.assert_allclose(a.truth[~a.tissue_mask], 60)
    assert a.sections == ((0, 8), (8, 16), (16, 24))


def test_same_seed_same_bits_and_another_seed_others(even, imaged):
    again = image_volume(organ(SHAPE, VOXEL_UM, seed=3), sections=3, seed=4, dtype="uint16")
    for name in ("volume", "truth", "log_bias_field", "labels"):
        np.testing.assert_array_equal(getattr(imaged, name), getattr(again, name))
    assert (image_volume(even, sections=3, seed=5, dtype="uint16").volume != imaged.volume).mean() > 0.5


def test_gains_are_found_exactly(even):
    a = image_volume(even, sections=6, seed=2, **FLAT | {"gain_spread": 0.12})
    levels = np.array([a.log_bias_field[start:stop].mean(dtype=float) for start, stop in a.sections])
    assert len(set(levels)) == 6
    for level, (start, stop) in zip(levels, a.sections, strict=True):
        np.testing.assert_allclose(a.volume[start:stop] / a.truth[start:stop], np.exp(level), rtol=1e-6)
    assert 0.03 < levels.std() < 0.3


def test_attenuation_follows_the_tissue_above():
    column = np.array([1.0, 1.0, 0.0, 0.0, 1.0, 1.0], np.float32)[:, None, None]
    tissue = even_volume(np.tile(column, (1, 3, 3)), (100.0, 50.0, 50.0))
    own = FLAT | {"attenuation_per_mm": 2.0, "attenuation_spread": 0.0, "agarose": 0.0}
    a = image_volume(tissue, sections=2, **own | {"attenuation_by_tissue": 1.0})
    # A plane of 0.1 mm of grey matter costs 0.2, half of it in its own middle; agarose costs nothing.
    np.testing.assert_allclose(a.log_bias_field[:, 1, 1], [-0.1, -0.3, -0.4, -0.0, -0.1, -0.3], atol=1e-6)
    half = image_volume(tissue, sections=2, **own | {"attenuation_by_tissue": 0.5})
    depth = 2.0 * np.tile((np.arange(3) + 0.5) * 0.1, 2)
    np.testing.assert_allclose(half.log_bias_field[:, 1, 1], 0.5 * (a.log_bias_field[:, 1, 1] - depth), atol=1e-6)


def test_focus_is_tilted_across_the_field(even):
    gate = FLAT | {"rayleigh_range_um": 100.0, "focus_depth_um": 0.0, "focus_curvature_um": 0.0}
    field = image_volume(even, sections=1, focus_tilt_um=200.0, **gate).log_bias_field
    depths = (np.arange(24) + 0.5) * 25
    for corner, focus in ((0, 0.0), (-1, 200.0)):
        np.testing.assert_allclose(field[:, corner, corner], -np.log1p(((depths - focus) / 100) ** 2), rtol=1e-4)


def test_vignetting_repeats_with_the_tiles(even):
    field = image_volume(even, sections=1, **FLAT | {"vignetting": 0.3, "tile_mm": 0.8}).log_bias_field[5]
    np.testing.assert_allclose(field[:10, :10], field[10:20, 30:40], atol=1e-6)
    assert field[4, 4] - field[0, 0] > 0.2


def test_illumination_is_common_and_a_sections_own(even):
    both = FLAT | {"illumination": 0.1, "illumination_section": 0.05}
    field = image_volume(even, sections=3, **both).log_bias_field
    np.testing.assert_array_equal(field[0], field[7])
    assert (field[0] != field[8]).all()
    common = image_volume(even, sections=3, **both | {"illumination_section": 0.0}).log_bias_field
    np.testing.assert_array_equal(common[0], common[-1])


@pytest.mark.parametrize("agarose", [0.05, 0.3, 3.0])
def test_agarose_has_its_level_and_texture(even, agarose):
    a = image_volume(even, sections=3, agarose=agarose, agarose_texture=0.1, **FLAT)
    outside = np.log(a.volume[a.labels == 0] / 1000)
    assert np.median(outside) == pytest.approx(np.log(agarose), abs=0.02)
    assert outside.std() == pytest.approx(0.1, abs=0.02)


def test_detector_adds_offset_shot_noise_and_speckle(even):
    plain = image_volume(even, sections=3, **FLAT)
    offset = image_volume(even, sections=3, camera_offset=0.5, **FLAT)
    np.testing.assert_allclose(offset.volume, plain.volume + 500, rtol=1e-6)
    tissue = plain.tissue_mask
    shots = image_volume(even, sections=3, photons=400.0, **FLAT).volume[tissue] / plain.volume[tissue]
    assert shots.mean() == pytest.approx(1, abs=0.005)
    # Relative variance of a Poisson number is one over its mean, 400 photons a grey voxel.
    expected = np.sqrt(np.mean(1 / (400 * plain.truth[tissue] / 1000)))
    assert shots.std() == pytest.approx(expected, rel=0.05)
    speckle = image_volume(even, sections=3, **FLAT | {"looks": 9.0}).volume[tissue] / plain.volume[tissue]
    assert speckle.std() == pytest.approx(1 / 3, rel=0.03)


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("uint16", 65535)])
def test_saturation_clips_at_the_types_maximum(even, dtype, top):
    a = image_volume(even, sections=3, signal_level=top / 1.05, dtype=dtype, **FLAT)
    assert a.volume.max() == top
    np.testing.assert_array_equal(a.volume, np.minimum(np.rint(a.truth), top).astype(dtype))
    assert (a.volume == top).mean() > 0.02


@pytest.mark.parametrize("planes", [1, 2, 60])
def test_sections_of_any_depth(planes):
    bounds = tuple((z, z + planes) for z in range(0, 2 * planes, planes))
    a = image_volume(organ((2 * planes, 12, 14), (10, 80, 80)), sections=bounds)
    assert a.sections == bounds


def test_organ_has_ends_shell_core_and_cavity():
    o = organ((60, 90, 85), (60.0, 50.0, 50.0))
    tissue = o.labels > 0
    area = tissue.sum(axis=(1, 2))
    assert area[0] == area[-1] == 0
    assert 0 < area[area > 0][[0, -1]].max() < 0.2 * area.max()
    white = np.array([(plane >= 2).sum() for plane in o.labels]) / np.maximum(area, 1)
    assert white[area > 0][[0, -1]].max() < 0.05  # grey at the ends
    assert white.max() > 0.4
    assert np.abs(np.diff(white)).max() < 0.15  # and gradual
    assert not tissue[33, 45, 42]  # the ventricle, inside the white matter
    middle = o.labels[33, 45]
    at = np.flatnonzero(middle)
    assert middle[at[0]] == middle[at[-1]] == 1  # the shell
    medians = [np.median(o.reflectivity[o.labels == label]) for label in (1, 2, 3)]
    assert medians == pytest.approx([1.0, 1.5, 0.7], rel=0.05)
    assert (organ((60, 90, 85), (60.0, 50.0, 50.0), seed=1).labels != o.labels).mean() > 0.01


def test_measured_volume_becomes_tissue_and_rim(tmp_path: Path):
    image = np.zeros((4, 20, 20), np.uint8)
    image[:, 5:15, 5:15], image[:, 4, 5:15] = 80, 16
    write_image(tmp_path / "even.ome.zarr", image, PyramidLayout.plan(image.shape, image.dtype, [25, 25, 25]), name="e")
    even = open_even_volume(tmp_path / "even.ome.zarr")
    assert even.voxel_size_um == (25, 25, 25)
    assert even.labels.sum() == 400
    a = image_volume(even, sections=2, agarose=3.0, **FLAT)
    np.testing.assert_allclose(a.truth[0, [0, 4, 5], 10], [3000, 200 + 0.5 * 3000, 1000])
    with pytest.raises(ValueError, match="tissue above 0"):
        even_volume(np.zeros((2, 3, 4)), (1, 1, 1))


def test_planes_are_resampled_and_squeezed():
    ramp = even_volume(np.arange(1, 9, dtype=np.float32)[:, None, None] * np.ones((8, 2, 2)), (20.0, 10.0, 10.0))
    finer = ramp.resampled(16)
    assert finer.voxel_size_um == (10, 10, 10)
    inner = finer.reflectivity[1:-1, 0, 0]
    np.testing.assert_allclose(np.diff(inner), (ramp.reflectivity[1, 0, 0] - ramp.reflectivity[0, 0, 0]) / 2, rtol=1e-5)
    np.testing.assert_allclose(ramp.resampled(8).reflectivity, ramp.reflectivity)
    assert ramp.resampled(1).reflectivity.shape == (1, 2, 2)
    squeezed = ramp.squeezed(5.0)
    assert squeezed.voxel_size_um == (5, 10, 10)
    np.testing.assert_array_equal(squeezed.reflectivity, ramp.reflectivity)


def test_dim_planes_change_their_planes_only(even):
    before = image_volume(even, sections=3, camera_offset=0.1, **FLAT)
    after = dim_planes(before, {4: 0.7, 11: 1.5})
    assert set(np.flatnonzero(changed_voxels(before, after).any(axis=(1, 2)))) == {4, 11}
    np.testing.assert_allclose(after.volume[4] - 100, 0.7 * (before.volume[4] - 100), atol=1e-3)
    np.testing.assert_allclose(after.log_bias_field[11] - before.log_bias_field[11], np.log(1.5), rtol=1e-6)
    np.testing.assert_array_equal(after.labels, before.labels)
    np.testing.assert_array_equal(after.truth, before.truth)


def test_lost_voxels_are_constant_and_no_tissue(imaged):
    dropped = drop_planes(imaged, (3,), fill=0.8)
    assert (dropped.volume[3] == 800).all()
    assert not dropped.tissue_mask[3].any()
    np.testing.assert_array_equal(np.delete(dropped.volume, 3, axis=0), np.delete(imaged.volume, 3, axis=0))
    box = np.s_[2:5, 10:20, 30:35]
    tile = fill_box(imaged, box, 65.535)
    assert (tile.volume[box] == 65535).all()
    outside = np.ones(SHAPE, bool)
    outside[box] = False
    np.testing.assert_array_equal(tile.volume[outside], imaged.volume[outside])
    np.testing.assert_array_equal(tile.labels[outside], imaged.labels[outside])
    frame = fill_frame(imaged, 3, 1.0)
    assert (frame.volume[:, :3] == 1000).all()
    assert (frame.volume[:, :, -3:] == 1000).all()
    np.testing.assert_array_equal(frame.volume[:, 3:-3, 3:-3], imaged.volume[:, 3:-3, 3:-3])


def test_torn_half_is_agarose(imaged):
    torn = tear_section(imaged, 1)
    changed = changed_voxels(imaged, torn)
    assert not changed[:8].any()
    assert not changed[16:].any()
    assert not changed[:, :, :27].any()
    np.testing.assert_array_equal(torn.labels[8:16, :, 27:], 0)
    seen = torn.volume[8:16, :, 27:] / np.exp(imaged.log_bias_field[8:16, :, 27:])
    assert seen.mean() == pytest.approx(60, rel=0.03)
    np.testing.assert_array_equal(torn.volume, tear_section(imaged, 1).volume)


def test_saturated_patches_are_left_out_of_the_tissue_to_score(imaged):
    hit = saturate_patches(imaged, 5, size=(2, 4, 4))
    changed = changed_voxels(imaged, hit)
    assert 0 < changed.sum() <= 5 * 32
    assert (hit.volume[changed] == 65535).all()
    assert (hit.labels[changed & imaged.tissue_mask] == INCLUSION).all()
    np.testing.assert_array_equal(hit.labels[~changed], imaged.labels[~changed])


@pytest.mark.parametrize("name", [*CASES, *DAMAGED])
def test_every_case_is_complete(name):
    brain = organ((40, 48, 44), (25.0, 60.0, 60.0))
    a = case(name, brain, seed=1)
    assert a.volume.dtype == np.uint16
    assert a.tissue_mask.any()
    planes = {**CASES, **DAMAGED}[name].planes
    assert len(a.sections) == round(40 / planes)
    assert (name == "even") == (not a.log_bias_field.any())


def test_mistakes_are_named(even):
    with pytest.raises(ValueError, match="tilt_deg is not a setting"):
        image_volume(even, sections=3, tilt_deg=3.0)
    with pytest.raises(ValueError, match="case 'nope' is not known"):
        case("nope")
    with pytest.raises(ValueError, match="volume 'nope' is not known"):
        case("even", "nope")
    with pytest.raises(ValueError, match="99 sections"):
        image_volume(replace(even), sections=99)


def test_command_line_images_a_volume_from_a_file(tmp_path: Path, capsys):
    image = np.zeros((16, 20, 22), np.uint8)
    image[2:14, 5:15, 5:15] = 80
    layout = PyramidLayout.plan(image.shape, image.dtype, [25, 25, 25])
    write_image(tmp_path / "even.ome.zarr", image, layout, name="e")
    options = ["--case", "even", "torn_section", "--anatomy", str(tmp_path / "even.ome.zarr"), "--seed", "3"]
    assert main(["--output", str(tmp_path / "out"), *options]) == 0
    sheet = Path(capsys.readouterr().out.strip()).read_text().splitlines()
    assert [line.split(",")[:3] for line in sheet[1:]] == [
        ["even", "even.ome.zarr", "2"],
        ["torn_section", "torn_section.ome.zarr", "2"],
    ]
    expected = case("torn_section", even_volume(image, (25.0, 25.0, 25.0)), seed=3)
    np.testing.assert_array_equal(open_image(tmp_path / "out" / "torn_section.ome.zarr").read(0, 16), expected.volume)
