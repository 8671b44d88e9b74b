"""Sections that the samplesheet leaves to the data, and what the report says where it gives other ones."""

import dataclasses
import json

import jsonschema
import numpy as np
import pytest

from linumpy.intensity.bias_model import read_json
from linumpy.intensity.sections import section_bounds
from linumpy.io.ome_zarr import open_image
from linumpy.plan import found_sections
from linumpy.plan.errors import InputError
from linumpy.plan.found_sections import _every, _level
from linumpy.simulate import image_volume, organ
from tests.acquisitions import write_ome_zarr
from tests.chain import REPOSITORY, plan, run_chain

SCHEMA = json.loads((REPOSITORY / "assets" / "metrics_schema.json").read_text())
SECTIONS = section_bounds(64, 8)
UNEQUAL = ((0, 9), (9, 20), (20, 26), (26, 40), (40, 47), (47, 64))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """An organ imaged in eight sections, the same in unequal ones, and as it is."""
    folder = tmp_path_factory.mktemp("images")
    brain = organ((64, 70, 66), (50.0, 60.0, 60.0), seed=3)
    settings = {"seed": 3, "dtype": "uint16", "attenuation_per_mm": 3.0, "gain_spread": 0.12}
    thin = ((0, 3), (3, 9), *UNEQUAL[1:-1], (47, 61), (61, 64))
    imaged = {
        "sections": image_volume(brain, sections=8, **settings),
        "unequal": image_volume(brain, sections=UNEQUAL, **settings),
        "thin ends": image_volume(brain, sections=thin, **settings),
        "even": image_volume(brain, sections=8, **settings, bias_strength=0.0),
    }
    return {name: write_ome_zarr(folder / f"{name}.ome.zarr", a.volume) for name, a in imaged.items()}


@pytest.mark.parametrize(
    ("name", "sections", "told"),
    [("sections", SECTIONS, "8, of 8 planes"), ("unequal", UNEQUAL, "6, of 6 to 17 planes")],
)
def test_sections_are_found_where_both_cells_are_empty(images, tmp_path, name, sections, told):
    planned = plan(tmp_path, {"image": images[name], "n_sections": ""})
    assert planned["tissue_mask"]["geometry"]["sections"] == [list(bounds) for bounds in sections]
    chosen = planned["report"]["chosen"][0]
    assert (chosen["what"], chosen["value"]) == ("sections", told)
    assert planned["report"]["warnings"] == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "even",
            r"\(a\): image: n_sections and sections are empty, and the data do not tell where .* give n_sections",
        ),
        ("thin ends", r"do not tell all cuts: most likely \d sections begin at planes 0, .* a CSV file of bounds"),
    ],
)
def test_where_the_data_do_not_tell_the_row_is_refused(images, tmp_path, name, message):
    with pytest.raises(InputError, match=message) as caught:
        plan(tmp_path, {"image": images[name], "n_sections": ""})
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize("value", [0, 7, np.nan, np.inf, -1])
@pytest.mark.parametrize("shape", [(1, 30, 30), (2, 30, 30), (12, 30, 30), (12, 1, 1)])
def test_images_of_nothing_are_refused(tmp_path, value, shape):
    image = write_ome_zarr(tmp_path / "i.zarr", np.full(shape, value, np.float32))
    with pytest.raises(InputError, match="the data do not tell where sections begin"):
        plan(tmp_path, {"image": image, "n_sections": ""})


def test_a_damaged_chunk_is_named_as_the_user_knows_it(tmp_path):
    image = write_ome_zarr(tmp_path / "i.zarr", np.random.default_rng(1).random((20, 70, 70), np.float32))
    chunk = image / "s0" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"\(a\): image: .*i.zarr/s0.*0/0/0"):
        plan(tmp_path, {"image": image, "n_sections": ""})


def test_too_much_is_not_read(images, tmp_path, monkeypatch):
    for limit, message in (("MOST_GIB", "holds 0 GiB, too many"), ("MOST_PLANES", "64 planes are too many")):
        with monkeypatch.context() as limited:
            limited.setattr(found_sections, limit, 1e-6)
            with pytest.raises(InputError, match=f"{message} to look for cuts in before the run; give one of them"):
                plan(tmp_path / limit, {"image": images["sections"], "n_sections": ""})


@pytest.mark.parametrize("apart", [1, 3, 20])
def test_every_kth_row_and_column_is_read_whatever_the_chunks(tmp_path, apart):
    volume = np.random.default_rng(1).integers(0, 999, (7, 41, 29)).astype(np.uint16)
    image = open_image(write_ome_zarr(tmp_path / "i.zarr", volume, chunks=(3, 10, 8)))
    np.testing.assert_array_equal(_every(image, apart), volume[:, ::apart, ::apart])


def test_the_coarsest_level_with_all_planes_is_read(images):
    image = open_image(images["sections"])

    def level(*shape):
        return dataclasses.replace(image, shape=shape)

    finest = level(64, 2000, 2000)
    levels = (level(64, 1000, 1000), level(64, 200, 200), level(64, 50, 50), level(32, 500, 500))
    assert _level(dataclasses.replace(finest, levels=levels)).shape == (64, 200, 200)
    assert _level(image) == image


@pytest.mark.parametrize(("n_sections", "differs"), [("", False), (8, False), (7, True), (1, True)])
def test_the_report_says_where_the_data_show_other_cuts(images, tmp_path, n_sections, differs):
    row = {"image": images["sections"], "n_sections": n_sections}
    metrics = read_json(run_chain(tmp_path, row, n_iterations=[2], shrink_factor=4) / "metrics.json")
    jsonschema.validate(metrics, SCHEMA)
    assert metrics["cuts"]["found"] == [z_start for z_start, _ in SECTIONS[1:]]
    assert metrics["cuts"]["declared"] == (n_sections or len(SECTIONS))
    assert metrics["cuts"]["differs"] is differs
    messages = [warning["message"] for warning in metrics["warnings"] if warning["code"] == "cuts"]
    assert len(messages) == differs
    if differs:
        assert "that of 8 sections of equal depth does, which begin at planes 0, 8, 16, 24, 32" in messages[0]
        assert "odd_planes" not in {warning["code"] for warning in metrics["warnings"]}


def test_one_pass_over_a_whole_stack_needs_no_cuts(images, tmp_path):
    row = {"image": images["sections"], "n_sections": 1}
    results = run_chain(tmp_path, row, mode="global", n_iterations=[2], shrink_factor=4)
    metrics = read_json(results / "metrics.json")
    assert metrics["cuts"]["differs"]
    assert "cuts" not in {warning["code"] for warning in metrics["warnings"]}
