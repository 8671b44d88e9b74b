"""A preview's stand-in: which level, which voxels, and what becomes of settings in voxels."""

import shutil

import numpy as np
import pytest
import zarr

from linumpy.io.ome_zarr import open_image, open_mask
from linumpy.io.pyramid import PyramidLayout
from linumpy.io.sampled import on_grid_of, sampled
from linumpy.io.writer import PyramidBuilder, create_pyramid
from linumpy.plan import preview as module
from linumpy.plan.errors import InputError
from linumpy.plan.preview import stand_in
from tests.acquisitions import write_ome_zarr
from tests.chain import plan, run_chain, run_tuning

SHAPE = (40, 60, 50)
SECTIONS = ((0, 13), (13, 27), (27, 40))
PARAMETERS = {
    "smoothing_sigma": 2.0,
    "smoothing_sigma_z": 1.0,
    "closing_radius": 3,
    "z_closing_sections": 2,
    "mask_min_size": 32,
    "slab_planes": 8,
    "shrink_factor": [4, 4, 4],
    "n_iterations": [50],
}


@pytest.fixture(scope="module")
def volume():
    return np.random.default_rng(0).gamma(4, 10, SHAPE).astype(np.float32)


@pytest.fixture(scope="module")
def image(volume, tmp_path_factory):
    return write(volume, tmp_path_factory.mktemp("levels") / "a.ome.zarr", smallest=8)


def write(volume, path, smallest):
    builder = PyramidBuilder(
        create_pyramid(path, PyramidLayout.plan(volume.shape, "float32", (10, 10, 10), smallest=smallest))
    )
    for z, y, x in builder.blocks():
        builder.add(z.start, y.start, x.start, volume[z, y, x])
    builder.close()
    return open_image(path)


def test_samples_are_every_kth_voxel(image, volume):
    view = sampled(image, 0, (3, 2, 7))
    assert view.shape == (14, 30, 8)
    np.testing.assert_array_equal(view.read(), volume[::3, ::2, ::7])
    np.testing.assert_array_equal(view.read(2, 9, slice(5, 20), slice(1, 4)), volume[::3, ::2, ::7][2:9, 5:20, 1:4])
    with pytest.raises(ValueError, match="step 2"):
        view.read(0, 1, slice(0, 20, 2))
    assert view.voxel_size_mm == pytest.approx((0.03, 0.02, 0.07))
    assert view.scale == pytest.approx((30, 20, 70))


def test_a_level_is_itself(image):
    assert sampled(image) is image
    assert sampled(image, 2) is image.levels[1]
    with pytest.raises(ValueError, match="level 9"):
        sampled(image, 9)


def test_a_preview_is_the_finest_level_that_is_small_enough(image, monkeypatch):
    monkeypatch.setattr(module, "PREVIEW_VOXELS", 20 * 30 * 25)
    found = stand_in(image, SECTIONS, PARAMETERS)
    assert (found.level, found.stride, found.image.shape) == (1, (1, 1, 1), (20, 30, 25))
    assert found.sections == ((0, 6), (6, 14), (14, 20))
    assert found.parameters == {
        "smoothing_sigma": 1.0,
        "smoothing_sigma_z": 0.5,
        "closing_radius": 2,
        "z_closing_sections": 1,
        "mask_min_size": 8,
        "slab_planes": None,
        "shrink_factor": [2, 2, 2],
        "n_iterations": [50],
    }
    assert found.factors == (2, 2, 2)
    assert "1/2 x 1/2 x 1/2" in found.warnings[0]["message"]


def test_thin_sections_keep_two_planes_and_are_sampled_in_the_plane(image, monkeypatch):
    monkeypatch.setattr(module, "PREVIEW_VOXELS", 2000)
    thin = tuple((z, z + 4) for z in range(0, 40, 4))
    found = stand_in(image, thin, PARAMETERS)
    # Level 2 would leave one plane a section: level 1, every third row and column.
    assert (found.level, found.stride) == (1, (1, 3, 3))
    assert found.sections == tuple((z, z + 2) for z in range(0, 20, 2))


