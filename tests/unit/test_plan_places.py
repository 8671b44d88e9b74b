"""No input is written over: what a run reads against where it writes, by name, link, mount and case."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linumpy.plan.places import OF_AN_ACQUISITION, overwritten, same_place
from linumpy.plan.samplesheet import RESERVED_NAMES, Row

PAGES = ("index.html", "ro-crate-metadata.json", "pipeline_info", "pipeline_info.unfinished")


def steps(path, **known):
    """Return the steps of a path without links; `known` are the numbers of its last names."""
    names = path.strip("/").split("/")
    return [("/" + "/".join(names[: n + 1]), known.get(name.replace(".", "_"))) for n, name in enumerate(names)]


def folder(path, names=(), owner=None, **known):
    return {
        "steps": steps(path, **known),
        "exists": bool(names),
        "is_file": False,
        "names": sorted(names),
        "owner": owner,
    }


def faults(image="/raw/a.ome.zarr", *, acquisition="a", outdir="/out", tune=False, given=None, found=None, **more):
    facts = {
        "mounts": "",
        "inputs": {"image": given or steps(image)},
        "others": {},
        "kept": {},
        "work": {"the work directory": steps("/work")},
        "outdir": outdir,
        "names": [],
        "files": {name: folder(f"{outdir}/{name}") for name in PAGES},
        "acquisitions": {acquisition: found or folder(f"{outdir}/{acquisition}")},
    } | more
    return overwritten(facts, [Row(line=2, acquisition=acquisition, image="image", n_sections=1)], tune=tune)


IMAGES = {
    "its own result": ("/out/a/corrected.ome.zarr", r"lies in /out/a, where this run puts the results of a"),
    "the folder itself": ("/out/a", r"/out/a is /out/a, where"),
    "another case": ("/OUT/A/raw.zarr", r"lies in /out/a, where"),
    "around the results": ("/out", r"/out contains /out/a, where"),
    "among the descriptions": ("/out/pipeline_info/a.zarr", r"lies in /out/pipeline_info, where this run puts its"),
    "a page": ("/out/index.html", r"is /out/index.html, where this run puts its index.html; give another --outdir"),
    "in the work directory": ("/work/12/34/a.zarr", r"lies in /work, the work directory, which is not kept; move it"),
    "around the work directory": ("/work", r"/work is /work, the work directory"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_an_image_in_a_place_of_this_run_is_refused_by_row_and_column(case):
    image, fault = IMAGES[case]
    said = faults(image)
    assert re.search(rf"^samplesheet line 2 \(a\): image: .*{fault}", said[0])


def test_an_outdir_inside_an_image_is_refused():
    assert "/raw/x.zarr contains /raw/x.zarr/out/a" in faults("/raw/x.zarr", outdir="/raw/x.zarr/out")[0]


@pytest.mark.parametrize("image", ["/raw/a.zarr", "/out/raw/a.zarr", "/out/a.zarr", "/out/ab/corrected.ome.zarr"])
def test_an_image_that_nothing_of_this_run_touches_may_lie_in_outdir(image):
    assert faults(image) == []


def test_what_leads_through_a_place_is_in_it():
    through = [("/raw", None), ("/raw/a.zarr", None), ("/out", None), ("/out/a", None), ("/elsewhere/a.zarr", None)]
    assert "lies in /out/a" in faults(given=through)[0]


def test_one_folder_under_two_names_is_one():
    assert (
        "lies in"
        in faults(given=steps("/bound/x.zarr", bound="(dev=1,ino=7)"), found=folder("/out/a", a="(dev=1,ino=7)"))[0]
    )
    assert faults(given=steps("/bound/x.zarr", bound="(dev=1,ino=8)"), found=folder("/out/a", a="(dev=1,ino=7)")) == []


MOUNTS = r"""22 1 8:1 / / rw - ext4 /dev/sda1 rw
40 22 8:1 /out/a/deep /my\040bound rw - ext4 /dev/sda1 rw
41 22 8:2 / /other rw - ext4 /dev/sdb1 rw
"""


def test_a_bind_mount_from_deep_inside_a_place_lies_in_it():
    assert same_place(("/my bound", None), ("/out/a/deep", None), MOUNTS)
    assert not same_place(("/other/out", None), ("/out", None), MOUNTS)


def test_other_files_that_are_read_are_named():
    others = {"samplesheet s.csv": steps("/out/a/s.csv"), "parameter file p.yml": steps("/out/pipeline_info/p.yml")}
    said = faults(others=others)
    assert [line.split(":")[0] for line in said] == ["samplesheet s.csv", "parameter file p.yml"]


def test_no_folder_that_is_needed_lies_where_results_go():
    assert faults(kept={"the launch folder": steps("/")}) == []
    (said,) = faults(kept={"the work directory": steps("/out/a/bias/work")})
    assert said.startswith("the work directory: /out/a/bias/work lies in /out/a")


def test_a_result_gives_way_to_one_of_the_same_acquisition_only():
    whole = OF_AN_ACQUISITION | {".DS_Store"}
    assert faults(found=folder("/out/a", whole, owner="a")) == []
    assert "holds results of b" in faults(found=folder("/out/a", whole, owner="b"))[0]
    assert "holds no finished results" in faults(found=folder("/out/a", {"corrected.ome.zarr"}))[0]
    assert "holds raw.zarr, which no" in faults(found=folder("/out/a", whole | {"raw.zarr"}, owner="a"))[0]
    assert "which no tuning" in faults(found=folder("/out/a", whole, owner="a"), tune=True)[0]
    assert faults(found=folder("/out/a", {"tuning.html", "tuning.json"}), tune=True) == []
    assert "/out/A is there already" in faults(names=["A"])[0]
    assert "is a file" in faults(found=folder("/out/a") | {"exists": True, "is_file": True})[0]


def test_pages_of_others_are_left_alone():
    files = {name: folder(f"/out/{name}") for name in PAGES}
    assert (
        "index.html is there, and no earlier run"
        in faults(files=files | {"index.html": folder("/out/index.html", ["x"])})[0]
    )
    info = folder("/out/pipeline_info", ["execution_trace.txt"])
    assert (
        "holds execution_trace.txt, which this stage does not write" in faults(files=files | {"pipeline_info": info})[0]
    )
    ours = {"pipeline_info": folder("/out/pipeline_info", ["run.json"]), "index.html": folder("/out/index.html", ["x"])}
    assert faults(files=files | ours) == []


names = st.sampled_from(["a", "b", "A", "out", "raw"])
paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(paths)
def test_an_image_is_refused_where_it_is_in_a_place_or_around_it(image):
    parts, place = image.lower().split("/"), ["", "out", "a"]
    meets = parts[:3] == place or place[: len(parts)] == parts
    assert bool(faults(image)) == meets


def test_the_pages_are_names_that_no_acquisition_may_have():
    assert set(PAGES) == set(RESERVED_NAMES)
