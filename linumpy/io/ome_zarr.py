"""Volumes read from OME-Zarr, whatever wrote them.

`open_image` turns an OME-Zarr 0.4 or 0.5 image of any axis order into a volume (Z, Y, X) with voxels in
millimetres: one channel and one timepoint of it, read block by block. Only the chunks that a block touches
are decoded. A chunk that is not stored reads as the fill value, as Zarr defines (see
`linumpy.io.chunks.missing_chunks`); one that is there and cannot be decoded is an error that names its file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
import zarr.errors

from linumpy.io.errors import OmeZarrError
from linumpy.io.geometry import Floats, Triple, level_geometry, triple_um, units_of
from linumpy.io.metadata import Axis, Dataset, ImageMetadata, check_metadata_file, read_image_metadata
from linumpy.io.runtime import PIPELINES
from linumpy.io.selection import selected_indices

__all__ = ["Image", "bounds", "open_image", "open_mask"]


@dataclass(frozen=True)
class Image:
    """One level of a volume in an OME-Zarr store, axes (Z, Y, X).

    Parameters
    ----------
    path : Path
        The image group (for a bioformats2raw layout, its one series).
    dataset : str
        Path of the level's array in the group.
    ome_zarr_version : str
        "0.4" or "0.5".
    name : str
        Name of the image.
    shape : (int, int, int)
        Voxels along Z, Y, X.
    dtype : numpy.dtype
        In native byte order.
    chunks : (int, int, int)
        Smallest unit that can be decoded.
    shards : (int, int, int) or None
        Unit that is one file, None where every chunk is a file.
    unit : str
        NGFF unit of `scale` and `translation`. Axes in different units are brought to that of x.
    scale, translation : (float, float, float)
        Voxel size, and position of the centre of voxel (0, 0, 0), in `unit`.
    voxel_size_mm : (float, float, float)
        `scale` in millimetres.
    channel : int or None
        Index of the selected channel, None without a channel axis.
    timepoint : int or None
        Index of the selected timepoint, None without a time axis.
    omero_channel : dict or None
        Rendering metadata of the channel as stored (label, color, window, ...), None where there is none.
    levels : tuple of Image
        The coarser levels, finest first.
    array : zarr.Array
        The array with all its axes.
    dimensions : tuple of int
        Which dimensions of `array` are Z, Y and X.
    selected : tuple of int
        Index taken on each dimension of `array` (ignored on Z, Y, X).
    """

    path: Path
    dataset: str
    ome_zarr_version: str
    name: str
    shape: Triple
    dtype: np.dtype[Any]
    chunks: Triple
    shards: Triple | None
    unit: str
    scale: Floats
    translation: Floats
    voxel_size_mm: Floats
    channel: int | None
    timepoint: int | None
    omero_channel: dict[str, Any] | None
    levels: tuple[Image, ...] = field(repr=False)
    array: zarr.Array[Any] = field(repr=False, compare=False)
    dimensions: Triple = field(repr=False)
    selected: tuple[int, ...] = field(repr=False)

    @property
    def file_grid(self) -> Triple:
        """Voxels (Z, Y, X) that one file holds: the shards, or the chunks where there are none."""
        return self.shards or self.chunks

    @property
    def array_path(self) -> Path:
        """Folder of the level's array."""
        return self.path / self.dataset

    def read(
        self, z0: int = 0, z1: int | None = None, y: slice = slice(None), x: slice = slice(None)
    ) -> np.ndarray[Any, np.dtype[Any]]:
        """Read a block of the volume.

        Parameters
        ----------
        z0, z1 : int
            First plane and the plane after the last, ``0 <= z0 <= z1 <= Z``; all planes by default.
        y, x : slice
            Rows and columns, step 1. All by default.

        Returns
        -------
        ndarray of shape (z1 - z0, Y, X)
            Voxels in `dtype`, C-contiguous, owned by the caller.

        Raises
        ------
        OmeZarrError
            If a chunk is truncated or cannot be decoded; the message names its file.
        ValueError
            If the planes are out of range or a step is not 1.
        """
        z1 = self.shape[0] if z1 is None else z1
        if not 0 <= z0 <= z1 <= self.shape[0]:
            raise ValueError(f"planes {z0} to {z1} of {self.path}: it has planes 0 to {self.shape[0]}")
        ranges = [(z0, z1), bounds(y, self.shape[1]), bounds(x, self.shape[2])]
        shape = tuple(high - low for low, high in ranges)
        if 0 in shape:
            return np.empty(shape, self.dtype)
        selection = [slice(i, i + 1) for i in self.selected]
        for dimension, (low, high) in zip(self.dimensions, ranges, strict=True):
            selection[dimension] = slice(low, high)
        self._check_files(selection)
        try:
            block = np.asarray(self.array[tuple(selection)])
        except MemoryError:
            raise
        except Exception as error:
            raise self._broken_chunk(selection, error) from error
        others = tuple(d for d in range(block.ndim) if d not in self.dimensions)
        block = block.transpose(others + self.dimensions).reshape(shape)
        return np.ascontiguousarray(block, dtype=self.dtype)

    def chunk_file(self, chunk: Sequence[int]) -> Path:
        """File of the chunk (the shard) at an index of the file grid over all dimensions of `array`."""
        return self.array_path / self.array.metadata.encode_chunk_key(tuple(chunk))

    def _touched(self, selection: Sequence[slice]) -> itertools.product[tuple[int, ...]]:
        grid = self.array.shards or self.array.chunks
        return itertools.product(
            *(range(s.start // n, (s.stop - 1) // n + 1) for s, n in zip(selection, grid, strict=True))
        )

    def _check_files(self, selection: Sequence[slice]) -> None:
        """Find what zarr-python reads without complaint: an empty shard, and Blosc short of its last byte."""
        blosc = _is_blosc(self.array)
        for chunk in self._touched(selection):
            file = self.chunk_file(chunk)
            try:
                with file.open("rb") as stream:
                    header = stream.read(16)
                    size = stream.seek(0, 2)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise OmeZarrError(file, f"this chunk cannot be read ({error.strerror})") from error
            expected = int.from_bytes(header[12:16], "little") if blosc and size >= 16 else 16 if blosc else 1
            if size < expected:
                raise OmeZarrError(
                    file,
                    f"this chunk is truncated: {size} bytes of at least {expected}; copy the store again",
                )

    def _broken_chunk(self, selection: Sequence[slice], error: Exception) -> OmeZarrError:
        """Decode the touched chunks one by one to name the file that fails."""
        grid = self.array.shards or self.array.chunks
        for chunk in self._touched(selection):
            one = tuple(
                slice(max(s.start, i * n), min(s.stop, (i + 1) * n))
                for s, i, n in zip(selection, chunk, grid, strict=True)
            )
            try:
                self.array[one]
            except Exception as fault:
                return OmeZarrError(
                    self.chunk_file(chunk),
                    f"this chunk is truncated or undecodable ({_one_line(fault)}); copy the store again",
                )
        return OmeZarrError(self.array_path, f"cannot be read ({_one_line(error)}); copy the store again")


def open_image(
    path: str | Path,
    *,
    channel: int | str | None = None,
    timepoint: int | str | None = None,
    voxel_size_um: float | Sequence[float] | None = None,
    validate: bool = True,
) -> Image:
    """Open an OME-Zarr image as a volume (Z, Y, X).

    Parameters
    ----------
    path : path-like
        Folder of an OME-Zarr 0.4 or 0.5 image with the axes z, y and x, in any legal order and with or
        without time and channel; or a bioformats2raw layout that holds one series.
    channel : int or str, optional
        Channel by index or by its `omero` label. Needed where there is more than one.
    timepoint : int, optional
        Needed where there is more than one.
    voxel_size_um : float or (float, float, float), optional
        Voxel size (z, y, x) in micrometres, instead of what the metadata says. The origin keeps its place in
        voxels.
    validate : bool
        Check the metadata with ome-zarr-models. It takes 0.3 s: tasks whose input was checked leave it out.

    Returns
    -------
    Image
        The finest level, the coarser ones in `Image.levels`.

    Raises
    ------
    OmeZarrError
        If `path` does not hold such an image, an axis has no unit of length, or a selection is missing or
        does not fit. The message names the path, what is wrong and the way out.
    """
    metadata = read_image_metadata(path, validate=validate)
    return _open(metadata, channel, timepoint, voxel_size_um, mask=False)


def open_mask(
    path: str | Path,
    *,
    channel: int | str | None = None,
    timepoint: int | str | None = None,
    validate: bool = True,
) -> Image:
    """Open an OME-Zarr mask or label image; tissue is where it is not 0.

    As `open_image`, except that bool is accepted besides the other types, and axes without a unit are (their
    scale is then taken for micrometres: a mask has the voxels of its image).
    """
    return _open(read_image_metadata(path, validate=validate), channel, timepoint, None, mask=True)


def _open(
    metadata: ImageMetadata,
    channel: int | str | None,
    timepoint: int | str | None,
    voxel_size_um: float | Sequence[float] | None,
    *,
    mask: bool,
) -> Image:
    path = metadata.path
    dimensions = _spatial_dimensions(path, metadata.axes)
    arrays = [_open_array(path, dataset.path, metadata) for dataset in metadata.datasets]
    selected = selected_indices(metadata, arrays[0].shape, dimensions, channel, timepoint)
    channel_index = _index_of("channel", metadata.axes, selected)
    override = None if voxel_size_um is None else triple_um(voxel_size_um)
    units = units_of(
        path,
        [metadata.axes[d] for d in dimensions],
        override=override is not None,
        assumed="micrometer" if mask else None,
    )

    def level(dataset: Dataset, array: zarr.Array[Any], coarser: tuple[Image, ...]) -> Image:
        dtype = _checked_dtype(path / dataset.path, array.dtype, mask=mask)
        if any(i >= n for i, n in zip(selected, array.shape, strict=True)):
            raise OmeZarrError(path / dataset.path, f"fewer channels or timepoints than level 0: {array.shape}")
        geometry = level_geometry(metadata, dataset, dimensions, units, override)
        return Image(
            path=path,
            dataset=dataset.path,
            ome_zarr_version=metadata.version,
            name=metadata.name,
            shape=_zyx(array.shape, dimensions),
            dtype=dtype,
            chunks=_zyx(array.chunks, dimensions),
            shards=_zyx(array.shards, dimensions) if array.shards else None,
            channel=channel_index,
            timepoint=_index_of("time", metadata.axes, selected),
            omero_channel=_omero_channel(metadata, channel_index),
            levels=coarser,
            array=array,
            dimensions=dimensions,
            selected=selected,
            **geometry,
        )

    for finer, coarse in itertools.pairwise(zip(metadata.datasets, arrays, strict=True)):
        if any(n > m for n, m in zip(coarse[1].shape, finer[1].shape, strict=True)):
            raise OmeZarrError(
                path,
                f"level {coarse[0].path} of shape {coarse[1].shape} is listed after {finer[0].path} of shape "
                f"{finer[1].shape}; list the levels in the metadata from the finest to the coarsest",
            )
    coarser: tuple[Image, ...] = ()
    for dataset, array in zip(metadata.datasets[:0:-1], arrays[:0:-1], strict=True):
        coarser = (dataclasses.replace(level(dataset, array, ()), levels=coarser), *coarser)
    return level(metadata.datasets[0], arrays[0], coarser)


def _spatial_dimensions(path: Path, axes: Sequence[Axis]) -> Triple:
    names = [axis.name.lower() if axis.type == "space" else "" for axis in axes]
    try:
        return names.index("z"), names.index("y"), names.index("x")
    except ValueError:
        found = ", ".join(axis.name for axis in axes if axis.type == "space")
        raise OmeZarrError(
            path, f"the axes of type space are named {found}; rename them z, y and x in the metadata"
        ) from None


def _open_array(path: Path, dataset: str, metadata: ImageMetadata) -> zarr.Array[Any]:
    zarr_format: Literal[2, 3] = 2 if metadata.version == "0.4" else 3
    node = path / dataset
    for name in ("zarr.json", ".zarray", ".zattrs"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            check_metadata_file(node / name)
    try:
        array = zarr.open_array(node, mode="r", zarr_format=zarr_format)
        if not _for_zarrs(array):
            with zarr.config.set({"codec_pipeline.path": PIPELINES["zarr"]}):
                array = zarr.open_array(node, mode="r", zarr_format=zarr_format)
    except FileNotFoundError as error:
        raise OmeZarrError(
            node,
            f"this level is listed in the metadata, but no Zarr v{zarr_format} array is there; copy it again",
        ) from error
    except Exception as error:
        raise OmeZarrError(node, f"the array cannot be opened ({_one_line(error)}); correct its metadata") from error
    if array.ndim != len(metadata.axes):
        names = "".join(axis.name for axis in metadata.axes)
        raise OmeZarrError(
            node,
            f"the array has {array.ndim} dimensions, the metadata {len(metadata.axes)} axes ({names}); correct one",
        )
    if 0 in array.shape or 0 in array.chunks:
        raise OmeZarrError(
            node, f"the array has shape {array.shape} in chunks of {array.chunks}: no voxels in it; write it again"
        )
    return array


def _for_zarrs(array: zarr.Array[Any]) -> bool:
    """Whether the zarrs codec pipeline can be relied on.

    It refuses foreign byte orders and chunks in Fortran order, and does not look at the checksum of zlib.
    """
    compressor = getattr(array.metadata, "compressor", None)
    return array.dtype.isnative and array.order == "C" and getattr(compressor, "codec_id", None) != "zlib"


def _index_of(kind: str, axes: Sequence[Axis], selected: Sequence[int]) -> int | None:
    return next((i for axis, i in zip(axes, selected, strict=True) if axis.type == kind), None)


def _omero_channel(metadata: ImageMetadata, channel: int | None) -> dict[str, Any] | None:
    index = channel or 0
    return metadata.channels[index] if index < len(metadata.channels) else None


def _checked_dtype(path: Path, dtype: np.dtype[Any], *, mask: bool) -> np.dtype[Any]:
    if dtype.kind in "uif" and dtype.itemsize <= 8:
        return dtype.newbyteorder("=")
    if mask and dtype.kind == "b":
        return dtype
    raise OmeZarrError(path, f"voxels of type {dtype} are refused; integers or real numbers are needed")


def _is_blosc(array: zarr.Array[Any]) -> bool:
    """Whether every file of the array is one Blosc frame."""
    metadata = array.metadata
    if metadata.zarr_format == 2:
        compressor = metadata.compressor
        return compressor is not None and getattr(compressor, "codec_id", None) == "blosc"
    return type(metadata.codecs[-1]).__name__ == "BloscCodec"


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def bounds(index: slice, size: int) -> tuple[int, int]:
    """Return the first voxel and the one after the last of a slice with step 1."""
    start, stop, step = index.indices(size)
    if step != 1:
        raise ValueError(f"step {step} in {index}; blocks are read whole: index the result")
    return start, max(start, stop)


def _zyx(values: Sequence[int], dimensions: Triple) -> Triple:
    return int(values[dimensions[0]]), int(values[dimensions[1]]), int(values[dimensions[2]])
