"""The pipeline through Nextflow: it writes what the API gives, by either parser; what fails is named.

Runs are shared: a module's fixture is one run of several acquisitions, which the tests below look at.
"""

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaozarrs
import zarr
from ome_zarr_models import open_ome_zarr

from benchmarks.scale import stand_in_for_slurm
from linumpy.intensity.bias_field import compute_tissue_mask, n4_correct, n4_correct_per_section
from linumpy.intensity.bias_model import BiasModel, read_json
from linumpy.io.ome_zarr import open_image, open_mask
from linumpy.plan.parameters import properties_of, resolve_parameters
from linumpy.plan.places import OF_A_RUN
from linumpy.stage.verify import verify_acquisition
from tests.acquisitions import (
    UNEVEN_SECTIONS,
    VOXEL_UM,
    assert_same_stores,
    chunk_files,
    small_acquisition,
    truncate,
    uneven_acquisition,
    write_ome_zarr,
    write_samplesheet,
    write_sections,
)
from tests.pipeline.conftest import NEXTFLOW, REPOSITORY

pytestmark = pytest.mark.nextflow

# Whatever the defaults are, these are what is tested.
SETTINGS = {
    "backend": "native",
    "depth_profile": "false",
    "harmonise": "none",
    "shading_section_mm": 0,
    "shading_global_mm": 0,
    "shrink_factor": 2,
    "n_iterations": "8,8",
    "spline_distance_section_mm": 0.5,
    "spline_distance_global_mm": 1.5,
    "mask_method": "otsu",
    "mask_min_size": 0,
    "smoothing_sigma": 2.0,
    "smoothing_sigma_z": 1.0,
    "closing_radius": 3,
    "z_closing_sections": 2,
}


def options(**parameters):
    return [text for name, value in parameters.items() for text in (f"--{name}", str(value))]


def corrected_by_the_api(volume, sections, mask=None, voxel_um=VOXEL_UM, mode="two_pass"):
    """Mask, N4 per section, N4 of the stack: the functions, on the volume in memory."""
    if mask is None:
        mask = compute_tissue_mask(volume, n_serial_slices=sections)
    common = {
        "mask": mask,
        "shrink_factor": 2,
        "n_iterations": [8, 8],
        "backend": "native",
        "voxel_size_mm": [size / 1000 for size in voxel_um],
    }
    if mode != "global":
        volume, _ = n4_correct_per_section(volume, sections, spline_distance_mm=0.5, **common)
    if mode != "per_section":
        volume, _ = n4_correct(volume, spline_distance_mm=1.5, **common)
    return volume, mask


def assert_is_the_api(results, *arguments, **options):
    corrected, mask = corrected_by_the_api(*arguments, **options)
    np.testing.assert_array_equal(open_mask(results / "mask.ome.zarr").read() != 0, mask)
    # Invariant 1 of the design.
    np.testing.assert_allclose(open_image(results / "corrected.ome.zarr").read(), corrected, rtol=1e-5)


def metrics_of(results):
    metrics = read_json(results / "metrics.json")
    jsonschema.validate(metrics, json.loads((REPOSITORY / "assets" / "metrics_schema.json").read_text()))
    return metrics


