"""Reading OME-Zarr by any writer: axes, units, transformations, selection, damage."""

import itertools
import json
import pickle
import shutil
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from linumpy.io.errors import OmeZarrError
from linumpy.io.ome_zarr import Image, open_image, open_mask
from linumpy.io.units import canonical_unit, to_mm

UNIT = {"z": "micrometer", "y": "micrometer", "x": "micrometer"}
TYPE = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def write_image(
    path: Path,
    data: np.ndarray,
    axes: str = "zyx",
    *,
    version: str = "0.5",
    scale=None,
    translation=None,
    outer=None,
    unit=UNIT,
    channels=None,
    **array_options,
) -> Path:
    """A store as some other program would write it: zarr and hand-made metadata, nothing of linumpy.io."""
    transforms = [{"type": "scale", "scale": list(scale or (1.0,) * len(axes))}]
    if translation:
        transforms.append({"type": "translation", "translation": list(translation)})
    multiscale = {
        "axes": [{"name": a, "type": TYPE[a]} | ({"unit": unit[a]} if a in unit else {}) for a in axes],
        "datasets": [{"path": "s0", "coordinateTransformations": transforms}],
    }
    if outer:
        multiscale["coordinateTransformations"] = outer
    ome = {"multiscales": [multiscale]}
    if channels:
        ome["omero"] = {"channels": channels}
    if version == "0.4":
        multiscale["version"] = "0.4"
        group = zarr.open_group(path, mode="w", zarr_format=2, attributes=ome)
        array_options.setdefault("chunk_key_encoding", {"name": "v2", "separator": "/"})
    else:
        group = zarr.open_group(path, mode="w", zarr_format=3, attributes={"ome": {"version": "0.5", **ome}})
    array_options.setdefault("chunks", tuple(min(n, 5) for n in data.shape))
    group.create_array("s0", data=data, **array_options)
    return path


def volume(shape=(7, 11, 13), dtype="uint16") -> np.ndarray:
    return np.random.default_rng(3).integers(1, 200, shape).astype(dtype)


@pytest.mark.parametrize(
    ("name", "kwargs", "shape", "voxel_size_mm"),
    [
        (
            "bf2raw_0.4_tczyx.ome.zarr",
            {},
            (6, 263, 263),
            (0.003, 8.519643016734027e-05, 8.519643016734027e-05),
        ),
        ("ngio_0.4_tczyx.zarr", {"channel": "channel_1", "timepoint": 3}, (10, 64, 64), (1e-3, 5e-4, 5e-4)),
        ("ngio_0.4_zyx.zarr", {}, (10, 64, 64), (1e-3, 5e-4, 5e-4)),
        ("ngio_0.5_czyx.zarr", {"channel": 0}, (10, 64, 64), (1e-3, 5e-4, 5e-4)),
        ("ngio_0.5_zyx.zarr", {}, (10, 64, 64), (1e-3, 5e-4, 5e-4)),
        ("ngio_0.5_zyx.zarr/labels/label", {}, (10, 64, 64), (1e-3, 5e-4, 5e-4)),
    ],
)
def test_files_of_other_writers_open(test_data, name, kwargs, shape, voxel_size_mm):
    image = open_image(test_data / "foreign" / name, **kwargs)
    assert image.shape == shape
    assert image.voxel_size_mm == voxel_size_mm
    assert len(image.levels) == 1
    block = image.read(2, 5, slice(3, 9), slice(60, 64))
    assert block.shape == (3, 6, 4)
    assert block.dtype == image.dtype
    # the whole array through zarr alone, last three axes
    whole = np.asarray(image.array[...]).reshape(-1, *shape)
    position = (kwargs.get("timepoint", 0) * 2 + 1) if "tczyx" in name and kwargs else 0
    np.testing.assert_array_equal(block, whole[position, 2:5, 3:9, 60:64])


