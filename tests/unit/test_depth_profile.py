"""Depth profiles: measured through speckle and moving anatomy, and added to lattices exactly."""

import numpy as np
import pytest

from linumpy.intensity.depth_profile import add_profile, depth_profile, fit_section, smooth_along_depth
from linumpy.n4.fit import fit_log_bias_field

DECAY = -0.08 * np.arange(12) + 0.2 * np.exp(-np.arange(12) / 2)


def _section(seed=0, speckle=16.0, shape=(12, 60, 70)):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[1], : shape[2]]
    anatomy = np.stack([np.where((x + z // 2) % 40 < 20, 1.0, 1.6) for z in range(shape[0])])  # it moves with depth
    mask = np.broadcast_to((y > 5) & (x > 5), shape).copy()
    image = anatomy * np.exp(DECAY)[:, None, None] * rng.gamma(speckle, 1 / speckle, shape) * 100
    image[~mask] = 1
    return image.astype(np.float32), mask


def test_profile_is_measured_through_speckle_and_moving_anatomy() -> None:
    image, mask = _section()
    # 0.25 of speckle over 3500 pixels is 0.006; a quarter of the tissue changes its class within the section.
    assert depth_profile(image, mask) == pytest.approx(DECAY - DECAY.mean(), abs=0.03)


def test_bright_inclusions_do_not_count() -> None:
    image, mask = _section()
    image[3:5, 10:25, 10:25] *= 50
    # One in fifteen columns says log(50) = 3.9 too much in two planes; a mean over the plane would be off by 0.26.
    assert depth_profile(image, mask) == pytest.approx(DECAY - DECAY.mean(), abs=0.05)


def test_a_plane_without_tissue_takes_its_neighbours_level() -> None:
    image, mask = _section()
    mask[6] = False
    profile = depth_profile(image, mask)
    assert profile[6] == pytest.approx((profile[5] + profile[7]) / 2)


@pytest.mark.parametrize("planes", [slice(0, 1), slice(0, 0)])
def test_too_few_planes_have_no_profile(planes: slice) -> None:
    image, mask = _section()
    inside = np.zeros_like(mask)
    inside[planes] = mask[planes]
    assert not depth_profile(image, inside).any()
    assert depth_profile(image[:1], mask[:1]).tolist() == [0.0]


@pytest.mark.parametrize("refinements", [(0, 0, 0), (3, 1, 1)])
def test_profile_is_added_to_the_lattice(refinements: tuple[int, int, int]) -> None:
    image, mask = _section()
    fit = fit_log_bias_field(
        image, mask, n_control_points=(4, 4, 4), n_iterations=(2,) * 4, refinements=refinements, workers=1
    )
    profile = DECAY - DECAY.mean()
    added = add_profile(fit.lattice, profile)
    change = added.evaluate(image.shape, 1.0) - fit.lattice.evaluate(image.shape, 1.0)
    # The same along every column, in single precision.
    assert np.ptp(change, axis=(1, 2)).max() < 1e-5
    # A knot every three planes follows the quick start to 1 %.
    assert change[:, 0, 0] == pytest.approx(profile, abs=0.015)


@pytest.mark.parametrize("n_planes", [2, 3, 5])
def test_thin_sections_keep_their_profile(n_planes: int) -> None:
    image, mask = _section()
    image, mask = image[:n_planes], mask[:n_planes]
    fit = fit_section(
        image,
        mask,
        n_control_points=(4, 4, 4),
        n_iterations=(5, 5, 5, 5),
        refinements=(3, 0, 0),
        depth_smoothing=0.3 * n_planes,
        workers=1,
    )
    left = depth_profile(image / np.exp(fit.lattice.evaluate(image.shape, 1.0)), mask)
    assert np.abs(left).max() < 0.02


def test_averaging_along_z_stays_in_the_mask() -> None:
    image, mask = _section()
    smooth = smooth_along_depth(image, mask, 3.0)
    assert (smooth[~mask] == image[~mask]).all()
    assert np.std(np.log(smooth[mask])) < np.std(np.log(image[mask]))
    assert np.mean(smooth[mask]) == pytest.approx(np.mean(image[mask]), rel=0.02)
    assert smooth_along_depth(image, mask, 0.0) is image


def test_an_empty_section_has_no_field() -> None:
    image, mask = _section()
    fit = fit_section(
        image, mask & False, n_control_points=(4, 4, 4), n_iterations=(5,), depth_smoothing=1.0, workers=1
    )
    assert fit.n_voxels == 0
    assert not fit.lattice.coefficients.any()
