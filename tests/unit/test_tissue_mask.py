"""The mask against the documented recipe computed plainly with SciPy and scikit-image."""

import logging
import time
import tracemalloc

import cv2
import numpy as np
import pytest
import zarr
from scipy import ndimage
from skimage.filters import threshold_otsu

from linumpy import gpu
from linumpy.intensity import mask_morphology
from linumpy.intensity.mask_kernels import count_bins, smooth_z
from linumpy.intensity.mask_morphology import NOT_TISSUE, close_along_z, disk, fill_and_close
from linumpy.intensity.mask_threshold import (
    KEY_SHIFT,
    N_KEYS,
    SectionHistogram,
    Tally,
    bin_edges,
    otsu_if_certain,
    otsu_of_counts,
)
from linumpy.intensity.sections import section_bounds
from linumpy.intensity.tissue_mask import compute_tissue_mask, mask_memory, stream_tissue_mask
from tests import device_arrays

cupy = device_arrays.cupy


def plain_mask(vol, smoothing_sigma, sections, closing_radius, z_closing, smoothing_sigma_z):
    """The recipe, whole in memory; also returns each voxel's relative distance to its threshold."""
    values = np.asarray(vol, np.float32)
    values = np.where(np.isfinite(values), values, np.float32(0))
    smoothed = ndimage.gaussian_filter(values, (smoothing_sigma_z, smoothing_sigma, smoothing_sigma))
    mask = np.zeros(vol.shape, bool)
    for start, stop in section_bounds(len(vol), sections):
        nonzero = smoothed[start:stop][smoothed[start:stop] != 0]
        if nonzero.size >= 100:
            mask[start:stop] = smoothed[start:stop] > threshold_otsu(nonzero)
    r = closing_radius
    for z, plane in enumerate(mask):
        plane = ndimage.binary_fill_holes(plane)
        wide = np.pad(plane, 2 * r + 2, mode="edge")
        if r:
            wide = ndimage.binary_closing(wide, disk(r))
        mask[z] = wide[2 * r + 2 : -2 * r - 2, 2 * r + 2 : -2 * r - 2]
    if z_closing:
        n = 2 * z_closing + 1
        pad = 2 * n
        tall = np.pad(mask, ((pad, pad), (0, 0), (0, 0)), mode="edge")
        mask = ndimage.binary_closing(tall, np.ones((n, 1, 1)))[pad:-pad]
    return mask


