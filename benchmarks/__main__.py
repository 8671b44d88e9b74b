"""All benchmarks: ``python -m benchmarks``, or ``make bench``. Each prints Markdown."""

import shlex
import subprocess
import sys

SCRATCH = "build/bench"
RUNS = (
    f"{sys.executable} -m benchmarks.stage --scratch {SCRATCH} --table {SCRATCH}/table.md",
    "uv run --no-project --with matplotlib==3.11.2 benchmarks/stage_chart.py"
    f" --table {SCRATCH}/table.md --output {SCRATCH}/performance.svg",
    f"{sys.executable} -m benchmarks.stage_limits --scratch {SCRATCH} --preview --pair 4x --many 200 --huge_gib 26",
    f"{sys.executable} -m benchmarks.many_sections --scratch {SCRATCH}",
    f"{sys.executable} -m benchmarks.solver",
    f"{sys.executable} -m benchmarks.mask_methods",
)

for command in RUNS:
    print(f"\n## {command}\n", flush=True)
    subprocess.run(shlex.split(command), check=True)
