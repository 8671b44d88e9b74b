"""Multiscale OME-Zarr written block by block.

`create_pyramid` writes the metadata of all levels and no voxel; any number of tasks then writes whole files
through `PyramidWriter.write_block`, each file by one writer; `finish_pyramid` adds what is known at the end,
the contrast. `PyramidBuilder` makes the coarser levels from the blocks of a finer one as they pass by: with
the blocks in its own order it holds a few files of each level, whatever the size of the volume.

Every chunk is written, also one of zeros, so that a file that is not there is a file that got lost.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
import zarr.codecs

from linumpy import __version__
from linumpy.io.digest import LevelDigest
from linumpy.io.downsample import downsample
from linumpy.io.pyramid import LevelLayout, PyramidLayout
from linumpy.io.runtime import PIPELINES

__all__ = ["PyramidBuilder", "PyramidWriter", "create_pyramid", "finish_pyramid", "write_image"]

Array = np.ndarray[Any, np.dtype[Any]]
Triple = tuple[int, int, int]

# Zstandard after bitshuffle: on float32 voxels of a real cortex 1 % larger than level 5 after byte shuffle,
# and three times as fast.
COMPRESSION_LEVEL = 3


class PyramidWriter:
    """The arrays of a multiscale image, open for writing.

    Parameters
    ----------
    path : path-like
        The image group, created by `create_pyramid`.
    layout : PyramidLayout
        Its layout.

    Attributes
    ----------
    digests : tuple of LevelDigest
        Of the voxels that this writer has written, a level each.
    """

    def __init__(self, path: str | Path, layout: PyramidLayout) -> None:
        self.path = Path(path)
        self.layout = layout
        self.digests = tuple(LevelDigest(level, layout.stored_dtype) for level in layout.levels)
        # zarrs leaves out chunks of zeros whatever the setting, and is slower to write shards
        with zarr.config.set({"array.write_empty_chunks": True, "codec_pipeline.path": PIPELINES["zarr"]}):
            self.arrays: tuple[zarr.Array[Any], ...] = tuple(
                zarr.open_array(self.path / level.path, mode="r+") for level in layout.levels
            )

    def write_block(self, level: int, z0: int, y0: int, x0: int, block: Array) -> None:
        """Write whole files of a level.

        Parameters
        ----------
        level : int
            Index of the level.
        z0, y0, x0 : int
            First voxel of the block: on a file boundary.
        block : ndarray of shape (Z, Y, X)
            Voxels in the type of the layout, to a file boundary or the end of the volume on every axis.

        Raises
        ------
        ValueError
            If the block has another type or would write a part of a file: its other part would be lost.
        """
        if block.dtype != self.layout.dtype:
            raise ValueError(f"block of type {block.dtype}, the image has {self.layout.dtype}; convert the block")
        layout = self.layout.levels[level]
        for start, n, size, grid in zip((z0, y0, x0), block.shape, layout.shape, layout.file_grid, strict=True):
            stop = start + n
            if start % grid or n == 0 or stop > size or (stop % grid and stop < size):
                raise ValueError(
                    f"block {block.shape} at {(z0, y0, x0)} does not cover whole files of level {level} "
                    f"(files of {layout.file_grid} in {layout.shape}); a file is written at once, by one task"
                )
        region = tuple(slice(s, s + n) for s, n in zip((z0, y0, x0), block.shape, strict=True))
        stored = np.ascontiguousarray(block).view(self.layout.stored_dtype)
        self.arrays[level][region] = stored
        self.digests[level].update((z0, y0, x0), stored)

    def read_block(self, level: int, region: tuple[slice, slice, slice]) -> Array:
        """Read back a block of a level, in the type of the layout."""
        return np.asarray(self.arrays[level][region]).view(self.layout.dtype)


def write_image(path: str | Path, image: Array, layout: PyramidLayout, *, name: str = "") -> None:
    """Write a volume that is in memory, with all its levels.

    Parameters
    ----------
    path : path-like
        The image group; it must not exist.
    image : ndarray of shape (Z, Y, X)
        Level 0, in the shape and type of the layout.
    layout : PyramidLayout
        Its levels.
    name : str
        Name of the multiscale image.
    """
    builder = PyramidBuilder(create_pyramid(path, layout, name=name))
    for region in builder.blocks():
        builder.add(region[0].start, region[1].start, region[2].start, image[region])
    builder.close()


class PyramidBuilder:
    """Coarser levels from the blocks of a finer one as they pass by.

    Parameters
    ----------
    writer : PyramidWriter
        Where the levels go.
    z0, z1 : int
        Slab: planes of level 0. The whole volume by default.
    n_levels : int
        Write levels below this index only, see `PyramidLayout.n_complete_levels`. All by default.
    source_level : int, optional
        Level of the blocks that are given, which is there already. By default they are of level 0 and are written.

    Notes
    -----
    Open at any time are, in the order of `blocks`, about one file of each level; in any other order the result
    is the same and more are open.
    """

    def __init__(
        self,
        writer: PyramidWriter,
        z0: int = 0,
        z1: int | None = None,
        *,
        n_levels: int | None = None,
        source_level: int | None = None,
    ) -> None:
        layout = writer.layout
        self.writer = writer
        self.slab = (z0, layout.shape[0] if z1 is None else z1)
        self.source_level = source_level or 0
        self._first_written = 0 if source_level is None else source_level + 1
        self.n_levels = len(layout.levels) if n_levels is None else n_levels
        self._rows = [layout.slab_rows(level.index, *self.slab) for level in layout.levels]
        self._open: dict[tuple[int, Triple], tuple[Array, int]] = {}

    def blocks(self) -> Iterator[tuple[slice, slice, slice]]:
        """Iterate over the files of the source level in the slab: (z, y, x) slices in its voxels.

        The order visits all files below one coarse file before the next one.
        """
        source = self.writer.layout.levels[self.source_level]
        coarser = self.writer.layout.levels[self.source_level : self.n_levels]
        rows = self._rows[self.source_level]
        n_y, n_x = (-(-n // f) for n, f in zip(source.shape[1:], source.file_grid[1:], strict=True))

        def ancestors(index: Triple) -> list[Triple]:
            start = [i * f for i, f in zip(index, source.file_grid, strict=True)]
            return [
                cast(
                    Triple,
                    tuple(
                        s * fine // (total * grid)
                        for s, fine, total, grid in zip(
                            start, source.total_factor, level.total_factor, level.file_grid, strict=True
                        )
                    ),
                )
                for level in reversed(coarser)
            ]

        files = [(iz, iy, ix) for iz in rows for iy in range(n_y) for ix in range(n_x)]
        for index in sorted(files, key=ancestors):
            z, y, x = _file_region(source, index)
            yield z, y, x

    def add(self, z0: int, y0: int, x0: int, block: Array) -> None:
        """Take a block of the source level: whole files, each once."""
        self._add(self.source_level, (z0, y0, x0), block)

    def close(self) -> None:
        """Check that nothing is left half-filled.

        Raises
        ------
        ValueError
            If blocks of the slab were not given.
        """
        if self._open:
            levels = sorted({level for level, _ in self._open})
            raise ValueError(
                f"{self.writer.path}: {len(self._open)} files of levels {levels} lack voxels; give every "
                f"block of planes {self.slab[0]} to {self.slab[1]}"
            )

    def _add(self, level: int, start: Triple, block: Array) -> None:
        if level >= self._first_written:
            self.writer.write_block(level, *start, block)
        coarser = level + 1
        if coarser >= self.n_levels:
            return
        target = self.writer.layout.levels[coarser]
        means = downsample(block, target.factor)
        origin = [s // f for s, f in zip(start, target.factor, strict=True)]
        stop = [o + n for o, n in zip(origin, means.shape, strict=True)]
        grid = target.file_grid
        for iz in range(origin[0] // grid[0], -(-stop[0] // grid[0])):
            if iz not in self._rows[coarser]:
                continue  # another slab owns a part of this row
            for iy in range(origin[1] // grid[1], -(-stop[1] // grid[1])):
                for ix in range(origin[2] // grid[2], -(-stop[2] // grid[2])):
                    self._fill(target, (iz, iy, ix), origin, stop, means)

    def _fill(self, level: LevelLayout, index: Triple, origin: list[int], stop: list[int], means: Array) -> None:
        region = _file_region(level, index)
        shape = tuple(r.stop - r.start for r in region)
        key = (level.index, index)
        buffer, missing = self._open.pop(key, (None, math.prod(shape)))
        both = [(max(r.start, low), min(r.stop, high)) for r, low, high in zip(region, origin, stop, strict=True)]
        part = means[tuple(slice(a - o, b - o) for (a, b), o in zip(both, origin, strict=True))]
        missing -= part.size
        if buffer is None and missing == 0:
            buffer = part  # one block made the whole file
        else:
            buffer = np.empty(shape, means.dtype) if buffer is None else buffer
            buffer[tuple(slice(a - r.start, b - r.start) for (a, b), r in zip(both, region, strict=True))] = part
        if missing:
            self._open[key] = (buffer, missing)
        else:
            self._add(level.index, (region[0].start, region[1].start, region[2].start), buffer)


def _file_region(level: LevelLayout, index: Triple) -> tuple[slice, slice, slice]:
    z, y, x = (
        slice(i * grid, min((i + 1) * grid, n)) for i, grid, n in zip(index, level.file_grid, level.shape, strict=True)
    )
    return z, y, x


def create_pyramid(
    path: str | Path, layout: PyramidLayout, *, name: str = "", image_label: Mapping[str, Any] | None = None
) -> PyramidWriter:
    """Write the metadata of a multiscale image and its arrays, and no voxel.

    Parameters
    ----------
    path : path-like
        The image group; it must not exist.
    layout : PyramidLayout
        Its levels. The type bool makes a label image, 0 and 1.
    name : str
        Name of the multiscale image.
    image_label : mapping, optional
        NGFF `image-label` metadata, see `finish_pyramid`.

    Returns
    -------
    PyramidWriter

    Raises
    ------
    FileExistsError
        If `path` exists.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; stores are never edited in place: choose another path")
    zarr_format = _zarr_format(layout)
    zarr.create_group(path, zarr_format=zarr_format)
    finish_pyramid(path, layout, name=name, image_label=image_label)
    for level in layout.levels:
        _create_array(path / level.path, layout, level)
    return PyramidWriter(path, layout)


