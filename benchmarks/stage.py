"""What the stage costs: time, memory and bytes of every kind of task, against copying and against the plain recipe.

    python -m benchmarks.stage --scratch /scratch/bench --sizes 1x 4x 16x --in_memory_planes 64 --table docs/table.md

Builds serial acquisitions of 64, 256 and 1024 planes of 1024 x 1024 voxels (0.25, 1 and 4 GiB of float32), runs the
stage on each through Nextflow at shrink factor 4, and in the same run the floor (`benchmarks.stage_floor`) and, on the
smallest, the recipe in memory (`benchmarks.stage_in_memory`). CPU time, peak memory and bytes are those of the kernel,
as every task logs them in its last line; the time to start Python is told apart. Floor and stage are run by turns,
`--repeats` times, and medians count: what a machine shared with others adds differs from run to run (in a virtual
machine, first the pages of memory that the host has taken back). Prints Markdown: a table, and what the targets ask
for. With `--before`, an older checkout is run on the 4x too, and both are told as Nextflow traced them.
"""

from __future__ import annotations

import argparse
import csv
import re
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.stage_data import PLANE, SECTION_PLANES
from linumpy.io.pyramid import PyramidLayout

PLANES = {"1x": 64, "4x": 256, "16x": 1024}
ROOT = Path(__file__).parents[1]
SPENT = re.compile(
    r"spent ([\d.]+) s of CPU in ([\d.]+) s, after ([\d.]+) s of CPU to start; memory at most (\d+) MiB; "
    r"read ([\d.]+) MB, wrote ([\d.]+) MB"
)
FULL_RESOLUTION = ("TISSUE_MASK", "CORRECT", "ASSEMBLE")
FITS = ("N4_SECTION", "N4_GLOBAL")
_ORDER = [
    *("CHECK_INPUT", "TISSUE_MASK", "N4_SECTION", "N4_GLOBAL", "CORRECT", "ASSEMBLE"),
    *("REPORT", "BATCH_REPORT", "PROVENANCE"),
]


@dataclass
class Spent:
    """Sums over tasks, but the largest memory."""

    tasks: int = 0
    cpu: float = 0
    start: float = 0
    memory_mib: int = 0
    read_mb: float = 0
    written_mb: float = 0

    def add(self, log: str) -> None:
        """Take the last line of a task's log."""
        found = SPENT.search(log)
        if found is None:
            raise ValueError(f"no line says what was spent; the task failed:\n{log}")
        cpu, _, start, memory, read, written = (float(text) for text in found.groups())
        self.tasks += 1
        self.cpu += cpu
        self.start += start
        self.memory_mib = max(self.memory_mib, int(memory))
        self.read_mb += read
        self.written_mb += written


def middle(runs: Sequence[Spent]) -> Spent:
    """Return the medians of CPU time, with the largest memory of all."""
    return replace(
        runs[0],
        cpu=statistics.median(one.cpu for one in runs),
        start=statistics.median(one.start for one in runs),
        memory_mib=max(one.memory_mib for one in runs),
    )