def acquisition(shape=(23, 61, 74), seed=0, dtype=np.float32):
    """A blob with a hole whose centre drifts and whose brightness changes between sections, with speckle."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    inside = ((y - shape[1] * 0.55 - z / 3) / 22) ** 2 + ((x - shape[2] * 0.4 - z / 2) / 25) ** 2 < 1
    inside &= ((y - 30) ** 2 + (x - 30) ** 2) > 30
    gain = np.linspace(1, 0.5, shape[0])[:, None, None] * (1 + 0.3 * (np.arange(shape[0]) // 5 % 2))[:, None, None]
    vol = (40 + 300 * inside * gain) * rng.gamma(4, 0.25, shape)
    return vol.astype(dtype)


CASES = {
    "defaults": (acquisition(), {}),
    "sections": (acquisition(), {"n_serial_slices": 4}),
    "unequal sections": (acquisition(), {"n_serial_slices": [(0, 1), (1, 9), (9, 12), (12, 23)]}),
    "one-plane sections": (acquisition((7, 50, 60)), {"n_serial_slices": 7}),
    "integers": (acquisition(dtype=np.uint16), {"n_serial_slices": 3}),
    "signed integers": (acquisition(dtype=np.int16) - np.int16(60), {"n_serial_slices": 3}),
    "doubles": (acquisition(dtype=np.float64), {"n_serial_slices": 2}),
    "no smoothing": (acquisition(), {"smoothing_sigma": 0, "smoothing_sigma_z": 0}),
    "wide smoothing, small volume": (acquisition((3, 9, 7)), {"smoothing_sigma": 4, "smoothing_sigma_z": 3}),
    "no closing": (acquisition(), {"closing_radius": 0, "z_closing_sections": 0, "n_serial_slices": 3}),
    "wide closing": (acquisition(), {"closing_radius": 9, "z_closing_sections": 6, "n_serial_slices": 3}),
    "closing beyond the volume": (acquisition((3, 20, 30)), {"closing_radius": 25, "z_closing_sections": 7}),
    "one plane": (acquisition((1, 60, 70)), {}),
    "zeros around": (acquisition() * (np.arange(74) > 20), {"n_serial_slices": 4}),
    "empty section": (
        acquisition() * ((np.arange(23) < 6) | (np.arange(23) > 17))[:, None, None],
        {"n_serial_slices": 4},
    ),
    "empty": (np.zeros((5, 20, 20), np.float32), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_the_plain_recipe(case):
    vol, options = CASES[case]
    settings = {
        "smoothing_sigma": 2.0,
        "n_serial_slices": 1,
        "closing_radius": 3,
        "z_closing_sections": 2,
        "smoothing_sigma_z": 1.0,
    } | options
    before = vol.copy()
    mask = compute_tissue_mask(vol, **settings)
    expected = plain_mask(vol, *settings.values())
    assert mask.dtype == bool
    assert mask.shape == vol.shape
    np.testing.assert_array_equal(vol, before)
    # Smoothed values differ by 3e-7 relative: fewer than 1e-5 of the voxels may cross the threshold:
    # none at these sizes.
    assert np.count_nonzero(mask != expected) <= 1e-5 * vol.size


def test_not_finite_voxels_count_as_zero():
    vol = acquisition()
    vol[5, 20:25, 20:25] = np.nan
    vol[9, 40, 40] = np.inf
    vol[12, 41, 40] = -np.inf
    expected = plain_mask(vol, 2.0, 3, 3, 2, 1.0)
    np.testing.assert_array_equal(compute_tissue_mask(vol, n_serial_slices=3), expected)


@pytest.mark.parametrize("method", ["otsu", "otsu_log", "robust"])
@pytest.mark.parametrize(("power", "dtype"), [(117, "f4"), (117, "f8"), (122, "f8"), (1000, "f8")])
def test_the_mask_of_large_values_is_that_of_small_ones(method, power, dtype):
    vol = acquisition().astype(dtype)
    vol[5, 20:25, 20:25] = np.nan
    vol[9, 40, 40] = np.inf
    expected = compute_tissue_mask(vol, n_serial_slices=3, method=method)
    assert expected.any()
    large = np.ldexp(vol, power)
    assert np.nanmax(large[np.isfinite(large)]) > 1.7e38
    np.testing.assert_array_equal(compute_tissue_mask(large, n_serial_slices=3, method=method), expected)


@pytest.mark.parametrize(("value", "dtype"), [(2e38, "f4"), (1e39, "f8"), (-2e38, "f4")])
@pytest.mark.parametrize("sections", [[(0, 23)], [(z, z + 1) for z in range(23)]])
def test_a_stream_refuses_what_is_too_large_for_its_sums(value, dtype, sections):
    vol = acquisition().astype(dtype)
    vol[3, 20:30, 20:30] = value
    with pytest.raises(ValueError, match="holds finite values beyond 1"):
        list(stream_tissue_mask(lambda z0, z1: vol[z0:z1], vol.shape, sections))


@pytest.mark.parametrize("kind", ["frozen", "mapped", "unaligned"])
def test_volumes_that_cannot_be_written_are_read(tmp_path, kind):
    vol = acquisition()
    if kind == "frozen":
        given = vol.copy()
        given.flags.writeable = False
    elif kind == "mapped":
        np.save(tmp_path / "vol.npy", vol)
        given = np.load(tmp_path / "vol.npy", mmap_mode="r")
    else:
        given = np.frombuffer(b"." + vol.tobytes(), np.float32, offset=1).reshape(vol.shape)
    blocks = stream_tissue_mask(lambda z0, z1: given[z0:z1], vol.shape, [(0, 23)])
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), compute_tissue_mask(vol))


@pytest.mark.parametrize("method", ["otsu", "otsu_log", "robust"])
def test_blocks_threads_and_memory_change_no_bit(method):
    vol = acquisition()
    sections = [(0, 4), (4, 5), (5, 16), (16, 23)]
    expected = compute_tissue_mask(vol, n_serial_slices=sections, method=method, workers=1)
    for workers, block_planes, max_bytes in [
        (1, 1, None),
        (2, 3, 1),
        (3, 7, 1),
        (2, 23, 0),
        (2, 5, 220_000_000),
    ]:
        blocks = list(
            stream_tissue_mask(
                lambda z0, z1: vol[z0:z1],
                vol.shape,
                sections,
                method=method,
                workers=workers,
                block_planes=block_planes,
                max_bytes=max_bytes,
            )
        )
        assert [z for z, _ in blocks] == list(np.cumsum([0] + [len(block) for _, block in blocks[:-1]]))
        np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), expected)


def test_sections_that_do_not_fit_are_read_twice_and_say_so():
    vol = acquisition((24, 60, 70))
    sections = [(0, 4), (4, 20), (20, 24)]
    limit = mask_memory(vol.shape, sections, workers=1, block_planes=2, itemsize=2).bytes - 1
    assert mask_memory(vol.shape, sections, workers=1, block_planes=2, itemsize=2, max_bytes=limit).reads == 2
    planes_read = np.zeros(24, int)

    def read(z0, z1):
        planes_read[z0:z1] += 1
        return vol[z0:z1]

    found = []
    settings = {"method": "otsu_log", "workers": 1, "block_planes": 2, "itemsize": 2}
    for _ in stream_tissue_mask(read, vol.shape, sections, max_bytes=limit, on_section=found.append, **settings):
        pass
    assert [section.reads for section in found] == [1, 2, 1]
    halo = 4  # of a standard deviation of 1 plane
    assert planes_read.tolist() == [1 + (4 - halo <= z < 20 + halo) for z in range(24)]


def test_a_thin_section_is_kept_where_reading_it_again_would_take_more():
    vol = acquisition((24, 60, 70))
    sections = [(0, 12), (12, 24)]
    settings = {"workers": 1, "block_planes": 8, "itemsize": 4}
    assert mask_memory(vol.shape, sections, max_bytes=0, **settings).reads == 1
    found = []
    for _ in stream_tissue_mask(lambda z0, z1: vol[z0:z1], vol.shape, sections, max_bytes=0, on_section=found.append):
        pass
    assert [section.reads for section in found] == [1, 1]


def test_reads_come_from_one_thread_at_a_time_and_end_at_multiples_of_the_block():
    vol = acquisition((24, 60, 70))
    vol[:8] = 50 * np.random.default_rng(0).gamma(4, 0.25, (8, 60, 70))  # makes `robust` look ahead
    busy, overlaps, stops = [], [], []

    def read(z0, z1):
        overlaps.append(bool(busy))
        busy.append(1)
        stops.append(z1)
        time.sleep(0.002)
        busy.pop()
        return vol[z0:z1]

    sections = section_bounds(24, 6)
    for _ in stream_tissue_mask(read, vol.shape, sections, method="robust", max_bytes=0, block_planes=4, workers=2):
        pass
    assert not any(overlaps)
    assert all(stop % 4 == 0 for stop in stops)


@pytest.mark.parametrize(("sections", "reads"), [(12, 1), (2, 2)])
def test_memory_stays_within_what_is_told_also_where_sections_are_looked_at_ahead(sections, reads):
    shape = (48, 500, 600)
    vol = acquisition(shape)
    first = 50 * np.random.default_rng(0).gamma(4, 0.25, (48 // sections, *shape[1:]))
    vol[: len(first)] = first  # a section that cannot be trusted
    bounds = section_bounds(48, sections)
    settings = {"method": "robust", "workers": 1, "block_planes": 2, "itemsize": vol.itemsize, "max_bytes": 0}
    told = mask_memory(shape, bounds, **settings)
    found = []
    tracemalloc.start()
    try:
        for _ in stream_tissue_mask(
            lambda z0, z1: vol[z0:z1].copy(), shape, bounds, on_section=found.append, **settings
        ):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found[0].borrowed_from == 1
    assert (told.reads, found[-1].reads) == (reads, reads + (reads == 2))  # looking ahead is one more
    tally = 8 * N_KEYS
    assert 0.6 < (peak - tally) / (told.bytes - 2 * tally) < 1.1  # of the second histogram little is touched


def test_masks_that_overlap_leave_opencv_its_threads():
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    vol = acquisition((6, 30, 40))
    try:
        first, second = (stream_tissue_mask(lambda z0, z1: vol[z0:z1], vol.shape, [(0, 3), (3, 6)]) for _ in range(2))
        next(first)
        next(second)
        first.close()
        assert cv2.getNumThreads() == 1
        second.close()
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize(
    "name", ["smoothing_sigma", "smoothing_sigma_z", "closing_radius", "z_closing_sections", "workers"]
)
@pytest.mark.parametrize("wrong", ["2", True, 1j, [2], np.array([2], object)], ids=repr)
def test_refuses_settings_that_are_no_real_number(name, wrong):
    with pytest.raises(ValueError, match=f"^{name} is "):
        compute_tissue_mask(acquisition((3, 20, 30)), **{name: wrong})


@pytest.mark.parametrize("kind", [bool, complex, object, str])
def test_refuses_volumes_that_are_not_of_real_numbers(kind):
    with pytest.raises(TypeError, match="give real numbers"):
        compute_tissue_mask(np.ones((3, 20, 30)).astype(kind))


def test_an_error_of_the_reader_reaches_the_caller():
    def read(z0, z1):
        raise OSError("chunk 0/0/0 is truncated")

    with pytest.raises(OSError, match="truncated"):
        next(stream_tissue_mask(read, (4, 5, 6), [(0, 4)]))


@pytest.mark.parametrize("seed", range(40))
def test_the_fine_histogram_gives_the_threshold_of_scikit_image_or_none(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(200, 20000))
    values = np.concatenate(
        [
            rng.gamma(rng.uniform(1, 50), rng.uniform(0.1, 9), n),
            rng.normal(rng.uniform(-50, 400), rng.uniform(1, 90), int(n * rng.uniform(0.05, 2))),
        ]
    ).astype(np.float32)
    tally = Tally()
    one = np.ones(1, np.float32)
    smooth_z(values[None, None], np.array([0]), one, values[None], tally.counts, tally.extremes, KEY_SHIFT)
    histogram = SectionHistogram.of([tally])
    assert histogram.n_voxels == values.size
    assert (histogram.minimum, histogram.maximum) == (values.min(), values.max())
    expected = threshold_otsu(values)
    assert otsu_if_certain(histogram) in (None, expected)
    edges = bin_edges(histogram.minimum, histogram.maximum)
    counts = np.zeros(256, np.int64)
    count_bins(values[None], edges, counts)
    np.testing.assert_array_equal(counts, np.histogram(values, edges)[0])
    assert otsu_of_counts(counts, edges) == expected


def test_the_fine_histogram_is_certain_of_the_real_volumes_thresholds(test_data):
    group = zarr.open_group(test_data / "cortex_3sections.ome.zarr", mode="r")
    found = []
    vol = group["0"][:]
    for _ in stream_tissue_mask(
        lambda z0, z1: vol[z0:z1],
        vol.shape,
        section_bounds(30, 3),
        smoothing_sigma_z=0.5,  # a short reach along Z: keeping a section takes more than reading it again
        max_bytes=0,
        block_planes=1,
        itemsize=2,
        on_section=found.append,
    ):
        pass
    assert [section.reads for section in found] == [2, 2, 2]


def test_fewer_than_100_smoothed_voxels_are_no_tissue():
    vol = np.zeros((1, 50, 50), np.float32)
    vol[0, 10:20, 10:20] = 7 + np.arange(100).reshape(10, 10)
    settings = {"smoothing_sigma": 0, "smoothing_sigma_z": 0, "closing_radius": 0, "z_closing_sections": 0}
    assert compute_tissue_mask(vol, **settings).any()
    vol[0, 10, 10] = 0
    assert not compute_tissue_mask(vol, **settings).any()


@pytest.mark.parametrize("level", [1e6, 4095])
@pytest.mark.parametrize("step", [0, 1])
def test_a_bright_section_without_contrast_has_no_tissue(level, step):
    vol = np.full((4, 40, 40), level, np.float32)
    vol[2, 20, 20] -= step  # single precision has no 256 values between this and the rest, smoothed
    assert not compute_tissue_mask(vol).any()


def test_a_closing_removes_no_tissue_at_any_face():
    vol = np.full((6, 40, 50), 10, np.float32)
    vol[:2, :12, :15] = vol[-1, -9:, -11:] = 500
    settings = {"smoothing_sigma": 0, "smoothing_sigma_z": 0}
    opened = compute_tissue_mask(vol, closing_radius=0, z_closing_sections=0, **settings)
    closed = compute_tissue_mask(vol, closing_radius=6, z_closing_sections=1, **settings)
    assert opened.sum() == 2 * 12 * 15 + 9 * 11
    np.testing.assert_array_equal(closed, opened)  # both pieces are convex, and 3 planes lie between them


@pytest.mark.parametrize("shape", [(50, 50), (1, 70), (37, 5)])
def test_wide_disks_close_as_if_moved_over_the_plane(shape, monkeypatch):
    rng = np.random.default_rng(3)
    planes = [(rng.uniform(size=shape) < share).astype(np.uint8) for share in (0.005, 0.02, 0.1)]
    planes += [np.ones(shape, np.uint8), np.eye(*shape, dtype=np.uint8)]
    for radius in (33, 47, 90):
        fast = [fill_and_close(plane, radius) for plane in planes]
        with monkeypatch.context() as patch:
            patch.setattr(mask_morphology, "MAX_DISTANCES", 0)
            np.testing.assert_array_equal(fast, [fill_and_close(plane, radius) for plane in planes])


def test_a_disk_wider_than_swept_is_not_moved_over_a_small_plane(monkeypatch):
    monkeypatch.setattr(cv2, "morphologyEx", None)
    assert fill_and_close(np.eye(50, dtype=np.uint8), 400).any()


@pytest.mark.parametrize("n_planes", [1, 2, 7])
def test_a_closing_along_z_beyond_the_volume_costs_no_more(n_planes, monkeypatch):
    rng = np.random.default_rng(5)
    planes = rng.choice(np.array([0, 0, 0, 1, 2], np.uint8), (n_planes, 30, 40))
    combined = []
    original = mask_morphology._combined
    monkeypatch.setattr(mask_morphology, "_combined", lambda f, ps: combined.append(len(ps)) or original(f, ps))
    for reach in (n_planes - 1, n_planes, 5000):
        combined.clear()
        closed = list(close_along_z(planes, n_planes, reach))
        before = np.bitwise_or.accumulate(planes & 1)
        after = np.bitwise_or.accumulate((planes & 1)[::-1])[::-1]
        np.testing.assert_array_equal(closed, before & after & (planes != NOT_TISSUE))
        assert len(combined) <= 4 * n_planes
    told = [mask_memory((10, 50, 60), [(0, 10)], z_closing_sections=reach).bytes for reach in (9, 5000)]
    assert told[0] == told[1]


def test_small_pieces_are_dropped():
    vol = np.full((2, 40, 50), 10, np.float32)
    vol[:, 5:25, 5:25] = 500
    vol[:, 30:33, 40:43] = 500
    settings = {"smoothing_sigma": 0, "smoothing_sigma_z": 0, "closing_radius": 0}
    assert compute_tissue_mask(vol, **settings)[0].sum() == 409
    assert compute_tissue_mask(vol, min_size=9, **settings)[0].sum() == 409
    assert compute_tissue_mask(vol, min_size=10, **settings)[0].sum() == 400
    assert compute_tissue_mask(vol, largest=1, **settings)[0].sum() == 400
    assert compute_tissue_mask(vol, largest=2, **settings)[0].sum() == 409


@pytest.mark.usefixtures("cupy")
def test_chunks_on_a_gpu_have_their_halos():
    vol = acquisition()
    vol[3, 20:30, 20:30] = np.nan
    expected = compute_tissue_mask(vol, n_serial_slices=4)
    for block_planes in (1, 3, 23):
        blocks = stream_tissue_mask(
            lambda z0, z1: vol[z0:z1],
            vol.shape,
            section_bounds(23, 4),
            use_gpu=True,
            block_planes=block_planes,
            max_bytes=0,
        )
        np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), expected)


def test_without_a_gpu_the_mask_is_the_cpus_and_only_a_debug_line_says_so(monkeypatch, caplog):
    monkeypatch.setattr(gpu, "_gpu_available", lambda: False)
    vol = acquisition((9, 40, 40))
    with caplog.at_level(logging.DEBUG, "linumpy"):
        mask = compute_tissue_mask(vol, use_gpu=True)
    np.testing.assert_array_equal(mask, compute_tissue_mask(vol))
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]
    assert "CPU" in caplog.text


@pytest.mark.gpu
def test_a_gpu_gives_the_mask_of_the_cpu():
    vol = acquisition()
    difference = compute_tissue_mask(vol, n_serial_slices=4, use_gpu=True) != compute_tissue_mask(
        vol, n_serial_slices=4
    )
    # Single precision in another order: a few voxels lie within rounding of the threshold at most.
    assert np.count_nonzero(difference) <= 1e-4 * vol.size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothing_sigma": -1}, "smoothing_sigma is -1"),
        ({"smoothing_sigma_z": np.nan}, "smoothing_sigma_z is nan"),
        ({"closing_radius": 1.5}, "closing_radius is 1.5"),
        ({"z_closing_sections": -2}, "z_closing_sections is -2"),
        ({"method": "magic"}, "'magic' is unknown; choose one of otsu, otsu_log, robust"),
        ({"workers": 0}, "workers is 0"),
        ({"workers": 1.5}, "workers is 1.5"),
        ({"n_serial_slices": 9}, "9 sections do not fit 4 planes"),
    ],
)
def test_wrong_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        compute_tissue_mask(np.ones((4, 5, 6), np.float32), **options)


def test_whole_numbers_may_be_floats():
    vol = acquisition()
    whole = compute_tissue_mask(vol, closing_radius=3, z_closing_sections=2, largest=1, workers=1)
    floats = compute_tissue_mask(vol, closing_radius=3.0, z_closing_sections=2.0, largest=1.0, workers=1.0)
    np.testing.assert_array_equal(floats, whole)


def test_wrong_volumes_are_named():
    with pytest.raises(ValueError, match="2 axes"):
        compute_tissue_mask(np.ones((4, 5)))
    with pytest.raises(TypeError, match="complex"):
        compute_tissue_mask(np.ones((4, 5, 6), complex))
