#!/usr/bin/env python3
"""Divide the bias field out of a slab of planes.

correct.py --settings settings.json --image a.ome.zarr --mask mask.ome.zarr --bias bias --threads 2 \
    --output slab_00000000
"""

import sys
from pathlib import Path

from linumpy.stage.script import add_bias_arguments, open_bias, open_selected, parser, run
from linumpy.intensity import correction_kernels  # noqa: F401  (loaded with the rest, before anything is timed)
from linumpy.io.ome_zarr import open_mask
from linumpy.io.pyramid import layout_like
from linumpy.io.runtime import configure_codecs
from linumpy.stage.correct import CorrectionSettings, correct_slab
from linumpy.stage.settings import made, read_settings


def parse_args(argv=None):
    arguments = parser(__doc__)
    arguments.add_argument("--settings", type=Path, required=True, help="the task's group of the plan, JSON")
    arguments.add_argument("--image", type=Path, required=True, help="OME-Zarr")
    arguments.add_argument("--mask", type=Path, required=True, help="OME-Zarr, tissue is where it is not 0")
    add_bias_arguments(arguments)
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--output", type=Path, required=True, help="folder of the slab, made")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    configure_codecs(args.threads)

    def step() -> None:
        settings = read_settings(args.settings, "image", "correction", "layout", "z_start", "z_stop", "n_levels")
        image = open_selected(args.image, settings["image"])
        correct_slab(
            image,
            open_mask(args.mask, validate=False),
            open_bias(args),
            layout_like(image, **settings["layout"]),
            made(CorrectionSettings, settings["correction"]),
            settings["z_start"],
            settings["z_stop"],
            settings["n_levels"],
            args.output,
            workers=args.threads,
        )

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
