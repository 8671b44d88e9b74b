"""The ends: very many small acquisitions, one larger than the machine's memory, two at a time, a first look.

    python -m benchmarks.stage_limits --scratch /scratch/bench --preview --pair 4x --many 200 --huge_gib 26

Small ones are 10 MB each (10 planes of 512 x 512, links to one store): what they cost is starting tasks. The huge one
is sparse: a column of tissue runs through it (one chunk of noise, linked everywhere), the chunks around are not stored,
and every task handles them as it handles any other. A pair is an image of `benchmarks.stage` twice, tasks of one
thread, on one slot and on two. The first look is `--preview` of the 16x.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.stage import PLANES, SECTION_PLANES, Run, run_stage, sheet_of, spent_in, trace_of
from benchmarks.stage_data import VOXEL_UM, plane_of, slow_maps
from linumpy.io.pyramid import PyramidLayout
from linumpy.io.writer import create_pyramid

SMALL = (10, 512, 512)
HUGE_PLANE = (2048, 2048)
SLOTS = """
executor.cpus = %d
process {
    withName: '.*' { cpus = 1 }
    withName: 'TISSUE_MASK|N4_SECTION|N4_GLOBAL|CORRECT|ASSEMBLE|REPORT' {
        beforeScript = { "taskset -cp ${id == 'again' ? %d : 0} \\$\\$ > /dev/null" }
    }
}
"""
"""A slot is a core, and the tasks of an acquisition stay on theirs."""
TISSUE_CHUNKS = range(3, 5)
"""Rows and columns of chunks that hold tissue, of eight."""


def write_small(folder: Path, count: int) -> str:
    """Write acquisitions of 10 MB; return their samplesheet."""
    first = folder / "small_0000.ome.zarr"
    run_again = ["--planes", str(SMALL[0]), "--rows", str(SMALL[1]), "--columns", str(SMALL[2]), "--output", str(first)]
    if not first.exists():
        subprocess.run([sys.executable, "-m", "benchmarks.stage_data", *run_again], check=True)
    rows = ["acquisition,image,n_sections"]
    for i in range(count):
        path = folder / f"small_{i:04d}.ome.zarr"
        if not path.exists():
            shutil.copytree(first, path, copy_function=os.link)
        rows.append(f"small_{i:04d},{path},2")
    return "\n".join(rows) + "\n"


def write_huge(path: Path, gibibytes: float) -> int:
    """Write a sparse acquisition of at least so many bytes of float32; return its planes."""
    planes = -(-int(gibibytes * 2**30) // (4 * HUGE_PLANE[0] * HUGE_PLANE[1] * SECTION_PLANES)) * SECTION_PLANES
    if path.exists():
        return planes
    layout = PyramidLayout.plan((planes, *HUGE_PLANE), "float32", VOXEL_UM, shards=False, smallest=10**9)
    writer = create_pyramid(path, layout)
    depth, rows, columns = layout.levels[0].chunks
    shading, bundles = slow_maps((rows, columns))
    noise = np.stack([plane_of(z, shading, bundles) for z in range(depth)])
    at = TISSUE_CHUNKS[0]
    writer.write_block(0, 0, at * rows, at * columns, noise)
    chunk = path / "0" / "c" / "0" / str(at) / str(at)
    for z in range(-(-planes // depth)):
        for y in TISSUE_CHUNKS:
            for x in TISSUE_CHUNKS:
                link = path / "0" / "c" / str(z) / str(y) / str(x)
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    os.link(chunk, link)
    return planes


def preview(scratch: Path) -> str:
    """Return a sentence on how long a first look takes, from the start of Nextflow to its end."""
    folder, seconds, _ = run_stage(scratch, "preview", sheet_of(scratch, "16x"), "--preview")
    cpu = sum(one.cpu + one.start for one in spent_in(folder).values())
    return f"- `--preview` of the 16x (4 GiB): {seconds:.0f} s, its tasks {cpu:.1f} s of CPU.\n"


def pair(scratch: Path, size: str) -> str:
    """Return a sentence on two acquisitions of a size on two slots against one slot."""
    rows = sheet_of(scratch, size)
    rows += rows.splitlines()[1].replace(f"{size},", "again,", 1) + "\n"
    took = {}
    for slots in (1, 2):
        config = scratch / "slots.config"
        config.write_text(SLOTS % (slots, slots - 1))
        folder, seconds, _ = run_stage(scratch, "pair", rows, "-c", str(config))
        begun = [float(task["submit"]) / 1e3 for task in trace_of(folder)]
        ended = [at + float(task["duration"]) / 1e3 for at, task in zip(begun, trace_of(folder), strict=True)]
        took[slots] = max(ended) - min(begun), seconds
    (one, one_whole), (two, two_whole) = took[1], took[2]
    return (
        f"- Two acquisitions, {size}, on two slots: {one / two:.2f} x as fast as on one ({two:.0f} s and {one:.0f} s "
        f"from the first task to the last; {two_whole:.0f} s and {one_whole:.0f} s with Nextflow's own start).\n"
    )


def describe(name: str, done: Run) -> str:
    """Return Markdown rows: CPU, starting apart, memory."""
    spent = spent_in(done.folder)
    tasks = sum(one.tasks for one in spent.values())
    rows = [
        f"| {name} {process} | {n} | {one.cpu / n:.2f} | {one.start / n:.2f} | {one.memory_mib} |"
        for process, one in spent.items()
        for n in [one.tasks]
    ]
    cpu, start = (sum(getattr(one, what) for one in spent.values()) for what in ("cpu", "start"))
    return "\n".join(
        [
            "| what | tasks | CPU s a task | to start, CPU s a task | peak MiB |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"- {name}: {tasks} tasks in {done.seconds:.0f} s; {(cpu + start) / tasks:.2f} s of CPU a task, of which "
            f"{start / tasks:.2f} s to start it; {done.cpu / tasks:.2f} s with Nextflow and the shells around tasks.",
            "",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, default=Path("build/bench"))
    parser.add_argument("--preview", action="store_true", help="a first look at the 16x")
    parser.add_argument("--pair", choices=list(PLANES), help="size of two acquisitions, on one slot and on two")
    parser.add_argument("--many", type=int, default=0, help="small acquisitions")
    parser.add_argument("--huge_gib", type=float, default=0, help="size of the huge one")
    args = parser.parse_args(argv)
    scratch = args.scratch.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    if args.preview:
        print(preview(scratch), flush=True)
    if args.pair:
        print(pair(scratch, args.pair), flush=True)
    if args.many:
        folder = scratch / "small"
        folder.mkdir(exist_ok=True)
        print(describe(f"{args.many} x 10 MB", run_stage(scratch, "small", write_small(folder, args.many))))
    if args.huge_gib:
        path = scratch / "huge.ome.zarr"
        planes = write_huge(path, args.huge_gib)
        sheet = f"acquisition,image,n_sections\nhuge,{path},{planes // SECTION_PLANES}\n"
        print(describe(f"{args.huge_gib:g} GiB", run_stage(scratch, "huge", sheet)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
