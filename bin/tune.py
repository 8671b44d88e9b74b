#!/usr/bin/env python3
"""Try candidates of settings on a small stand-in of an acquisition and recommend one.

tune.py --image a.ome.zarr --level 1 --stride 1,1,1 --sections 0:10,10:20 --factors 2,2,2 \
    --parameters '{"mode": "two_pass", ...}' --name a --threads 2 --output results/a
"""

import json
import sys
from pathlib import Path

from linumpy.stage.script import (
    add_given_mask_argument,
    add_image_arguments,
    floats,
    open_given_mask,
    open_selected,
    parser,
    run,
    sections,
)
from linumpy.io.runtime import configure_codecs
from linumpy.stage.tuning import write_tuning


def parse_args(argv=None):
    arguments = parser(__doc__)
    add_image_arguments(arguments)
    add_given_mask_argument(arguments)
    arguments.add_argument("--sections", type=sections, required=True, help="z_start:z_stop of each section")
    arguments.add_argument("--factors", type=floats, required=True, help="voxels of the full image per voxel, z,y,x")
    arguments.add_argument("--parameters", type=json.loads, required=True, help="what the candidates change, JSON")
    arguments.add_argument("--name", required=True, help="of the acquisition")
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--output", type=Path, required=True, help="folder, made")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    configure_codecs(args.threads)

    def step() -> None:
        image = open_selected(args)
        write_tuning(
            image,
            open_given_mask(args, image),
            args.sections,
            args.parameters,
            args.factors,
            name=args.name,
            workers=args.threads,
            output=args.output,
        )

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
