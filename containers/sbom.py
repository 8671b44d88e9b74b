"""Print the bill of materials of the image that runs this: CycloneDX 1.6 JSON of its Python and Debian packages.

    podman run --rm -i IMAGE python3 - NAME VERSION < containers/sbom.py

It uses the standard library alone, since an image holds what the stage needs and nothing else. Equal images give equal
bytes: there is no date and no serial number. Libraries that wheels bring inside themselves (OpenBLAS, LLVM) are not
listed apart from their wheels.
"""

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any
from urllib.parse import quote

Entry = dict[str, Any]

LONGEST_LICENCE = 100  # some packages give the whole text where its name belongs


def python_packages() -> Iterator[Entry]:
    """Yield every distribution that Python finds."""
    seen = set()
    for package in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", package.metadata["Name"]).lower()
        if name not in seen:
            seen.add(name)
            yield component("library", name, package.version, f"pkg:pypi/{name}@{package.version}", licences(package))


def licences(package: metadata.Distribution) -> list[Entry]:
    """Return what a distribution says of its licence, as CycloneDX has it."""
    expression = package.metadata.get("License-Expression")
    if expression:
        return [{"expression": expression}]
    name = (package.metadata.get("License") or "").strip()
    return [{"license": {"name": name}}] if name and "\n" not in name and len(name) <= LONGEST_LICENCE else []


def debian_packages() -> Iterator[Entry]:
    """Yield every installed Debian package."""
    if shutil.which("dpkg-query") is None:
        return
    query = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n"]
    for line in subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines():
        status, name, version, architecture = line.split("\t")
        if status.startswith("ii"):
            purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}?arch={architecture}"
            yield component("library", name, version, purl)


def component(kind: str, name: str, version: str, purl: str, found: Sequence[Entry] = ()) -> Entry:
    """Return the entry of one package; a field that is not known is left out."""
    made = {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}
    return made | ({"licenses": list(found)} if found else {})


def bill(name: str, version: str) -> Entry:
    """Return the whole document."""
    python = platform.python_version()
    parts = [component("platform", "python", python, f"pkg:generic/python@{python}")]
    parts += sorted([*python_packages(), *debian_packages()], key=lambda part: part["bom-ref"])
    image = {"type": "container", "bom-ref": "image", "name": name, "version": version}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": image},
        "components": parts,
        "dependencies": [{"ref": "image", "dependsOn": [part["bom-ref"] for part in parts]}],
    }


if __name__ == "__main__":
    json.dump(bill(*sys.argv[1:]), sys.stdout, indent=1)
    print()
