"""Plan of a multiscale OME-Zarr: levels, chunks, shards and where their voxels lie.

Each level halves the axes whose spacing is not yet more than 1.5 times the finest, so that an anisotropic
volume becomes isotropic before its coarse axis is halved, until no axis is longer than 256 voxels. Level l
has ``ceil(n / f)`` voxels along an axis, spacing ``f * s`` and its first voxel at ``t + (f - 1) / 2 * s``:
the centre of the first bin.

A chunk is the unit of decoding (2 to 4 MiB), a shard or, without shards, a chunk is a file. A *row* of files
is all files of a level that share their planes: the unit that one task may write, since a file has one
writer. Files are powers of two long (or the whole axis), so that a slab of whole rows of level 0 owns whole
rows of coarser levels, and no bin is cut by a file.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

if TYPE_CHECKING:
    from linumpy.io.ome_zarr import Image

__all__ = ["LevelLayout", "PyramidLayout", "layout_like"]

Triple = tuple[int, int, int]
Floats = tuple[float, float, float]

ANISOTROPY = 1.5  # an axis is halved while its spacing is at most this many times the finest
CHUNK_YX = 256
CHUNK_Z = 16
MIN_CHUNK_BYTES = 2 << 20
MAX_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True)
class LevelLayout:
    """One level of the pyramid, axes (Z, Y, X).

    Parameters
    ----------
    index : int
        0 is the full resolution.
    path : str
        Path of its array in the group.
    shape : (int, int, int)
        Voxels.
    chunks : (int, int, int)
        Voxels of a chunk.
    shards : (int, int, int) or None
        Voxels of a shard, None where every chunk is a file.
    factor : (int, int, int)
        Voxels of the next finer level in a bin, 1 or 2 an axis.
    total_factor : (int, int, int)
        Voxels of level 0 in a bin.
    scale, translation : (float, float, float)
        Spacing, and position of the first voxel, in the unit of the pyramid.
    """

    index: int
    path: str
    shape: Triple
    chunks: Triple
    shards: Triple | None
    factor: Triple
    total_factor: Triple
    scale: Floats
    translation: Floats

    @property
    def file_grid(self) -> Triple:
        """Voxels that one file holds."""
        return self.shards or self.chunks

    @property
    def row_depth(self) -> int:
        """Planes of one row of files."""
        return self.file_grid[0]

    @property
    def n_rows(self) -> int:
        """Rows of files along Z."""
        return -(-self.shape[0] // self.row_depth)

    @property
    def n_files(self) -> int:
        """Files of the level once it is complete."""
        return math.prod(-(-n // f) for n, f in zip(self.shape, self.file_grid, strict=True))


@dataclass(frozen=True)
class PyramidLayout:
    """All levels of a multiscale image.

    Parameters
    ----------
    dtype : str
        Type of the voxels. "bool" is stored as uint8, 0 or 1: NGFF wants labels to be integers.
    ome_zarr_version : str
        "0.5" or "0.4".
    unit : str
        NGFF unit of scales and translations.
    levels : tuple of LevelLayout
        Finest first.
    """

    dtype: str
    ome_zarr_version: str
    unit: str
    levels: tuple[LevelLayout, ...]

    @property
    def shape(self) -> Triple:
        """Voxels of level 0."""
        return self.levels[0].shape

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """Type of the arrays on disk."""
        return np.dtype(np.uint8 if self.dtype == "bool" else self.dtype)

    @classmethod
    def plan(
        cls,
        shape: Sequence[int],
        dtype: Any,
        voxel_size: Sequence[float],
        *,
        translation: Sequence[float] = (0.0, 0.0, 0.0),
        unit: str = "micrometer",
        ome_zarr_version: str = "0.5",
        chunks: Sequence[int] | None = None,
        shards: Sequence[int] | Literal[False] | None = None,
        shard_depth: int = 64,
        shard_bytes: int = 64 << 20,
        smallest: int = 256,
    ) -> PyramidLayout:
        """Decide levels, chunks and shards of a volume.

        Parameters
        ----------
        shape : (int, int, int)
            Voxels along Z, Y, X, at least 1 each.
        dtype : dtype-like
            Integer, real or bool.
        voxel_size, translation : (float, float, float)
            Spacing, and position of the first voxel, in `unit`.
        unit : str
            NGFF unit of length.
        ome_zarr_version : str
            "0.5", or "0.4", which has no shards.
        chunks : (int, int, int), optional
            Of level 0, instead of 2 to 4 MiB near 16 x 256 x 256.
        shards : (int, int, int) or False, optional
            Of level 0, multiples of the chunks; False for none. Chosen by default.
        shard_depth : int
            Most planes of a chosen shard at level 0. A task's slab is at least one row of files: deeper
            shards make fewer files, larger slabs and more memory.
        shard_bytes : int
            Largest decoded size of a chosen shard.
        smallest : int
            No further level once no axis is longer.

        Returns
        -------
        PyramidLayout

        Raises
        ------
        ValueError
            If a size, a type, a version or the shards do not fit.
        """
        volume = _triple(shape, "shape")
        kind = np.dtype(dtype)
        if kind.kind not in "uifb":
            raise ValueError(f"dtype {kind} cannot be written; give an integer, a real or the bool type")
        if ome_zarr_version not in ("0.4", "0.5"):
            raise ValueError(f"ome_zarr_version {ome_zarr_version!r} cannot be written; give '0.4' or '0.5'")
        if ome_zarr_version == "0.4" and shards:
            raise ValueError(f"shards {tuple(shards)}: OME-Zarr 0.4 has none; give ome_zarr_version '0.5'")
        sharded = ome_zarr_version == "0.5" and shards is not False
        levels: list[LevelLayout] = []
        for factor, total in _factors(volume, voxel_size, smallest):
            level_shape = cast(Triple, tuple(-(-n // f) for n, f in zip(volume, total, strict=True)))
            chunk = _chunks(level_shape, kind.itemsize)
            if chunks:
                chunk = _clip(_triple(chunks, "chunks"), level_shape)
            shard = None
            if sharded and shards and not levels:
                shard = _given_shards(_triple(shards, "shards"), chunk, level_shape)
            elif sharded:
                # as deep as a row of level 0, so that a slab of whole rows there owns whole rows here
                row_depth = levels[0].row_depth if levels else shard_depth
                shard = _shards(level_shape, chunk, max(1, row_depth // total[0]), shard_bytes, kind.itemsize)
            levels.append(
                LevelLayout(
                    index=len(levels),
                    path=str(len(levels)),
                    shape=level_shape,
                    chunks=chunk,
                    shards=shard,
                    factor=factor,
                    total_factor=total,
                    scale=_floats(s * f for s, f in zip(voxel_size, total, strict=True)),
                    translation=_floats(
                        t + (f - 1) / 2 * s for t, s, f in zip(translation, voxel_size, total, strict=True)
                    ),
                )
            )
        _check_bins(levels)
        return cls(kind.name, ome_zarr_version, unit, tuple(levels))

    def n_complete_levels(self, slabs: Sequence[tuple[int, int]]) -> int:
        """Count the levels, from the finest, of which the slabs own every row between them.

        Parameters
        ----------
        slabs : sequence of (int, int)
            Planes (first, after the last) of level 0 of each slab.

        Returns
        -------
        int
            Levels that the slabs can write; the others are built from the last of these.
        """
        for level in self.levels:
            owned = {row for z0, z1 in slabs for row in self.slab_rows(level.index, z0, z1)}
            if len(owned) < level.n_rows:
                return level.index
        return len(self.levels)

    def slab_rows(self, level: int, z0: int, z1: int) -> range:
        """Rows of files of a level that lie wholly within a slab.

        Parameters
        ----------
        level : int
            Index of the level.
        z0, z1 : int
            The slab: first plane of level 0 and the plane after its last. A slab that ends with the volume
            owns the last row, however short.

        Returns
        -------
        range
            Row indices, empty where no row is whole.

        Examples
        --------
        >>> layout = PyramidLayout.plan((100, 600, 600), "float32", (1, 1, 1), shard_depth=32)
        >>> [layout.slab_rows(0, 32, 96), layout.slab_rows(1, 32, 96), layout.slab_rows(0, 64, 100)]
        [range(1, 3), range(1, 3), range(2, 4)]
        """
        layout = self.levels[level]
        depth = layout.row_depth * layout.total_factor[0]
        start = -(-z0 // depth)
        stop = layout.n_rows if z1 >= self.shape[0] else z1 // depth
        return range(min(start, layout.n_rows), max(min(start, layout.n_rows), stop))

    def to_dict(self) -> dict[str, Any]:
        """Return the layout as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PyramidLayout:
        """Rebuild a layout from `to_dict`, also after a round through JSON."""
        levels = tuple(LevelLayout(**_tuples(level)) for level in values["levels"])
        return cls(values["dtype"], values["ome_zarr_version"], values["unit"], levels)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def layout_like(image: Image, *, output_dtype: str, ome_zarr_version: str) -> PyramidLayout:
    """Return the levels of a result that lies where an image lies.

    Parameters
    ----------
    image : Image
        Shape, place and unit are taken from it.
    output_dtype : str
        Type of the voxels, or "input" for the image's.
    ome_zarr_version : str
        "0.4" or "0.5".
    """
    return PyramidLayout.plan(
        image.shape,
        image.dtype if output_dtype == "input" else output_dtype,
        image.scale,
        translation=image.translation,
        unit=image.unit,
        ome_zarr_version=ome_zarr_version,
    )


