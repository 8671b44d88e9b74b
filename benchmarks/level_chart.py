"""A chart of the level along Z of an imaged brain: what the sections bring, and what each method leaves of it.

    python -m benchmarks.level_chart --output docs/images/level_along_z.svg [--case usual_decay] [--phantom organ]

The truth is a flat line at 1. It needs matplotlib, which is no requirement of the project: nothing else draws with it
but `benchmarks/stage_chart.py`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "linumpy"  # the same picture is the same file
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)
import numpy as np  # noqa: E402

from benchmarks.quality import METHODS  # noqa: E402
from linumpy.qc.truth import score  # noqa: E402
from linumpy.simulate import CASES, case  # noqa: E402

SHOWN = {
    "uncorrected": {"color": "#b94f19", "linewidth": 0.9, "label": "before"},
    "reference recipe, native": {"color": "#8a8a8a", "linewidth": 0.9, "linestyle": "--"},
    "one N4 over the stack": {"color": "#8a8a8a", "linewidth": 0.9, "linestyle": ":"},
    "this pipeline": {"color": "#0f6a8d", "linewidth": 1.6},
}


def draw(name: str, phantom: str, seed: int, even_brain: Path, output: Path) -> None:
    """Correct the case with each method, and draw the planes' levels relative to the truth."""
    acquisition = case(name, phantom, seed=seed, even_brain=even_brain)
    figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
    for z_start, _ in acquisition.sections[1:]:
        axes.axvline(z_start - 0.5, color="#dddddd", linewidth=0.6)
    axes.axhline(1, color="black", linewidth=0.8, label="truth")
    for method, style in SHOWN.items():
        corrected = METHODS[method](acquisition.volume, acquisition.sections, acquisition.voxel_size_mm)
        levels = np.array(score(corrected, acquisition).levels, np.float64)
        axes.plot(levels, **{"label": method, **style})
    axes.set(
        xlim=(0, len(acquisition.volume) - 1), xlabel="plane (Z)", ylabel="brightness over the truth's", yscale="log"
    )
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.legend(fontsize="small", ncols=5, loc="lower center")
    figure.savefig(output, metadata={"Date": None})


def main(argv: list[str] | None = None) -> int:
    """Draw the chart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="usual_decay", choices=list(CASES))
    parser.add_argument("--phantom", default="even_brain", choices=["even_brain", "organ"])
    parser.add_argument("--seed", type=int, default=1, help="default 1, which no setting was chosen on")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of even_brain.ome.zarr")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    draw(args.case, args.phantom, args.seed, args.data / "even_brain.ome.zarr", args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
