"""An image seen through every k-th voxel of one of its levels: a small volume that stands for a large one.

A preview works on it as on any image. Voxels are taken, not averaged: where averages are wanted, there are levels.
Whole chunks are decoded all the same, each once for a run of planes, so that memory stays that of a chunk row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linumpy.io.geometry import Triple
from linumpy.io.ome_zarr import Image, bounds

__all__ = ["SampledImage", "sampled"]


@dataclass(frozen=True)
class SampledImage(Image):
    """Every k-th voxel of an image, from its first on.

    Parameters
    ----------
    source : Image
        The image that is read.
    stride : (int, int, int)
        Its voxels from one sample to the next, along Z, Y, X.
    """

    source: Image = dataclasses.field(kw_only=True, repr=False)
    stride: Triple = dataclasses.field(kw_only=True)

    def read(
        self, z0: int = 0, z1: int | None = None, y: slice = slice(None), x: slice = slice(None)
    ) -> np.ndarray[Any, np.dtype[Any]]:
        """Read a block of the samples, see `Image.read`."""
        z1 = self.shape[0] if z1 is None else z1
        step_z, step_y, step_x = self.stride
        (y0, y1), (x0, x1) = bounds(y, self.shape[1]), bounds(x, self.shape[2])
        block = np.empty((z1 - z0, y1 - y0, x1 - x0), self.dtype)
        if block.size == 0:
            return block
        rows = slice(y0 * step_y, (y1 - 1) * step_y + 1)
        columns = slice(x0 * step_x, (x1 - 1) * step_x + 1)
        depth = max(1, self.source.chunks[0] // step_z)
        for start in range(z0, z1, depth):
            stop = min(start + depth, z1)
            planes = self.source.read(start * step_z, (stop - 1) * step_z + 1, rows, columns)
            block[start - z0 : stop - z0] = planes[::step_z, ::step_y, ::step_x]
        return block


def sampled(image: Image, level: int = 0, stride: Sequence[int] = (1, 1, 1), shape: Triple | None = None) -> Image:
    """Return a level of an image, or every k-th voxel of it.

    Parameters
    ----------
    image : Image
        The finest level.
    level : int
        0 is `image`, 1 the first of its coarser levels.
    stride : (int, int, int)
        Voxels of the level from one sample to the next, along Z, Y, X.
    shape : (int, int, int), optional
        Samples wanted, where the last ones of an axis are not.

    Returns
    -------
    Image
        The level itself for a stride of 1.

    Raises
    ------
    ValueError
        If there is no such level or the stride is below 1.

    """
    if not 0 <= level <= len(image.levels) or min(stride) < 1:
        raise ValueError(f"level {level}, stride {tuple(stride)} of an image with {1 + len(image.levels)} levels")
    source = (image, *image.levels)[level]
    z, y, x = (int(step) for step in stride)
    size = shape or _divided(source.shape, (z, y, x))
    if (z, y, x) == (1, 1, 1) and size == source.shape:
        return source
    values = {field.name: getattr(source, field.name) for field in dataclasses.fields(Image)}
    return SampledImage(
        **values
        | {
            "shape": size,
            "chunks": _divided(source.chunks, (z, y, x)),
            "shards": None if source.shards is None else _divided(source.shards, (z, y, x)),
            "scale": tuple(size * step for size, step in zip(source.scale, (z, y, x), strict=True)),
            "voxel_size_mm": tuple(size * step for size, step in zip(source.voxel_size_mm, (z, y, x), strict=True)),
            "levels": (),
        },
        source=source,
        stride=(z, y, x),
    )


def _divided(sizes: Triple, stride: Triple) -> Triple:
    z, y, x = (-(-n // step) for n, step in zip(sizes, stride, strict=True))
    return z, y, x
