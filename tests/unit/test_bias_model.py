import json
import re
from dataclasses import replace

import numpy as np
import pytest

from linumpy.intensity.bias_model import BiasModel, read_json, write_json
from linumpy.n4.lattice import Lattice

SHAPE = (14, 11, 17)
SECTIONS = ((0, 5), (5, 6), (6, 14))
VOXEL_MM = (0.01, 0.02, 0.025)
PROFILE = tuple(np.linspace(-0.1, 0.2, SHAPE[0]).tolist())


def lattice(seed, planes):
    coefficients = np.random.default_rng(seed).normal(0, 0.3, (4, 5, 6)).astype(np.float32)
    low, high = planes
    return Lattice(coefficients, (low * VOXEL_MM[0], 0.0, 0.0), ((high - 1 - low) * VOXEL_MM[0], 0.2, 0.4))


def fit(seed, planes):
    return {"lattice": lattice(seed, planes).to_dict(), "levels": [], "backend": "native", "n_voxels": 1}


@pytest.fixture
def model():
    return BiasModel(
        sections=SECTIONS,
        voxel_size_mm=VOXEL_MM,
        section_fits=(fit(0, SECTIONS[0]), None, fit(2, SECTIONS[2])),
        gains=(1.0, 1.0, 1.25),
        global_fit=fit(9, (0, SHAPE[0])),
        profile=PROFILE,
    )


def test_the_field_is_the_product_of_its_parts(model):
    whole = lattice(9, (0, SHAPE[0])).evaluate(SHAPE, VOXEL_MM)
    expected = whole + np.array(PROFILE)[:, None, None]
    expected[:5] += lattice(0, SECTIONS[0]).evaluate((5, *SHAPE[1:]), VOXEL_MM)
    expected[6:] += lattice(2, SECTIONS[2]).evaluate((8, *SHAPE[1:]), VOXEL_MM, start=(6, 0, 0)) - np.log(1.25)
    found = model.log_bias_field(SHAPE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)  # a few roundings of single precision
    # The section without tissue has no lattice of its own.
    np.testing.assert_array_equal(found[5], whole[5] + np.float32(PROFILE[5]))


@pytest.mark.parametrize(
    ("start", "step", "shape"),
    [
        ((0, 0, 0), (1, 1, 1), (3, 11, 17)),
        ((4, 2, 5), (1, 1, 1), (3, 7, 9)),
        ((1, 1, 0), (4, 3, 2), (4, 3, 8)),
        ((5, 10, 16), (1, 1, 1), (1, 1, 1)),
        ((2, 0, 1), (7, 5, 5), (2, 2, 3)),  # steps over the section of one plane
    ],
)
def test_a_voxel_has_one_value_whatever_block_it_is_asked_in(model, start, step, shape):
    block = tuple(slice(a, a + n * s, s) for a, n, s in zip(start, shape, step, strict=True))
    whole = model.log_bias_field(SHAPE)[block]
    np.testing.assert_array_equal(model.log_bias_field(shape, start=start, step=step), whole)


def test_nothing_fitted_is_a_field_of_one():
    model = BiasModel(SECTIONS, VOXEL_MM, (None,) * 3, (1.0,) * 3)
    np.testing.assert_array_equal(model.log_bias_field(SHAPE), 0)


def test_profile_has_a_level_for_each_plane():
    with pytest.raises(ValueError, match="the profile has 3 planes, the sections 14"):
        BiasModel(SECTIONS, VOXEL_MM, (None,) * 3, (1.0,) * 3, profile=(0.0,) * 3)
    assert BiasModel(SECTIONS, VOXEL_MM, (None,) * 3, (1.0,) * 3).profile == (0.0,) * SHAPE[0]


def test_digests_tell_the_profile(model):
    other = replace(model, profile=(0.0,) * SHAPE[0])
    changed = {name for name, digest in model.digests().items() if other.digests()[name] != digest}
    assert changed == {"bias/profile"}


def test_saved_and_loaded_it_gives_the_same_bits(model, tmp_path):
    model.save(tmp_path / "bias")
    loaded = BiasModel.load(tmp_path / "bias")
    assert loaded.sections == SECTIONS
    assert loaded.voxel_size_mm == VOXEL_MM
    assert loaded.gains == model.gains
    assert loaded.profile == PROFILE
    np.testing.assert_array_equal(loaded.log_bias_field(SHAPE), model.log_bias_field(SHAPE))
    loaded.save(tmp_path / "again")
    for name in ("sections.json", "global.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "bias" / name).read_bytes()


def test_the_files_are_readable(model, tmp_path):
    model.save(tmp_path / "bias")
    stored = json.loads((tmp_path / "bias" / "sections.json").read_text())
    assert [(s["index"], s["z_start"], s["z_stop"]) for s in stored["sections"]] == [(0, 0, 5), (1, 5, 6), (2, 6, 14)]
    assert stored["sections"][1]["fit"] is None
    assert stored["sections"][2]["gain"] == 1.25
    longest = max(map(len, (tmp_path / "bias" / "sections.json").read_text().splitlines()))
    assert longest > 40  # numbers of a list share a line


def test_texts_are_kept_as_they_are(tmp_path):
    content = {"path": "/data/[raw  2024]/a", "numbers": [1, None], "texts": ["[ 1,  2 ]"]}
    write_json(tmp_path / "a", content)
    assert read_json(tmp_path / "a") == content
    assert '"numbers": [ 1, null ]' in (tmp_path / "a").read_text()


def test_json_is_what_the_json_module_writes(tmp_path):
    content = {
        "b": [],
        "a": {},
        "é": [[1, 2], [{"x": [1.5, -0.0, 1e-30, True, None]}], "t\n"],
        "c": [{}, []],
        "d": (1,),
    }
    write_json(tmp_path / "a", content)
    expected = json.dumps(content, sort_keys=True, indent=1)
    for leaf in ("1, 2", "1.5, -0.0, 1e-30, true, null", "1"):
        lines = re.escape(leaf).replace(r",\ ", r",\s+")
        expected = re.sub(rf"\[\s+{lines}\s+\]", f"[ {leaf} ]", expected)
    assert (tmp_path / "a").read_text() == expected + "\n"


def test_json_is_the_same_bytes_for_the_same_content(tmp_path):
    write_json(tmp_path / "a", {"b": [1, 2.5], "a": {"d": None, "c": ["x, [y]", True]}})
    write_json(tmp_path / "b", {"a": {"c": ["x, [y]", True], "d": None}, "b": [1, 2.5]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_json(tmp_path / "a") == {"a": {"c": ["x, [y]", True], "d": None}, "b": [1, 2.5]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "c", [float("nan")])