def test_bioformats_series_has_voxels(test_data):
    assert open_image(test_data / "foreign" / "bf2raw_0.4_tczyx.ome.zarr").read().max() > 100


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("neuroglancer_0.4", "2-D image"),
        ("neuroglancer_0.5", "2-D image"),
        ("invalid/image-01.zarr", "'multiscales' is missing or empty"),
        ("invalid/image-02.zarr", "'multiscales' is missing or empty"),
        ("invalid/image-03.zarr", "2-D image"),
        ("invalid/image-04.zarr", "2 dimensions, the metadata 3 axes"),
        ("malformed_3axes_4d.nii.zarr.zip", "is a file.*unpack it"),
        ("nowhere.zarr", "no such folder"),
        ("ngio_0.4_zyx.zarr/0", "Zarr array, not an image group"),
        ("ngio_0.5_zyx.zarr/0", "Zarr array, not an image group"),
        ("ngio_0.5_zyx.zarr/labels", "no OME-Zarr image; name one of the groups in it: label"),
        ("invalid", "neither zarr.json nor .zattrs.*image-02.zarr"),
    ],
)
def test_what_is_no_volume_is_refused_by_name(test_data, name, fault):
    with pytest.raises(OmeZarrError, match=fault) as error:
        open_image(test_data / "foreign" / name)
    assert str(test_data / "foreign" / name) in str(error.value)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["zyx", "yxz", "czyx", "tcxyz", "tzyx"])
def test_any_axis_order_gives_zyx(tmp_path, axes, version):
    shape = {"t": 2, "c": 3, "z": 7, "y": 11, "x": 13}
    data = volume(tuple(shape[a] for a in axes))
    scale = {"t": 1.0, "c": 1.0, "z": 5.0, "y": 2.0, "x": 3.0}
    path = write_image(
        tmp_path / "i.zarr", data, axes, version=version, scale=[scale[a] for a in axes],
        translation=[10 * scale[a] for a in axes],
    )  # fmt: skip
    kwargs = {}
    expected = data
    if "t" in axes:
        kwargs["timepoint"] = 1
        expected = expected[1]
    if "c" in axes:
        kwargs["channel"] = 2
        expected = expected[2]
    spatial = [a for a in axes if a in "zyx"]
    expected = expected.transpose([spatial.index(a) for a in "zyx"])
    image = open_image(path, **kwargs)
    assert image.shape == (7, 11, 13)
    assert image.scale == (5.0, 2.0, 3.0)
    assert image.translation == (50.0, 20.0, 30.0)
    np.testing.assert_array_equal(image.read(), expected)
    block = image.read(4, 6, slice(2, -1), slice(5, None))
    np.testing.assert_array_equal(block, expected[4:6, 2:-1, 5:])
    assert block.flags.c_contiguous


def test_only_needed_chunks_are_read(tmp_path):
    path = write_image(tmp_path / "i.zarr", volume((10, 10, 10)))
    for chunk in ("0/0/0", "1/1/1"):
        (path / "s0" / "c" / chunk).write_bytes(b"broken")
    assert open_image(path).read(5, 10, slice(0, 5)).shape == (5, 5, 10)


def test_planes_out_of_range(tmp_path):
    image = open_image(write_image(tmp_path / "i.zarr", volume()))
    with pytest.raises(ValueError, match=r"planes 3 to 8 .* 0 to 7"):
        image.read(3, 8)
    assert image.read(3, 3).shape == (0, 11, 13)


NGFF_SPACE_UNITS = [
    "angstrom",
    "attometer",
    "centimeter",
    "decimeter",
    "exameter",
    "femtometer",
    "foot",
    "gigameter",
    "hectometer",
    "inch",
    "kilometer",
    "megameter",
    "meter",
    "micrometer",
    "mile",
    "millimeter",
    "nanometer",
    "parsec",
    "petameter",
    "picometer",
    "terameter",
    "yard",
    "yoctometer",
    "yottameter",
    "zeptometer",
    "zettameter",
]  # OME-NGFF 0.4 and 0.5, "axes" metadata


