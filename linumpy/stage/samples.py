"""The few voxels that everything between the two readings of an image works on.

TISSUE_MASK keeps, while the image streams by, three regular samplings of it and of its mask: what each section is
fitted on, what the stack is fitted on, and the first and last planes of the sections. All are runs of sampled planes in
plain ``.npy`` files, which a task maps into memory and reads its own rows of.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from linumpy.intensity.bias_model import read_json, write_json
from linumpy.intensity.sections import Sections
from linumpy.n4.grid import SampleGrid

__all__ = ["PlaneSet", "SampleGeometry", "SampleWriter", "Samples"]

Triple = tuple[int, int, int]
GEOMETRY_FILE = "samples.json"
KINDS = {"image": np.dtype(np.float32), "mask": np.dtype(bool)}


@dataclass(frozen=True)
class PlaneSet:
    """Sampled planes: which planes of the volume, and which of their rows and columns.

    ``start`` and ``step`` are in voxels; axis 0 stands for the rows and columns only through ``planes``.
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
    end_stride : int
        Rows and columns per sample of the sections' first and last planes.
    """

    shape: Triple
    voxel_size_mm: tuple[float, float, float]
    sections: Sections
    section_shrink: Triple
    stack_shrink: Triple
    end_stride: int

    def section_grid(self, index: int) -> SampleGrid:
        """Sample grid of a section, in voxels from the section's first plane."""
        z_start, z_stop = self.sections[index]
        return SampleGrid.of((z_stop - z_start, *self.shape[1:]), self.section_shrink)

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
        """The sampled planes by name: ``sections``, ``stack``, ``ends``."""
        grids = [self.section_grid(i) for i in range(len(self.sections))]
        ends = sorted({plane for z_start, z_stop in self.sections for plane in (z_start, z_stop - 1)})
        stride = self.end_stride
        return {
            "sections": _plane_set(
                [z_start + z for (z_start, _), grid in zip(self.sections, grids, strict=True) for z in _axis(grid)],
                grids[0],
            ),
            "stack": _plane_set(_axis(self.stack_grid), self.stack_grid),
            "ends": PlaneSet(
                planes=tuple(ends),
                start=(0, 0),
                step=(stride, stride),
                size=(-(-self.shape[1] // stride), -(-self.shape[2] // stride)),
            ),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the geometry as JSON values."""
        return {
            "shape": list(self.shape),
            "voxel_size_mm": list(self.voxel_size_mm),
            "sections": [list(bounds) for bounds in self.sections],
            "section_shrink": list(self.section_shrink),
            "stack_shrink": list(self.stack_shrink),
            "end_stride": self.end_stride,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> SampleGeometry:
        """Read what :meth:`to_dict` gave."""
        z, y, x = stored["voxel_size_mm"]
        return cls(
            shape=_triple(stored["shape"]),
            voxel_size_mm=(z, y, x),
            sections=tuple((z_start, z_stop) for z_start, z_stop in stored["sections"]),
            section_shrink=_triple(stored["section_shrink"]),
            stack_shrink=_triple(stored["stack_shrink"]),
            end_stride=stored["end_stride"],
        )


def _triple(values: Sequence[int]) -> Triple:
    z, y, x = values
    return z, y, x


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
        write_json(folder / GEOMETRY_FILE, geometry.to_dict())
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
                rows.append(block[plane - z_start, y, x])

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        for _, _, rows in self._rows:
            rows.close()
        if error is None:
            for _, _, rows in self._rows:
                rows.require_whole()


class _NpyRows:
    """A ``.npy`` file written row by row, so that no task holds more than a row of it."""

    def __init__(self, path: Path, shape: Triple, dtype: np.dtype[Any]) -> None:
        self._file, self._left, self._dtype, self._path = path.open("wb"), shape[0], dtype, path
        npy.write_array_header_1_0(
            self._file, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        )

    def append(self, row: NDArray[np.generic]) -> None:
        self._file.write(np.ascontiguousarray(row, self._dtype).tobytes())
        self._left -= 1

    def close(self) -> None:
        self._file.close()

    def require_whole(self) -> None:
        if self._left:
            raise RuntimeError(f"{self._path.name}: {self._left} planes were not given")


class Samples:
    """The samples of an acquisition, mapped from the files that :class:`SampleWriter` left.

    Parameters
    ----------
    folder : path
        The folder of samples.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self.geometry = SampleGeometry.from_dict(read_json(self._folder / GEOMETRY_FILE))

    def section(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Image and mask samples of a section, shape (Z, Y, X)."""
        rows = slice(*self.geometry.section_rows[index : index + 2])
        return self._load("sections_image")[rows], self._load("sections_mask")[rows]

    def stack(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Image and mask samples of the stack, shape (Z, Y, X)."""
        return self._load("stack_image"), self._load("stack_mask")

    def end_plane(self, plane: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Image and mask samples of a section's first or last plane, shape (Y, X)."""
        row = self.geometry.plane_sets["ends"].planes.index(plane)
        return self._load("ends_image")[row], self._load("ends_mask")[row]

    def _load(self, name: str) -> NDArray[Any]:
        path = self._folder / f"{name}.npy"
        try:
            return np.load(path, mmap_mode="c")  # type: ignore[no-any-return]
        except (ValueError, EOFError) as error:
            raise ValueError(
                f"{path.resolve()} is damaged ({error}); remove the task folder that it lies in and run with -resume"
            ) from error
