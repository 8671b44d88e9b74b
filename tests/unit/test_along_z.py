"""What the model along Z tells of known levels, and what it must not take for a level."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from linumpy.intensity import along_z_model
from linumpy.intensity.along_z import AlongZ
from linumpy.intensity.along_z_model import fit_along_z
from linumpy.intensity.plane_ratios import BIN, MIN_TISSUE, N_BINS, PlaneRatios
from linumpy.intensity.sections import Sections

Floats = npt.NDArray[np.float64]
NOISE = 0.002
GAINS = np.array([0.0, 0.3, -0.2, 0.1, 0.25, -0.15, 0.05, -0.3])


def _sections(*depths: int) -> Sections:
    stops = np.cumsum(depths)
    return tuple((int(stop - depth), int(stop)) for stop, depth in zip(stops, depths, strict=True))


def _measured(
    log_level: Floats, *, kept: Floats | float = 0.0, tissue: npt.NDArray[np.int64] | None = None, noise: float = NOISE
) -> PlaneRatios:
    """Measurements of planes of these levels; `kept` is the anatomy's part, which the histograms do not show."""
    n = len(log_level)
    tissue = np.full(n, 4000) if tissue is None else tissue
    (there,) = np.nonzero(tissue >= MIN_TISSUE)
    both = log_level + kept
    error = np.random.default_rng(0).normal(0, noise, len(there) - 1)
    values = np.arange(N_BINS) * BIN - N_BINS * BIN / 2
    histograms = np.zeros((n, N_BINS), np.uint32)
    for z in there:
        # Two classes of tissue.
        density = sum(
            share * np.exp(-0.5 * ((values - log_level[z] - level) / 0.15) ** 2)
            for share, level in ((0.6, 0.0), (0.4, 0.5))
        )
        histograms[z] = np.round(density / density.sum() * tissue[z])
    return PlaneRatios(
        there[:-1], there[1:], np.diff(both[there]) + error, np.full(len(there) - 1, noise), tissue, histograms
    )


def _centred(values: npt.ArrayLike, at: npt.NDArray[np.bool_] | slice = slice(None)) -> Floats:
    array = np.asarray(values, np.float64)
    centred: Floats = array - array[at].mean()
    return centred


def test_gains_are_recovered() -> None:
    levels = np.repeat(GAINS, 10)
    found = fit_along_z(_measured(levels), _sections(*[10] * 8))
    assert found.levels.shape == found.errors.shape == found.kept.shape == found.tissue.shape == (80,)
    np.testing.assert_allclose(_centred(found.levels), _centred(levels), atol=0.02)
    assert found.odd_planes == ()


def test_profile_of_all_sections_is_recovered_and_the_anatomy_kept() -> None:
    profile = -0.05 * np.arange(10)
    levels = np.tile(profile, 8)
    anatomy = 0.2 * np.sin(np.arange(80) / 80 * np.pi)
    found = fit_along_z(_measured(levels, kept=anatomy), _sections(*[10] * 8))
    np.testing.assert_allclose(found.profile, profile - profile.mean(), atol=0.01)
    within = found.levels.reshape(8, 10)
    np.testing.assert_allclose(
        within - within.mean(axis=1, keepdims=True), np.array([_centred(profile)] * 8), atol=0.02
    )
    # 0.2 up and down again over the stack stay in the image.
    assert np.ptp(within.mean(axis=1)) < 0.03
    # What these histograms show beside the levels is nothing.
    np.testing.assert_allclose(found.kept, 0.0, atol=0.03)


def test_what_is_kept_is_the_change_of_the_tissues_median() -> None:
    measured = _measured(np.repeat(GAINS, 10))
    brighter = np.roll(measured.histograms, 5, axis=1)
    brighter[:40] = measured.histograms[:40]
    found = fit_along_z(replace(measured, histograms=brighter), _sections(*[10] * 8))
    step = np.mean(found.kept[40:] + found.levels[40:]) - np.mean(found.kept[:40] + found.levels[:40])
    assert step == pytest.approx(5 * BIN + np.mean(GAINS[4:]) - np.mean(GAINS[:4]), abs=0.01)


def test_profile_and_gains_together() -> None:
    levels = np.repeat(GAINS, 10) + np.tile(-0.05 * np.arange(10), 8)
    found = fit_along_z(_measured(levels), _sections(*[10] * 8))
    np.testing.assert_allclose(_centred(found.levels), _centred(levels), atol=0.02)