def test_every_unit_of_ngff_is_known():
    assert all(canonical_unit(unit) == unit and to_mm(1.0, unit) > 0 for unit in NGFF_SPACE_UNITS)
    same = {"nanometer": 5000.0, "micrometer": 5.0, "meter": 5e-6, "angstrom": 50000.0, "inch": 0.005 / 25.4}
    for unit, value in same.items():
        assert to_mm(value, unit) == pytest.approx(0.005, rel=1e-15)
    assert to_mm(5.0, "micrometer") == to_mm(5000.0, "nanometer") == 0.005
    assert canonical_unit("pixel") is None


def test_axes_in_different_units(tmp_path):
    unit = {"z": "millimeter", "y": "micrometer", "x": "nanometer"}
    image = open_image(write_image(tmp_path / "i.zarr", volume(), scale=(0.05, 2.0, 1500.0), unit=unit))
    assert image.voxel_size_mm == pytest.approx((0.05, 0.002, 0.0015), rel=1e-15)
    assert image.unit == "nanometer"
    assert image.scale == pytest.approx((50000.0, 2000.0, 1500.0), rel=1e-12)


def test_missing_unit_is_an_error_unless_the_voxel_size_is_given(tmp_path):
    path = write_image(tmp_path / "i.zarr", volume(), unit={"z": "micrometer", "x": "micrometer"})
    with pytest.raises(OmeZarrError, match=r"axis 'y' has no unit; .*voxel_size_um"):
        open_image(path)
    assert open_image(path, voxel_size_um=2.0).voxel_size_mm == (0.002, 0.002, 0.002)
    odd = write_image(tmp_path / "o.zarr", volume(), unit=UNIT | {"z": "pixel"})
    with pytest.raises(OmeZarrError, match="axis 'z' has the unit 'pixel'"):
        open_image(odd)


def test_given_voxel_size_overrides_and_keeps_the_origin_in_voxels(tmp_path):
    path = write_image(tmp_path / "i.zarr", volume(), scale=(1.0, 1.0, 2.0), translation=(3.0, 0.0, 4.0))
    image = open_image(path, voxel_size_um=(10, 5.0, 5.0))
    assert image.voxel_size_mm == (0.01, 0.005, 0.005)
    assert (image.unit, image.scale, image.translation) == ("micrometer", (10, 5, 5), (30, 0, 10))
    for bad in (0, (1, 2), (1, 2, float("nan"))):
        with pytest.raises(ValueError, match="voxel_size_um"):
            open_image(path, voxel_size_um=bad)


def test_transformations_of_group_and_dataset_compose(tmp_path):
    outer = [{"type": "scale", "scale": [2, 2, 4]}, {"type": "translation", "translation": [1, 2, 3]}]
    path = write_image(
        tmp_path / "i.zarr", volume(), scale=(5.0, 1.0, 1.0), translation=(10.0, 20.0, 30.0), outer=outer
    )
    image = open_image(path)
    assert image.scale == (10.0, 2.0, 4.0)
    assert image.translation == (21.0, 42.0, 123.0)  # 2 * 10 + 1, 2 * 20 + 2, 4 * 30 + 3


def test_translation_before_scale_is_not_ngff(tmp_path):
    path = write_image(tmp_path / "i.zarr", volume(), scale=(5.0, 1.0, 2.0), translation=(10.0, 20.0, 30.0))
    edit(path, lambda o: o["multiscales"][0]["datasets"][0]["coordinateTransformations"].reverse())
    with pytest.raises(OmeZarrError, match=r"datasets\.0\.coordinateTransformations: Expected a scale or"):
        open_image(path)


def test_a_store_that_was_checked_opens_without_checking_again(tmp_path):
    path = write_image(tmp_path / "i.zarr", volume(), scale=(5.0, 1.0, 2.0))
    assert open_image(path, validate=False) == open_image(path)


CHANNELS = [{"label": "DAPI", "color": "0000FF"}, {"label": "1", "color": "00FF00"}, {"label": "GFP"}]


