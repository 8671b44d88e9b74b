"""Plan of levels, chunks and shards; means over bins."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linumpy.io.downsample import downsample
from linumpy.io.pyramid import PyramidLayout


def test_anisotropic_volume_becomes_isotropic_first():
    layout = PyramidLayout.plan((200, 2000, 3000), "float32", (5.0, 1.0, 1.0), translation=(10.0, 20.0, 30.0))
    # 5 x 1 x 1, 5 x 2 x 2, 5 x 4 x 4 (5 <= 1.5 * 4: z joins), 10 x 8 x 8, 20 x 16 x 16
    assert [level.total_factor for level in layout.levels] == [
        (1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8), (4, 16, 16),
    ]  # fmt: skip
    assert [level.scale for level in layout.levels][-1] == (20.0, 16.0, 16.0)
    # the first bin of 4 x 16 x 16 voxels is centred 1.5, 7.5 and 7.5 voxels from the first voxel
    assert layout.levels[-1].translation == (10.0 + 1.5 * 5, 27.5, 37.5)
    assert layout.levels[-1].shape == (50, 125, 188)
    assert max(layout.levels[-1].shape) <= 256 < max(layout.levels[-2].shape)


SHAPES = [
    (30, 510, 667),
    (176, 104, 97),
    (1, 5000, 5000),
    (512, 700, 700),
    (9000, 20, 20),
    (1, 1, 1),
    (2000, 9000, 9000),
    (80, 4000, 4000),
]


@pytest.mark.parametrize(("shape", "dtype"), list(itertools.product(SHAPES, ["bool", "uint16", "float32", "float64"])))
def test_chunks_and_shards_are_of_the_size_asked_for(shape, dtype):
    layout = PyramidLayout.plan(shape, dtype, (1.0, 1.0, 1.0))
    for level in layout.levels:
        chunk_bytes = math.prod(level.chunks) * layout.stored_dtype.itemsize
        assert chunk_bytes <= 4 << 20
        assert chunk_bytes >= 2 << 20 or level.chunks == level.shape
        assert all(c <= n for c, n in zip(level.chunks, level.shape, strict=True))
        assert all(s % c == 0 for s, c in zip(level.shards, level.chunks, strict=True))
        assert all(s < n + c for s, n, c in zip(level.shards, level.shape, level.chunks, strict=True))
        assert math.prod(level.shards) * layout.stored_dtype.itemsize <= 64 << 20
    finest = layout.levels[0]
    if math.prod(shape) * layout.stored_dtype.itemsize > 1 << 30:
        # no more than one file for 64 MB, half of them may be cut by the end of the volume
        assert finest.n_files < 2 * math.prod(shape) * layout.stored_dtype.itemsize / (64 << 20)


def test_files_of_a_terabyte_stay_few():
    layout = PyramidLayout.plan((2000, 10000, 12000), "float32", (1.0, 1.0, 1.0))
    # 64 MiB a file, decoded: twice that would cost every task 250 MiB more.
    assert sum(level.n_files for level in layout.levels) < 20_000


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("planes", [9, 10, 13, 40, 80])
def test_files_of_large_voxels_cut_no_bin(planes, version):
    layout = PyramidLayout.plan((planes, 5000, 5000), "float64", (1.0, 1.0, 1.0), ome_zarr_version=version)
    for finer, coarser in itertools.pairwise(layout.levels):
        rows = zip(finer.file_grid, finer.shape, coarser.factor, strict=True)
        assert all(size % factor == 0 or size >= n for size, n, factor in rows)


@pytest.mark.parametrize("shape", SHAPES)
def test_layout_survives_json(shape):
    layout = PyramidLayout.plan(shape, "float32", (3.0, 1.0, 1.0), translation=(0.1, 0.2, 0.3))
    assert PyramidLayout.from_dict(json.loads(json.dumps(layout.to_dict()))) == layout


def test_slabs_own_rows_that_are_wholly_theirs():
    layout = PyramidLayout.plan(
        (100, 600, 600), "float32", (1.0, 1.0, 1.0), chunks=(16, 128, 128), shards=(32, 256, 256)
    )
    assert [level.row_depth for level in layout.levels] == [32, 16, 16]
    assert layout.levels[0].n_rows == 4
    slabs = [(0, 32), (32, 96), (96, 100)]
    assert [layout.slab_rows(0, *slab) for slab in slabs] == [range(1), range(1, 3), range(3, 4)]
    assert [layout.slab_rows(1, *slab) for slab in slabs] == [range(1), range(1, 3), range(3, 4)]
    # rows of level 2 take 64 planes: 0 to 64 is split between two slabs, 64 to 100 too
    assert [len(layout.slab_rows(2, *slab)) for slab in slabs] == [0, 0, 0]
    assert layout.n_complete_levels(slabs) == 2
    assert layout.n_complete_levels([(0, 64), (64, 100)]) == 3
    assert layout.n_complete_levels([(0, 64)]) == 0


@pytest.mark.parametrize(
    ("kwargs", "fault"),
    [
        ({"ome_zarr_version": "0.3"}, "give '0.4' or '0.5'"),
        ({"ome_zarr_version": "0.4", "shards": (16, 256, 256)}, "0.4 has none"),
        ({"chunks": (16, 64, 64), "shards": (16, 96, 128)}, "no multiples"),
        ({"chunks": (16, 75, 64), "shards": False}, "cut the bins"),
        ({"dtype": "complex64"}, "dtype complex64"),
        ({"shape": (0, 3, 4)}, "at least 1"),
    ],
)
def test_plans_that_do_not_fit(kwargs, fault):
    arguments = {"shape": (40, 600, 600), "dtype": "float32", "voxel_size": (1.0, 1.0, 1.0)} | kwargs
    with pytest.raises(ValueError, match=fault):
        PyramidLayout.plan(**arguments)


def plain_means(block: np.ndarray, factor) -> np.ndarray:
    """The definition, bin by bin."""
    shape = [-(-n // f) for n, f in zip(block.shape, factor, strict=True)]
    result = np.empty(shape, np.float64)
    for index in np.ndindex(*shape):
        bin_ = block[tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, factor, strict=True))]
        result[index] = bin_.astype(np.float64).mean()
    return result


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*(st.integers(1, 7),) * 3),
    factor=st.tuples(*(st.sampled_from([1, 2]),) * 3),
    dtype=st.sampled_from(["bool", "uint8", "int16", "uint16", "int32", "uint64", "float32", "float64"]),
    seed=st.integers(0, 1000),
)
def test_means_of_bins(shape, factor, dtype, seed):
    rng = np.random.default_rng(seed)
    block = (rng.random(shape) * 250 - (125 if np.dtype(dtype).kind in "if" else 0)).astype(dtype)
    if dtype == "bool":
        block = rng.random(shape) > 0.5
    means = plain_means(block, factor)
    result = downsample(block, factor)
    assert result.dtype == block.dtype
    if dtype == "bool":
        np.testing.assert_array_equal(result, means >= 0.5)
    elif np.dtype(dtype).kind in "ui":
        np.testing.assert_array_equal(result, np.rint(means).astype(dtype))  # sums of small integers are exact
    else:
        np.testing.assert_allclose(result, means, rtol=1e-6, atol=1e-4)  # a few roundings of values up to 125


def test_same_bits_whatever_the_block():
    rng = np.random.default_rng(0)
    volume = (rng.standard_normal((13, 301, 517)) * 1000).astype(np.float32)
    whole = downsample(volume, 2)
    for z, y, x in [(0, 0, 0), (4, 10, 200), (12, 298, 514), (2, 100, 2)]:
        part = downsample(volume[z:, y:, x:], 2)
        np.testing.assert_array_equal(part, whole[z // 2 :, y // 2 :, x // 2 :])
    np.testing.assert_array_equal(downsample(volume, (4, 4, 4)), downsample(whole, 2))
    np.testing.assert_array_equal(downsample(np.asfortranarray(volume), 2), whole)


def test_extremes_of_integers_are_kept():
    for dtype in ("uint8", "int8", "uint16", "int16", "int32", "uint32"):
        for value in (np.iinfo(dtype).min, np.iinfo(dtype).max):
            assert (downsample(np.full((3, 3, 3), value, dtype), 2) == value).all()
    assert downsample(np.full((2, 2, 2), 2**63 - 1, "int64"), 2)[0, 0, 0] > 2**63 - 2049  # spacing of doubles there
    assert downsample(np.array([[[0, 1, 2, 3, 4, 5]]], "uint8"), (1, 1, 2)).tolist() == [[[0, 2, 4]]]  # half to even


def test_not_a_number_stays_in_its_bin():
    volume = np.ones((4, 4, 4), np.float32)
    volume[0, 0, 0] = np.nan
    result = downsample(volume, 2)
    assert np.isnan(result[0, 0, 0])
    assert np.isfinite(result).sum() == 7


@pytest.mark.parametrize("factor", [3, (1, 2), (0, 1, 1)])
def test_factors_that_are_no_powers_of_two(factor):
    with pytest.raises(ValueError, match="powers of two"):
        downsample(np.zeros((4, 4, 4)), factor)
