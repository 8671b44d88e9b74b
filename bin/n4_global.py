#!/usr/bin/env python3
"""Fit the bias field of the stack on what the sections' fields leave, and gather the whole field.

n4_global.py --samples samples --section_fits sections_000000.json --mode two_pass --harmonise gain \
    --spline_distance_mm 10 --n_iterations 50,50,50,50 --shading_mm 3 --depth_profile true --backend native \
    --threads 2 --output bias
"""

import sys
from pathlib import Path

from linumpy.stage.script import add_fit_arguments, fit_settings, parser, run
from linumpy.stage.fit import fit_stack
from linumpy.stage.samples import Samples


def parse_args(argv=None):
    arguments = parser(__doc__)
    add_fit_arguments(arguments)
    arguments.add_argument(
        "--section_fits",
        type=Path,
        nargs="*",
        required=True,
        help="fits of all sections; none in mode global",
    )
    arguments.add_argument("--mode", choices=["two_pass", "per_section", "global"], required=True)
    arguments.add_argument("--harmonise", choices=["gain", "none"], required=True, help="gain: a factor per section")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the bias field, made")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    of_sections = None if args.mode == "global" else args.section_fits
    of_stack = None if args.mode == "per_section" else fit_settings(args)
    return run(lambda: fit_stack(Samples(args.samples), of_sections, of_stack, args.harmonise == "gain", args.output))


if __name__ == "__main__":
    sys.exit(main())
