"""Many thin sections: what every task costs, and how large the report grows.

    python -m benchmarks.many_sections --scratch /scratch/bench --sections 1000 5000 20000

Writes acquisitions of so many sections of one plane of 64 x 64 voxels, plans them as CHECK_INPUT does, and runs the
command of every task as a process, without Nextflow. CPU time (the start of Python included) and peak memory are the
kernel's counters, which every task logs in its last line; of several tasks of a kind the largest count. Fails where a
task or the report exceeds its limit.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.stage import ROOT, Spent, machine
from linumpy.io.pyramid import PyramidLayout
from linumpy.io.writer import PyramidBuilder, create_pyramid, finish_pyramid

PLANE = (64, 64)
VOXEL_UM = (20.0, 100.0, 100.0)
THREADS = 2
MOST_CPU_S, MOST_MIB, MOST_REPORT_MB = 15.0, 600, 5.0


def write_sections(path: Path, n_planes: int) -> None:
    """Write an image of planes that differ in brightness; each is a disk of tissue under a shading of its own."""
    layout = PyramidLayout.plan((n_planes, *PLANE), "uint16", VOXEL_UM)
    builder = PyramidBuilder(create_pyramid(path, layout))
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in PLANE)
    tissue = np.where(y[:, None] ** 2 + x**2 < 0.6, 1000, 100).astype(np.float32)
    depth = layout.levels[0].row_depth
    for z_start in range(0, n_planes, depth):
        rng = np.random.default_rng((5, z_start))
        n = min(depth, n_planes - z_start)
        gain, slope_y, slope_x = rng.normal(0, 0.2, (3, n, 1, 1)).astype(np.float32)
        field = np.exp(gain + slope_y * y[:, None] + slope_x * x)
        builder.add(z_start, 0, 0, (tissue * field * rng.gamma(16, 1 / 16, (n, *PLANE))).astype(np.uint16))
    builder.close()
    finish_pyramid(path, layout, name=path.name.split(".")[0])


def commands(folder: Path, image: Path, n_sections: int) -> Iterator[tuple[str, dict[str, Any] | None, list[str]]]:
    """Yield process, settings and command line of each task; the plan is read when its task is done."""
    (folder / "samplesheet.csv").write_text(f"acquisition,image,n_sections\na,{image},{n_sections}\n")
    request = {
        "workflow": {"profile": "none", "container_engine": "none", "revision": "local", "nextflow": "none"},
        "parameters": {"input": "samplesheet.csv", "outdir": "results"},
        "paths": {str(image): str(image)},
        "staged": {str(image): str(image)},
    }
    (folder / "request.json").write_text(json.dumps(request))
    schema = str(ROOT / "nextflow_schema.json")
    check = ["--samplesheet", "samplesheet.csv", "--request", "request.json", "--schema", schema]
    yield "check_input", None, [*check, "--output_plan", "plan.json", "--output_info", "info"]
    (plan,) = json.loads((folder / "plan.json").read_text())
    threads = ["--threads", str(THREADS)]
    of_image = ["--image", str(image), *threads]
    mask_outputs = ["--output_mask", "a/mask.ome.zarr", "--output_samples", "samples", "--output_statistics", "tissue"]
    yield "tissue_mask", plan["tissue_mask"], [*of_image, *mask_outputs]
    of_samples = ["--samples", "samples", *threads]
    (folder / "section_fits").mkdir()
    for settings in plan["n4_section"]:
        yield "n4_section", settings, [*of_samples, "--output", f"section_fits/{settings['first']:06}.json"]
    yield "n4_global", plan["n4_global"], [*of_samples, "--section_fits", "section_fits", "--output", "a/bias"]
    (folder / "slabs").mkdir()
    for settings in plan["correct"]:
        slab = ["--mask", "a/mask.ome.zarr", "--bias", "a/bias", "--output", f"slabs/{settings['z_start']:08}"]
        yield "correct", settings, [*of_image, *slab]
    joined = ["--slabs", "slabs", "--output_folder", "a", "--output_statistics", "correction"]
    yield "assemble", plan["assemble"], [*of_image, *joined]
    kept = ["--samples", "samples", "--tissue", "tissue", "--bias", "a/bias", "--correction", "correction"]
    outputs = [f"--output_{name.partition('.')[0]}" for name in RESULTS]
    written = [word for flag, name in zip(outputs, RESULTS, strict=True) for word in (flag, f"results/a/{name}")]
    yield "report", plan["report"], [*kept, *written]
    yield "batch_report", {"acquisitions": ["a"]}, ["--metrics", "results", "--output", "results/index.html"]
    described = ["--info", "info", "--digests", "results", "--workflow_file", str(ROOT / "main.nf")]
    yield "provenance", None, [*described, "--output", "crate"]


RESULTS = ("report.html", "metrics.json", "digests.tsv")


def measure(scratch: Path, n_sections: int) -> tuple[list[str], list[str]]:
    """Run the stage on so many sections; return rows of the table, and what exceeds its limit."""
    image = scratch / f"sections_{n_sections}.ome.zarr"
    if not image.exists():
        write_sections(image, n_sections)
    folder = scratch / f"run_{n_sections}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    largest: dict[str, Spent] = defaultdict(Spent)
    for script, settings, arguments in commands(folder, image, n_sections):
        if settings is not None:
            (folder / "settings.json").write_text(json.dumps(settings))
            arguments = ["--settings", "settings.json", *arguments]
        done = subprocess.run(
            [sys.executable, str(ROOT / "bin" / f"{script}.py"), *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{script} failed:\n{done.stdout}{done.stderr[-5000:]}")
        spent, of_kind = Spent(), largest[script]
        spent.add(done.stderr)
        of_kind.tasks += 1
        of_kind.cpu = max(of_kind.cpu, spent.cpu + spent.start)
        of_kind.memory_mib = max(of_kind.memory_mib, spent.memory_mib)
    report_mb = (folder / "results" / "a" / "report.html").stat().st_size / 1e6
    rows = [
        f"| {n_sections:,} | {script.upper()} | {spent.tasks} | {spent.cpu:.1f} | {spent.memory_mib} |"
        for script, spent in largest.items()
    ]
    rows.append(f"| {n_sections:,} | report.html | | | {report_mb:.1f} MB |")
    faults = [
        f"{n_sections} sections: {script} took {spent.cpu:.1f} s of CPU and {spent.memory_mib} MiB"
        for script, spent in largest.items()
        if spent.cpu > MOST_CPU_S or spent.memory_mib > MOST_MIB
    ]
    if report_mb > MOST_REPORT_MB:
        faults.append(f"{n_sections} sections: the report has {report_mb:.1f} MB")
    return rows, faults


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, default=Path("build/bench"))
    parser.add_argument("--sections", type=int, nargs="+", default=[1_000, 5_000, 20_000])
    args = parser.parse_args(argv)
    scratch = args.scratch.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    print(f"{machine()}; sections of one plane of {PLANE[0]} x {PLANE[1]}; the largest task of each kind.\n")
    print("| sections | task | tasks | CPU s | peak MiB |\n|---|---|---|---|---|", flush=True)
    faults = []
    for n_sections in args.sections:
        rows, found = measure(scratch, n_sections)
        print("\n".join(rows), flush=True)
        faults += found
    for fault in faults:
        print(f"over the limit: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
