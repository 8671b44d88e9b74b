"""Sample grids and control points."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linumpy.n4.grid import SampleGrid, as_whole, n_control_points

SIZES = (1, 2, 3, 4, 5, 7, 8, 11, 12, 16, 21)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 8, 30])
def test_takes_the_voxels_that_itk_takes(factor: int) -> None:
    sitk = pytest.importorskip("SimpleITK")
    for n in SIZES:
        ramp = np.tile(np.arange(n, dtype=np.float32)[:, None, None], (1, 2, 3))
        shrunk = sitk.GetArrayFromImage(sitk.Shrink(sitk.GetImageFromArray(ramp), [1, 1, factor]))
        taken = ramp[SampleGrid.of(ramp.shape, (factor, 1, 1)).slices]
        np.testing.assert_array_equal(taken, shrunk)


def test_eleven_by_four_takes_three_and_seven() -> None:
    grid = SampleGrid.of((11, 10, 3), 4)
    assert grid.start == (3, 3, 1)
    assert grid.size == (2, 2, 1)
    assert grid.step == (4, 4, 4)


@given(st.tuples(*[st.integers(1, 60)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_samples_lie_inside_and_less_than_a_step_from_each_face(
    shape: tuple[int, int, int], factor: tuple[int, int, int]
) -> None:
    grid = SampleGrid.of(shape, factor)
    assert np.empty(shape)[grid.slices].shape == grid.size
    for n, k, first, count in zip(shape, factor, grid.start, grid.size, strict=True):
        last = first + (count - 1) * k
        assert first >= 0
        assert last < n
        assert first <= k
        assert n - 1 - last < k


def test_positions_are_those_of_the_voxels_taken() -> None:
    grid = SampleGrid.of((11, 12, 20), (4, 3, 1))
    assert grid.origin_mm((0.1, 0.5, 2.0)) == pytest.approx((0.3, 0.5, 0.0))
    assert grid.origin_mm((0.1, 0.5, 2.0), (10, 0, 0)) == pytest.approx((1.3, 0.5, 0.0))
    assert grid.spacing_mm((0.1, 0.5, 2.0)) == pytest.approx((0.4, 1.5, 2.0))


def test_control_points_come_from_the_extent_of_the_volume() -> None:
    assert n_control_points((100, 200, 10), (1.0, 0.5, 0.1), 10.0) == (10, 10, 4)
    assert n_control_points((100, 200, 300), 1.0, (10.0, 20.0, 40.0)) == (10, 10, 8)


@pytest.mark.parametrize("factor", [0, -1, 1.5, (2, 2), "four", float("nan")])
def test_refuses_impossible_factors(factor: object) -> None:
    with pytest.raises(ValueError, match="shrink_factor is"):
        SampleGrid.of((10, 10, 10), factor)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [3, 3.0, np.uint8(3), np.float32(3)])
def test_whole_numbers_of_any_type(value: object) -> None:
    number = as_whole(value, "n", 3)
    assert (number, type(number)) == (3, int)


@pytest.mark.parametrize("value", [2, 3.5, -3, float("nan"), float("inf"), "3", None, [3], 3 + 0j, np.complex64(3)])
def test_refuses_what_is_not_a_whole_number(value: object) -> None:
    with pytest.raises(ValueError, match=r"^n is .*; give a whole number of at least 3$"):
        as_whole(value, "n", 3)


def test_a_boolean_is_no_number() -> None:
    with pytest.raises(ValueError, match="n is True"):
        as_whole(True, "n", 0)


def test_refuses_impossible_distances() -> None:
    with pytest.raises(ValueError, match=r"spline_distance_mm is 0; .* positive"):
        n_control_points((10, 10, 10), 1.0, 0)
    with pytest.raises(ValueError, match="voxel_size_mm is"):
        n_control_points((10, 10, 10), (1, 1, -1), 1)
