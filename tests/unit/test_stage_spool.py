"""Chunks wider than the result's files are decoded once, and give the same voxels."""

import numpy as np
import pytest

from linumpy.io.ome_zarr import Image, open_image
from linumpy.io.pyramid import PyramidLayout
from linumpy.io.writer import PyramidBuilder, create_pyramid
from linumpy.stage.spool import PlaneSpool, decodings

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


def test_blocks_are_those_of_the_image_and_each_chunk_is_decoded_once(volume, tmp_path, monkeypatch):
    image = write(tmp_path / "a.ome.zarr", volume, (4, 70, 90))
    decoded = np.zeros(SHAPE[0], int)
    read = Image.read

    def counted(self, z0, z1, *rows_columns):
        decoded[z0:z1] += 1
        return read(self, z0, z1, *rows_columns)

    monkeypatch.setattr(Image, "read", counted)
    path = tmp_path / "planes.raw"
    with PlaneSpool(image, 2, 11, path) as spool:
        for z, y, x in regions((3, 32, 32)):
            z0, z1 = max(z.start, 2), min(z.stop, 11)
            np.testing.assert_array_equal(spool.read(z0, z1, y, x), volume[z0:z1, y, x])
    assert not path.exists()
    np.testing.assert_array_equal(decoded, [0, 0, *[1] * 9, 0])


def test_how_often_voxels_are_decoded(volume, tmp_path):
    whole_planes = write(tmp_path / "a.ome.zarr", volume, (4, 70, 90))
    assert decodings(whole_planes, regions((4, 70, 90))) == 1
    assert decodings(whole_planes, regions((4, 35, 30))) == 6
    assert decodings(whole_planes, regions((2, 70, 90))) == 2
    small = write(tmp_path / "b.ome.zarr", volume, (4, 10, 10))
    assert decodings(small, regions((4, 35, 30))) == pytest.approx(80 / 70)