def finish_pyramid(
    path: str | Path,
    layout: PyramidLayout,
    *,
    name: str = "",
    window: Mapping[str, float] | None = None,
    omero_channel: Mapping[str, Any] | None = None,
    image_label: Mapping[str, Any] | None = None,
    processing: Mapping[str, Any] | None = None,
) -> None:
    """Write the metadata of the group.

    Parameters
    ----------
    path : path-like
        The image group.
    layout : PyramidLayout
        Its layout.
    name : str
        Name of the multiscale image; the folder's name without suffixes by default.
    window : mapping, optional
        Contrast: `start`, `end` (what is shown), `min`, `max` (what there is). Without it, no `omero` is
        written.
    omero_channel : mapping, optional
        Rendering metadata of the channel in the input, `Image.omero_channel`: its label, colour (where it is six
        hexadecimal digits) and other entries are kept, its window is replaced, and it is shown.
    image_label : mapping, optional
        NGFF `image-label` metadata of a label image, such as ``{"source": {"image":
        "../corrected.ome.zarr"}}``.
    processing : mapping, optional
        What was done to the voxels besides dividing by a field, for programs: the attribute `linumpy`.
    """
    path = Path(path)
    labels = layout.dtype == "bool"
    multiscale: dict[str, Any] = {
        "name": name or path.name.split(".")[0],
        "axes": [{"name": a, "type": "space", "unit": layout.unit} for a in "zyx"],
        "datasets": [
            {
                "path": level.path,
                "coordinateTransformations": [
                    {"type": "scale", "scale": list(level.scale)},
                    {"type": "translation", "translation": list(level.translation)},
                ],
            }
            for level in layout.levels
        ],
        "type": "local majority" if labels else "local mean",
        "metadata": {
            "description": "Each level is made from the one before it: bins of `factors` voxels (z, y, x), "
            + ("true where at least half is." if labels else "averaged."),
            "method": "linumpy.io.downsample.downsample",
            "version": __version__,
            "args": [],
            "kwargs": {"factors": [list(level.factor) for level in layout.levels[1:]]},
        },
    }
    attributes: dict[str, Any] = {"multiscales": [multiscale]}
    if window is not None:
        channel = {"label": multiscale["name"], "color": "FFFFFF"} | dict(omero_channel or {})
        channel["active"] = True  # it is the only one
        if not re.fullmatch("[0-9A-Fa-f]{6}", str(channel["color"])):
            channel["color"] = "FFFFFF"
        channel["window"] = {key: float(window[key]) for key in ("min", "max", "start", "end")}
        attributes["omero"] = {"channels": [channel]}
    if image_label is not None or labels:
        colors = {"colors": [{"label-value": 1, "rgba": [0, 255, 255, 96]}]}
        attributes["image-label"] = colors | dict(image_label or {})
    group = zarr.open_group(path, mode="r+", zarr_format=_zarr_format(layout))
    if layout.ome_zarr_version == "0.5":
        attributes = {"ome": {"version": "0.5", **attributes}}
    else:
        multiscale["version"] = "0.4"
        if "image-label" in attributes:
            attributes["image-label"]["version"] = "0.4"
    if processing is not None:
        attributes["linumpy"] = dict(processing)
    group.attrs.put(attributes)


def _zarr_format(layout: PyramidLayout) -> Any:
    return 2 if layout.ome_zarr_version == "0.4" else 3


def _create_array(path: Path, layout: PyramidLayout, level: LevelLayout) -> None:
    options: dict[str, Any] = {}
    if layout.ome_zarr_version == "0.4":
        from numcodecs import Blosc  # type: ignore[import-untyped]

        options["compressors"] = Blosc("zstd", COMPRESSION_LEVEL, Blosc.BITSHUFFLE)
        options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
    else:
        options["compressors"] = zarr.codecs.BloscCodec(cname="zstd", clevel=COMPRESSION_LEVEL, shuffle="bitshuffle")
        options["dimension_names"] = ("z", "y", "x")
    zarr.create_array(
        path,
        shape=level.shape,
        chunks=level.chunks,
        shards=level.shards,
        dtype=layout.stored_dtype,
        fill_value=0,
        zarr_format=_zarr_format(layout),
        **options,
    )
