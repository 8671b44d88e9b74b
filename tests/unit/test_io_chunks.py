"""Missing chunks, fingerprints, digests and codec settings."""

import os
import shutil

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec

from linumpy.io.chunks import fingerprint, missing_chunks, missing_files
from linumpy.io.digest import VolumeDigest
from linumpy.io.errors import OmeZarrError
from linumpy.io.ome_zarr import open_image
from linumpy.io.runtime import PIPELINES, configure_codecs

SHAPE = (10, 12, 14)
CHUNKS = (4, 5, 6)  # 3 x 3 x 3 chunks
STORES = {
    "v2 with /": ("0.4", {"chunk_key_encoding": {"name": "v2", "separator": "/"}}),
    "v2 with .": ("0.4", {"chunk_key_encoding": {"name": "v2", "separator": "."}}),
    "v3": ("0.5", {}),
    "v3 with .": ("0.5", {"chunk_key_encoding": {"name": "default", "separator": "."}}),
    "v3 with keys of v2": ("0.5", {"chunk_key_encoding": {"name": "v2", "separator": "/"}}),
    "shards": ("0.5", {"shards": (8, 10, 12)}),
    "shards, index first": (
        "0.5",
        {
            "shards": {
                "shape": (8, 10, 12),
                "index_location": "start",
                "index_codecs": [BytesCodec(), Crc32cCodec()],
            }
        },
    ),
}


def write(path, data, version, options, axes="zyx"):
    kinds = {"t": "time", "c": "channel"}
    multiscale = {
        "axes": [
            {"name": a, "type": kinds.get(a, "space")} | ({} if a in kinds else {"unit": "micrometer"}) for a in axes
        ],
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0] * len(axes)}]}],
    }
    attributes = {"multiscales": [multiscale]}
    if version == "0.5":
        attributes = {"ome": {"version": "0.5", **attributes}}
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3, attributes=attributes)
    group.create_array("0", data=data, chunks=(1,) * (data.ndim - 3) + CHUNKS, fill_value=0, **options)
    return path


@pytest.mark.parametrize("store", STORES)
def test_chunks_of_zeros_are_missing(tmp_path, store):
    data = np.ones(SHAPE, np.uint16)
    data[4:8, 5:10, 0:6] = 0  # chunk (1, 1, 0)
    data[8:, 10:, 12:] = 0  # chunk (2, 2, 2), at the corner
    missing = missing_chunks(open_image(write(tmp_path / "i.zarr", data, *STORES[store])))
    assert missing.lost.shape == (3, 3, 3)
    assert np.argwhere(missing.lost).tolist() == [[1, 1, 0], [2, 2, 2]]
    assert (missing.n_chunks, missing.n_missing) == (27, 2)


@pytest.mark.parametrize("store", STORES)
def test_a_deleted_file_is_missing(tmp_path, store):
    image = open_image(write(tmp_path / "i.zarr", np.ones(SHAPE, np.uint16), *STORES[store]))
    assert missing_chunks(image).n_missing == 0
    assert missing_files(image) == 0
    image.chunk_file((0, 0, 0)).unlink()
    assert missing_files(image) == 1
    expected = 8 if image.shards else 1
    assert missing_chunks(image).n_missing == expected
    shutil.rmtree(tmp_path / "i.zarr" / "0" / "c", ignore_errors=True)
    for file in (tmp_path / "i.zarr" / "0").iterdir():
        if file.is_dir():
            shutil.rmtree(file)
        elif file.name[0].isdigit() or file.name.startswith("c."):
            file.unlink()
    assert missing_chunks(image).n_missing == 27


def test_only_the_selected_channel_counts(tmp_path):
    data = np.ones((2, 3, *SHAPE), np.uint16)
    data[1, 2, :4, :5, :6] = 0
    path = write(tmp_path / "i.zarr", data, "0.5", {}, axes="tczyx")
    assert np.argwhere(missing_chunks(open_image(path, channel=2, timepoint=1)).lost).tolist() == [[0, 0, 0]]
    assert missing_chunks(open_image(path, channel=1, timepoint=1)).n_missing == 0


