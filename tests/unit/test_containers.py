"""What the two recipes of an image must say alike."""

import re


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
