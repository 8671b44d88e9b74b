"""Tens of thousands of sections: lists travel in files, and work grows with the planes, not with their square."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from linumpy.intensity import correction, mask_stream
from linumpy.intensity.bias_model import BiasModel, read_json
from linumpy.intensity.correction import FieldDivider
from linumpy.intensity.tissue_mask import stream_tissue_mask
from linumpy.io.ome_zarr import open_mask
from linumpy.n4.lattice import Lattice
from linumpy.plan import acquisition
from linumpy.plan.acquisition import _batches
from linumpy.plan.errors import InputError
from linumpy.qc.figures import MAX_POINTS, thinned
from linumpy.qc.report import LISTED_SECTIONS, render_report
from linumpy.stage.fit import FitSettings, _with_levels_alone_along_z, fit_sections
from linumpy.stage.local import MemorySamples
from linumpy.stage.samples import SampleGeometry
from tests.acquisitions import write_ome_zarr
from tests.chain import REPOSITORY, plan
from tests.report_examples import example

N_PLANES = 13_000
"""So many bounds of sections were longer than Linux allows an argument to be."""


def test_thirteen_thousand_sections_reach_the_mask(tmp_path):
    volume = np.random.default_rng(1).integers(100, 200, (N_PLANES, 4, 4), np.uint16)
    tissue = np.ones(volume.shape, np.uint8)
    tissue[::2, 0] = 0
    row = {
        "image": write_ome_zarr(tmp_path / "tall.ome.zarr", volume, chunks=(1000, 4, 4)),
        "mask": write_ome_zarr(tmp_path / "mask.ome.zarr", tissue, chunks=(1000, 4, 4)),
        "n_sections": N_PLANES,
    }
    settings = plan(tmp_path, row)["tissue_mask"]
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    command = [sys.executable, REPOSITORY / "bin" / "tissue_mask.py", "--settings", "settings.json", "--threads", "2"]
    command += ["--image", row["image"], "--given_mask", row["mask"]]
    command += ["--output_mask", "found.ome.zarr", "--output_samples", "samples", "--output_statistics", "tissue.json"]
    subprocess.run([str(word) for word in command], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(open_mask(tmp_path / "found.ome.zarr").read() != 0, tissue != 0)
    assert len(read_json(tmp_path / "samples" / "samples.json")["sections"]) == N_PLANES


def test_more_sections_than_fit_are_refused_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(acquisition, "MOST_SECTIONS", 9)
    row = {"image": write_ome_zarr(tmp_path / "i.ome.zarr", np.ones((10, 4, 4), np.uint16))}
    with pytest.raises(InputError, match=r"n_sections: 10 sections are more than the 9 .*; cut the acquisition"):
        plan(tmp_path, row | {"n_sections": 10})
    plan(tmp_path, row | {"n_sections": 9})


def test_small_planes_make_deep_slabs(tmp_path):
    volume = np.ones((2000, 8, 8), np.uint16)
    row = {"image": write_ome_zarr(tmp_path / "i.ome.zarr", volume, chunks=(500, 8, 8)), "n_sections": 4}
    assert [settings["z_stop"] for settings in plan(tmp_path, row)["correct"]] == [2000]


def test_slabs_are_not_too_deep(tmp_path):
    row = {"image": write_ome_zarr(tmp_path / "i.ome.zarr", np.ones((5000, 64, 64), np.uint16)), "n_sections": 4}
    assert max(slab["z_stop"] - slab["z_start"] for slab in plan(tmp_path, row)["correct"]) <= 2048


def test_sections_without_tissue_are_one_line_of_the_log(tmp_path, caplog):
    volume = np.full((300, 10, 10), 100, np.float32)
    mask = volume > 0
    mask[:250] = False
    bounds = tuple((z, z + 1) for z in range(300))
    geometry = SampleGeometry(volume.shape, (0.1, 0.1, 0.1), bounds, (1, 1, 1), (1, 1, 1), 1)
    settings = FitSettings(None, (2,), 0.0, False, False, "native", 1)
    with caplog.at_level("INFO"):
        fit_sections(MemorySamples(geometry, volume, mask), range(200, 300), settings, tmp_path / "fits.json")
    assert [fit["fit"] is None for fit in read_json(tmp_path / "fits.json")] == [True] * 50 + [False] * 50
    about_empty = [message for message in caplog.messages if "tissue" in message or "mask" in message]
    assert len(about_empty) == 1
    assert about_empty[0].startswith("50 sections without a sample of tissue are not fitted: 200, 201, ")


def model(n_sections):
    """A field of sections of one plane each."""
    rng = np.random.default_rng(2)
    fits = tuple(
        {"lattice": Lattice(rng.normal(0, 0.1, (1, 4, 4)), (0, 0, 0), (0, 0.9, 0.9), (1, 10, 10)).to_dict()}
        for _ in range(n_sections)
    )
    bounds = tuple((z, z + 1) for z in range(n_sections))
    return BiasModel(bounds, (0.1, 0.1, 0.1), fits, (1.0,) * n_sections)


@pytest.fixture
def evaluations(monkeypatch):
    """Planes of each evaluation of a lattice."""
    seen = []
    contract = Lattice._control_planes

    def counting(self, first, weights):
        seen.append(len(first))
        return contract(self, first, weights)

    monkeypatch.setattr(Lattice, "_control_planes", counting)
    return seen


def test_levels_evaluate_each_plane_once(evaluations):
    bias = replace(model(300), profile=(0.0,) * 300)
    volume = np.full((300, 10, 10), 100, np.float32)
    geometry = SampleGeometry(volume.shape, (0.1, 0.1, 0.1), bias.sections, (1, 1, 1), (1, 1, 1), 1)
    _with_levels_alone_along_z(bias, MemorySamples(geometry, volume, volume > 0))
    assert evaluations == [1] * 300


def test_a_block_sees_its_own_sections_alone(evaluations):
    bias = model(300)
    field = bias.log_bias_field((3, 10, 10), start=(100, 0, 0), step=(7, 1, 1))
    assert evaluations == [1] * 3
    assert sorted(bias._lattices) == [100, 107, 114]
    whole = bias.log_bias_field((300, 10, 10))
    np.testing.assert_array_equal(field, whole[100:115:7])


@pytest.mark.parametrize("thin", [True, False])
def test_fields_of_many_planes_are_those_of_each(thin):
    rng = np.random.default_rng(8)
    bias = model(60)
    fits = [None if rng.random() < 0.2 else fit for fit in bias.section_fits]
    if not thin:  # some sections of several planes, on another grid
        fits[20] = {"lattice": Lattice(rng.normal(size=(4, 5, 4)), (2, 0, 0), (0.3, 0.9, 0.9), (4, 9, 9)).to_dict()}
    bounds = (
        bias.sections if thin else (*((z, z + 1) for z in range(20)), (20, 24), *((z, z + 1) for z in range(24, 63)))
    )
    of_stack = {"lattice": Lattice(rng.normal(size=(5, 4, 4)), (0, 0, 0), (6, 0.9, 0.9), (60, 10, 10)).to_dict()}
    bias = BiasModel(bounds, bias.voxel_size_mm, tuple(fits), tuple(rng.gamma(9, 0.1, 60)), of_stack)
    n = bounds[-1][1]
    each = [bias.log_bias_field((1, 10, 9), start=(z, 0, 1)) for z in range(n)]
    np.testing.assert_array_equal(bias.log_bias_field((n, 10, 9), start=(0, 0, 1)), np.concatenate(each))
    np.testing.assert_array_equal(
        bias.log_bias_field((n // 3, 10, 9), start=(1, 0, 1), step=(3, 1, 1)), np.concatenate(each[1::3][: n // 3])
    )


@pytest.mark.parametrize("settings", [{}, {"method": "robust"}, {"method": "otsu_log", "min_size": 9, "largest": 1}])
def test_sections_masked_together_are_those_masked_one_by_one(settings, monkeypatch):
    rng = np.random.default_rng(9)
    volume = rng.gamma(9, 10, (80, 30, 30)).astype(np.float32)
    volume[:, 8:22, 9:25] *= rng.uniform(3, 8, (80, 1, 1)).astype(np.float32)
    volume[:5] = 0
    volume[5:7] = 50
    volume[40] = -1
    bounds = (*((z, z + 1) for z in range(60)), (60, 63), (63, 80))

    def found():
        sections = []
        blocks = stream_tissue_mask(
            lambda z0, z1: volume[z0:z1], volume.shape, bounds, workers=2, on_section=sections.append, **settings
        )
        return np.concatenate([block for _, block in blocks]), sections

    together = found()
    monkeypatch.setattr(mask_stream, "GROUP_VOXELS", 1)
    alone = found()
    np.testing.assert_array_equal(together[0], alone[0])
    assert together[1] == alone[1]
    assert 0.1 < alone[0].mean() < 0.5


def test_a_slab_makes_the_splines_of_its_own_sections_alone(monkeypatch):
    made = []
    kind = correction._PlaneSpline
    monkeypatch.setattr(correction, "_PlaneSpline", lambda *args: made.append(args[0]) or kind(*args))
    bias = model(300)
    block = np.full((5, 10, 10), 100, np.float32)
    out = np.empty_like(block)
    with ThreadPoolExecutor(1) as executor:
        FieldDivider(bias, (0, 10), (0, 10), executor).divide(block, 200, out)
    assert len(made) == 1 + 5  # that of the stack, which there is none of, and those of the planes
    expected = block / np.exp(bias.log_bias_field(block.shape, start=(200, 0, 0)))
    np.testing.assert_allclose(out, expected, rtol=2e-6)  # the two ways differ by 1e-6


def test_many_small_sections_are_shared_out():
    batches = _batches(20_000, 64 * 64 * 50, {"sections_per_task": None, "backend": "native"})
    assert 2 <= len(batches) <= 20
    assert max(last - first + 1 for first, last in batches) <= 2000
    assert [first for first, _ in batches[1:]] == [last + 1 for _, last in batches[:-1]]


def test_a_thinned_series_keeps_its_extremes_and_gaps():
    values = np.random.default_rng(3).normal(size=20_000).tolist()
    values[5_000], values[5_001] = 50.0, -50.0
    values[10_000:10_500] = [None] * 500
    points = thinned(values)
    assert len(points) <= MAX_POINTS
    assert [i for i, _ in points] == sorted(i for i, _ in points)
    assert {(5_000, 50.0), (5_001, -50.0)} <= set(points)
    assert any(value is None for _, value in points)
    assert thinned([1.0, None, 2.0]) == [(0, 1.0), (1, None), (2, 2.0)]


def test_the_report_of_very_many_sections_stays_small():
    metrics, pictures = example()
    n = 20_000
    known = metrics["sections"][0]
    rng = np.random.default_rng(4)
    steps = 1 + rng.normal(0, 0.05, n)
    steps[777] = 3.0
    metrics["sections"] = [
        known
        | {"index": i, "z_start": i, "z_stop": i + 1, "planes": 1}
        | {"step_before": None if i == n - 1 else float(step), "step_after": None if i == n - 1 else float(step)}
        for i, step in enumerate(steps)
    ]
    metrics["planes"] = {name: rng.gamma(20, 5, n).tolist() for name in ("median_before", "median_after")}
    metrics["planes"]["tissue_fraction"] = [0.5] * n
    measured = {"levels": rng.normal(0, 0.1, n).tolist(), "errors": [0.02] * n, "kept": [0.0] * n, "tissue": [900] * n}
    metrics["along_z"] |= measured | {"odd_planes": list(range(0, n, 2))}
    metrics["warnings"] = [{"code": "gain", "message": "far from 1", "section": i} for i in range(n)]
    page = render_report(metrics, pictures)
    assert len(page) < 5e6
    rows = page.count('<th scope="row">') - page.count('<th scope="row">', page.index("</table>"))
    assert 200 < rows <= LISTED_SECTIONS
    assert '<th scope="row">777</th>' in page
    assert "<summary>Table of" in page
    assert "and 19999 more of this kind" in page
    assert page.count("<circle") <= 3 * MAX_POINTS
    assert "cutline" not in page[page.index("<body>") :]
