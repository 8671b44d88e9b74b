"""What is lost and what is redone when something goes wrong: nothing, and only what was not finished.

Every test compares the digests with those of the undisturbed run, and what was finished before the fault with what ran
after it. The table of docs/cluster.md is written by these tests, to build/faults.md.
"""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.acquisitions import small_acquisition, truncate, write_ome_zarr
from tests.cluster.conftest import run_script
from tests.cluster.stage import Stage, send, write_inputs

pytestmark = pytest.mark.nextflow

Record = Callable[..., None]


@pytest.fixture(scope="module")
def record(repository: Path) -> Iterator[Record]:
    """A function that adds a line to the table of faults."""
    lines = ["| fault | how it was injected | lost | done again |", "|---|---|---|---|"]

    def add(fault: str, how: str, redone: set[str] | str, lost: str = "nothing") -> None:
        again = redone if isinstance(redone, str) else ", ".join(sorted(redone))
        lines.append(f"| {fault} | {how} | {lost} | {again} |")

    yield add
    (repository / "build").mkdir(exist_ok=True)
    (repository / "build" / "faults.md").write_text("\n".join(lines) + "\n")


def of(lines: list[str], *acquisitions: str) -> list[str]:
    return [line for line in lines if line.split("\t")[0] in acquisitions]


def jobs(states: str = "running,pending") -> list[str]:
    """Names of Slurm's jobs in these states."""
    return subprocess.check_output(["squeue", "-h", "-o", "%j", "-t", states], text=True).split()


# A task killed, two short of memory (one for good), one that hangs: a run lives with all of that by itself.


# `tail /dev/zero` takes memory without end.
TROUBLE = """
process {
    withName: 'TISSUE_MASK' {
        beforeScript = { id == 'doomed' || (id == 'uneven' && task.attempt == 1) ? 'tail /dev/zero' : '' }
    }
    withName: 'ASSEMBLE' {
        time = { id == 'small' && task.attempt == 1 ? 1.min : 10.min }
        beforeScript = { id == 'small' && task.attempt == 1 ? 'sleep 600' : '' }
    }
}
"""


@pytest.fixture(scope="module")
def troubled(tmp_path_factory, pipeline, slurm, cpu_image, plain):
    """A run on Slurm with Apptainer that had all these troubles."""
    folder = tmp_path_factory.mktemp("troubled")
    doomed = write_ome_zarr(folder / "doomed.ome.zarr", small_acquisition().volume)
    stage = Stage(folder / "run", pipeline, write_inputs(folder / "inputs", doomed=doomed))
    config = f"process.container = '{cpu_image.sif}'\n{TROUBLE}"
    with stage.started(profile="slurm,apptainer", config=config) as head:
        send(stage.wait_for_process("n4_global.py", head), signal.SIGKILL)
        assert head.wait(timeout=400) != 0, stage.output()
    return stage


def killed_and_done(stage: Stage, task: str) -> list[str]:
    return [row["exit"] for row in sorted(stage.tasks(), key=lambda row: int(row["attempt"])) if row["task"] == task]


def test_a_killed_task_is_tried_again(troubled, record):
    (task,) = {name for name, n in troubled.attempts().items() if name.startswith("N4_GLOBAL") and n > 1}
    assert killed_and_done(troubled, task) == ["137", "0"]
    record("a task is killed", "`kill -9` of a task's Python", {task})


def test_a_task_short_of_memory_gets_more(troubled, record):
    exits = killed_and_done(troubled, "TISSUE_MASK (uneven)")
    assert len(exits) == 2
    assert exits[-1] == "0"
    record("memory limit", "a task takes memory without end; the kernel kills it", {"TISSUE_MASK (uneven)"})


def test_a_hung_task_meets_its_time_limit(troubled, record):
    exits = killed_and_done(troubled, "ASSEMBLE (small)")
    assert len(exits) == 2
    assert exits[-1] == "0"
    record("a task hangs", "`sleep` in a task; Slurm's time limit of a minute", {"ASSEMBLE (small)"})


