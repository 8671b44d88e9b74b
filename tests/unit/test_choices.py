"""Settings chosen from sizes: what the reasons say, and warnings for absurd lattices."""

import pytest

from linumpy.plan.choices import choose_fit, choose_shrink


def test_thin_sections_keep_every_plane_and_one_span_along_depth() -> None:
    choice = choose_fit((10, 510, 667), (0.005, 0.002, 0.002))
    assert choice.shrink_factor == (1, 2, 2)
    assert choice.n_control_points == (4, 4, 4)
    assert choice.refinements == (0, 0, 0)
    assert choice.n_iterations == (50,)
    assert choice.depth_smoothing == pytest.approx(3.0)


def test_n4_alone_has_fine_knots_along_depth() -> None:
    choice = choose_fit((10, 510, 667), (0.005, 0.002, 0.002), depth_profile=False)
    assert choice.refinements == (3, 0, 0)
    assert choice.n_iterations == (50, 50, 50, 50)
    assert choice.depth_smoothing == 0


def test_sections_of_one_plane_have_no_depth() -> None:
    choice = choose_fit((1, 104, 97), (0.1, 0.1, 0.1))
    assert choice.refinements == (0, 0, 0)
    assert choice.depth_smoothing == 0
    assert choice.shrink_factor == (1, 1, 1)


@pytest.mark.parametrize(("rows", "expected"), [(300, 1), (600, 2), (1200, 4), (3000, 8)])
def test_wide_fields_of_view_get_more_spans(rows: int, expected: int) -> None:
    choice = choose_fit((20, rows, rows), (0.01, 0.01, 0.01))
    spans = [(points - 3) << times for points, times in zip(choice.n_control_points, choice.refinements, strict=True)]
    assert spans[1:] == [expected, expected]


def test_very_wide_fields_start_with_more_spans() -> None:
    choice = choose_fit((20, 20_000, 20_000), (0.01, 0.01, 0.01))
    spans = (choice.n_control_points[1] - 3) << choice.refinements[1]
    # 200 mm at no less than 3 mm a span.
    assert 32 < spans <= 66


def test_the_stack_is_stiff_along_z() -> None:
    choice = choose_fit((2000, 3000, 3000), (0.01, 0.01, 0.01), section_planes=20)
    assert choice.n_control_points[0] == 4
    assert choice.refinements == (0, 2, 2)
    assert choice.shrink_factor[0] == 2


def test_what_is_given_is_kept() -> None:
    choice = choose_fit(
        (20, 300, 340),
        (0.01, 0.02, 0.02),
        shrink_factor=(4, 4, 4),
        spline_distance_mm=1.0,
        n_iterations=(30, 20),
        shading_mm=0,
        depth_profile=False,
    )
    assert choice.shrink_factor == (4, 4, 4)
    assert choice.n_control_points == (4, 6, 7)
    assert choice.refinements == (1, 1, 1)
    assert choice.n_iterations == (30, 20)
    assert choice.depth_smoothing == 0


def test_simpleitk_refines_all_axes_alike() -> None:
    choice = choose_fit((20, 3000, 3000), (0.01, 0.005, 0.005), isotropic=True)
    assert len(set(choice.refinements)) == 1
    assert len(choice.n_iterations) == choice.refinements[0] + 1


def test_samples_stay_below_the_most() -> None:
    choice = choose_fit((400, 4000, 4000), (0.01, 0.01, 0.01), max_samples=1_000_000)
    z, y, x = choice.shrink_factor
    assert (400 // z) * (4000 // y) * (4000 // x) <= 1_000_000
    assert "1000000" in next(why for what, _, why in choice.reasons if what.startswith("shrink"))


def test_every_choice_says_why() -> None:
    for what, value, why in choose_fit((20, 300, 340), (0.01, 0.02, 0.02)).reasons:
        assert what
        assert value
        assert why


def test_absurd_lattices_warn_with_numbers() -> None:
    wrong_unit = choose_fit((20, 3000, 3000), (10.0, 2.0, 2.0), spline_distance_mm=2.0, shading_mm=0)
    assert any("MiB" in warning and "voxel size" in warning for warning in wrong_unit.warnings)
    too_fine = choose_fit((20, 300, 300), (0.01, 0.01, 0.01), shrink_factor=(10, 4, 4), shading_mm=0)
    assert any("8 spans along z for 2 samples" in warning for warning in too_fine.warnings)
    assert choose_fit((20, 300, 340), (0.01, 0.02, 0.02)).warnings == ()


def test_a_stack_of_very_many_planes_is_thinned() -> None:
    usual = choose_shrink((2048, 256, 256), (1, 1, 1), section_planes=1)
    assert usual == ((1, 1, 1), "about 256 x 256 samples of a plane, 8 planes or more of each section")
    many = choose_shrink((20_000, 256, 256), (1, 1, 1), section_planes=1)
    assert many == ((10, 1, 1), "about 256 x 256 samples of a plane, 2048 planes of the stack or fewer")


def test_deep_sections_are_thinned() -> None:
    assert choose_shrink((100, 1000, 1000), (8, 1, 1))[0][0] == 3
    assert choose_shrink((63, 1000, 1000), (8, 1, 1))[0][0] == 1
