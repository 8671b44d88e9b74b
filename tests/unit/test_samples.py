import numpy as np
import pytest

from linumpy.n4.grid import SampleGrid
from linumpy.stage.samples import SampleGeometry, Samples, SampleWriter

SHAPE = (17, 23, 31)
SECTIONS = ((0, 6), (6, 7), (7, 17))


def geometry(section_shrink=(2, 3, 4), stack_shrink=(5, 3, 2), end_stride=3):
    return SampleGeometry(SHAPE, (0.01, 0.02, 0.03), SECTIONS, section_shrink, stack_shrink, end_stride)


@pytest.fixture(scope="module")
def volume():
    return np.random.default_rng(0).integers(0, 60_000, SHAPE).astype(np.uint16)


def write(folder, kept, volume, depth):
    with SampleWriter(folder, kept) as writer:
        for z in range(0, len(volume), depth):
            writer.add("image", z, volume[z : z + depth])
        for z in range(len(volume)):
            writer.add("mask", z, volume[z : z + 1] > 30_000)
    return Samples(folder)


@pytest.mark.parametrize("depth", [1, 4, 17])
@pytest.mark.parametrize("shrink", [(2, 3, 4), (1, 1, 1), (64, 64, 64)])
def test_samples_are_the_voxels_of_the_grids(tmp_path, volume, depth, shrink):
    kept = geometry(section_shrink=shrink, stack_shrink=shrink[::-1])
    samples = write(tmp_path / "s", kept, volume, depth)
    mask = volume > 30_000
    for index, (z_start, z_stop) in enumerate(SECTIONS):
        grid = SampleGrid.of((z_stop - z_start, *SHAPE[1:]), shrink)
        image, tissue = samples.section(index)
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image, volume[z_start:z_stop][grid.slices])
        np.testing.assert_array_equal(tissue, mask[z_start:z_stop][grid.slices])
    grid = SampleGrid.of(SHAPE, shrink[::-1])
    np.testing.assert_array_equal(samples.stack()[0], volume[grid.slices])
    np.testing.assert_array_equal(samples.stack()[1], mask[grid.slices])
    for plane in (0, 5, 6, 7, 16):
        np.testing.assert_array_equal(samples.end_plane(plane)[0], volume[plane, ::3, ::3])
        np.testing.assert_array_equal(samples.end_plane(plane)[1], mask[plane, ::3, ::3])
    assert samples.geometry == kept


def test_planes_that_were_not_given_are_noticed(tmp_path, volume):
    with (
        pytest.raises(RuntimeError, match=r"sections_image.npy: 1 planes were not given"),
        SampleWriter(tmp_path / "s", geometry()) as writer,
    ):
        writer.add("image", 0, volume[:16])


def test_an_error_while_reading_is_the_one_that_shows(tmp_path):
    with pytest.raises(OSError, match="disk"), SampleWriter(tmp_path / "s", geometry()):
        raise OSError("disk")


def test_writing_to_samples_is_not_writing_to_their_files(tmp_path, volume):
    samples = write(tmp_path / "s", geometry(), volume, 4)
    samples.stack()[0][:] = 0
    assert samples.stack()[0].any()
