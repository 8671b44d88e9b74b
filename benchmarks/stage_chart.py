"""A chart of memory and time against size, from the table that `benchmarks.stage` writes.

    uv run --no-project --with matplotlib==3.11.2 benchmarks/stage_chart.py --table table.md --output chart.svg

Nothing else here draws with matplotlib, so that it is no requirement of the project.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "linumpy"  # the same picture is the same file
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)

GIB = {"1x": 0.25, "4x": 1.0, "16x": 4.0}
SHOWN = ("TISSUE_MASK", "N4_SECTION", "N4_GLOBAL", "CORRECT", "ASSEMBLE", "floor")
ROW = re.compile(r"\| (1x|4x|16x) (\w+) \| \d+ \| ([\d.]+) \| [\d.]+ \| [\d.]+ \| (\d+) \|")


def draw(table: str, output: Path) -> None:
    """Draw CPU seconds and peak memory of each kind of task against the size of the image."""
    rows = [(GIB[size], what, float(cpu), int(memory)) for size, what, cpu, memory in ROW.findall(table)]
    figure, (time, memory) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for what in SHOWN:
        points = sorted(row for row in rows if row[1] == what)
        style = {"marker": "o", "label": what, "color": "black" if what == "floor" else None}
        time.plot([p[0] for p in points], [p[2] for p in points], **style)
        memory.plot([p[0] for p in points], [p[3] for p in points], **style)
    time.set(xscale="log", yscale="log", ylabel="CPU time, s")
    memory.set(xscale="log", ylim=(0, 1600), ylabel="peak memory of a task, MiB")
    memory.axhline(1536, color="grey", linewidth=0.8, linestyle=":")
    for axes in (time, memory):
        axes.set(xlabel="image, GiB of float32", xticks=list(GIB.values()), xticklabels=list(map(str, GIB.values())))
        axes.minorticks_off()
    time.legend(fontsize="small")
    figure.savefig(output, metadata={"Date": None})


def main(argv: list[str] | None = None) -> int:
    """Draw the chart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    draw(args.table.read_text(), args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
