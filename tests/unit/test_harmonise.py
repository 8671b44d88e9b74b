"""Section gains: steps go, slow profiles stay, odd and empty sections do no harm."""

import numpy as np
import pytest

from linumpy.intensity.bias_model import BiasModel
from linumpy.intensity.harmonise import harmonise, keep_median, log_step, section_gains


def _volume(levels, depth=2, shape=(30, 30), seed=0):
    rng = np.random.default_rng(seed)
    tissue = rng.lognormal(5, 0.3, shape)
    return np.stack([tissue * level for level in levels for _ in range(depth)]).astype(np.float32)


def _model(n_sections, depth=2):
    sections = tuple((depth * i, depth * (i + 1)) for i in range(n_sections))
    return BiasModel(sections, (0.01, 0.01, 0.01), (None,) * n_sections, (1.0,) * n_sections)


def _harmonised(volume, mask, n_sections, depth=2):
    return harmonise(_model(n_sections, depth), lambda z: (volume[z], mask[z]), 1)


def test_few_sections_become_level() -> None:
    levels = np.array([1.0, 1.3, 0.8, 1.1])
    volume = _volume(levels)
    bias, found = _harmonised(volume, np.ones(volume.shape, bool), 4)
    after = levels * bias.gains
    # Four of 36 sections: nearly all of every step is undone.
    assert np.abs(after[1:] / after[:-1] - 1).max() < 0.02
    assert found.steps == pytest.approx(levels[1:] / levels[:-1], rel=1e-4)


def test_jitter_goes_and_a_slow_wave_stays() -> None:
    rng = np.random.default_rng(1)
    slow = 0.3 * np.sin(np.arange(150) / 150 * 4 * np.pi)  # 75 sections long
    jitter = rng.normal(0, 0.05, 150)
    gains, _ = section_gains(np.diff(slow + jitter), [True] * 150)
    after = slow + jitter + np.log(gains)
    assert np.std(np.diff(after)) < 0.3 * np.std(np.diff(slow + jitter))
    assert np.corrcoef(after, slow)[0, 1] > 0.98
    # Twice as long as what is halved, the wave keeps most of its height.
    assert np.std(after) == pytest.approx(np.std(slow), rel=0.2)


def test_an_odd_section_is_corrected_and_leaves_its_neighbours() -> None:
    brightness = np.zeros(60)
    brightness[20] = -1.5
    gains, profile = section_gains(np.diff(brightness), [True] * 60)
    gains = np.array(gains) / np.median(gains)
    assert np.log(gains[20]) == pytest.approx(1.5, abs=0.02)
    assert np.abs(np.log(np.delete(gains, 20))).max() < 0.02
    assert np.ptp(profile) < 0.02


def test_empty_sections_are_bridged() -> None:
    volume = _volume([1.0, 1.0, 1.4, 1.4])
    mask = np.ones(volume.shape, bool)
    mask[2:4] = False
    bias, found = _harmonised(volume, mask, 4)
    assert bias.gains[1] == 1.0
    assert found.has_tissue == (True, False, True, True)
    assert found.steps[0] is None
    assert found.steps[1] == pytest.approx(1.4, rel=1e-4)
    assert 1.4 * bias.gains[2] == pytest.approx(bias.gains[0], rel=0.02)


def test_no_tissue_at_all_gives_no_gains() -> None:
    volume = _volume([1.0, 2.0])
    bias, found = _harmonised(volume, np.zeros(volume.shape, bool), 2)
    assert bias.gains == (1.0, 1.0)
    assert found.has_tissue == (False, False)


def test_one_plane_sections_and_one_section() -> None:
    volume = _volume([1.0, 1.2, 1.1], depth=1)
    bias, _ = _harmonised(volume, np.ones(volume.shape, bool), 3, depth=1)
    assert 1.2 * bias.gains[1] == pytest.approx(bias.gains[0], rel=0.02)
    assert section_gains([], [True])[0] == (1.0,)


def test_step_needs_common_tissue_and_weighs_bright_pixels_more() -> None:
    last, first = np.zeros((10, 10), np.float32), np.zeros((10, 10), np.float32)
    everywhere = np.ones((10, 10), bool)
    last[:5] = first[:5] = np.log(100.0)
    first[5:] += 0.5  # the dim half brightens
    first[5] -= 0.5
    assert log_step(last, everywhere, first, everywhere) == 0
    few = np.zeros((10, 10), bool)
    few[:4] = True
    assert log_step(last, everywhere, first, few) is None


def test_median_is_kept() -> None:
    volume = _volume([1.0, 1.3])
    mask = np.ones(volume.shape, bool)
    field = np.full(volume.shape, 0.7, np.float32)
    model = _model(2)
    kept = keep_median(model, (True, False), volume, mask, field)
    assert kept.gains[0] == pytest.approx(np.exp(0.7), rel=1e-5)
    assert kept.gains[1] == 1.0
    assert keep_median(model, (True, True), volume, ~mask, field) is model


def _slow_part(brightness, kept):
    """The module's formula, with the matrices written out."""
    n = len(brightness)
    slopes, bends = (np.diff(np.eye(n), k, axis=0) if n > k else np.zeros((0, n)) for k in (1, 2))
    of_wave = 2 - 2 * np.cos(2 * np.pi / kept)
    weights, slope_weights, slow = np.ones(n), np.ones(len(slopes)), brightness
    for _ in range(200):
        system = np.diag(weights) + slopes.T @ np.diag(slope_weights) @ slopes / of_wave + bends.T @ bends / of_wave**2
        found = np.linalg.solve(system, weights * brightness)
        if n < 9 or np.abs(found - slow).max() < 1e-6:
            return found
        slow = found
        off, slope = np.abs(brightness - slow), np.abs(slopes @ slow)
        weights = 1 / (1 + (off / (3 * 1.4826 * np.median(off))) ** 2) ** 2
        slope_weights = np.sqrt(2 / (1 + (slope / np.median(slope)) ** 2))
    return slow


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 150])
def test_the_slow_part_is_that_of_the_formula(n) -> None:
    rng = np.random.default_rng(n)
    steps = rng.normal(0, 0.1, n - 1)
    _, profile = section_gains(steps, [True] * n)
    expected = _slow_part(np.concatenate([[0.0], np.cumsum(steps)]), 37.0)
    np.testing.assert_allclose(profile, expected, rtol=1e-9, atol=1e-9)  # rounding of another solver


def test_the_slow_part_of_very_many_sections() -> None:
    steps = np.random.default_rng(5).normal(0, 0.1, 19_999)
    gains, profile = section_gains(steps, [True] * 20_000)
    assert np.isfinite(gains).all()
    assert np.ptp(np.diff(profile)) < np.ptp(steps)


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="2 steps for 2 sections"):
        section_gains([0.1, 0.1], [True, True])
    with pytest.raises(ValueError, match="kept_sections is 1"):
        section_gains([0.1], [True, True], kept_sections=1)
