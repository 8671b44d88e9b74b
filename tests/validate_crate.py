"""Validate RO-Crates against the Workflow Run Crate profile, offline, and print the issues of each as JSON.

The validator's requirements exclude those of the development environment (two versions of rich), so the test runs this
script in an environment of its own. The JSON-LD contexts that it would fetch are those that the rocrate package brings.

    uv run --no-project --with roc-validator==0.13.0 --with rocrate==0.16.0 tests/validate_crate.py FOLDER ...
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import rocrate
from rocrate_validator import models, services
from rocrate_validator.utils import document_loader
from rocrate_validator.utils.http import HttpRequester

RUN_TERMS = "https://w3id.org/ro/terms/workflow-run"
BIOSCHEMAS = "https://bioschemas.org/"

terms = json.loads((Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_text())["@context"]
# These are of version 1.3; four of them have other addresses in 1.1.
terms |= {name: BIOSCHEMAS + name for name in ("ComputationalWorkflow", "FormalParameter")}
terms |= {name: f"{BIOSCHEMAS}ComputationalWorkflow#{name}" for name in ("input", "output")}
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": {"@context": terms},
    f"{RUN_TERMS}/context": {
        "@context": {name: f"{RUN_TERMS}#{name}" for name in ("containerImage", "ContainerImage", "sha256")}
    },
}


def answer(url: str, **_: object) -> SimpleNamespace:
    """Stand in for the network; what is not among the contexts is an error."""
    content = CONTEXTS[url]
    return SimpleNamespace(status_code=200, headers={"Content-Type": "application/ld+json"}, json=lambda: content)


document_loader._fetch_json_ld = CONTEXTS.__getitem__
HttpRequester.__getattr__ = lambda *_: answer

found = []
for folder in sys.argv[1:]:
    settings = services.ValidationSettings(
        rocrate_uri=folder,
        profile_identifier="workflow-run-crate",
        requirement_severity=models.Severity.REQUIRED,
        abort_on_first=False,
    )
    found.append([issue.message for issue in services.validate(settings).get_issues()])
print(json.dumps(found))
