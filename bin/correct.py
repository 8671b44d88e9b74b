#!/usr/bin/env python3
"""Divide the bias field out of a slab of planes.

correct.py --image a.ome.zarr --mask mask.ome.zarr --bias bias --z_start 0 --z_stop 64 --n_levels 3 --strength 1 \
    --zero_outside_mask false --save_bias_field false --output_dtype float32 --ome_zarr_version 0.5 \
    --threads 2 --output slab_00000000
"""

import sys
from pathlib import Path

from linumpy.stage.script import add_image_arguments, boolean, open_selected, parser, run
from linumpy.intensity import correction_kernels  # noqa: F401  (loaded with the rest, before anything is timed)
from linumpy.intensity.bias_model import BiasModel
from linumpy.io.ome_zarr import open_mask
from linumpy.io.pyramid import layout_like
from linumpy.io.runtime import configure_codecs
from linumpy.stage.correct import CorrectionSettings, correct_slab


def parse_args(argv=None):
    arguments = parser(__doc__)
    add_image_arguments(arguments)
    arguments.add_argument("--mask", type=Path, required=True, help="OME-Zarr, tissue is where it is not 0")
    arguments.add_argument("--bias", type=Path, required=True, help="folder of the bias field")
    arguments.add_argument("--z_start", type=int, required=True, help="first plane")
    arguments.add_argument("--z_stop", type=int, required=True, help="plane after the last")
    arguments.add_argument("--n_levels", type=int, required=True, help="levels that slabs hold whole")
    arguments.add_argument("--strength", type=float, required=True, help="1 corrected, 0 original")
    arguments.add_argument("--zero_outside_mask", type=boolean, required=True, help="true or false")
    arguments.add_argument("--save_bias_field", type=boolean, required=True, help="true or false")
    arguments.add_argument("--output_dtype", choices=["float32", "input"], required=True)
    arguments.add_argument("--ome_zarr_version", choices=["0.4", "0.5"], required=True)
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--output", type=Path, required=True, help="folder of the slab, made")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    configure_codecs(args.threads)

    def step() -> None:
        image = open_selected(args)
        correct_slab(
            image,
            open_mask(args.mask, validate=False),
            BiasModel.load(args.bias),
            layout_like(image, output_dtype=args.output_dtype, ome_zarr_version=args.ome_zarr_version),
            CorrectionSettings(args.strength, args.zero_outside_mask, args.save_bias_field),
            args.z_start,
            args.z_stop,
            args.n_levels,
            args.output,
            workers=args.threads,
        )

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
