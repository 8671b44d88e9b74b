#!/usr/bin/env python3
"""Fit the bias field of a run of sections on their samples.

n4_section.py --samples samples --first 0 --last 7 --spline_distance_mm 2 --n_iterations 50,50,50,50 \
    --shading_mm 6 --depth_profile true --backend native --threads 2 --output sections_000000.json
"""

import sys
from pathlib import Path

from linumpy.stage.fit import FitSettings, fit_sections
from linumpy.stage.samples import Samples
from linumpy.stage.script import boolean, integers, parser, run


def parse_args(argv=None):
    arguments = parser(__doc__)
    arguments.add_argument("--samples", type=Path, required=True, help="folder of samples")
    arguments.add_argument("--first", type=int, required=True, help="first section, from 0")
    arguments.add_argument("--last", type=int, required=True, help="last section, included")
    arguments.add_argument("--spline_distance_mm", type=float, required=True, help="knot distance of the first level")
    arguments.add_argument("--n_iterations", type=integers, required=True, help="most of each level; empty: chosen")
    arguments.add_argument("--shading_mm", type=float, required=True, help="smallest span across XY; 0: no limit")
    arguments.add_argument("--depth_profile", type=boolean, required=True, help="true or false")
    arguments.add_argument("--backend", choices=["native", "cpu", "gpu"], required=True)
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--output", type=Path, required=True, help="JSON list of fits")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    settings = FitSettings(
        spline_distance_mm=args.spline_distance_mm,
        n_iterations=args.n_iterations,
        shading_mm=args.shading_mm,
        depth_profile=args.depth_profile,
        backend=args.backend,
        workers=args.threads,
    )
    sections = range(args.first, args.last + 1)
    return run(lambda: fit_sections(Samples(args.samples), sections, settings, args.output))


if __name__ == "__main__":
    sys.exit(main())
