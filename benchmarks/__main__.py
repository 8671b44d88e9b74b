"""All benchmarks: ``python -m benchmarks``, or ``make bench``. Each prints Markdown."""

import runpy
import sys

for name in ("benchmarks.stage", "benchmarks.solver", "benchmarks.mask_methods"):
    print(f"\n## {name}\n", flush=True)
    sys.argv = [name]
    try:
        runpy.run_module(name, run_name="__main__")
    except SystemExit as done:
        if done.code:
            raise
