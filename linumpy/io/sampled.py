"""An image seen through every k-th voxel of one of its levels: a small volume that stands for a large one.

A preview works on it as on any image. Voxels are taken, not averaged: where averages are wanted, there are levels.
Whole chunks are decoded all the same, each once for a run of planes, so that memory stays that of a chunk row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.io.geometry import Triple
from linumpy.io.ome_zarr import Image, bounds

__all__ = ["SampledImage", "on_grid_of", "sampled"]

Step = int | Fraction


@dataclass(frozen=True)
class SampledImage(Image):
    """Every k-th voxel of an image, from its first on.

    Parameters
    ----------
    source : Image
        The image that is read.
    stride : (int or Fraction, ...)
        Its voxels from one sample to the next, along Z, Y, X. Sample `i` is voxel ``floor(i * stride)``.
    """

    source: Image = dataclasses.field(kw_only=True, repr=False)
    stride: tuple[Step, Step, Step] = dataclasses.field(kw_only=True)

    def read(
        self, z0: int = 0, z1: int | None = None, y: slice = slice(None), x: slice = slice(None)
    ) -> np.ndarray[Any, np.dtype[Any]]:
        """Read a block of the samples, see `Image.read`."""
        z1 = self.shape[0] if z1 is None else z1
        (y0, y1), (x0, x1) = bounds(y, self.shape[1]), bounds(x, self.shape[2])
        block = np.empty((z1 - z0, y1 - y0, x1 - x0), self.dtype)
        if block.size == 0:
            return block
        rows, columns = self._taken(1, y0, y1), self._taken(2, x0, x1)
        depth = max(1, int(self.source.chunks[0] // self.stride[0]))
        for start in range(z0, z1, depth):
            stop = min(start + depth, z1)
            planes = self._taken(0, start, stop)
            found = self.source.read(int(planes[0]), int(planes[-1]) + 1, _around(rows), _around(columns))
            block[start - z0 : stop - z0] = found[np.ix_(planes - planes[0], rows - rows[0], columns - columns[0])]
        return block

    def _taken(self, axis: int, start: int, stop: int) -> NDArray[np.int64]:
        """Return the voxels of the source that are samples `start` to `stop`."""
        step = self.stride[axis]
        return np.arange(start, stop) * step.numerator // step.denominator


def _around(voxels: NDArray[np.int64]) -> slice:
    return slice(int(voxels[0]), int(voxels[-1]) + 1)


def sampled(image: Image, level: int = 0, stride: Sequence[int] = (1, 1, 1)) -> Image:
    """Return a level of an image, or every k-th voxel of it.

    Parameters
    ----------
    image : Image
        The finest level.
    level : int
        0 is `image`, 1 the first of its coarser levels.
    stride : (int, int, int)
        Voxels of the level from one sample to the next, along Z, Y, X.

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
    return _strided(source, (z, y, x), _divided(source.shape, (z, y, x)))


def on_grid_of(mask: Image, image: Image) -> Image:
    """Return a mask, which has the voxels of the full image, seen at the voxels of what `sampled` gave of that image.

    A level need not divide the full image: where it has 120 voxels for 300, its voxel `i` is the mask's
    ``floor(2.5 i)``.
    """
    level, stride = (image.source, image.stride) if isinstance(image, SampledImage) else (image, (1, 1, 1))
    z, y, x = (_ratio(n, m) * step for n, m, step in zip(mask.shape, level.shape, stride, strict=True))
    return _strided(mask, (z, y, x), image.shape)


def _ratio(fine: int, coarse: int) -> Fraction:
    """Return voxels per voxel of a level: whole where its size is that of bins of so many."""
    whole = round(fine / coarse)
    return Fraction(whole) if coarse in (fine // whole, -(-fine // whole)) else Fraction(fine, coarse)


def _strided(source: Image, stride: tuple[Step, Step, Step], shape: Triple) -> Image:
    z, y, x = stride
    if (z, y, x) == (1, 1, 1) and shape == source.shape:
        return source
    values = {field.name: getattr(source, field.name) for field in dataclasses.fields(Image)}
    return SampledImage(
        **values
        | {
            "shape": shape,
            "chunks": _divided(source.chunks, (z, y, x)),
            "shards": None if source.shards is None else _divided(source.shards, (z, y, x)),
            "scale": tuple(float(size * step) for size, step in zip(source.scale, (z, y, x), strict=True)),
            "voxel_size_mm": tuple(
                float(size * step) for size, step in zip(source.voxel_size_mm, (z, y, x), strict=True)
            ),
            "levels": (),
        },
        source=source,
        stride=(z, y, x),
    )


def _divided(sizes: Triple, stride: tuple[Step, Step, Step]) -> Triple:
    z, y, x = (int(-(-n // step)) for n, step in zip(sizes, stride, strict=True))
    return z, y, x
