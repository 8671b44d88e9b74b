#!/usr/bin/env python3
"""Describe a finished run as a Workflow Run RO-Crate.

provenance.py --info pipeline_info --digests digests --workflow_file main.nf --output results
"""

import shutil
import sys
from pathlib import Path

from linumpy.stage.script import parser, run
from linumpy.intensity.bias_model import read_json, write_json
from linumpy.provenance import METADATA_FILE, WORKFLOW_FILE, run_crate


def parse_args(argv=None):
    arguments = parser(__doc__)
    arguments.add_argument("--info", type=Path, required=True, help="folder of what CHECK_INPUT recorded")
    arguments.add_argument("--digests", type=Path, required=True, help="folder: */digests.tsv of those finished")
    arguments.add_argument("--workflow_file", type=Path, required=True, help="main.nf, which becomes part of the crate")
    arguments.add_argument("--output", type=Path, required=True, help="folder, made")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)

    def step() -> None:
        files = sorted(args.digests.glob("*/digests.tsv"))
        lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
        crate = run_crate(
            **{name: read_json(args.info / f"{name}.json") for name in ("parameters", "inputs", "software")},
            digests=[tuple(line.split("\t")) for line in lines if line],
            ended=max(file.stat().st_mtime for file in files),
        )
        copied = args.output / WORKFLOW_FILE
        copied.parent.mkdir(parents=True)
        shutil.copyfile(args.workflow_file, copied)
        write_json(args.output / METADATA_FILE, crate)

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
