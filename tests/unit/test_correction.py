from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from linumpy.intensity.bias_field import apply_bias_field
from linumpy.intensity.bias_model import BiasModel
from linumpy.intensity.correction import BIAS_FIELD_FLOOR, Clipped, FieldDivider, cast_block, correct_block


@pytest.fixture
def block():
    return np.random.default_rng(2).gamma(3, 40, (3, 8, 9)).astype(np.float32)


@pytest.fixture
def log_bias_field():
    return np.random.default_rng(3).normal(0, 0.4, (3, 8, 9)).astype(np.float32)


def test_the_field_is_divided_out(block, log_bias_field):
    before = block.copy()
    field = np.exp(log_bias_field)
    corrected = correct_block(block, log_bias_field.copy())
    np.testing.assert_array_equal(corrected, apply_bias_field(block, field))
    np.testing.assert_array_equal(block, before)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float64"])
def test_any_real_type(block, log_bias_field, dtype):
    block = block.astype(dtype)
    corrected = correct_block(block, log_bias_field.copy())
    assert corrected.dtype == np.float32
    np.testing.assert_allclose(corrected, block / np.exp(log_bias_field), rtol=1e-6)


def test_a_block_that_cannot_be_written_is_read(block):
    bias = BiasModel(((0, 3),), (1.0, 1.0, 1.0), (None,), (1.25,))
    block.flags.writeable = False
    corrected = np.empty_like(block)
    with ThreadPoolExecutor(1) as executor:
        FieldDivider(bias, (0, 8), (0, 9), executor).divide(block, 0, corrected)
    np.testing.assert_allclose(corrected, block * 1.25, rtol=1e-6)


def test_strength(block, log_bias_field):
    full = correct_block(block, log_bias_field.copy())
    np.testing.assert_array_equal(correct_block(block, log_bias_field.copy(), strength=0), block)
    half = correct_block(block, log_bias_field.copy(), strength=0.5)
    np.testing.assert_allclose(half, (block + full) / 2, rtol=1e-6)


@pytest.mark.parametrize("strength", [0, 0.3, 1])
def test_voxels_that_are_not_finite_stay(block, log_bias_field, strength):
    block[0, 0, :3] = np.nan, np.inf, -np.inf
    corrected = correct_block(block, log_bias_field.copy(), strength=strength)
    np.testing.assert_array_equal(corrected[0, 0, :3], block[0, 0, :3])
    assert np.isfinite(corrected[0, 0, 3:]).all()


def test_negative_voxels_are_divided_like_others(block, log_bias_field):
    np.testing.assert_array_equal(
        correct_block(-block, log_bias_field.copy()), -correct_block(block, log_bias_field.copy())
    )


def test_the_floor(block):
    corrected = correct_block(block, np.full(block.shape, -100, np.float32))
    np.testing.assert_allclose(corrected, block / np.float32(BIAS_FIELD_FLOOR), rtol=1e-6)


def test_what_is_not_kept_is_zero(block, log_bias_field):
    keep = np.random.default_rng(0).random(block.shape) > 0.5
    block[~keep] = np.nan
    corrected = correct_block(block, log_bias_field.copy(), keep=keep)
    assert not corrected[~keep].any()
    np.testing.assert_array_equal(corrected[keep], correct_block(block, log_bias_field.copy())[keep])


def test_blocks_give_the_voxels_of_the_whole(block, log_bias_field):
    whole = correct_block(block, log_bias_field.copy(), strength=0.7)
    at = np.s_[1:, 2:7, 3:]
    np.testing.assert_array_equal(correct_block(block[at], log_bias_field[at].copy(), strength=0.7), whole[at])


@pytest.mark.parametrize(
    ("dtype", "values", "cast", "clipped"),
    [
        ("uint8", [-1, -0.4, 0.5, 1.5, 254.6, 255.4, 256], [0, 0, 0, 2, 255, 255, 255], Clipped(1, 1)),
        ("int16", [-32769, -32768.2, 32767.4, 32768], [-32768, -32768, 32767, 32767], Clipped(1, 1)),
        ("uint16", [-5, 65535.4, 65536, 7e9], [0, 65535, 65535, 65535], Clipped(1, 2)),
        ("int32", [-3e9, 2**31, 16777216], [-(2**31), 2**31 - 1, 16777216], Clipped(1, 1)),
        ("uint32", [-1, 2**32, 3], [0, 2**32 - 1, 3], Clipped(1, 1)),
        ("uint8", [np.nan, np.inf, -np.inf], [0, 255, 0], Clipped(1, 1)),
    ],
)
def test_integers_are_rounded_clipped_and_counted(dtype, values, cast, clipped):
    found, counted = cast_block(np.array(values, np.float32), dtype)
    assert found.dtype == np.dtype(dtype)
    assert found.tolist() == cast
    assert counted == clipped


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_the_largest_integers_do_not_wrap_around(dtype):
    found, counted = cast_block(np.array([1e20, -1e20, 5], np.float32), dtype)
    limits = np.iinfo(dtype)
    # The largest float64 below the limit, 2048 short of it at most.
    assert limits.max - int(found[0]) <= 2048
    assert int(found[1]) == limits.min
    assert int(found[2]) == 5
    assert counted == Clipped(1, 1)


def test_floats_are_only_converted():
    values = np.array([np.nan, np.inf, -3, 1e-30], np.float32)
    for dtype in ("float32", "float64"):
        found, counted = cast_block(values, dtype)
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found, values)
        assert counted == Clipped()


def test_finite_voxels_stay_finite_in_a_narrow_float_type():
    values = [65519, 65520, 1e30, -1e9, -65504, np.inf, -np.inf, np.nan, 1e-3]
    found, counted = cast_block(np.array(values, np.float32), "float16")
    expected = [65504, 65504, 65504, -65504, -65504, np.inf, -np.inf, np.nan, np.float16(1e-3)]
    np.testing.assert_array_equal(found, np.array(expected, np.float16))
    assert counted == Clipped(1, 2)


def test_counts_add():
    assert Clipped(1, 2) + Clipped(10, 20) == Clipped(11, 22)
