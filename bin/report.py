#!/usr/bin/env python3
"""Write the metrics and the report of an acquisition.

report.py --settings settings.json --samples samples --tissue tissue.json --bias bias \
    --correction correction --output_report report.html --output_metrics metrics.json --output_digests digests.tsv
"""

import sys
from pathlib import Path

from linumpy.stage.script import add_bias_arguments, open_bias, parser, run
from linumpy.stage.report import write_report
from linumpy.stage.samples import Samples
from linumpy.stage.settings import read_settings


def parse_args(argv=None):
    arguments = parser(__doc__)
    arguments.add_argument("--settings", type=Path, required=True, help="the task's group of the plan, JSON")
    arguments.add_argument("--samples", type=Path, required=True, help="folder of samples")
    arguments.add_argument("--tissue", type=Path, required=True, help="statistics of TISSUE_MASK")
    add_bias_arguments(arguments)
    arguments.add_argument("--correction", type=Path, required=True, help="folder of statistics of ASSEMBLE")
    arguments.add_argument("--output_report", type=Path, required=True, help="HTML")
    arguments.add_argument("--output_metrics", type=Path, required=True, help="JSON")
    arguments.add_argument("--output_digests", type=Path, required=True, help="TSV: acquisition, what, digest")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    return run(
        lambda: write_report(
            read_settings(
                args.settings,
                *("acquisition", "parameters", "chosen", "warnings", "missing_chunks", "mask_given", "code"),
            ),
            Samples(args.samples),
            args.tissue,
            open_bias(args),
            args.correction,
            args.output_report,
            args.output_metrics,
            args.output_digests,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
