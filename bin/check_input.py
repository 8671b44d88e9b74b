#!/usr/bin/env python3
"""Check parameters and samplesheet, and plan the batch.

check_input.py --samplesheet samplesheet.csv --request request.json --schema nextflow_schema.json \
    --output_plan plan.json --output_info pipeline_info
"""

import sys
from pathlib import Path

from linumpy.stage.script import parser, run
from linumpy.plan.check import check_input


def parse_args(argv=None):
    arguments = parser(__doc__)
    arguments.add_argument("--samplesheet", type=Path, required=True, help="CSV, one row an acquisition")
    arguments.add_argument("--request", type=Path, required=True, help="JSON: parameters, paths, staged files")
    arguments.add_argument("--schema", type=Path, required=True, help="JSON schema of the parameters")
    arguments.add_argument("--output_plan", type=Path, required=True, help="JSON list of plans")
    arguments.add_argument("--output_info", type=Path, required=True, help="folder for the provenance, made")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    return run(lambda: check_input(**vars(parse_args(argv))))


if __name__ == "__main__":
    sys.exit(main())
