"""The lattice: evaluation anywhere, refinement, sums, and its JSON form."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from linumpy.n4 import bspline
from linumpy.n4.lattice import Lattice

SHAPE = (9, 23, 31)
VOXEL = (0.1, 0.02, 0.03)


def make_lattice(seed: int = 0, n: tuple[int, int, int] = (4, 6, 9)) -> Lattice:
    rng = np.random.default_rng(seed)
    coefficients = rng.normal(0, 0.3, n).astype(np.float32)
    return Lattice(coefficients, (0.05, 0.04, 0.0), (0.7, 0.38, 0.87))


def test_is_the_tensor_product_of_scipys_splines() -> None:
    lattice = make_lattice()
    expected = lattice.coefficients.astype(np.float64)
    for axis in range(3):
        n = lattice.coefficients.shape[axis]
        position = np.arange(SHAPE[axis]) * VOXEL[axis]
        parameter = np.clip((position - lattice.origin_mm[axis]) / lattice.extent_mm[axis], 0, 1) * (n - 3)
        spline = BSpline(np.arange(-3, n + 1), np.moveaxis(expected, axis, 0), 3)
        expected = np.moveaxis(spline(np.minimum(parameter, n - 3 - 1e-12)), 0, axis)
    # the sum over Y is in single precision: 4 terms of order 1
    np.testing.assert_allclose(lattice.evaluate(SHAPE, VOXEL), expected, atol=5e-7)


def test_constant_control_points_make_a_constant_field() -> None:
    lattice = Lattice(np.full((4, 5, 6), 0.25), (0, 0, 0), (1, 1, 1))
    # partition of unity, rounded to single precision
    np.testing.assert_allclose(lattice.evaluate((7, 7, 7), 0.2), 0.25, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_block_is_the_crop_of_the_whole_bit_for_bit(data: st.DataObject) -> None:
    lattice = make_lattice()
    whole = lattice.evaluate(SHAPE, VOXEL)
    start = [data.draw(st.integers(0, n - 1)) for n in SHAPE]
    step = [data.draw(st.integers(1, 3)) for _ in SHAPE]
    shape = [data.draw(st.integers(1, 1 + (n - 1 - s) // k)) for n, s, k in zip(SHAPE, start, step, strict=True)]
    slices = tuple(slice(s, s + (n - 1) * k + 1, k) for s, n, k in zip(start, shape, step, strict=True))
    block = lattice.evaluate(shape, VOXEL, start=start, step=step)
    assert block.tobytes() == np.ascontiguousarray(whole[slices]).tobytes()


@pytest.mark.parametrize("shape", [SHAPE, (2, 5, 1), (1, 1, 1003)])
def test_compiled_and_plain_evaluation_give_the_same_bits(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from linumpy.n4 import compiled, lattice

    assert lattice._row_expansion(1) is compiled.expand_rows  # it is loaded now
    fast = make_lattice().evaluate(shape, 0.003)
    monkeypatch.delitem(sys.modules, "linumpy.n4.compiled")
    assert lattice._row_expansion(1) is lattice._expand_rows
    assert make_lattice().evaluate(shape, 0.003).tobytes() == fast.tobytes()


def test_outside_the_samples_the_edge_value_holds() -> None:
    lattice = make_lattice()
    inside = lattice.evaluate((1, 1, 1), 1.0, start=lattice.origin_mm)
    before = lattice.evaluate((1, 1, 1), 1.0, start=[o - 5 for o in lattice.origin_mm])
    end = [o + e for o, e in zip(lattice.origin_mm, lattice.extent_mm, strict=True)]
    last, beyond = (lattice.evaluate((1, 1, 1), 1.0, start=[p + d for p in end]) for d in (0, 5))
    assert inside == before
    # a position computed as origin + extent is the end but for rounding
    np.testing.assert_allclose(last, beyond, atol=1e-7)


def test_an_axis_of_one_control_point_is_constant() -> None:
    flat = Lattice(make_lattice().coefficients[:1], (0.05, 0.04, 0.0), (0.0, 0.38, 0.87))
    field = flat.evaluate(SHAPE, VOXEL)
    np.testing.assert_array_equal(field, np.broadcast_to(field[:1], SHAPE))
    assert np.ptp(field) > 0.1


def test_n_samples_pulls_the_last_sample_in_as_itk_does() -> None:
    coefficients = make_lattice().coefficients
    lattice = Lattice(coefficients, (0, 0, 0), (8, 22, 30), SHAPE)
    expected = coefficients.astype(np.float64)
    for n, cp in zip(SHAPE, coefficients.shape, strict=True):
        expected = np.tensordot(expected, bspline.fit_basis(n, cp).dense(), axes=(0, 1))
    np.testing.assert_allclose(lattice.evaluate(SHAPE, 1.0), expected, atol=5e-7)


@pytest.mark.parametrize("axes", [(True, True, True), (False, True, False)])
def test_refining_changes_no_value(axes: tuple[bool, bool, bool]) -> None:
    lattice = make_lattice()
    refined = lattice.refine(axes)
    expected = tuple(2 * n - 3 if axis else n for n, axis in zip(lattice.n_control_points, axes, strict=True))
    assert refined.n_control_points == expected
    # control points rounded to single precision
    np.testing.assert_allclose(refined.evaluate(SHAPE, VOXEL), lattice.evaluate(SHAPE, VOXEL), atol=5e-7)


def test_refining_leaves_a_constant_axis_alone() -> None:
    flat = Lattice(make_lattice().coefficients[:1], (0, 0, 0), (0, 1, 1))
    assert flat.refine().n_control_points == (1, 9, 15)


def test_sum_is_the_sum_of_the_fields() -> None:
    one, other = make_lattice(1), make_lattice(2)
    expected = one.evaluate(SHAPE, VOXEL) + other.evaluate(SHAPE, VOXEL)
    np.testing.assert_allclose((one + other).evaluate(SHAPE, VOXEL), expected, atol=5e-7)
    with pytest.raises(ValueError, match="lattices differ"):
        one + other.refine()


def test_json_gives_every_bit_back() -> None:
    lattice = make_lattice(3)
    for case in (lattice, Lattice(lattice.coefficients, lattice.origin_mm, lattice.extent_mm, (8, 20, 30))):
        text = json.dumps(case.to_dict(), allow_nan=False)
        assert Lattice.from_dict(json.loads(text)) == case
    extremes = np.array([1e-45, -3.4e38, 0.1, 1 / 3], np.float32).reshape(1, 1, 4)
    hard = Lattice(extremes, (0, 0, 0), (0, 0, 1))
    assert Lattice.from_dict(json.loads(json.dumps(hard.to_dict()))) == hard


def test_writes_into_a_buffer() -> None:
    lattice = make_lattice()
    out = np.empty(SHAPE, np.float32)
    assert lattice.evaluate(SHAPE, VOXEL, out=out) is out
    np.testing.assert_array_equal(out, lattice.evaluate(SHAPE, VOXEL))
    with pytest.raises(ValueError, match="out has shape"):
        lattice.evaluate(SHAPE, VOXEL, out=out[:-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "other"}, "type 'other'"),
        ({"version": 99}, "version 99"),
        ({"n_control_points": [4, 4, 4]}, "n_control_points says"),
        ({"coefficients": [[[float("nan")]]], "n_control_points": [1, 1, 1]}, "not finite"),
    ],
)
def test_refuses_a_record_it_cannot_read(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lattice.from_dict(make_lattice().to_dict() | change)


def test_the_callers_array_stays_its_own() -> None:
    coefficients = np.zeros((4, 4, 4), np.float32)
    lattice = Lattice(coefficients, (0, 0, 0), (1, 1, 1))
    coefficients[0, 0, 0] = 1
    assert not lattice.coefficients.any()
    with pytest.raises(ValueError, match="read-only"):
        lattice.coefficients[0, 0, 0] = 1


def test_refuses_impossible_lattices() -> None:
    with pytest.raises(ValueError, match="1 or at least 4"):
        Lattice(np.zeros((3, 4, 4)), (0, 0, 0), (1, 1, 1))
    with pytest.raises(ValueError, match="extent_mm"):
        Lattice(np.zeros((4, 4, 4)), (0, 0, 0), (1, -1, 1))
    record = make_lattice().to_dict()
    del record["coefficients"]
    with pytest.raises(ValueError, match="lacks 'coefficients'"):
        Lattice.from_dict(record)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_samples": (1, 5, 5)}, "one sample has the extent 0"),
        ({"n_samples": ("5", "5", "5")}, "n_samples is"),
        ({"n_samples": (5, 0, 5)}, "n_samples is"),
        ({"origin_mm": ("0", "0", "0")}, "origin_mm is"),
        ({"origin_mm": None}, "origin_mm is"),
        ({"extent_mm": (1j, 1, 1)}, "extent_mm is"),
        *(({"coefficients": np.zeros((4, 4, 4), kind)}, "give real numbers") for kind in (bool, complex, object, str)),
    ],
)
def test_refuses_what_is_no_lattice(change: dict, message: str) -> None:
    given = {
        "coefficients": np.zeros((4, 4, 4)),
        "origin_mm": (0, 0, 0),
        "extent_mm": (1, 1, 1),
        "n_samples": (5, 5, 5),
    }
    with pytest.raises(ValueError, match=message):
        Lattice(**(given | change))
