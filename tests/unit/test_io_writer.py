"""Pyramids written in slabs and assembled: voxels, metadata, validity, viewers."""

import contextlib
import errno
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import zarr

from linumpy.io.assemble import LinkCounts, assemble_chunks
from linumpy.io.chunks import missing_chunks
from linumpy.io.downsample import downsample
from linumpy.io.errors import OmeZarrError
from linumpy.io.ome_zarr import open_image, open_mask
from linumpy.io.pyramid import PyramidLayout
from linumpy.io.writer import PyramidBuilder, PyramidWriter, create_pyramid, finish_pyramid

SHAPE = (37, 150, 210)
WINDOW = {"start": 10.0, "end": 900.0, "min": 0.0, "max": 1000.0}


def volume(dtype: str) -> np.ndarray:
    rng = np.random.default_rng(5)
    return rng.random(SHAPE) > 0.6 if dtype == "bool" else (rng.random(SHAPE) * 1000).astype(dtype)


def plan(dtype: str, version: str = "0.5", **kwargs) -> PyramidLayout:
    options = {
        "chunks": (8, 64, 64),
        "translation": (1.0, 2.0, 3.0),
        "shard_depth": 8,
        "shard_bytes": 256 << 10,
        "smallest": 60,
    }
    return PyramidLayout.plan(SHAPE, dtype, (5.0, 2.0, 2.0), ome_zarr_version=version, **(options | kwargs))


def write_all(path: Path, data: np.ndarray, layout: PyramidLayout, **finish) -> Path:
    writer = create_pyramid(path, layout, name="brain")
    builder = PyramidBuilder(writer)
    for region in builder.blocks():
        builder.add(*(s.start for s in region), data[region])
    builder.close()
    finish_pyramid(path, layout, name="brain", **finish)
    return path


def assert_levels_equal(path: Path, data: np.ndarray, layout: PyramidLayout) -> None:
    image = open_mask(path) if layout.dtype == "bool" else open_image(path)
    expected = data
    for level, stored in zip(layout.levels, (image, *image.levels), strict=True):
        expected = downsample(expected, level.factor)
        np.testing.assert_array_equal(stored.read().astype(data.dtype), expected)
        assert (stored.scale, stored.translation) == (level.scale, level.translation)
        assert missing_chunks(stored).n_missing == 0


@pytest.mark.parametrize("dtype", ["float32", "uint16", "bool"])
@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_slabs_assembled_are_the_volume(tmp_path, version, dtype):
    data, layout = volume(dtype), plan(dtype, version)
    slabs = [(0, 16), (16, 24), (24, 37)]
    n_levels = layout.n_complete_levels(slabs)
    assert 1 <= n_levels < len(layout.levels)  # so that both ways to make a level are tried
    for z0, z1 in slabs:
        writer = create_pyramid(tmp_path / f"slab{z0:02d}.zarr", layout)
        builder = PyramidBuilder(writer, z0, z1, n_levels=n_levels)
        most_open = 0
        for region in builder.blocks():
            builder.add(*(s.start for s in region), data[region])
            most_open = max(most_open, len(builder._open))
        builder.close()
        assert most_open <= n_levels
    out = tmp_path / "out.ome.zarr"
    create_pyramid(out, layout, name="brain")
    counts = assemble_chunks(list(tmp_path.glob("slab*.zarr")), out)
    assert counts == LinkCounts(sum(level.n_files for level in layout.levels[:n_levels]), 0)
    writer = PyramidWriter(out, layout)
    builder = PyramidBuilder(writer, source_level=n_levels - 1)
    for region in builder.blocks():
        builder.add(*(s.start for s in region), writer.read_block(n_levels - 1, region))
    builder.close()
    assert_levels_equal(out, data, layout)