def test_a_truncated_shard_is_an_error(tmp_path):
    image = open_image(write(tmp_path / "i.zarr", np.ones(SHAPE, np.uint16), *STORES["shards"]))
    image.chunk_file((1, 0, 0)).write_bytes(b"")
    with pytest.raises(OmeZarrError, match="truncated"):
        missing_chunks(image)


def test_fingerprint_changes_with_the_store_and_only_then(tmp_path):
    path = write(tmp_path / "i.zarr", np.ones(SHAPE, np.uint16), "0.5", {})
    first = fingerprint(path)
    assert fingerprint(path) == first
    moved = tmp_path / "elsewhere" / "j.zarr"
    moved.parent.mkdir()
    path.rename(moved)
    assert fingerprint(moved) == first
    zarr.open_group(moved / "labels", mode="w")
    assert fingerprint(moved) == first

    seen = {first}
    chunk = moved / "0" / "c" / "0" / "0" / "0"
    os.utime(chunk, ns=(1, 1))  # the same bytes written again
    seen.add(fingerprint(moved))
    chunk.write_bytes(chunk.read_bytes() + b"x")
    os.utime(chunk, ns=(1, 1))
    seen.add(fingerprint(moved))
    chunk.unlink()
    seen.add(fingerprint(moved))
    (moved / "zarr.json").write_text((moved / "zarr.json").read_text() + "\n")
    seen.add(fingerprint(moved))
    assert len(seen) == 5


def test_digest_is_of_the_voxels(tmp_path):
    data = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.uint16)

    def digest(volume, parts):
        result = VolumeDigest(volume.shape, volume.dtype)
        for z0, z1 in parts:
            result.update(z0, volume[z0:z1])
        return result.hexdigest()

    whole = digest(data, [(0, 10)])
    assert whole == digest(data, [(7, 10), (0, 3), (3, 7)]) == digest(data.astype(">u2"), [(0, 10)])
    assert whole == digest(np.asfortranarray(data), [(0, 10)])
    image = open_image(write(tmp_path / "i.zarr", data, "0.5", STORES["shards"][1]))
    assert digest(image.read(), [(0, 10)]) == whole
    changed = data.copy()
    changed[9, 11, 13] ^= 1
    assert digest(changed, [(0, 10)]) != whole
    assert digest(data.astype(np.int32), [(0, 10)]) != whole
    assert digest(data.reshape(10, 14, 12), [(0, 10)]) != whole
    # a fixed value: digests stand in provenance records and must not change between versions
    assert digest(np.arange(24, dtype=np.uint16).reshape(2, 3, 4), [(0, 2)]) == PINNED


PINNED = "3cfbfc05784ce0675dcfeadc57d14e290cd813378449e6a097ec22e08e4f5265"


def test_a_digest_needs_every_plane():
    data = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    first = VolumeDigest(data.shape, data.dtype)
    first.update(0, data[:1])
    with pytest.raises(ValueError, match="1 of 2 planes were not digested, the first is 1"):
        first.hexdigest()
    first.update(1, data[1:])
    assert first.hexdigest() == PINNED
    with pytest.raises(ValueError, match="of float32, the volume has"):
        first.update(0, data.astype(np.float32))
    with pytest.raises(ValueError, match="planes 1 to 3 of a volume with 2"):
        first.update(1, data)


@pytest.fixture
def zarr_config():
    with zarr.config.set({}):
        before = {
            key: zarr.config.get(key) for key in ("codec_pipeline.path", "threading.max_workers", "async.concurrency")
        }
        yield
        zarr.config.set(before)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_both_codec_pipelines_read_the_same(tmp_path, zarr_config, pipeline):
    data = np.random.default_rng(1).integers(0, 1000, SHAPE).astype(np.uint16)
    settings = configure_codecs(2, pipeline)
    assert (settings.pipeline, settings.workers) == (pipeline, 2)
    for name, options in STORES.items():
        image = open_image(write(tmp_path / f"{name.replace('/', '')}.zarr", data, *options))
        np.testing.assert_array_equal(image.read(), data)


def test_codec_settings_are_checked(zarr_config, monkeypatch):
    with pytest.raises(ValueError, match="at least 1"):
        configure_codecs(0)
    with pytest.raises(ValueError, match="choose one of zarr, zarrs"):
        configure_codecs(1, "rust")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="zarrs is not installed"):
        configure_codecs(1)
