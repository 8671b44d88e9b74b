"""Where the voxels of a level lie, in the unit of the image and in millimetres."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from linumpy.io.errors import OmeZarrError
from linumpy.io.metadata import Axis, Dataset, ImageMetadata
from linumpy.io.units import canonical_unit, to_mm

__all__ = ["Floats", "Triple", "level_geometry", "triple_um", "units_of"]

Triple = tuple[int, int, int]
Floats = tuple[float, float, float]


def triple_um(voxel_size_um: float | Sequence[float]) -> Floats:
    """Return a voxel size (z, y, x) given as one number or three, in micrometres."""
    given = voxel_size_um if isinstance(voxel_size_um, Sequence) else (voxel_size_um,) * 3
    values = [float(v) for v in given]
    if len(values) != 3 or not all(math.isfinite(v) and v > 0 for v in values):
        raise ValueError(f"voxel_size_um is {voxel_size_um!r}; give one number or three (z, y, x), micrometres above 0")
    return values[0], values[1], values[2]


def units_of(path: Path, axes: Sequence[Axis], *, override: bool, assumed: str | None = None) -> tuple[str, str, str]:
    """Return the NGFF unit of each spatial axis; micrometres where the voxel size is given by hand.

    Where an axis has none it is `assumed`, or an error.
    """
    if override:
        return ("micrometer",) * 3
    units = []
    for axis in axes:
        unit = (canonical_unit(axis.unit) if axis.unit else None) or assumed
        if unit is None:
            fault = f"has the unit {axis.unit!r}, no NGFF unit of length" if axis.unit else "has no unit"
            raise OmeZarrError(
                path, f"axis {axis.name!r} {fault}; correct the metadata or give voxel_size_um (z, y, x)"
            )
        units.append(unit)
    return units[0], units[1], units[2]


def level_geometry(
    metadata: ImageMetadata,
    dataset: Dataset,
    dimensions: Triple,
    units: tuple[str, str, str],
    override: Floats | None,
) -> dict[str, Any]:
    """Return `unit`, `scale`, `translation` and `voxel_size_mm` of one level."""
    scale = _pick(dataset.scale, dimensions)
    translation = _pick(dataset.translation, dimensions)
    if override is not None:
        finest = _pick(metadata.datasets[0].scale, dimensions)
        translation = _floats(t / f * o for t, f, o in zip(translation, finest, override, strict=True))
        scale = _floats(s / f * o for s, f, o in zip(scale, finest, override, strict=True))
    voxel_size_mm = _floats(to_mm(s, u) for s, u in zip(scale, units, strict=True))
    if len(set(units)) > 1:
        unit_mm = to_mm(1.0, units[2])
        scale = _floats(v / unit_mm for v in voxel_size_mm)
        translation = _floats(to_mm(t, u) / unit_mm for t, u in zip(translation, units, strict=True))
    return {"unit": units[2], "scale": scale, "translation": translation, "voxel_size_mm": voxel_size_mm}


def _pick(values: Sequence[float], dimensions: Triple) -> Floats:
    return values[dimensions[0]], values[dimensions[1]], values[dimensions[2]]


def _floats(values: Iterable[float]) -> Floats:
    z, y, x = (float(v) for v in values)
    return z, y, x
