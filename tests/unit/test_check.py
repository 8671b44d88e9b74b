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
    five = np.zeros((2, 3, *SHAPE), np.uint8)
    write_ome_zarr(folder / "good.zarr", volume)
    write_ome_zarr(folder / "five.zarr", five, axes="tczyx", channels=[{"label": n} for n in ("dapi", "gfp", "cy5")])
    write_ome_zarr(folder / "unitless.zarr", volume, unit=None)
    write_ome_zarr(folder / "pixels.zarr", volume, unit="pixel")
    write_ome_zarr(folder / "complex.zarr", volume.astype(np.complex64))
    write_ome_zarr(folder / "mask.zarr", volume > 9)
    write_ome_zarr(folder / "mask_of_another_shape.zarr", volume[:, :-1] > 9)
    write_ome_zarr(folder / "holes.zarr", volume, chunks=(2, 20, 24))
    (folder / "holes.zarr" / "s0" / "c" / "1" / "0" / "0").unlink()
    write_ome_zarr(folder / "loop.zarr", volume, chunks=(2, 20, 24))
    shutil.rmtree(folder / "loop.zarr" / "s0" / "c" / "1")
    (folder / "loop.zarr" / "s0" / "c" / "1").symlink_to("1")
    write_ome_zarr(folder / "two_d.zarr", volume[0][None], axes="zyx")
    metadata = json.loads((folder / "two_d.zarr" / "zarr.json").read_text())
    multiscale = metadata["attributes"]["ome"]["multiscales"][0]
    multiscale["axes"] = multiscale["axes"][1:]
    multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] = [20, 20]
    (folder / "two_d.zarr" / "zarr.json").write_text(json.dumps(metadata))
    zarr.create_array(folder / "array.zarr", data=volume)
    zarr.open_group(folder / "group.zarr", mode="w")
    write_ome_zarr(folder / "levelless.zarr", volume)
    shutil.rmtree(folder / "levelless.zarr" / "s0")
    write_ome_zarr(folder / "no_planes.zarr", volume)
    array = json.loads((folder / "no_planes.zarr" / "s0" / "zarr.json").read_text())
    array["shape"] = [0, 20, 24]
    (folder / "no_planes.zarr" / "s0" / "zarr.json").write_text(json.dumps(array))
    (folder / "file.zarr").write_text("not a folder")
    (folder / "unreadable.zarr").mkdir()
    (folder / "unreadable.zarr" / "zarr.json").write_text("{")
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


