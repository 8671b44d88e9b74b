#!/usr/bin/env python3
"""Native N4 against SimpleITK (and antspyx, where it is installed): time per iteration, memory, agreement.

    .venv/bin/python benchmarks/solver.py --markdown docs/solver-benchmark.md

All run on the same phantom, mask, control points and threads, in turn, each in a process of its own. The time of an
iteration is the difference between a long and a short run over the difference in iterations, so that loading,
logarithms and the first pass do not count; native runs are repeated and the fastest pair counts. Ratios come from one
call of this script: on a busy machine they say more than the seconds do, and those of the processor time (all
threads) more than those of the wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

# Masked voxels, about: (shape of the grid, control points, iterations short and long) of each solver
SIZES = {
    "150,000": ((32, 96, 104), (4, 4, 4), {"simpleitk": (1, 7), "antspyx": (1, 7), "native": (10, 210)}),
    "150,000, fine lattice": (
        (32, 96, 104),
        (7, 19, 19),
        {"simpleitk": (1, 7), "antspyx": (1, 7), "native": (10, 210)},
    ),
    "2,000,000": ((72, 240, 240), (4, 6, 6), {"simpleitk": (1, 3), "antspyx": (1, 3), "native": (4, 44)}),
}
REPEATS = 5


def phantom(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return speckled tissue under a smooth field, float32, and an ellipsoid that holds about half of it."""
    rng = np.random.default_rng(0)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    tissue = 100 * (1 + 0.5 * (y * y + x * x < 0.4) + 0.8 * (np.sin(4 * x + 2 * z) * np.cos(5 * y) > 0.4))
    image = tissue * np.exp(0.3 * z - 0.25 * x + 0.2 * x * y + 0.2 * np.sin(2 * y + z))
    image *= rng.gamma(100, 0.01, shape).astype(np.float32)
    return image.astype(np.float32), z * z + y * y + x * x < 0.95


def fit_native(image: Any, mask: Any, points: Any, n_iterations: int, threads: int) -> np.ndarray:
    """Return the log bias field after `n_iterations` of this project's solver."""
    from linumpy.n4.fit import fit_log_bias_field

    fit = fit_log_bias_field(
        image, mask, n_control_points=points, n_iterations=[n_iterations], convergence_threshold=0, workers=threads
    )
    return fit.lattice


def fit_simpleitk(image: Any, mask: Any, points: Any, n_iterations: int, threads: int) -> Any:
    """Run SimpleITK's N4."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([n_iterations])
    n4.SetNumberOfControlPoints(points[::-1])
    n4.SetConvergenceThreshold(0)
    grid = sitk.GetImageFromArray(image)
    n4.Execute(grid, sitk.GetImageFromArray(mask.astype(np.uint8)))
    return n4, grid


def fit_antspyx(image: Any, mask: Any, points: Any, n_iterations: int, threads: int) -> Any:
    """Run ANTs' N4 through antspyx; its `spline_param` gives spans, not control points."""
    import ants

    return ants.n4_bias_field_correction(
        ants.from_numpy(image),
        mask=ants.from_numpy(mask.astype(np.float32)),
        shrink_factor=1,
        convergence={"iters": [n_iterations], "tol": 0},
        spline_param=[n - 3 for n in points],
        return_bias_field=True,
    )


FITS = {"native": fit_native, "simpleitk": fit_simpleitk, "antspyx": fit_antspyx}


def measure(solver: str, size: str, threads: int) -> dict[str, float]:
    """Return seconds per iteration and peak memory of one solver; run in a process of its own."""
    shape, points, iterations = SIZES[size]
    short, long = iterations[solver]
    fit = FITS[solver]
    image, mask = phantom(shape)
    fit(image[:4], mask[:4], points, 1, threads)  # imports, thread pools
    before = reset_peak()
    wall, cpu = [], []
    for _ in range(REPEATS if solver == "native" else 1):
        times = []
        for n_iterations in (short, long):
            start = time.perf_counter(), time.process_time()
            fit(image, mask, points, n_iterations, threads)
            times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        (short_wall, short_cpu), (long_wall, long_cpu) = times
        wall.append((long_wall - short_wall) / (long - short))
        cpu.append((long_cpu - short_cpu) / (long - short))
    return {
        "seconds": min(wall),
        "cpu_seconds": min(cpu),
        "bytes_per_voxel": (peak_bytes() - before) / image.size,
        "masked": int(mask.sum()),
        "voxels": image.size,
    }


def agreement(size: str, threads: int) -> float:
    """Return the largest difference of the log field in the mask after the same iterations."""
    shape, points, iterations = SIZES[size]
    image, mask = phantom(shape)
    n = iterations["simpleitk"][1]
    lattice = fit_native(image, mask, points, n, threads)
    n4, grid = fit_simpleitk(image, mask, points, n, threads)
    import SimpleITK as sitk

    expected = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(grid))
    return float(np.abs(lattice.evaluate(shape, 1.0) - expected)[mask].max())


