"""Slurm, Apptainer and podman work here at all: what the tests of the stage on a cluster rest on."""

import re
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
INSIDE = "/opt/venv"


def run_toy(repository: Path, folder: Path, *arguments: str, config: str) -> list[str]:
    """Run the toy pipeline in `folder` with more configuration, and return what its tasks said."""
    (folder / "more.config").write_text(config)
    done = subprocess.run(
        [
            repository / ".venv/bin/nextflow",
            *("run", HERE / "toy/main.nf", "-ansi-log", "false"),
            *("-c", HERE / "sandbox.config", "-c", "more.config", "--outdir", folder / "results"),
            *arguments,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted((folder / "results/where.txt").read_text().splitlines())


def finished_slurm_jobs() -> int:
    """Jobs that Slurm has written into its record of finished ones."""
    record = Path("/var/log/slurm/jobcomp.txt")
    return len(record.read_text().splitlines()) if record.exists() else 0


@pytest.mark.nextflow
@pytest.mark.parametrize("array", [0, 3], ids=["jobs", "job array"])
def test_slurm_with_apptainer(repository, slurm, cpu_image, tmp_path, array):
    config = f"process.executor = 'slurm'\nprocess.container = '{cpu_image.sif}'\napptainer.enabled = true\n"
    if array:
        config += f"process.array = {array}\n"
    before = finished_slurm_jobs()
    said = run_toy(repository, tmp_path, config=config)
    assert finished_slurm_jobs() == before + 3
    assert said == [f"{number} {INSIDE} None" for number in (1, 2, 3)]


@pytest.mark.nextflow
@pytest.mark.parametrize(("options", "device"), [("", None), ("--gres=gpu:1", 0)], ids=["accelerator", "gres"])
def test_slurm_gives_the_gpu_that_cluster_options_ask_for(repository, slurm, cpu_image, tmp_path, options, device):
    config = f"includeConfig '{repository}/conf/gpu.config'\nprocess.executor = 'slurm'\napptainer.enabled = true\n"
    config += f"process {{ withLabel: 'process_gpu' {{ container = '{cpu_image.sif}' }} }}\n"
    config += f"process.clusterOptions = '{options}'\n"
    assert run_toy(repository, tmp_path, config=config) == [f"{number} {INSIDE} {device}" for number in (1, 2, 3)]
    for job in tmp_path.glob("work/*/*/.command.run"):  # the accelerator of gpu.config is no request to Slurm
        asked = re.findall("^#SBATCH (--g.*)$", job.read_text(), re.MULTILINE)
        assert asked == ([options] if options else [])


@pytest.mark.nextflow
def test_podman_on_this_machine(repository, cpu_image, tmp_path):
    config = f"process.container = '{cpu_image.tag}'\npodman.enabled = true\n"
    said = run_toy(repository, tmp_path, config=config)
    assert said == [f"{number} {INSIDE} None" for number in (1, 2, 3)]
