#!/usr/bin/env python3
"""Find the tissue of an acquisition and keep the samples that N4 fits on.

tissue_mask.py --image a.ome.zarr --sections 0:10,10:20 --section_shrink 1,4,4 --stack_shrink 4,4,4 --end_stride 1 ... \
    --output_mask mask.ome.zarr --output_samples samples --output_statistics tissue.json
"""

import sys
from pathlib import Path

from linumpy.stage.script import (
    add_given_mask_argument,
    add_image_arguments,
    open_given_mask,
    open_selected,
    parser,
    run,
    sections,
    triple,
)
from linumpy.gpu import require_gpu
from linumpy.intensity import mask_kernels  # noqa: F401  (loaded with the rest, before anything is timed)
from linumpy.intensity.mask_plan import MaskSettings
from linumpy.intensity.mask_threshold import METHODS
from linumpy.io.runtime import configure_codecs
from linumpy.stage.samples import SampleGeometry
from linumpy.stage.spool import planes_per_read
from linumpy.stage.tissue_mask import write_tissue_mask


def parse_args(argv=None):
    arguments = parser(__doc__)
    add_image_arguments(arguments)
    add_given_mask_argument(arguments)
    arguments.add_argument("--sections", type=sections, required=True, help="z_start:z_stop of each section")
    arguments.add_argument("--mask_method", choices=METHODS, required=True, help="how a section's threshold is found")
    arguments.add_argument("--mask_min_size", type=int, required=True, help="pixels; smaller pieces are dropped")
    arguments.add_argument("--mask_largest", type=int, required=True, help="pieces of a plane to keep; 0: all")
    arguments.add_argument("--smoothing_sigma", type=float, required=True, help="in Y and X, voxels")
    arguments.add_argument("--smoothing_sigma_z", type=float, required=True, help="in Z, planes")
    arguments.add_argument("--closing_radius", type=int, required=True, help="disk of each plane, voxels")
    arguments.add_argument("--z_closing_sections", type=int, required=True, help="planes each way")
    arguments.add_argument("--section_shrink", type=triple, required=True, help="voxels per sample, z,y,x")
    arguments.add_argument("--stack_shrink", type=triple, required=True, help="voxels per sample, z,y,x")
    arguments.add_argument("--end_stride", type=int, required=True, help="voxels per sample of the cut planes")
    arguments.add_argument("--backend", choices=["native", "cpu", "gpu"], required=True, help="gpu: smooth with CuPy")
    arguments.add_argument("--max_mb", type=int, required=True, help="memory to keep a section's planes in, MiB")
    arguments.add_argument("--ome_zarr_version", choices=["0.4", "0.5"], required=True)
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--output_mask", type=Path, required=True, help="OME-Zarr label image, made")
    arguments.add_argument("--output_samples", type=Path, required=True, help="folder, made")
    arguments.add_argument("--output_statistics", type=Path, required=True, help="JSON")
    return arguments.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    configure_codecs(args.threads)

    def step() -> None:
        require_gpu(args.backend)
        image = open_selected(args)
        write_tissue_mask(
            image,
            open_given_mask(args, image),
            SampleGeometry(
                shape=image.shape,
                voxel_size_mm=image.voxel_size_mm,
                sections=args.sections,
                section_shrink=args.section_shrink,
                stack_shrink=args.stack_shrink,
                end_stride=args.end_stride,
            ),
            MaskSettings(
                method=args.mask_method,
                min_size=args.mask_min_size,
                largest=args.mask_largest,
                smoothing_sigma=args.smoothing_sigma,
                smoothing_sigma_z=args.smoothing_sigma_z,
                closing_radius=args.closing_radius,
                z_closing_sections=args.z_closing_sections,
                use_gpu=args.backend == "gpu",
                max_bytes=args.max_mb * 2**20,
                workers=args.threads,
                block_planes=planes_per_read(image),
                itemsize=image.dtype.itemsize,
            ),
            args.ome_zarr_version,
            output_mask=args.output_mask,
            output_samples=args.output_samples,
            output_statistics=args.output_statistics,
        )

    return run(step)


if __name__ == "__main__":
    sys.exit(main())
