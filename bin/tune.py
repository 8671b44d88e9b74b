#!/usr/bin/env python3
"""Try candidates of settings on a small stand-in of an acquisition and recommend one.

tune.py --settings settings.json --image a.ome.zarr --name a --threads 2 --output results/a
"""

import sys
from pathlib import Path

from linumpy.stage.script import add_given_mask_argument, open_given_mask, open_selected, parser, run
from linumpy.io.runtime import configure_codecs
from linumpy.stage.settings import read_settings
from linumpy.stage.tuning import write_tuning


def parse_args(argv=None):
    arguments = parser(__doc__)
    arguments.add_argument("--settings", type=Path, required=True, help="the task's group of the plan, JSON")
    arguments.add_argument("--image", type=Path, required=True, help="OME-Zarr")
    add_given_mask_argument(arguments)
    arguments.add_argument("--name", required=True, help="of the acquisition")
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--output", type=Path, required=True, help="folder, made")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    configure_codecs(args.threads)

    def step() -> None:
        settings = read_settings(args.settings, "image", "sections", "factors", "parameters")
        image = open_selected(args.image, settings["image"])
        write_tuning(
            image,
            open_given_mask(args.given_mask, image),
            settings["sections"],
            settings["parameters"],
            settings["factors"],
            name=args.name,
            workers=args.threads,
            output=args.output,
        )

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