def _factors(shape: Triple, spacing: Sequence[float], smallest: int) -> list[tuple[Triple, Triple]]:
    """Factor from the level below and to level 0, of every level."""
    total = (1, 1, 1)
    factors = [(total, total)]
    size, step = list(shape), [float(s) for s in spacing]
    while max(size) > max(1, smallest):
        finest = min(s for s, n in zip(step, size, strict=True) if n > 1)
        factor = [2 if n > 1 and s <= ANISOTROPY * finest else 1 for s, n in zip(step, size, strict=True)]
        total = cast(Triple, tuple(t * f for t, f in zip(total, factor, strict=True)))
        size = [-(-n // t) for n, t in zip(shape, total, strict=True)]
        step = [s * f for s, f in zip(step, factor, strict=True)]
        factors.append((cast(Triple, tuple(factor)), total))
    return factors


def _chunks(shape: Triple, itemsize: int) -> Triple:
    """Chunk of 2 to 4 MiB, or the whole volume where it is smaller; powers of two, or the whole axis."""
    chunk = list(_clip((CHUNK_Z, CHUNK_YX, CHUNK_YX), shape))
    while math.prod(chunk) * itemsize > MAX_CHUNK_BYTES:
        chunk[0] = 1 << (chunk[0] - 1).bit_length() - 1  # the next power of two below
    axis = 0
    while math.prod(chunk) * itemsize < MIN_CHUNK_BYTES and tuple(chunk) != shape:
        axis = (axis - 1) % 3  # x, y, z, x, ...
        chunk[axis] = min(chunk[axis] * 2, shape[axis])
    return cast(Triple, tuple(chunk))


def _shards(shape: Triple, chunk: Triple, depth: int, max_bytes: int, itemsize: int) -> Triple:
    """Shard of whole chunks: first deeper, up to `depth`, then wider, never larger than the volume needs."""
    shard = list(chunk)
    limits = [-(-n // c) * c for n, c in zip(shape, chunk, strict=True)]
    limits[0] = min(limits[0], max(1, depth // chunk[0]) * chunk[0])
    for axis in (0, 2, 1):
        while shard[axis] < limits[axis]:
            wider = min(shard[axis] * 2, limits[axis])
            if math.prod(shard) // shard[axis] * wider * itemsize > max_bytes:
                break
            shard[axis] = wider
    return cast(Triple, tuple(shard))


def _given_shards(shards: Triple, chunk: Triple, shape: Triple) -> Triple:
    if any(s % c for s, c in zip(shards, chunk, strict=True)):
        raise ValueError(f"shards {shards} are no multiples of the chunks {chunk} (volume {shape})")
    return cast(Triple, tuple(min(s, -(-n // c) * c) for s, n, c in zip(shards, shape, chunk, strict=True)))


def _check_bins(levels: Sequence[LevelLayout]) -> None:
    for finer, coarser in itertools.pairwise(levels):
        for size, n, factor in zip(finer.file_grid, finer.shape, coarser.factor, strict=True):
            if size % factor and size < n:
                raise ValueError(
                    f"files of {finer.file_grid} voxels at level {finer.index} cut the bins {coarser.factor} "
                    f"of level {coarser.index}; give chunks and shards that are powers of two"
                )


def _clip(values: Triple, shape: Triple) -> Triple:
    return cast(Triple, tuple(min(v, n) for v, n in zip(values, shape, strict=True)))


def _triple(values: Sequence[int], name: str) -> Triple:
    sizes = [int(v) for v in values]
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"{name} {tuple(values)}; three sizes (z, y, x) of at least 1 are needed")
    return sizes[0], sizes[1], sizes[2]


def _floats(values: Any) -> Floats:
    z, y, x = (float(v) for v in values)
    return z, y, x
