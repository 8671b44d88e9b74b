"""Runs of the pipeline through Nextflow, for the tests in this folder."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.browser.test_report_browser import probe as probe  # a fixture

REPOSITORY = Path(__file__).resolve().parents[2]
NEXTFLOW = REPOSITORY / ".venv" / "bin" / "nextflow"

PIPELINE = (
    "main.nf",
    "nextflow.config",
    "nextflow_schema.json",
    "assets",
    "bin",
    "conf",
    "linumpy",
    "modules",
    "workflows",
)

# Small tasks: one core each, so that two run at a time.
CONFIG = "process { withLabel: 'process_medium' { cpus = 1 } }\n"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Parameters
    ----------
    folder : Path
        Where Nextflow was started; holds ``work`` and its log.
    outdir : Path
        Results.
    status : int
        Exit status.
    output : str
        What it printed.
    """

    folder: Path
    outdir: Path
    status: int
    output: str

    def tasks(self) -> list[dict[str, str]]:
        """Rows of the trace, the process without its workflow."""
        with (self.outdir / "pipeline_info" / "trace.tsv").open() as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        return [row | {"process": row["name"].split(" ")[0].split(":")[-1]} for row in rows]

    def ran(self) -> set[str]:
        """Processes of which a task was really run."""
        return {task["process"] for task in self.tasks() if task["status"] != "CACHED"}

    def work_files(self, pattern: str) -> list[Path]:
        """Files in the task folders."""
        return sorted((self.folder / "work").glob(f"??/*/{pattern}"))


Launch = Callable[..., Run]


def imports_from(pipeline: Path) -> str:
    """Configuration by which tasks import `linumpy` from a copy of the pipeline, not from the checkout."""
    return f"env.PYTHONPATH = '{pipeline}'\n"


def copy_pipeline(folder: Path) -> Path:
    """Copy the pipeline, so that what is edited while it runs changes nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PIPELINE:
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
    return folder


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the pipeline."""
    return copy_pipeline(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="session")
def launch(pipeline: Path) -> Launch:
    """Return a function that runs the pipeline in a folder, with results in ``results`` there."""
    nextflow = NEXTFLOW if NEXTFLOW.exists() else shutil.which("nextflow")
    if nextflow is None:
        pytest.skip("no Nextflow here; `make setup` brings it")

    def run(
        folder: Path,
        *arguments: str | Path,
        parser: str = "v1",
        config: str = "",
        status: int | None = 0,
        outdir: str | None = "results",
    ) -> Run:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test.config").write_text(CONFIG + imports_from(pipeline) + config)
        command = [nextflow, "run", pipeline, "-ansi-log", "false", "-c", "test.config"]
        command += ["--outdir", outdir] if outdir else []
        done = subprocess.run(
            [str(word) for word in (*command, *arguments)],
            cwd=folder,
            env=os.environ | {"NXF_SYNTAX_PARSER": parser},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        finished = Run(folder, folder / "results", done.returncode, done.stdout)
        assert status is None or finished.status == status, finished.output
        return finished

    return run
