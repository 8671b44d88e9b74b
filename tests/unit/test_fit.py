"""The fit: one algorithm over NumPy and Numba, its degenerate cases, its records and its errors."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from linumpy.n4 import bspline
from linumpy.n4.compiled import MAX_RUN, find_runs
from linumpy.n4.fit import BiasFit, fit_log_bias_field
from linumpy.n4.lattice import Lattice
from linumpy.n4.native import NativePasses
from linumpy.n4.passes import OUTSIDE, ArrayPasses
from linumpy.n4.sharpen import expected_log_intensity

SHAPE = (9, 26, 35)
POINTS = {"n_control_points": (4, 5, 6), "n_iterations": (6, 6)}


def make_image(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return two-level tissue under a smooth field with speckle, and the log of that field."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    log_field = 0.25 * z + 0.3 * y * x - 0.2 * y
    tissue = 50.0 * (1 + (np.sin(5 * x + z) * np.cos(6 * y) > 0))
    return (tissue * np.exp(log_field) * rng.gamma(100, 0.01, shape)).astype(np.float32), log_field


def evaluate(fit: BiasFit, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return fit.lattice.evaluate(shape, 1.0)


@pytest.fixture
def image() -> np.ndarray:
    return make_image()[0]


@pytest.fixture
def mask() -> np.ndarray:
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    holes = np.random.default_rng(1).random(SHAPE) < 0.95
    return (y**2 + x**2 + 0.2 * z < 0.8) & holes & ~((np.abs(x) < 0.3) & (np.abs(y) < 0.2))


class TestPasses:
    """Numba's passes against the plain ones, step by step."""

    @pytest.fixture
    def both(self, image: np.ndarray, mask: np.ndarray) -> tuple[ArrayPasses, NativePasses]:
        passes = ArrayPasses(image, mask), NativePasses(image, mask, 2)
        bases = [bspline.fit_basis(n, cp) for n, cp in zip(SHAPE, (4, 6, 9), strict=True)]
        for one in passes:
            one.use_bases(*bases)
        return passes

    def test_same_logarithms(self, both: Any) -> None:
        plain, native = both
        np.testing.assert_array_equal(native.u, plain.u)
        assert (native.low, native.high, native.offset) == (plain.low, plain.high, plain.offset)
        assert native.n_voxels == plain.n_voxels

    def test_same_histogram(self, both: Any) -> None:
        plain, native = both
        counts = native.histogram()
        # whole numbers; only u's place on the axis of bins may be rounded apart where one fuses its product
        np.testing.assert_allclose(counts, plain.histogram(), atol=1e-3)
        assert counts.sum() == pytest.approx(native.n_voxels, abs=1e-3)

    def test_the_histogram_counts_very_many_equal_voxels_of_a_row(self) -> None:
        row = np.ones((1, 1, (4 << 22) + 20), np.float32)  # a bin of the four in turn has 22 bits
        row[..., -1] = 2
        counts = NativePasses(row, np.ones(row.shape, bool), 1).histogram()
        assert counts[0] == row.size - 1
        assert counts.sum() == row.size

    def test_runs_are_no_longer_than_their_histogram_can_count(self) -> None:
        mask = np.ones((1, 2 * MAX_RUN + 5), np.uint8)
        row_start, none = np.zeros(2, np.int32), np.empty(0, np.int32)
        start, stop = np.zeros(3, np.int32), np.zeros(3, np.int32)
        assert find_runs(mask, row_start, none, none) == find_runs(mask, row_start, start, stop) == 3
        np.testing.assert_array_equal(start, [0, MAX_RUN, 2 * MAX_RUN])
        np.testing.assert_array_equal(stop, [MAX_RUN, 2 * MAX_RUN, mask.size])

    def test_same_control_points(self, both: Any) -> None:
        plain, native = both
        expected = plain.sharpen(plain.histogram())
        # rows are summed in single precision; control points are of the order of 0.1
        np.testing.assert_allclose(native.fit_residual(expected), plain.fit_residual(expected), atol=2e-6)

    @pytest.mark.parametrize("size", [0.1, 3.0])  # within and beyond the series for exp
    def test_same_subtraction(self, both: Any, size: float) -> None:
        plain, native = both
        points = np.random.default_rng(2).normal(0, size / 4, (4, 6, 9)).clip(-size, size)
        # e is summed in single precision along each run
        assert native.subtract(points) == pytest.approx(plain.subtract(points), rel=1e-6)
        np.testing.assert_allclose(native.u, plain.u, atol=1e-6)
        assert (native.low, native.high) == pytest.approx((plain.low, plain.high), abs=1e-6)

    def test_voxels_outside_keep_their_mark(self, both: Any, mask: np.ndarray) -> None:
        _, native = both
        native.subtract(np.full((4, 6, 9), 0.3))
        assert (native.u[~mask] == OUTSIDE).all()
        assert (native.u[mask] < 10).all()

    def test_only_masked_runs_are_visited(self, both: Any, mask: np.ndarray) -> None:
        _, native = both
        row_start, run_start, run_stop, units = native._runs
        visited = np.zeros(SHAPE, bool).reshape(-1, SHAPE[2])
        for row in range(len(visited)):
            for run in range(row_start[row], row_start[row + 1]):
                visited[row, run_start[run] : run_stop[run]] = True
        assert (visited.reshape(SHAPE) >= mask).all()
        assert visited.sum() < 1.3 * mask.sum()
        assert len(units)