def test_what_cannot_be_finished_is_named_and_the_others_are_whole(troubled, plain, record):
    assert len(killed_and_done(troubled, "TISSUE_MASK (doomed)")) == 3
    assert re.search(r"TISSUE_MASK \(doomed\).*terminated", troubled.output())
    assert "Not finished: doomed." in troubled.output()
    assert [path.name for path in troubled.results.glob("doomed/*")] == []
    assert troubled.digests() == plain.digests()
    record(
        "a task can never be finished",
        "it takes memory without end at every try",
        "nothing",
        lost="that acquisition, by name; exit status 1",
    )


def test_a_node_taken_away(stage, plain, slurm, record):
    hold = "{ id == 'uneven' && task.attempt == 1 ? 'sleep 60' : '' }"
    hold = f"process {{ withName: 'N4_GLOBAL' {{ beforeScript = {hold} }} }}"
    with stage.started(profile="slurm", config=hold) as head:
        while not any("N4_GLOBAL_(uneven)" in name for name in jobs("running")):
            assert head.poll() is None, stage.output()
            time.sleep(0.2)
        run_script("slurm.sh", "away")
        for number in stage.processes():  # with the daemon alone gone, tasks would go on and end well
            send(number, signal.SIGKILL)
        time.sleep(2)
        run_script("slurm.sh", "up")
        assert head.wait(timeout=400) == 0, stage.output()
    assert stage.digests() == plain.digests()
    again = {task for task, n in stage.attempts().items() if n > 1}
    assert "N4_GLOBAL (uneven)" in again
    record("the node goes", "slurmd stopped, its tasks killed, the node set down, then up again", again)


@pytest.mark.parametrize("what", [signal.SIGTERM, signal.SIGKILL])
def test_the_head_job_ends(stage, plain, slurm, record, what):
    with stage.started(profile="slurm") as head:
        stage.wait_until_done("CORRECT", head)
        finished = stage.finished_tasks()
        time.sleep(3)  # Nextflow has seen these
        send(head.pid, what)
        assert head.wait(timeout=60) != 0
    if what == signal.SIGTERM:  # kill -9 leaves them to themselves
        assert not [name for name in jobs() if name.startswith("nf-")]
    stage.run("-resume", profile="slurm")
    assert stage.digests() == plain.digests()
    assert not stage.redone() & finished
    record(f"the head job ends ({what.name})", f"`kill -{what}` of Nextflow, `-resume`", "the tasks that ran just then")


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Callable[[int], None]]:
    """Mount a small file system at a folder; the function given makes it another size."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield lambda size: subprocess.check_call(["mount", "-o", f"remount,size={size}m", folder])
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize(("where", "megabytes"), [("work", 12), ("results", 2)])
def test_a_full_disk(stage, plain, slurm, record, where, megabytes):
    with small_disk(stage.folder / where, megabytes) as resize:
        said = stage.run(profile="slurm", status=None)
        errors = [path.read_text(errors="replace") for path in (stage.folder / "work").glob("??/*/.command.err")]
        log = (stage.folder / ".nextflow.log").read_text()
        assert any("No space left on device" in text for text in (said, log, *errors))
        finished = stage.finished_tasks()
        resize(500)
        stage.run("-resume", profile="slurm")
        assert stage.digests() == plain.digests()
        assert stage.verify("uneven", "small").returncode == 0
        again = stage.redone() & finished
        assert not again
        record(
            f"the disk of {where} is full", f"a file system of {megabytes} MB, later 500; `-resume`", "what had failed"
        )


def flip_a_bit(file: Path) -> None:
    """Change one bit in the middle of a file, as a failing disk would: its size stays."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "how", "why"),
    [
        (truncate, "truncated", "it has \\d+ bytes of \\d+"),
        (flip_a_bit, "changed in one bit", "sampled plane \\d+ of \\d+ is not what was written"),
    ],
    ids=["truncated", "a flipped bit"],
)
def test_damaged_samples(stage, plain, slurm, record, damage, how, why):
    broken_node = "process { withName: 'N4_GLOBAL' { beforeScript = { id == 'uneven' ? 'exit 3' : '' } } }"
    stage.run(profile="slurm", config=broken_node, status=None)
    (folder,) = (path for path, task in stage.finished_folders().items() if task == "TISSUE_MASK (uneven)")
    damage(Path(folder, "samples", "stack_image.npy"))

    said = stage.run("-resume", profile="slurm", status=None)
    assert "Not finished: uneven." in said
    errors = [path.read_text() for path in (stage.folder / "work").glob("??/*/.command.err")]
    assert any(
        re.search(f"{re.escape(folder)}/samples/stack_image.npy is damaged \\({why}\\)", text) for text in errors
    )
    assert stage.redone() >= {"N4_GLOBAL (uneven)"}
    assert not (stage.results / "uneven" / "corrected.ome.zarr").exists()
    assert of(stage.digests(), "small") == of(plain.digests(), "small")

    shutil.rmtree(folder)  # what the message names
    stage.run("-resume", profile="slurm")
    assert stage.digests() == plain.digests()
    redone = stage.redone()
    assert all("(uneven" in task for task in redone)
    record(
        "an intermediate is damaged", f"TISSUE_MASK's samples {how}, `-resume`; its folder removed, `-resume`",
        "the acquisition's tasks from TISSUE_MASK on", lost="nothing; refused by name until then",
    )  # fmt: skip


