#!/usr/bin/env python3
"""Write the overview of a batch.

batch_report.py --acquisitions a b --metrics metrics/1/metrics.json metrics/2/metrics.json --output index.html
"""

import sys
from pathlib import Path

from linumpy.stage.script import parser, run
from linumpy.stage.report import write_batch_report


def parse_args(argv=None):
    arguments = parser(__doc__)
    arguments.add_argument("--acquisitions", nargs="+", required=True, help="names of all that were asked for")
    arguments.add_argument("--metrics", type=Path, nargs="*", required=True, help="metrics of those that are finished")
    arguments.add_argument("--output", type=Path, required=True, help="HTML")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    return run(lambda: write_batch_report(args.acquisitions, args.metrics, args.output))


if __name__ == "__main__":
    sys.exit(main())
