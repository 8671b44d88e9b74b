"""Every profile and site example is read by Nextflow, under the strict parser, and says what it is for."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from linumpy.plan.parameters import resolve_parameters
from linumpy.stage.local import CorrectionParameters

pytestmark = pytest.mark.nextflow
ROOT = Path(__file__).resolve().parents[2]
EXECUTORS = {
    "pbspro": "pbspro",
    "lsf": "lsf",
    "sge": "sge",
    "kubernetes": "k8s",
    "awsbatch": "awsbatch",
    "googlebatch": "google-batch",
}


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
