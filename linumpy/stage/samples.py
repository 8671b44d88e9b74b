"""The few voxels that everything between the two readings of an image works on.

TISSUE_MASK keeps, while the image streams by, three regular samplings of it and of its mask: what each section is
fitted on, what the stack is fitted on, and every plane, for the brightness along Z. All are runs of sampled planes in
plain ``.npy`` files, of which a task reads its own rows. ``samples.json`` is written when they are whole; it holds a
digest of every row, which is compared before the row is used: a flipped bit would change voxels, and nothing after it
could tell. ``along_z.json`` is what was told of the brightness along Z from the planes.
"""

from __future__ import annotations

import io
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.lib import format as npy
from numpy.typing import NDArray

from linumpy.intensity.along_z import AlongZ
from linumpy.intensity.bias_model import read_json, write_json
from linumpy.intensity.offset import subtract_offset
from linumpy.intensity.sections import Sections
from linumpy.n4.grid import SampleGrid
from linumpy.stage.settings import made

__all__ = ["PlaneSet", "SampleGeometry", "SampleWriter", "Samples", "damaged"]

Triple = tuple[int, int, int]
GEOMETRY_FILE = "samples.json"
ALONG_Z_FILE = "along_z.json"
KINDS = {"image": np.dtype(np.float32), "mask": np.dtype(bool)}
BLOCK_SAMPLES = 1 << 18
"""Of small planes that are read together."""
DIGEST_BYTES = 8
"""Against damage, not against malice."""


