#!/usr/bin/env python3
"""Join the corrected slabs of an acquisition into one OME-Zarr.

assemble.py --image a.ome.zarr --slabs slabs/slab_00000000 slabs/slab_00000064 --threads 2 \
    --output_folder results/a --output_statistics correction
"""

import sys
from pathlib import Path

from linumpy.stage.script import add_image_arguments, open_selected, parser, run
from linumpy.io.runtime import configure_codecs
from linumpy.stage.assemble import assemble


def parse_args(argv=None):
    arguments = parser(__doc__)
    add_image_arguments(arguments)
    arguments.add_argument("--slabs", type=Path, nargs="+", required=True, help="folders of all slabs")
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--output_folder", type=Path, required=True, help="gets corrected.ome.zarr")
    arguments.add_argument("--output_statistics", type=Path, required=True, help="folder, made")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    configure_codecs(args.threads)

    def step() -> None:
        image = open_selected(args)
        assemble(image, args.slabs, args.output_folder, args.output_statistics)

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
