"""One digest per level and lattice, whatever runs the tasks and however the work is cut."""

import subprocess

import pytest
import zarr

from tests.cluster.conftest import BuiltImage
from tests.cluster.stage import SETTINGS, SMALL_ARRAYS, Stage

pytestmark = pytest.mark.nextflow

OTHERWISE_CUT = {**SETTINGS, "slab_planes": 150, "sections_per_task": 1}


def image_config(image: BuiltImage) -> str:
    return f"process.container = '{image.sif}'\n"


def test_two_threads(stage, plain):
    stage.run(profile="standard", config="process { withLabel: 'process_medium' { cpus = 2 } }")
    assert stage.digests() == plain.digests()


def test_other_slabs_and_batches(stage, plain):
    stage.run(profile="standard", settings=OTHERWISE_CUT)
    tasks = {name.split(" ")[0] for name in stage.attempts()}
    assert tasks == {name.split(" ")[0] for name in plain.attempts()}
    assert stage.attempts() != plain.attempts()
    assert stage.digests() == plain.digests()


def test_podman(stage, plain, cpu_image):
    stage.run(profile="podman")
    assert stage.digests() == plain.digests()


def test_apptainer(stage, plain, cpu_image):
    stage.run(profile="apptainer", config=image_config(cpu_image))
    assert stage.digests() == plain.digests()


def test_slurm_with_apptainer_arrays_and_the_head_job_in_slurm(stage, plain, cpu_image, slurm):
    config = image_config(cpu_image) + SMALL_ARRAYS
    command = stage.command(profile="slurm,apptainer,arrays", config=config, settings=OTHERWISE_CUT)
    sbatch = [
        "sbatch",
        "--wait",
        "--quiet",
        "--mem=2G",
        "--output=output.txt",
        "--wrap",
        subprocess.list2cmdline(command),
    ]
    subprocess.run(sbatch, cwd=stage.folder, check=True, timeout=400)
    assert stage.digests() == plain.digests(), stage.output()
    assert len(stage.arrays()) == 6


def test_verify_reads_results_back(plain, tmp_path):
    assert "2 acquisitions are as they were written" in plain.verify("uneven", "small").stdout
    folder = tmp_path / "results" / "small"
    subprocess.run(["cp", "-r", plain.results, tmp_path / "results"], check=True)
    level = zarr.open_group(folder / "corrected.ome.zarr")["0"]
    level[3, 4, 5] += 1
    found = Stage(tmp_path, plain.pipeline, plain.samplesheet).verify("small")
    assert found.returncode == 1
    assert "small: corrected.ome.zarr/0: recorded" in found.stderr
