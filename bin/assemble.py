#!/usr/bin/env python3
"""Join the corrected slabs of an acquisition into one OME-Zarr.

assemble.py --settings settings.json --image a.ome.zarr --slabs slabs --threads 2 \
    --output_folder results/a --output_statistics correction
"""

import sys
from pathlib import Path

from linumpy.stage.script import open_selected, parser, run
from linumpy.io.runtime import configure_codecs
from linumpy.stage.assemble import assemble
from linumpy.stage.settings import read_settings


def parse_args(argv=None):
    arguments = parser(__doc__)
    arguments.add_argument("--settings", type=Path, required=True, help="the task's group of the plan, JSON")
    arguments.add_argument("--image", type=Path, required=True, help="OME-Zarr")
    arguments.add_argument("--slabs", type=Path, required=True, help="folder of all slabs, a folder each")
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--output_folder", type=Path, required=True, help="gets corrected.ome.zarr")
    arguments.add_argument("--output_statistics", type=Path, required=True, help="folder, made")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    configure_codecs(args.threads)

    def step() -> None:
        image = open_selected(args.image, read_settings(args.settings, "image")["image"])
        assemble(image, sorted(args.slabs.iterdir()), args.output_folder, args.output_statistics)

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
