"""Python 3.13 and the C library of Debian trixie give the bits of this machine."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.acquisitions import UNEVEN_SECTIONS, small_acquisition, uneven_acquisition, write_ome_zarr, write_sections
from tests.chain import run_chain
from tests.cluster.conftest import run_script

RUN = """
import sys
from pathlib import Path
import numpy as np
from tests.acquisitions import small_acquisition
from tests.chain import run_chain
assert sys.version_info[:2] == (3, 13), sys.version
np.save("/run/simulated.npy", small_acquisition().volume)
run_chain(Path("/run/chain"), {"image": "/run/uneven.ome.zarr", "sections": "/run/uneven.csv"})
"""


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
def test_python_3_13_on_trixie_gives_the_same_digests(trixie, tmp_path):
    image = write_ome_zarr(trixie / "run" / "uneven.ome.zarr", uneven_acquisition().volume)
    sections = write_sections(trixie / "run" / "uneven.csv", UNEVEN_SECTIONS)
    environment = {"PATH": "/usr/sbin:/usr/bin", "PYTHONPATH": "/site:/source"}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Haswell"}  # as conf/base.config has it
    subprocess.run(["chroot", trixie, "python3", "-c", RUN], env=environment, check=True)
    here = run_chain(tmp_path, {"image": image, "sections": sections}) / "digests.tsv"
    there = trixie / "run" / "chain" / "results" / "a" / "digests.tsv"
    assert len(here.read_text().splitlines()) > 10
    assert there.read_text() == here.read_text()
    # Simulated voxels differ in their last bits: docs/surroundings.md says why.
    simulated = np.load(trixie / "run" / "simulated.npy")
    np.testing.assert_allclose(simulated, small_acquisition().volume, rtol=1e-5)
