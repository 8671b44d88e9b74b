"""CORRECT and ASSEMBLE on layouts of many small files: no cut of the work shows in a voxel or a figure."""

import numpy as np
import pytest

from linumpy.intensity.bias_model import BiasModel, read_json
from linumpy.io.assemble import assemble_chunks
from linumpy.io.downsample import downsample
from linumpy.io.ome_zarr import open_image, open_mask
from linumpy.io.pyramid import PyramidLayout
from linumpy.io.writer import create_pyramid
from linumpy.n4.lattice import Lattice
from linumpy.stage.assemble import assemble
from linumpy.stage.correct import CorrectionSettings, correct_slab
from tests.acquisitions import VOXEL_UM, write_ome_zarr

SHAPE = (37, 70, 83)
SECTIONS = ((0, 11), (11, 12), (12, 37))
VOXEL_MM = tuple(size / 1000 for size in VOXEL_UM)


def lattice(seed):
    coefficients = np.random.default_rng(seed).normal(0, 0.2, (4, 6, 5)).astype(np.float32)
    return {"lattice": Lattice(coefficients, (0.0, 0.0, 0.0), (0.36, 1.38, 1.64)).to_dict()}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Image, mask and field."""
    folder = tmp_path_factory.mktemp("parts")
    rng = np.random.default_rng(6)
    volume = rng.gamma(5, 40, SHAPE).astype(np.uint16)
    image = open_image(write_ome_zarr(folder / "image.ome.zarr", volume, chunks=(9, 33, 40)))
    mask = open_mask(write_ome_zarr(folder / "mask.ome.zarr", rng.random(SHAPE) > 0.4))
    model = BiasModel(SECTIONS, VOXEL_MM, (lattice(0), None, lattice(1)), (1.0, 1.0, 1.1), lattice(2))
    return image, mask, model


def layout(dtype="float32", chunks=(4, 16, 32), shard_depth=8, version="0.5"):
    return PyramidLayout.plan(
        SHAPE, dtype, VOXEL_UM, chunks=chunks, shard_depth=shard_depth, shard_bytes=1 << 16, smallest=20,
        ome_zarr_version=version,
    )  # fmt: skip


def correct(folder, parts, pyramid, slabs, settings=CorrectionSettings(1.0, False, False)):  # noqa: B008
    image, mask, model = parts
    n_levels = pyramid.n_complete_levels(slabs)
    for z_start, z_stop in slabs:
        output = folder / f"slab_{z_start:03d}"
        correct_slab(image, mask, model, pyramid, settings, z_start, z_stop, n_levels, output)
    return sorted(folder.glob("slab_*")), n_levels


def assembled(folder, parts, *arguments):
    slabs, _ = correct(folder, parts, *arguments)
    # The order of the slabs is not the order they are given in.
    assemble(parts[0], slabs[::-1], folder / "results", folder / "statistics")
    return folder / "results", read_json(folder / "statistics" / "correction.json")


CUTS = {
    "one slab": [(0, 37)],
    "small slabs": [(0, 8), (8, 16), (16, 24), (24, 32), (32, 37)],
    "unequal slabs": [(0, 16), (16, 24), (24, 37)],
}


@pytest.fixture(scope="module")
def reference(parts, tmp_path_factory):
    return assembled(tmp_path_factory.mktemp("reference"), parts, layout(), CUTS["one slab"])


def test_voxels_are_image_over_field(parts, reference):
    image, _, model = parts
    expected = image.read() / np.exp(model.log_bias_field(SHAPE))
    # Single precision, and an exponential that may differ in its last bits.
    np.testing.assert_allclose(open_image(reference[0] / "corrected.ome.zarr").read(), expected, rtol=1e-6)


@pytest.mark.parametrize("cut", ["small slabs", "unequal slabs"])
@pytest.mark.parametrize(
    "options", [{}, {"chunks": (8, 83, 83), "shard_depth": 8}, {"chunks": (4, 32, 64), "version": "0.4"}], ids=str
)
def test_slabs_and_files_change_no_voxel_of_any_level(tmp_path, parts, reference, cut, options):
    pyramid = layout(**options)
    slabs = [(a, b) for a, b in CUTS[cut]]
    results, statistics = assembled(tmp_path, parts, pyramid, slabs)
    found, expected = (open_image(folder / "corrected.ome.zarr") for folder in (results, reference[0]))
    levels = [(found, expected), *zip(found.levels, expected.levels, strict=True)]
    assert len(levels) > 2
    for ours, theirs in levels:
        np.testing.assert_array_equal(ours.read(), theirs.read())
    for name in ("planes", "clipped", "window"):
        assert statistics[name] == reference[1][name], name


def test_levels_are_means_of_the_level_below(reference):
    image = open_image(reference[0] / "corrected.ome.zarr")
    finer = image
    for level in image.levels:
        factor = [round(a / b) for a, b in zip(level.scale, finer.scale, strict=True)]
        np.testing.assert_array_equal(level.read(), downsample(finer.read(), factor))
        finer = level


def test_slabs_build_what_they_hold_whole(tmp_path, parts):
    slabs, n_levels = correct(tmp_path, parts, layout(), CUTS["unequal slabs"])
    assert n_levels >= 2  # else nothing is tried here
    store = tmp_path / "whole.zarr"
    writer = create_pyramid(store, layout())
    counts = assemble_chunks([slab / "corrected.ome.zarr" for slab in slabs], store)
    assert counts.linked == sum(level.n_files for level in writer.layout.levels[:n_levels])


@pytest.mark.parametrize("settings", [(0.4, False, True), (1.0, True, True), (0.4, True, False)])
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_settings(tmp_path, parts, dtype, settings):
    strength, zero_outside_mask, save_bias_field = settings
    image, mask, model = parts
    results, statistics = assembled(tmp_path, parts, layout(dtype), CUTS["small slabs"], CorrectionSettings(*settings))
    field = np.exp(model.log_bias_field(SHAPE))
    expected = image.read() * (strength / field + 1 - strength)
    if zero_outside_mask:
        expected[mask.read() == 0] = 0
    found = open_image(results / "corrected.ome.zarr")
    assert found.dtype == np.dtype(dtype)
    # Half a unit from rounding, and a last bit.
    np.testing.assert_allclose(found.read(), expected, rtol=2e-6, atol=0.501 if dtype == "uint16" else 0)
    assert (results / "bias_field.ome.zarr").exists() == save_bias_field
    if save_bias_field:
        stored = open_image(results / "bias_field.ome.zarr")
        assert stored.dtype == np.float32
        np.testing.assert_allclose(stored.read(), field, rtol=3e-7)
    assert statistics["clipped"] == {"clipped_low": 0, "clipped_high": 0}


def test_clipped_voxels_are_counted_over_all_slabs(tmp_path, parts):
    image, _, model = parts
    results, statistics = assembled(tmp_path, parts, layout("uint8"), CUTS["small slabs"])
    exact = image.read() / np.exp(model.log_bias_field(SHAPE))
    above = np.rint(exact) > 255
    assert 0.05 < above.mean() < 0.9
    found = open_image(results / "corrected.ome.zarr").read()
    assert (found[above] == 255).all()
    # A voxel within a last bit of 255.5 may fall to either side.
    assert abs(statistics["clipped"]["clipped_high"] - np.count_nonzero(above)) <= 1
    assert statistics["clipped"]["clipped_low"] == 0


@pytest.mark.parametrize("missing", [0, 2, 4])
def test_an_image_that_lacks_a_slab_is_not_assembled(tmp_path, parts, missing):
    slabs, _ = correct(tmp_path, parts, layout(), CUTS["small slabs"])
    del slabs[missing]
    with pytest.raises(ValueError, match="all are needed before assembly"):
        assemble(parts[0], slabs, tmp_path / "results", tmp_path / "statistics")
    assert not (tmp_path / "results").exists()
