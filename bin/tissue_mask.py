#!/usr/bin/env python3
"""Find the tissue of an acquisition and keep the samples that N4 fits on.

tissue_mask.py --settings settings.json --image a.ome.zarr --threads 2 \
    --output_mask mask.ome.zarr --output_samples samples --output_statistics tissue.json
"""

import sys
from pathlib import Path

from linumpy.stage.script import add_given_mask_argument, open_given_mask, open_selected, parser, run
from linumpy.gpu import require_gpu
from linumpy.intensity import mask_kernels  # noqa: F401  (loaded with the rest, before anything is timed)
from linumpy.intensity.mask_plan import MaskSettings
from linumpy.io.runtime import configure_codecs
from linumpy.stage.samples import SampleGeometry
from linumpy.stage.settings import made, read_settings
from linumpy.stage.tissue_mask import write_tissue_mask


def parse_args(argv=None):
    arguments = parser(__doc__)
    arguments.add_argument("--settings", type=Path, required=True, help="the task's group of the plan, JSON")
    arguments.add_argument("--image", type=Path, required=True, help="OME-Zarr")
    add_given_mask_argument(arguments)
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--output_mask", type=Path, required=True, help="OME-Zarr label image, made")
    arguments.add_argument("--output_samples", type=Path, required=True, help="folder, made")
    arguments.add_argument("--output_statistics", type=Path, required=True, help="JSON")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    configure_codecs(args.threads)

    def step() -> None:
        settings = read_settings(args.settings, "image", "geometry", "mask", "ome_zarr_version", "along_z")
        mask_settings = made(MaskSettings, settings["mask"], workers=args.threads)
        require_gpu("gpu" if mask_settings.use_gpu else "native")
        image = open_selected(args.image, settings["image"])
        write_tissue_mask(
            image,
            open_given_mask(args.given_mask, image),
            made(SampleGeometry, settings["geometry"]),
            mask_settings,
            settings["ome_zarr_version"],
            settings["along_z"],
            output_mask=args.output_mask,
            output_samples=args.output_samples,
            output_statistics=args.output_statistics,
        )

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
