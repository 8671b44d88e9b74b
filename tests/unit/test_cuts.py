"""Where sections begin, as the ratios of planes tell it."""

from itertools import accumulate, pairwise

import numpy as np
import pytest

from linumpy.intensity.cuts import ENOUGH, check_cuts, find_cuts
from linumpy.intensity.plane_ratios import PlaneRatios, plane_ratios
from linumpy.intensity.sections import section_bounds
from linumpy.simulate import image_volume, organ


def measured(levels, tissue=None, noise=0.004, seed=0):
    """Ratios of planes of these log levels, above a slow change of the tissue."""
    n = len(levels)
    rng = np.random.default_rng(seed)
    anatomy = 0.2 * np.sin(np.arange(n) / 15)
    ratio = np.diff(np.asarray(levels) + anatomy) + rng.normal(0, noise, n - 1)
    tissue = np.full(n, 9000) if tissue is None else np.asarray(tissue)
    return PlaneRatios(
        np.arange(n - 1), np.arange(1, n), ratio, np.full(n - 1, noise), tissue, np.zeros((n, 1000), np.uint32)
    )


def levels_of(bounds, *, decay=0.06, gains=0.1, dip=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.normal(0, gains) - decay * np.arange(b - a) + np.where(np.arange(b - a) == 0, dip, 0) for a, b in bounds]
    )


@pytest.mark.parametrize(("n", "n_sections"), [(90, 9), (152, 19), (150, 50), (120, 3), (30, 3), (151, 38)])
@pytest.mark.parametrize("dip", [0.0, -0.3])
def test_equal_depth_is_found(n, n_sections, dip):
    bounds = section_bounds(n, n_sections)
    found = find_cuts(measured(levels_of(bounds, dip=dip)))
    assert found.sections == bounds
    assert found.equal
    assert found.certain


def test_unequal_depth_is_found():
    depths = [7, 12, 9, 5, 14, 8, 11, 6, 13, 9]
    bounds = tuple(pairwise(accumulate(depths, initial=0)))
    found = find_cuts(measured(levels_of(bounds)))
    assert found.sections == bounds
    assert not found.equal
    assert found.certain


@pytest.mark.parametrize("seed", range(5))
def test_no_cuts_where_nothing_jumps(seed):
    even = measured(np.zeros(120), seed=seed)
    assert find_cuts(even).sections == ((0, 120),)
    for n_sections in (1, 15, 120):
        assert not check_cuts(even, section_bounds(120, n_sections)).differs


@pytest.mark.parametrize("seed", range(5))
def test_sections_of_one_plane_tell_nothing(seed):
    bounds = section_bounds(100, 100)
    ratios = measured(levels_of(bounds, seed=seed))
    assert not find_cuts(ratios).told
    for n_sections in (1, 50, 100):
        assert not check_cuts(ratios, section_bounds(100, n_sections)).differs


@pytest.mark.parametrize("plane", [33, 40, 47])
@pytest.mark.parametrize("off", [-0.4, 0.5])
def test_a_bad_plane_is_no_section(plane, off):
    odd = np.zeros(80)
    odd[plane] = off
    assert not find_cuts(measured(odd)).told
    bounds = section_bounds(80, 10)
    assert not check_cuts(measured(odd + levels_of(bounds)), bounds).differs
    assert find_cuts(measured(odd + levels_of(bounds))).sections == bounds


@pytest.mark.parametrize("n_sections", [1, 9, 11])
def test_a_wrong_number_is_noticed(n_sections):
    bounds = section_bounds(80, 10)
    check = check_cuts(measured(levels_of(bounds)), section_bounds(80, n_sections))
    assert check.differs
    assert check.against > ENOUGH
    assert check.to_dict()["found"] == [8 * k for k in range(1, 10)]


@pytest.mark.parametrize("shift", [-3, -2, -1, 1, 2, 3])
def test_a_shifted_file_is_noticed(shift):
    ratios = measured(levels_of(section_bounds(80, 10)))
    edges = [0, *(8 * k + shift for k in range(1, 10)), 80]
    check = check_cuts(ratios, tuple(pairwise(edges)))
    assert check.differs
    assert check.found.sections == section_bounds(80, 10)


def test_jumps_lost_in_what_the_planes_do_are_not_told():
    bounds = section_bounds(80, 10)
    ratios = measured(levels_of(bounds, decay=0.002, gains=0.005), noise=0.03)
    assert not find_cuts(ratios).told
    assert not check_cuts(ratios, section_bounds(80, 9)).differs


def test_thin_ends_tell_nothing():
    bounds = section_bounds(80, 10)
    tissue = np.full(80, 9000)
    tissue[:5] = tissue[-5:] = 300
    levels = levels_of(bounds)
    levels[:5] += np.linspace(-4, 0, 5)
    assert find_cuts(measured(levels, tissue)).sections == bounds


def test_few_planes_and_no_tissue_tell_nothing():
    for n in (1, 2, 3, 4):
        assert find_cuts(measured(np.zeros(n))).sections == ((0, n),)
    nothing = plane_ratios((np.zeros((9, 9), np.float32), np.zeros((9, 9), bool)) for _ in range(6))
    assert find_cuts(nothing).sections == ((0, 6),)


def test_very_many_planes():
    bounds = section_bounds(4000, 500)
    found = find_cuts(measured(levels_of(bounds)))
    assert found.sections == bounds


@pytest.fixture(scope="module")
def brain():
    return organ((64, 70, 66), (50.0, 60.0, 60.0), seed=3)


@pytest.mark.parametrize(("strength", "found"), [(1.0, 8), (0.0, 1)])
def test_an_organ(brain, strength, found):
    a = image_volume(
        brain, sections=8, seed=3, dtype="uint16", attenuation_per_mm=3.0, gain_spread=0.12, bias_strength=strength
    )
    ratios = plane_ratios((p.astype(np.float32), m) for p, m in zip(a.volume, a.tissue_mask, strict=True))
    check = check_cuts(ratios, a.sections)
    assert not check.differs
    assert check.found.sections == section_bounds(64, found)