def runs(planes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Yield first, and the one after the last, of numbers that follow each other, `most` at a time.

    Examples
    --------
    >>> list(runs([0, 1, 2, 3, 7, 8], 3))
    [(0, 3), (3, 4), (7, 9)]
    """
    first = stop = None
    for plane in planes:
        if first is None or stop is None or plane != stop or stop - first == most:
            if first is not None and stop is not None:
                yield first, stop
            first = plane
        stop = plane + 1
    if first is not None and stop is not None:
        yield first, stop


@dataclass(frozen=True)
class PlaneSet:
    """Sampled planes: which planes of the volume, and which of their rows and columns.

    Parameters
    ----------
    planes : tuple of int
        Index of each plane.
    start, step, size : (int, int)
        First row and column, voxels from one to the next, and how many (Y, X).
    """

    planes: tuple[int, ...]
    start: tuple[int, int]
    step: tuple[int, int]
    size: tuple[int, int]

    @property
    def rows_columns(self) -> tuple[slice, slice]:
        """The rows and columns that are sampled, as slices of a plane."""
        y, x = (
            slice(start, start + step * (size - 1) + 1, step)
            for start, step, size in zip(self.start, self.step, self.size, strict=True)
        )
        return y, x

    @property
    def shape(self) -> Triple:
        """Sampled planes, rows, columns."""
        return (len(self.planes), *self.size)


@dataclass(frozen=True)
class SampleGeometry:
    """What is sampled of a volume.

    Parameters
    ----------
    shape : tuple of int
        Voxels of the volume (Z, Y, X).
    voxel_size_mm : tuple of float
        (z, y, x).
    sections : tuple of (int, int)
        Planes of each section.
    section_shrink, stack_shrink : tuple of int
        Voxels per sample (z, y, x) of the sections' fits and of the stack's.
    plane_stride : int
        Rows and columns per sample of every plane, which the brightness along Z is measured on.
    offset : float
        Subtracted from what is kept of the image.
    """

    shape: Triple
    voxel_size_mm: tuple[float, float, float]
    sections: Sections
    section_shrink: Triple
    stack_shrink: Triple
    plane_stride: int
    offset: float = 0.0

    def section_grid(self, index: int) -> SampleGrid:
        """Sample grid of a section, in voxels from the section's first plane."""
        z_start, z_stop = self.sections[index]
        return _grid((z_stop - z_start, *self.shape[1:]), self.section_shrink)

    @cached_property
    def section_rows(self) -> tuple[int, ...]:
        """Row of the sampled planes ``sections`` that each section begins at, and the one after the last."""
        sizes = (self.section_grid(index).size[0] for index in range(len(self.sections)))
        return tuple(itertools.accumulate(sizes, initial=0))

    @cached_property
    def stack_grid(self) -> SampleGrid:
        """Sample grid of the whole stack."""
        return SampleGrid.of(self.shape, self.stack_shrink)

    @cached_property
    def plane_sets(self) -> dict[str, PlaneSet]:
        """The sampled planes by name: ``sections``, ``stack``, ``planes``."""
        grids = [self.section_grid(i) for i in range(len(self.sections))]
        stride = self.plane_stride
        return {
            "sections": _plane_set(
                [z_start + z for (z_start, _), grid in zip(self.sections, grids, strict=True) for z in _axis(grid)],
                grids[0],
            ),
            "stack": _plane_set(_axis(self.stack_grid), self.stack_grid),
            "planes": PlaneSet(
                planes=tuple(range(self.shape[0])),
                start=(0, 0),
                step=(stride, stride),
                size=(-(-self.shape[1] // stride), -(-self.shape[2] // stride)),
            ),
        }


@cache
def _grid(shape: Triple, shrink: Triple) -> SampleGrid:
    """Return a section's grid: many thousand sections have few depths."""
    return SampleGrid.of(shape, shrink)


def _axis(grid: SampleGrid) -> list[int]:
    return [grid.start[0] + grid.step[0] * k for k in range(grid.size[0])]


def _plane_set(planes: Sequence[int], grid: SampleGrid) -> PlaneSet:
    return PlaneSet(tuple(planes), grid.start[1:], grid.step[1:], grid.size[1:])


class SampleWriter:
    """Keeps the samples of planes that stream by in order; a context, at whose end the files are finished.

    Parameters
    ----------
    folder : Path
        Made; holds the samples.
    geometry : SampleGeometry
        What to keep.

    Raises
    ------
    RuntimeError
        At the end of the context, if planes were not given.
    """

    def __init__(self, folder: Path, geometry: SampleGeometry) -> None:
        folder.mkdir(parents=True)
        self._folder, self._geometry = folder, geometry
        self._rows = [
            (kind, plane_set, _NpyRows(folder / f"{name}_{kind}.npy", plane_set.shape, dtype))
            for name, plane_set in geometry.plane_sets.items()
            for kind, dtype in KINDS.items()
        ]

    def add(self, kind: str, z_start: int, block: NDArray[np.generic]) -> None:
        """Take what is sampled of the planes ``z_start`` and after; ``kind`` is ``image`` or ``mask``."""
        for row_kind, plane_set, rows in self._rows:
            if row_kind != kind:
                continue
            first, last = np.searchsorted(plane_set.planes, (z_start, z_start + len(block)))
            y, x = plane_set.rows_columns
            for plane in plane_set.planes[first:last]:
                row = block[plane - z_start, y, x]
                rows.append(subtract_offset(row, self._geometry.offset) if kind == "image" else row)

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        for _, _, rows in self._rows:
            rows.close()
        if error is None:
            for _, _, rows in self._rows:
                rows.require_whole()
            digests = {rows.path.stem: rows.digests for _, _, rows in self._rows}
            content = asdict(self._geometry) | {"digests": digests}
            _write_whole(self._folder / GEOMETRY_FILE, content)


def _digest(data: Any) -> str:
    return blake3(data).hexdigest(length=DIGEST_BYTES)


def _digest_of_json(content: Any) -> str:
    return _digest(json.dumps(content, sort_keys=True).encode())


def _write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write JSON with a digest of itself."""
    write_json(path, content | {"digest": _digest_of_json(content)})


def _read_whole(path: Path) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = read_json(path)
        if stored.pop("digest", None) != _digest_of_json(stored):
            raise ValueError("it is not what was written, or is of another version")
    except ValueError as error:
        raise damaged(path, error) from error
    return stored


@cache
def _header(shape: Triple, dtype: np.dtype[Any]) -> bytes:
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    return stream.getvalue()


class _NpyRows:
    """A ``.npy`` file written row by row, so that no task holds more than a row of it."""

    def __init__(self, path: Path, shape: Triple, dtype: np.dtype[Any]) -> None:
        self.path, self.digests = path, list[str]()
        self._file, self._n, self._dtype = path.open("wb"), shape[0], dtype
        self._file.write(_header(shape, dtype))

    def append(self, row: NDArray[np.generic]) -> None:
        data = np.ascontiguousarray(row, self._dtype).tobytes()
        self._file.write(data)
        self.digests.append(_digest(data))

    def close(self) -> None:
        self._file.close()

    def require_whole(self) -> None:
        if len(self.digests) != self._n:
            raise RuntimeError(f"{self.path.name}: {self._n - len(self.digests)} planes were not given")


class _NpyRowsReader:
    """What :class:`_NpyRows` wrote; of the rows that are asked for, each is compared with its digest first."""

    def __init__(self, path: Path, shape: Triple, dtype: np.dtype[Any], digests: Sequence[str]) -> None:
        self._path, self._shape, self._dtype, self._digests = path, shape, dtype, digests

    def __getitem__(self, key: slice | int) -> NDArray[Any]:
        n_rows = self._shape[0]
        rows = range(n_rows)[key] if isinstance(key, slice) else range(key, key + 1)
        array = np.empty((len(rows), *self._shape[1:]), self._dtype)
        try:
            self._read_into(array, rows.start)
            for row, values in zip(rows, array, strict=True):
                if _digest(values.data.cast("B")) != self._digests[row]:
                    raise ValueError(f"sampled plane {row} of {n_rows} is not what was written")
        except ValueError as error:
            raise damaged(self._path, error) from error
        return array if isinstance(key, slice) else array[0]

    def _read_into(self, array: NDArray[Any], first: int) -> None:
        """Read consecutive rows. They are not mapped: a task would hold every row that it has seen."""
        header = _header(self._shape, self._dtype)
        row_bytes = math.prod(self._shape[1:]) * self._dtype.itemsize
        size = len(header) + self._shape[0] * row_bytes
        with self._path.open("rb") as file:
            if file.read(len(header)) != header:
                raise ValueError("its header is not what was written")
            if file.seek(0, io.SEEK_END) != size:
                raise ValueError(f"it has {file.tell()} bytes of {size}")
            file.seek(len(header) + first * row_bytes)
            file.readinto(array.data.cast("B"))


def damaged(path: Path, why: object) -> ValueError:
    """Return the error of what an earlier task of the run left and is not as it was."""
    return ValueError(
        f"{path.resolve()} is damaged ({why}); remove the task folder that it lies in and run with -resume"
    )


class Samples:
    """The samples of an acquisition, read from the files that :class:`SampleWriter` left.

    Parameters
    ----------
    folder : path
        The folder of samples.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        stored = _read_whole(self._folder / GEOMETRY_FILE)
        self._digests = stored.pop("digests")
        self.geometry = made(SampleGeometry, stored)

    def section(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Image and mask samples of a section, shape (Z, Y, X)."""
        return self.run_of_sections(index, index + 1)

    def stack(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Image and mask samples of the stack, shape (Z, Y, X)."""
        return self._load("stack_image")[:], self._load("stack_mask")[:]

    def plane(self, plane: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Image and mask samples of any plane, shape (Y, X)."""
        return self._load("planes_image")[plane], self._load("planes_mask")[plane]

    def blocks(
        self, planes: Sequence[int] | None = None
    ) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.bool_]]]:
        """Yield runs of planes that follow each other, small ones together: first plane, image and mask (Z, Y, X).

        Parameters
        ----------
        planes : sequence of int, optional
            Planes that are wanted, in order; default all.
        """
        wanted = range(self.geometry.shape[0]) if planes is None else planes
        most = max(1, BLOCK_SAMPLES // math.prod(self.geometry.plane_sets["planes"].size))
        images, masks = self._load("planes_image"), self._load("planes_mask")
        for first, stop in runs(wanted, most):
            yield first, images[first:stop], masks[first:stop]

    def planes(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        """Image and mask samples of every plane in order, each of shape (Y, X)."""
        for _, images, masks in self.blocks():
            yield from zip(images, masks, strict=True)

    def thin_sections(self) -> Iterator[tuple[int, int]]:
        """Yield first section, and the one after the last, of runs of sections of one plane, and all others singly."""
        grid = self.geometry.section_grid(0)
        most = max(1, BLOCK_SAMPLES // math.prod(grid.size[1:]))
        thin = (z_stop - z_start == 1 for z_start, z_stop in self.geometry.sections)
        yield from (
            bounds
            for is_thin, indices in itertools.groupby(enumerate(thin), lambda pair: pair[1])
            for bounds in runs([index for index, _ in indices], most if is_thin else 1)
        )

    def run_of_sections(self, first: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Image and mask samples of sections that follow each other, shape (Z, Y, X)."""
        rows = self._rows(first, stop)
        return self._load("sections_image")[rows], self._load("sections_mask")[rows]

    def section_masks(self) -> Iterator[NDArray[np.bool_]]:
        """Yield the mask samples of each section, shape (Z, Y, X)."""
        for first, stop in self.thin_sections():
            masks = self._load("sections_mask")[self._rows(first, stop)]
            yield from (masks[i : i + 1] for i in range(len(masks))) if stop - first > 1 else (masks,)

    def _rows(self, first: int, stop: int) -> slice:
        return slice(self.geometry.section_rows[first], self.geometry.section_rows[stop])

    @cached_property
    def along_z(self) -> AlongZ:
        """What the sections bring to the brightness along Z, as :meth:`keep_along_z` left it."""
        return AlongZ.from_dict(_read_whole(self._folder / ALONG_Z_FILE))

    def keep_along_z(self, along_z: AlongZ) -> None:
        """Leave what was measured along Z beside the samples, for the tasks that follow."""
        _write_whole(self._folder / ALONG_Z_FILE, along_z.to_dict())

    def _load(self, name: str) -> Any:
        """Return what rows are taken of by indexing."""
        plane_set, kind = name.split("_")
        shape = self.geometry.plane_sets[plane_set].shape
        return _NpyRowsReader(self._folder / f"{name}.npy", shape, KINDS[kind], self._digests[name])
