"""The RO-Crate passes the validator of its profile, and says what was used and made."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from linumpy.provenance import METADATA_FILE, PROFILES, WORKFLOW_FILE, run_crate

SOFTWARE = {
    "nextflow": "25.04.3",
    "revision": "local",
    "profile": "slurm,apptainer",
    "container_engine": "apptainer",
    "container": "/images/linumpy-n4-0.1.0-cpu.sif",
    "container_sha256": "ab" * 32,
    "linumpy": "0.1.0",
    "code": "0.1.0+0123456789abcdef",
    "python": "3.11.2",
    "numpy": "2.4.6",
}
PARAMETERS = {"input": "s.csv", "outdir": "results", "strength": 1.0, "n_iterations": [8, 8], "voxel_size_um": None}
GEOMETRY = {
    "channel": None,
    "timepoint": None,
    "shape": [21, 45, 52],
    "dtype": "uint16",
    "voxel_size_mm": [0.01] * 3,
    "sections": [[0, 21]],
}
INPUTS = [
    {"acquisition": "one", "image": "/data/a folder/one.ome.zarr", "mask": "", "fingerprints": ["f1"], **GEOMETRY},
    {"acquisition": "two", "image": "s3://b/two.zarr", "mask": "/m.zarr", "fingerprints": ["f2", "f3"], **GEOMETRY},
]
DIGESTS = [
    (name, what, f"{name}{number}")
    for name in ("one", "two")
    for number, what in enumerate(
        ["image", "bias/gains", "bias/global", "corrected.ome.zarr/0", "corrected.ome.zarr/1", "mask.ome.zarr/0"]
    )
]


def crate_of(*acquisitions: str, software: dict = SOFTWARE) -> dict:
    digests = [line for line in DIGESTS if line[0] in acquisitions]
    return run_crate(parameters=PARAMETERS, inputs=INPUTS, software=software, digests=digests, ended=1_800_000_000.7)


def entities(crate: dict) -> dict[str, dict]:
    found = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(found) == len(crate["@graph"]), "an @id stands twice"
    return found


def referenced(value: object) -> list[str]:
    if isinstance(value, dict):
        return [value["@id"]] if set(value) == {"@id"} else [i for v in value.values() for i in referenced(v)]
    return [i for v in value for i in referenced(v)] if isinstance(value, list) else []


def test_inputs_parameters_and_results_are_linked_to_the_run():
    crate = crate_of("one", "two")
    found = entities(crate)
    run = found["#run"]
    assert run["instrument"] == found["./"]["mainEntity"] == {"@id": WORKFLOW_FILE}
    used, made = ({entry["@id"] for entry in run[role]} for role in ("object", "result"))
    assert {"file:///data/a%20folder/one.ome.zarr/", "s3://b/two.zarr/", "file:///m.zarr/", "#value-strength"} <= used
    assert {"one/corrected.ome.zarr/", "two/bias/", "two/mask.ome.zarr/", "one/report.html"} <= made
    assert "one/bias_field.ome.zarr/" not in made
    assert found["file:///data/a%20folder/one.ome.zarr/"]["identifier"] == ["fingerprint:f1", "voxels:one0"]
    assert found["two/corrected.ome.zarr/"]["identifier"] == ["0:two3", "1:two4"]
    assert found["two/bias/"]["identifier"] == ["gains:two1", "global:two2"]
    assert found["#value-n_iterations"]["value"] == "8,8"
    assert found["#container"]["sha256"] == "ab" * 32
    assert run["actionStatus"].endswith("/CompletedActionStatus")
    assert {part["@id"] for part in found["./"]["hasPart"]} >= made


def test_what_was_not_finished_has_no_results():
    found = entities(crate_of("one"))
    assert found["#run"]["actionStatus"].endswith("/FailedActionStatus")
    assert not [name for name in found if name.startswith("two/")]
    assert found["s3://b/two.zarr/"]["identifier"] == ["fingerprint:f2"]


def test_channels_of_one_store_are_one_entity_that_names_both():
    rows = [
        {"acquisition": name, "image": "/i.zarr", "mask": "", "fingerprints": ["f"], **GEOMETRY, "channel": channel}
        for channel, name in enumerate(("one", "two"))
    ]
    crate = run_crate(parameters=PARAMETERS, inputs=rows, software=SOFTWARE, digests=DIGESTS, ended=0)
    image = entities(crate)["file:///i.zarr/"]
    assert image["name"] == "one: image channel 0, two: image channel 1"
    assert image["identifier"] == ["fingerprint:f", "voxels channel 0:one0", "voxels channel 1:two0"]


def test_nothing_dangles_and_the_same_run_has_the_same_crate():
    crate = crate_of("one", "two")
    outside = {name for name in referenced(crate["@graph"]) if name not in entities(crate)}
    assert all(name.startswith("https://") for name in outside), outside
    assert crate == crate_of("one", "two")
    assert entities(crate)["./"]["datePublished"] == "2027-01-15T08:00:00+00:00"


@pytest.mark.parametrize(
    ("container", "kind", "sha256"),
    [
        ("linumpy-n4@sha256:" + "cd" * 32, "DockerImage", "cd" * 32),
        ("linumpy-n4:0.1.0-cpu", "DockerImage", None),
        ("/i/a.sif", "SIFImage", None),
    ],
)
def test_containers(container, kind, sha256):
    found = entities(crate_of("one", software=SOFTWARE | {"container": container, "container_sha256": ""}))
    assert found["#container"]["additionalType"]["@id"].endswith(kind)
    assert found["#container"].get("sha256") == sha256


def test_without_a_container():
    found = entities(crate_of("one", software=SOFTWARE | {"container": ""}))
    assert "containerImage" not in found["#run"]
    assert "#container" not in found


def write_crate(folder: Path, crate: dict) -> Path:
    """Write the metadata, and files and folders that stand for the crate's parts."""
    folder.mkdir()
    for name in (part["@id"] for part in entities(crate)["./"]["hasPart"] if "://" not in part["@id"]):
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.touch()
    (folder / METADATA_FILE).write_text(json.dumps(crate))
    return folder


@pytest.mark.slow
def test_the_validator_accepts_it(repository, tmp_path):
    assert PROFILES[1] == "https://w3id.org/ro/wfrun/workflow/0.5"
    crate = crate_of("one", "two")
    good = write_crate(tmp_path / "good", crate)
    spoilt = write_crate(tmp_path / "spoilt", crate)
    crate["@graph"] = [entity for entity in crate["@graph"] if entity["@id"] != WORKFLOW_FILE]
    (spoilt / METADATA_FILE).write_text(json.dumps(crate))

    uv = shutil.which("uv", path=f"{repository / '.venv' / 'bin'}:{os.environ['PATH']}")
    if uv is None:
        pytest.skip("uv is not here, which brings the validator")
    command = [uv, "run", "--quiet", "--no-project", "--with", "roc-validator==0.13.0", "--with", "rocrate==0.16.0"]
    done = subprocess.run(
        [*command, "python", repository / "tests" / "validate_crate.py", good, spoilt],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Failed to fetch" in done.stderr or "was not found in the package registry" in done.stderr:
        pytest.skip(f"the validator cannot be fetched here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    accepted, refused = json.loads(done.stdout.splitlines()[-1])
    assert accepted == []
    assert refused, "it finds no fault where the workflow is not described"