def test_a_damaged_slab(stage, plain, slurm, record):
    broken_node = "process { withName: 'ASSEMBLE' { beforeScript = { id == 'small' ? 'exit 3' : '' } } }"
    stage.run(profile="slurm", config=broken_node, status=None)
    (folder,) = (path for path, task in stage.finished_folders().items() if task.startswith("CORRECT (small"))
    chunks = [path for path in Path(folder).glob("slab_*/corrected.ome.zarr/0/c/**/*") if path.is_file()]
    flip_a_bit(max(chunks, key=lambda path: path.stat().st_size))

    stage.run("-resume", profile="slurm")  # chunk files are linked, not read
    assert stage.digests() == plain.digests()  # of what was computed
    found = stage.verify("uneven", "small")
    assert found.returncode == 1
    assert re.search("^small: corrected.ome.zarr/0: recorded", found.stderr, re.MULTILINE)
    assert "uneven: " not in found.stderr

    shutil.rmtree(folder)
    stage.run("-resume", profile="slurm")
    assert stage.digests() == plain.digests()
    assert stage.verify("uneven", "small").returncode == 0
    redone = {task.split(" ")[0] for task in stage.redone() if "(small" in task}
    assert redone == {"CORRECT", "ASSEMBLE", "REPORT"}
    assert not any("(uneven" in task for task in stage.redone())
    record(
        "a chunk of a corrected slab is damaged", "a bit of its file flipped, `-resume`; its folder removed, `-resume`",
        "that acquisition's tasks from CORRECT on", lost="nothing; `bin/verify.py` names it, no run does",
    )  # fmt: skip


def test_an_input_that_changes(pipeline, tmp_path, plain, slurm, record):
    stage = Stage(tmp_path / "run", pipeline, write_inputs(tmp_path / "inputs"))
    stage.run(profile="slurm")
    zarr.open_group(tmp_path / "inputs" / "small.ome.zarr")["s0"][10] *= np.float32(1.5)
    stage.run("-resume", profile="slurm")
    assert {task for task in stage.redone() if "(uneven" in task} == set()
    assert {task for task in stage.attempts() if "(small" in task} <= stage.redone()
    assert of(stage.digests(), "uneven") == of(plain.digests(), "uneven")

    fresh = Stage(tmp_path / "fresh", pipeline, stage.samplesheet)
    fresh.run(profile="standard")
    assert stage.digests() == fresh.digests()
    assert of(stage.digests(), "small") != of(plain.digests(), "small")
    record("an input changes between run and `-resume`", "a plane rewritten in place", "all of that acquisition")
