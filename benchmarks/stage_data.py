"""Acquisitions to measure the stage on: serial sections of speckled tissue, written plane by plane.

Seeded, any number of planes, in the memory of a row of shards: what varies slowly (outline, illumination) is drawn once
on a coarse grid, what varies from voxel to voxel (speckle, texture) plane by plane.

    python -m benchmarks.stage_data --planes 64 --output 1x.ome.zarr
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from linumpy.io.pyramid import PyramidLayout
from linumpy.io.runtime import configure_codecs
from linumpy.io.writer import PyramidBuilder, create_pyramid, finish_pyramid

SECTION_PLANES = 16
PLANE = (1024, 1024)
VOXEL_UM = (10.0, 10.0, 10.0)
TISSUE, AGAROSE = 100.0, 20.0
LOOKS = 16.0
"""Speckle contrast is 1 / sqrt(LOOKS); float32 voxels of it compress by about 1.2."""


def plane_of(z: int, shading: NDArray[np.float32], bundles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return plane ``z`` (Y, X) of the acquisition, float32; every plane has a random stream of its own."""
    rng = np.random.default_rng((7, z))
    n_y, n_x = shading.shape
    section, depth = divmod(z, SECTION_PLANES)
    own = np.random.default_rng((8, section))
    y = np.linspace(-1, 1, n_y, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, n_x, dtype=np.float32)[None, :]
    angle = np.arctan2(y, x)
    radius = np.hypot(y, x) / (0.8 + 0.05 * np.sin(3 * angle + z / 200) + 0.03 * np.sin(7 * angle))
    level = np.where(radius < 1, TISSUE * (1 + 0.5 * (np.roll(bundles, z, axis=1) > 1)), AGAROSE).astype(np.float32)
    field = shading + np.float32(own.normal(0, 0.1) - 0.4 * depth / SECTION_PLANES) - np.float32(0.3) * (y * y + x * x)
    speckle = 1 + rng.standard_normal((n_y, n_x), np.float32) / np.float32(np.sqrt(LOOKS))
    return np.maximum(level * np.exp(field) * speckle, np.float32(0.01))


def slow_maps(plane: tuple[int, int] = PLANE) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return log illumination and tissue texture (Y, X), the latter of unit variance."""
    rng = np.random.default_rng(6)

    def smooth(scale: float) -> NDArray[np.float32]:
        drawn = ndimage.gaussian_filter(rng.standard_normal((128, 128)), scale, mode="wrap")
        drawn = ndimage.zoom(drawn, [n / 128 for n in plane], order=1)
        return (drawn / drawn.std()).astype(np.float32)

    return np.float32(0.15) * smooth(20), smooth(2)


def write_acquisition(path: Path, n_planes: int, *, plane: tuple[int, int] = PLANE, levels: bool = True) -> None:
    """Write an OME-Zarr 0.5 image of ``n_planes`` planes, float32, with the layout that the stage writes too."""
    layout = PyramidLayout.plan(
        (n_planes, *plane), "float32", VOXEL_UM, smallest=256 if levels else max(n_planes, *plane)
    )
    builder = PyramidBuilder(create_pyramid(path, layout))
    shading, bundles = slow_maps(plane)
    depth, rows, columns = layout.levels[0].file_grid
    for z in range(0, n_planes, depth):
        slab = np.stack([plane_of(i, shading, bundles) for i in range(z, min(z + depth, n_planes))])
        for y in range(0, plane[0], rows):
            for x in range(0, plane[1], columns):
                builder.add(z, y, x, np.ascontiguousarray(slab[:, y : y + rows, x : x + columns]))
    builder.close()
    finish_pyramid(path, layout, name=path.name.split(".")[0])


def main(argv: list[str] | None = None) -> int:
    """Write one acquisition."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planes", type=int, required=True)
    parser.add_argument("--rows", type=int, default=PLANE[0])
    parser.add_argument("--columns", type=int, default=PLANE[1])
    parser.add_argument("--no_levels", action="store_true", help="level 0 only")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    configure_codecs(2)
    write_acquisition(args.output, args.planes, plane=(args.rows, args.columns), levels=not args.no_levels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
