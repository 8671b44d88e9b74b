"""Many acquisitions at once: what the head job needs, and how many tasks and files there are.

Runs the pipeline with stubs in the place of its tasks, on this machine, and checks the formulas of docs/cluster.md
against what it finds. All rows of the samplesheet name one image, which has the size of a real one and no chunks.

    python benchmarks/scale.py --acquisitions 200 --folder build/scale
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import zarr

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = 60
SHAPE = (1200, 768, 768)
TASK_FILES = 9
"""Of Nextflow itself in a task's folder: .command.{begin,env,err,log,out,run,sh,trace} and .exitcode; two processes of
the batch tell no version and have no .command.env."""


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


def peak_memory_mb(process: subprocess.Popen) -> float:
    """Wait for a process; return the most memory that it held, as the kernel kept it."""
    peak = 0
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.2)
    return peak / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--acquisitions", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "scale")
    parser.add_argument("--nextflow", default=str(ROOT / ".venv" / "bin" / "nextflow"))
    args = parser.parse_args()
    shutil.rmtree(args.folder, ignore_errors=True)
    sheet = write_inputs(args.folder / "inputs", args.acquisitions)

    command = [args.nextflow, "run", ROOT, "-stub-run", "-ansi-log", "false", "--input", sheet.resolve()]
    command += ["--outdir", "results", "--missing_chunks", "warn"]
    # Stubs need no memory: as many at a time as there are cores.
    (args.folder / "stubs.config").write_text("process { withName: '.*' { cpus = 1; memory = 100.MB } }\n")
    started = time.monotonic()
    with (args.folder / "output.txt").open("w") as output:
        head = subprocess.Popen(
            [str(word) for word in [*command, "-c", "stubs.config"]], cwd=args.folder, stdout=output, stderr=output
        )
        memory_mb = peak_memory_mb(head)
    seconds = time.monotonic() - started
    if head.wait():
        raise SystemExit((args.folder / "output.txt").read_text())

    with (args.folder / "results" / "pipeline_info" / "trace.tsv").open() as stream:
        tasks = Counter(row["name"].split(" ")[0].split(":")[-1] for row in csv.DictReader(stream, delimiter="\t"))
    plan = json.loads(next(args.folder.glob("work/??/*/plan.json")).read_text())[0]
    n, batches, slabs = args.acquisitions, len(plan["n4_section"]), len(plan["correct"])
    expected = n * (4 + batches + slabs) + 3
    folders = [path for path in args.folder.glob("work/??/*") if (path / ".exitcode").exists()]
    own = Counter(len([path for path in folder.iterdir() if path.name.startswith(".")]) for folder in folders)
    log = sum((args.folder / name).stat().st_size for name in (".nextflow.log",)) / 2**20
    found = {
        "acquisitions": n,
        "sections": SECTIONS,
        "batches of sections, slabs": (batches, slabs),
        "tasks": dict(sorted(tasks.items())),
        "tasks by the formula n (4 + batches + slabs) + 3": expected,
        "Nextflow's files per task: tasks": dict(own),
        "head job, seconds": round(seconds),
        "head job, seconds per task": round(seconds / expected, 3),
        "head job, peak memory in MiB": round(memory_mb),
        "log, MiB": round(log, 1),
    }
    for name, value in found.items():
        print(f"{name}: {value}")
    if sum(tasks.values()) != expected or own != {TASK_FILES: expected - 2, TASK_FILES - 1: 2}:
        raise SystemExit("the formulas do not hold")


if __name__ == "__main__":
    main()
