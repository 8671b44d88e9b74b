"""All benchmarks: ``python -m benchmarks``, or ``make bench``. Each prints Markdown."""

import runpy
import sys

RUNS = (
    ("benchmarks.stage", "--table", "build/bench/table.md"),
    ("benchmarks.stage_chart", "--table", "build/bench/table.md", "--output", "build/bench/performance.svg"),
    ("benchmarks.stage_limits", "--preview", "--pair", "--many", "200", "--huge_gib", "26"),
    ("benchmarks.solver",),
    ("benchmarks.mask_methods",),
)

for name, *arguments in RUNS:
    print(f"\n## {' '.join([name, *arguments])}\n", flush=True)
    sys.argv = [name, *arguments]
    try:
        runpy.run_module(name, run_name="__main__")
    except SystemExit as done:
        if done.code:
            raise
