"""What sections share across XY is kept, and their own shading as far as it stands out of N4's error."""

import numpy as np
import numpy.typing as npt
import pytest

from linumpy.intensity.shading import (
    OWN_SHADING_ERROR,
    smooth_along_depth,
    tissue_support,
    with_shared_shading,
    without_error,
)
from linumpy.n4.lattice import Lattice

Floats = npt.NDArray[np.float64]
N = 12
SUPPORT = np.ones((4, 5))


def _lattice(coefficients: Floats) -> Lattice:
    return Lattice(coefficients.astype(np.float32), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def _pattern(seed: int, size: float, shape: tuple[int, ...] = (4, 4, 5)) -> Floats:
    """A field of mean 0 and this RMS."""
    values = np.random.default_rng(seed).standard_normal(shape)
    values -= values.mean()
    pattern: Floats = values * size / np.sqrt(np.mean(values**2))
    return pattern


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _coefficients(lattice: Lattice | None) -> Floats:
    assert lattice is not None
    return lattice.coefficients.astype(np.float64)


def test_what_all_share_is_kept_and_small_own_shading_dropped() -> None:
    shared = _pattern(0, 0.2)
    own = [_pattern(1 + i, 0.02) for i in range(N)]
    found = with_shared_shading([_lattice(shared + part) for part in own], [SUPPORT] * N)
    kept = 1 - (OWN_SHADING_ERROR / np.sqrt(N / 3) / 0.2) ** 2
    for lattice in found:
        assert _rms(_coefficients(lattice) - kept * shared) < 0.015
    assert len({_coefficients(lattice).tobytes() for lattice in found}) == 1


def test_large_own_shading_is_kept() -> None:
    shared, own = _pattern(0, 0.2), _pattern(99, 0.5)
    lattices = [_lattice(shared)] * (N - 1) + [_lattice(shared + own)]
    found = with_shared_shading(lattices, [SUPPORT] * N)
    assert _rms(_coefficients(found[-1]) - shared - own) < 0.05 * 0.5


def test_shared_noise_is_dropped() -> None:
    found = with_shared_shading([_lattice(_pattern(0, 0.01))] * N, [SUPPORT] * N)
    assert not _coefficients(found[0]).any()


def test_control_points_count_by_their_tissue() -> None:
    shared = _pattern(0, 0.3)
    wrong = shared.copy()
    wrong[:, :, 0] += 5
    bare = SUPPORT.copy()
    bare[:, 0] = 0
    found = with_shared_shading([_lattice(shared)] * 3 + [_lattice(wrong)], [SUPPORT] * 3 + [bare])
    np.testing.assert_allclose(_coefficients(found[0]), shared, atol=0.05)


def test_section_without_tissue_stays_without() -> None:
    lattice = _lattice(_pattern(0, 0.3))
    found = with_shared_shading([lattice, None, lattice], [SUPPORT, None, SUPPORT])
    assert found[1] is None
    assert [entry is None for entry in found] == [False, True, False]


def test_one_section_keeps_all() -> None:
    lattice = _lattice(_pattern(0, 0.01))
    assert with_shared_shading([None, lattice], [None, SUPPORT]) == [None, lattice]


def test_section_of_one_plane_shares_by_the_mean_along_depth() -> None:
    deep = _pattern(0, 0.3)
    flat = deep.mean(axis=0, keepdims=True)
    found = with_shared_shading([_lattice(deep)] * 5 + [_lattice(flat)], [SUPPORT] * 6)
    assert _coefficients(found[-1]).shape == (1, 4, 5)
    np.testing.assert_allclose(_coefficients(found[-1]), flat, atol=0.15 * _rms(flat) + 0.01)


def test_different_grids_are_refused() -> None:
    other = _lattice(np.zeros((4, 4, 6)))
    with pytest.raises(ValueError, match="one grid"):
        with_shared_shading([_lattice(np.zeros((4, 4, 5))), other], [SUPPORT, np.ones((4, 6))])


def test_constant_of_the_stack_is_dropped() -> None:
    strong = _pattern(0, 0.5)
    found = without_error(_lattice(strong + 3), SUPPORT, 30)
    np.testing.assert_allclose(_coefficients(found), strong, atol=0.01)
    assert not _coefficients(without_error(_lattice(np.full((4, 4, 5), 3.0)), SUPPORT, 30)).any()
    assert not _coefficients(without_error(_lattice(_pattern(0, 0.01)), SUPPORT, 1)).any()


def test_support_is_the_tissue() -> None:
    mask = np.zeros((3, 20, 24), bool)
    mask[:2, :, :12] = True
    support = tissue_support(mask, (4, 6, 7))
    assert support.shape == (6, 7)
    # Basis functions add up to 1.
    assert support.sum() == pytest.approx(mask.sum(), rel=1e-5)
    assert support[:, -1].sum() == pytest.approx(0, abs=1e-6)
    assert not tissue_support(np.zeros_like(mask), (4, 6, 7)).any()


def test_samples_outside_the_mask_neither_change_nor_count() -> None:
    rng = np.random.default_rng(0)
    samples = rng.uniform(1, 2, (8, 5, 6)).astype(np.float32)
    mask = np.ones(samples.shape, bool)
    mask[3, :2] = False
    bad = samples.copy()
    bad[3, :2] = 1e6
    smooth = smooth_along_depth(bad, mask, 1.5)
    assert (smooth[3, :2] == 1e6).all()
    assert smooth[mask].max() < 2
    assert smooth[mask].std() < 0.7 * samples[mask].std()
    constant = np.full_like(samples, 7)
    np.testing.assert_allclose(smooth_along_depth(constant, mask, 1.5), constant, rtol=1e-6)


@pytest.mark.parametrize(("planes", "sigma"), [(1, 2.0), (5, 0.0)])
def test_nothing_to_smooth(planes: int, sigma: float) -> None:
    samples = np.arange(planes * 4, dtype=np.float32).reshape(planes, 2, 2)
    assert smooth_along_depth(samples, np.ones(samples.shape, bool), sigma) is samples
