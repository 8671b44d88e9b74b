"""Python 3.13 and the C library of Debian trixie give the bits of this machine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.acquisitions import UNEVEN_SECTIONS, uneven_acquisition, write_ome_zarr, write_sections
from tests.cluster.conftest import run_script

RUN = """
import sys
from pathlib import Path
import numpy as np
from tests.acquisitions import small_acquisition
from tests.chain import run_chain
folder = Path(sys.argv[1])
print(*sys.version_info[:2])
np.save(folder / "simulated.npy", small_acquisition().volume)
run_chain(folder / "chain", {"image": folder / "uneven.ome.zarr", "sections": folder / "uneven.csv"})
"""
OPENBLAS = {"OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Haswell"}
"""As conf/base.config has it: each kind of CPU has other last bits."""


@pytest.fixture
def trixie(repository):
    """Root of a Debian trixie; in /source the stage, in /run nothing."""
    root = Path(run_script("trixie.sh").splitlines()[-1])
    for name in ("source", "run"):
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir()
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile"]
    options = ["--no-deps", "--no-build-isolation", "--target", root / "source"]
    subprocess.run([*pip, *options, repository], check=True)
    for name in ("bin", "modules", "tests"):
        shutil.copytree(repository / name, root / "source" / name)
    shutil.copy(repository / "nextflow_schema.json", root / "source")
    return root


@pytest.mark.slow
def test_python_3_13_on_trixie_gives_the_same_digests(repository, trixie, tmp_path):
    write_ome_zarr(trixie / "run" / "uneven.ome.zarr", uneven_acquisition().volume)
    write_sections(trixie / "run" / "uneven.csv", UNEVEN_SECTIONS)
    command = ["python3", "-c", RUN, "/run"]
    environment = {"PATH": "/usr/sbin:/usr/bin", "PYTHONPATH": "/site:/source"} | OPENBLAS
    there = subprocess.run(["chroot", trixie, *command], env=environment, check=True, capture_output=True, text=True)
    assert there.stdout.splitlines()[0] == "3 13"
    for name in ("uneven.ome.zarr", "uneven.csv"):
        (tmp_path / name).symlink_to(trixie / "run" / name)
    command = [sys.executable, "-c", RUN, tmp_path]
    subprocess.run(command, env=os.environ | OPENBLAS, cwd=repository, check=True, capture_output=True)
    here, there = (
        (folder / "chain" / "results" / "a" / "digests.tsv").read_text() for folder in (tmp_path, trixie / "run")
    )
    assert len(here.splitlines()) > 10
    assert there == here
    # Simulated voxels differ in their last bits: docs/surroundings.md says why.
    simulated = [np.load(folder / "simulated.npy") for folder in (tmp_path, trixie / "run")]
    np.testing.assert_allclose(*simulated, rtol=1e-5)
