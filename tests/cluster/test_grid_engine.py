"""The stage on a real Grid Engine, by conf/sites/sge.config as it is shipped: job arrays, memory, `-resume`."""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import HERE, run_script
from tests.cluster.stage import SMALL_ARRAYS, Stage
from tests.cluster.test_executors import run_toy

pytestmark = pytest.mark.nextflow
SITE = HERE.parents[1] / "conf" / "sites" / "sge.config"

# Nextflow does not find an array's tasks in what qstat lists, and takes them for dead when they last longer than this.
PATIENCE = "executor.exitReadTimeout = '15 min'\n"
BROKEN_NODE = "process { withName: 'ASSEMBLE' { beforeScript = { id == 'small' ? 'exit 3' : '' } } }\n"
# Two processes that map more than the task may, but each less than its limit: Grid Engine kills the job.
HUNGRY = "process { withName: 'ASSEMBLE' { beforeScript = { task.attempt == 1 ? 'bash HOG' : '' } } }\n"
HOG = """
hold='held = bytearray(1400 << 20); import time; time.sleep(60)'
python3 -c "$hold" & python3 -c "$hold" & wait
"""


def environment(pipeline: Path) -> str:
    """Return configuration: a job sees nothing of the environment of the head job, and these run without containers."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return f"env {{\n    PATH = '{path}'\n    PYTHONPATH = '{pipeline}'\n}}\n"


@pytest.fixture(scope="module")
def grid_engine() -> Iterator[None]:
    """A Grid Engine of one node, which commands find by the environment; stopped and removed at the end."""
    words = shlex.split((HERE / "sge.env").read_text(), comments=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, _, value in (word.partition("=") for word in words if "=" in word):
            patch.setenv(name, value)
        try:
            run_script("sge.sh", "up")
            yield
        finally:
            run_script("sge.sh", "down")


def asked(stage_folder: Path, name: str) -> list[str]:
    """What Grid Engine was asked for on behalf of the tasks of a name, in the order in which they were made."""
    scripts = sorted(stage_folder.glob("work/??/*/.command.run"), key=lambda path: path.stat().st_mtime_ns)
    texts = [text for text in (path.read_text() for path in scripts) if name in text]
    return [" ".join(re.findall(r"^#\$ (.*)$", text, re.MULTILINE)) for text in texts]


@pytest.mark.parametrize(("cpus", "array"), [(2, 0), (1, 3)], ids=["jobs", "job array"])
def test_grid_engine(repository, grid_engine, tmp_path, cpus, array):
    config = f"includeConfig '{SITE}'\nprocess {{ withName: 'WHERE' {{ cpus = {cpus}; array = {array} }} }}\n"
    said = run_toy(repository, tmp_path, config=config + environment(repository))
    assert [line.split(" ")[0] for line in said] == ["1", "2", "3"]
    jobs = [words for words in asked(tmp_path, "WHERE") if "-q all.q" in words]
    submitted = [words for words in jobs if array == 0 or "-t 1-3" in words]
    assert len(submitted) == (1 if array else 3)
    for words in submitted:
        assert f"h_vmem={(300 + 1024) // cpus}M" in words
        assert ("-pe smp 2" in words) == (cpus == 2)


def run(stage: Stage, *options: str, profile: str, config: str, status: int | None = 0) -> str:
    """Run the stage by the site's configuration, and return what it printed."""
    site = stage.pipeline / "conf" / "sites" / "sge.config"
    config = environment(stage.pipeline) + SMALL_ARRAYS + config
    return stage.run("-c", str(site), *options, profile=profile, config=config, status=status)


def test_arrays_then_a_kill_for_memory_at_resume(stage, plain, grid_engine):
    said = run(stage, profile="arrays", config=PATIENCE + BROKEN_NODE, status=None)
    assert "Not finished: small." in said
    assert set(stage.attempts().values()) == {1}
    assert len(stage.arrays()) == 5  # one of each process but REPORT, which had one task
    finished = stage.finished_tasks()

    hog = stage.folder / "hog.sh"
    hog.write_text(HOG)
    run(stage, "-resume", profile="standard", config=HUNGRY.replace("HOG", str(hog)))
    assert not stage.redone() & finished
    assert stage.redone() == {"ASSEMBLE (small)", "REPORT (small)"}
    assert stage.digests() == plain.digests()
    assert stage.attempts()["ASSEMBLE (small)"] == 2
    limits = [int(re.findall(r"h_vmem=(\d+)M", words)[0]) for words in asked(stage.folder, "ASSEMBLE (small)")[1:]]
    assert limits == [2048, 3072]