def test_blocks_in_any_order_give_the_same_bytes(tmp_path):
    data, layout = volume("float32"), plan("float32")
    first = write_all(tmp_path / "a.ome.zarr", data, layout)
    builder = PyramidBuilder(create_pyramid(tmp_path / "b.ome.zarr", layout, name="brain"))
    for region in sorted(builder.blocks(), key=lambda r: (-r[2].start, r[1].start, r[0].start)):
        builder.add(*(s.start for s in region), data[region])
    builder.close()
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert files == sorted(
        p.relative_to(tmp_path / "b.ome.zarr") for p in (tmp_path / "b.ome.zarr").rglob("*") if p.is_file()
    )
    for file in files:
        assert (first / file).read_bytes() == (tmp_path / "b.ome.zarr" / file).read_bytes()


def test_shards_keep_files_few(tmp_path):
    layout = PyramidLayout.plan(SHAPE, "float32", (5.0, 2.0, 2.0))
    path = write_all(tmp_path / "i.ome.zarr", volume("float32"), layout)
    assert sum(p.is_file() for p in path.rglob("*")) <= 3 * len(layout.levels) + 1


def test_zeros_are_written_too(tmp_path):
    layout = plan("float32")
    path = write_all(tmp_path / "i.ome.zarr", np.zeros(SHAPE, np.float32), layout)
    assert missing_chunks(open_image(path)).n_missing == 0


