#!/usr/bin/env python3
"""Fit the bias field of a run of sections on their samples.

n4_section.py --settings settings.json --samples samples --threads 2 --output sections_000000.json
"""

import sys
from pathlib import Path

from linumpy.stage.script import parser, run
from linumpy.stage.fit import FitSettings, fit_sections
from linumpy.stage.samples import Samples
from linumpy.stage.settings import made, read_settings


def parse_args(argv=None):
    arguments = parser(__doc__)
    arguments.add_argument("--settings", type=Path, required=True, help="the task's group of the plan, JSON")
    arguments.add_argument("--samples", type=Path, required=True, help="folder of samples")
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--output", type=Path, required=True, help="JSON list of fits")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)

    def step() -> None:
        settings = read_settings(args.settings, "first", "last", "fit")
        fit_sections(
            Samples(args.samples),
            range(settings["first"], settings["last"] + 1),
            made(FitSettings, settings["fit"], workers=args.threads),
            args.output,
        )

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
