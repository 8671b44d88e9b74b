"""Chunks wider than the result's files are decoded once, and give the same voxels."""

import errno
import os

import numpy as np
import pytest

from linumpy.io.ome_zarr import Image, open_image
from linumpy.io.pyramid import PyramidLayout
from linumpy.io.writer import PyramidBuilder, create_pyramid
from linumpy.stage import spool
from linumpy.stage.spool import PlaneSpool, WholePlanes, decodings, planes_per_read

SHAPE = (12, 70, 90)


def write(path, volume, chunks):
    layout = PyramidLayout.plan(volume.shape, volume.dtype, (1, 1, 1), chunks=chunks, shards=False, smallest=200)
    builder = PyramidBuilder(create_pyramid(path, layout))
    for z, y, x in builder.blocks():
        builder.add(z.start, y.start, x.start, volume[z, y, x])
    return open_image(path)


def regions(size):
    return [
        tuple(slice(a, min(a + s, n)) for a, s, n in zip(at, size, SHAPE, strict=True))
        for at in np.ndindex(*(-(-n // s) for n, s in zip(SHAPE, size, strict=True)))
        for at in [tuple(i * s for i, s in zip(at, size, strict=True))]
    ]


@pytest.fixture(scope="module")
def volume():
    return np.random.default_rng(1).integers(0, 1000, SHAPE).astype(np.uint16)


@pytest.fixture
def decoded(monkeypatch):
    """How often each plane was decoded."""
    counts = np.zeros(SHAPE[0], int)
    read = Image.read

    def counted(self, z0, z1, *rows_columns):
        counts[z0:z1] += 1
        return read(self, z0, z1, *rows_columns)

    monkeypatch.setattr(Image, "read", counted)
    return counts


def test_blocks_are_those_of_the_image_and_each_chunk_is_decoded_once(volume, tmp_path, decoded):
    image = write(tmp_path / "a.ome.zarr", volume, (4, 70, 90))
    path = tmp_path / "planes.raw"
    with PlaneSpool(image, 2, 11, path) as spool:
        for z, y, x in regions((3, 32, 32)):
            z0, z1 = max(z.start, 2), min(z.stop, 11)
            np.testing.assert_array_equal(spool.read(z0, z1, y, x), volume[z0:z1, y, x])
    assert not path.exists()
    np.testing.assert_array_equal(decoded, [0, 0, *[1] * 9, 0])


def test_planes_come_from_one_row_of_chunks_at_a_time(volume, tmp_path, decoded, monkeypatch):
    monkeypatch.setattr(spool, "READ_BYTES", 2 * 70 * 90 * volume.itemsize)
    image = write(tmp_path / "a.ome.zarr", volume, (4, 70, 90))
    path = tmp_path / "planes.raw"
    with WholePlanes(image, path) as planes:
        assert planes.planes_per_read == 2
        for z in range(0, 12, 2):
            np.testing.assert_array_equal(planes.read(z, z + 2), volume[z : z + 2])
            assert path.stat().st_size == 4 * 70 * 90 * volume.itemsize
        np.testing.assert_array_equal(planes.read(2, 4), volume[2:4])
    assert not path.exists()
    np.testing.assert_array_equal(decoded, [2, 2, 2, 2, *[1] * 8])


def test_rows_of_chunks_that_are_little_memory_are_not_spooled(volume, tmp_path, decoded):
    image = write(tmp_path / "a.ome.zarr", volume, (4, 70, 90))
    path = tmp_path / "planes.raw"
    with WholePlanes(image, path) as planes:
        for z in range(0, 12, planes.planes_per_read):
            np.testing.assert_array_equal(planes.read(z, z + 4), volume[z : z + 4])
            assert not path.exists()
    np.testing.assert_array_equal(decoded, [1] * 12)


@pytest.mark.parametrize("refusal", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_allocates_nothing_ahead_is_used_as_it_is(volume, tmp_path, monkeypatch, refusal):
    def refuse(*_):
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    image = write(tmp_path / "a.ome.zarr", volume, (4, 70, 90))
    with PlaneSpool(image, 0, 12, tmp_path / "planes.raw") as planes:
        np.testing.assert_array_equal(planes.read(3, 9, slice(5, 60), slice(7, 80)), volume[3:9, 5:60, 7:80])


def test_a_full_disk_is_an_error_that_says_so(volume, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    image = write(tmp_path / "a.ome.zarr", volume, (4, 70, 90))
    with pytest.raises(OSError, match="No space left on device"):
        PlaneSpool(image, 0, 12, tmp_path / "planes.raw")


@pytest.mark.parametrize(("planes", "expected"), [(100, 12), (11.9, 6), (5.9, 4), (2.5, 2), (0.1, 1)])
def test_planes_per_read_divide_a_row_of_chunks(volume, tmp_path, monkeypatch, planes, expected):
    image = write(tmp_path / "a.ome.zarr", volume, (12, 35, 90))
    monkeypatch.setattr(spool, "READ_BYTES", int(planes * 70 * 90 * volume.itemsize))
    assert planes_per_read(image) == expected


def test_how_often_voxels_are_decoded(volume, tmp_path):
    whole_planes = write(tmp_path / "a.ome.zarr", volume, (4, 70, 90))
    assert decodings(whole_planes, regions((4, 70, 90))) == 1
    assert decodings(whole_planes, regions((4, 35, 30))) == 6
    assert decodings(whole_planes, regions((2, 70, 90))) == 2
    small = write(tmp_path / "b.ome.zarr", volume, (4, 10, 10))
    assert decodings(small, regions((4, 35, 30))) == pytest.approx(80 / 70)
