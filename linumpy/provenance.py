"""What a run used and made, as a Workflow Run RO-Crate: JSON-LD that other programs read.

The folder of results is the crate. Its main entity is the workflow; one action says what was run with which
parameters on which images, and what came out. Images have the digest of their decoded voxels, level by level, and bias
fields that of their lattices: the same numbers as in ``digests.tsv``. The same results have the same crate: its one
date is that of the newest result.

References
----------
Workflow Run RO-Crate 0.5, https://w3id.org/ro/wfrun/workflow/0.5
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

__all__ = ["METADATA_FILE", "run_crate"]

METADATA_FILE = "ro-crate-metadata.json"
WORKFLOW_FILE = "pipeline_info/main.nf"
LICENSE = "https://spdx.org/licenses/BSD-3-Clause"
PROFILES = (
    "https://w3id.org/ro/wfrun/process/0.5",
    "https://w3id.org/ro/wfrun/workflow/0.5",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
)
CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
NEXTFLOW = "https://w3id.org/workflowhub/workflow-ro-crate#nextflow"
RESULTS = {
    "corrected.ome.zarr/": "Corrected image, OME-Zarr",
    "mask.ome.zarr/": "Tissue mask, OME-Zarr label",
    "bias_field.ome.zarr/": "Bias field at full resolution, OME-Zarr",
    "bias/": "Bias field: control-point lattices and gains",
}
DOCUMENTS = {"report.html": "text/html", "metrics.json": "application/json", "digests.tsv": "text/tab-separated-values"}

Entity = dict[str, Any]


def run_crate(
    *,
    parameters: Mapping[str, Any],
    inputs: Sequence[Mapping[str, Any]],
    software: Mapping[str, Any],
    digests: Iterable[tuple[str, str, str]],
    ended: float,
) -> Entity:
    """Describe a finished run.

    Parameters
    ----------
    parameters : mapping
        Resolved parameters.
    inputs : sequence of mapping
        What CHECK_INPUT wrote of each image (``inputs.json``).
    software : mapping of str to str
        Versions and what ran the workflow (``software.json``).
    digests : iterable of (acquisition, what, digest)
        Of all finished acquisitions; only these have results.
    ended : float
        When the newest result was made, seconds since 1970.

    Returns
    -------
    dict
        The JSON-LD document ``ro-crate-metadata.json``.
    """
    of: dict[str, dict[str, str]] = defaultdict(dict)
    for acquisition, what, digest in digests:
        of[acquisition][what] = digest
    when = datetime.fromtimestamp(int(ended), UTC).isoformat()
    results = [entity for name in sorted(of) for entity in _results(name, of[name])]
    images: dict[str, Entity] = {}
    for row in inputs:
        found = of.get(row["acquisition"], {}).get("image")
        for entity in _images(row, found):
            images[entity["@id"]] = _merged(images.get(entity["@id"]), entity)
    given = {name: value for name, value in sorted(parameters.items()) if value is not None}
    formal = [_formal_parameter(name, value) for name, value in given.items()]
    formal.append(_formal_parameter("image", "") | {"additionalType": "Dataset"})
    values = [_value(name, value) for name, value in given.items()]
    tools = [_software(name, version) for name, version in sorted(software.items()) if name not in _ABOUT_THE_RUN]
    container = _container(software)
    action: Entity = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"Bias field correction of {', '.join(row['acquisition'] for row in inputs)}",
        "description": (
            f"Profile {software['profile']}, containers by {software['container_engine']}, "
            f"revision {software['revision']}, code {software['code']}. "
            f"Finished: {', '.join(sorted(of)) or 'nothing'}."
        ),
        "instrument": _id(WORKFLOW_FILE),
        "object": _ids([*images.values(), *values]),
        "result": _ids(results),
        "endTime": when,
        "actionStatus": f"http://schema.org/{'Completed' if len(of) == len(inputs) else 'Failed'}ActionStatus",
    }
    if container:
        action["containerImage"] = _id(container["@id"])
    workflow: Entity = {
        "@id": WORKFLOW_FILE,
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": "linumpy-n4",
        "description": "N4 bias field correction of serial-section OME-Zarr acquisitions",
        "version": software["linumpy"],
        "encodingFormat": "text/plain",
        "conformsTo": _id("https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"),
        "license": _id(LICENSE),
        "programmingLanguage": _id(NEXTFLOW),
        "softwareRequirements": _ids(tools),
        "input": _ids(formal),
    }
    info = [
        {"@id": f"pipeline_info/{name}", "@type": "File", "name": name, "encodingFormat": "application/json"}
        for name in ("parameters.json", "inputs.json", "software.json")
    ]
    parts = [workflow, *images.values(), *results, *info]
    root: Entity = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Bias field correction of {len(inputs)} acquisitions",
        "description": "Corrected serial-section acquisitions with masks, bias fields, reports and how they came about",
        "datePublished": when,
        "license": _id(LICENSE),
        "conformsTo": [_id(profile) for profile in PROFILES],
        "mainEntity": _id(WORKFLOW_FILE),
        "mentions": _id("#run"),
        "hasPart": _ids(parts),
    }
    graph = [
        {
            "@id": METADATA_FILE,
            "@type": "CreativeWork",
            "about": _id("./"),
            "conformsTo": [_id("https://w3id.org/ro/crate/1.1"), _id(PROFILES[-1])],
        },
        root,
        *({"@id": uri, "@type": "CreativeWork", "name": name, "version": version} for uri, name, version in _PROFILES),
        {"@id": LICENSE, "@type": "CreativeWork", "name": "BSD 3-Clause License", "identifier": LICENSE},
        {"@id": NEXTFLOW, "@type": "ComputerLanguage", "name": "Nextflow", "url": {"@id": "https://www.nextflow.io/"},
         "identifier": {"@id": "https://www.nextflow.io/"}},
        {"@id": "https://www.nextflow.io/", "@type": "WebSite", "name": "Nextflow"},
        *parts,
        *formal,
        *values,
        *tools,
        *([container] if container else []),
        action,
    ]  # fmt: skip
    return {"@context": CONTEXT, "@graph": graph}


_PROFILES = (
    (PROFILES[0], "Process Run Crate", "0.5"),
    (PROFILES[1], "Workflow Run Crate", "0.5"),
    (PROFILES[2], "Workflow RO-Crate", "1.0"),
)
_ABOUT_THE_RUN = {"profile", "revision", "container_engine", "container", "container_sha256", "code", "linumpy"}
_HOMES = {
    "nextflow": "https://github.com/nextflow-io/nextflow/releases/tag/v{}",
    "python": "https://www.python.org/ftp/python/{}/",
}


def _id(identifier: str) -> Entity:
    return {"@id": identifier}


def _ids(entities: Iterable[Mapping[str, Any]]) -> list[Entity]:
    return [_id(entity["@id"]) for entity in entities]


def _one_or_all(values: Sequence[str]) -> str | list[str]:
    """Return a single value without a list around it, as the format recommends."""
    return values[0] if len(values) == 1 else list(values)


def _uri(path: str) -> str:
    return (path if "://" in path else f"file://{quote(path)}").rstrip("/") + "/"


def _images(row: Mapping[str, Any], digest: str | None) -> Iterable[Entity]:
    """Yield the image of an acquisition, and its mask where one was given."""
    part = "".join(f" {axis} {row[axis]}" for axis in ("channel", "timepoint") if row[axis] is not None)
    shape = f"{' x '.join(map(str, row['shape']))} voxels (z, y, x)"
    fingerprint, *of_mask = (f"fingerprint:{one}" for one in row["fingerprints"])
    identifiers = [fingerprint, f"voxels{part}:{digest}"] if digest else [fingerprint]
    yield _store(row["image"], f"{row['acquisition']}: image{part}", f"OME-Zarr, {row['dtype']}, {shape}", identifiers)
    if of_mask:
        yield _store(row["mask"], f"{row['acquisition']}: mask", f"OME-Zarr, {shape}", of_mask)


def _store(path: str, name: str, description: str, identifiers: list[str]) -> Entity:
    return {
        "@id": _uri(path),
        "@type": "Dataset",
        "name": name,
        "description": description,
        "identifier": identifiers,
        "exampleOfWork": _id("#parameter-image"),
    }


def _merged(known: Entity | None, entity: Entity) -> Entity:
    """Return what is known of a store with what another acquisition says of it: another channel, say."""
    if known is None:
        return entity
    identifiers = [*known["identifier"], *(one for one in entity["identifier"] if one not in known["identifier"])]
    return known | {"name": f"{known['name']}, {entity['name']}", "identifier": identifiers}


def _results(acquisition: str, digests: Mapping[str, str]) -> Iterable[Entity]:
    folder = quote(acquisition)
    for name, description in RESULTS.items():
        own = {what: digest for what, digest in digests.items() if what.startswith(name)}
        if own:
            yield {
                "@id": f"{folder}/{name}",
                "@type": "Dataset",
                "name": f"{acquisition}: {name.rstrip('/')}",
                "description": description,
                "identifier": _one_or_all(
                    [f"{what.removeprefix(name)}:{digest}" for what, digest in sorted(own.items())]
                ),
            }
    for name, kind in DOCUMENTS.items():
        yield {"@id": f"{folder}/{name}", "@type": "File", "name": f"{acquisition}: {name}", "encodingFormat": kind}


def _formal_parameter(name: str, value: Any) -> Entity:
    kind = {bool: "Boolean", int: "Integer", float: "Float"}.get(type(value), "Text")
    return {
        "@id": f"#parameter-{name}",
        "@type": "FormalParameter",
        "additionalType": kind,
        "name": name,
        "conformsTo": _id("https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"),
        "valueRequired": name in ("input", "outdir"),
    }


def _value(name: str, value: Any) -> Entity:
    text = ",".join(map(str, value)) if isinstance(value, list) else value
    return {
        "@id": f"#value-{name}",
        "@type": "PropertyValue",
        "name": name,
        "value": text,
        "exampleOfWork": _id(f"#parameter-{name}"),
    }


def _software(name: str, version: str) -> Entity:
    home = _HOMES.get(name, f"https://pypi.org/project/{name}/{{}}/").format(version)
    return {"@id": home, "@type": "SoftwareApplication", "name": name, "softwareVersion": version, "url": home}


def _container(software: Mapping[str, Any]) -> Entity | None:
    image = software.get("container")
    if not image:
        return None
    sif = image.endswith((".sif", ".img"))
    kind = "SIFImage" if sif else "DockerImage"
    entity = {
        "@id": "#container",
        "@type": "ContainerImage",
        "additionalType": _id(f"https://w3id.org/ro/terms/workflow-run#{kind}"),
        "name": image,
    }
    digest = software.get("container_sha256") or image.partition("@sha256:")[2]
    return entity | ({"sha256": digest} if digest else {})