def test_half_files_and_other_types_are_refused(tmp_path):
    layout = plan("float32")
    writer = create_pyramid(tmp_path / "i.ome.zarr", layout)
    z, y, x = layout.levels[0].file_grid
    with pytest.raises(ValueError, match="does not cover whole files"):
        writer.write_block(0, 0, 0, 0, np.zeros((z, y, x // 2), np.float32))
    with pytest.raises(ValueError, match="does not cover whole files"):
        writer.write_block(0, 1, 0, 0, np.zeros((z, y, x), np.float32))
    with pytest.raises(ValueError, match="does not cover whole files"):
        writer.write_block(0, 32, 0, 0, np.zeros((8, y, x), np.float32))  # 5 planes are left
    with pytest.raises(ValueError, match="type float64, the image has float32"):
        writer.write_block(0, 0, 0, 0, np.zeros((z, y, x)))
    builder = PyramidBuilder(writer)
    builder.add(0, 0, 0, np.zeros((z, y, x), np.float32))
    with pytest.raises(ValueError, match="lack voxels"):
        builder.close()


def test_a_store_is_never_overwritten(tmp_path):
    create_pyramid(tmp_path / "i.ome.zarr", plan("float32"))
    with pytest.raises(FileExistsError, match="exists already"):
        create_pyramid(tmp_path / "i.ome.zarr", plan("float32"))


def test_a_file_in_two_slabs_is_an_error(tmp_path):
    layout = plan("uint16")
    for name in ("a", "b"):
        write_all(tmp_path / f"{name}.zarr", volume("uint16"), layout)
    create_pyramid(tmp_path / "out.zarr", layout)
    with pytest.raises(OmeZarrError, match="is there already"):
        assemble_chunks([tmp_path / "a.zarr", tmp_path / "b.zarr"], tmp_path / "out.zarr")


def test_a_slab_of_another_layout_is_an_error(tmp_path):
    write_all(tmp_path / "a.zarr", volume("uint16"), plan("uint16"))
    create_pyramid(tmp_path / "out.zarr", plan("float32"))
    with pytest.raises(OmeZarrError, match="differs"):
        assemble_chunks([tmp_path / "a.zarr"], tmp_path / "out.zarr")


def test_where_links_are_refused_files_are_copied_and_counted(tmp_path, monkeypatch, caplog):
    data, layout = volume("uint16"), plan("uint16")
    write_all(tmp_path / "a.zarr", data, layout)
    create_pyramid(tmp_path / "out.zarr", layout, name="brain")

    def refuse(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    counts = assemble_chunks([tmp_path / "a.zarr"], tmp_path / "out.zarr")
    assert counts == LinkCounts(0, sum(level.n_files for level in layout.levels))
    assert "Invalid cross-device link" in caplog.text
    assert_levels_equal(tmp_path / "out.zarr", data, layout)
    assert not list((tmp_path / "out.zarr").rglob("*.partial"))


def test_metadata_says_how_levels_were_made_and_how_to_show_them(tmp_path):
    channel = {
        "label": "autofluorescence",
        "color": "00FF00",
        "active": False,
        "family": "linear",
        "window": {"end": 3},
    }
    path = write_all(tmp_path / "i.ome.zarr", volume("uint16"), plan("uint16"), window=WINDOW, omero_channel=channel)
    ome = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
    assert ome["omero"]["channels"] == [channel | {"active": True, "window": WINDOW}]
    (multiscale,) = ome["multiscales"]
    assert multiscale["name"] == "brain"
    assert [axis["unit"] for axis in multiscale["axes"]] == ["micrometer"] * 3
    assert multiscale["type"] == "local mean"
    assert multiscale["metadata"]["kwargs"] == {"factors": [[1, 2, 2], [2, 2, 2]]}
    assert multiscale["metadata"]["method"] == "linumpy.io.downsample.downsample"
    image = open_image(path)
    assert image.omero_channel["label"] == "autofluorescence"


@pytest.mark.parametrize("color", ["#00FF00", "green", None, 65280])
def test_a_colour_that_no_viewer_reads_becomes_white(tmp_path, color):
    channel = {"label": "blue", "color": color}
    path = write_all(tmp_path / "i.ome.zarr", volume("uint16"), plan("uint16"), window=WINDOW, omero_channel=channel)
    shown = open_image(path).omero_channel
    assert (shown["label"], shown["color"]) == ("blue", "FFFFFF")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """One store of each version and type, with the image that a mask belongs to beside it."""
    paths = {}
    for version, dtype in itertools.product(("0.5", "0.4"), ("float32", "uint16", "bool")):
        tmp_path = tmp_path_factory.mktemp(f"{version}_{dtype}")
        layout, labels = plan(dtype, version), dtype == "bool"
        if labels:  # a mask lies beside the image it belongs to
            write_all(tmp_path / "corrected.ome.zarr", volume("uint16"), plan("uint16", version))
        options = {"image_label": {"source": {"image": "../corrected.ome.zarr"}}} if labels else {"window": WINDOW}
        paths[version, dtype] = write_all(tmp_path / "i.ome.zarr", volume(dtype), layout, **options)
    return paths


@pytest.mark.parametrize("dtype", ["float32", "uint16", "bool"])
@pytest.mark.parametrize("version", ["0.5", "0.4"])
class TestValidity:
    """Other people's programs accept what is written."""

    @pytest.fixture
    def path(self, stores, version, dtype):
        return stores[version, dtype]

    def test_ome_zarr_models(self, path, version, dtype):
        from ome_zarr_models import open_ome_zarr
        from ome_zarr_models.v04 import Image as Image04
        from ome_zarr_models.v04 import ImageLabel as ImageLabel04
        from ome_zarr_models.v05 import Image as Image05
        from ome_zarr_models.v05 import ImageLabel as ImageLabel05

        model = {("0.4", False): Image04, ("0.4", True): ImageLabel04,
                 ("0.5", False): Image05, ("0.5", True): ImageLabel05}[version, dtype == "bool"]  # fmt: skip
        group = zarr.open_group(path, mode="r")
        assert type(open_ome_zarr(group)) is model
        assert len(model.from_zarr(group).attributes.model_dump()) > 0

    def test_yaozarrs(self, path, version, dtype):
        import yaozarrs

        yaozarrs.validate_zarr_store(str(path))  # raises where metadata and arrays disagree

    def test_napari_reader(self, path, version, dtype):
        with contextlib.suppress(ImportError):
            from napari_ome_zarr import napari_get_reader
        if "napari_get_reader" not in locals():
            pytest.skip("napari-ome-zarr is not installed")
        data, options, kind = napari_get_reader(str(path))(str(path))[0]
        assert kind == ("labels" if dtype == "bool" else "image")
        assert [level.shape for level in data] == [level.shape for level in plan(dtype, version).levels]
        np.testing.assert_allclose(options["scale"], (5.0, 2.0, 2.0))
        assert [str(unit) for unit in options["units"]] == ["micrometer"] * 3
        np.testing.assert_array_equal(np.asarray(data[0][3]).astype(dtype), volume(dtype)[3])
        if dtype != "bool":
            assert list(options["contrast_limits"]) == [10.0, 900.0]
