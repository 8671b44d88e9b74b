import json
import re
from dataclasses import asdict

import numpy as np
import pytest

from linumpy.intensity.along_z import AlongZ
from linumpy.n4.grid import SampleGrid
from linumpy.stage.samples import SampleGeometry, Samples, SampleWriter

SHAPE = (17, 23, 31)
SECTIONS = ((0, 6), (6, 7), (7, 17))


def geometry(section_shrink=(2, 3, 4), stack_shrink=(5, 3, 2), plane_stride=3):
    return SampleGeometry(SHAPE, (0.01, 0.02, 0.03), SECTIONS, section_shrink, stack_shrink, plane_stride)


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
    planes = list(samples.planes())
    assert len(planes) == len(volume)
    for plane, (image, tissue) in enumerate(planes):
        np.testing.assert_array_equal(image, volume[plane, ::3, ::3])
        np.testing.assert_array_equal(tissue, mask[plane, ::3, ::3])
        np.testing.assert_array_equal(samples.plane(plane)[0], image)
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


READERS = {
    # what reads the file, and the first and the last row that it reads
    "sections": (lambda samples: samples.section(1), (3, 3)),
    "stack": (lambda samples: samples.stack(), (0, 2)),
    "planes": (lambda samples: samples.plane(6), (6, 6)),
}


def flip(path, position, bits=1):
    content = bytearray(path.read_bytes())
    content[position] ^= bits
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["image", "mask"])
@pytest.mark.parametrize("name", READERS)
def test_a_flipped_bit_is_noticed_before_use(tmp_path, volume, name, kind):
    write(tmp_path / "s", geometry(), volume, 4)
    path = tmp_path / "s" / f"{name}_{kind}.npy"
    n_rows, *size = geometry().plane_sets[name].shape
    row_bytes = np.prod(size) * (4 if kind == "image" else 1)
    whole = path.read_bytes()
    header = len(whole) - n_rows * row_bytes
    read, (first, last) = READERS[name]
    for row, position in ((first, header + first * row_bytes), (last, header + (last + 1) * row_bytes - 1)):
        flip(path, position)
        expected = rf"{re.escape(str(path))} is damaged \(sampled plane {row} of {n_rows} is not what was written\); "
        with pytest.raises(ValueError, match=expected + "remove the task folder that it lies in and run with -resume"):
            read(Samples(tmp_path / "s"))
        path.write_bytes(whole)
    read(Samples(tmp_path / "s"))


def test_a_section_is_read_without_the_others(tmp_path, volume):
    write(tmp_path / "s", geometry(), volume, 4)
    flip(tmp_path / "s" / "sections_image.npy", -1)
    samples = Samples(tmp_path / "s")
    samples.section(0)
    with pytest.raises(ValueError, match="is damaged"):
        samples.section(2)


@pytest.mark.parametrize("file", ["sections_image.npy", "stack_mask.npy", "planes_image.npy", "samples.json"])
def test_any_damage_to_a_header_is_noticed(tmp_path, volume, file):
    write(tmp_path / "s", geometry(), volume, 4)
    path = tmp_path / "s" / file
    whole = path.read_bytes()
    read, _ = READERS[file.split("_")[0]] if file != "samples.json" else (lambda samples: samples.geometry, None)
    for position in range(len(whole) if file == "samples.json" else whole.index(b"\n") + 1):
        flip(path, position, 1 << position % 8)
        with pytest.raises(ValueError, match=re.escape(f"{path} is damaged (")):
            read(Samples(tmp_path / "s"))
        path.write_bytes(whole)
    read(Samples(tmp_path / "s"))


@pytest.mark.parametrize("name", READERS)
def test_a_truncated_file_is_noticed(tmp_path, volume, name):
    write(tmp_path / "s", geometry(), volume, 4)
    path = tmp_path / "s" / f"{name}_image.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=re.escape(f"{path} is damaged (")):
        READERS[name][0](Samples(tmp_path / "s"))


def test_samples_of_a_version_without_digests_are_made_again(tmp_path, volume):
    write(tmp_path / "s", geometry(), volume, 4)
    path = tmp_path / "s" / "samples.json"
    path.write_text(json.dumps(asdict(geometry())))
    with pytest.raises(ValueError, match=r"samples.json is damaged .*; remove the task folder"):
        Samples(tmp_path / "s")


def test_unfinished_samples_are_none(tmp_path, volume):
    with pytest.raises(RuntimeError, match="not given"), SampleWriter(tmp_path / "s", geometry()) as writer:
        writer.add("image", 0, volume)
    with pytest.raises(FileNotFoundError, match=r"samples.json"):
        Samples(tmp_path / "s")


def test_a_level_along_z_that_was_changed_is_noticed(tmp_path, volume):
    folder = tmp_path / "s"
    write(folder, geometry(), volume, 4)
    nothing = np.zeros(3)
    found = AlongZ(nothing, nothing, nothing, nothing, (), np.zeros(3, np.int64), {})
    Samples(folder).keep_along_z(found)
    assert Samples(folder).along_z.to_dict() == found.to_dict()
    path = folder / "along_z.json"
    path.write_text(path.read_text().replace("0.0", "0.1", 1))
    with pytest.raises(ValueError, match=re.escape(f"{path} is damaged")):
        _ = Samples(folder).along_z