@pytest.mark.parametrize("shape", [SHAPE, (1, 26, 35), (9, 1, 35), (9, 26, 1), (1, 1, 35), (2, 3, 300)])
def test_native_is_the_plain_version(shape: tuple[int, int, int]) -> None:
    image, _ = make_image(shape)
    mask = np.random.default_rng(5).random(shape) < 0.8
    plain, native = (
        fit_log_bias_field(image, mask, backend=backend, convergence_threshold=0, **POINTS)
        for backend in ("numpy", "native")
    )
    assert (plain.backend, native.backend) == ("numpy", "numba")
    assert native.lattice.n_control_points == plain.lattice.n_control_points
    # twelve iterations of single precision
    np.testing.assert_allclose(evaluate(native, shape), evaluate(plain, shape), atol=2e-5)


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_same_bits_for_any_number_of_threads(image: np.ndarray, mask: np.ndarray, workers: int) -> None:
    one, many = (fit_log_bias_field(image, mask, workers=n, **POINTS) for n in (1, workers))
    assert many.to_dict() == one.to_dict()


def test_no_thread_outlives_the_fit(image: np.ndarray) -> None:
    before = threading.active_count()
    fit_log_bias_field(image, None, workers=3, **POINTS)
    assert threading.active_count() == before


def test_finds_the_field() -> None:
    image, truth = make_image((12, 48, 48))
    fit = fit_log_bias_field(image, None, n_control_points=(4, 4, 4), n_iterations=(30, 30))
    difference = evaluate(fit, image.shape) - truth
    # uncorrected it is 0.22; N4 leaves the constant free and a little structure
    assert np.std(difference) < 0.25 * np.std(truth)


def test_intensity_scale_is_left_in_the_image(image: np.ndarray, mask: np.ndarray) -> None:
    fields = [evaluate(fit_log_bias_field(image * scale, mask, **POINTS)) for scale in (1, np.float32(700))]
    np.testing.assert_allclose(fields[1], fields[0], atol=5e-6)


def test_values_outside_the_mask_do_not_matter(image: np.ndarray, mask: np.ndarray) -> None:
    other = np.where(mask, image, np.float32(np.nan))
    assert fit_log_bias_field(other, mask, **POINTS).lattice == fit_log_bias_field(image, mask, **POINTS).lattice


