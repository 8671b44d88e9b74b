"""The images hold what the stage needs, nothing else, and give the machine's own bits."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import linumpy
from tests.acquisitions import small_acquisition, write_ome_zarr

HERE = Path(__file__).resolve().parent
SELF_CHECK = HERE / "self_check.py"


@pytest.fixture(scope="module")
def on_this_machine() -> dict:
    """What the self-check prints without any container."""
    return json.loads(subprocess.check_output([sys.executable, SELF_CHECK], text=True))


def test_cpu_image_under_podman_gives_the_same_bits(cpu_image, on_this_machine):
    mount = ("--volume", f"{SELF_CHECK}:/self_check.py:ro")
    inside = json.loads(cpu_image.podman("python3", "/self_check.py", options=mount))
    assert inside["compiled"] == 0, "kernels were compiled anew: the image's own were not found"
    assert {k: inside[k] for k in ("mask", "corrected")} == {k: on_this_machine[k] for k in ("mask", "corrected")}


def test_cpu_image_under_apptainer_gives_the_same_bits(cpu_image, on_this_machine):
    bind = ("--bind", f"{SELF_CHECK}:/self_check.py:ro")
    inside = json.loads(cpu_image.apptainer("python3", "/self_check.py", options=bind))
    assert inside["compiled"] == 0, "kernels were compiled anew: the image's own were not found"
    assert {k: inside[k] for k in ("mask", "corrected")} == {k: on_this_machine[k] for k in ("mask", "corrected")}


def test_images_run_without_root_and_hold_no_build_tools(cpu_image):
    assert cpu_image.podman("id", "-u").strip() == "1000"
    assert "procps" in cpu_image.podman("ps", "--version"), "Nextflow's trace needs ps"
    leftovers = "command -v gcc cc make pip pip3; ls -A ~root/.cache /source 2>/dev/null; true"
    found = cpu_image.podman("sh", "-c", leftovers, options=("--user", "0"))  # nobody else sees root's cache
    assert found == ""
    versions = cpu_image.podman("python3", "-c", "import importlib.metadata as m; print(m.version('linumpy-n4'))")
    assert versions.strip() == linumpy.__version__


# The whole chain on one small acquisition, in the folder where it is run; prints the digests of the result.
CHAIN = """
import pathlib, sys
from tests.chain import run_chain
row = {"image": sys.argv[1], "n_sections": 2}
results = run_chain(pathlib.Path(sys.argv[2]), row, n_iterations="4", shrink_factor=2)
print((results / "digests.tsv").read_text())
"""


def test_stage_runs_as_any_user_on_a_read_only_root_file_system(cpu_image, repository, tmp_path):
    image = write_ome_zarr(tmp_path / "image.zarr", small_acquisition().volume)
    here = subprocess.check_output([sys.executable, "-c", CHAIN, image, tmp_path / "here"], cwd=repository, text=True)
    work = tmp_path / "work"
    work.mkdir()
    work.chmod(0o777)
    # The tests' own code beside the image's linumpy; nothing can be written but the work folder.
    mounts = [
        f"{repository / name}:/repository/{name}:ro" for name in ("bin", "modules", "tests", "nextflow_schema.json")
    ]
    mounts += [f"{image}:/input/image.zarr:ro", f"{work}:/work"]
    options = [
        "--read-only",
        "--read-only-tmpfs=false",
        "--cap-drop",
        "all",
        "--user",
        "12345:12345",
        "--env",
        "PYTHONPATH=/repository",
    ]
    options += [word for mount in mounts for word in ("--volume", mount)]
    command = ("python3", "-c", CHAIN, "/input/image.zarr", "/work/run")
    inside = cpu_image.podman(*command, options=(*options, "--env", "TMPDIR=/work"))
    assert inside.strip().splitlines() == here.strip().splitlines()
    assert len(here.splitlines()) > 5


def test_bill_of_materials_lies_beside_the_image(cpu_image, repository):
    bill = json.loads(cpu_image.sif.with_suffix(".cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["version"] == f"{linumpy.__version__}-cpu"
    listed = {part["purl"] for part in bill["components"]}
    lock = (repository / "requirements/runtime.txt").read_text()
    locked = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+) *\\?$", lock, re.MULTILINE)
    assert len(locked) > 20
    of_python = {f"pkg:pypi/{re.sub('[-_.]+', '-', name).lower()}@{version}" for name, version in locked}
    of_python.add(f"pkg:pypi/linumpy-n4@{linumpy.__version__}")
    assert of_python == {purl for purl in listed if purl.startswith("pkg:pypi/")}
    query = cpu_image.podman("dpkg-query", "-W", "-f", "${Package}\n")
    of_debian = {purl.split("/")[2].split("@")[0] for purl in listed if purl.startswith("pkg:deb/")}
    assert of_debian == set(query.split())
    assert "procps" in of_debian


def test_images_are_labelled(cpu_image):
    labels = json.loads(
        subprocess.check_output(["podman", "inspect", "--type", "image", "--format", "{{json .Labels}}", cpu_image.tag])
    )
    assert labels["org.opencontainers.image.version"] == linumpy.__version__
    assert labels["org.opencontainers.image.licenses"] == "BSD-3-Clause"
    assert len(labels["org.opencontainers.image.revision"].removesuffix("-modified")) == 40


def test_sif_has_the_environment_of_the_image(cpu_image):
    def ours(printed: str) -> dict[str, str]:
        wanted = ("PATH=", "PYTHON", "NUMBA_", "CUPY_")
        return dict(line.split("=", 1) for line in printed.splitlines() if line.startswith(wanted))

    assert ours(cpu_image.apptainer("env")) == ours(cpu_image.podman("env"))


@pytest.mark.slow
def test_cuda_image_without_a_gpu(cuda_image, on_this_machine):
    libraries = (
        "import cupy, cupyx.scipy.ndimage; from cupy_backends.cuda.libs import cublas, nvrtc; nvrtc.getVersion()"
    )
    cuda_image.podman("python3", "-c", libraries)
    mount = ("--volume", f"{SELF_CHECK}:/self_check.py:ro")
    native = json.loads(cuda_image.podman("python3", "/self_check.py", options=mount))
    assert not native["gpu"]
    assert native["corrected"] == on_this_machine["corrected"]
    fallen_back = json.loads(cuda_image.podman("python3", "/self_check.py", "gpu", options=mount))
    assert fallen_back["mean"] == pytest.approx(native["mean"], rel=1e-4)  # the documented NumPy fallback