def run(*command: object) -> str:
    """Run a command and return what it logs."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{done.stdout}{done.stderr}")
    return done.stderr


class Run(NamedTuple):
    """A run of the stage: its folder, its seconds, and those of CPU, Nextflow's own and its shell scripts' included."""

    folder: Path
    seconds: float
    cpu: float


def run_stage(scratch: Path, name: str, samplesheet: str, *options: str, root: Path = ROOT) -> Run:
    """Run the stage on a samplesheet."""
    sheet, folder = scratch / f"{name}.csv", scratch / f"run_{name}"
    sheet.write_text(samplesheet)
    run("rm", "-rf", folder)
    folder.mkdir()
    (folder / "imports.config").write_text(f"env.PYTHONPATH = '{root}'\n")
    begun, cpu_before = time.monotonic(), _cpu_of_children()
    done = subprocess.run(
        [
            *("nextflow", "-q", "run", str(root), "-c", "imports.config"),
            *("--input", str(sheet), "--outdir", "results", *options),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begun
    if done.returncode:
        raise RuntimeError(f"the stage failed on {name}:\n{done.stdout}{done.stderr}")
    return Run(folder, seconds, _cpu_of_children() - cpu_before)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def trace_of(folder: Path) -> list[dict[str, str]]:
    """Return Nextflow's rows of the tasks of a run, with the name of the ``process``."""
    with (folder / "results/pipeline_info/trace.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return [row | {"process": row["name"].split()[0].split(":")[-1]} for row in rows]


def spent_in(folder: Path) -> dict[str, Spent]:
    """Return what each process of a run spent."""
    spent: dict[str, Spent] = defaultdict(Spent)
    for task in trace_of(folder):
        (log,) = (folder / "work").glob(f"{task['hash']}*/.command.err")
        spent[task["process"]].add(log.read_text())
    return dict(spent)


def stored_mb(path: Path) -> float:
    """Size of the files below a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6


def acquisition(scratch: Path, name: str) -> Path:
    """Return an acquisition of one of the `PLANES`, written where it is not there yet."""
    image = scratch / f"{name}.ome.zarr"
    if not image.exists():
        run(sys.executable, "-m", "benchmarks.stage_data", "--planes", PLANES[name], "--output", image)
    return image


def sheet_of(scratch: Path, name: str) -> str:
    """Return the samplesheet of one acquisition."""
    return f"acquisition,image,n_sections\n{name},{acquisition(scratch, name)},{PLANES[name] // SECTION_PLANES}\n"


def copied(image: Path, copy: Path) -> Spent:
    """Run the floor."""
    run("rm", "-rf", copy)
    spent = Spent()
    spent.add(run(sys.executable, "-m", "benchmarks.stage_floor", "--image", image, "--output", copy))
    run("rm", "-rf", copy)
    return spent


def measure(scratch: Path, name: str, repeats: int, in_memory_planes: int) -> list[str]:
    """Measure one size; return rows of the table and sentences."""
    image = acquisition(scratch, name)
    planes = PLANES[name]
    voxels = planes * PLANE[0] * PLANE[1]
    floors, stages, times = [], [], []
    for _ in range(repeats):
        floors.append(copied(image, scratch / "copy.ome.zarr"))
        done = run_stage(scratch, name, sheet_of(scratch, name), "--shrink_factor", "4")
        stages.append(spent_in(done.folder))
        times.append(done.seconds)
    floor, seconds = middle(floors), statistics.median(times)
    spent = {process: middle([stage[process] for stage in stages]) for process in sorted(stages[0], key=_ORDER.index)}
    output_mb = stored_mb(scratch / f"run_{name}/results/{name}/corrected.ome.zarr")
    level_0_mb = stored_mb(image / "0")
    rows = [_row(f"{name} {process}", one, voxels) for process, one in spent.items()]
    rows.append(_row(f"{name} floor", floor, voxels))
    full = [spent[process] for process in FULL_RESOLUTION]
    ratios = sorted(_full(stage) / one.cpu for stage, one in zip(stages, floors, strict=True))
    work, fits = _full(spent), sum(spent[process].cpu for process in FITS)
    everything = sum(one.cpu + one.start for one in spent.values())
    tasks = sum(one.tasks for one in spent.values())
    read, written = sum(one.read_mb for one in full), sum(one.written_mb for one in full)
    notes = [
        f"{name}: full-resolution work {work:.1f} s of CPU, {statistics.median(ratios):.2f} x the floor's (in the "
        f"runs {', '.join(f'{ratio:.2f}' for ratio in ratios)}); fits "
        f"{fits / voxels * 1e9:.1f} ns a voxel; read {read / level_0_mb:.2f} x the stored image ({level_0_mb:.0f} MB), "
        f"written {written / output_mb:.2f} x the output ({output_mb:.0f} MB); largest task "
        f"{max(one.memory_mib for one in spent.values())} MiB; all {tasks} tasks {everything:.1f} s of CPU, of which "
        f"{sum(one.start for one in spent.values()) / tasks:.2f} s a task to start; the run took {seconds:.0f} s."
    ]
    if name == "1x" and in_memory_planes:
        memory = Spent()
        in_memory = scratch / "in_memory.zarr"
        run("rm", "-rf", in_memory)
        memory.add(
            run(
                *(sys.executable, "-m", "benchmarks.stage_in_memory", "--image", image, "--output", in_memory),
                *("--planes", in_memory_planes, "--section_planes", SECTION_PLANES),
            )
        )
        share = in_memory_planes / planes
        rows.append(_row(f"{name} in memory ({in_memory_planes} planes)", memory, int(voxels * share)))
        scaled = "" if share == 1 else f" (scaled from {in_memory_planes} of {planes} planes)"
        notes.append(
            f"{name}: the recipe in memory took {memory.cpu / share / everything:.0f} x the CPU time of the stage, all "
            f"tasks and their starts included{scaled}."
        )
    run("rm", "-rf", scratch / f"run_{name}")
    return ["\n".join(rows), *notes]


def _full(spent: dict[str, Spent]) -> float:
    """CPU seconds of the full-resolution work."""
    return sum(spent[process].cpu for process in FULL_RESOLUTION)


def compare(scratch: Path, before: Path) -> list[str]:
    """Run an older checkout on the 4x, and this one; return rows of both as Nextflow traced them, starts included."""
    config = scratch / "trace.config"
    config.write_text("trace.raw = true\n")
    found: dict[str, dict[str, tuple[float, float]]] = {"before": {}, "after": {}}
    for (when, spent), root in zip(found.items(), (before, ROOT), strict=True):
        options = ("--shrink_factor", "4", "-c", str(config))
        folder, *_ = run_stage(scratch, f"4x_{when}", sheet_of(scratch, "4x"), *options, root=root)
        for task in trace_of(folder):
            cpu, memory = spent.get(task["process"], (0, 0))
            cpu += float(task["realtime"]) * float(task["%cpu"]) / 1e5
            spent[task["process"]] = cpu, max(memory, float(task["peak_rss"]) / 2**20)
        run("rm", "-rf", folder)
    return [
        f"| {process} | " + " | ".join(f"{one[process][i]:.1f}" for i in (0, 1) for one in found.values()) + " |"
        for process in (*FULL_RESOLUTION, *FITS)
    ]


def _row(what: str, spent: Spent, voxels: int) -> str:
    return (
        f"| {what} | {spent.tasks} | {spent.cpu:.2f} | {spent.cpu / voxels * 1e9:.1f} | {spent.start:.2f} | "
        f"{spent.memory_mib} | {spent.read_mb:.0f} | {spent.written_mb:.0f} |"
    )


def machine() -> str:
    """Return the processor and the number of them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "unknown processor")
    return f"{sum(line.startswith('processor') for line in lines)} x {model}"


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, default=Path("build/bench"), help="folder for images and runs")
    parser.add_argument("--sizes", nargs="+", choices=list(PLANES), default=list(PLANES))
    parser.add_argument("--repeats", type=int, default=5, help="runs of floor and stage, by turns; medians count")
    parser.add_argument("--before", type=Path, help="an older checkout, its kernels compiled, to compare the 4x with")
    parser.add_argument(
        "--in_memory_planes", type=int, default=64, help="planes of the 1x that the plain recipe gets; 0: none"
    )
    parser.add_argument("--table", type=Path, help="also write the Markdown here")
    args = parser.parse_args(argv)
    scratch = args.scratch.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    rows, notes = [], []
    for name in args.sizes:
        size_rows, *size_notes = measure(scratch, name, args.repeats, args.in_memory_planes)
        rows.append(size_rows)
        notes += size_notes
    chunks = PyramidLayout.plan((256, *PLANE), "float32", (1, 1, 1)).levels[0]
    text = "\n".join(
        [
            f"{machine()}; chunks {chunks.chunks}, shards {chunks.shards}, two threads a task; medians of "
            f"{args.repeats} runs.",
            "",
            "| what | tasks | CPU s | CPU ns/voxel | to start, CPU s | peak MiB | read MB | written MB |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            *(f"- {note}" for note in notes),
            "",
        ]
    )
    if args.before:
        heading = ["| 4x | CPU s before | after | peak MiB before | after |", "|---|---|---|---|---|"]
        text += "\n".join(["", *heading, *compare(scratch, args.before.resolve()), ""])
    print(text)
    if args.table:
        args.table.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