def test_even_stays_even() -> None:
    anatomy = 0.3 * np.sin(np.arange(80) / 80 * np.pi)
    found = fit_along_z(_measured(np.zeros(80), kept=anatomy, noise=0.0002), _sections(*[10] * 8))
    assert np.abs(_centred(found.levels)).max() < 1e-3


def test_gains_of_single_planes() -> None:
    gains = np.random.default_rng(3).normal(0, 0.1, 40)
    found = fit_along_z(_measured(gains), _sections(*[1] * 40))
    assert found.profile.tolist() == [0.0]
    np.testing.assert_allclose(_centred(found.levels), _centred(gains), atol=0.02)
    assert found.odd_planes == ()


def test_one_section_is_left_where_the_data_do_not_tell() -> None:
    """A straight decay of one section may be anatomy, and no figure is without its error."""
    found = fit_along_z(_measured(np.zeros(12)), _sections(12))
    assert np.abs(_centred(found.levels)).max() < 0.01
    assert np.isfinite(found.errors).all()
    profile, gains = found.split(_sections(12), within=True, between=True)
    assert len(profile) == 12
    assert gains == pytest.approx([1.0], abs=0.05)


def test_unequal_sections() -> None:
    depths = [4, 12, 7, 10, 1, 9, 12, 5]
    profile = -0.04 * np.arange(12)
    levels = np.concatenate([gain + profile[:depth] for gain, depth in zip(GAINS, depths, strict=True)])
    found = fit_along_z(_measured(levels), _sections(*depths))
    assert len(found.profile) == 12
    np.testing.assert_allclose(_centred(found.levels), _centred(levels), atol=0.03)


@pytest.mark.parametrize("empty", [3, 7, 0])
def test_empty_section(empty: int) -> None:
    levels, sections = np.repeat(GAINS, 10), _sections(*[10] * 8)
    tissue = np.full(80, 4000)
    tissue[10 * empty : 10 * empty + 10] = 0
    found = fit_along_z(_measured(levels, tissue=tissue), sections)
    there = tissue > 0
    np.testing.assert_allclose(_centred(found.levels, there)[there], _centred(levels, there)[there], atol=0.04)
    assert (found.levels[~there] == 0).all()
    profile, gains = found.split(sections, within=True, between=True)
    assert gains[empty] == 1.0
    assert profile[10 * empty : 10 * empty + 10] == (0.0,) * 10
    assert all(gain != 1.0 for i, gain in enumerate(gains) if i != empty)


@pytest.mark.parametrize("blank", [[0], [0, 9]], ids=["every first plane", "first and last plane"])
def test_blank_planes_at_every_cut(blank: list[int]) -> None:
    """No plane at a cut holds tissue: the next ones tell the gain."""
    levels, sections = np.repeat(GAINS, 10), _sections(*[10] * 8)
    tissue = np.full((8, 10), 4000)
    tissue[:, blank] = 0
    found = fit_along_z(_measured(levels, tissue=tissue.ravel()), sections)
    np.testing.assert_allclose(_centred(found.levels), _centred(levels), atol=0.03)
    _, gains = found.split(sections, within=True, between=True)
    np.testing.assert_allclose(_centred(np.log(gains)), -_centred(GAINS), atol=0.03)


def test_blank_end_planes_of_one_section() -> None:
    levels, sections = np.repeat(GAINS, 10), _sections(*[10] * 8)
    tissue = np.full(80, 4000)
    tissue[[30, 39]] = 0
    _, gains = fit_along_z(_measured(levels, tissue=tissue), sections).split(sections, within=True, between=True)
    np.testing.assert_allclose(_centred(np.log(gains)), -_centred(GAINS), atol=0.03)


def test_dim_plane_is_named_put_right_and_alone() -> None:
    levels = np.repeat(GAINS, 10) + np.tile(-0.05 * np.arange(10), 8)
    sound = fit_along_z(_measured(levels), _sections(*[10] * 8))
    dim = levels.copy()
    dim[34] += np.log(0.7)
    found = fit_along_z(_measured(dim), _sections(*[10] * 8))
    assert found.odd_planes == (34,)
    off = found.levels - sound.levels
    off -= np.median(off)
    assert off[34] == pytest.approx(np.log(0.7), abs=0.01)
    assert np.abs(np.delete(off, 34)).max() < 0.01


