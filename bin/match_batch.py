#!/usr/bin/env python3
"""Give every acquisition of a run the factor that brings it to their common level.

match_batch.py --settings settings.json --levels levels --output results
"""

import sys
from pathlib import Path

from linumpy.stage.script import parser, run
from linumpy.stage.match import write_matches
from linumpy.stage.settings import read_settings


def parse_args(argv=None):
    arguments = parser(__doc__)
    arguments.add_argument("--settings", type=Path, required=True, help="JSON: names of all acquisitions asked for")
    arguments.add_argument("--levels", type=Path, required=True, help="folder: NAME.json of those whose field is known")
    arguments.add_argument("--output", type=Path, required=True, help="folder, gets NAME/bias/match.json of each")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)

    def step() -> None:
        acquisitions = read_settings(args.settings, "acquisitions")["acquisitions"]
        write_matches(acquisitions, sorted(args.levels.iterdir()), args.output)

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
