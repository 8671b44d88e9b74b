import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linumpy.intensity.sections import equal_cuts, section_bounds


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_equal_sections_cover_the_planes_evenly(planes_and_sections):
    n_planes, n_sections = planes_and_sections
    bounds = section_bounds(n_planes, n_sections)
    assert [plane for start, stop in bounds for plane in range(start, stop)] == list(range(n_planes))
    depths = [stop - start for start, stop in bounds]
    assert len(depths) == n_sections
    assert max(depths) - min(depths) <= 1
    assert section_bounds(n_planes, bounds) == bounds
    assert section_bounds(n_planes, np.array(bounds)) == bounds


@pytest.mark.parametrize(
    ("n_planes", "sections", "message"),
    [
        (0, 1, "0 planes"),
        (5, 6, "6 sections do not fit 5 planes"),
        (5, 0, "number of sections is 0; give a whole number of at least 1"),
        (5, 2.7, "number of sections is 2.7; give a whole number of at least 1"),
        (10, [(0, 4.5), (4.5, 10)], "a bound of section 0 is 4.5; give a whole number"),
        (10, [(0, 4), (5, 10)], "leaves out planes 4 to 5"),
        (10, [(0, 4), (3, 10)], "overlaps planes 3 to 4"),
        (10, [(0, 4), (4, 4), (4, 10)], "holds no plane"),
        (10, [(0, 4), (4, 9)], "end at plane 9, the volume has 10 planes"),
    ],
)
def test_bounds_that_do_not_fit_are_refused(n_planes, sections, message):
    with pytest.raises(ValueError, match=message):
        section_bounds(n_planes, sections)


@pytest.mark.parametrize("wrong", ["36", [3, 6], [(0, 3, 6)], [None], ["03", "36"], [(0, True)], None])
def test_refuses_what_is_no_section(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"^section 0 is|^a bound of section 0 is|^the number of sections is"):
        section_bounds(6, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("n_planes", [1, 2, 7, 10, 48, 151, 1000])
def test_equal_cuts_are_those_of_the_bounds(n_planes):
    for n_sections in range(1, n_planes + 1):
        starts = [z_start for z_start, _ in section_bounds(n_planes, n_sections)]
        assert equal_cuts(n_planes, n_sections).tolist() == starts[1:]