def test_nothing_to_tell_from() -> None:
    tissue = np.zeros(20, np.int64)
    tissue[7] = 4000
    nothing = np.zeros(0)
    measured = PlaneRatios(
        nothing.astype(np.int64), nothing.astype(np.int64), nothing, nothing, tissue, np.zeros((20, N_BINS), np.uint32)
    )
    found = fit_along_z(measured, _sections(10, 10))
    assert not found.levels.any()
    assert found.split(_sections(10, 10), within=True, between=True) == ((0.0,) * 20, (1.0, 1.0))


def test_same_input_gives_the_same_bits() -> None:
    levels = np.repeat(GAINS, 10) + np.tile(-0.05 * np.arange(10), 8)
    first, second = (fit_along_z(_measured(levels), _sections(*[10] * 8)) for _ in range(2))
    assert first.levels.tobytes() == second.levels.tobytes()
    assert first.errors.tobytes() == second.errors.tobytes()
    assert first.to_dict() == second.to_dict()


def test_errors_tell_how_far_off_gains_are() -> None:
    """Errors are neither far too small nor useless: 4 draws of 12 gains against their standard errors."""
    sections, scores = _sections(*[5] * 12), []
    for seed in range(4):
        gains = np.random.default_rng(seed).normal(0, 0.1, 12)
        levels = np.repeat(gains, 5)
        found = fit_along_z(_measured(levels), sections)
        scores.append((_centred(found.levels) - _centred(levels)) / found.errors)
    assert 0.05 < np.sqrt(np.mean(np.square(scores))) < 2


def test_system_grows_with_the_planes() -> None:
    """Ten times the sections are ten times the numbers: a band over the planes, and a border as wide as before."""

    def numbers(n_sections: int) -> int:
        sections = _sections(*[1] * n_sections)
        measured = _measured(np.resize(GAINS, n_sections))
        stack = along_z_model._Stack(measured, sections)
        found = along_z_model._solve(stack, along_z_model._usual(1), set(), None)
        return sum(array.size for array in (found.states, found.factor, found.coupling, found.schur))

    few, many = numbers(200), numbers(2000)
    assert many < 10.1 * few


def test_two_thousand_sections_of_one_plane() -> None:
    gains = np.resize(GAINS, 2000)
    found = fit_along_z(_measured(gains), _sections(*[1] * 2000))
    np.testing.assert_allclose(_centred(found.levels), _centred(gains), atol=0.03)


def test_variances_of_very_many_sections_are_told_from_some(monkeypatch: pytest.MonkeyPatch) -> None:
    gains = np.repeat(np.resize(GAINS, 300), 2)
    tissue = np.full(600, 4000)
    tissue[100:120] = 0  # sections without tissue are none of those
    measured, sections = _measured(gains, tissue=tissue), _sections(*[2] * 300)
    expected = fit_along_z(measured, sections)
    sizes = []
    solve = along_z_model._solve
    monkeypatch.setattr(along_z_model, "_solve", lambda stack, *a: sizes.append(len(stack.planes)) or solve(stack, *a))
    monkeypatch.setattr(along_z_model, "MOST_SECTIONS", 128)
    found = fit_along_z(measured, sections)
    assert sorted(set(sizes)) == [256, 580]
    assert sizes.count(580) <= along_z_model.NAMING_TURNS
    np.testing.assert_allclose(found.levels, expected.levels, atol=0.005)


def _made() -> AlongZ:
    return fit_along_z(_measured(np.repeat(GAINS, 4)), _sections(*[4] * 8))


def test_stored_as_json_and_read_again() -> None:
    stored = _made().to_dict()
    assert AlongZ.from_dict(stored).to_dict() == stored


def test_split_gives_the_levels_back() -> None:
    found, sections = _made(), _sections(*[4] * 8)
    profile, gains = found.split(sections, within=True, between=True)
    np.testing.assert_allclose(np.array(profile) - np.repeat(np.log(gains), 4), found.levels, atol=1e-12)
    assert found.split(sections, within=False, between=True) == ((0.0,) * 32, gains)
    assert found.split(sections, within=True, between=False) == (profile, (1.0,) * 8)