class TestAwkward:
    """What ITK cannot do, or does badly."""

    @pytest.mark.parametrize("backend", ["numpy", "native"])
    def test_unusable_voxels_take_no_part(self, image: np.ndarray, mask: np.ndarray, backend: str) -> None:
        bad = image.copy()
        where = np.argwhere(mask)[::97]
        values = [0.0, -5.0, np.nan, np.inf, -np.inf]
        for i, index in enumerate(where):
            bad[tuple(index)] = values[i % 5]
        without = mask.copy()
        without[tuple(where.T)] = False
        fit = fit_log_bias_field(bad, mask, backend=backend, **POINTS)
        assert fit.lattice == fit_log_bias_field(image, without, backend=backend, **POINTS).lattice
        assert fit.n_voxels == without.sum()

    @pytest.mark.parametrize("backend", ["cpu", "numpy", "native"])
    def test_empty_mask_gives_a_flat_field_and_a_warning(
        self, image: np.ndarray, backend: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            fit = fit_log_bias_field(image, np.zeros(SHAPE, bool), backend=backend, **POINTS)
        assert not evaluate(fit).any()
        assert (fit.levels, fit.n_voxels) == ((), 0)
        assert "no sample in the mask" in caplog.text
        assert "smaller shrink factor" in caplog.text

    @pytest.mark.parametrize("backend", ["numpy", "native"])
    @pytest.mark.parametrize("n_voxels", [1, 2, 5])
    def test_a_handful_of_voxels(self, image: np.ndarray, backend: str, n_voxels: int) -> None:
        mask = np.zeros(SHAPE, bool)
        mask[tuple(np.random.default_rng(3).integers(0, n, n_voxels) for n in SHAPE)] = True
        fit = fit_log_bias_field(image, mask, backend=backend, **POINTS)
        assert np.isfinite(evaluate(fit)).all()
        assert np.abs(evaluate(fit)).max() < 2

    @pytest.mark.parametrize("backend", ["numpy", "native"])
    @pytest.mark.parametrize("gap", ["none", "not finite", "not in the mask"])
    def test_a_constant_image_has_no_field(self, backend: str, gap: str) -> None:
        image, mask = np.full(SHAPE, 7.0), np.ones(SHAPE, bool)
        if gap == "not finite":
            image[2, 4, 4] = np.nan
        elif gap == "not in the mask":
            mask[:, 3:9, 10:20] = False
        fit = fit_log_bias_field(image, mask, backend=backend, **POINTS)
        np.testing.assert_array_equal(evaluate(fit), 0)
        assert [level.convergence for level in fit.levels] == [0.0, 0.0]

    def test_control_points_without_support_stay_zero_in_the_first_level(self, image: np.ndarray) -> None:
        mask = np.zeros(SHAPE, bool)
        mask[:, :8, :8] = True
        fit = fit_log_bias_field(image, mask, n_control_points=(4, 12, 12), n_iterations=(5,))
        assert not fit.lattice.coefficients[:, 8:, 8:].any()
        assert fit.lattice.coefficients[:, :3, :3].all()

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_one_plane_fits_the_same_along_any_axis(self, axis: int) -> None:
        image, _ = make_image((1, 40, 50))
        fit = fit_log_bias_field(image, None, convergence_threshold=0, **POINTS)
        assert fit.lattice.n_control_points == (1, 7, 9)
        assert fit.levels[0].n_control_points == (1, 5, 6)
        turned = np.moveaxis(image, 0, axis)
        points = [5, 6]
        points.insert(axis, 4)
        other = fit_log_bias_field(turned, None, n_control_points=points, n_iterations=(6, 6), convergence_threshold=0)
        field = np.moveaxis(evaluate(other, turned.shape), axis, 0)
        # another order of the sums, in single precision
        np.testing.assert_allclose(field, evaluate(fit, image.shape), atol=2e-5)

    def test_more_control_points_than_samples(self) -> None:
        image, _ = make_image((4, 9, 11))
        plain, native = (
            fit_log_bias_field(image, None, n_control_points=(9, 20, 30), n_iterations=(4, 4), backend=backend)
            for backend in ("numpy", "native")
        )
        np.testing.assert_allclose(evaluate(native, image.shape), evaluate(plain, image.shape), atol=1e-5)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float64, ">f4"])
    def test_any_dtype(self, image: np.ndarray, mask: np.ndarray, dtype: Any) -> None:
        whole = np.round(image)
        expected = fit_log_bias_field(whole, mask, **POINTS).lattice
        assert fit_log_bias_field(whole.astype(dtype), mask, **POINTS).lattice == expected

    def test_any_layout(self, image: np.ndarray, mask: np.ndarray) -> None:
        expected = fit_log_bias_field(image, mask, **POINTS).lattice
        spread = np.zeros((SHAPE[0] * 2, SHAPE[1], SHAPE[2] * 3), np.float32)
        spread[::2, :, ::3] = image
        before = spread.copy()
        assert fit_log_bias_field(spread[::2, :, ::3], np.asfortranarray(mask), **POINTS).lattice == expected
        image.flags.writeable = False
        assert fit_log_bias_field(image, mask.astype(np.uint8) * 255, **POINTS).lattice == expected
        np.testing.assert_array_equal(spread, before)

    @pytest.mark.parametrize("backend", ["cpu", "numpy", "native"])
    def test_what_single_precision_cannot_hold_takes_no_part(
        self, image: np.ndarray, mask: np.ndarray, backend: str
    ) -> None:
        wide, without = image.astype(np.float64), mask.copy()
        for index, value in zip(np.argwhere(mask)[::97], [1e-87, 1e300] * 99, strict=False):
            wide[tuple(index)], without[tuple(index)] = value, False
        wide[~mask] = 1e300
        settings: dict[str, Any] = POINTS | {"backend": backend, "workers": 1}  # SimpleITK's sums depend on it
        assert (
            fit_log_bias_field(wide, mask, **settings).lattice == fit_log_bias_field(image, without, **settings).lattice
        )

    def test_huge_dynamic_range(self) -> None:
        image, _ = make_image()
        image[0, 0, 0], image[-1, -1, -1] = 1e-38, 3e38
        assert np.isfinite(evaluate(fit_log_bias_field(image, None, **POINTS))).all()


