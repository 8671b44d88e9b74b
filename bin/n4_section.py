#!/usr/bin/env python3
"""Fit the bias field of a run of sections on their samples.

n4_section.py --samples samples --first 0 --last 7 --spline_distance_mm 2 --n_iterations 50,50,50,50 \
    --shading_mm 6 --depth_profile true --backend native --threads 2 --output sections_000000.json
"""

import sys
from pathlib import Path

from linumpy.stage.script import add_fit_arguments, fit_settings, parser, run
from linumpy.stage.fit import fit_sections
from linumpy.stage.samples import Samples


def parse_args(argv=None):
    arguments = parser(__doc__)
    add_fit_arguments(arguments)
    arguments.add_argument("--first", type=int, required=True, help="first section, from 0")
    arguments.add_argument("--last", type=int, required=True, help="last section, included")
    arguments.add_argument("--output", type=Path, required=True, help="JSON list of fits")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    sections = range(args.first, args.last + 1)
    return run(lambda: fit_sections(Samples(args.samples), sections, fit_settings(args), args.output))


if __name__ == "__main__":
    sys.exit(main())
