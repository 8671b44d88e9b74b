import numpy as np
import pytest

from linumpy.stage.statistics import (
    SlabStatistics,
    histogram_of,
    histogram_percentiles,
    picture_bin,
    sample_stride,
)


@pytest.fixture(scope="module")
def volume():
    return np.random.default_rng(3).gamma(4, 50, (9, 70, 83)).astype(np.float32)


def gather(volume, mask, blocks, z_start=0, z_stop=None):
    statistics = SlabStatistics(volume.shape, z_start, z_stop or len(volume))
    for z, y, x in blocks:
        at = (slice(max(z.start, z_start), min(z.stop, statistics.z_stop)), y, x)
        if at[0].start < at[0].stop:
            block = volume[at]
            statistics.add((at[0].start, y.start, x.start), block, 2 * block, mask[at])
    return statistics


def blocks_of(shape, size):
    return [
        tuple(slice(a, min(a + s, n)) for a, s, n in zip((z, y, x), size, shape, strict=True))
        for z in range(0, shape[0], size[0])
        for y in range(0, shape[1], size[1])
        for x in range(0, shape[2], size[2])
    ]


@pytest.mark.parametrize(("n_samples", "n_pixels"), [(65_536, 600), (700, 17)])
def test_blocks_and_slabs_change_nothing(volume, monkeypatch, n_samples, n_pixels):
    monkeypatch.setattr("linumpy.stage.statistics.PLANE_SAMPLES", n_samples)
    monkeypatch.setattr("linumpy.stage.statistics.PICTURE_PIXELS", n_pixels)
    mask = volume > 150
    whole = gather(volume, mask, blocks_of(volume.shape, volume.shape))
    parts = gather(volume, mask, reversed(blocks_of(volume.shape, (4, 16, 33))))
    assert parts.planes() == whole.planes()
    assert parts.histogram() == whole.histogram()
    for name, picture in whole.pictures().items():
        np.testing.assert_array_equal(parts.pictures()[name], picture)
    slabs = [gather(volume, mask, blocks_of(volume.shape, (4, 16, 33)), a, b) for a, b in ((0, 4), (4, 9))]
    assert [p for slab in slabs for p in slab.planes()["median_after"]] == whole.planes()["median_after"]
    zx = np.concatenate([slab.pictures()["zx_before"] for slab in slabs])
    np.testing.assert_array_equal(zx, whole.pictures()["zx_before"])
    assert [("yx_before" in slab.pictures()) for slab in slabs] == [False, True]


def test_medians_are_those_of_the_tissue(volume):
    mask = volume > 150
    mask[3] = False
    planes = gather(volume, mask, blocks_of(volume.shape, (4, 16, 33))).planes()
    stride = sample_stride(volume.shape)
    assert stride == 1
    expected = [
        float(np.median(plane[tissue])) if tissue.any() else None for plane, tissue in zip(volume, mask, strict=True)
    ]
    assert planes["median_before"] == expected
    assert planes["median_before"][3] is None
    assert planes["sampled"] == np.count_nonzero(mask, axis=(1, 2)).tolist()


def test_a_picture_is_the_mean_over_its_bins(volume, monkeypatch):
    monkeypatch.setattr("linumpy.stage.statistics.PICTURE_PIXELS", 17)
    p = picture_bin(volume.shape)
    assert p == 5
    picture = gather(volume, volume > 0, blocks_of(volume.shape, (4, 16, 33))).pictures()["zx_before"]
    row = 70 // 2 // p * p
    expected = volume[:, row : row + p, 10:15].astype(np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(picture[:, 2], expected, rtol=1e-6)
    last = volume[:, row : row + p, 80:].astype(np.float64).mean(axis=(1, 2))  # a bin cut off by the edge
    np.testing.assert_allclose(picture[:, -1], last, rtol=1e-6)


def test_histograms_merge_and_give_percentiles():
    values = np.random.default_rng(0).normal(5, 100, 20_001).astype(np.float32)
    halves = [histogram_of(values[:9_000]), histogram_of(values[9_000:])]
    percentiles = [0, 1, 30, 50, 99, 100]
    found = histogram_percentiles(halves, percentiles)
    # A bin is 2**-8 of its value wide.
    np.testing.assert_allclose(found, np.percentile(values, percentiles), rtol=2**-7, atol=0.05)
    assert found == sorted(found)


def test_an_empty_histogram_has_percentiles_too():
    assert histogram_percentiles([histogram_of(np.full(4, np.nan, np.float32))], [1, 99]) == [0.0, 0.0]
