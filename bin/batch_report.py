#!/usr/bin/env python3
"""Write the overview of a batch.

batch_report.py --settings settings.json --metrics metrics --output index.html
"""

import sys
from pathlib import Path

from linumpy.stage.script import parser, run
from linumpy.stage.report import write_batch_report
from linumpy.stage.settings import read_settings


def parse_args(argv=None):
    arguments = parser(__doc__)
    arguments.add_argument("--settings", type=Path, required=True, help="JSON: names of all acquisitions asked for")
    arguments.add_argument("--metrics", type=Path, required=True, help="folder: */metrics.json of those finished")
    arguments.add_argument("--output", type=Path, required=True, help="HTML")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)

    def step() -> None:
        acquisitions = read_settings(args.settings, "acquisitions")["acquisitions"]
        write_batch_report(acquisitions, sorted(args.metrics.glob("*/metrics.json")), args.output)

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
