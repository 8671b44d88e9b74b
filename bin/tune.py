#!/usr/bin/env python3
"""Try candidates of settings on a small stand-in of an acquisition and recommend one.

tune.py --image a.ome.zarr --level 1 --stride 1,1,1 --sections 0:10,10:20 --parameters '{"mode": "two_pass", ...}' \
    --name a --threads 2 --output results/a
"""

import json
import sys
from pathlib import Path

from linumpy.io.ome_zarr import open_mask
from linumpy.io.runtime import configure_codecs
from linumpy.io.sampled import sampled
from linumpy.stage.script import add_image_arguments, open_selected, parser, run, sections, triple
from linumpy.stage.tuning import write_tuning


def parse_args(argv=None):
    arguments = parser(__doc__)
    add_image_arguments(arguments)
    arguments.add_argument("--given_mask", type=Path, nargs="*", default=[], help="OME-Zarr to use as the mask")
    arguments.add_argument("--level", type=int, required=True, help="of the image; 0: full resolution")
    arguments.add_argument("--stride", type=triple, required=True, help="voxels of the level per voxel, z,y,x")
    arguments.add_argument("--sections", type=sections, required=True, help="z_start:z_stop of each section")
    arguments.add_argument("--parameters", type=json.loads, required=True, help="what the candidates change, JSON")
    arguments.add_argument("--name", required=True, help="of the acquisition")
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--output", type=Path, required=True, help="folder, made")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    configure_codecs(args.threads)

    def step() -> None:
        write_tuning(
            sampled(open_selected(args), args.level, args.stride),
            sampled(open_mask(args.given_mask[0]), args.level, args.stride) if args.given_mask else None,
            args.sections,
            args.parameters,
            name=args.name,
            workers=args.threads,
            output=args.output,
        )

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
