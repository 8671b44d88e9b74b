#!/usr/bin/env python3
"""Print how far native N4 lies from SimpleITK on the parity tests' cases.

.venv/bin/python benchmarks/solver_parity.py --data ../shared/data --markdown docs/solver-parity.md
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "parity"))

from cases import CASES, load, phantom

from linumpy.n4.fit import fit_log_bias_field


def main(argv: list[str] | None = None) -> int:
    """Fit every case with both backends and print a table of differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data", type=Path, help="folder of the real volumes; without it they are left out")
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    options = parser.parse_args(argv)
    lines = [
        "| case | grid | voxels in the mask | first control points | iterations | range of the log field "
        "| largest difference in the mask | RMS | error against the truth: SimpleITK, native "
        "| seconds: SimpleITK, native |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        if case.real and options.data is None:
            continue
        image, mask = load(case, options.data)
        fields, seconds = [], []
        for backend in ("cpu", "native"):
            start = time.perf_counter()
            fit = fit_log_bias_field(
                image,
                mask,
                n_control_points=case.n_control_points,
                n_iterations=case.n_iterations,
                spacing_mm=case.spacing_mm,
                convergence_threshold=0,
                backend=backend,
            )
            seconds.append(time.perf_counter() - start)
            fields.append(fit.lattice.evaluate(image.shape, case.spacing_mm)[mask].astype(np.float64))
        difference = fields[1] - fields[0]
        errors = ""
        if case.real is None:
            truth = phantom(case.shape, noise=case.noise, seed=case.seed)[1][mask]
            errors = ", ".join(f"{np.std(field - truth):.4f}" for field in fields)
        lines.append(
            f"| {case.name} | {'x'.join(map(str, image.shape))} | {mask.sum():,} "
            f"| {'x'.join(map(str, case.n_control_points))} | {list(case.n_iterations)} | {np.ptp(fields[0]):.2f} "
            f"| {np.abs(difference).max():.1e} | {np.sqrt(np.mean(difference**2)):.1e} | {errors} "
            f"| {seconds[0]:.2f}, {seconds[1]:.3f} |"
        )
        print(lines[-1], file=sys.stderr)
    text = "\n".join(lines) + "\n"
    print(text)
    if options.markdown:
        options.markdown.write_text("<!-- written by benchmarks/solver_parity.py -->\n" + text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
