"""The RO-Crate passes the validator of its profile, and says what was used and made."""

import json
from pathlib import Path
from types import SimpleNamespace

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
GEOMETRY = {"shape": [21, 45, 52], "dtype": "uint16", "voxel_size_mm": [0.01] * 3, "sections": [[0, 21]]}
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
    assert found["s3://b/two.zarr/"]["identifier"] == "fingerprint:f2"


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


@pytest.fixture
def offline(monkeypatch):
    """The validator, with the contexts that it would fetch: RO-Crate's as the rocrate package brings it."""
    rocrate = pytest.importorskip("rocrate", reason="the rocrate package is not here")
    services = pytest.importorskip("rocrate_validator.services", reason="roc-validator is not here")
    from rocrate_validator.utils import document_loader
    from rocrate_validator.utils.http import HttpRequester

    terms = json.loads((Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_text())["@context"]
    # Of version 1.3; these four have other addresses in 1.1.
    bioschemas = "https://bioschemas.org/"
    terms |= {name: bioschemas + name for name in ("ComputationalWorkflow", "FormalParameter")}
    terms |= {name: f"{bioschemas}ComputationalWorkflow#{name}" for name in ("input", "output")}
    of_runs = {
        name: f"https://w3id.org/ro/terms/workflow-run#{name}"
        for name in ("containerImage", "ContainerImage", "sha256")
    }
    contexts = {
        "https://w3id.org/ro/crate/1.1/context": {"@context": terms},
        "https://w3id.org/ro/terms/workflow-run/context": {"@context": of_runs},
    }
    monkeypatch.setattr(document_loader, "_fetch_json_ld", contexts.__getitem__)
    kind = {"Content-Type": "application/ld+json"}
    answer = lambda url, **_: SimpleNamespace(status_code=200, headers=kind, json=lambda: contexts[url])  # noqa: E731
    monkeypatch.setattr(HttpRequester, "__getattr__", lambda *_: answer)
    return services


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the validator's own, of rdflib
def test_the_validator_accepts_it(offline, tmp_path):
    from rocrate_validator import models

    crate = crate_of("one", "two")
    for part in entities(crate)["./"]["hasPart"]:
        path = tmp_path / part["@id"]
        if "://" not in part["@id"]:
            path.mkdir(parents=True) if part["@id"].endswith("/") else (path.parent.mkdir(exist_ok=True), path.touch())
    (tmp_path / METADATA_FILE).write_text(json.dumps(crate))
    settings = offline.ValidationSettings(
        rocrate_uri=str(tmp_path),
        profile_identifier="workflow-run-crate",
        requirement_severity=models.Severity.REQUIRED,
        abort_on_first=False,
    )
    assert PROFILES[1].split("/")[-1] == "0.5"
    assert [issue.message for issue in offline.validate(settings).get_issues()] == []
    # It finds faults at all.
    crate["@graph"] = [entity for entity in crate["@graph"] if entity["@id"] != WORKFLOW_FILE]
    (tmp_path / METADATA_FILE).write_text(json.dumps(crate))
    assert offline.validate(settings).get_issues()