class TestLevels:
    """Levels, refinements and records."""

    def test_axes_are_refined_apart(self, image: np.ndarray) -> None:
        fit = fit_log_bias_field(image, None, n_control_points=(4, 5, 6), n_iterations=(3, 3, 3), refinements=(0, 1, 2))
        assert [level.n_control_points for level in fit.levels] == [(4, 5, 6), (4, 7, 9), (4, 7, 15)]
        assert fit.lattice.n_control_points == (4, 7, 15)

    def test_a_level_without_iterations_only_refines(self, image: np.ndarray) -> None:
        fit = fit_log_bias_field(image, None, n_control_points=(4, 5, 6), n_iterations=(3, 0))
        short = fit_log_bias_field(image, None, n_control_points=(4, 5, 6), n_iterations=(3,))
        assert fit.levels[1].iterations == 0
        assert fit.levels[1].convergence is None
        np.testing.assert_allclose(evaluate(fit), evaluate(short), atol=1e-6)

    def test_stops_when_converged(self, image: np.ndarray) -> None:
        fit = fit_log_bias_field(
            image, None, n_control_points=(4, 4, 4), n_iterations=(200,), convergence_threshold=0.0015
        )
        (level,) = fit.levels
        assert 1 < level.iterations < 200
        assert level.convergence == level.history[-1] < 0.0015
        assert min(level.history[:-1]) >= 0.0015

    def test_record_survives_json(self, image: np.ndarray) -> None:
        fit = fit_log_bias_field(image, None, origin_mm=(1, 2, 3), spacing_mm=(0.1, 0.2, 0.3), **POINTS)
        again = json.loads(json.dumps(fit.to_dict(), allow_nan=False))
        assert Lattice.from_dict(again.pop("lattice")) == fit.lattice
        levels = [asdict(level) for level in fit.levels]
        assert again == {"backend": "numba", "n_voxels": image.size, "levels": json.loads(json.dumps(levels))}
        assert fit.lattice.origin_mm == (1, 2, 3)
        assert fit.lattice.extent_mm == pytest.approx((0.8, 5.0, 10.2))

    @pytest.mark.parametrize("backend", ["cpu", "numpy", "native"])
    def test_progress_is_told(self, image: np.ndarray, backend: str) -> None:
        told: list[tuple[int, int, float]] = []
        fit = fit_log_bias_field(image, None, backend=backend, progress=lambda *news: told.append(news), **POINTS)
        expected = [(i, j, c) for i, level in enumerate(fit.levels) for j, c in enumerate(level.history)]
        assert told == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backend": "fpga"}, "backend is 'fpga'; choose one of"),
        ({"n_iterations": ()}, "n_iterations is"),
        ({"n_iterations": (5, -1)}, "n_iterations is"),
        ({"n_control_points": (3, 4, 4)}, "at least 4"),
        ({"n_control_points": (4000, 4000, 4000)}, "is the voxel size in millimetres"),
        ({"refinements": 2}, "0 to 1 times"),
        ({"spacing_mm": (0, 1, 1)}, "spacing_mm"),
        ({"workers": 0}, "workers is 0; give a whole number of at least 1"),
        ({"workers": -1}, "workers is -1; give a whole number of at least 1"),
        ({"backend": "cpu", "refinements": 0}, "Use backend 'native'"),
    ],
)
def test_refuses_with_a_way_out(image: np.ndarray, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_log_bias_field(image, None, **(POINTS | change))


def test_refuses_other_shapes(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"mask has shape \(3, 3, 3\), image \(9, 26, 35\)"):
        fit_log_bias_field(image, np.ones((3, 3, 3)), **POINTS)
    with pytest.raises(ValueError, match=r"axes \(Z, Y, X\)"):
        fit_log_bias_field(image[0], None, **POINTS)
    with pytest.raises(ValueError, match="complex"):
        fit_log_bias_field(image.astype(complex), None, **POINTS)


def test_sharpening_moves_values_towards_the_modes() -> None:
    spacing = 0.01
    centres = np.arange(200) * spacing
    # two tissues, blurred by just the Gaussian that sharpening undoes
    sigma = 0.15 / 2.3548
    counts = 1e4 * (np.exp(-((centres - 0.6) ** 2) / 2 / sigma**2) + np.exp(-((centres - 1.4) ** 2) / 2 / sigma**2))
    expected = expected_log_intensity(counts, 0.0, spacing, np)
    near_first, near_second = expected[50:70], expected[130:150]
    # without the regularisation all would fall on the modes; with it, to a third of the way at least
    assert np.abs(near_first - 0.6).max() < 0.04
    assert np.abs(near_second - 1.4).max() < 0.04
    assert expected_log_intensity(counts, 3.0, 0.0, np) == pytest.approx(np.full(200, 3.0))
