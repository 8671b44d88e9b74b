"""Ratios and histograms of planes, from stacks whose levels are known."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from linumpy.intensity.plane_kernels import huber_mean
from linumpy.intensity.plane_ratios import (
    BIN,
    MIN_TISSUE,
    N_BINS,
    Plane,
    PlaneRatios,
    histogram_medians,
    histogram_shifts,
    plane_ratios,
)

LEVELS = np.array([0.0, 0.2, -0.3, 0.1, 0.15, -0.05])
SHAPE = (60, 80)


def _anatomy(seed: int = 0) -> npt.NDArray[np.float32]:
    y, x = (np.linspace(0, 1, n) for n in SHAPE)
    scene = 1 + 0.5 * (np.sin(9 * y)[:, None] * np.cos(7 * x)[None, :] > 0)
    return (100 * scene + 3 * np.random.default_rng(seed).standard_normal(SHAPE)).astype(np.float32)


def _disc() -> npt.NDArray[np.bool_]:
    y, x = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return (y - 30) ** 2 + (x - 40) ** 2 < 25**2  # type: ignore[no-any-return]


def _planes(mask: npt.NDArray[np.bool_] | None = None, noise: float = 0.0, seed: int = 0) -> Iterator[Plane]:
    rng, scene = np.random.default_rng(seed), _anatomy()
    for level in LEVELS:
        plane = scene * np.exp(level + noise * rng.standard_normal(SHAPE))
        yield plane.astype(np.float32), (_disc() if mask is None else mask)


def _assert_like_levels(found: PlaneRatios) -> None:
    expected = LEVELS[found.last] - LEVELS[found.first]
    np.testing.assert_allclose(found.log_ratio, expected, atol=1e-5)


def test_known_ratios() -> None:
    found = plane_ratios(_planes())
    assert found.first.tolist() == [0, 1, 2, 3, 4]
    assert found.last.tolist() == [1, 2, 3, 4, 5]
    _assert_like_levels(found)
    assert (found.error < 1e-5).all()
    assert found.histograms.shape == (6, N_BINS)
    assert (found.histograms.sum(axis=1) == found.tissue).all()
    # The rim of the disc is no whole tissue.
    assert 0.8 * _disc().sum() < found.tissue[0] < _disc().sum()


def test_what_is_no_tissue_does_not_count() -> None:
    def planes() -> Iterator[Plane]:
        for i, (image, mask) in enumerate(_planes()):
            image[~mask] = 1e4 * (i + 1)
            yield image, mask

    _assert_like_levels(plane_ratios(planes()))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -5.0])
def test_voxels_without_a_logarithm_do_not_count(value: float) -> None:
    def planes() -> Iterator[Plane]:
        for i, (image, mask) in enumerate(_planes()):
            if i in (1, 4):
                image[20:30, 30:45] = value
            yield image, mask

    found = plane_ratios(planes())
    assert np.isfinite(found.log_ratio).all()
    _assert_like_levels(found)
    assert found.tissue[1] < found.tissue[0]


def test_plane_without_tissue_is_skipped() -> None:
    def planes() -> Iterator[Plane]:
        for i, (image, mask) in enumerate(_planes()):
            yield image, np.zeros_like(mask) if i in (0, 3) else mask

    found = plane_ratios(planes())
    assert (found.first.tolist(), found.last.tolist()) == ([1, 2, 4], [2, 4, 5])
    _assert_like_levels(found)
    assert found.tissue[[0, 3]].tolist() == [0, 0]
    assert not found.histograms[[0, 3]].any()


def test_planes_that_share_no_tissue_have_no_ratio() -> None:
    left, right = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    left[:, :40] = True
    right[:, 40:] = True

    def planes() -> Iterator[Plane]:
        for i, (image, _) in enumerate(_planes()):
            yield image, left if i < 3 else right

    found = plane_ratios(planes())
    assert (found.first.tolist(), found.last.tolist()) == ([0, 1, 3, 4], [1, 2, 4, 5])


@pytest.mark.parametrize("planes", [0, 1])
def test_too_few_planes(planes: int) -> None:
    found = plane_ratios(list(_planes())[:planes])
    assert len(found.log_ratio) == 0
    assert found.tissue.shape == (planes,)
    assert found.histograms.shape == (planes, N_BINS)


def test_structures_that_begin_between_planes_count_little() -> None:
    def planes() -> Iterator[Plane]:
        for i, (image, mask) in enumerate(_planes(noise=0.05)):
            if i >= 2:
                image[25:35, 35:45] *= 2
            yield image, mask

    found = plane_ratios(planes())
    # 5 % of the tissue is twice as bright: the mean of all would move by 0.035.
    assert found.log_ratio[1] == pytest.approx(LEVELS[2] - LEVELS[1], abs=0.01)


def test_errors_are_those_of_the_scatter() -> None:
    scores = []
    for seed in range(30):
        found = plane_ratios(_planes(noise=0.1, seed=seed))
        scores.append((found.log_ratio - np.diff(LEVELS)) / found.error)
    assert 0.7 < np.sqrt(np.mean(np.square(scores))) < 1.4


def test_histogram_shifts_are_the_levels() -> None:
    found = plane_ratios(_planes(noise=0.05))
    shifts = histogram_shifts(found.histograms, np.zeros(6))
    np.testing.assert_allclose(shifts, LEVELS - np.median(LEVELS), atol=0.01)


def test_histogram_shifts_come_beside_what_is_known() -> None:
    found = plane_ratios(_planes(noise=0.05))
    left = np.array([0.0, 0.04, 0.0, -0.06, 0.0, 0.0])
    shifts = histogram_shifts(found.histograms, LEVELS - left)
    np.testing.assert_allclose(shifts, left, atol=0.01)


def test_a_rim_of_dark_tissue_is_no_level() -> None:
    """At the ends of a brain much of a plane is dark rim; its classes stay where they are."""
    rng = np.random.default_rng(0)
    grey, white = 480 + 5 * rng.standard_normal((6, 4000)), 510 + 5 * rng.standard_normal((6, 4000))
    histograms = np.zeros((6, N_BINS), np.uint32)
    for z in range(6):
        rim = 475 - rng.exponential(15, 1500 if z > 3 else 100)
        values = np.concatenate([grey[z], white[z, : 1000 if z > 3 else 4000], rim])
        histograms[z] = np.bincount(values.astype(int), minlength=N_BINS)
    assert np.abs(histogram_shifts(histograms, np.zeros(6))).max() < 0.025


def test_histograms_of_planes_without_tissue_tell_nothing() -> None:
    histograms = np.zeros((3, N_BINS), np.uint32)
    histograms[0, 500] = histograms[2, 505] = 10 * MIN_TISSUE
    histograms[1, 500] = MIN_TISSUE - 1
    shifts = histogram_shifts(histograms, np.zeros(3))
    assert np.isnan(shifts).tolist() == [False, True, False]
    assert shifts[2] - shifts[0] == pytest.approx(5 * BIN, abs=0.01)
    assert np.isnan(histogram_shifts(np.zeros((2, N_BINS), np.uint32), np.zeros(2))).all()


def test_medians_of_histograms() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(20 + 5 * LEVELS[:, None], 2, (6, 20001)) / 2
    histograms = np.stack([np.bincount(np.floor(10 * row).astype(int), minlength=N_BINS) for row in values])
    np.testing.assert_allclose(
        histogram_medians(histograms.astype(np.uint32)) / BIN / 10, np.median(values, axis=1), atol=0.005
    )


@pytest.mark.parametrize("n", [1, 7, 8, 50, 129, 1000, 4099])
def test_the_compiled_mean_has_the_bits_of_numpy(n: int) -> None:
    rng = np.random.default_rng(n)
    data, blocks = rng.standard_t(2, n), rng.integers(0, 9, n)
    mean = first = float(np.median(data))
    for _ in range(8):
        influence = np.clip(data - mean, -0.7, 0.7)
        mean += float(influence.sum()) / max(1, np.count_nonzero(np.abs(influence) < 0.7))
    influence = np.clip(data - mean, -0.7, 0.7)
    sums = np.zeros(9)
    assert huber_mean(data, first, 0.7, 8, blocks, sums) == (mean, np.count_nonzero(np.abs(influence) < 0.7))
    np.testing.assert_array_equal(sums, np.bincount(blocks, influence, 9))
