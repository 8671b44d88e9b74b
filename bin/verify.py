#!/usr/bin/env python3
"""Check result folders against the digests that were recorded with them.

verify.py results/brain_01 results/brain_02
"""

import sys
from pathlib import Path

from linumpy.stage.script import parser, run
from linumpy.stage.verify import verify_acquisition


def parse_args(argv=None):
    arguments = parser(__doc__)
    arguments.add_argument("folders", type=Path, nargs="+", help="folders of finished acquisitions")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)

    def step() -> None:
        faults = []
        for folder in args.folders:
            try:
                faults += [f"{folder.name}: {fault}" for fault in verify_acquisition(folder)]
            except ValueError as error:
                faults.append(str(error))
        if faults:
            raise ValueError("\n".join(["results differ from what was recorded:", *faults]))
        print(f"{len(args.folders)} acquisitions are as they were written")

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