def test_sections_of_one_plane_use_a_level_that_keeps_the_planes(volume, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PREVIEW_VOXELS", 20_000)
    path = tmp_path / "a.ome.zarr"  # planes 40 µm apart, pixels of 10 µm: levels are coarser in the plane first
    layout = PyramidLayout.plan(volume.shape, "float32", (40, 10, 10), smallest=8)
    builder = PyramidBuilder(create_pyramid(path, layout))
    for z, y, x in builder.blocks():
        builder.add(z.start, y.start, x.start, volume[z, y, x])
    builder.close()
    thin = tuple((z, z + 1) for z in range(40))
    found = stand_in(open_image(path), thin, PARAMETERS)
    # The finest that is small enough, and it has every plane.
    assert (found.level, found.stride, found.image.shape) == (2, (1, 1, 1), (40, 15, 13))
    assert found.sections == thin


def test_an_image_without_levels_is_sampled(volume, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PREVIEW_VOXELS", volume.size // 4)
    found = stand_in(write(volume, tmp_path / "one.ome.zarr", 10_000), SECTIONS, PARAMETERS)
    assert (found.level, found.stride, found.image.shape) == (0, (1, 2, 2), (40, 30, 25))
    assert found.parameters["smoothing_sigma_z"] == 1.0
    np.testing.assert_array_equal(found.image.read(), volume[:, ::2, ::2])


def test_missing_chunks_are_those_of_the_level_that_is_read(image, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PREVIEW_VOXELS", 20 * 30 * 25)
    store = shutil.copytree(image.path, tmp_path / "b.ome.zarr")
    row = {"image": store, "n_sections": 3}
    first = sorted(file for file in (store / "0" / "c").rglob("*") if file.is_file())[0]
    first.unlink()
    for small in ("preview", "tune"):
        assert plan(tmp_path / small, row, **{small: True})["report"]["missing_chunks"] == 0
    shutil.rmtree(store / "1" / "c")
    with pytest.raises(InputError, match=r"b\.ome\.zarr/1: none of its"):
        plan(tmp_path / "gone", row, preview=True)


def write_levels(path, volume, widths):
    """Write an image whose coarser levels have these widths, whether they divide its own or not."""
    write_ome_zarr(path, volume)
    group = zarr.open_group(path, mode="r+")
    multiscales = group.attrs["ome"]["multiscales"]
    width = volume.shape[2]
    for n in widths:
        columns = np.arange(n) * width // n
        group.create_array(f"s{n}", data=volume[:, :, columns])
        scale = {"type": "scale", "scale": [10.0, 20.0, 20.0 * width / n]}
        multiscales[0]["datasets"].append({"path": f"s{n}", "coordinateTransformations": [scale]})
    group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}
    return path


@pytest.mark.parametrize("stride", [1, 7])
@pytest.mark.parametrize(
    ("width", "of_level"), [(300, 120), (300, 200), (300, 130), (300, 150), (301, 151), (301, 150)]
)
def test_a_mask_is_seen_where_the_voxels_of_a_level_lie(tmp_path, width, of_level, stride):
    column = np.broadcast_to(np.arange(width, dtype=np.uint16), (2, 3, width))
    image = sampled(open_image(write_levels(tmp_path / "i.ome.zarr", column, [of_level])), 1, (1, 1, stride))
    mask = on_grid_of(open_mask(write_ome_zarr(tmp_path / "m.ome.zarr", column)), image)
    assert mask.shape == image.shape
    found = mask.read()
    assert found.shape == image.shape
    # The level's voxels were taken at these places; bins of two that end early differ by one.
    assert np.abs(found.astype(int) - image.read()).max() <= (1 if width == 301 else 0)
    np.testing.assert_array_equal(mask.read(1, 2, slice(1, 3), slice(5, 9)), found[1:2, 1:3, 5:9])


@pytest.mark.parametrize("width", [120, 200])
def test_previews_and_tunings_take_a_mask_for_levels_that_do_not_divide_the_image(tmp_path, monkeypatch, width):
    rng = np.random.default_rng(0)
    tissue = np.zeros((8, 40, 300), bool)
    tissue[:, 5:35, 90:270] = True
    volume = np.where(tissue, 1000, 10) * rng.gamma(16, 1 / 16, tissue.shape)
    row = {
        "image": write_levels(tmp_path / "i.ome.zarr", volume.astype(np.float32), [width]),
        "mask": write_ome_zarr(tmp_path / "m.ome.zarr", tissue),
        "n_sections": 2,
    }
    monkeypatch.setattr(module, "PREVIEW_VOXELS", volume.size * width // 300)
    results = run_chain(tmp_path / "p", row, preview=True, n_iterations=[2])
    np.testing.assert_array_equal(
        open_mask(results / "mask.ome.zarr").read() != 0, tissue[:, :, np.arange(width) * 300 // width]
    )
    monkeypatch.setattr("linumpy.stage.tuning.CANDIDATES", [("default", {})])
    assert (run_tuning(tmp_path / "t", row, n_iterations=[2]) / "tuning.html").exists()