BAD_ROWS = {
    "missing image": (row("nowhere.zarr"), r"image: /data/nowhere.zarr: no such file or folder; give a path"),
    "a file": (row("file.zarr"), r"image: /data/file.zarr: this is a file, an OME-Zarr image is a folder; "),
    "an array": (row("array.zarr"), r"image: /data/array.zarr: .*not an image group; name the folder above it"),
    "a bare group": (row("group.zarr"), r"image: /data/group.zarr: .*no OME-Zarr image; check the path"),
    "broken JSON": (row("unreadable.zarr"), r"image: /data/unreadable.zarr/zarr.json: is not valid JSON .*copy"),
    "a level is gone": (row("levelless.zarr"), r"image: /data/levelless.zarr/s0: .*no Zarr v3 array.* copy it again"),
    "zero planes": (row("no_planes.zarr"), r"image: /data/no_planes.zarr/s0: .*shape \(0, 20, 24\): no voxels"),
    "complex numbers": (row("complex.zarr"), r"image: /data/complex.zarr/s0: .*complex64"),
    "2-D": (row("two_d.zarr"), r"image: /data/two_d.zarr: a 2-D image .*z, y and x"),
    "5-D": (
        row("five.zarr"),
        r"image: .*five.zarr: .*size 2 .*fill in .*'timepoint'; .*size 3 .*dapi.*fill in .*'channel'",
    ),
    "5-D, channel only": (
        row("five.zarr", channel="gfp"),
        r"image: .*size 2 \(0, 1\) and no timepoint.*column 'timepoint'",
    ),
    "unknown channel": (
        row("five.zarr", channel="gpf", timepoint=0),
        r"image: .*'dapi', 1 'gfp', 2 'cy5'\) and channel 'gpf' is none of them",
    ),
    "channel out of range": (
        row("five.zarr", channel="3", timepoint=0),
        r"image: .*channel '3' is none of them; .*column 'channel'",
    ),
    "timepoint out of range": (
        row("five.zarr", channel=0, timepoint=2),
        r"image: .*size 2 \(0, 1\) and timepoint 2 is none of them",
    ),
    "no such axis": (row(channel=1), r"image: .*channel '1' is given, but there is no such axis; leave .* empty"),
    "folder that cannot be listed": (row("loop.zarr"), r"image: /data/loop.zarr/s0/c/1/0: cannot be listed"),
    "missing unit": (row("unitless.zarr"), r"image: /data/unitless.zarr: .*'z' has no unit; .*give voxel_size_um"),
    "not a length": (row("pixels.zarr"), r"image: /data/pixels.zarr: .*unit 'pixel', .*give voxel_size_um"),
    "more sections than planes": (row(n_sections=7), r"n_sections: 7 sections do not fit 6 planes; .*between 1 and 6"),
    "zero sections": (row(n_sections=0), r"n_sections '0' is refused; give a whole number, 1 or more"),
    "missing sections file": (row(sections="nowhere.csv"), r"sections: /data/nowhere.csv: no such file"),
    "gap": (row(sections="gap.csv"), r"sections: section 1 \(3 to 6\) leaves out planes 2 to 3"),
    "overlap": (row(sections="overlap.csv"), r"sections: section 1 \(1 to 6\) overlaps planes 1 to 2"),
    "too short": (row(sections="short.csv"), r"sections: the sections end at plane 5, the volume has 6 planes"),
    "not numbers": (row(sections="words.csv"), r"sections: line 3: 'two,three' is not two whole numbers"),
    "sections is a folder": (
        row(sections="good.zarr"),
        r"sections: good.zarr cannot be read \(Is a directory\); give a CSV file",
    ),
    "not UTF-8": (row(sections="latin.csv"), r"sections: latin.csv is not a CSV file in UTF-8 .*; save it as one"),
    "missing mask": (row(mask="nowhere.zarr"), r"mask: /data/nowhere.zarr: no such file or folder"),
    "mask of another shape": (
        row(mask="mask_of_another_shape.zarr"),
        r"mask has shape \(6, 19, 24\), image \(6, 20, 24\) .*on the image's grid",
    ),
    "mask is no OME-Zarr": (row(mask="group.zarr"), r"mask: /data/group.zarr: .*no OME-Zarr image"),
    "unsafe name": (row(name="../brain"), r"acquisition '../brain' cannot name a folder; use letters"),
    "no image": (row(""), r"image is empty; give the path of an OME-Zarr"),
}


@pytest.fixture
def section_files(tmp_path):
    write_sections(tmp_path / "gap.csv", [(0, 2), (3, 6)])
    write_sections(tmp_path / "overlap.csv", [(0, 2), (1, 6)])
    write_sections(tmp_path / "short.csv", [(0, 2), (2, 5)])
    write_sections(tmp_path / "words.csv", [(0, 2), ("two", "three")])
    (tmp_path / "latin.csv").write_bytes("z_start,z_stop\n0,6 \xb5m".encode("latin-1"))


@pytest.mark.usefixtures("section_files")
@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_named_with_column_value_and_way_out(check, name):
    bad, message = BAD_ROWS[name]
    with pytest.raises(InputError) as caught:
        check([bad])
    (fault,) = caught.value.faults
    assert fault.startswith(f"samplesheet line 2 ({bad['acquisition']}): ")
    assert re.search(message, fault), fault
    assert "inputs/" not in fault  # the task's names mean nothing to the user


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


def test_duplicate_names_are_named_with_their_lines(check):
    with pytest.raises(InputError, match=r"lines 2, 3: acquisition 'brain' stands more than once"):
        check([row(), row(name="Brain")])


@pytest.mark.parametrize(("given", "expected"), [("5", [5, 5, 5]), ([10, 2.5, 2], [10, 2.5, 2])])
def test_voxel_size_helps_where_there_is_no_unit(check, tmp_path, given, expected):
    check([row("unitless.zarr"), row("pixels.zarr", name="other")], voxel_size_um=given)
    for inputs in read_json(tmp_path / "info" / "inputs.json"):
        np.testing.assert_allclose(inputs["voxel_size_mm"], np.array(expected) / 1000)


@pytest.mark.parametrize("policy", ["warn", "error"])
def test_missing_chunks(check, policy):
    if policy == "error":
        with pytest.raises(InputError, match=r"image: 1 of 3 chunks are not there .* copy the store again, or let"):
            check([row("holes.zarr")], missing_chunks=policy)
        return
    (plan,) = check([row("holes.zarr")], missing_chunks=policy)
    assert plan["report"]["missing_chunks"] == 1


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