def profile(size: str, threads: int) -> dict[str, float]:
    """Return the least time of each pass of an iteration, in nanoseconds per masked voxel."""
    from linumpy.n4.bspline import fit_basis
    from linumpy.n4.native import NativePasses

    shape, points, _ = SIZES[size]
    image, mask = phantom(shape)
    passes = NativePasses(image, mask, threads)
    passes.use_bases(*(fit_basis(n, cp) for n, cp in zip(shape, points, strict=True)))
    counts = passes.histogram()
    expected = passes.sharpen(counts)
    update = passes.fit_residual(expected) * 1e-3
    steps = {
        "histogram": passes.histogram,
        "sharpening": lambda: passes.sharpen(counts),
        "residual and its contraction": lambda: passes.fit_residual(expected),
        "update and its measures": lambda: passes.subtract(update),
    }
    least = {}
    for name, step in steps.items():
        seconds = []
        for _ in range(25):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        least[name] = min(seconds) / passes.n_voxels * 1e9
    return least


def profile_table() -> str:
    """Return the passes' times on one and two threads as Markdown."""
    columns = [(size, threads) for size in ("150,000", "2,000,000") for threads in (1, 2)]
    results = [in_a_process(threads, "--profile", "--size", size) for size, threads in columns]
    heads = [f"{size} voxels, {threads} thread{'s' if threads > 1 else ''}" for size, threads in columns]
    lines = [f"| pass, ns per masked voxel | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{result[name]:.2f}' for result in results)} |" for name in results[0]]
    lines.append(f"| sum | {' | '.join(f'{sum(result.values()):.2f}' for result in results)} |")
    return "\n".join(lines)


def reset_peak() -> int:
    """Return the resident size of this process, and measure its peak from here on (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def peak_bytes() -> int:
    """Return the largest resident size of this process since `reset_peak`."""
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in status if line.startswith("VmHWM")).split()[1])


def in_a_process(threads: int, *arguments: str) -> Any:
    """Run this script on one task and return what it printed."""
    environment = os.environ | {
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": "262144",  # give freed arrays back, or the next ones would look free
    }
    command = [sys.executable, __file__, "--threads", str(threads), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def table(threads: int) -> str:
    """Measure everything and return it as Markdown."""
    solvers = ["simpleitk", *(["antspyx"] if find_spec("ants") else []), "native"]
    lines = [
        "| masked voxels | solver | per iteration | per masked voxel | ratio to SimpleITK | processor time | its ratio "
        "| memory beyond the inputs, bytes per fit voxel | largest difference of the log field |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        results = {solver: in_a_process(threads, "--solver", solver, "--size", size) for solver in solvers}
        difference = in_a_process(threads, "--agreement", "--size", size)
        for solver, result in results.items():
            reference, seconds, cpu = results["simpleitk"], result["seconds"], result["cpu_seconds"]
            lines.append(
                f"| {size} ({result['masked']:,} of {result['voxels']:,}) | {solver} | {seconds * 1e3:.2f} ms "
                f"| {seconds / result['masked'] * 1e9:.2f} ns | {reference['seconds'] / seconds:.0f} "
                f"| {cpu * 1e3:.2f} ms | {reference['cpu_seconds'] / cpu:.0f} "
                f"| {result['bytes_per_voxel']:.1f} | {f'{difference:.1e}' if solver == 'native' else ''} |"
            )
            print(lines[-1], file=sys.stderr)
    return "\n".join(lines)


def hardware(threads: int) -> str:
    """Return what the figures were taken on."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    packages = []
    for name in ("numpy", "numba", "SimpleITK", "antspyx"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            packages.append(f"{name} not installed")
    return f"{model}, {threads} threads, Python {platform.python_version()}, {', '.join(packages)}."


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark, or one measurement of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--threads", type=int, default=2, help="threads of every solver (default 2)")
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    parser.add_argument("--solver", choices=FITS, help=argparse.SUPPRESS)
    parser.add_argument("--size", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument("--agreement", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--profile", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.profile:
        print(json.dumps(profile(options.size, options.threads)))
    elif options.agreement:
        print(json.dumps(agreement(options.size, options.threads)))
    elif options.solver:
        print(json.dumps(measure(options.solver, options.size, options.threads)))
    else:
        text = f"{hardware(options.threads)}\n\n{table(options.threads)}\n\n{profile_table()}\n"
        print(text)
        if options.markdown:
            head = "<!-- written by benchmarks/solver.py -->\n"
            options.markdown.write_text(head + text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