@pytest.mark.parametrize(("channel", "index"), [(0, 0), ("DAPI", 0), ("GFP", 2), ("2", 2), ("1", 1)])
def test_channel_by_index_or_label(tmp_path, channel, index):
    data = volume((3, 4, 5, 6))
    path = write_image(tmp_path / "i.zarr", data, "czyx", channels=CHANNELS)
    image = open_image(path, channel=channel)
    assert image.channel == index
    assert image.omero_channel == CHANNELS[index]
    np.testing.assert_array_equal(image.read(), data[index])


@pytest.mark.parametrize(
    ("axes", "kwargs", "fault"),
    [
        ("czyx", {}, "size 3 .0 'DAPI', 1 '1', 2 'GFP'. and no channel is selected.*column 'channel'"),
        ("czyx", {"channel": 3}, "channel 3 is none of them"),
        ("czyx", {"channel": -1}, "channel -1 is none of them"),
        ("czyx", {"channel": "RFP"}, "channel 'RFP' is none of them"),
        ("czyx", {"channel": 0, "timepoint": 0}, "timepoint 0 is given, but there is no such axis"),
        ("tzyx", {}, "size 3 .* no timepoint is selected.*column 'timepoint'"),
        ("tzyx", {"timepoint": 5}, "timepoint 5 is none of them"),
        ("tzyx", {"timepoint": 1, "channel": "DAPI"}, "channel 'DAPI' is given, but there is no such axis"),
    ],
)
def test_wrong_selection_is_explained(tmp_path, axes, kwargs, fault):
    path = write_image(tmp_path / "i.zarr", volume((3, 4, 5, 6)), axes, channels=CHANNELS)
    with pytest.raises(OmeZarrError, match=fault):
        open_image(path, **kwargs)


def test_label_that_reads_like_another_index_is_ambiguous(tmp_path):
    path = write_image(tmp_path / "i.zarr", volume((3, 4, 5, 6)), "czyx", channels=[{"label": "2"}, {}, {}])
    with pytest.raises(OmeZarrError, match="names more than one"):
        open_image(path, channel="2")


def test_label_that_is_a_number_beyond_the_indices_is_a_label(tmp_path):
    path = write_image(tmp_path / "i.zarr", volume((2, 4, 5, 6)), "czyx", channels=[{"label": "405"}, {"label": "488"}])
    assert open_image(path, channel="488").channel == 1
    with pytest.raises(OmeZarrError, match="channel 488 is none of them"):
        open_image(path, channel=488)


def test_two_channels_of_one_label_are_ambiguous(tmp_path):
    path = write_image(tmp_path / "i.zarr", volume((2, 4, 5, 6)), "czyx", channels=[{"label": "488"}, {"label": "488"}])
    with pytest.raises(OmeZarrError, match="names more than one"):
        open_image(path, channel="488")


def test_channel_axis_of_one_needs_no_selection(tmp_path):
    assert open_image(write_image(tmp_path / "i.zarr", volume((1, 4, 5, 6)), "czyx")).channel == 0


@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_refused_types(tmp_path, dtype):
    path = write_image(tmp_path / "i.zarr", volume().astype(dtype))
    with pytest.raises(OmeZarrError, match=f"voxels of type {dtype} are refused"):
        open_image(path)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint32", "float32"])
def test_masks_may_be_bool_and_without_unit(tmp_path, dtype):
    data = (volume() > 100).astype(dtype)
    mask = open_mask(write_image(tmp_path / "m.zarr", data, unit={}))
    np.testing.assert_array_equal(mask.read() != 0, data != 0)


def test_a_mask_with_units_has_them(tmp_path):
    path = write_image(tmp_path / "m.zarr", volume(), scale=(0.01, 2.0, 2.0), unit={"z": "millimeter"})
    mask = open_mask(path)
    assert mask.voxel_size_mm == pytest.approx((0.01, 0.002, 0.002))


