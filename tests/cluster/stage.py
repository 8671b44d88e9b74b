"""The stage on a cluster, for the tests beside this file: how it is launched, watched and disturbed."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acquisitions import (
    UNEVEN_SECTIONS,
    small_acquisition,
    uneven_acquisition,
    write_ome_zarr,
    write_samplesheet,
    write_sections,
)
from tests.pipeline.conftest import NEXTFLOW, imports_from

TASK_NAME = re.compile(r"^### name: '(?:.*:)?(.+)'$", re.MULTILINE)
# CHECK_INPUT always runs, the others again when there is one acquisition more.
OF_THE_BATCH = {"CHECK_INPUT (1)", "BATCH_REPORT", "PROVENANCE (1)"}
HERE = Path(__file__).resolve().parent

# Whatever the defaults are, these are what is tested: three slabs and three batches of sections in `uneven`.
SETTINGS: Mapping[str, object] = {
    "shrink_factor": 2,
    "n_iterations": "8,8",
    "spline_distance_section_mm": 0.5,
    "spline_distance_global_mm": 1.5,
    "slab_planes": 64,
    "sections_per_task": 2,
}

# Tasks of one core, of which the sandbox's two run two at a time, and which ask for what they need.
SMALL_TASKS = """
process {
    withLabel: 'process_low' { memory = { 700.MB * task.attempt } }
    withLabel: 'process_medium' { cpus = 1 }
    withName: 'TISSUE_MASK|N4_GLOBAL|ASSEMBLE' { memory = { 1.GB * task.attempt } }
}
"""

# As much for the tasks of job arrays, which ask for 4 GB as shipped.
SMALL_ARRAYS = """
process {
    withName: 'TISSUE_MASK|N4_SECTION|N4_GLOBAL|CORRECT|ASSEMBLE|REPORT' { memory = { 1.GB * task.attempt } }
}
"""


def write_inputs(folder: Path, **more: Path) -> Path:
    """Write two acquisitions, `uneven` and `small`, and a samplesheet of them and of `more`; return the samplesheet."""
    folder.mkdir(parents=True, exist_ok=True)
    write_ome_zarr(folder / "uneven.ome.zarr", uneven_acquisition().volume)
    write_sections(folder / "uneven.csv", UNEVEN_SECTIONS)
    write_ome_zarr(folder / "small.ome.zarr", small_acquisition().volume, version="0.4")
    rows = [
        {"acquisition": "uneven", "image": "uneven.ome.zarr", "sections": "uneven.csv"},
        {"acquisition": "small", "image": "small.ome.zarr", "n_sections": 3},
    ]
    rows += [{"acquisition": name, "image": str(image), "n_sections": 3} for name, image in more.items()]
    return write_samplesheet(folder / "samplesheet.csv", rows)


@dataclass(frozen=True)
class Stage:
    """The stage in a folder of its own, with `work` and `results` in it.

    Parameters
    ----------
    folder, pipeline, samplesheet : Path
        Where it is launched, the copy of the pipeline, and its input.
    """

    folder: Path
    pipeline: Path
    samplesheet: Path

    @property
    def results(self) -> Path:
        """Folder of the results."""
        return self.folder / "results"

    def command(
        self, *options: str, profile: str, config: str = "", settings: Mapping[str, object] = SETTINGS
    ) -> list[str]:
        """Return the command that runs the stage; `config` is read last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Images hold their own linumpy.
        imports = "" if {"apptainer", "podman"} & set(profile.split(",")) else imports_from(self.pipeline)
        (self.folder / "test.config").write_text(SMALL_TASKS + imports + config)
        command = [NEXTFLOW, "run", self.pipeline, "-ansi-log", "false", "-profile", profile]
        command += ["-c", HERE / "sandbox.config", "-c", "test.config"]
        command += ["--input", self.samplesheet, "--outdir", "results", *options]
        command += [text for name, value in settings.items() for text in (f"--{name}", value)]
        return [str(word) for word in command]

    def environment(self) -> dict[str, str]:
        """Return the environment of the head job."""
        return dict(os.environ)

    @contextmanager
    def started(self, *options: str, **how: object) -> Iterator[subprocess.Popen[str]]:
        """Run the stage in the background: its head job. What it prints goes to `output.txt`."""
        command = self.command(*options, **how)
        with (self.folder / "output.txt").open("w") as output:
            head = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        try:
            yield head
        finally:
            head.kill()

    def run(self, *options: str, status: int | None = 0, **how: object) -> str:
        """Run the stage to its end and return what it printed; a `status` of None is any but 0."""
        with self.started(*options, **how) as head:
            found = head.wait(timeout=400)
        assert found == status if status is not None else found, self.output()
        return self.output()

    def output(self) -> str:
        """What the head job printed."""
        return (self.folder / "output.txt").read_text()

    def verify(self, *acquisitions: str) -> subprocess.CompletedProcess[str]:
        """Have results read back and compared with their recorded digests."""
        script = self.pipeline / "bin" / "verify.py"
        command = [sys.executable, script, *(self.results / name for name in acquisitions)]
        environment = os.environ | {"PYTHONPATH": str(self.pipeline)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def digests(self) -> list[str]:
        """Lines of `digests.tsv`."""
        return (self.results / "pipeline_info" / "digests.tsv").read_text().splitlines()

    def tasks(self) -> list[dict[str, str]]:
        """Rows of the last run's trace; `task` is the process and the tag, without the workflow."""
        with (self.results / "pipeline_info" / "trace.tsv").open() as stream:
            return [row | {"task": row["name"].split(":")[-1]} for row in csv.DictReader(stream, delimiter="\t")]

    def redone(self) -> set[str]:
        """Tasks of an acquisition that the last run did not find in the cache."""
        return {row["task"] for row in self.tasks() if row["status"] != "CACHED"} - OF_THE_BATCH

    def attempts(self) -> Counter[str]:
        """How often each task of the last run was tried."""
        return Counter(row["task"] for row in self.tasks())

    def arrays(self) -> list[Path]:
        """Folders of the job arrays that were submitted."""
        asked = re.compile(r"^#(SBATCH --array|\$ -t) ", re.MULTILINE)
        scripts = sorted((self.folder / "work").glob("??/*/.command.run"))
        return [script.parent for script in scripts if asked.search(script.read_text())]

    def finished_folders(self) -> dict[str, str]:
        """Folder and name of each task that ended well."""
        found = {}
        for code in sorted((self.folder / "work").glob("??/*/.exitcode")):
            name = TASK_NAME.search((code.parent / ".command.run").read_text())
            if name and code.read_text().strip() == "0":
                found[str(code.parent)] = name[1]
        return found

    def finished_tasks(self) -> set[str]:
        """Names of the tasks of an acquisition that ended well."""
        return set(self.finished_folders().values()) - OF_THE_BATCH

    def processes(self, script: str = "") -> list[int]:
        """Return the processes that run in this stage's task folders; of one script, where it is named."""
        work = str((self.folder / "work").resolve())
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                if os.readlink(process / "cwd").startswith(work) and (
                    not script or (b"python" in words[0] and words[1].endswith(script.encode()))
                ):
                    found.append(int(process.name))
            except (OSError, IndexError):  # it ended, or has no arguments
                continue
        return found

    def wait_for_process(self, script: str, head: subprocess.Popen[str]) -> int:
        """Wait until a task of this stage runs a script, and return the number of that process."""
        for _ in range(6000):
            if found := self.processes(script):
                return found[0]
            assert head.poll() is None, self.output()
            time.sleep(0.02)
        raise TimeoutError(f"{script} was never run:\n{self.output()}")

    def wait_until_done(self, process: str, head: subprocess.Popen[str]) -> None:
        """Wait until a task of a process has ended well."""
        for _ in range(1200):
            if any(task.startswith(f"{process} ") for task in self.finished_tasks()):
                return
            assert head.poll() is None, self.output()
            time.sleep(0.1)
        raise TimeoutError(f"{process} was never finished:\n{self.output()}")


def send(number: int, what: signal.Signals) -> None:
    """Send a signal to a process that may have ended meanwhile."""
    try:
        os.kill(number, what)
    except ProcessLookupError:
        return
