"""The straight recipe: the volume in memory, SimpleITK, SciPy and scikit-image, one call after the other.

    python -m benchmarks.stage_in_memory --image 1x.ome.zarr --planes 16 --section_planes 16 --output corrected.zarr

What somebody writes who has the volume as an array: Gaussian, Otsu, holes and closing; N4 of every section on a
shrunken copy, its field at full resolution; N4 of the stack; division; one zarr array. Settings are the pipeline's
defaults.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import zarr
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import disk

from linumpy.stage.script import run
from linumpy.io.ome_zarr import open_image

SHRINK, ITERATIONS = 4, [50, 50, 50, 50]


def tissue_mask(volume: NDArray[Any], section_planes: int) -> NDArray[np.bool_]:
    """Smooth, threshold every section, fill and close every plane, close along Z."""
    smoothed = ndimage.gaussian_filter(volume.astype(np.float32), (1, 2, 2))
    mask = np.zeros(volume.shape, bool)
    for z in range(0, len(volume), section_planes):
        section = smoothed[z : z + section_planes]
        mask[z : z + section_planes] = section > threshold_otsu(section[section != 0])
    for z, plane in enumerate(mask):
        filled = ndimage.binary_fill_holes(plane)
        mask[z] = ndimage.binary_closing(np.pad(filled, 3, "edge"), disk(3))[3:-3, 3:-3]
    padded = np.pad(mask, ((2, 2), (0, 0), (0, 0)), "edge")
    return np.asarray(ndimage.binary_closing(padded, np.ones((5, 1, 1)))[2:-2])


def corrected(volume: NDArray[Any], mask: NDArray[Any], voxel_mm: tuple[float, ...], spline_mm: float) -> NDArray[Any]:
    """Divide a volume by the field that SimpleITK's N4 finds on a shrunken copy."""
    image, tissue = sitk.GetImageFromArray(volume), sitk.GetImageFromArray(mask.astype(np.uint8))
    for made in (image, tissue):
        made.SetSpacing(tuple(reversed(voxel_mm)))
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    extent = [n * size for n, size in zip(volume.shape, voxel_mm, strict=True)]
    n4.SetNumberOfControlPoints([max(4, round(length / spline_mm)) for length in reversed(extent)])
    n4.Execute(sitk.Shrink(image, [SHRINK] * 3), sitk.Shrink(tissue, [SHRINK] * 3))
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image))
    return np.asarray(volume / np.maximum(np.exp(field), 1e-6), np.float32)


def recipe(image_path: Path, planes: int, section_planes: int, output: Path) -> None:
    """Correct the first planes of an image."""
    image = open_image(image_path, validate=False)
    volume = image.read(0, planes)
    mask = tissue_mask(volume, section_planes)
    for z in range(0, planes, section_planes):
        at = slice(z, z + section_planes)
        volume[at] = corrected(volume[at], mask[at], image.voxel_size_mm, 2)
    volume = corrected(volume, mask, image.voxel_size_mm, 10)
    zarr.create_array(output, data=volume, chunks=(16, 256, 256))


def main(argv: list[str] | None = None) -> int:
    """Correct an image, or its first planes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--planes", type=int, required=True)
    parser.add_argument("--section_planes", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    return run(lambda: recipe(args.image, args.planes, args.section_planes, args.output))


if __name__ == "__main__":
    sys.exit(main())
