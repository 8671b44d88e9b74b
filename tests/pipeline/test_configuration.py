"""Every profile and site example is read by Nextflow, under the strict parser, and says what it is for."""

import os
import subprocess
from pathlib import Path

import pytest

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


def resolved(folder: Path, *options: str) -> str:
    nextflow = ROOT / ".venv" / "bin" / "nextflow"
    if not nextflow.exists():
        pytest.skip("no Nextflow in .venv; run make setup")
    run = subprocess.run(
        [nextflow, "-log", folder / "nextflow.log", *options],
        env=os.environ | {"NXF_SYNTAX_PARSER": "v2"},
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
        ("docker", "docker {\n   enabled = true"),
        ("podman", "podman {\n   enabled = true"),
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
