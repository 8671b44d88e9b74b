"""What the two recipes of an image must say alike, and the list of what an image holds."""

import json
import re
import shutil
import subprocess
import sys
from importlib import metadata


def test_dockerfile_and_apptainer_definition_set_the_same_environment(repository):
    dockerfile = (repository / "containers/Dockerfile").read_text()
    exported = (repository / "containers/environment.sh").read_text()
    declared = re.search(r"^ENV ((?:.*\\\n)*.*)$", dockerfile, re.MULTILINE)
    assert declared is not None
    in_dockerfile = dict(item.split("=", 1) for item in declared[1].replace("\\\n", " ").split())
    assert in_dockerfile == dict(re.findall(r"^export (\w+)=(.*)$", exported, re.MULTILINE))


def test_locked_requirements_have_hashes_and_no_index(repository):
    for path in sorted((repository / "requirements").glob("*.txt")):
        text = path.read_text()
        assert "://" not in text, f"{path.name} names an address"
        pins = re.findall(r"^[A-Za-z0-9._-]+(?:\[[^\]]*\])?==\S+.*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
        assert pins
        assert all("--hash=sha256:" in pin for pin in pins)


def test_every_variant_has_the_same_versions(repository):
    versions: dict[str, set[str]] = {}
    for path in (repository / "requirements").glob("*.txt"):
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", path.read_text(), re.MULTILINE):
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_bill_of_materials_names_what_is_here(repository):
    script = repository / "containers/sbom.py"
    printed = [
        subprocess.run(
            [sys.executable, script, "linumpy-n4", "1.0-cpu"], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert printed[0] == printed[1]
    bill = json.loads(printed[0])
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert bill["metadata"]["component"] == {
        "type": "container", "bom-ref": "image", "name": "linumpy-n4", "version": "1.0-cpu",
    }  # fmt: skip
    parts = {part["bom-ref"]: part for part in bill["components"]}
    assert len(parts) == len(bill["components"])
    assert bill["dependencies"] == [{"ref": "image", "dependsOn": list(parts)}]
    for part in parts.values():
        assert set(part) <= {"type", "bom-ref", "name", "version", "purl", "licenses"}
        assert re.fullmatch(r"pkg:(pypi|generic|deb/debian)/[a-z0-9.+-]+@[^@\s]+", part["purl"])
    numpy = parts[f"pkg:pypi/numpy@{metadata.version('numpy')}"]
    assert (numpy["type"], numpy["name"]) == ("library", "numpy")
    assert numpy["licenses"]
    assert any("deb/debian/bash@" in purl for purl in parts) == (shutil.which("dpkg-query") is not None)
