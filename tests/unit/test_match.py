"""One factor an acquisition brings the tissue of a run to a common level."""

import json

import jsonschema
import numpy as np
import pytest
import zarr

from linumpy.intensity.bias_model import BiasModel, read_json, write_json
from linumpy.io.ome_zarr import open_image
from linumpy.stage.match import match_levels, write_matches
from linumpy.stage.verify import verify_acquisition
from tests.acquisitions import small_acquisition, write_ome_zarr
from tests.chain import REPOSITORY, run_chain

QUICK = {"shrink_factor": 2, "n_iterations": [4, 4]}


def test_levels_agree_and_an_odd_one_moves_none():
    levels = {"a": 90.0, "b": 100.0, "c": 110.0, "odd": 1e6}
    matches = match_levels(list(levels), levels)
    after = [levels[name] * match["factor"] for name, match in matches.items()]
    np.testing.assert_allclose(after, np.sqrt(100 * 110))
    assert {match["n_matched"] for match in matches.values()} == {4}
    assert not any(match["left_out"] for match in matches.values())


def test_the_middling_acquisition_stays_to_the_bit():
    assert match_levels("abc", {"a": 90.0, "b": 100.0, "c": 130.0})["b"]["factor"] == pytest.approx(1.0, rel=1e-15)


@pytest.mark.parametrize("level", [123.4, None])
def test_alone_or_without_tissue_it_is_left_as_it_is(level):
    (match,) = match_levels(["a", "failed"], {"a": level}).values()
    assert match["factor"] == 1.0
    assert match["n_matched"] == (level is not None)
    assert match["left_out"] == (["failed"] if level else ["a", "failed"])


def test_one_without_tissue_takes_no_part():
    matches = match_levels("abc", {"a": 50.0, "b": None, "c": 200.0})
    assert [match["factor"] for match in matches.values()] == pytest.approx([2.0, 1.0, 0.5])
    assert matches["a"]["left_out"] == ["b"]


def test_files_are_the_same_bytes_in_any_order(tmp_path):
    files = [tmp_path / f"{name}.json" for name in ("b.1", "a", "c")]
    for level, file in enumerate(files, 40):
        write_json(file, {"level": float(level)})
    write_matches(["a", "b.1", "c"], files, tmp_path / "one")
    write_matches(["c", "b.1", "a"], files[::-1], tmp_path / "two")
    for name in ("a", "b.1", "c"):
        one, two = (tmp_path / which / name / "bias" / "match.json" for which in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


@pytest.fixture(scope="module")
def row(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    return {"image": write_ome_zarr(folder / "a.ome.zarr", small_acquisition().volume), "n_sections": 3}


@pytest.fixture(scope="module")
def plain(row, tmp_path_factory):
    return run_chain(tmp_path_factory.mktemp("plain"), row, **QUICK)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_all_voxels_get_one_factor_which_is_told(tmp_path, row, plain, version):
    others = {"b": 1e5, "c": 1e5, "gone": None}
    results = run_chain(tmp_path, row, others=others, match_batch=True, ome_zarr_version=version, **QUICK)
    match = read_json(results / "bias" / "match.json")
    assert match["common_level"] == pytest.approx(1e5)
    assert match["left_out"] == ["gone"]
    before, after = (open_image(folder / "corrected.ome.zarr").read() for folder in (plain, results))
    np.testing.assert_allclose(after, match["factor"] * before, rtol=2e-6)
    tissue = open_image(results / "mask.ome.zarr").read() != 0
    assert np.median(after[tissue]) == pytest.approx(1e5, rel=0.02)  # the level is that of every eighth voxel
    field = np.exp(BiasModel.load(results / "bias").log_bias_field(after.shape))
    np.testing.assert_allclose(after, small_acquisition().volume / field, rtol=2e-6)

    metrics = json.loads((results / "metrics.json").read_text())
    jsonschema.validate(metrics, json.loads((REPOSITORY / "assets" / "metrics_schema.json").read_text()))
    assert metrics["match"] == match
    assert {"match_left_out", "match_factor"} <= {warning["code"] for warning in metrics["warnings"]}
    assert "that of the middling of 3 acquisitions" in (results / "report.html").read_text()
    assert zarr.open_group(results / "corrected.ome.zarr", mode="r").attrs["linumpy"] == {"match_batch": match}
    assert not verify_acquisition(results)


def test_alone_it_keeps_its_bits_and_says_so(tmp_path, row, plain):
    results = run_chain(tmp_path, row, match_batch=True, **QUICK)
    before, after = (open_image(folder / "corrected.ome.zarr").read() for folder in (plain, results))
    np.testing.assert_array_equal(after, before)
    metrics = json.loads((results / "metrics.json").read_text())
    assert "match_alone" in {warning["code"] for warning in metrics["warnings"]}


def test_off_it_leaves_nothing_behind(plain):
    assert not (plain / "bias" / "match.json").exists()
    assert json.loads((plain / "metrics.json").read_text())["match"] is None
    assert "linumpy" not in zarr.open_group(plain / "corrected.ome.zarr", mode="r").attrs
    assert not any("bias/match" in line for line in (plain / "digests.tsv").read_text().splitlines())