def assert_valid(store):
    """Other people's programs accept it, and napari's reader opens it."""
    open_ome_zarr(zarr.open_group(store, mode="r"))
    yaozarrs.validate_zarr_store(str(store))
    image = open_mask(store) if store.name.startswith("mask") else open_image(store)
    with contextlib.suppress(ImportError):
        from napari_ome_zarr import napari_get_reader

        data, layer, _ = napari_get_reader(str(store))(str(store))[0]
        assert tuple(data[0].shape) == image.shape
        np.testing.assert_allclose(layer["scale"], image.scale)
        assert {str(unit) for unit in layer["units"]} == {image.unit}
        np.testing.assert_array_equal(np.asarray(data[0][0]), image.read(0, 1)[0])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Acquisitions, and a function that writes a samplesheet of some of them."""
    folder = tmp_path_factory.mktemp("inputs")
    write_ome_zarr(folder / "uneven.ome.zarr", uneven_acquisition().volume, translation=(5, 50, 70))
    write_sections(folder / "uneven_sections.csv", UNEVEN_SECTIONS)
    spaced = folder / "a folder" / "my {image} [1].ome.zarr"
    spaced.parent.mkdir()
    write_ome_zarr(spaced, small_acquisition().volume, version="0.4", chunks=(5, 20, 30))
    write_ome_zarr(folder / "a folder" / "my mask.ome.zarr", small_acquisition().tissue_mask)
    write_ome_zarr(folder / "sixteen.ome.zarr", small_acquisition("uint16").volume)
    odd = small_acquisition().volume.copy()
    odd[3, 20, 20:25] = np.nan, np.inf, -np.inf, -5, 0
    odd[7:14] = 0  # a chunk of zeros: zarr does not store it
    write_ome_zarr(folder / "odd.ome.zarr", odd, chunks=(7, 45, 52))
    return folder


ROWS = {
    "uneven": {"image": "uneven.ome.zarr", "sections": "uneven_sections.csv"},
    "spaced": {"image": "a folder/my {image} [1].ome.zarr", "mask": "a folder/my mask.ome.zarr", "n_sections": 3},
    "odd": {"image": "odd.ome.zarr", "n_sections": 3},
    "sixteen": {"image": "sixteen.ome.zarr", "n_sections": 3},
}


def sheet(inputs, *names, **more):
    rows = [{"acquisition": name} | {**ROWS, **more}[name] for name in (*names, *more)]
    return write_samplesheet(inputs / f"{'_'.join([*names, *more])}.csv", rows)


@pytest.fixture(scope="module")
def batch(launch, inputs, tmp_path_factory):
    """Several acquisitions, parameters on the command line, several slabs and batches of sections."""
    names, more = ("uneven", "spaced", "odd"), {}
    foreign = Path(os.environ.get("LINUMPY_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "foreign"
    if foreign.is_dir():
        image = str(foreign.resolve() / "bf2raw_0.4_tczyx.ome.zarr")
        more = {"foreign": {"image": image, "n_sections": 2, "channel": "Channel 0", "timepoint": 0}}
    return launch(
        tmp_path_factory.mktemp("batch"),
        *("--input", sheet(inputs, *names, **more)),
        *options(slab_planes=64, sections_per_task=2, **SETTINGS),
    )


def count(run, process, acquisition):
    return sum(task["process"] == process and f"({acquisition}" in task["name"] for task in run.tasks())


def test_the_pipeline_is_the_api(batch):
    assert (count(batch, "N4_SECTION", "uneven"), count(batch, "CORRECT", "uneven")) == (3, 3)
    assert_is_the_api(batch.outdir / "uneven", uneven_acquisition().volume, UNEVEN_SECTIONS)
    corrected = open_image(batch.outdir / "uneven" / "corrected.ome.zarr")
    assert len(corrected.levels) == 2
    np.testing.assert_allclose(corrected.translation, (5, 50, 70))


def test_a_mask_of_the_users_own_and_paths_with_spaces_and_brackets(batch):
    acquisition = small_acquisition()
    assert_is_the_api(batch.outdir / "spaced", acquisition.volume, 3, mask=acquisition.tissue_mask)


def test_a_channel_and_timepoint_of_a_foreign_store(batch, test_data):
    image = open_image(test_data / "foreign" / "bf2raw_0.4_tczyx.ome.zarr", channel="Channel 0", timepoint=0)
    voxel_um = [1000 * size for size in image.voxel_size_mm]
    assert_is_the_api(batch.outdir / "foreign", image.read(), 2, voxel_um=voxel_um)


def test_odd_voxels_are_counted(batch):
    metrics = metrics_of(batch.outdir / "odd")
    assert metrics["voxels"]["not_finite"] == 3
    assert metrics["missing_chunks"] == 1
    assert {"missing_chunks", "not_finite", "negative"} <= {warning["code"] for warning in metrics["warnings"]}
    found = open_image(batch.outdir / "odd" / "corrected.ome.zarr").read()
    np.testing.assert_array_equal(found[3, 20, 20:23], [np.nan, np.inf, -np.inf])
    assert not found[7:14].any()


def test_all_results_are_there_and_valid(batch):
    acquisitions = sorted(path.name for path in batch.outdir.iterdir() if (path / "metrics.json").exists())
    assert acquisitions[-3:] == ["odd", "spaced", "uneven"]
    for name in acquisitions:
        results = batch.outdir / name
        for store in ("corrected.ome.zarr", "mask.ome.zarr"):
            assert_valid(results / store)
        metrics = metrics_of(results)
        assert metrics["acquisition"] == name
        assert len(BiasModel.load(results / "bias").sections) == len(metrics["sections"])
    assert not [path for path in batch.outdir.rglob("*") if path.is_symlink()]
    page = (batch.outdir / "index.html").read_text()
    assert all(name in page for name in acquisitions)


def test_provenance(batch, inputs):
    info = batch.outdir / "pipeline_info"
    for name in ("trace.tsv", "nextflow_report.html", "timeline.html"):
        assert (info / name).stat().st_size > 100
    parameters = read_json(info / "parameters.json")
    assert parameters["n_iterations"] == [8, 8]
    assert parameters["strength"] == 1.0
    images = {entry["acquisition"]: entry for entry in read_json(info / "inputs.json")}
    assert images["spaced"]["image"].endswith(str(inputs / "a folder" / "my {image} [1].ome.zarr"))
    versions = {line.split("\t")[0] for line in (info / "software_versions.tsv").read_text().splitlines()}
    assert {"CHECK_INPUT", "TISSUE_MASK", "N4_SECTION", "N4_GLOBAL", "CORRECT", "ASSEMBLE", "REPORT"} <= versions


def test_inputs_are_left_as_they_are(batch, inputs):
    assert sorted(p.name for p in inputs.iterdir() if not p.name.endswith(".csv")) == [
        "a folder", "odd.ome.zarr", "sixteen.ome.zarr", "uneven.ome.zarr",
    ]  # fmt: skip
    np.testing.assert_array_equal(open_image(inputs / "uneven.ome.zarr").read(), uneven_acquisition().volume)


SPREADSHEET = ("image", "acquisition", "n_sections", "sections", "mask")


@pytest.fixture(scope="module")
def by_file(launch, inputs, tmp_path_factory):
    """The other parser, parameters in a file, a samplesheet that a spreadsheet saved, work cut as the stage likes."""
    folder = tmp_path_factory.mktemp("by_file")
    rows = [
        [({"acquisition": name} | ROWS[name]).get(column, "") for column in SPREADSHEET]
        for name in ("uneven", "spaced")
    ]
    with (inputs / "spreadsheet.csv").open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([SPREADSHEET, *rows])
    parameters = SETTINGS | {"n_iterations": [8, 8], "shrink_factor": [2, 2, 2], "depth_profile": False}
    parameters["input"] = str(inputs / "spreadsheet.csv")
    (folder / "params.json").write_text(json.dumps(parameters))
    return launch(folder, "-params-file", "params.json", parser="v2")


@pytest.mark.parametrize("name", ["uneven", "spaced"])
def test_parser_parameter_file_slabs_and_batches_change_no_bit(batch, by_file, name):
    assert count(by_file, "N4_SECTION", name) == count(by_file, "CORRECT", name) == 1
    for store in ("corrected.ome.zarr", "mask.ome.zarr"):
        assert_same_stores(by_file.outdir / name / store, batch.outdir / name / store)
    for file in ("sections.json", "global.json"):
        assert (by_file.outdir / name / "bias" / file).read_bytes() == (
            batch.outdir / name / "bias" / file
        ).read_bytes()


def test_resume_does_nothing_twice(launch, by_file):
    before = {path: path.stat().st_mtime_ns for path in by_file.work_files(".exitcode")}
    again = launch(by_file.folder, "-params-file", "params.json", "-resume", parser="v2")
    assert again.ran() == {"CHECK_INPUT"}  # it looks at what no task hash sees
    assert len(again.tasks()) == len(before)
    for path, when in before.items():
        assert path.stat().st_mtime_ns == when
    assert (again.outdir / "uneven" / "corrected.ome.zarr" / "zarr.json").exists()


@pytest.fixture(scope="module")
def one_pass(launch, inputs, tmp_path_factory):
    """The stack alone, published as hard links."""
    folder = tmp_path_factory.mktemp("one_pass")
    shutil.copytree(inputs / "sixteen.ome.zarr", folder / "sixteen.ome.zarr")
    write_samplesheet(folder / "s.csv", [{"acquisition": "sixteen"} | ROWS["sixteen"]])
    return launch(folder, "--input", "s.csv", *options(mode="global", publish_mode="link", **SETTINGS))


def test_the_stack_alone_is_the_api(one_pass):
    assert "N4_SECTION" not in one_pass.ran()
    volume = small_acquisition("uint16").volume
    assert_is_the_api(one_pass.outdir / "sixteen", volume, 3, mode="global")


def test_links_share_the_file(one_pass):
    (published,) = (one_pass.outdir / "sixteen" / "corrected.ome.zarr" / "0" / "c").rglob("0/0/0")
    # The slab's file, linked by ASSEMBLE, linked into the results.
    assert published.stat().st_nlink >= 3


def test_resume_repeats_what_a_change_touches(launch, one_pass):
    settings = options(mode="global", publish_mode="link", **SETTINGS)
    changed = launch(one_pass.folder, "--input", "s.csv", *settings, "--strength", "0.5", "-resume")
    assert {"CORRECT", "ASSEMBLE", "REPORT"} <= changed.ran()
    assert not {"TISSUE_MASK", "N4_GLOBAL"} & changed.ran()
    full, _ = corrected_by_the_api(small_acquisition("uint16").volume, 3, mode="global")
    original = small_acquisition("uint16").volume
    found = open_image(changed.outdir / "sixteen" / "corrected.ome.zarr").read()
    np.testing.assert_allclose(found, (full + original) / 2, rtol=1e-5)

    # A chunk changed in place: no task hash sees it, the fingerprint does.
    chunk = chunk_files(one_pass.folder / "sixteen.ome.zarr")[0]
    stamp = time.time() + 5
    os.utime(chunk, (stamp, stamp))
    edited = launch(one_pass.folder, "--input", "s.csv", *settings, "--strength", "0.5", "-resume")
    assert {"TISSUE_MASK", "N4_GLOBAL", "CORRECT", "ASSEMBLE", "REPORT"} <= edited.ran()


def test_a_batch_is_matched_without_the_one_that_failed(launch, inputs, tmp_path):
    settings = options(mode="global", match_batch="true", **SETTINGS)
    fail = "process { withName: 'N4_GLOBAL' { beforeScript = { task.tag == 'uneven' ? 'exit 3' : '' } } }"
    samplesheet = sheet(inputs, "sixteen", "spaced", "uneven")
    failed = launch(tmp_path, "--input", samplesheet, *settings, config=fail, status=1, parser="v2")
    matches = {}
    for name in ("sixteen", "spaced"):
        matches[name] = read_json(failed.outdir / name / "bias" / "match.json")
        assert not verify_acquisition(failed.outdir / name)
        warnings = read_json(failed.outdir / name / "metrics.json")["warnings"]
        assert any(warning["message"].startswith("uneven took no part") for warning in warnings)
    after = [match["level"] * match["factor"] for match in matches.values()]
    np.testing.assert_allclose(after, np.sqrt(np.prod([match["level"] for match in matches.values()])))
    assert {match["n_matched"] for match in matches.values()} == {2}
    assert not (failed.outdir / "uneven").exists()

    # Mended, all are matched anew, and no fit is repeated.
    mended = launch(tmp_path, "--input", samplesheet, *settings, "-resume", parser="v2")
    levels = [read_json(mended.outdir / name / "bias" / "match.json") for name in ("sixteen", "spaced", "uneven")]
    assert {(match["n_matched"], tuple(match["left_out"])) for match in levels} == {(3, ())}
    np.testing.assert_allclose([match["level"] * match["factor"] for match in levels], levels[0]["common_level"])
    redone = {task["name"].split(":")[-1] for task in mended.tasks() if task["status"] != "CACHED"}
    assert {"MATCH_BATCH", "N4_GLOBAL (uneven)", "REPORT (sixteen)"} <= redone
    assert not {"N4_GLOBAL (sixteen)", "N4_GLOBAL (spaced)", "TISSUE_MASK (sixteen)"} & redone


def test_sections_alone_in_the_input_type_and_the_old_version_by_copy(launch, inputs, tmp_path):
    run = launch(
        tmp_path,
        *("--input", sheet(inputs, "sixteen")),
        *options(mode="per_section", output_dtype="input", ome_zarr_version="0.4", publish_mode="copy", **SETTINGS),
        *options(save_bias_field="true", zero_outside_mask="false"),
        parser="v2",
    )
    results = run.outdir / "sixteen"
    corrected, _ = corrected_by_the_api(small_acquisition("uint16").volume, 3, mode="per_section")
    image = open_image(results / "corrected.ome.zarr")
    assert (image.dtype, image.ome_zarr_version) == (np.dtype("uint16"), "0.4")
    # Where the API's and the pipeline's last bit differ, rounding may fall to either side.
    assert np.abs(image.read().astype(float) - np.rint(corrected)).max() <= 1
    assert np.mean(image.read() != np.rint(corrected)) < 1e-3
    for store in ("corrected.ome.zarr", "mask.ome.zarr", "bias_field.ome.zarr"):
        assert_valid(results / store)
        assert {p.stat().st_nlink for p in (results / store / "0").rglob("0") if p.is_file()} == {1}


@pytest.fixture(scope="module")
def failures(launch, tmp_path_factory):
    """Three acquisitions: one is whole, one has a truncated chunk, of one a single slab cannot be corrected."""
    folder = tmp_path_factory.mktemp("failures")
    volume = small_acquisition().volume
    for name in ("whole", "broken"):
        write_ome_zarr(folder / f"{name}.ome.zarr", volume, chunks=(7, 45, 52))
    truncate(chunk_files(folder / "broken.ome.zarr")[1])
    # Two rows of files, so two slabs.
    write_ome_zarr(folder / "slabs.ome.zarr", np.tile(volume[:14, :40, :50], (5, 3, 2)))
    rows = [{"acquisition": n, "image": f"{n}.ome.zarr", "n_sections": 2} for n in ("whole", "broken", "slabs")]
    write_samplesheet(folder / "s.csv", rows)
    fail = (
        "process { withName: 'CORRECT' { beforeScript = { id == 'slabs' && settings.z_start > 0 ? 'exit 3' : '' } } }"
    )
    return launch(folder, "--input", "s.csv", *options(slab_planes=64, **SETTINGS), config=fail, status=None)


def test_what_fails_is_named_and_the_run_fails(failures):
    assert failures.status != 0
    assert re.search(r"TISSUE_MASK \(broken\).*terminated with an error", failures.output)
    assert re.search(r"CORRECT \(slabs 64-70\).*terminated with an error", failures.output)
    assert "Not finished: broken, slabs" in failures.output
    why = failures.output.partition("What failed:")[2]
    work = re.escape(str(failures.folder / "work"))
    assert re.search(rf"TISSUE_MASK \(broken\): exit status 1; .*broken.ome.zarr/s0/c/1/0/0: .*truncated.*{work}/", why)
    assert re.search(rf"CORRECT \(slabs 64-70\): exit status 3; nothing was said .*{work}/", why)


def test_the_others_are_complete(failures):
    assert_is_the_api(failures.outdir / "whole", small_acquisition().volume, 2)
    metrics_of(failures.outdir / "whole")
    page = (failures.outdir / "index.html").read_text()
    assert all(name in page for name in ("whole", "broken", "slabs"))


def test_nothing_incomplete_is_assembled(failures):
    assert (count(failures, "CORRECT", "slabs"), count(failures, "CORRECT", "broken")) == (2, 0)
    for name in ("slabs", "broken"):
        assert count(failures, "ASSEMBLE", name) == 0
        assert not (failures.outdir / name).exists()
    assert not [path.name for path in failures.outdir.iterdir() if path.name.startswith(".")]


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_a_run_leaves_of_an_earlier_one(launch, inputs, tmp_path):
    """Refused: all. Failed: what it could not finish, and what describes the earlier run. Then it is resumed."""
    samplesheet = sheet(inputs, "uneven", "sixteen")
    first = launch(tmp_path, "-stub-run", "--input", samplesheet)
    leftover = first.outdir / "uneven" / "corrected.ome.zarr" / "of_an_earlier_image"
    leftover.touch()
    before = content(first.outdir)

    (tmp_path / "link").symlink_to(first.outdir / "sixteen")
    rows = [ROWS["sixteen"] | {"acquisition": "sixteen", "image": str(tmp_path / "link" / "mask.ome.zarr")}]
    write_samplesheet(tmp_path / "inside.csv", rows)
    refused = launch(tmp_path, "-stub-run", "--input", "inside.csv", status=None)
    assert refused.status != 0
    assert re.search(r"line 2 \(sixteen\): image: \S+mask.ome.zarr lies in \S+results/sixteen, where", refused.output)
    assert content(first.outdir) == before

    fail = "process { withName: 'REPORT' { beforeScript = { task.tag == 'sixteen' ? 'exit 3' : '' } } }"
    failed = launch(tmp_path, "-stub-run", "--input", samplesheet, config=fail, status=None, parser="v2")
    assert failed.status != 0
    assert "-resume" in failed.output.splitlines()[-1]
    assert not leftover.exists()
    after = content(first.outdir)
    kept = {path: text for path, text in before.items() if path.parts[0] in ("sixteen", "pipeline_info")}
    assert {path: text for path, text in after.items() if path.parts[0] in ("sixteen", "pipeline_info")} == kept
    run = read_json(first.outdir / "pipeline_info.unfinished" / "run.json")
    assert (run["finished"], run["unfinished"]) == (["uneven"], ["sixteen"])

    launch(tmp_path, "-stub-run", "--input", samplesheet, "-resume", parser="v2")
    assert sorted(path.name for path in first.outdir.iterdir()) == [
        "index.html", "pipeline_info", "ro-crate-metadata.json", "sixteen", "uneven",
    ]  # fmt: skip
    done = read_json(first.outdir / "pipeline_info" / "run.json")
    assert (done["session"], done["unfinished"]) == (run["session"], [])
    names = {path.name for path in (first.outdir / "pipeline_info").iterdir()}
    assert names == OF_A_RUN


@pytest.mark.parametrize("parser", ["v1", "v2"])
def test_bad_input_is_told_all_at_once(launch, inputs, tmp_path, parser):
    rows = [
        {"acquisition": "good", "image": "sixteen.ome.zarr", "n_sections": 3},
        {"acquisition": "gone", "image": "nowhere.ome.zarr", "n_sections": 3},
        {"acquisition": "many", "image": "sixteen.ome.zarr", "n_sections": 99},
        {"acquisition": "a/b", "image": "sixteen.ome.zarr", "n_sections": 3},
        {"acquisition": "masked", "image": "sixteen.ome.zarr", "n_sections": 3, "mask": "uneven.ome.zarr"},
    ]
    samplesheet = write_samplesheet(inputs / f"bad_{parser}.csv", rows)
    run = launch(
        tmp_path,
        *("--input", samplesheet, "--strength", "1.5", "--shrinkfactor", "2"),
        parser=parser,
        status=None,
    )
    assert run.status != 0
    for fault in (
        "unknown parameter shrinkfactor: did you mean --shrink_factor?",
        r"parameter strength: '?1.5'? is refused",
        r"line 3 \(gone\): image: .*nowhere.ome.zarr: no such file",
        r"line 4 \(many\): n_sections: 99 sections do not fit 21 planes",
        "line 5 .*acquisition 'a/b' cannot name a folder",
        r"line 6 \(masked\): mask has shape \(150, 61, 301\), image \(21, 45, 52\)",
    ):
        assert re.search(fault, run.output), (fault, run.output)
    # They come last and alone: no table of zeros, no tip, no place in a log.
    _first, *rest = run.output[run.output.rindex("error: 6 faults in the input:") :].splitlines()
    assert [line[:4] for line in rest[:-1]] == ["  - "] * 6
    assert re.match("Nothing was corrected, and nothing in results was changed. Mend", rest[-1])
    assert "What was spent" not in run.output
    assert not run.outdir.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"(?i)no such file"),
        ("", r"samplesheet \S+ is empty"),
        ("acquisition,image,n_sections\na,b,3,4\n", "line 2: 4 cells, the header has 3 columns"),
        ("acquisition,image,n_sections\na,b,3\n".encode("utf-16"), "s.csv is in UTF-16"),
        ("acquisition,image,n_sections\na,é,3\n".encode("latin-1"), "s.csv is not a CSV file in UTF-8"),
    ],
)
def test_a_samplesheet_that_is_none(launch, tmp_path, content, message):
    if content is not None:
        (tmp_path / "s.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    run = launch(tmp_path, "--input", "s.csv", status=None)
    assert run.status != 0
    assert re.search(message, run.output), run.output


def test_help_and_what_is_needed(launch, tmp_path):
    helped = launch(tmp_path, "--help", outdir=None)
    for name, prop in properties_of(json.loads((REPOSITORY / "nextflow_schema.json").read_text())).items():
        assert f"--{name} " in helped.output
        assert prop["description"] in helped.output
    bare = launch(tmp_path, parser="v2", status=None, outdir=None)
    assert bare.status != 0
    # The strict parser warns of labels that no process of an empty workflow has.
    said = [line for line in bare.output.splitlines()[2:] if not line.startswith("WARN: Unrecognized config option")]
    assert said == ["Give --input (a samplesheet) and --outdir (a folder for the results); --help lists all parameters"]
    assert not [path.name for path in tmp_path.iterdir() if path.name in ("null", "pipeline_info")]
    assert not any((tmp_path / "work").iterdir())  # Nextflow makes it where it keeps a trace


@pytest.mark.parametrize(("parser", "profile"), [("v1", "gpu"), ("v2", "standard")])
def test_stub_run(launch, inputs, tmp_path, parser, profile):
    run = launch(
        tmp_path,
        *("-stub-run", "-profile", profile, "--input", sheet(inputs, "uneven")),
        *options(slab_planes=64, **SETTINGS),
        parser=parser,
        config="process { withName: 'CHECK_INPUT' { beforeScript = { task.attempt == 1 ? 'exit 137' : '' } } }",
    )
    assert [task["status"] for task in run.tasks() if task["process"] == "CHECK_INPUT"] == ["FAILED", "COMPLETED"]
    assert count(run, "CORRECT", "uneven") == 3
    for result in ("corrected.ome.zarr", "mask.ome.zarr", "bias", "report.html", "metrics.json"):
        assert (run.outdir / "uneven" / result).exists()
    assert (run.outdir / "index.html").exists()
    on_gpu = {task["process"] for task in run.tasks() if task["container"].endswith("-cuda")}
    assert on_gpu == ({"TISSUE_MASK", "N4_SECTION", "N4_GLOBAL"} if profile == "gpu" else set())


def test_tuning_corrects_nothing_and_describes_nothing(launch, inputs, tmp_path):
    settings = ("-stub-run", "--input", sheet(inputs, "uneven", "sixteen"), "--tune", "true")
    run = launch(tmp_path, *settings)
    assert sorted(path.name for path in run.outdir.iterdir()) == ["pipeline_info", "sixteen", "uneven"]
    assert re.search(r"Results: results \(tuning.html", run.output)
    fail = "process { withName: 'TUNE' { beforeScript = { task.tag == 'sixteen' ? 'exit 3' : '' } } }"
    failed = launch(tmp_path, *settings, config=fail, parser="v2", status=None)
    assert failed.status != 0
    assert re.search(r"What failed:\s+TUNE \(sixteen\): exit status 3", failed.output)
    assert "Results:" not in failed.output


@pytest.mark.parametrize("profile", ["slurm", "slurm,arrays"])
def test_what_is_asked_of_slurm(launch, inputs, tmp_path, monkeypatch, profile):
    commands = stand_in_for_slurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{commands}:{REPOSITORY / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SCALE_SUBMISSIONS", str(tmp_path / "submissions"))
    run = launch(
        tmp_path / "run", "-stub-run", "-profile", profile, "--input", sheet(inputs, "uneven", "spaced"),
        *options(slab_planes=64, **SETTINGS),
        config="executor { pollInterval = '200 ms'; submitRateLimit = '20/1sec' }\n",
    )  # fmt: skip
    submitted = [path.read_text() for path in run.work_files(".command.run")]
    arrays = [script for script in submitted if "#SBATCH --array" in script]
    assert len(arrays) == (6 if profile == "slurm,arrays" else 0)
    assert all("#SBATCH --mem 4096M\n" in script for script in arrays)
    asked = Counter(int(memory) for script in submitted for memory in re.findall("#SBATCH --mem ([0-9]+)M", script))
    plans = json.loads(run.work_files("plan.json")[0].read_text())
    planned = [plan[part]["memory_mb"] for plan in plans for part in ("tissue_mask", "n4_global", "assemble")]
    planned += [task["memory_mb"] for plan in plans for task in plan["n4_section"] + plan["correct"]]
    if not arrays:  # CHECK_INPUT asks for 2 GB, and REPORT, BATCH_REPORT and PROVENANCE for 1 GB
        assert asked == Counter(planned) + Counter([2048] + [1024] * (len(plans) + 2))
    assert count(run, "CORRECT", "uneven") == 3


def test_a_folder_may_have_a_number_for_a_name(launch, inputs, tmp_path):
    launch(tmp_path, "-stub-run", "--input", sheet(inputs, "uneven"), outdir="2024")
    assert (tmp_path / "2024" / "uneven" / "corrected.ome.zarr" / "zarr.json").exists()
    assert (tmp_path / "2024" / "pipeline_info" / "digests.tsv").exists()


def test_a_preview_of_the_workflow_has_no_results(launch, inputs, tmp_path):
    run = launch(tmp_path, "-preview", "--input", sheet(inputs, "uneven"))
    assert "Results:" not in run.output
    assert "What was spent" not in run.output


def test_lint_finds_nothing():
    paths = ["main.nf", "nextflow.config", "conf", "modules", "workflows"]
    done = subprocess.run(
        [NEXTFLOW, "lint", *paths], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ files had no errors", done.stdout)
    assert "arning" not in done.stdout


def test_defaults_of_schema_and_config_are_the_same(tmp_path):
    done = subprocess.run(
        [NEXTFLOW, "config", "-o", "json", REPOSITORY], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        check=True,
    )  # fmt: skip
    configured = json.loads(done.stdout)["params"]
    schema = json.loads((REPOSITORY / "nextflow_schema.json").read_text())
    assert set(configured) | {"outdir"} == set(properties_of(schema))  # nextflow.config says why
    needed = {"input": "s.csv", "outdir": "results"}
    assert resolve_parameters(configured | needed, schema) == resolve_parameters(needed, schema)


@pytest.fixture(scope="module")
def real(launch, test_data, tmp_path_factory):
    """The two real volumes, as the defaults correct them."""
    folder = tmp_path_factory.mktemp("real")
    rows = [
        {"acquisition": "cortex", "image": test_data / "cortex_3sections.ome.zarr", "n_sections": 3},
        {"acquisition": "hemisphere", "image": test_data / "hemisphere_176sections.ome.zarr", "n_sections": 176},
    ]
    write_samplesheet(folder / "s.csv", rows)
    return launch(folder, "--input", "s.csv")


@pytest.mark.parametrize(("name", "n_sections"), [("cortex", 3), ("hemisphere", 176)])
def test_real_volumes(real, test_data, name, n_sections):
    results = real.outdir / name
    original = open_image(test_data / f"{name}_{n_sections}sections.ome.zarr")
    corrected = open_image(results / "corrected.ome.zarr")
    assert corrected.shape == original.shape
    np.testing.assert_allclose(corrected.voxel_size_mm, original.voxel_size_mm)
    voxels = corrected.read()
    assert np.isfinite(voxels).all()
    field = np.exp(BiasModel.load(results / "bias").log_bias_field(original.shape))
    np.testing.assert_allclose(voxels, original.read() / field, rtol=1e-5)
    for store in ("corrected.ome.zarr", "mask.ome.zarr"):
        assert_valid(results / store)
    metrics = metrics_of(results)
    assert len(metrics["sections"]) == n_sections
    assert metrics["tissue_fraction"] > 0.1


@pytest.mark.browser
def test_the_reports_open_in_a_browser(real, batch, probe):
    for results in (real.outdir / "cortex", real.outdir / "hemisphere", batch.outdir / "uneven", batch.outdir / "odd"):
        found = probe((results / "report.html").read_text())
        assert found["problems"] == [], results
        assert found["images"] >= 9
        assert found["charts"] >= 1
    found = probe((batch.outdir / "index.html").read_text())
    assert found["problems"] == []
