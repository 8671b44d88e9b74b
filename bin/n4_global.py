#!/usr/bin/env python3
"""Fit the bias field of the stack on what the sections' fields leave, and gather the whole field.

n4_global.py --settings settings.json --samples samples --section_fits section_fits --threads 2 --output bias
"""

import sys
from pathlib import Path

from linumpy.stage.script import parser, run
from linumpy.stage.fit import FitSettings, fit_stack
from linumpy.stage.samples import Samples
from linumpy.stage.settings import made, read_settings


def parse_args(argv=None):
    arguments = parser(__doc__)
    arguments.add_argument("--settings", type=Path, required=True, help="the task's group of the plan, JSON")
    arguments.add_argument("--samples", type=Path, required=True, help="folder of samples")
    arguments.add_argument("--section_fits", type=Path, required=True, help="folder of all fits; not in mode global")
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--output", type=Path, required=True, help="folder of the bias field, made")
    arguments.add_argument("--output_level", type=Path, required=True, help="JSON, where acquisitions are matched")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)

    def step() -> None:
        settings = read_settings(args.settings, "mode", "fit", "match_batch")
        fit_stack(
            Samples(args.samples),
            None if settings["mode"] == "global" else sorted(args.section_fits.iterdir()),
            made(FitSettings, settings["fit"], workers=args.threads),
            settings["mode"],
            args.output,
            args.output_level if settings["match_batch"] else None,
        )

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
