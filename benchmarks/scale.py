"""Many acquisitions at once: what the head job needs, and how many tasks and files there are.

Runs the pipeline as on Slurm (`-profile slurm`, or `-profile slurm,arrays`) with stubs in the place of its tasks, and a
script in the place of sbatch that runs them on this machine. Nextflow itself is the real thing. Checks the formulas of
docs/cluster.md against what it finds. All rows of the samplesheet name one image, which has the size of a real one and
no chunks.

    python benchmarks/scale.py --acquisitions 1000 --folder build/scale
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import zarr

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = 60
SHAPE = (1200, 768, 768)
ARRAY = 20
"""Tasks in a job array of conf/arrays.config."""
TASK_FILES = 9
"""Of Nextflow itself in a task's folder: .command.{begin,env,err,log,out,run,sh,trace} and .exitcode; two processes of
the batch tell no version and have no .command.env. The folder of a job array has neither that nor .command.log."""


def write_inputs(folder: Path, n: int) -> Path:
    folder.mkdir(parents=True)
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    scale = [{"type": "scale", "scale": [5.0, 5.0, 5.0]}]
    multiscale = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    attributes = {"ome": {"version": "0.5", "multiscales": [multiscale]}}
    group = zarr.open_group(folder / "image.ome.zarr", mode="w", zarr_format=3, attributes=attributes)
    group.create_array("0", shape=SHAPE, chunks=(64, 128, 128), shards=(64, 768, 768), dtype="uint16")
    sheet = folder / "samplesheet.csv"
    rows = (f"brain_{i:04},image.ome.zarr,{SECTIONS}\n" for i in range(n))
    sheet.write_text("acquisition,image,n_sections\n" + "".join(rows))
    return sheet


def stand_in_for_slurm(folder: Path) -> Path:
    """Make a folder of commands: sbatch is done when it answers, so that no job is left to ask for or to cancel."""
    folder.mkdir()
    (folder / "sbatch").symlink_to(ROOT / "benchmarks" / "scale_sbatch.sh")
    for name in ("squeue", "scancel"):
        (folder / name).symlink_to("/bin/true")
    return folder


def spent(process: subprocess.Popen) -> tuple[float, float]:
    """Wait for a process; return its seconds of CPU, without its children's, and the most MiB that it held."""
    ticks = peak = 0
    while process.poll() is None:
        try:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        ticks = max(ticks, int(fields[11]) + int(fields[12]))
        peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.2)
    return ticks / os.sysconf("SC_CLK_TCK"), peak / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--acquisitions", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "scale")
    parser.add_argument("--nextflow", default=str(ROOT / ".venv" / "bin" / "nextflow"))
    parser.add_argument("--rate", default="20/1sec", help="submissions; 60/1min is what is shipped")
    parser.add_argument("--arrays", action="store_true", help="with the profile arrays, too")
    parser.add_argument("--whole", action="store_true", help="run Nextflow's own wrapper of each task, too")
    args = parser.parse_args()
    shutil.rmtree(args.folder, ignore_errors=True)
    folder = args.folder.resolve()
    sheet = write_inputs(folder / "inputs", args.acquisitions)

    profile = "slurm,arrays" if args.arrays else "slurm"
    command = [args.nextflow, "run", ROOT, "-stub-run", "-ansi-log", "false", "-profile", profile, "--input", sheet]
    command += ["--outdir", "results", "--missing_chunks", "warn", "-c", "scale.config"]
    (folder / "scale.config").write_text(f"executor.submitRateLimit = '{args.rate}'\n")
    submissions = folder / "submissions.txt"
    environment = os.environ | {
        "PATH": f"{stand_in_for_slurm(folder / 'slurm')}:{ROOT / 'bin'}:{os.environ['PATH']}",
        "SCALE_SUBMISSIONS": str(submissions),
        "SCALE_WRAPPER": "whole" if args.whole else "",
    }
    started = time.monotonic()
    with (folder / "output.txt").open("w") as output:
        head = subprocess.Popen(
            [str(word) for word in command], cwd=folder, env=environment, stdout=output, stderr=output
        )
        cpu_seconds, memory_mb = spent(head)
    seconds = time.monotonic() - started
    if head.wait():
        raise SystemExit((folder / "output.txt").read_text())

    with (folder / "results" / "pipeline_info" / "trace.tsv").open() as stream:
        tasks = Counter(row["name"].split(" ")[0].split(":")[-1] for row in csv.DictReader(stream, delimiter="\t"))
    plan = json.loads(next(folder.glob("work/??/*/plan.json")).read_text())[0]
    n, batches, slabs = args.acquisitions, len(plan["n4_section"]), len(plan["correct"])
    expected = n * (4 + batches + slabs) + 3
    arrays = sum(-(-n * parts // ARRAY) for parts in (1, 1, 1, 1, batches, slabs)) if args.arrays else 0
    submitted = arrays + 3 if args.arrays else expected
    own = Counter(
        len([name for name in os.listdir(path) if name.startswith(".")])
        for path in folder.glob("work/??/*")
        if (path / ".exitcode").exists()
    )
    inodes = sum(len(folders) + len(files) for _, folders, files in os.walk(folder / "work"))
    size = {
        name: sum(path.stat().st_size for path in folder.glob(f"{name}*/**/*") if path.is_file()) / 2**20
        for name in (".nextflow", "results")
    }
    found = {
        "acquisitions": n,
        "sections": SECTIONS,
        "batches of sections, slabs": (batches, slabs),
        "tasks": dict(sorted(tasks.items())),
        "tasks by the formula n (4 + batches + slabs) + 3": expected,
        "submissions": len(submissions.read_text()),
        "submissions by the formula": submitted,
        "Nextflow's files per folder: folders": dict(own),
        "inodes in work": inodes,
        "inodes in work, per task": round(inodes / expected, 2),
        "head job, seconds": round(seconds),
        "head job, seconds of CPU": round(cpu_seconds),
        "head job, seconds of CPU per task": round(cpu_seconds / expected, 3),
        "head job, peak memory in MiB": round(memory_mb),
        "log, MiB": round((folder / ".nextflow.log").stat().st_size / 2**20, 1),
        "cache (.nextflow), MiB": round(size[".nextflow"], 1),
        "trace, report, timeline and other results, MiB": round(size["results"], 1),
    }
    for name, value in found.items():
        print(f"{name}: {value}")
    files = {TASK_FILES: expected - 2, TASK_FILES - 1: 2} | ({TASK_FILES - 2: arrays} if arrays else {})
    if (sum(tasks.values()), found["submissions"], own) != (expected, submitted, files):
        raise SystemExit("the formulas do not hold")


if __name__ == "__main__":
    main()
