"""Each chunk of an image decoded once, however the result's files cut it.

A slab is corrected file by file of the result. Where the image's chunks are wider than those files (whole planes, say),
every file would decode them again. The mask wants whole planes, a few at a time. Where planes are wide, those of one
row of chunks are much memory already. In both cases the planes go through a file of raw voxels in the task's folder:
written once, read back in any rectangle, and gone with the task's work. It takes disk, and page cache, not memory.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linumpy.io.ome_zarr import Image

__all__ = ["DECODINGS", "PlaneSpool", "WholePlanes", "decodings", "planes_per_read"]

DECODINGS = 1.5
"""Times that voxels may be decoded on average before planes are spooled."""
READ_BYTES = 1 << 26
"""Of whole planes that are read at once, at most where a plane is no more."""
Region = tuple[slice, slice, slice]


def decodings(image: Image, regions: Sequence[Region]) -> float:
    """Return how often a voxel is decoded, on average, where each region is read by itself."""
    decoded = sum(
        math.prod(
            min(-(-axis.stop // chunk) * chunk, n) - axis.start // chunk * chunk
            for axis, chunk, n in zip(region, image.chunks, image.shape, strict=True)
        )
        for region in regions
    )
    wanted = sum(math.prod(axis.stop - axis.start for axis in region) for region in regions)
    return float(decoded / wanted)


class PlaneSpool:
    """The planes of a slab, decoded once; a context, at whose end the file is gone.

    Parameters
    ----------
    image : Image
        The image.
    z_start, z_stop : int
        Planes of the slab.
    path : Path
        File to make.
    """

    def __init__(self, image: Image, z_start: int, z_stop: int, path: Path) -> None:
        self._image, self._z_start, self._z_stop, self._path = image, z_start, z_stop, path
        self._shape = (z_stop - z_start, *image.shape[1:])
        with path.open("wb") as file:
            _allocate(file.fileno(), math.prod(self._shape) * image.dtype.itemsize)
        self._spooled: set[int] = set()

    def read(self, z0: int, z1: int, y: slice, x: slice) -> NDArray[Any]:
        """Read a block, as `Image.read` does."""
        depth = self._image.chunks[0]
        for row in range(z0 // depth, -(-z1 // depth)):
            if row not in self._spooled:
                self._spool(max(row * depth, self._z_start), min((row + 1) * depth, self._z_stop))
                self._spooled.add(row)
        return np.array(self._mapped()[z0 - self._z_start : z1 - self._z_start, y, x])

    def _spool(self, z0: int, z1: int) -> None:
        """Decode a row of chunks, a strip of them at a time."""
        for y in range(0, self._shape[1], self._image.chunks[1]):
            rows = slice(y, min(y + self._image.chunks[1], self._shape[1]))
            self._mapped()[z0 - self._z_start : z1 - self._z_start, rows] = self._image.read(z0, z1, rows)

    def _mapped(self) -> NDArray[Any]:
        """Map the file anew: pages of a mapping that stays would count as this task's memory."""
        return np.memmap(self._path, self._image.dtype, "r+", shape=self._shape)

    def __enter__(self) -> PlaneSpool:
        return self

    def __exit__(self, *_: object) -> None:
        self._path.unlink()


def _allocate(file: int, size: int) -> None:
    """Give a file its blocks: written through a map, a full disk would be a bus error, not one that says so."""
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.truncate(file, size)  # this file system cannot


def planes_per_read(image: Image) -> int:
    """Return how many planes to read at once: a row of chunks, or an even part of it where that is too much memory."""
    depth = image.chunks[0]
    fitting = READ_BYTES // (image.shape[1] * image.shape[2] * image.dtype.itemsize)
    return next(n for n in range(min(depth, max(1, fitting)), 0, -1) if depth % n == 0)


class WholePlanes:
    """Whole planes in ascending order, each chunk decoded once; a context, as `PlaneSpool`.

    Where a row of chunks is too much memory at once, it is spooled.

    Parameters
    ----------
    image : Image
        The image.
    path : Path
        File to make where need be; it holds one row of chunks at a time.
    """

    def __init__(self, image: Image, path: Path) -> None:
        self._image, self._path = image, path
        self.planes_per_read = planes_per_read(image)
        self._spool: PlaneSpool | None = None
        self._row = -1

    def read(self, z0: int, z1: int) -> NDArray[Any]:
        """Read planes of one row of chunks, best `planes_per_read` of them."""
        depth = self._image.chunks[0]
        if self.planes_per_read == depth:
            return self._image.read(z0, z1)
        if z0 // depth != self._row:
            self._close()
            self._row = z0 // depth
            z_stop = min((self._row + 1) * depth, self._image.shape[0])
            self._spool = PlaneSpool(self._image, self._row * depth, z_stop, self._path)
        assert self._spool is not None
        return self._spool.read(z0, z1, slice(None), slice(None))

    def _close(self) -> None:
        if self._spool is not None:
            self._spool.__exit__()
            self._spool = None

    def __enter__(self) -> WholePlanes:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
