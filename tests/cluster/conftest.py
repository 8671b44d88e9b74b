"""Slurm, Grid Engine, Apptainer, podman and the images, set up by the scripts beside this file.

Everything is skipped, with the reason, where this machine is not a Debian whose root we are.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import linumpy
from tests.cluster.stage import Stage, write_inputs
from tests.pipeline.conftest import pipeline as pipeline  # a fixture

HERE = Path(__file__).resolve().parent

# For a sandbox without systemd, where limits cannot be raised and networks cannot be made. The shipped profile has none
# of it.
PODMAN_OPTIONS = "--runtime runc --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 --network=none"


def _why_not() -> str | None:
    if os.geteuid() != 0:
        return "setting up Slurm, Grid Engine and container engines needs root"
    if shutil.which("apt-get") is None or shutil.which("dpkg-query") is None:
        return "the set-up scripts know only Debian's packages"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this folder, and skip it where it cannot run."""
    reason = _why_not()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def run_script(name: str, *arguments: str, **environment: str) -> str:
    """Run a script of this folder and return what it printed; its whole output is in the error if it fails."""
    done = subprocess.run(
        [HERE / name, *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{name} {' '.join(arguments)} failed:\n{done.stdout[-4000:]}"
    return done.stdout


@dataclass(frozen=True)
class BuiltImage:
    """An image in podman's store, and the SIF made of it where there is one."""

    tag: str
    sif: Path | None

    def podman(self, *command: str | Path, options: tuple[str, ...] = ()) -> str:
        """Run a command under podman, as the image's own user unless `options` say otherwise."""
        return _output("podman", "run", "--rm", *PODMAN_OPTIONS.split(), *options, self.tag, *command)

    def apptainer(self, *command: str | Path, options: tuple[str, ...] = ()) -> str:
        """Run a command under Apptainer, with an empty environment as a task has."""
        assert self.sif is not None
        return _output("apptainer", "exec", "--cleanenv", "--no-home", *options, self.sif, *command)


def _output(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def cpu_image() -> BuiltImage:
    """The CPU image and its SIF, as `make images` builds them."""
    run_script("images.sh", "cpu")
    tag = f"linumpy-n4:{linumpy.__version__}-cpu"
    return BuiltImage(f"localhost/{tag}", HERE.parents[1] / f"build/images/{tag.replace(':', '-')}.sif")


@pytest.fixture(scope="session")
def cuda_image() -> BuiltImage:
    """The CUDA image, without a SIF: packing its 4 GB takes minutes and shows nothing more."""
    run_script("images.sh", "cuda", SIF="no")
    return BuiltImage(f"localhost/linumpy-n4:{linumpy.__version__}-cuda", None)


@pytest.fixture(scope="session")
def slurm() -> Iterator[None]:
    """A Slurm of one node, stopped at the end."""
    run_script("slurm.sh", "up")
    yield
    run_script("slurm.sh", "down")


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samplesheet of two small acquisitions."""
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def stage(tmp_path: Path, pipeline: Path, inputs: Path) -> Stage:
    """The stage, to be run on the two acquisitions in a folder of its own."""
    return Stage(tmp_path / "run", pipeline, inputs)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, pipeline: Path, inputs: Path) -> Stage:
    """The run that all others are compared with: on this machine, one thread a task, nothing in its way."""
    stage = Stage(tmp_path_factory.mktemp("plain"), pipeline, inputs)
    stage.run(profile="standard")
    assert len(stage.digests()) > 10
    return stage
