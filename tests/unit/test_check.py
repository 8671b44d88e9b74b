"""Bad input: every fault at once, each naming row, column and value, and the way out."""

import json
import re
import shutil

import numpy as np
import pytest
import zarr

from linumpy.intensity.bias_model import read_json
from linumpy.plan.check import check_input
from linumpy.plan.errors import InputError
from tests.acquisitions import write_ome_zarr, write_samplesheet, write_sections
from tests.chain import REPOSITORY

SHAPE = (6, 20, 24)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Images and masks, good and bad, by name."""
    folder = tmp_path_factory.mktemp("stores")
    volume = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    five = np.ones((2, 3, *SHAPE), np.uint8)
    write_ome_zarr(folder / "good.zarr", volume)
    write_ome_zarr(folder / "five.zarr", five, axes="tczyx", channels=[{"label": n} for n in ("dapi", "gfp", "cy5")])
    write_ome_zarr(folder / "unitless.zarr", volume, unit=None)
    write_ome_zarr(folder / "pixels.zarr", volume, unit="pixel")
    write_ome_zarr(folder / "mask.zarr", volume > 9)
    zarr.open_group(folder / "group.zarr", mode="w")
    write_ome_zarr(folder / "levelless.zarr", volume)
    shutil.rmtree(folder / "levelless.zarr" / "s0")
    return folder


@pytest.fixture
def check(tmp_path, stores):
    """Return a function that checks a samplesheet as the task does: with files under other names."""

    def run(rows, **parameters):
        cells = {row[name] for row in rows for name in ("image", "mask", "sections") if row.get(name)}
        staged = {}
        for index, cell in enumerate(sorted(cells), start=1):
            source = next((p for p in (stores / cell, tmp_path / cell) if p.exists()), None)
            if source:
                link = tmp_path / "inputs" / str(index) / cell
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(source)
                staged[cell] = str(link)
        request = {
            "workflow": {"nextflow": "none"},
            "parameters": {"input": "s.csv", "outdir": "out"} | parameters,
            "paths": {cell: f"/data/{cell}" for cell in cells},
            "staged": staged,
        }
        (tmp_path / "request.json").write_text(json.dumps(request))
        check_input(
            samplesheet=write_samplesheet(tmp_path / "s.csv", rows),
            request=tmp_path / "request.json",
            schema=REPOSITORY / "nextflow_schema.json",
            output_plan=tmp_path / "plan.json",
            output_info=tmp_path / "info",
        )
        return read_json(tmp_path / "plan.json")

    return run


def row(image="good.zarr", name="brain", **cells):
    if "sections" not in cells:
        cells.setdefault("n_sections", 2)
    return {"acquisition": name, "image": image} | cells


BAD_ROWS = {  # each fault alone, to the letter: tests/corpus
    "missing image": (row("nowhere.zarr"), r"image: /data/nowhere.zarr: no such file or folder; give a path"),
    "a level is gone": (row("levelless.zarr"), r"image: /data/levelless.zarr/s0: .*no Zarr v3 array.* copy it again"),
    "5-D, channel only": (row("five.zarr", channel="gfp"), r"image: .*no timepoint.*column 'timepoint'"),
    "more sections than planes": (row(n_sections=7), r"n_sections: 7 sections do not fit 6 planes; .*between 1 and 6"),
    "zero sections": (row(n_sections=0), r"n_sections '0' is refused; give a whole number, 1 or more"),
    "gap": (row(sections="gap.csv"), r"sections: section 1 \(3 to 6\) leaves out planes 2 to 3"),
    "mask is no OME-Zarr": (row(mask="group.zarr"), r"mask: /data/group.zarr: .*no OME-Zarr image"),
    "unsafe name": (row(name="../brain"), r"acquisition '../brain' cannot name a folder; use letters"),
}


@pytest.fixture
def section_files(tmp_path):
    write_sections(tmp_path / "gap.csv", [(0, 2), (3, 6)])


@pytest.mark.usefixtures("section_files")
def test_all_faults_at_once_and_nothing_is_written(check, tmp_path):
    rows = [{**bad, "acquisition": f"brain{i}" if bad["acquisition"] == "brain" else bad["acquisition"]}
            for i, (bad, _) in enumerate(BAD_ROWS.values())]  # fmt: skip
    with pytest.raises(InputError) as caught:
        check(rows, shrinkfactor=4, strength="strong")
    faults = caught.value.faults
    assert len(faults) == len(rows) + 2
    for line, (_, message) in enumerate(BAD_ROWS.values(), start=2):
        assert any(f.startswith(f"samplesheet line {line} ") and re.search(message, f) for f in faults), message
    assert any("unknown parameter shrinkfactor: did you mean --shrink_factor?" in fault for fault in faults)
    assert any("parameter strength: 'strong' is refused" in fault for fault in faults)
    assert str(caught.value).startswith(f"{len(faults)} faults in the input:\n  - ")
    assert not (tmp_path / "plan.json").exists()
    assert not (tmp_path / "info").exists()


def test_faults_of_one_row_are_all_named(check):
    with pytest.raises(InputError) as caught:
        check([row("unitless.zarr", mask="nowhere.zarr", sections="nowhere.csv")])
    assert [fault.split(": ")[1] for fault in caught.value.faults] == ["image", "sections", "mask"]


def test_header_faults_come_with_those_of_the_parameters(check):
    with pytest.raises(InputError) as caught:
        check([row(n_section=3)], mod="global")
    assert len(caught.value.faults) == 2
    assert "unknown parameter mod: did you mean --mode?" in caught.value.faults[0]
    assert "unknown column 'n_section'; did you mean n_sections?" in caught.value.faults[1]


@pytest.mark.parametrize(("given", "expected"), [("5", [5, 5, 5]), ([10, 2.5, 2], [10, 2.5, 2])])
def test_voxel_size_helps_where_there_is_no_unit(check, tmp_path, given, expected):
    check([row("unitless.zarr"), row("pixels.zarr", name="other")], voxel_size_um=given)
    for inputs in read_json(tmp_path / "info" / "inputs.json"):
        np.testing.assert_allclose(inputs["voxel_size_mm"], np.array(expected) / 1000)


@pytest.mark.parametrize(
    ("voxel_size_um", "cells", "expected"),
    [
        (20, {}, []),
        (0.02, {}, [("size", r"0.00012 x 0.0004 x 0.00048 mm \(z, y, x\), its voxels 0.02 x 0.02 x 0.02 µm")]),
        (50_000, {}, [("size", r"300 x 1e\+03 x 1.2e\+03 mm .* unit")]),
        (20, {"n_sections": 4}, [("uneven_sections", "6 planes cannot be cut into 4 equal .* hold 2, 1, 1, 2 planes")]),
        (20, {"sections": "cut.csv"}, []),
    ],
)  # fmt: skip
def test_implausible_sizes_are_warned_of(check, tmp_path, voxel_size_um, cells, expected):
    write_sections(tmp_path / "cut.csv", [(0, 2), (2, 6)])
    (plan,) = check([row(**cells)], voxel_size_um=voxel_size_um)
    warnings = [warning for warning in plan["report"]["warnings"] if warning["code"] != "lattice"]
    assert [warning["code"] for warning in warnings] == [code for code, _ in expected]
    for warning, (_, message) in zip(warnings, expected, strict=True):
        assert re.search(message, warning["message"])


def test_what_the_provenance_holds(check, tmp_path):
    check([row(), row("five.zarr", name="other", channel="gfp", timepoint=1, mask="mask.zarr")], n_iterations="9,8")
    first, second = read_json(tmp_path / "info" / "inputs.json")
    assert first["image"] == "/data/good.zarr"
    assert first["shape"] == list(SHAPE)
    assert first["voxel_size_mm"] == [0.01, 0.02, 0.02]
    assert first["sections"] == [[0, 3], [3, 6]]
    assert len(first["fingerprints"]) == 1
    assert second["mask"] == "/data/mask.zarr"
    assert len(second["fingerprints"]) == 2
    parameters = read_json(tmp_path / "info" / "parameters.json")
    assert parameters["n_iterations"] == [9, 8]
    assert set(parameters) == {
        name
        for group in json.loads((REPOSITORY / "nextflow_schema.json").read_text())["$defs"].values()
        for name in group["properties"]
    }


def test_an_error_names_the_users_path_whatever_is_in_it(check, stores):
    (stores / "a\u202e\x1bb.zarr").mkdir()
    with pytest.raises(InputError, match=r"line 2 \(a\): image: /data/a\\u202e\\x1bb.zarr: no OME-Zarr image"):
        check([{"acquisition": "a", "image": "a\u202e\x1bb.zarr", "n_sections": 2}])