@pytest.mark.parametrize("dtype", [">u2", "<i4", ">f4", "<f8", "|u1", "<f2"])
def test_byte_orders_and_types_of_zarr_v2(tmp_path, dtype):
    data = volume(dtype=dtype)
    image = open_image(write_image(tmp_path / "i.zarr", data, version="0.4"))
    assert image.dtype == np.dtype(dtype).newbyteorder("=")
    assert image.read().dtype.isnative
    np.testing.assert_array_equal(image.read(), data)


def test_bioformats_layout_with_two_series_is_an_error(tmp_path):
    zarr.open_group(tmp_path / "b.zarr", mode="w", zarr_format=2, attributes={"bioformats2raw.layout": 3})
    for series in ("0", "1"):
        write_image(tmp_path / "b.zarr" / series, volume(), version="0.4")
    with pytest.raises(OmeZarrError, match=r"2 series \(0, 1\)"):
        open_image(tmp_path / "b.zarr")
    shutil.rmtree(tmp_path / "b.zarr" / "1")
    assert open_image(tmp_path / "b.zarr").shape == (7, 11, 13)


def edit(path: Path, change) -> None:
    document = json.loads((path / "zarr.json").read_text())
    change(document["attributes"]["ome"])
    (path / "zarr.json").write_text(json.dumps(document))


def test_errors_survive_a_process_boundary():
    error = pickle.loads(pickle.dumps(OmeZarrError("/a", "broken")))
    assert isinstance(error, ValueError)
    assert str(error) == "/a: broken"


STORES = {
    "v2 blosc": {"version": "0.4", "compressors": numcodecs.Blosc("zstd", 3, 2)},
    "v2 blosc, nested by dots": {
        "version": "0.4", "compressors": numcodecs.Blosc("lz4", 5, -1),
        "chunk_key_encoding": {"name": "v2", "separator": "."},
    },
    "v2 raw": {"version": "0.4", "compressors": None},
    "v2 gzip": {"version": "0.4", "compressors": numcodecs.GZip(1)},
    "v3 blosc": {"compressors": BloscCodec(cname="zstd")},
    "v3 zstd": {"compressors": ZstdCodec()},
    "v3 gzip": {"compressors": GzipCodec()},
    "v3 raw": {"compressors": None},
    "v3 shards": {"compressors": BloscCodec(cname="zstd"), "chunks": (4, 4, 4), "shards": (8, 8, 8)},
}  # fmt: skip
PIPELINES = ["zarr.core.codec_pipeline.BatchedCodecPipeline", "zarrs.ZarrsCodecPipeline"]


@pytest.mark.parametrize(("store", "pipeline"), list(itertools.product(STORES, PIPELINES)))
def test_a_truncated_chunk_is_an_error_that_names_its_file(tmp_path, store, pipeline):
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        data = np.random.default_rng(0).integers(0, 60000, (16, 16, 16)).astype("uint16")
        options = {"chunks": (8, 8, 8)} | STORES[store]
        path = write_image(tmp_path / "i.zarr", data, **options)
        image = open_image(path)
        np.testing.assert_array_equal(image.read(), data)
        file = image.chunk_file((1, 0, 1))
        content = file.read_bytes()
        for kept in (0, 1, 17, len(content) // 2, len(content) - 1):
            file.write_bytes(content[:kept])
            with pytest.raises(OmeZarrError, match="this chunk is truncated") as error:
                image.read(8, 16)
            assert str(file) in str(error.value)
            assert isinstance(image.read(0, 8), np.ndarray)
        file.write_bytes(bytes(len(content)))
        if "raw" not in store:  # without a codec, zeros are voxels
            with pytest.raises(OmeZarrError, match="undecodable"):
                image.read()


def test_image_is_described_without_its_voxels(tmp_path):
    image = open_image(write_image(tmp_path / "i.zarr", volume()))
    assert isinstance(image, Image)
    assert "shape=(7, 11, 13)" in repr(image)
    assert image.file_grid == image.chunks == (5, 5, 5)
